//! Request heads: parsed strictly, so that whoever stands before or behind us reads the same
//! request. What two readers could read differently is refused (RFC 9112, sections 3, 5, 6 and 11).

mod host;
mod plain;
mod refusal;

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri, Version, header};

pub(in crate::proxy::listener) use self::host::is_host;
pub(in crate::proxy::listener) use self::refusal::Refusal;
use super::wire::Remaining;
use crate::headers::{Headers, Noted, RequestHead, debug, names_others, read_name};
use crate::proxy::chunk::ChunkDecoder;

/// Most headers of a request.
const HEADERS_MAX: usize = 128;

/// A parsed head and what follows from it.
pub(super) struct Head {
    pub(super) parts: Box<RequestHead>,
    pub(super) remaining: Remaining,
    /// Whether the client wants to use the connection again.
    pub(super) keep_alive: bool,
    /// Whether the client waits to be asked for its body.
    pub(super) expects_continue: bool,
    /// Whether trailers may be sent to it.
    pub(super) takes_trailers: bool,
}

/// Returns whether the end of a head may lie behind `from`, where the last search ended.
pub(super) fn may_end(input: &[u8], from: usize) -> bool {
    let fresh = input.get(from.saturating_sub(3)..).unwrap_or_default();
    memchr::memchr_iter(b'\n', fresh).any(|at| {
        let rest = fresh.get(at + 1..).unwrap_or_default();
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
}

/// Returns the first line of what was read; one without an end only if `unended` allows it.
pub(super) fn first_line(input: &[u8], unended: bool) -> &[u8] {
    let input = input.trim_ascii_start();
    match memchr::memchr(b'\n', input) {
        Some(end) => input.get(..end).unwrap_or_default().trim_ascii_end(),
        None if unended => input,
        None => b"",
    }
}

/// Takes one head from the front of `input`; `None` asks for more bytes. What is refused stays there.
pub(super) fn take(input: &mut BytesMut, length_max: usize) -> Result<Option<Head>, Refusal> {
    let bytes = std::mem::take(input).freeze();
    match parse(&bytes, length_max) {
        Ok(Some((head, length))) => {
            if let Some(rest) = bytes.get(length..).filter(|rest| !rest.is_empty()) {
                *input = BytesMut::from(rest);
            }
            Ok(Some(head))
        }
        not_taken => {
            *input = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
            not_taken.map(|_| None)
        }
    }
}

/// Returns the head that bytes begin with, and its length.
fn parse(bytes: &Bytes, length_max: usize) -> Result<Option<(Head, usize)>, Refusal> {
    match plain::parse(bytes, length_max) {
        Some(plain) => Ok(Some(plain)),
        None => parse_any(bytes, length_max),
    }
}

/// Returns a head of whatever kind, and its length.
fn parse_any(bytes: &Bytes, length_max: usize) -> Result<Option<(Head, usize)>, Refusal> {
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_request_with_uninit_headers(&mut parsed, bytes, &mut slots) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLong),
        Err(httparse::Error::Version) if names_a_version(bytes) => return Err(Refusal::Version),
        Err(_) => return Err(Refusal::Bad),
    };
    if length > length_max {
        return Err(Refusal::HeadTooLong);
    }
    if has_bare_line_feed(bytes.get(..length).unwrap_or_default()) {
        return Err(Refusal::Bad);
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(Refusal::Bad);
    };
    let mut fields = Fields::with_capacity(parsed.headers.len());
    for field in &*parsed.headers {
        fields.push(bytes, field.name.as_bytes(), field.value)?;
    }
    let (method, target) = (method.as_bytes(), target.as_bytes());
    let line = Line { method, target, http11: parsed.version == Some(1) };
    Ok(Some((build(bytes, &line, fields)?, length)))
}

/// Returns whether a request line ends in a version, though not in one that is spoken here.
fn names_a_version(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    let line = head.split(|byte| byte.is_ascii_control()).next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ').skip(2);
    let version = parts.next().and_then(|version| version.strip_prefix(b"HTTP/"));
    let is_number = |text: &[u8]| match text {
        [major, b'.', minor] => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    };
    version.is_some_and(is_number) && parts.next().is_none()
}

/// The parser takes a lone line feed for the end of a line; other readers do not.
fn has_bare_line_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head)
        .any(|at| at.checked_sub(1).and_then(|at| head.get(at)) != Some(&b'\r'))
}

/// The headers that steer the connection.
#[derive(Default)]
struct Steering<'b> {
    host: Option<&'b [u8]>,
    content_length: Option<u64>,
    chunked: bool,
    expects: bool,
    close: bool,
    keep_alive: bool,
    takes_trailers: bool,
    noted: Noted,
}

impl<'b> Steering<'b> {
    /// Takes note of a header; most are told apart by the length of their name.
    fn note(&mut self, name: &[u8], value: &'b [u8]) -> Result<(), Refusal> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        match name.len() {
            2 if is("te") => self.takes_trailers |= names(value, "trailers"),
            4 if is("host") => match self.host.replace(value) {
                None if is_host(value) => {}
                _ => return Err(Refusal::Bad),
            },
            6 if is("expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal::Expectation);
                }
                self.expects = true;
            }
            7 if is("upgrade") => self.noted.upgrade = true,
            10 if is("connection") => {
                self.close |= names(value, "close");
                self.keep_alive |= names(value, "keep-alive");
                self.noted.named |= names_others(value);
            }
            14 if is("content-length") => {
                let length = content_length(value).ok_or(Refusal::Bad)?;
                if self.content_length.replace(length).is_some() {
                    return Err(Refusal::Bad);
                }
            }
            17 if is("transfer-encoding") => {
                if self.chunked {
                    return Err(Refusal::Bad);
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::Coding);
                }
                self.chunked = true;
            }
            20 | 24 | 26 => {
                self.noted.debug |= std::str::from_utf8(name).is_ok_and(debug::is_about);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The headers, and what they say of the connection.
struct Fields<'b> {
    headers: Headers,
    steering: Steering<'b>,
}

impl<'b> Fields<'b> {
    fn with_capacity(count: usize) -> Self {
        Self { headers: Headers::with_capacity(count), steering: Steering::default() }
    }

    /// Adds a header; its value lies in `bytes`.
    fn push(&mut self, bytes: &Bytes, name: &[u8], value: &'b [u8]) -> Result<(), Refusal> {
        self.steering.note(name, value)?;
        let name = read_name(name);
        // An empty value may lie anywhere.
        let value = match value {
            [] => Ok(HeaderValue::from_static("")),
            value => HeaderValue::from_maybe_shared(bytes.slice_ref(value)),
        };
        let (Ok(name), Ok(value)) = (name, value) else { return Err(Refusal::Bad) };
        self.headers.append(name, value);
        Ok(())
    }
}

/// The first line.
struct Line<'b> {
    method: &'b [u8],
    target: &'b [u8],
    http11: bool,
}

fn build(bytes: &Bytes, line: &Line<'_>, fields: Fields<'_>) -> Result<Head, Refusal> {
    let Line { method, target, http11 } = *line;
    let Fields { mut headers, steering } = fields;
    let Steering { content_length, chunked, noted, .. } = steering;
    let remaining = match (content_length, chunked) {
        (Some(_), true) => return Err(Refusal::Bad),
        (_, true) if !http11 => return Err(Refusal::Bad),
        (_, true) => Remaining::Chunked(ChunkDecoder::new()),
        (Some(0) | None, false) => Remaining::None,
        (Some(length), false) => Remaining::Length(length),
    };
    if matches!(method, b"CONNECT" | b"TRACE") {
        return Err(Refusal::Method);
    }
    if !is_method(method) || http11 && steering.host.is_none() {
        return Err(Refusal::Bad);
    }
    let uri = uri(bytes, target, steering.host, &mut headers)?;
    let method = Method::from_bytes(method).map_err(|_| Refusal::Bad)?;
    let version = if http11 { Version::HTTP_11 } else { Version::HTTP_10 };
    // Boxed here: it is handed on many times, and never copied again.
    let parts = Box::new(RequestHead { method, uri, version, headers, noted });
    Ok(Head {
        parts,
        expects_continue: http11 && steering.expects && !matches!(remaining, Remaining::None),
        remaining,
        keep_alive: if http11 { !steering.close } else { steering.keep_alive && !steering.close },
        takes_trailers: http11 && steering.takes_trailers,
    })
}

/// Reads the target. Where it names a host, that is the host (RFC 9112, section 3.2.2).
fn uri(
    bytes: &Bytes,
    target: &[u8],
    host: Option<&[u8]>,
    headers: &mut Headers,
) -> Result<Uri, Refusal> {
    // A fragment is the client's own affair: who cuts it off asks for something else.
    if target.contains(&b'#') {
        return Err(Refusal::Bad);
    }
    if target.starts_with(b"/") {
        let shared = bytes.slice_ref(target);
        let path = PathAndQuery::from_maybe_shared(shared).map_err(|_| Refusal::Bad)?;
        return Ok(Uri::from(path));
    }
    let named = Uri::try_from(target).map_err(|_| Refusal::Bad)?;
    let (Some("http" | "https"), Some(authority)) = (named.scheme_str(), named.authority()) else {
        return Err(Refusal::Bad);
    };
    let authority = authority.as_str();
    if authority.is_empty() || !is_host(authority.as_bytes()) {
        return Err(Refusal::Bad);
    }
    if host != Some(authority.as_bytes()) {
        let value = HeaderValue::from_str(authority).map_err(|_| Refusal::Bad)?;
        headers.insert(header::HOST, value);
    }
    let path = named.path_and_query().cloned();
    Ok(Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/"))))
}

/// Returns whether a method is one of those that nginx knows to exist: others are refused there.
pub(in crate::proxy::listener) fn is_method(method: &[u8]) -> bool {
    method.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_'))
}

/// Reads a content-length: digits, and nothing else.
pub(in crate::proxy::listener) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Returns whether a list of tokens has this one.
fn names(list: &[u8], token: &str) -> bool {
    list.split(|byte| *byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests;
