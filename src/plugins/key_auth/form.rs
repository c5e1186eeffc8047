//! Keys in queries and bodies: found, and taken out.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::Found;

/// `name=value` pairs joined by `&`.
pub(super) struct Arguments<'a>(pub(super) &'a str);

impl Arguments<'_> {
    /// Returns the value of an argument.
    pub(super) fn find(&self, name: &str) -> Found {
        let pairs = form_urlencoded::parse(self.0.as_bytes());
        one(pairs.filter(|(known, _)| known == name).map(|(_, value)| value.into_owned()))
    }

    /// Returns the pairs without those of a name, as they were; nothing if there are none.
    pub(super) fn without(&self, name: &str) -> Option<String> {
        let named = |pair: &&str| {
            form_urlencoded::parse(pair.as_bytes()).next().is_some_and(|(known, _)| known == name)
        };
        if !self.0.split('&').any(|pair| named(&pair)) {
            return None;
        }
        let kept: Vec<_> = self.0.split('&').filter(|pair| !named(pair)).collect();
        Some(kept.join("&"))
    }
}

/// Returns what stands once.
fn one(mut values: impl Iterator<Item = String>) -> Found {
    match (values.next(), values.next()) {
        (None, _) => Found::Nothing,
        (Some(key), None) => Found::Key(key),
        (Some(_), Some(_)) => Found::Several,
    }
}

/// A body with named values.
pub(super) enum Form {
    UrlEncoded(Bytes),
    Json(Map<String, Value>),
    Multipart { boundary: String, bytes: Bytes },
}

impl Form {
    /// Reads a body; nothing if it is of another type, or broken.
    pub(super) fn read(mime: Option<&str>, bytes: Bytes) -> Option<Self> {
        let mime = mime?;
        let (kind, parameters) = mime.split_once(';').unwrap_or((mime, ""));
        match kind.trim().to_ascii_lowercase().as_str() {
            "application/x-www-form-urlencoded" => {
                std::str::from_utf8(&bytes).is_ok().then_some(Self::UrlEncoded(bytes))
            }
            "application/json" => serde_json::from_slice(&bytes).ok().map(Self::Json),
            "multipart/form-data" => {
                let boundary = parameter(parameters, "boundary")?.to_owned();
                (!boundary.is_empty()).then_some(Self::Multipart { boundary, bytes })
            }
            _ => None,
        }
    }

    /// Returns the value of a name.
    pub(super) fn find(&self, name: &str) -> Found {
        match self {
            Self::UrlEncoded(bytes) => Arguments(text(bytes)).find(name),
            Self::Json(object) => match object.get(name) {
                None | Some(Value::Null) => Found::Nothing,
                Some(Value::String(key)) => Found::Key(key.clone()),
                Some(Value::Array(_) | Value::Object(_)) => Found::Several,
                Some(other) => Found::Key(other.to_string()),
            },
            Self::Multipart { boundary, bytes } => {
                let named = parts(boundary, bytes).filter(|part| part_name(part) == Some(name));
                one(named.filter_map(|part| {
                    let (_, value) = split_part(part)?;
                    Some(String::from_utf8_lossy(value).into_owned())
                }))
            }
        }
    }

    /// Returns the body without a name; nothing if it is not there.
    pub(super) fn without(self, name: &str) -> Option<Bytes> {
        match self {
            Self::UrlEncoded(bytes) => Arguments(text(&bytes)).without(name).map(Bytes::from),
            Self::Json(mut object) => {
                object.remove(name)?;
                serde_json::to_vec(&object).ok().map(Bytes::from)
            }
            Self::Multipart { boundary, bytes } => {
                if !parts(&boundary, &bytes).any(|part| part_name(part) == Some(name)) {
                    return None;
                }
                let mut kept = Vec::with_capacity(bytes.len());
                for part in parts(&boundary, &bytes).filter(|part| part_name(part) != Some(name)) {
                    for piece in [b"--", boundary.as_bytes(), b"\r\n", part, b"\r\n"] {
                        kept.extend_from_slice(piece);
                    }
                }
                for piece in [b"--", boundary.as_bytes(), b"--\r\n"] {
                    kept.extend_from_slice(piece);
                }
                Some(kept.into())
            }
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Returns the parameter `name` out of `; a=b; c="d"`.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|pair| {
        let (known, value) = pair.split_once('=')?;
        known.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// Returns the parts of a multipart body, each with its headers, without the line end behind it.
fn parts<'a>(boundary: &str, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let delimiter = format!("--{boundary}").into_bytes();
    let mut rest = find(bytes, &delimiter).and_then(|at| bytes.get(at + delimiter.len()..));
    std::iter::from_fn(move || {
        // Behind the last part the delimiter ends in `--`.
        let part = rest?.strip_prefix(b"\r\n")?;
        let end = find(part, &delimiter)?;
        let (part, tail) = part.split_at(end);
        rest = tail.get(delimiter.len()..);
        Some(part.strip_suffix(b"\r\n").unwrap_or(part))
    })
}

fn split_part(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = find(part, b"\r\n\r\n")?;
    let (head, value) = part.split_at(at);
    Some((head, value.get(4..)?))
}

fn part_name(part: &[u8]) -> Option<&str> {
    let (head, _) = split_part(part)?;
    let head = std::str::from_utf8(head).ok()?;
    head.split("\r\n").find_map(|line| {
        let (header, value) = line.split_once(':')?;
        let disposition = header.trim().eq_ignore_ascii_case("content-disposition");
        disposition.then(|| parameter(value, "name")).flatten()
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
