//! The entries of `tests/fixtures/smuggling/`: what is sent, and what is answered.
//!
//! A line is the expected answers, spaces, and the bytes. Answers are parted by commas: a status;
//! `200=BODY` also tells the body that the upstream gets, `200h` that a HEAD is answered, `200.` that
//! the connection ends with it, as it does with every other status; `cut` stands for the rest of a
//! connection on which the client stops half way. In the bytes `|` is CRLF, `\r`, `\n`, `\t`, `\0`,
//! `\s` (a space), `\\` and `\xHH` are what they are elsewhere, `{N*TEXT}` is TEXT N times, and the
//! names of [`NAMES`] stand for what is there.

use std::fs;

use crate::source::root;

/// Short names of what comes often.
const NAMES: &[(&str, &str)] = &[
    ("$CHUNKED", "POST /ok HTTP/1.1|Host: h|Transfer-Encoding: chunked||"),
    ("$GET", "GET /ok HTTP/1.1|Host: h|"),
    ("$POST", "POST /ok HTTP/1.1|Host: h|"),
    ("$NEXT", "GET /ok-next HTTP/1.1|Host: h||"),
    ("$SMUGGLED", "GET /smuggled HTTP/1.1|Host: h||"),
];

/// One row.
pub(super) struct Entry {
    /// File and line.
    pub(super) name: String,
    pub(super) answers: Vec<Expected>,
    pub(super) bytes: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Answer { status: u16, body: Option<String>, head_only: bool, ends: bool },
    Cut,
}

impl Entry {
    /// Returns whether the client stops half way.
    pub(super) fn is_cut(&self) -> bool {
        self.answers.last() == Some(&Expected::Cut)
    }

    /// Returns whether the connection ends with the last answer.
    pub(super) fn ends(&self) -> bool {
        self.answers.iter().any(|answer| match answer {
            Expected::Answer { ends, .. } => *ends,
            Expected::Cut => true,
        })
    }

    /// Returns the statuses, and whether each answers a HEAD.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (u16, bool)> {
        self.answers.iter().filter_map(|answer| match answer {
            Expected::Answer { status, head_only, .. } => Some((*status, *head_only)),
            Expected::Cut => None,
        })
    }

    /// Returns the bodies that reach the upstream, where the row tells them.
    pub(super) fn bodies(&self) -> impl Iterator<Item = Option<&str>> {
        self.answers.iter().filter_map(|answer| match answer {
            Expected::Answer { status: 200, body, .. } => Some(body.as_deref()),
            _ => None,
        })
    }
}

/// Reads all entries.
pub(super) fn all() -> Vec<Entry> {
    let folder = root().join("tests/fixtures/smuggling");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut entries = Vec::new();
    for path in paths {
        let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        for (at, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = format!("{file}:{}", at + 1);
            let (answers, bytes) = line.split_once(' ').unwrap_or_else(|| panic!("{name}"));
            let answers = answers.split(',').map(expected).collect();
            entries.push(Entry { name, answers, bytes: decode(bytes.trim()) });
        }
    }
    entries
}

fn expected(text: &str) -> Expected {
    if text == "cut" {
        return Expected::Cut;
    }
    let (status, rest) = text.split_at(3);
    let status = status.parse().unwrap();
    let body = rest.strip_prefix('=').map(str::to_owned);
    Expected::Answer { status, body, head_only: rest == "h", ends: status != 200 || rest == "." }
}

/// Returns the bytes that a text of the table stands for.
pub(super) fn decode(text: &str) -> Vec<u8> {
    let mut text = text.to_owned();
    for (name, meaning) in NAMES {
        text = text.replace(name, meaning);
    }
    let mut bytes = Vec::new();
    let mut rest = text.as_str();
    while let Some(sign) = rest.chars().next() {
        rest = &rest[sign.len_utf8()..];
        match sign {
            '|' => bytes.extend_from_slice(b"\r\n"),
            '\\' => rest = escape(rest, &mut bytes),
            '{' => {
                let (repeated, after) = rest.split_once('}').unwrap();
                let (count, repeated) = repeated.split_once('*').unwrap();
                bytes.extend(decode(repeated).repeat(count.parse().unwrap()));
                rest = after;
            }
            sign => bytes.extend_from_slice(sign.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// Reads what follows a backslash, and returns the rest.
fn escape<'t>(rest: &'t str, bytes: &mut Vec<u8>) -> &'t str {
    let byte = match rest.as_bytes()[0] {
        b'r' => b'\r',
        b'n' => b'\n',
        b't' => b'\t',
        b's' => b' ',
        b'0' => 0,
        b'x' => {
            bytes.push(u8::from_str_radix(&rest[1..3], 16).unwrap());
            return &rest[3..];
        }
        other => other,
    };
    bytes.push(byte);
    &rest[1..]
}
