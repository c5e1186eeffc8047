//! The lines of a log's file, written and read.

use serde_json::{Value, json};

use super::{FORMAT, FileError, Header};
use crate::domain::event::Seq;
use crate::log::row::Row;
use crate::log::{Meta, Tip};

/// What the first line calls itself.
const KIND: &str = "hybridctl log";

pub(super) fn header(header: &Header) -> Value {
    let Header { meta, tip } = header;
    json!({
        "kind": KIND,
        "format": FORMAT,
        "cluster_id": meta.cluster_id,
        "epoch": meta.epoch,
        "signing_key": hex(&meta.signing_key),
        "events": tip.seq,
        "hash": tip.hash,
    })
}

pub(super) fn parse_header(text: &str) -> Result<Header, FileError> {
    let wrong = |what: &str| FileError::Line { line: 1, what: what.to_owned() };
    let line: Value =
        serde_json::from_str(text).map_err(|_| wrong("this is no export of a log"))?;
    if line["kind"] != KIND {
        return Err(wrong("this is no export of a log"));
    }
    // The format goes first: a newer one may mean something else by the rest.
    match line["format"].as_u64() {
        Some(FORMAT) => {}
        Some(format) if format > FORMAT => return Err(FileError::Newer(format)),
        _ => return Err(wrong("format is damaged")),
    }
    let damaged = |name: &str| wrong(&format!("{name} is damaged"));
    let text = |name: &str| line[name].as_str().ok_or_else(|| damaged(name));
    let number = |name: &str| line[name].as_u64().ok_or_else(|| damaged(name));
    Ok(Header {
        meta: Meta {
            cluster_id: text("cluster_id")?.parse().map_err(|_| damaged("cluster_id"))?,
            signing_key: unhex(text("signing_key")?).ok_or_else(|| damaged("signing_key"))?,
            epoch: number("epoch")?,
        },
        tip: Tip {
            seq: Seq(number("events")?),
            hash: text("hash")?.parse().map_err(|_| damaged("hash"))?,
        },
    })
}

pub(super) fn row(row: &Row) -> Value {
    json!({
        "seq": row.seq,
        "format": row.format,
        "at": row.at,
        "actor": row.actor,
        "request_id": row.request_id,
        "source": row.source,
        "kind": row.kind,
        "reason": row.reason,
        "config_hash": row.config_hash,
        "prev_hash": row.prev_hash,
        "hash": row.hash,
        "changes": row.changes,
    })
}

/// Reads what [`row`] wrote; the error says what is wrong.
pub(super) fn parse_row(text: &str) -> Result<Row, &'static str> {
    let line = serde_json::from_str(text).map_err(|_| "this is no JSON")?;
    columns(line).ok_or("this is no event, or a column of it is damaged")
}

fn columns(mut line: Value) -> Option<Row> {
    let reason = match line["reason"].take() {
        Value::Null => None,
        Value::String(reason) => Some(reason),
        _ => return None,
    };
    let (format, seq, at) = (line["format"].as_u64()?, line["seq"].as_u64()?, line["at"].as_i64()?);
    let mut text = |name: &str| match line[name].take() {
        Value::String(text) => Some(text),
        _ => None,
    };
    Some(Row {
        format,
        seq: Seq(seq),
        at,
        actor: text("actor")?,
        request_id: text("request_id")?,
        source: text("source")?,
        kind: text("kind")?,
        reason,
        changes: text("changes")?,
        config_hash: text("config_hash")?.parse().ok()?,
        prev_hash: text("prev_hash")?.parse().ok()?,
        hash: text("hash")?.parse().ok()?,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit =
        |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}
