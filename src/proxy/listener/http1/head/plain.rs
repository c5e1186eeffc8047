//! Heads of the plain kind that most are of, in one pass: what every reader reads alike, and nothing else.
//! Everything else, what is not all there and what is to be refused included, is left to the parser of all heads.

use bytes::Bytes;

use super::{Fields, HEADERS_MAX, Head, Line, build};
use crate::headers::raw::{read_line, token_length};

/// How many headers there is room for at first: most requests have no more.
const HEADERS_USUAL: usize = 12;

/// Returns the head that bytes begin with, and its length; none, if it is not all there, or another.
pub(super) fn parse(bytes: &Bytes, length_max: usize) -> Option<(Head, usize)> {
    let (method, rest) = bytes.split_at_checked(token_length(bytes))?;
    let target = rest.strip_prefix(b" ").filter(|target| target.starts_with(b"/"))?;
    let (target, rest) = target.split_at_checked(target_length(target))?;
    let rest = rest.strip_prefix(b" HTTP/1.1\r\n")?;
    let mut at = bytes.len() - rest.len();
    let mut fields = Fields::with_capacity(HEADERS_USUAL);
    for _ in 0..=HEADERS_MAX {
        let line = bytes.get(at..)?;
        if line.starts_with(b"\r\n") {
            let length = at + 2;
            let is_short = length <= length_max;
            let head = build(bytes, &Line { method, target, http11: true }, fields);
            return head.ok().filter(|_| is_short).map(|head| (head, length));
        }
        let (name, text) = read_line(line)?;
        at += name.len() + 1 + text.len() + 2;
        fields.push(bytes, name, text.trim_ascii()).ok()?;
    }
    None
}

/// Returns how many bytes a target begins with that are printable ASCII and no part of a fragment.
fn target_length(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|byte| !byte.is_ascii_graphic() || *byte == b'#');
    end.unwrap_or(bytes.len())
}
