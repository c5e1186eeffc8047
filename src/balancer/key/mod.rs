//! What consistent hashing goes by (reference gateway-3, section E.1, "Hash input").

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue, header};
use uuid::Uuid;

use super::hash;
use crate::domain::kinds::upstream::Upstream;
use crate::plugins::exchange::Exchange;

/// What is hashed, and what instead where a request does not have it.
#[derive(Clone, Debug)]
pub struct Hashing {
    on: Source,
    fallback: Source,
}

/// A part of a request.
#[derive(Clone, Debug)]
enum Source {
    Nothing,
    Consumer,
    Ip,
    Header(HeaderName),
    Cookie { name: String, path: String },
    Path,
    QueryArgument(String),
    UriCapture(String),
}

/// The hash of a request.
#[derive(Clone, Debug)]
pub struct Hashed {
    /// The hash.
    pub hash: u64,
    /// The cookie that brings the client back.
    pub cookie: Option<HeaderValue>,
}

impl Hashing {
    /// Reads what an upstream says.
    pub(super) fn of(upstream: &Upstream) -> Self {
        let header = |name: &Option<String>| name.as_ref()?.parse().ok().map(Source::Header);
        let source =
            |kind: &Option<String>, name, argument: &Option<String>, capture: &Option<String>| {
                let read = match kind.as_deref()? {
                    "consumer" => Source::Consumer,
                    "ip" => Source::Ip,
                    "header" => header(name)?,
                    "cookie" => {
                        let path =
                            upstream.hash_on_cookie_path.as_deref().unwrap_or("/").to_owned();
                        Source::Cookie { name: upstream.hash_on_cookie.clone()?, path }
                    }
                    "path" => Source::Path,
                    "query_arg" => Source::QueryArgument(argument.clone()?),
                    "uri_capture" => Source::UriCapture(capture.clone()?),
                    _ => return None,
                };
                Some(read)
            };
        let on = source(
            &upstream.hash_on,
            &upstream.hash_on_header,
            &upstream.hash_on_query_arg,
            &upstream.hash_on_uri_capture,
        );
        let fallback = source(
            &upstream.hash_fallback,
            &upstream.hash_fallback_header,
            &upstream.hash_fallback_query_arg,
            &upstream.hash_fallback_uri_capture,
        );
        let or_nothing = |source: Option<Source>| source.unwrap_or(Source::Nothing);
        Self { on: or_nothing(on), fallback: or_nothing(fallback) }
    }

    /// Hashes a request. `capture` finds a group of the route's pattern by name or number; `id`
    /// makes the value of a cookie that is not there. Without any value, the empty one is hashed.
    pub fn hash<'e>(
        &self,
        exchange: &'e Exchange,
        capture: impl Fn(&str) -> Option<Cow<'e, str>>,
        id: impl FnOnce() -> Uuid,
    ) -> Hashed {
        let mut cookie = None;
        for source in [&self.on, &self.fallback] {
            if let Some(hash) = source.hash(exchange, &capture) {
                return Hashed { hash, cookie: None };
            }
            if let Source::Cookie { .. } = source {
                cookie = Some(source);
                break;
            }
        }
        match cookie {
            Some(Source::Cookie { name, path }) => {
                let value = id().to_string();
                let text = format!("{name}={value}; Path={path}; SameSite=Lax; HttpOnly");
                let hash = hash::of(value.as_bytes());
                Hashed { hash, cookie: HeaderValue::try_from(text).ok() }
            }
            _ => Hashed { hash: hash::of(b""), cookie: None },
        }
    }
}

impl Hashing {
    /// Hashes a stream, of which nothing but the client's address is known.
    pub fn hash_stream(&self, client: IpAddr) -> u64 {
        let by_client = [&self.on, &self.fallback].iter().any(|it| matches!(it, Source::Ip));
        match by_client {
            true => hash::of(client.to_string().as_bytes()),
            false => hash::of(b""),
        }
    }
}

impl Source {
    /// Hashes the part of a request, if that has it.
    fn hash<'e>(
        &self,
        exchange: &'e Exchange,
        capture: impl Fn(&str) -> Option<Cow<'e, str>>,
    ) -> Option<u64> {
        let of = |text: &str| hash::of(text.as_bytes());
        match self {
            Self::Nothing => None,
            Self::Consumer => {
                let consumer = exchange.caller.as_ref().map(|caller| caller.consumer.id);
                let id = consumer.or_else(|| exchange.credential.as_ref().map(|it| it.id))?;
                Some(hash::of(id.as_bytes()))
            }
            Self::Ip => Some(of(&exchange.client_text())),
            Self::Header(name) => header_value(exchange, name).map(|value| hash::of(&value)),
            Self::Cookie { name, .. } => cookie(exchange, name).map(of),
            Self::Path => Some(of(exchange.path())),
            Self::QueryArgument(name) => argument(exchange, name).map(|value| of(&value)),
            Self::UriCapture(group) => capture(group).map(|value| of(&value)),
        }
    }
}

/// Returns the values of a header as one.
fn header_value<'e>(exchange: &'e Exchange, name: &HeaderName) -> Option<Cow<'e, [u8]>> {
    let mut values = exchange.request.headers.get_all(name).map(HeaderValue::as_bytes);
    let first = values.next()?;
    let mut combined = Cow::Borrowed(first);
    for value in values {
        let combined = combined.to_mut();
        combined.extend_from_slice(b", ");
        combined.extend_from_slice(value);
    }
    Some(combined)
}

fn cookie<'e>(exchange: &'e Exchange, wanted: &str) -> Option<&'e str> {
    let headers = exchange.request.headers.get_all(header::COOKIE);
    let pairs = headers.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    let mut named = pairs.filter_map(|pair| pair.trim().split_once('='));
    named.find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

/// Returns the values of a query argument, sorted; one without `=` has the value `true`.
fn argument<'e>(exchange: &'e Exchange, wanted: &str) -> Option<Cow<'e, str>> {
    let query = exchange.query()?;
    let pieces = query.split('&').filter(|piece| !piece.is_empty());
    let read = |piece: &'e str| match form_urlencoded::parse(piece.as_bytes()).next() {
        Some((name, _)) if !piece.contains('=') => (name, Cow::Borrowed("true")),
        Some(pair) => pair,
        None => (Cow::Borrowed(""), Cow::Borrowed("")),
    };
    let mut values = pieces.map(read).filter(|(name, _)| name == wanted).map(|(_, value)| value);
    let first = values.next()?;
    let mut more: Vec<_> = values.collect();
    if more.is_empty() {
        return Some(first);
    }
    more.push(first);
    more.sort();
    Some(more.join(",").into())
}

#[cfg(test)]
mod tests;
