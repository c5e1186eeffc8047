//! `log`: who changed what, what the config was at a moment, and whether the log was tampered with.

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value, json};

use super::database::{self, Target};
use super::{SettingsArgs, Told};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::declarative;
use crate::domain::event::{Change, Event, Seq};
use crate::log::moment::Moment;
use crate::writer::audit;
use crate::writer::history::History;

/// Events shown when nothing else is asked for.
const LAST: u64 = 20;

/// Show, replay or verify the event log
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the last events, oldest first; field names only, never their values
    Show {
        /// How many
        #[arg(long, value_name = "N", default_value_t = LAST)]
        last: u64,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Print the config of a moment as a declarative file, secrets included
    Replay {
        /// Position, first characters of a config hash, or time
        #[arg(long, value_name = "SEQ|HASH|TIME")]
        to: Moment,
        /// Print JSON, which is what is printed anyway
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Check every hash of the log and rebuild every config
    Verify {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
}

/// Runs one of the verbs.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    database::block_on(async {
        match args.verb {
            Verb::Show { last, json, settings } => {
                show(&history(settings).await?, last, json).await
            }
            Verb::Replay { to, json: _, settings } => replay(&history(settings).await?, to).await,
            Verb::Verify { json, settings } => verify(&history(settings).await?, json).await,
        }
    })
}

async fn history(settings: SettingsArgs) -> anyhow::Result<History> {
    let target = Target::find(settings)?;
    let log = target.open().await?;
    Ok(History::new(log, target.catalog))
}

async fn replay(history: &History, to: Moment) -> anyhow::Result<()> {
    let head = history.at(to).await.with_context(|| format!("cannot replay to {to}"))?;
    let tree = declarative::export(history.catalog(), head.snapshot.config());
    print(&serde_json::to_string_pretty(&tree)?)
}

async fn verify(history: &History, as_json: bool) -> anyhow::Result<()> {
    let head = audit::verify(history).await.context("the log does not verify")?;
    if as_json {
        let (hash, config_hash) = (head.event_hash, head.config_hash);
        let line = json!({"events": head.seq, "hash": hash, "config_hash": config_hash});
        return print(&line.to_string());
    }
    print(&format!(
        "{} events verified; last hash {}, config {}",
        head.seq, head.event_hash, head.config_hash
    ))
}

async fn show(history: &History, last: u64, as_json: bool) -> anyhow::Result<()> {
    let end = history.log().tip().await.context("cannot read the log")?.seq;
    let mut after = Seq(end.0.saturating_sub(last));
    let before = history.at(Moment::Seq(after)).await.context("cannot read the log")?;
    let mut config = before.snapshot.config().clone();
    loop {
        let rows = history.log().read(after, 1000).await.context("cannot read the log")?;
        let Some(newest) = rows.last() else { return Ok(()) };
        after = newest.seq;
        for row in rows {
            let event = row.event(history.catalog())?;
            let lines = describe(history.catalog(), &mut config, &event);
            print(&if as_json { json_line(&event, &lines) } else { text(&event, &lines) })?;
        }
    }
}

/// Writes a line; a reader that went away, as `head` does, has had enough.
fn print(line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Told.into()),
        written => written.context("cannot write the output"),
    }
}

/// What an event did to one entity.
struct Line {
    verb: &'static str,
    kind: &'static str,
    id: String,
    name: Option<String>,
    fields: Vec<String>,
}

/// Tells what an event does to `config`, and does it.
fn describe(catalog: &Catalog, config: &mut Config, event: &Event) -> Vec<Line> {
    let line = |change: &Change| {
        let key = change.key();
        let old = config.apply(catalog, change).map(|entity| entity.document());
        let (verb, new) = match (change, &old) {
            (Change::Deleted(_), _) => ("deleted", None),
            (Change::Upserted(entity), None) => ("created", Some(entity.document())),
            (Change::Upserted(entity), Some(_)) => ("updated", Some(entity.document())),
        };
        let fields = match (&old, &new) {
            (Some(old), Some(new)) => fields_changed(old, new),
            _ => Vec::new(),
        };
        let name = new.as_ref().or(old.as_ref()).and_then(name);
        Line { verb, kind: key.kind.name(), id: key.id.to_string(), name, fields }
    };
    event.changes.iter().map(line).collect()
}

/// Returns what people call an entity. Not its endpoint key: that of a credential is the secret.
fn name(document: &Document) -> Option<String> {
    let name = document.get("name").or_else(|| document.get("username"));
    name.and_then(Value::as_str).map(str::to_owned)
}

fn fields_changed(old: &Document, new: &Document) -> Vec<String> {
    let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter(|name| old.get(*name) != new.get(*name)).cloned().collect()
}

fn json_line(event: &Event, lines: &[Line]) -> String {
    let changes = lines.iter().map(|line| {
        json!({
            "verb": line.verb, "kind": line.kind, "id": line.id, "name": line.name,
            "fields": line.fields,
        })
    });
    let origin = &event.origin;
    json!({
        "seq": event.seq, "at": event.at, "actor": origin.actor, "source": origin.source,
        "request_id": origin.request_id, "kind": origin.kind, "reason": origin.reason,
        "config_hash": event.config_hash, "hash": event.hash,
        "changes": changes.collect::<Vec<_>>(),
    })
    .to_string()
}

fn text(event: &Event, lines: &[Line]) -> String {
    use std::fmt::Write as _;
    let origin = &event.origin;
    let at = event.at.format("%Y-%m-%dT%H:%M:%SZ");
    let (kind, hash) = (origin.kind.name(), event.config_hash.short());
    let mut out = format!(
        "{} {at} {kind} by {} through {} -> {hash}",
        event.seq,
        plain(&origin.actor),
        plain(&origin.source)
    );
    if let Some(reason) = &origin.reason {
        let _ = write!(out, " ({})", plain(reason));
    }
    for line in lines {
        let _ = write!(out, "\n    {} {} {}", line.verb, line.kind, line.id);
        if let Some(name) = &line.name {
            let _ = write!(out, " {}", plain(name));
        }
        if !line.fields.is_empty() {
            let _ = write!(out, ": {}", plain(&line.fields.join(", ")));
        }
    }
    out
}

/// Keeps what a caller of the Admin API wrote from steering the operator's terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::Entity;
    use crate::domain::event::{EventKind, Origin};
    use crate::domain::hash::{ConfigHash, GENESIS};
    use crate::domain::kinds::service;

    #[test]
    fn events_are_shown_by_field_names_without_values_or_control_characters() {
        let catalog = Catalog::new(Vec::new());
        let service = |path: &str| {
            let id = "00000000-0000-4000-8000-000000000001";
            let document = json!({"id": id, "name": "s1", "host": "h", "path": path});
            Entity::new(service::KIND, document.as_object().unwrap()).unwrap()
        };
        let mut config = Config::of(&catalog, [service("/old-secret")]);
        let event = Event {
            seq: Seq(2),
            at: chrono::DateTime::UNIX_EPOCH,
            origin: Origin {
                actor: "ann\u{1b}[2J".into(),
                request_id: "r".into(),
                source: "admin-api".into(),
                kind: EventKind::Written,
                reason: Some("because".into()),
            },
            changes: vec![Change::Upserted(service("/new-secret"))],
            config_hash: ConfigHash([1; 32]),
            prev_hash: GENESIS,
            hash: GENESIS,
        };
        let lines = describe(&catalog, &mut config, &event);
        let shown = text(&event, &lines);
        assert!(shown.ends_with("updated services 00000000-0000-4000-8000-000000000001 s1: path"));
        assert!(shown.contains("(because)") && !shown.contains('\u{1b}'));
        assert!(!format!("{shown}{}", json_line(&event, &lines)).contains("secret"));
    }
}
