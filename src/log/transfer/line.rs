//! The lines of a log's file, written and read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::DateTime;
use serde_json::{Value, json};

use super::{FORMAT, FORMAT_WHOLE, FileError, Header};
use crate::domain::event::Seq;
use crate::log::checkpoint::{Checkpoint, Trace};
use crate::log::row::Row;
use crate::log::{Meta, Tip};

/// What the first line calls itself.
const KIND: &str = "hybridctl log";

pub(super) fn header(header: &Header, nodes: usize) -> Value {
    let Header { meta, checkpoints, tip, .. } = header;
    let mut line = json!({
        "kind": KIND,
        "format": FORMAT_WHOLE,
        "cluster_id": meta.cluster_id,
        "epoch": meta.epoch,
        "signing_key": hex(&meta.signing_key),
        "events": tip.seq,
        "hash": tip.hash,
    });
    if !checkpoints.is_empty() {
        line["format"] = FORMAT.into();
        line["checkpoints"] = checkpoints.iter().map(checkpoint).collect();
        line["nodes"] = nodes.into();
    }
    line
}

fn checkpoint(checkpoint: &Checkpoint) -> Value {
    let Checkpoint { first, end, archive, made_at, actor } = checkpoint;
    json!({
        "first": first,
        "seq": end.seq,
        "at": end.at,
        "hash": end.hash,
        "config_hash": end.config_hash,
        "archive": archive,
        "made_at": made_at.timestamp_millis(),
        "actor": actor,
    })
}

fn parse_checkpoint(line: &Value) -> Option<Checkpoint> {
    let text = |name: &str| line[name].as_str();
    Some(Checkpoint {
        first: Seq(line["first"].as_u64()?),
        end: Trace {
            seq: Seq(line["seq"].as_u64()?),
            at: line["at"].as_i64()?,
            hash: text("hash")?.parse().ok()?,
            config_hash: text("config_hash")?.parse().ok()?,
        },
        archive: text("archive")?.to_owned(),
        made_at: DateTime::from_timestamp_millis(line["made_at"].as_i64()?)?,
        actor: text("actor")?.to_owned(),
    })
}

/// Reads the checkpoints of a first line: each follows the one before, up to none at all.
fn parse_checkpoints(line: &Value) -> Option<Vec<Checkpoint>> {
    let mut end = Seq(0);
    let checkpoints = line["checkpoints"].as_array()?.iter().map(|line| {
        let checkpoint = parse_checkpoint(line)?;
        let follows = checkpoint.first == end.next() && checkpoint.first <= checkpoint.end.seq;
        end = checkpoint.end.seq;
        follows.then_some(checkpoint)
    });
    checkpoints.collect()
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
        Some(FORMAT_WHOLE | FORMAT) => {}
        Some(format) if format > FORMAT => return Err(FileError::Newer(format)),
        _ => return Err(wrong("format is damaged")),
    }
    let damaged = |name: &str| wrong(&format!("{name} is damaged"));
    let text = |name: &str| line[name].as_str().ok_or_else(|| damaged(name));
    let number = |name: &str| line[name].as_u64().ok_or_else(|| damaged(name));
    let (checkpoints, nodes) = match line["format"] == FORMAT_WHOLE {
        true => (Vec::new(), 0),
        false => {
            let checkpoints = parse_checkpoints(&line).ok_or_else(|| damaged("checkpoints"))?;
            (checkpoints, number("nodes")?)
        }
    };
    Ok(Header {
        meta: Meta {
            cluster_id: text("cluster_id")?.parse().map_err(|_| damaged("cluster_id"))?,
            signing_key: unhex(text("signing_key")?).ok_or_else(|| damaged("signing_key"))?,
            epoch: number("epoch")?,
        },
        checkpoints,
        nodes,
        tip: Tip {
            seq: Seq(number("events")?),
            hash: text("hash")?.parse().map_err(|_| damaged("hash"))?,
        },
    })
}

pub(super) fn node(bytes: &[u8]) -> Value {
    json!({"node": BASE64.encode(bytes)})
}

/// Reads what [`node`] wrote.
pub(super) fn parse_node(text: &str) -> Option<Bytes> {
    let line: Value = serde_json::from_str(text).ok()?;
    BASE64.decode(line["node"].as_str()?).ok().map(Bytes::from)
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
