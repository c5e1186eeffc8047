//! Watches a client's bytes for request heads that tell their length twice.
//!
//! hyper drops the content-length of such a request in silence; a gateway answers 400, because the
//! two readings of one request are how requests are smuggled. The watcher only raises a suspicion:
//! hyper's own reading decides the framing in any case.

/// A line-wise scan that survives any split of the bytes.
#[derive(Debug, Default)]
pub(super) struct HeadSniffer {
    in_head: bool,
    line: [u8; PREFIX],
    kept: usize,
    tail: [u8; 10],
    transfer_encoding: bool,
    content_length: bool,
}

/// The longest name looked for, with its colon.
const PREFIX: usize = 18;

impl HeadSniffer {
    /// Scans bytes as they were read; returns whether a head with both fields ended in them.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> bool {
        let mut doubled = false;
        let mut rest = bytes;
        while let Some((line, after)) =
            memchr::memchr(b'\n', rest).and_then(|end| rest.split_at_checked(end + 1))
        {
            if self.kept == 0 {
                doubled |= self.end_line(line, line);
            } else {
                self.keep(line);
                let (kept, tail) = (self.line, self.tail);
                doubled |= self.end_line(kept.get(..self.kept).unwrap_or_default(), &tail);
            }
            self.kept = 0;
            rest = after;
            // Bytes of a body are not worth the scan.
            if !self.in_head && after.len() > 4096 {
                return doubled;
            }
        }
        if !rest.is_empty() {
            self.keep(rest);
        }
        doubled
    }

    /// Keeps the start of the current line for the names, and its end for the version.
    fn keep(&mut self, piece: &[u8]) {
        for (slot, &byte) in self.line.iter_mut().skip(self.kept).zip(piece) {
            *slot = byte;
        }
        self.kept = (self.kept + piece.len()).min(PREFIX);
        let piece = piece.get(piece.len().saturating_sub(10)..).unwrap_or_default();
        self.tail.rotate_left(piece.len());
        for (slot, &byte) in self.tail.iter_mut().rev().zip(piece.iter().rev()) {
            *slot = byte;
        }
    }

    /// Takes note of a line by its first bytes and its last ones.
    fn end_line(&mut self, line: &[u8], tail: &[u8]) -> bool {
        let blank = matches!(line, [b'\n'] | [b'\r', b'\n']);
        let mut doubled = false;
        if !self.in_head {
            self.in_head = is_request_line_end(tail);
            self.transfer_encoding = false;
            self.content_length = false;
        } else if blank {
            doubled = self.transfer_encoding && self.content_length;
            self.in_head = false;
        } else {
            // Both may stand in one head in any order.
            self.transfer_encoding |= starts_with(line, b"transfer-encoding:");
            self.content_length |= starts_with(line, b"content-length:");
        }
        doubled
    }
}

fn starts_with(line: &[u8], name: &[u8]) -> bool {
    let first = |text: &[u8]| text.first().map(u8::to_ascii_lowercase);
    first(line) == first(name)
        && line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

fn is_request_line_end(tail: &[u8]) -> bool {
    let tail = tail.strip_suffix(b"\n").unwrap_or(tail);
    let tail = tail.strip_suffix(b"\r").unwrap_or(tail);
    tail.ends_with(b"HTTP/1.1") || tail.ends_with(b"HTTP/1.0")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOUBLED: &str = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\
                           transfer-ENCODING: chunked\r\n\r\n0\r\n\r\n";

    proptest! {
        #[test]
        fn a_doubled_length_is_seen_at_any_split(cut in 0..DOUBLED.len(), second in 0..DOUBLED.len()) {
            let (low, high) = (cut.min(second), cut.max(second));
            let bytes = DOUBLED.as_bytes();
            let mut sniffer = HeadSniffer::default();
            let seen = [&bytes[..low], &bytes[low..high], &bytes[high..]]
                .map(|piece| sniffer.scan(piece));
            prop_assert!(seen.contains(&true));
        }
    }

    #[test]
    fn one_length_is_no_suspicion_even_when_the_body_names_the_other() {
        let text = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                    13\r\ncontent-length: 4\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
        assert!(!HeadSniffer::default().scan(text.as_bytes()));
    }
}
