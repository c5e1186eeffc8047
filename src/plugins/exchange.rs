//! One exchange: a request and its answer, as plugins see them.

use std::any::Any;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Version, header};
use uuid::Uuid;

pub use super::body::{BodyError, RequestBody};
use super::directory::{Caller, Credential};
use super::timing::Timing;
use crate::headers::raw::RawHeaders;
use crate::headers::{AsName, Headers, RequestHead};

/// The id of a request: 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// Writes 128 bits as an id.
    pub fn new(bits: u128) -> Self {
        let mut digits = [0; 32];
        for (i, eight) in digits.as_chunks_mut().0.iter_mut().enumerate() {
            *eight = hexadecimal((bits >> (32 * (3 - i))) as u32);
        }
        Self(digits)
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Returns the digits as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the id as a header value.
    ///
    /// It is marked as one that compression does not remember: no other answer has it, and HTTP/2's
    /// table would push out for it what all answers share.
    pub fn value(&self) -> HeaderValue {
        let value = HeaderValue::from_bytes(&self.0);
        let mut value = value.unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes a number as eight digits, all at once.
fn hexadecimal(number: u32) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // A nibble in each byte.
    let wide = u64::from(number);
    let wide = (wide | wide << 16) & 0x0000_ffff_0000_ffff;
    let wide = (wide | wide << 8) & 0x00ff_00ff_00ff_00ff;
    let wide = (wide | wide << 4) & (0x0f * EACH);
    let is_letter = (wide + 6 * EACH) >> 4 & EACH;
    let letters = is_letter * u64::from(b'a' - b'0' - 10);
    (wide + u64::from(b'0') * EACH + letters).to_be_bytes()
}

/// The connection that a request came on; shared by all its requests.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its number on its core.
    pub number: u64,
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// The address of `peer` as it is written in headers; written once, since every request needs it.
    pub peer_text: Box<str>,
    /// Our end of the socket.
    pub local: SocketAddr,
    /// The client, as a header of the PROXY protocol told it.
    pub announced: Option<SocketAddr>,
    /// Whether it is encrypted.
    pub tls: bool,
    /// The server name of its handshake.
    pub sni: Option<Box<str>>,
    /// What its requests say upstream of where they come from, as long as nobody said something before
    /// us: header lines, written for the first of them.
    pub origin_lines: OnceCell<Box<[u8]>>,
}

impl Connection {
    /// Describes an unencrypted connection.
    pub fn plain(number: u64, peer: SocketAddr, local: SocketAddr) -> Self {
        let peer_text = peer.ip().to_canonical().to_string().into();
        let (announced, tls, sni) = (None, false, None);
        Self { number, peer, peer_text, local, announced, tls, sni, origin_lines: OnceCell::new() }
    }
}

/// What the request is said to have looked like where it came in first.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// The address of the client.
    pub client: IpAddr,
    /// Whether the peer may say so.
    pub trusted: bool,
    /// Whether the client speaks HTTPS.
    pub https: bool,
}

/// When what happened.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When the head of the request was read.
    pub started: Instant,
    /// The same moment in milliseconds since 1970.
    pub started_ms: i64,
    /// When the request was handed to the upstream for the first time.
    pub sent: Option<Instant>,
    /// When the head of the upstream's answer was read.
    pub answered: Option<Instant>,
}

/// One try at an upstream, as log plugins tell it (reference gateway-4, section F.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Try {
    /// Who was asked.
    pub address: SocketAddr,
    /// When.
    pub started: Instant,
    /// What the failure counts as: 502, or 504 when something took too long.
    pub failure: Option<StatusCode>,
}

/// The tries at upstreams in their order. One is the rule, and takes no allocation.
#[derive(Debug, Default)]
pub struct Tries {
    first: Option<Try>,
    more: Vec<Try>,
}

impl Tries {
    /// Begins one more.
    pub fn begin(&mut self, address: SocketAddr, started: Instant) {
        let begun = Try { address, started, failure: None };
        match self.first {
            None => self.first = Some(begun),
            Some(_) => self.more.push(begun),
        }
    }

    /// Says that the last one failed.
    pub fn fail(&mut self, failure: StatusCode) {
        if let Some(last) = self.more.last_mut().or(self.first.as_mut()) {
            last.failure = Some(failure);
        }
    }

    /// Returns them, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &Try> {
        self.first.iter().chain(&self.more)
    }
}

/// The head of the answer.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// What an upstream called the status, where that is not its usual name.
    pub reason: Option<Bytes>,
    /// The headers, but those in `raw`.
    pub headers: Headers,
    /// Lines of an upstream that are passed on as they are. No plugin sees any: they are listed before
    /// one looks.
    pub raw: Option<RawHeaders>,
    /// Whether it came from the upstream.
    pub from_upstream: bool,
}

impl ResponseHead {
    /// Begins an answer of our own.
    pub fn own(status: StatusCode, headers: Headers) -> Self {
        Self { status, reason: None, headers, raw: None, from_upstream: false }
    }

    /// Lists all headers.
    pub fn list(&mut self) {
        if let Some(raw) = self.raw.take() {
            raw.list(&mut self.headers);
        }
    }
}

/// A request and its answer.
pub struct Exchange {
    /// Its id.
    pub id: RequestId,
    /// The connection that it came on.
    pub connection: Rc<Connection>,
    /// How many requests came on that connection, this one included.
    pub requests: u64,
    /// The head of the request; what plugins change goes upstream.
    pub request: Box<RequestHead>,
    /// The body of the request.
    pub body: RequestBody,
    /// Where the request came from.
    pub forwarded: Forwarded,
    /// When what happened.
    pub times: Times,
    /// The tries at upstreams.
    pub tries: Tries,
    /// Who is calling.
    pub caller: Option<Arc<Caller>>,
    /// By which credential that is known; none for an anonymous consumer.
    pub credential: Option<Arc<Credential>>,
    /// Headers of the answer, whoever will make it.
    pub added: Vec<(HeaderName, HeaderValue)>,
    /// What lives until the answer is over.
    pub held: Option<Box<dyn Any>>,
    /// The answer once there is one.
    pub response: Option<Box<ResponseHead>>,
    /// Where its time goes, if it is debugged.
    pub timing: Option<Box<Timing>>,
    /// The normalised path, when it differs from the one sent.
    normal_path: Option<String>,
    /// The query that goes upstream, when a plugin changed it.
    query: Option<Option<String>>,
    scratch: Vec<(Uuid, Box<dyn Any>)>,
}

impl Exchange {
    /// Starts an exchange. `normal_path` is the normalised path if it is not the one sent.
    pub fn new(
        id: RequestId,
        connection: Rc<Connection>,
        request: Box<RequestHead>,
        body: RequestBody,
        forwarded: Forwarded,
        times: Times,
        normal_path: Option<String>,
    ) -> Self {
        Self {
            id,
            connection,
            requests: 1,
            request,
            body,
            forwarded,
            times,
            tries: Tries::default(),
            caller: None,
            credential: None,
            added: Vec::new(),
            held: None,
            response: None,
            timing: None,
            normal_path,
            query: None,
            scratch: Vec::new(),
        }
    }

    /// Returns the normalised path.
    pub fn path(&self) -> &str {
        self.normal_path.as_deref().unwrap_or_else(|| self.request.uri.path())
    }

    /// Returns the query as it goes upstream.
    pub fn query(&self) -> Option<&str> {
        match &self.query {
            Some(changed) => changed.as_deref(),
            None => self.request.uri.query(),
        }
    }

    /// Returns path and query as they came, if they are what goes upstream of them. A target that names a host may
    /// have a query without a path.
    pub fn target(&self) -> Option<&str> {
        let is_kept = self.normal_path.is_none() && self.query.is_none();
        let target = self.request.uri.path_and_query().filter(|_| is_kept)?.as_str();
        target.starts_with('/').then_some(target)
    }

    /// Replaces the query.
    pub fn replace_query(&mut self, query: Option<String>) {
        self.query = Some(query);
    }

    /// Returns the host that the client asked for, with its port if it gave one.
    pub fn authority(&self) -> &str {
        let header = self.request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        header.or_else(|| self.request.uri.authority().map(|a| a.as_str())).unwrap_or_default()
    }

    /// Returns the address of the client as text.
    pub fn client_text(&self) -> Cow<'_, str> {
        if self.forwarded.trusted {
            return self.forwarded.client.to_string().into();
        }
        (&*self.connection.peer_text).into()
    }

    /// Returns the host that the client asked for, without its port.
    pub fn host(&self) -> &str {
        without_port(self.authority())
    }

    /// Returns a request header if it is text.
    pub fn header(&self, name: impl AsName) -> Option<&str> {
        self.request.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns whether the client speaks gRPC.
    pub fn is_grpc(&self) -> bool {
        self.header(header::CONTENT_TYPE).is_some_and(|mime| mime.starts_with("application/grpc"))
    }

    /// Returns whether the request came by HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.request.version == Version::HTTP_2
    }

    /// Returns what the plugin instance `id` keeps for this exchange.
    pub fn scratch<T: 'static>(&self, id: Uuid) -> Option<&T> {
        self.scratch.iter().find(|(owner, _)| *owner == id)?.1.downcast_ref()
    }

    /// Keeps a value for the plugin instance `id` until the exchange is over.
    pub fn keep<T: 'static>(&mut self, id: Uuid, value: T) {
        self.scratch.retain(|(owner, _)| *owner != id);
        self.scratch.push((id, Box::new(value)));
    }
}

/// Parts a host from its port, if it has one; an IPv6 address keeps its brackets.
pub fn split_port(authority: &str) -> (&str, Option<u16>) {
    let host = without_port(authority);
    let port = authority.get(host.len() + 1..).and_then(|port| port.parse().ok());
    (host, port)
}

/// Cuts the port off a host; an IPv6 address keeps its brackets.
pub fn without_port(authority: &str) -> &str {
    let last = authority.bytes().rposition(|byte| matches!(byte, b':' | b']'));
    match last.and_then(|at| authority.split_at_checked(at)) {
        Some((host, rest)) if rest.starts_with(':') => host,
        _ => authority,
    }
}

/// Builds exchanges for tests.
#[cfg(test)]
pub(crate) mod fixture {
    use super::*;
    use http::Request;

    /// Returns an exchange of a request, started at `started_ms`.
    pub(crate) fn exchange_at(request: Request<RequestBody>, started_ms: i64) -> Exchange {
        let (request, body) = request.into_parts();
        let (peer, local) = (([10, 0, 0, 1], 4000).into(), ([10, 0, 0, 2], 8000).into());
        let connection = Rc::new(Connection::plain(3, peer, local));
        let forwarded = Forwarded { client: connection.peer.ip(), trusted: false, https: false };
        let times = Times { started: Instant::now(), started_ms, sent: None, answered: None };
        let id = RequestId::new(0xabc);
        let exchange =
            Exchange::new(id, connection, Box::new(request.into()), body, forwarded, times, None);
        Exchange { requests: 2, ..exchange }
    }

    /// Returns an exchange of a request.
    pub(crate) fn exchange(request: Request<RequestBody>) -> Exchange {
        exchange_at(request, 1_700_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_32_digits() {
        assert_eq!(RequestId::new(0xabc).as_str(), "00000000000000000000000000000abc");
        assert_eq!(RequestId::new(u128::MAX).as_str(), "f".repeat(32));
        let bits = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;
        assert_eq!(RequestId::new(bits).as_str(), "0123456789abcdeffedcba9876543210");
    }

    #[test]
    fn a_target_is_what_came_unless_it_is_changed_or_lacks_its_path() {
        for (uri, target) in [
            ("/a?b", Some("/a?b")),
            ("/", Some("/")),
            ("http://h/a?b", Some("/a?b")),
            ("http://h?b", None),
        ] {
            let request = http::Request::get(uri).body(RequestBody::Empty).unwrap();
            let mut exchange = fixture::exchange(request);
            assert_eq!(exchange.target(), target, "{uri}");
            exchange.replace_query(Some("c".to_owned()));
            assert_eq!(exchange.target(), None);
        }
    }

    #[test]
    fn tries_are_told_in_order_with_what_failed() {
        let mut tries = Tries::default();
        tries.fail(StatusCode::BAD_GATEWAY);
        for (port, failure) in [(1, Some(StatusCode::BAD_GATEWAY)), (2, None), (3, None)] {
            tries.begin(([127, 0, 0, 1], port).into(), Instant::now());
            if let Some(failure) = failure {
                tries.fail(failure);
            }
        }
        tries.fail(StatusCode::GATEWAY_TIMEOUT);
        let told: Vec<_> = tries.iter().map(|it| (it.address.port(), it.failure)).collect();
        let (bad, late) = (StatusCode::BAD_GATEWAY, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(told, [(1, Some(bad)), (2, None), (3, Some(late))]);
    }

    #[test]
    fn ports_are_cut_off() {
        for (authority, host, port) in [
            ("a:80", "a", Some(80)),
            ("a", "a", None),
            ("a:", "a", None),
            ("a:x", "a", None),
            ("[::1]:80", "[::1]", Some(80)),
            ("[::1]", "[::1]", None),
            ("", "", None),
        ] {
            assert_eq!(without_port(authority), host);
            assert_eq!(split_port(authority), (host, port));
        }
    }
}
