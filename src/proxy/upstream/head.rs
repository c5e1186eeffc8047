//! The request head as bytes of the wire, written once for a try.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::headers::raw::{text_length, token_length};
use crate::headers::{push_line, push_title};

/// A request head for an upstream.
///
/// Headers go straight to the wire form of HTTP/1.1. Framing is not the caller's: `content-length` and
/// `transfer-encoding` are left out here and written from the body before the head is sent. The default
/// has no request line: it collects lines for other heads.
#[derive(Debug, Default)]
pub struct UpstreamHead {
    bytes: Vec<u8>,
    head_only: bool,
    idempotent: bool,
    body_expected: bool,
    upgrade: bool,
    sealed: bool,
}

impl UpstreamHead {
    /// Starts a head; `target` is the path with its query, as sent.
    pub fn new(method: &Method, target: &str) -> Self {
        Self::write(Vec::with_capacity(512 + target.len()), method, target)
    }

    /// Starts a head in an empty buffer.
    pub fn write(mut bytes: Vec<u8>, method: &Method, target: &str) -> Self {
        bytes.extend_from_slice(method.as_str().as_bytes());
        bytes.push(b' ');
        push_target(&mut bytes, target);
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        let name = method.as_str();
        Self {
            bytes,
            head_only: *method == Method::HEAD,
            idempotent: !matches!(name, "POST" | "PATCH" | "LOCK"),
            body_expected: matches!(name, "POST" | "PUT" | "PATCH"),
            upgrade: false,
            sealed: false,
        }
    }

    /// Returns what was written: lines for other heads, or a buffer for the next one.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends lines that another head was filled with.
    pub fn append_lines(&mut self, lines: &[u8]) {
        self.bytes.extend_from_slice(lines);
    }

    /// Appends one header. A name that is no token is dropped; line breaks and NUL in a value
    /// become spaces (RFC 9110, section 5.5), so no value can forge a header.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        if !is_token(name) || is_framing(name) {
            return;
        }
        if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        push_field(&mut self.bytes, name, value);
    }

    /// Appends one header of our own; `start` is its name, a colon and a space.
    pub fn append_own(&mut self, start: &'static str, value: &[u8]) {
        debug_assert!(start.strip_suffix(": ").is_some_and(|name| is_token(name.as_bytes())));
        self.bytes.reserve(start.len() + value.len() + 2);
        self.bytes.extend_from_slice(start.as_bytes());
        push_value(&mut self.bytes, value);
    }

    /// Appends one header of our own whose value was read out of a header or a target, or cannot be
    /// but of one line: it is not searched for line breaks again.
    pub fn append_line(&mut self, start: &'static str, value: &[u8]) {
        debug_assert!(!value.iter().any(|byte| is_line_break(*byte)));
        push_line(&mut self.bytes, start.as_bytes(), value);
    }

    /// Asks for another protocol.
    pub fn append_upgrade(&mut self, wanted: &[u8]) {
        self.append_line("Connection: ", b"keep-alive, Upgrade");
        self.append_line("Upgrade: ", wanted);
        self.upgrade = true;
    }

    /// Appends one header as it was received, which has made sure of its name and value.
    pub fn append_header(&mut self, name: &HeaderName, value: &HeaderValue) {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        if !is_framing(name) {
            push_title(&mut self.bytes, name);
            push_line(&mut self.bytes, b": ", value);
        }
    }

    /// Appends one header whose value is these pieces one after the other, without joining them
    /// elsewhere first.
    pub fn append_joined(&mut self, name: &[u8], pieces: &[&[u8]]) {
        if !is_token(name) || is_framing(name) {
            return;
        }
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        for piece in pieces {
            self.bytes.extend(piece.iter().map(|byte| match byte {
                b'\r' | b'\n' | 0 => b' ',
                byte => *byte,
            }));
        }
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Returns whether the method may be tried again after it was sent (nginx's rule: all but
    /// POST, PATCH and LOCK).
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// Returns the request line and the header fields.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.bytes.split(|byte| *byte == b'\n');
        lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
    }

    pub(super) fn is_head_only(&self) -> bool {
        self.head_only
    }

    pub(super) fn asks_upgrade(&self) -> bool {
        self.upgrade
    }

    /// Ends the head with the framing of the body that follows it.
    pub(super) fn seal(&mut self, framing: RequestFraming) {
        if std::mem::replace(&mut self.sealed, true) {
            return;
        }
        let bytes = &mut self.bytes;
        match framing {
            RequestFraming::Length(0) if !self.body_expected => {}
            RequestFraming::Length(length) => {
                bytes.extend_from_slice(b"Content-Length: ");
                bytes.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
                bytes.extend_from_slice(b"\r\n");
            }
            RequestFraming::Chunked => bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        bytes.extend_from_slice(b"\r\n");
    }

    /// Returns the head; whole, once it is sealed.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// How the end of a request body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestFraming {
    /// By a count of bytes.
    Length(u64),
    /// By a last chunk.
    Chunked,
}

/// Writes the last chunk and the trailers that may follow a body.
pub(in crate::proxy) fn push_last_chunk(bytes: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    bytes.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        let name = name.as_str().as_bytes();
        if !is_framing(name) && !FORBIDDEN_TRAILERS.contains(&name) {
            push_field(bytes, name, value.as_bytes());
        }
    }
    bytes.extend_from_slice(b"\r\n");
}

/// Fields that change routing, framing or authentication and so never travel as trailers
/// (RFC 9110, section 6.5.1).
const FORBIDDEN_TRAILERS: [&[u8]; 8] = [
    b"host",
    b"authorization",
    b"connection",
    b"te",
    b"trailer",
    b"upgrade",
    b"expect",
    b"content-encoding",
];

fn is_framing(name: &[u8]) -> bool {
    match name.len() {
        14 => name.eq_ignore_ascii_case(b"content-length"),
        17 => name.eq_ignore_ascii_case(b"transfer-encoding"),
        _ => false,
    }
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && token_length(name) == name.len()
}

fn push_field(bytes: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    bytes.reserve(name.len() + value.len() + 4);
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(b": ");
    push_value(bytes, value);
}

/// Writes a value and the end of its line.
fn push_value(bytes: &mut Vec<u8>, value: &[u8]) {
    if text_length(value) == value.len() {
        bytes.extend_from_slice(value);
    } else {
        bytes.extend(value.iter().map(|&byte| if is_line_break(byte) { b' ' } else { byte }));
    }
    bytes.extend_from_slice(b"\r\n");
}

fn is_line_break(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | 0)
}

fn push_target(bytes: &mut Vec<u8>, target: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if target.is_empty() {
        bytes.push(b'/');
    }
    if target.bytes().fold(true, |plain, byte| plain & (byte > b' ') & (byte != 0x7f)) {
        bytes.extend_from_slice(target.as_bytes());
        return;
    }
    for byte in target.bytes() {
        if byte <= b' ' || byte == 0x7f {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            bytes.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            bytes.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(mut head: UpstreamHead, framing: RequestFraming) -> String {
        head.seal(framing);
        head.seal(framing);
        String::from_utf8(head.bytes).unwrap()
    }

    #[test]
    fn a_value_cannot_forge_a_header() {
        let mut head = UpstreamHead::new(&Method::GET, "/a b\r\nx: y");
        head.append(b"X-Case", b"one\r\nevil: 1");
        head.append(b"bad name", b"x");
        head.append(b"", b"x");

        assert_eq!(
            text(head, RequestFraming::Length(0)),
            "GET /a%20b%0D%0Ax:%20y HTTP/1.1\r\nX-Case: one  evil: 1\r\n\r\n"
        );
    }

    #[test]
    fn framing_comes_from_the_body_alone() {
        let told = |framing| {
            let mut head = UpstreamHead::new(&Method::POST, "/");
            head.append(b"Content-Length", b"7");
            head.append(b"Transfer-Encoding", b"chunked");
            text(head, framing)
        };
        assert_eq!(told(RequestFraming::Length(0)), "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(
            told(RequestFraming::Chunked),
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
    }

    #[test]
    fn a_head_knows_that_it_asks_for_another_protocol() {
        let mut head = UpstreamHead::new(&Method::GET, "/");
        head.append_own("Connection: ", b"keep-alive");
        assert!(!head.asks_upgrade());
        head.append_upgrade(b"websocket");
        assert!(head.asks_upgrade());
    }

    #[test]
    fn only_non_idempotent_methods_are_not_tried_again() {
        let idempotent = |name: &str| {
            UpstreamHead::new(&Method::from_bytes(name.as_bytes()).unwrap(), "/").is_idempotent()
        };
        assert!(["GET", "PUT", "DELETE", "HEAD", "OPTIONS"].into_iter().all(idempotent));
        assert!(!["POST", "PATCH", "LOCK"].into_iter().any(idempotent));
    }

    #[test]
    fn trailers_leave_out_what_steers_framing_or_routing() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("7"));
        trailers.insert("host", http::HeaderValue::from_static("evil"));
        trailers.insert("content-length", http::HeaderValue::from_static("9"));
        let mut bytes = Vec::new();
        push_last_chunk(&mut bytes, Some(&trailers));
        assert_eq!(bytes, b"0\r\nx-sum: 7\r\n\r\n");
    }
}
