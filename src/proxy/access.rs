//! Lines of the access log: Kong's text (nginx's combined format and the request id), or JSON.
//!
//! A request that was refused before there was an exchange has a line with what is known of it: nginx
//! leaves the rest empty, and log plugins do not hear of it.

use std::cell::RefCell;
use std::io::Write as _;

use chrono::{DateTime, Local, SecondsFormat};
use http::{HeaderName, header};

use super::listener::{Refusals, Refused};
use crate::clock::Clock;
use crate::domain::hash::ConfigHash;
use crate::plugins::Scope;
use crate::plugins::exchange::{Exchange, RequestId};
use crate::runtime::Handle;
use crate::settings::AccessFormat;
use crate::telemetry::access::AccessLog;

/// How many characters of the config's hash a line of text has.
const HASH_SHORT: usize = 12;

/// How nginx writes the time.
const STAMP: &str = "%d/%b/%Y:%H:%M:%S %z";

/// The access log as one core writes it.
pub(super) struct Lines {
    log: AccessLog,
    format: AccessFormat,
    /// The line under way, and the second that was written last: neither is made anew each time.
    scratch: RefCell<(Vec<u8>, i64, String)>,
}

/// What a line is made of.
pub(super) struct Entry<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) scope: Scope<'a>,
    pub(super) bytes_sent: u64,
    pub(super) config_hash: &'a ConfigHash,
}

impl Lines {
    pub(super) fn new(log: AccessLog, format: AccessFormat) -> Self {
        Self { log, format, scratch: RefCell::new((Vec::new(), i64::MIN, String::new())) }
    }

    /// Logs a request.
    pub(super) fn write(&self, entry: &Entry<'_>) {
        let (line, second, stamp) = &mut *self.scratch.borrow_mut();
        line.clear();
        let now = entry.exchange.times.started_ms.div_euclid(1000);
        if self.format != AccessFormat::Json && now != *second {
            let at = DateTime::from_timestamp(now, 0).unwrap_or_default().with_timezone(&Local);
            *stamp = at.format(STAMP).to_string();
            *second = now;
        }
        // Writing to memory cannot fail.
        let _ = match self.format {
            AccessFormat::Json => json(line, entry),
            format => text(line, entry, stamp, format == AccessFormat::Kong),
        };
        self.log.line(line);
    }
}

/// How much of the first line of a refused request is logged, in bytes.
const LINE_MAX: usize = 2048;

/// Returns what logs refused requests. The address is that of the connection: which client a proxy
/// before us speaks for is in headers that were not read.
pub fn refusals(log: AccessLog, format: AccessFormat, handle: Handle, clock: Clock) -> Refusals {
    Refusals::new(move |refused| {
        let mut line = Vec::new();
        let id = RequestId::new(u128::from(clock.random()) << 64 | u128::from(clock.random()));
        let hash = handle.load().config_hash;
        // Writing to memory cannot fail.
        let _ = refusal(&mut line, refused, format, clock.now_ms(), &id, &hash);
        log.line(&line);
    })
}

fn refusal(
    line: &mut Vec<u8>,
    refused: &Refused<'_>,
    format: AccessFormat,
    now_ms: i64,
    id: &RequestId,
    hash: &ConfigHash,
) -> std::io::Result<()> {
    let (client, status, bytes) =
        (refused.peer.ip().to_canonical(), refused.status.as_u16(), refused.bytes_sent);
    let request = refused.line.get(..LINE_MAX).unwrap_or(refused.line);
    let at = DateTime::from_timestamp_millis(now_ms).unwrap_or_default();
    if format == AccessFormat::Json {
        let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
        write!(line, "{{\"time\":\"{at}\",\"remote_addr\":\"{client}\"")?;
        if !request.is_empty() {
            string(line, "request", request)?;
        }
        write!(line, ",\"status\":{status},\"body_bytes_sent\":{bytes}")?;
        let id = id.as_str();
        return write!(line, ",\"kong_request_id\":\"{id}\",\"config_hash\":\"{hash}\"}}");
    }
    let stamp = at.with_timezone(&Local).format(STAMP);
    write!(line, "{client} - - [{stamp}] \"")?;
    escape(line, request);
    write!(line, "\" {status} {bytes} \"-\" \"-\"")?;
    if format == AccessFormat::Kong { ids(line, id, hash) } else { Ok(()) }
}

/// The remote user stays out: what clients send as one is a key too often.
fn text(line: &mut Vec<u8>, entry: &Entry<'_>, stamp: &str, with_ids: bool) -> std::io::Result<()> {
    let exchange = entry.exchange;
    let request = &exchange.request;
    write!(line, "{} - - [{stamp}] \"{} ", exchange.forwarded.client, request.method)?;
    escape(line, target(exchange).as_bytes());
    let status = status(exchange);
    write!(line, " {:?}\" {status} {} \"", request.version, entry.bytes_sent)?;
    escape(line, said(exchange, header::REFERER).unwrap_or(b"-"));
    line.extend_from_slice(b"\" \"");
    escape(line, said(exchange, header::USER_AGENT).unwrap_or(b"-"));
    line.push(b'"');
    if with_ids { ids(line, &exchange.id, entry.config_hash) } else { Ok(()) }
}

fn ids(line: &mut Vec<u8>, id: &RequestId, hash: &ConfigHash) -> std::io::Result<()> {
    write!(line, " kong_request_id: \"{}\" config_hash: \"", id.as_str())?;
    line.extend_from_slice(hash.hex().get(..HASH_SHORT).unwrap_or_default());
    line.push(b'"');
    Ok(())
}

fn json(line: &mut Vec<u8>, entry: &Entry<'_>) -> std::io::Result<()> {
    let exchange = entry.exchange;
    let (request, times) = (&exchange.request, &exchange.times);
    let at = DateTime::from_timestamp_millis(times.started_ms).unwrap_or_default();
    let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    write!(line, "{{\"time\":\"{at}\",\"remote_addr\":\"{}\"", exchange.forwarded.client)?;
    let texts: [(&str, Option<&[u8]>); 5] = [
        ("request_method", Some(request.method.as_str().as_bytes())),
        ("host", Some(exchange.authority().as_bytes())),
        ("request_uri", Some(target(exchange).as_bytes())),
        ("http_referer", said(exchange, header::REFERER)),
        ("http_user_agent", said(exchange, header::USER_AGENT)),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            string(line, name, value)?;
        }
    }
    let took = times.started.elapsed().as_millis();
    write!(line, ",\"server_protocol\":\"{:?}\",\"status\":{}", request.version, status(exchange))?;
    write!(line, ",\"body_bytes_sent\":{},\"request_time_ms\":{took}", entry.bytes_sent)?;
    if let (Some(sent), Some(answered)) = (times.sent, times.answered) {
        let waited = answered.saturating_duration_since(sent).as_millis();
        write!(line, ",\"upstream_latency_ms\":{waited}")?;
    }
    if let Some(route) = entry.scope.route {
        write!(line, ",\"route_id\":\"{}\"", route.id)?;
    }
    if let Some(service) = entry.scope.service {
        write!(line, ",\"service_id\":\"{}\"", service.id)?;
    }
    let id = exchange.id.as_str();
    write!(line, ",\"kong_request_id\":\"{id}\",\"config_hash\":\"{}\"}}", entry.config_hash)
}

fn string(line: &mut Vec<u8>, name: &str, value: &[u8]) -> std::io::Result<()> {
    write!(line, ",\"{name}\":")?;
    serde_json::to_writer(line, &String::from_utf8_lossy(value)).map_err(std::io::Error::from)
}

fn target(exchange: &Exchange) -> &str {
    exchange.request.uri.path_and_query().map_or("/", |target| target.as_str())
}

fn status(exchange: &Exchange) -> u16 {
    exchange.response.as_ref().map_or(0, |head| head.status.as_u16())
}

fn said(exchange: &Exchange, name: HeaderName) -> Option<&[u8]> {
    exchange.request.headers.get(name).map(http::HeaderValue::as_bytes)
}

/// Keeps a client's text from ending its field or line, as nginx does it.
fn escape(line: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' | 0..0x20 | 0x7f.. => {
                // Writing to memory cannot fail.
                let _ = write!(line, "\\x{byte:02X}");
            }
            byte => line.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_clients_stay_within_their_field() {
        for (text, expected) in [
            ("Mozilla/5.0 (X11)", "Mozilla/5.0 (X11)"),
            ("a\" 200 \"b", "a\\x22 200 \\x22b"),
            ("a\\b", "a\\x5Cb"),
            ("a\tb\u{7f}ä", "a\\x09b\\x7F\\xC3\\xA4"),
        ] {
            let mut line = Vec::new();
            escape(&mut line, text.as_bytes());
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        }
    }
}
