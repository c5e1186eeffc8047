//! Requests out of fields (RFC 9113, section 8.3): the one place where they are built.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};

use super::hpack::{Field, Pseudo, Sink};
use crate::headers::{Headers, Noted, RequestHead, debug};
use crate::proxy::listener::http1::{Refusal, content_length, is_host, is_method};

/// A request without its body.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) head: Box<RequestHead>,
    /// How long the body is, where that was told.
    pub(super) length: Option<u64>,
    /// Whether the client waits to be asked for the body.
    pub(super) expects_continue: bool,
    /// Whether it is a call of gRPC, whose client may have nothing to say for hours.
    pub(super) is_call: bool,
}

/// Why there is no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    /// It is none: its stream ends (section 8.1.1).
    Malformed,
    /// It is answered without a handler; what a request line of HTTP/1 would be, for the log.
    Refused(Refusal, Vec<u8>),
}

/// The fields of a request as they come.
#[derive(Debug)]
pub(super) struct RequestFields {
    bound: Bound,
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    headers: Headers,
    /// Whether the fields about the request itself are over.
    has_begun: bool,
    /// Whether it is answered, though not served.
    is_bad: bool,
    hosts: usize,
    length: Option<u64>,
    expects_continue: bool,
    is_call: bool,
    noted: Noted,
}

impl RequestFields {
    /// Takes fields of at most `max` bytes in all.
    pub(super) fn new(max: u32) -> Self {
        Self {
            bound: Bound::new(max),
            method: None,
            scheme: None,
            authority: None,
            path: None,
            headers: Headers::with_capacity(12),
            has_begun: false,
            is_bad: false,
            hosts: 0,
            length: None,
            expects_continue: false,
            is_call: false,
            noted: Noted::default(),
        }
    }

    fn pseudo(&mut self, name: Pseudo, value: Bytes) {
        let place = match name {
            Pseudo::Method => &mut self.method,
            Pseudo::Scheme => &mut self.scheme,
            Pseudo::Authority => &mut self.authority,
            Pseudo::Path => &mut self.path,
            Pseudo::Status => return self.bound.malformed = true,
        };
        // They come before the others, each once.
        self.bound.malformed |= self.has_begun || place.replace(value).is_some();
    }

    fn regular(&mut self, name: HeaderName, value: HeaderValue) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.begin();
        }
        match name.as_str() {
            "host" => {
                self.hosts += 1;
                // The host was named already.
                if let Some(authority) = &self.authority {
                    self.is_bad |= !value.as_bytes().eq_ignore_ascii_case(authority);
                    return;
                }
            }
            "expect" => {
                self.expects_continue = value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            }
            "content-type" => self.is_call = value.as_bytes().starts_with(b"application/grpc"),
            "content-length" => {
                let length = content_length(value.as_bytes());
                let is_second = self.length.is_some();
                self.length = length;
                self.bound.malformed |= is_second || length.is_none();
            }
            debug::WANTED | debug::TOKEN | debug::LOG => self.noted.debug = true,
            name => self.bound.malformed |= is_of_connection(name, value.as_bytes()),
        }
        self.headers.append(name, value);
    }

    /// Puts the authority where a request of HTTP/1 has it (RFC 9113, section 8.3.1), in front: it
    /// is asked for first.
    fn begin(&mut self) {
        if let Some(authority) = &self.authority {
            match HeaderValue::from_maybe_shared(authority.clone()) {
                Ok(host) => self.headers.append(header::HOST, host),
                Err(_) => self.is_bad = true,
            }
        }
    }

    /// Makes the request; `whole` says that no body follows.
    pub(super) fn finish(mut self, whole: bool) -> Result<Asked, Unasked> {
        if self.bound.is_over() {
            let line = line(self.method.as_ref(), self.path.as_ref());
            return Err(Unasked::Refused(Refusal::HeadTooLong, line));
        }
        let is_lost = self.bound.malformed || whole && self.length.is_some_and(|length| length > 0);
        let (Some(method), false) = (self.method.take(), is_lost) else {
            return Err(Unasked::Malformed);
        };
        if method == "CONNECT" {
            // Section 8.5.
            let is_whole = self.authority.is_some() && self.scheme.is_none() && self.path.is_none();
            let line = line(Some(&method), self.authority.as_ref());
            let refused = Unasked::Refused(Refusal::Method, line);
            return Err(if is_whole { refused } else { Unasked::Malformed });
        }
        let (Some(scheme), Some(path)) = (self.scheme.take(), self.path.take()) else {
            return Err(Unasked::Malformed);
        };
        if path.is_empty() || !is_scheme(&scheme) {
            return Err(Unasked::Malformed);
        }
        if method == "TRACE" {
            return Err(Unasked::Refused(Refusal::Method, line(Some(&method), Some(&path))));
        }
        let built = self.build(&method, &path);
        built.ok_or_else(|| Unasked::Refused(Refusal::Bad, line(Some(&method), Some(&path))))
    }

    /// Holds what is well-formed to what a request of HTTP/1 is held to.
    fn build(mut self, method: &[u8], path: &Bytes) -> Option<Asked> {
        if !self.has_begun {
            self.begin();
        }
        let is_host = self.headers.get(header::HOST).is_some_and(|host| is_host(host.as_bytes()));
        let is_path = path.starts_with(b"/") && !path.contains(&b'#');
        if self.is_bad || self.hosts > 1 || !is_host || !is_path || !is_method(method) {
            return None;
        }
        let head = Box::new(RequestHead {
            method: Method::from_bytes(method).ok()?,
            uri: Uri::from(PathAndQuery::from_maybe_shared(path.clone()).ok()?),
            version: Version::HTTP_2,
            headers: self.headers,
            noted: self.noted,
        });
        Some(Asked {
            head,
            length: self.length,
            expects_continue: self.expects_continue,
            is_call: self.is_call,
        })
    }
}

impl Sink for RequestFields {
    fn is_full(&self) -> bool {
        self.bound.is_full()
    }

    fn take(&mut self, field: Field, size: usize) {
        if self.bound.admits(size) {
            match field {
                Field::Pseudo(name, value) => self.pseudo(name, value),
                Field::Regular(name, value) => self.regular(name, value),
                Field::Malformed => self.bound.malformed = true,
            }
        }
    }
}

/// Writes what a request line of HTTP/1 would be; nothing, when the first fields are missing.
fn line(method: Option<&Bytes>, target: Option<&Bytes>) -> Vec<u8> {
    let Some((method, target)) = method.zip(target) else { return Vec::new() };
    [method, b" ".as_slice(), target, b" HTTP/2.0"].concat()
}

/// The fields behind a body.
#[derive(Debug)]
pub(super) struct TrailerFields {
    bound: Bound,
    headers: HeaderMap,
}

impl TrailerFields {
    /// Takes fields of at most `max` bytes in all.
    pub(super) fn new(max: u32) -> Self {
        Self { bound: Bound::new(max), headers: HeaderMap::new() }
    }

    /// Returns them; none when they are malformed or too many.
    pub(super) fn finish(self) -> Option<HeaderMap> {
        (!self.bound.is_full()).then_some(self.headers)
    }
}

impl Sink for TrailerFields {
    fn is_full(&self) -> bool {
        self.bound.is_full()
    }

    fn take(&mut self, field: Field, size: usize) {
        match field {
            Field::Regular(name, value) if self.bound.admits(size) => {
                self.bound.malformed |= is_of_connection(name.as_str(), value.as_bytes());
                self.headers.append(name, value);
            }
            // Section 8.1: nothing is said of a message behind it.
            _ => self.bound.malformed = true,
        }
    }
}

/// Fields of a stream that is over: they are decoded, since the table needs that.
#[derive(Debug)]
pub(super) struct NoFields;

impl Sink for NoFields {
    fn is_full(&self) -> bool {
        true
    }

    fn take(&mut self, _field: Field, _size: usize) {}
}

/// What ends the taking of fields.
#[derive(Debug)]
struct Bound {
    size: usize,
    max: usize,
    malformed: bool,
}

impl Bound {
    fn new(max: u32) -> Self {
        Self { size: 0, max: usize::try_from(max).unwrap_or(usize::MAX), malformed: false }
    }

    fn admits(&mut self, size: usize) -> bool {
        self.size = self.size.saturating_add(size);
        !self.is_over()
    }

    fn is_over(&self) -> bool {
        self.size > self.max
    }

    fn is_full(&self) -> bool {
        self.malformed || self.is_over()
    }
}

/// Returns whether a field speaks of a connection, which none of HTTP/2 does (section 8.2.2).
fn is_of_connection(name: &str, value: &[u8]) -> bool {
    match name {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => true,
        "te" => !value.eq_ignore_ascii_case(b"trailers"),
        _ => false,
    }
}

fn is_scheme(scheme: &[u8]) -> bool {
    let is_sign = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    scheme.first().is_some_and(u8::is_ascii_alphabetic) && scheme.iter().all(is_sign)
}
