//! Response heads: parsed strictly, so that we and the upstream agree where a message ends.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, StatusCode, Version};

use crate::headers::raw::{Layout, RawHeaders};
use crate::headers::{Headers, read_name};
use crate::plugins::exchange::ResponseHead as AnswerHead;

/// Longest response head.
pub(super) const HEAD_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 128;

/// A parsed head and what follows from it.
#[derive(Debug)]
pub(super) struct ResponseHead {
    /// What the client may get to see of it. Boxed: it is handed on many times.
    pub(super) answer: Box<AnswerHead>,
    /// Whether a header concerns this connection only.
    pub(super) hop_by_hop: bool,
    pub(super) framing: ResponseFraming,
    /// Whether the upstream lets the connection be used again.
    pub(super) keep_alive: bool,
}

/// How the end of a response body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseFraming {
    Length(u64),
    Chunked,
    UntilClose,
}

/// The bytes are no HTTP/1 response head, or one that two readers would read differently.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid response head: {0}")]
pub(super) struct HeadError(&'static str);

/// How many headers are usually added to an answer: room for them is made at once.
const HEADERS_ADDED: usize = 6;

/// Takes one head from the front of `buffer`; `None` asks for more bytes. `spans` is room to work
/// in.
pub(super) fn take_head(
    buffer: &mut BytesMut,
    spans: &mut Vec<Span>,
    answers_head: bool,
) -> Result<Option<ResponseHead>, HeadError> {
    match take_plain(buffer, answers_head) {
        Some(head) => Ok(Some(head)),
        None => take_any(buffer, spans, answers_head),
    }
}

/// Takes a head of whatever kind.
fn take_any(
    buffer: &mut BytesMut,
    spans: &mut Vec<Span>,
    answers_head: bool,
) -> Result<Option<ResponseHead>, HeadError> {
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, buffer, &mut slots) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() >= HEAD_MAX => {
            return Err(HeadError("it is too long"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError("too many headers")),
        Err(_) => return Err(HeadError("it is not HTTP/1")),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(HeadError("the status is out of range"))?;
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let reason = parsed.reason.filter(|reason| {
        !reason.is_empty() && status.canonical_reason().is_none_or(|usual| usual != *reason)
    });
    let reason = reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
    spans.clear();
    spans.extend(parsed.headers.iter().map(|field| Span::of(field, buffer)));

    let bytes = buffer.split_to(length).freeze();
    let mut seen = Seen::default();
    let mut headers = Headers::with_capacity(spans.len() + HEADERS_ADDED);
    for span in spans.iter() {
        let (name, value) = span.resolve(&bytes)?;
        seen.note(&name);
        headers.append(name, value);
    }
    let (framing, exact) = framing(status, version, answers_head, seen, &mut headers)?;
    let keep_alive = exact && allows_reuse(version, seen, &headers);
    let hop_by_hop = seen.hop_by_hop;
    let answer = Box::new(AnswerHead { status, reason, headers, raw: None, from_upstream: true });
    Ok(Some(ResponseHead { answer, hop_by_hop, framing, keep_alive }))
}

/// Takes a head of the plain kind that most are of; none, if it is not all there, or another.
fn take_plain(buffer: &mut BytesMut, answers_head: bool) -> Option<ResponseHead> {
    let (code, rest) = buffer.strip_prefix(b"HTTP/1.1 ")?.split_at_checked(3)?;
    let status = StatusCode::from_bytes(code).ok().filter(|it| !it.is_informational())?;
    let reason = status.canonical_reason()?;
    let rest = rest.strip_prefix(b" ")?.strip_prefix(reason.as_bytes())?.strip_prefix(b"\r\n")?;
    let start = buffer.len() - rest.len();
    let (layout, length) = Layout::read(rest)?;
    if start + length > HEAD_MAX {
        return None;
    }
    let (framing, keep_alive) = match layout.content_length {
        _ if is_bodiless(status, answers_head) => (ResponseFraming::Length(0), true),
        _ if layout.chunked => (ResponseFraming::Chunked, true),
        Some(length) => (ResponseFraming::Length(length), true),
        None => (ResponseFraming::UntilClose, false),
    };
    let mut lines = buffer.split_to(start + length).freeze();
    lines.advance(start);
    // Without the empty line.
    lines.truncate(length - 2);
    let raw = Some(RawHeaders::new(lines, layout));
    let headers = Headers::new();
    let answer = AnswerHead { status, reason: None, headers, raw, from_upstream: true };
    Some(ResponseHead { answer: Box::new(answer), hop_by_hop: false, framing, keep_alive })
}

fn is_bodiless(status: StatusCode, answers_head: bool) -> bool {
    answers_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Which of the fields that steer the connection a head has, so that others are not looked up.
#[derive(Clone, Copy, Default)]
struct Seen {
    connection: bool,
    hop_by_hop: bool,
    transfer_encoding: bool,
}

impl Seen {
    fn note(&mut self, name: &HeaderName) {
        match name.as_str() {
            "connection" => self.connection = true,
            "transfer-encoding" => self.transfer_encoding = true,
            "keep-alive" | "proxy-connection" | "upgrade" | "trailer" => {}
            _ => return,
        }
        self.hop_by_hop = true;
    }
}

/// Where a field lies in the head, so that values can share its bytes instead of copying them.
#[derive(Debug)]
pub(super) struct Span {
    name: (usize, usize),
    value: (usize, usize),
}

impl Span {
    fn of(field: &httparse::Header<'_>, buffer: &[u8]) -> Self {
        let start = buffer.as_ptr() as usize;
        let name = (field.name.as_ptr() as usize).wrapping_sub(start);
        let value = (field.value.as_ptr() as usize).wrapping_sub(start);
        Self {
            name: (name, name.saturating_add(field.name.len())),
            // An empty value may point anywhere.
            value: if field.value.is_empty() {
                (0, 0)
            } else {
                (value, value.saturating_add(field.value.len()))
            },
        }
    }

    fn resolve(&self, bytes: &Bytes) -> Result<(HeaderName, HeaderValue), HeadError> {
        let name = bytes.get(self.name.0..self.name.1).unwrap_or_default();
        let inside = self.value.0 <= self.value.1 && self.value.1 <= bytes.len();
        if !inside {
            return Err(HeadError("a header is malformed"));
        }
        let value = HeaderValue::from_maybe_shared(bytes.slice(self.value.0..self.value.1));
        match (read_name(name), value) {
            (Ok(name), Ok(value)) => Ok((name, value)),
            _ => Err(HeadError("a header is malformed")),
        }
    }
}

/// Decides how the body ends and removes the framing fields that no longer hold. The flag says
/// whether the framing was plain enough to use the connection again.
fn framing(
    status: StatusCode,
    version: Version,
    answers_head: bool,
    seen: Seen,
    headers: &mut Headers,
) -> Result<(ResponseFraming, bool), HeadError> {
    let chunked = seen.transfer_encoding && is_chunked(headers)?;
    let length = content_length(headers)?;
    if chunked {
        headers.remove(TRANSFER_ENCODING);
        headers.remove(CONTENT_LENGTH);
    } else if let Some(length) = length
        && headers.get_all(CONTENT_LENGTH).nth(1).is_some()
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(match (chunked, length) {
        _ if is_bodiless(status, answers_head) => (ResponseFraming::Length(0), true),
        (true, length) => {
            (ResponseFraming::Chunked, length.is_none() && version == Version::HTTP_11)
        }
        (false, Some(length)) => (ResponseFraming::Length(length), true),
        (false, None) => (ResponseFraming::UntilClose, false),
    })
}

/// Refuses every transfer coding but a single `chunked`.
fn is_chunked(headers: &Headers) -> Result<bool, HeadError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING);
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => {
            Ok(true)
        }
        _ => Err(HeadError("unknown transfer coding")),
    }
}

fn content_length(headers: &Headers) -> Result<Option<u64>, HeadError> {
    let mut found = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for part in value.as_bytes().split(|&byte| byte == b',') {
            let length = parse_length(part.trim_ascii())
                .ok_or(HeadError("content-length is not a number"))?;
            if found.is_some_and(|found| found != length) {
                return Err(HeadError("content-length is told twice"));
            }
            found = Some(length);
        }
    }
    Ok(found)
}

fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn allows_reuse(version: Version, seen: Seen, headers: &Headers) -> bool {
    if !seen.connection {
        return version == Version::HTTP_11;
    }
    let names = |token: &str| {
        headers
            .get_all(CONNECTION)
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    };
    if version == Version::HTTP_11 { !names("close") } else { names("keep-alive") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(text: &str, answers_head: bool) -> Result<Option<ResponseHead>, HeadError> {
        take_head(&mut BytesMut::from(text), &mut Vec::new(), answers_head)
    }

    fn framing_of(text: &str) -> Option<(ResponseFraming, bool)> {
        let head = take(text, false).ok().flatten()?;
        Some((head.framing, head.keep_alive))
    }

    #[test]
    fn framing_follows_the_head() {
        use ResponseFraming::{Chunked, Length, UntilClose};
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", (Length(5), true)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n", (Length(5), true)),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", (Chunked, true)),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
                (Chunked, false),
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", (UntilClose, false)),
            ("HTTP/1.1 204 No Content\r\n\r\n", (Length(0), true)),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", (Length(0), true)),
            ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n", (Length(5), false)),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: Keep-Alive\r\n\r\n",
                (Length(5), true),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: x, close\r\n\r\n",
                (Length(5), false),
            ),
        ] {
            assert_eq!(framing_of(text), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 099 Low\r\n\r\n",
        ] {
            assert!(take(text, false).is_err(), "{text:?}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_MAX));
        assert!(take(&endless, false).is_err());
    }

    #[test]
    fn head_answers_keep_their_length_and_have_no_body() {
        let head = take("HTTP/1.1 200 Fine\r\ncontent-length: 5\r\nempty:\r\n\r\n", true);
        let head = head.unwrap().unwrap();
        assert_eq!(head.framing, ResponseFraming::Length(0));
        assert_eq!(head.answer.headers.get("content-length").unwrap(), "5");
        assert_eq!(head.answer.headers.get("empty").unwrap(), "");
        assert_eq!(head.answer.reason.as_deref(), Some(b"Fine".as_slice()));
    }

    /// Lists the headers of a head that are passed on, sorted.
    fn listed(head: &ResponseHead) -> Vec<(String, Vec<u8>)> {
        let mut headers = head.answer.headers.clone();
        if let Some(raw) = &head.answer.raw {
            raw.list(&mut headers);
        }
        let pair = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.as_bytes().to_vec())
        };
        let passes = |name: &str| !matches!(name, "connection" | "keep-alive");
        let mut pairs: Vec<_> = headers.iter().map(pair).filter(|(name, _)| passes(name)).collect();
        pairs.sort_unstable();
        pairs
    }

    /// Pieces of heads, of the plain kind and not.
    fn head_lines() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            4 => proptest::sample::select(vec![
                "content-length", "Content-Length", "transfer-encoding", "Connection", "keep-alive",
                "Content-Type", "content-encoding", "Date", "server", "Via", "X-Kong-Proxy-Latency",
                "trailer", "upgrade", "proxy-connection", "x-config-hash", "set-cookie", "X", "",
                "bad name", " folded", "Content-Length ",
            ]).prop_map(str::to_owned),
            1 => "[!-~]{0,6}",
        ];
        let value = prop_oneof![
            4 => proptest::sample::select(vec![
                "5", "05", "5, 5", "+5", "chunked", "Chunked", "gzip", "keep-alive", "close", "text/plain",
                "", "  padded \t", "a\tb", "\u{7f}", "é", "99999999999999999999",
            ]).prop_map(str::to_owned),
            1 => "[ -~]{0,8}",
        ];
        let colon = proptest::sample::select(vec![": ", ":", " : ", ""]);
        let end =
            prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r\r\n"), 1 => Just("\r")];
        let line = (name, colon, value, end).prop_map(|(n, c, v, e)| format!("{n}{c}{v}{e}"));
        let status = proptest::sample::select(vec![
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 204 No Content\r\n",
            "HTTP/1.1 304 Not Modified\r\n",
            "HTTP/1.1 200 Fine\r\n",
            "HTTP/1.0 200 OK\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n",
            "HTTP/1.1 200 OK\n",
        ]);
        let end = proptest::sample::select(vec!["\r\n", "\n", "", "\r\nbody", "\r\n\r\n"]);
        (status, proptest::collection::vec(line, 0..6), end)
            .prop_map(|(status, lines, end)| format!("{status}{}{end}", lines.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn a_plain_head_is_what_the_parser_says_it_is(text in head_lines(), answers_head: bool) {
            let mut plain_rest = BytesMut::from(&*text);
            let Some(plain) = take_plain(&mut plain_rest, answers_head) else {
                prop_assert_eq!(&plain_rest, text.as_bytes());
                return Ok(());
            };
            let mut rest = BytesMut::from(&*text);
            let any = take_any(&mut rest, &mut Vec::new(), answers_head);
            let any = any.map_err(|error| TestCaseError::fail(error.to_string()))?;
            let any = any.ok_or_else(|| TestCaseError::fail("it is not whole"))?;
            prop_assert_eq!(plain_rest, rest);
            prop_assert_eq!(plain.answer.status, any.answer.status);
            prop_assert_eq!((plain.framing, plain.keep_alive), (any.framing, any.keep_alive));
            prop_assert_eq!(listed(&plain), listed(&any));
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(
            tail in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), any::<u8>()], 0..80),
            with_status in any::<bool>(),
        ) {
            let mut buffer = BytesMut::from(if with_status { "HTTP/1.1 200 OK\r\n" } else { "" });
            buffer.extend_from_slice(&tail);
            let _verdict = take_head(&mut buffer, &mut Vec::new(), false);
        }
    }
}
