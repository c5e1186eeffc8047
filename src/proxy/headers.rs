//! Headers on their way: hop-by-hop ones stay here, what we add is added
//! (reference gateway-3, sections D.1 and D.2).

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Version, header};

use super::listener::Additions;
use super::settings::{Network, OwnHeaders, ProxySettings, SERVER};
use super::upstream::UpstreamHead;
use crate::clock::turn;
use crate::domain::hash::ConfigHash;
use crate::headers::raw::RawHeaders;
use crate::headers::{Headers, RequestHead, names_others};
use crate::plugins::exchange::{Connection, Exchange, Forwarded, ResponseHead};

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PATH: HeaderName = HeaderName::from_static("x-forwarded-path");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
pub(super) const X_KONG_UPSTREAM_STATUS: HeaderName =
    HeaderName::from_static("x-kong-upstream-status");

/// Says where a request came from first, as far as the peer may tell.
pub(super) fn forwarded(
    settings: &ProxySettings,
    headers: &Headers,
    connection: &Connection,
) -> Forwarded {
    let (peer, tls) = (connection.peer.ip().to_canonical(), connection.tls);
    let trusts =
        |address| settings.trusted.iter().any(|network: &Network| network.contains(address));
    if settings.trusted.is_empty() || !trusts(peer) {
        return Forwarded { client: peer, trusted: false, https: tls };
    }
    let proto = headers.get(X_FORWARDED_PROTO).and_then(|value| value.to_str().ok());
    let https = proto.map_or(tls, |proto| proto.eq_ignore_ascii_case("https"));
    let mut client = peer;
    if settings.real_ip_header == PROXY_PROTOCOL {
        client = connection.announced.map_or(peer, |it| it.ip().to_canonical());
        return Forwarded { client, trusted: true, https };
    }
    let said: Vec<&HeaderValue> = headers.get_all(settings.real_ip_header.as_str()).collect();
    let said = said.iter().rev().flat_map(|value| value.as_bytes().rsplit(is_between));
    for address in said.filter(|address| !address.is_empty()) {
        // What stands before something unreadable is nobody's word.
        let Some(address) = address_in(address) else { break };
        client = address;
        if !settings.real_ip_recursive || !trusts(address) {
            break;
        }
    }
    Forwarded { client, trusted: true, https }
}

/// The value of `real_ip_header` that stands for the PROXY protocol.
const PROXY_PROTOCOL: &str = "proxy_protocol";

fn is_between(byte: &u8) -> bool {
    matches!(byte, b',' | b' ' | b'\t')
}

/// Reads an address, with or without a port.
fn address_in(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().ok().map(|it: std::net::SocketAddr| it.ip());
    let ip: Option<IpAddr> = text.parse().ok().or_else(bracketed).or_else(with_port);
    ip.map(|ip| ip.to_canonical())
}

/// Returns whether one of the `Connection` lines names a header.
fn is_named(headers: &Headers, name: &HeaderName) -> bool {
    let lines = headers.get_all(header::CONNECTION);
    lines
        .filter_map(|line| line.to_str().ok())
        .any(|line| line.split(',').any(|token| token.trim().eq_ignore_ascii_case(name.as_str())))
}

/// Returns what the `Connection` lines name. A set, since a client may name thousands; empty, which
/// costs nothing, for those that most connections have.
fn named(headers: &Headers) -> HashSet<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).map(HeaderValue::as_bytes);
    let lines = lines.filter(|line| names_others(line));
    let tokens = lines.flat_map(|line| line.split(|byte| *byte == b','));
    tokens.filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok()).collect()
}

/// Returns what the client wants to upgrade to. HTTP/2 is not begun behind our back, as what goes
/// through it would pass no route and no plugin; and what follows a body is not told apart from it.
pub(super) fn upgrade(request: &RequestHead) -> Option<&HeaderValue> {
    if !request.noted.upgrade {
        return None;
    }
    let headers = &request.headers;
    let mut wanted = headers.get_all(header::UPGRADE);
    let (Some(upgrade), None) = (wanted.next(), wanted.next()) else { return None };
    let is_http2 = |token: &[u8]| {
        let name = token.trim_ascii_start().get(..2);
        name.is_some_and(|name| name.eq_ignore_ascii_case(b"h2"))
    };
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    let is_refused = has_body || upgrade.as_bytes().split(|byte| *byte == b',').any(is_http2);
    (!is_refused && is_named(headers, &header::UPGRADE)).then_some(upgrade)
}

/// Takes away what a client says concerns its connection to us only. What plugins add later stays,
/// and so does what we write or read ourselves: nobody takes that away by naming it.
pub(super) fn strip_request(request: &mut RequestHead) {
    if request.noted.named {
        let named = named(&request.headers);
        let is_ours = |name: &HeaderName| {
            *name == header::CONTENT_LENGTH || is_own(name, &mut Seen::default())
        };
        request.headers.retain(|name, _| !named.contains(name) || is_ours(name));
    }
}

/// What of the request line goes upstream.
pub(super) struct Line<'a> {
    /// Path and query.
    pub(super) target: &'a str,
    /// The Host.
    pub(super) host: &'a str,
    /// What was stripped from the path, if it was.
    pub(super) prefix: Option<&'a str>,
}

/// Writes the head that goes upstream, into an empty buffer.
pub(super) fn request_head(
    settings: &ProxySettings,
    exchange: &Exchange,
    line: &Line<'_>,
    buffer: Vec<u8>,
) -> UpstreamHead {
    let headers = &exchange.request.headers;
    let mut head = UpstreamHead::write(buffer, &exchange.request.method, line.target);
    head.append_own("Host: ", line.host.as_bytes());
    let mut seen = Seen { http2: exchange.request.version == Version::HTTP_2, ..Seen::default() };
    for (name, value) in headers {
        if !is_own(name, &mut seen) {
            head.append_header(name, value);
        }
    }
    match upgrade(&exchange.request).filter(|_| seen.upgrade) {
        Some(wanted) => head.append_upgrade(wanted.as_bytes()),
        None => head.append_line("Connection: ", b"keep-alive"),
    }
    if seen.te && takes_trailers(headers) {
        head.append_line("TE: ", b"trailers");
    }
    if seen.cookie {
        let crumbs = headers.get_all(header::COOKIE);
        let crumbs: Vec<&[u8]> = crumbs.flat_map(|crumb| [&b"; "[..], crumb.as_bytes()]).collect();
        head.append_joined(b"Cookie", crumbs.get(1..).unwrap_or_default());
    }
    append_forwarded(settings, exchange, line, seen, &mut head);
    if settings.upstream_request_id {
        head.append_line("X-Kong-Request-Id: ", exchange.id.as_bytes());
    }
    head
}

fn names_trailers(te: &str) -> bool {
    te.split(',').any(|token| token.trim().eq_ignore_ascii_case("trailers"))
}

/// Returns whether a client says that it takes trailers.
pub(super) fn takes_trailers(headers: &Headers) -> bool {
    headers.get(header::TE).and_then(|te| te.to_str().ok()).is_some_and(names_trailers)
}

/// Which of the headers that are looked at once more the request has: most have none.
#[derive(Clone, Copy, Default)]
struct Seen {
    http2: bool,
    cookie: bool,
    upgrade: bool,
    te: bool,
    via: bool,
    forwarded_for: bool,
}

/// Returns whether a request header is written by us, or not at all: it concerns this connection
/// only, or says where the request came from.
fn is_own(name: &HeaderName, seen: &mut Seen) -> bool {
    // One comparison of texts, which is by length first: this runs for every header.
    match name.as_str() {
        "upgrade" => seen.upgrade = true,
        "te" => seen.te = true,
        // HTTP/2 lets clients send a field for each cookie, HTTP/1 does not (RFC 9113, 8.2.3).
        "cookie" if seen.http2 => seen.cookie = true,
        "via" => seen.via = true,
        "x-forwarded-for" => seen.forwarded_for = true,
        "host" | "connection" | "transfer-encoding" | "keep-alive" | "proxy"
        | "proxy-connection" | "http2-settings" | "expect" | "x-real-ip" | "x-kong-request-id"
        | "x-forwarded-proto" | "x-forwarded-host" | "x-forwarded-port" | "x-forwarded-path"
        | "x-forwarded-prefix" => {}
        _ => return false,
    }
    true
}

/// Says where a request comes from, and as what it came to us.
fn append_forwarded(
    settings: &ProxySettings,
    exchange: &Exchange,
    line: &Line<'_>,
    seen: Seen,
    head: &mut UpstreamHead,
) {
    let headers = &exchange.request.headers;
    let trusted =
        |name: &HeaderName| exchange.forwarded.trusted.then(|| headers.get(name)).flatten();
    let told = |name: &HeaderName| trusted(name).map(HeaderValue::as_bytes);
    let is_alone = !(exchange.forwarded.trusted || seen.forwarded_for || seen.via);
    if is_alone && exchange.request.version != Version::HTTP_10 {
        let written = || origin_lines(settings, exchange);
        head.append_lines(exchange.connection.origin_lines.get_or_init(written));
    } else {
        append_origin(settings, exchange, seen, told, head);
    }
    let host = told(&X_FORWARDED_HOST).unwrap_or_else(|| exchange.host().as_bytes());
    head.append_line("X-Forwarded-Host: ", host);
    let path = told(&X_FORWARDED_PATH).unwrap_or_else(|| exchange.request.uri.path().as_bytes());
    head.append_line("X-Forwarded-Path: ", path);
    let own = line.prefix.filter(|prefix| *prefix != "/").map(str::as_bytes);
    if let Some(prefix) = told(&X_FORWARDED_PREFIX).or(own) {
        head.append_own("X-Forwarded-Prefix: ", prefix);
    }
}

/// Writes what all requests of a connection say that nobody spoke for before.
fn origin_lines(settings: &ProxySettings, exchange: &Exchange) -> Box<[u8]> {
    let mut head = UpstreamHead::default();
    append_origin(settings, exchange, Seen::default(), |_| None, &mut head);
    head.into_bytes().into()
}

/// Says by what connection a request came.
fn append_origin<'h>(
    settings: &ProxySettings,
    exchange: &'h Exchange,
    seen: Seen,
    told: impl Fn(&HeaderName) -> Option<&'h [u8]>,
    head: &mut UpstreamHead,
) {
    let headers = &exchange.request.headers;
    let scheme: &[u8] = if exchange.connection.tls { b"https" } else { b"http" };
    head.append_line("X-Forwarded-Proto: ", told(&X_FORWARDED_PROTO).unwrap_or(scheme));
    let mut digits = itoa::Buffer::new();
    let port = digits.format(settings.outside_port(exchange.connection.local.port())).as_bytes();
    head.append_line("X-Forwarded-Port: ", told(&X_FORWARDED_PORT).unwrap_or(port));
    let client = exchange.client_text();
    if seen.forwarded_for {
        let values = headers.get_all(X_FORWARDED_FOR);
        let mut hops: Vec<&[u8]> = values.flat_map(|value| [value.as_bytes(), b", "]).collect();
        hops.push(exchange.connection.peer_text.as_bytes());
        head.append_joined(b"X-Forwarded-For", &hops);
    } else {
        head.append_line("X-Forwarded-For: ", client.as_bytes());
    }
    head.append_line("X-Real-IP: ", client.as_bytes());
    let own = via_text(exchange.request.version).as_bytes();
    if seen.via {
        let values = headers.get_all(header::VIA);
        let mut hops: Vec<&[u8]> = values.flat_map(|value| [value.as_bytes(), b", "]).collect();
        hops.push(own);
        head.append_joined(b"Via", &hops);
    } else {
        head.append_line("Via: ", own);
    }
}

/// Returns how we stand in `Via`: the version that a message came by, and [`SERVER`].
fn via_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2 kong/3.9.1",
        Version::HTTP_10 => "1.0 kong/3.9.1",
        _ => "1.1 kong/3.9.1",
    }
}

/// Takes away what concerned the connection to the upstream only.
pub(super) fn strip_response(headers: &mut Headers, upgraded: bool, takes_trailers: bool) {
    if !takes_trailers {
        headers.remove(header::TRAILER);
    }
    let named = named(headers);
    headers.retain(|name, _| match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" => false,
        "upgrade" => upgraded,
        _ => !named.contains(name),
    });
}

/// Returns what every answer gets.
pub(super) fn additions(
    own: OwnHeaders,
    exchange: &Exchange,
    head: &ResponseHead,
    config_hash: &ConfigHash,
) -> Additions {
    let times = &exchange.times;
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut additions = Additions {
        request_id: own.request_id.then_some(exchange.id),
        config_hash: own.config_hash.then(|| config_hash.to_string().into()),
        ..Additions::default()
    };
    if !head.from_upstream {
        additions.server = own.server.then_some(SERVER);
        let waited = || millis(turn::now().saturating_duration_since(times.started));
        additions.response_latency_ms = own.response_latency.then(waited);
        return additions;
    }
    if own.via {
        let is_http2 = exchange.is_http2() && exchange.is_grpc();
        let version = if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        additions.via = Some(via_text(version));
    }
    let raw = head.raw.as_ref().map(RawHeaders::layout);
    let has_server = raw.is_some_and(|raw| raw.has_server);
    if own.server && !has_server && !head.headers.contains_key(header::SERVER) {
        additions.server = Some(SERVER);
    }
    if let (Some(sent), Some(answered)) = (times.sent, times.answered) {
        let waited = answered.saturating_duration_since(sent);
        let whole = answered.saturating_duration_since(times.started);
        additions.upstream_latency_ms = own.upstream_latency.then(|| millis(waited));
        let ours = || millis(whole.saturating_sub(waited));
        additions.proxy_latency_ms = own.proxy_latency.then(ours);
    }
    additions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn via_names_the_server() {
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(via_text(version).split_once(' ').unwrap().1, SERVER);
        }
    }

    #[test]
    fn what_connection_names_is_told_by_the_list_of_tokens() {
        let named = |lines: &[&'static str]| {
            let lines =
                lines.iter().map(|line| (header::CONNECTION, HeaderValue::from_static(line)));
            let mut names: Vec<_> = super::named(&lines.collect()).into_iter().collect();
            names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
            names.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(named(&["keep-alive", "Close"]), [""; 0]);
        assert_eq!(named(&["X-A, , x b,x-a", "TE"]), ["te", "x-a"]);
    }
}
