//! The fields of expressions, and their values in a request.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;

use super::Subject;

/// What a test compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Protocol,
    Sni,
    Method,
    Host,
    Path,
    /// The segments from a first to a last one, counted from 0, joined by slashes.
    Segments(usize, usize),
    SegmentsLen,
    /// In lower case, with hyphens.
    Header(Box<str>),
    Query(Box<str>),
    SourcePort,
    DestinationPort,
    SourceIp,
    DestinationIp,
}

/// The text for a field of segments that names none.
const ILL_FORMED: &str = "illformed http.path.segments.* field";

impl Field {
    /// Returns the field of a name that the schema of the language has.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "net.protocol" => Self::Protocol,
            "tls.sni" => Self::Sni,
            "http.method" => Self::Method,
            "http.host" => Self::Host,
            "http.path" => Self::Path,
            "http.path.segments.len" => Self::SegmentsLen,
            "net.src.port" => Self::SourcePort,
            // Kong's old name of it.
            "net.dst.port" | "net.port" => Self::DestinationPort,
            "net.src.ip" => Self::SourceIp,
            "net.dst.ip" => Self::DestinationIp,
            _ => {
                if let Some(header) = name.strip_prefix("http.headers.") {
                    Self::Header(header.to_ascii_lowercase().replace('_', "-").into())
                } else if let Some(query) = name.strip_prefix("http.queries.") {
                    Self::Query(query.into())
                } else if let Some(range) = name.strip_prefix("http.path.segments.") {
                    segments(range).ok_or(ILL_FORMED)?
                } else {
                    return Err("Unknown LHS field".to_owned());
                }
            }
        })
    }

    /// Calls back with each text that the field has.
    pub(super) fn texts(&self, subject: &Subject<'_, '_>, visit: &mut dyn FnMut(&str)) {
        let net = subject.net;
        match (self, subject.request) {
            (Self::Protocol, _) => visit(net.protocol.name()),
            (Self::Sni, _) => net.sni.into_iter().for_each(visit),
            (Self::Method, Some(request)) => visit(request.method),
            (Self::Host, Some(request)) => visit(request.host),
            (Self::Path, Some(request)) => visit(request.path),
            (Self::Segments(first, last), Some(request)) => {
                if let Some(text) = range(request.path, *first, *last) {
                    visit(text);
                }
            }
            // The Host header is a field of its own.
            (Self::Header(name), Some(request)) if &**name != "host" => {
                (request.headers)(name, visit);
            }
            (Self::Query(name), Some(request)) => query(request.query, name, visit),
            _ => {}
        }
    }

    /// Returns the number that the field has.
    pub(super) fn number(&self, subject: &Subject<'_, '_>) -> Option<i64> {
        match self {
            Self::SourcePort => Some(subject.net.source.port().into()),
            Self::DestinationPort => Some(subject.net.destination.port().into()),
            Self::SegmentsLen => {
                let path = subject.request?.path;
                i64::try_from(split(path).count()).ok()
            }
            _ => None,
        }
    }

    /// Returns the address that the field has.
    pub(super) fn address(&self, subject: &Subject<'_, '_>) -> Option<IpAddr> {
        match self {
            Self::SourceIp => Some(subject.net.source.ip().to_canonical()),
            Self::DestinationIp => Some(subject.net.destination.ip().to_canonical()),
            _ => None,
        }
    }
}

/// Reads `3` or `1_3`.
fn segments(range: &str) -> Option<Field> {
    let number = |text: &str| {
        let plain = text == "0" || !text.starts_with('0');
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        (plain && digits).then(|| text.parse::<usize>().ok()).flatten()
    };
    match range.split_once('_') {
        None => number(range).map(|only| Field::Segments(only, only)),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            (last > first).then_some(Field::Segments(first, last))
        }
    }
}

/// Returns the segments of a path; one slash at the end adds none.
fn split(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').filter(move |_| !path.is_empty())
}

/// Returns a range of segments; they stand next to each other in the path.
fn range(path: &str, first: usize, last: usize) -> Option<&str> {
    let start = split(path).nth(first)?;
    let end = split(path).nth(last)?;
    let from = start.as_ptr() as usize - path.as_ptr() as usize;
    let to = end.as_ptr() as usize - path.as_ptr() as usize + end.len();
    path.get(from..to)
}

/// Calls back with each value of a query argument; one without a value has an empty one.
fn query(query: Option<&str>, name: &str, visit: &mut dyn FnMut(&str)) {
    let arguments = query.into_iter().flat_map(|query| query.split('&'));
    for argument in arguments.filter(|argument| !argument.is_empty()) {
        let (key, value) = argument.split_once('=').unwrap_or((argument, ""));
        if decoded(key) == name {
            visit(&decoded(value));
        }
    }
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}
