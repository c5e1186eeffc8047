//! The table of data planes for people.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::seen::{Plane, Seen, Standing};
use crate::cli::log::plain;

/// How long before its end a certificate is told of, in days.
const CERTIFICATE_DAYS: i64 = 30;

/// How much of a hash or an id tells it from others.
const SHORT_LEN: usize = 8;

const HEADER: [&str; 9] =
    ["NODE", "HOST", "STATE", "SEQ", "CONFIG", "LAG", "SEEN", "VERSION", "CONTROL PLANE"];

/// Returns the table, with a line that sums it up.
pub(super) fn table(seen: &Seen, now: DateTime<Utc>) -> String {
    let rows: Vec<_> = seen.planes.iter().map(|plane| cells(plane, seen, now)).collect();
    let header = HEADER.map(str::to_owned);
    let width = |column: usize| {
        let all = rows.iter().chain([&header]).map(|row| row[column].chars().count());
        all.max().unwrap_or_default()
    };
    let widths: [usize; HEADER.len()] = std::array::from_fn(width);
    let mut lines = vec![summary(seen)];
    if !rows.is_empty() {
        lines.push(padded(&header, &widths, ""));
    }
    for (plane, row) in seen.planes.iter().zip(&rows) {
        lines.push(padded(row, &widths, &notes(plane, now).join("; ")));
    }
    lines.join("\n")
}

fn padded(cells: &[String; HEADER.len()], widths: &[usize; HEADER.len()], notes: &str) -> String {
    let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
    let line = format!("{}  {notes}", cells.collect::<Vec<_>>().join("  "));
    line.trim_end().to_owned()
}

fn summary(seen: &Seen) -> String {
    let count = |standing| seen.planes.iter().filter(|it| it.standing() == standing).count();
    let all = [
        Standing::InSync,
        Standing::Held,
        Standing::Behind,
        Standing::Rejected,
        Standing::Incompatible,
        Standing::Away,
    ];
    let parts = all.map(|it| (count(it), it.word())).into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> = parts.map(|(count, word)| format!("{count} {word}")).collect();
    let of = match parts.is_empty() {
        true => String::new(),
        false => format!(": {}", parts.join(", ")),
    };
    let noun = if seen.planes.len() == 1 { "data plane" } else { "data planes" };
    let frozen = if seen.head["frozen"] == true { ", frozen" } else { "" };
    let (total, seq) = (seen.planes.len(), &seen.head["newest_seq"]);
    let hash = short(seen.head["newest_hash"].as_str());
    format!("{total} {noun}{of}. The newest head is {seq} (config {hash}){frozen}.")
}

fn cells(plane: &Plane, seen: &Seen, now: DateTime<Utc>) -> [String; HEADER.len()] {
    let at = plane.0["applied_seq"].as_u64();
    let newest = seen.head["newest_seq"].as_u64();
    let missing = at.zip(newest).and_then(|(at, newest)| newest.checked_sub(at));
    let seq = match (at, missing) {
        (Some(at), Some(missing)) if missing > 0 => format!("{at} (-{missing})"),
        (Some(at), _) => at.to_string(),
        (None, _) => "-".to_owned(),
    };
    let lag = plane.0["lag_ms"].as_u64().map_or("-".to_owned(), |lag| format!("{lag}ms"));
    let age = plane.0["last_seen"].as_i64().map(|seen| (now.timestamp() - seen).max(0));
    let there = plane.0["control_plane"]["hostname"].as_str().unwrap_or("-");
    [
        short(plane.text("id")),
        plain(plane.text("hostname").unwrap_or("-")),
        plane.standing().word().to_owned(),
        seq,
        short(plane.text("applied_hash")),
        lag,
        age.map_or("-".to_owned(), |age| format!("{} ago", span(age))),
        plain(plane.text("version").unwrap_or("-")),
        plain(there),
    ]
}

/// Returns what else there is to say.
fn notes(plane: &Plane, now: DateTime<Utc>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some((hash, why)) = plane.rejected() {
        notes.push(format!("rejected {}: {}", short(Some(hash)), plain(&why)));
    }
    if let Some(by) = plane.text("held_by") {
        let why = plane.text("held_why").map(|why| format!(" ({})", plain(why)));
        notes.push(format!("held by {by}{}", why.unwrap_or_default()));
    }
    if plane.standing() == Standing::Incompatible {
        notes.push(plane.text("sync_status").unwrap_or_default().to_owned());
    }
    if plane.text("dialect") == Some("kong") {
        notes.push("speaks Kong's dialect".to_owned());
    }
    let ends = plane.0["cert_details"]["expiry_timestamp"].as_i64();
    match ends.map(|ends| ends - now.timestamp()) {
        Some(left) if left <= 0 => notes.push("its certificate has expired".to_owned()),
        Some(left) if left <= CERTIFICATE_DAYS * 86_400 => {
            notes.push(format!("its certificate expires in {}", span(left)));
        }
        _ => {}
    }
    if let Value::Object(labels) = &plane.0["labels"] {
        let labels = labels.iter().map(|(name, value)| {
            format!("{}={}", plain(name), plain(value.as_str().unwrap_or_default()))
        });
        notes.push(labels.collect::<Vec<_>>().join(","));
    }
    notes
}

fn short(text: Option<&str>) -> String {
    plain(text.map_or("-", |text| text.get(..SHORT_LEN).unwrap_or(text)))
}

/// Returns a length in its greatest unit.
fn span(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_tells_how_each_stands_and_why() {
        let (new, old) = ("a".repeat(64), "b".repeat(64));
        let row = |n: u8, hostname: &str, more: Value| {
            let mut row = json!({
                "id": format!("{n}0000000-0000-4000-8000-000000000000"), "hostname": hostname,
                "version": "3.9.1", "connected": true, "sync_status": "normal", "last_seen": 990,
                "applied_seq": 7, "applied_hash": new, "assigned_hash": new, "lag_ms": 12,
                "control_plane": {"hostname": "cp"}, "held_by": null, "dialect": "native",
                "cert_details": {"expiry_timestamp": 100_000_000},
            });
            for (name, value) in more.as_object().unwrap() {
                row[name] = value.clone();
            }
            Plane(row)
        };
        let rejected =
            json!({"hash": new, "phase": "compile", "entity": "routes r", "reason": "no"});
        let seen = Seen {
            head: json!({"newest_seq": 7, "newest_hash": new, "frozen": false}),
            planes: vec![
                row(1, "a", json!({"labels": {"region": "eu"}})),
                row(
                    2,
                    "b\u{1b}[2J",
                    json!({
                        "applied_seq": 4, "applied_hash": old, "rejected": rejected,
                    }),
                ),
                row(
                    3,
                    "c",
                    json!({
                        "applied_seq": 4, "applied_hash": old, "assigned_hash": old, "held_by": "pin",
                        "held_why": "INC-7", "cert_details": {"expiry_timestamp": 1000 + 5 * 86_400},
                    }),
                ),
                row(
                    4,
                    "d",
                    json!({
                        "connected": false, "control_plane": null, "last_seen": -90_000,
                    }),
                ),
            ],
        };
        let table = table(&seen, DateTime::from_timestamp(1000, 0).unwrap());
        let wanted = "\
4 data planes: 1 in sync, 1 held, 1 rejected, 1 away. The newest head is 7 (config aaaaaaaa).
NODE      HOST   STATE     SEQ     CONFIG    LAG   SEEN     VERSION  CONTROL PLANE
10000000  a      in sync   7       aaaaaaaa  12ms  10s ago  3.9.1    cp             region=eu
20000000  b\u{fffd}[2J  rejected  4 (-3)  bbbbbbbb  12ms  10s ago  3.9.1    cp             \
rejected aaaaaaaa: compile: routes r: no
30000000  c      held      4 (-3)  bbbbbbbb  12ms  10s ago  3.9.1    cp             \
held by pin (INC-7); its certificate expires in 5d
40000000  d      away      7       aaaaaaaa  12ms  25h ago  3.9.1    -";
        assert_eq!(table, wanted);
    }
}
