//! What we add to an answer ourselves.

use http::{HeaderName, HeaderValue, header};

use crate::headers::Headers;
use crate::headers::raw::{Layout, RawHeaders};
use crate::plugins::exchange::{RequestId, ResponseHead};

/// Headers that we add to an answer, kept as what they say: an answer whose headers nobody looks at
/// any more is written without their ever being in a list.
#[derive(Debug, Default)]
pub struct Additions {
    /// `Content-Type`, where the charset of the upstream's had to be told.
    pub content_type: Option<HeaderValue>,
    /// `Via`.
    pub via: Option<&'static str>,
    /// `Server`.
    pub server: Option<&'static str>,
    /// `X-Kong-Upstream-Latency`, in milliseconds.
    pub upstream_latency_ms: Option<u64>,
    /// `X-Kong-Proxy-Latency`, in milliseconds.
    pub proxy_latency_ms: Option<u64>,
    /// `X-Kong-Response-Latency`, in milliseconds.
    pub response_latency_ms: Option<u64>,
    /// `X-Kong-Request-Id`.
    pub request_id: Option<RequestId>,
    /// `X-Config-Hash`.
    pub config_hash: Option<Box<str>>,
}

/// A name as HTTP/1 writes it, and as it is compared.
pub struct Name {
    /// With capitals, a colon and a space.
    pub start: &'static [u8],
    /// Without.
    pub name: HeaderName,
}

static CONTENT_TYPE: Name = Name { start: b"Content-Type: ", name: header::CONTENT_TYPE };
static VIA: Name = Name { start: b"Via: ", name: header::VIA };
static SERVER: Name = Name { start: b"Server: ", name: header::SERVER };
static X_KONG_UPSTREAM_LATENCY: Name = Name {
    start: b"X-Kong-Upstream-Latency: ",
    name: HeaderName::from_static("x-kong-upstream-latency"),
};
static X_KONG_PROXY_LATENCY: Name = Name {
    start: b"X-Kong-Proxy-Latency: ",
    name: HeaderName::from_static("x-kong-proxy-latency"),
};
static X_KONG_RESPONSE_LATENCY: Name = Name {
    start: b"X-Kong-Response-Latency: ",
    name: HeaderName::from_static("x-kong-response-latency"),
};
static X_KONG_REQUEST_ID: Name =
    Name { start: b"X-Kong-Request-Id: ", name: HeaderName::from_static("x-kong-request-id") };
static X_CONFIG_HASH: Name =
    Name { start: b"X-Config-Hash: ", name: HeaderName::from_static("x-config-hash") };

/// The value of one.
pub enum Added<'a> {
    /// A text that answers share.
    Text(&'static str),
    /// A value that was made before.
    Value(&'a HeaderValue),
    /// A number that many share.
    Number(u64),
    /// The hash of a config.
    Hash(&'a str),
    /// An id that no other answer has.
    Unique(&'a RequestId),
}

/// Numbers that most latencies are, so that they allocate nothing.
const SMALL: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

impl Added<'_> {
    /// Lends its bytes; whether compression may remember them is told, too.
    pub fn lend<T>(&self, take: impl FnOnce(&[u8], bool) -> T) -> T {
        match self {
            Self::Text(text) => take(text.as_bytes(), true),
            Self::Value(value) => take(value.as_bytes(), true),
            Self::Number(number) => match small(*number) {
                Some(digit) => take(digit.as_bytes(), true),
                None => take(itoa::Buffer::new().format(*number).as_bytes(), true),
            },
            Self::Hash(hash) => take(hash.as_bytes(), true),
            Self::Unique(id) => take(id.as_bytes(), false),
        }
    }

    fn into_header(self) -> HeaderValue {
        match self {
            Self::Text(text) => HeaderValue::from_static(text),
            Self::Value(value) => value.clone(),
            Self::Number(number) => {
                small(number).map_or_else(|| HeaderValue::from(number), HeaderValue::from_static)
            }
            Self::Hash(hash) => {
                HeaderValue::from_str(hash).unwrap_or_else(|_| HeaderValue::from_static(""))
            }
            Self::Unique(id) => id.value(),
        }
    }
}

fn small(number: u64) -> Option<&'static str> {
    usize::try_from(number).ok().and_then(|number| SMALL.get(number)).copied()
}

impl Additions {
    /// Visits those that there are, in the order in which they are written.
    pub fn for_each(&self, mut visit: impl FnMut(&'static Name, Added<'_>)) {
        if let Some(value) = &self.content_type {
            visit(&CONTENT_TYPE, Added::Value(value));
        }
        if let Some(via) = self.via {
            visit(&VIA, Added::Text(via));
        }
        if let Some(server) = self.server {
            visit(&SERVER, Added::Text(server));
        }
        if let Some(ms) = self.upstream_latency_ms {
            visit(&X_KONG_UPSTREAM_LATENCY, Added::Number(ms));
        }
        if let Some(ms) = self.proxy_latency_ms {
            visit(&X_KONG_PROXY_LATENCY, Added::Number(ms));
        }
        if let Some(ms) = self.response_latency_ms {
            visit(&X_KONG_RESPONSE_LATENCY, Added::Number(ms));
        }
        if let Some(id) = &self.request_id {
            visit(&X_KONG_REQUEST_ID, Added::Unique(id));
        }
        if let Some(hash) = &self.config_hash {
            visit(&X_CONFIG_HASH, Added::Hash(hash));
        }
    }

    /// Lists them among the headers, in the place of those that are there already; but `Via` tells all
    /// that an answer came through.
    pub fn list(mut self, headers: &mut Headers) {
        if headers.contains_key(header::VIA)
            && let Some(own) = self.via.take()
        {
            let before = headers.get_all(header::VIA);
            let mut hops: Vec<&[u8]> = before.flat_map(|value| [value.as_bytes(), b", "]).collect();
            hops.push(own.as_bytes());
            if let Ok(joined) = HeaderValue::from_bytes(&hops.concat()) {
                headers.insert(header::VIA, joined);
            }
        }
        // An upstream that has such headers is a gateway of this kind itself: only then ours have
        // something to replace.
        let is_again = self.may_be_among(headers);
        self.for_each(|name, value| {
            let value = value.into_header();
            match is_again {
                true => headers.insert(name.name.clone(), value),
                false => headers.append(name.name.clone(), value),
            }
        });
    }

    /// Returns whether some of them may be in this head already.
    pub fn may_meet(&self, head: &ResponseHead) -> bool {
        let (via, server) = (self.via.is_some(), self.server.is_some());
        let raw = head.raw.as_ref().map(RawHeaders::layout);
        let meets =
            |raw: &Layout| raw.is_of_gateway || via && raw.has_via || server && raw.has_server;
        raw.is_some_and(meets) || self.may_be_among(&head.headers)
    }

    fn may_be_among(&self, headers: &Headers) -> bool {
        headers.iter().any(|(name, _)| match name.as_str() {
            "via" => self.via.is_some(),
            "server" => self.server.is_some(),
            "x-config-hash" => true,
            name => name.starts_with("x-kong-"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn additions() -> Additions {
        Additions {
            content_type: None,
            via: Some("1.1 us"),
            server: Some("us"),
            upstream_latency_ms: Some(9),
            proxy_latency_ms: Some(10),
            response_latency_ms: None,
            request_id: Some(RequestId::new(7)),
            config_hash: Some("ab".into()),
        }
    }

    #[test]
    fn what_is_listed_is_what_would_be_written() {
        let mut written = Headers::new();
        additions().for_each(|name, value| {
            let value = value.lend(|bytes, _| HeaderValue::from_bytes(bytes).unwrap());
            assert!(name.start.eq_ignore_ascii_case(format!("{}: ", name.name).as_bytes()));
            written.append(name.name.clone(), value);
        });
        let mut listed = Headers::new();
        additions().list(&mut listed);
        let texts = |headers: &Headers| -> Vec<_> {
            let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
            headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
        };
        assert_eq!(texts(&listed), texts(&written));
        assert_eq!(listed.len(), 6);
    }

    #[test]
    fn those_of_a_gateway_behind_us_are_replaced_and_via_goes_on() {
        let value = HeaderValue::from_static;
        let mut headers = Headers::new();
        headers.append(HeaderName::from_static("x-kong-upstream-latency"), value("77"));
        headers.append(header::VIA, value("1.1 they"));
        assert!(additions().may_be_among(&headers));
        additions().list(&mut headers);
        assert_eq!(headers.get("x-kong-upstream-latency"), Some(&value("9")));
        assert_eq!(headers.get(header::VIA), Some(&value("1.1 they, 1.1 us")));
        assert_eq!(headers.len(), 6);
    }
}
