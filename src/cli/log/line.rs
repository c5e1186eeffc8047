//! How the command line writes events and what they did.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::cli::Told;
use crate::domain::difference::{Difference, FieldDifference};
use crate::domain::event::Event;

/// Most changes of one event that are written unless all are asked for.
const CHANGES_LEN: usize = 100;

/// Most characters of a value in a line for people.
const VALUE_LEN: usize = 160;

/// Writes a line; a reader that went away, as `head` does, has had enough.
pub(in crate::cli) fn print(line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Told.into()),
        written => written.context("cannot write the output"),
    }
}

/// Returns an event and what it did as one JSON object.
pub(super) fn json_line(event: &Event, differences: &[Difference], full: bool) -> Value {
    let mut line = about(event);
    let shown = differences.iter().take(if full { usize::MAX } else { CHANGES_LEN });
    line["changes_total"] = differences.len().into();
    line["changes"] = shown.map(Difference::to_json).collect();
    line
}

/// Returns who, when and why as JSON.
pub(super) fn about(event: &Event) -> Value {
    let origin = &event.origin;
    json!({
        "seq": event.seq, "at": event.at, "actor": origin.actor, "source": origin.source,
        "request_id": origin.request_id, "kind": origin.kind, "reason": origin.reason,
        "config_hash": event.config_hash, "hash": event.hash,
    })
}

/// Returns an event and what it did as lines for people.
pub(super) fn text(event: &Event, differences: &[Difference], full: bool) -> String {
    use std::fmt::Write as _;
    let mut out = headline(event);
    let shown = if full { differences.len() } else { CHANGES_LEN };
    for difference in differences.iter().take(shown) {
        let Difference { verb, key, name, fields } = difference;
        let _ = write!(out, "\n    {} {} {}", verb.name(), key.kind.name(), key.id);
        if let Some(name) = name {
            let _ = write!(out, " {}", plain(name));
        }
        for field in fields {
            let _ = write!(out, "\n        {}", field_line(field));
        }
    }
    let left = differences.len().saturating_sub(shown);
    if left > 0 {
        let _ = write!(out, "\n    and {left} more changes (--full shows them)");
    }
    out
}

/// Returns who, when and why as a line for people.
pub(super) fn headline(event: &Event) -> String {
    let origin = &event.origin;
    let at = event.at.format("%Y-%m-%dT%H:%M:%SZ");
    let reason = origin.reason.as_ref().map(|reason| format!(" ({})", plain(reason)));
    format!(
        "{} {at} {} by {} through {} -> {}{}",
        event.seq,
        origin.kind.name(),
        plain(&origin.actor),
        plain(&origin.source),
        event.config_hash.short(),
        reason.unwrap_or_default()
    )
}

fn field_line(field: &FieldDifference) -> String {
    let path = plain(&field.path);
    match (&field.from, &field.to) {
        (Some(from), Some(to)) if from == to => format!("{path}: {}, changed", value(to)),
        (Some(from), Some(to)) => format!("{path}: {} -> {}", value(from), value(to)),
        (None, Some(to)) => format!("{path}: {}", value(to)),
        (Some(from), None) => format!("{path}: was {}", value(from)),
        (None, None) => path,
    }
}

/// Returns a value as people read it, cut when it is long.
pub(super) fn value(value: &Value) -> String {
    let text = plain(&value.to_string());
    match text.char_indices().nth(VALUE_LEN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Keeps what a caller of the Admin API wrote from steering the operator's terminal.
pub(in crate::cli) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalog::Catalog;
    use crate::domain::config::Config;
    use crate::domain::entity::Entity;
    use crate::domain::event::{Change, EventKind, Origin, Seq};
    use crate::domain::hash::{ConfigHash, GENESIS};
    use crate::domain::kinds::{key, service};

    fn event(changes: Vec<Change>) -> Event {
        Event {
            seq: Seq(2),
            at: chrono::DateTime::UNIX_EPOCH,
            origin: Origin {
                actor: "ann\u{1b}[2J".into(),
                request_id: "r".into(),
                source: "admin-api".into(),
                kind: EventKind::Written,
                reason: Some("because".into()),
            },
            changes,
            config_hash: ConfigHash([1; 32]),
            prev_hash: GENESIS,
            hash: GENESIS,
        }
    }

    const ID: &str = "00000000-0000-4000-8000-000000000001";

    fn entity(kind: crate::domain::entity::Kind, mut document: Value) -> Entity {
        document["id"] = ID.into();
        Entity::new(kind, document.as_object().unwrap()).unwrap()
    }

    #[test]
    fn events_are_shown_by_field_without_secrets_or_control_characters() {
        let catalog = Catalog::new(Vec::new());
        let service = |path: &str| entity(service::KIND, json!({"name": "s1", "path": path}));
        let jwk = |jwk: &str| entity(key::KIND, json!({"name": "k", "jwk": jwk}));
        let config = Config::of(&catalog, [service("/old"), jwk("old-secret")]);
        let changes = vec![Change::Upserted(service("/new")), Change::Upserted(jwk("new-secret"))];
        let event = event(changes);
        let differences: Vec<_> =
            event.changes.iter().map(|change| Difference::of(&catalog, &config, change)).collect();
        let shown = text(&event, &differences, false);
        let wanted = format!(
            "2 1970-01-01T00:00:00Z written by ann\u{fffd}[2J through admin-api -> 010101010101 \
             (because)\n    updated services {ID} s1\n        path: \"/old\" -> \"/new\"\n    \
             updated keys {ID} k\n        jwk: \"***\", changed"
        );
        assert_eq!(shown, wanted);
        assert!(!json_line(&event, &differences, true).to_string().contains("secret"));
    }

    #[test]
    fn an_event_of_many_changes_is_cut_unless_all_are_asked_for() {
        let catalog = Catalog::new(Vec::new());
        let change = Change::Upserted(entity(service::KIND, json!({"name": "s"})));
        let difference = Difference::of(&catalog, &Config::default(), &change);
        let differences = vec![difference; CHANGES_LEN + 2];
        let event = event(Vec::new());
        assert!(
            text(&event, &differences, false).ends_with("and 2 more changes (--full shows them)")
        );
        assert!(!text(&event, &differences, true).contains("more changes"));
        let cut = json_line(&event, &differences, false);
        assert_eq!(cut["changes"].as_array().map(Vec::len), Some(CHANGES_LEN));
        assert_eq!(cut["changes_total"], json!(CHANGES_LEN + 2));
    }
}
