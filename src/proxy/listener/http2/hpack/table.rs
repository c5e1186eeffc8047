//! The static table (RFC 7541, appendix A) and the table that a connection learns (section 2.3.2).

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

use super::field::{Field, Name, Pseudo};
use super::{ENTRY_OVERHEAD, TABLE_MAX};

/// The first index of what a connection has learnt.
pub(super) const LEARNT_FIRST: usize = STATIC.len() + 1;

const fn pseudo(name: Pseudo, value: &'static str) -> (Field, usize) {
    let length = match name {
        Pseudo::Path => 5,
        Pseudo::Method | Pseudo::Scheme | Pseudo::Status => 7,
        Pseudo::Authority => 10,
    };
    let size = length + value.len() + ENTRY_OVERHEAD;
    (Field::Pseudo(name, Bytes::from_static(value.as_bytes())), size)
}

const fn regular(name: HeaderName, length: usize, value: &'static str) -> (Field, usize) {
    let size = length + value.len() + ENTRY_OVERHEAD;
    (Field::Regular(name, HeaderValue::from_static(value)), size)
}

/// The fields, each with its size.
static STATIC: [(Field, usize); 61] = [
    pseudo(Pseudo::Authority, ""),
    pseudo(Pseudo::Method, "GET"),
    pseudo(Pseudo::Method, "POST"),
    pseudo(Pseudo::Path, "/"),
    pseudo(Pseudo::Path, "/index.html"),
    pseudo(Pseudo::Scheme, "http"),
    pseudo(Pseudo::Scheme, "https"),
    pseudo(Pseudo::Status, "200"),
    pseudo(Pseudo::Status, "204"),
    pseudo(Pseudo::Status, "206"),
    pseudo(Pseudo::Status, "304"),
    pseudo(Pseudo::Status, "400"),
    pseudo(Pseudo::Status, "404"),
    pseudo(Pseudo::Status, "500"),
    regular(header::ACCEPT_CHARSET, 14, ""),
    regular(header::ACCEPT_ENCODING, 15, "gzip, deflate"),
    regular(header::ACCEPT_LANGUAGE, 15, ""),
    regular(header::ACCEPT_RANGES, 13, ""),
    regular(header::ACCEPT, 6, ""),
    regular(header::ACCESS_CONTROL_ALLOW_ORIGIN, 27, ""),
    regular(header::AGE, 3, ""),
    regular(header::ALLOW, 5, ""),
    regular(header::AUTHORIZATION, 13, ""),
    regular(header::CACHE_CONTROL, 13, ""),
    regular(header::CONTENT_DISPOSITION, 19, ""),
    regular(header::CONTENT_ENCODING, 16, ""),
    regular(header::CONTENT_LANGUAGE, 16, ""),
    regular(header::CONTENT_LENGTH, 14, ""),
    regular(header::CONTENT_LOCATION, 16, ""),
    regular(header::CONTENT_RANGE, 13, ""),
    regular(header::CONTENT_TYPE, 12, ""),
    regular(header::COOKIE, 6, ""),
    regular(header::DATE, 4, ""),
    regular(header::ETAG, 4, ""),
    regular(header::EXPECT, 6, ""),
    regular(header::EXPIRES, 7, ""),
    regular(header::FROM, 4, ""),
    regular(header::HOST, 4, ""),
    regular(header::IF_MATCH, 8, ""),
    regular(header::IF_MODIFIED_SINCE, 17, ""),
    regular(header::IF_NONE_MATCH, 13, ""),
    regular(header::IF_RANGE, 8, ""),
    regular(header::IF_UNMODIFIED_SINCE, 19, ""),
    regular(header::LAST_MODIFIED, 13, ""),
    regular(header::LINK, 4, ""),
    regular(header::LOCATION, 8, ""),
    regular(header::MAX_FORWARDS, 12, ""),
    regular(header::PROXY_AUTHENTICATE, 18, ""),
    regular(header::PROXY_AUTHORIZATION, 19, ""),
    regular(header::RANGE, 5, ""),
    regular(header::REFERER, 7, ""),
    regular(header::REFRESH, 7, ""),
    regular(header::RETRY_AFTER, 11, ""),
    regular(header::SERVER, 6, ""),
    regular(header::SET_COOKIE, 10, ""),
    regular(header::STRICT_TRANSPORT_SECURITY, 25, ""),
    regular(header::TRANSFER_ENCODING, 17, ""),
    regular(header::USER_AGENT, 10, ""),
    regular(header::VARY, 4, ""),
    regular(header::VIA, 3, ""),
    regular(header::WWW_AUTHENTICATE, 16, ""),
];

/// Returns the index of a name in the static table, or 0.
pub(super) fn static_name(name: &str) -> u8 {
    match name {
        "accept-charset" => 15,
        "accept-encoding" => 16,
        "accept-language" => 17,
        "accept-ranges" => 18,
        "accept" => 19,
        "access-control-allow-origin" => 20,
        "age" => 21,
        "allow" => 22,
        "authorization" => 23,
        "cache-control" => 24,
        "content-disposition" => 25,
        "content-encoding" => 26,
        "content-language" => 27,
        "content-length" => 28,
        "content-location" => 29,
        "content-range" => 30,
        "content-type" => 31,
        "cookie" => 32,
        "date" => 33,
        "etag" => 34,
        "expect" => 35,
        "expires" => 36,
        "from" => 37,
        "host" => 38,
        "if-match" => 39,
        "if-modified-since" => 40,
        "if-none-match" => 41,
        "if-range" => 42,
        "if-unmodified-since" => 43,
        "last-modified" => 44,
        "link" => 45,
        "location" => 46,
        "max-forwards" => 47,
        "proxy-authenticate" => 48,
        "proxy-authorization" => 49,
        "range" => 50,
        "referer" => 51,
        "refresh" => 52,
        "retry-after" => 53,
        "server" => 54,
        "set-cookie" => 55,
        "strict-transport-security" => 56,
        "transfer-encoding" => 57,
        "user-agent" => 58,
        "vary" => 59,
        "via" => 60,
        "www-authenticate" => 61,
        _ => 0,
    }
}

/// Returns the index of a status that the static table has whole, or 0.
pub(super) fn static_status(status: u16) -> u8 {
    match status {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => 0,
    }
}

/// What the other side has asked to be remembered, the newest first.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<(Field, usize)>,
    size: usize,
    max: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, max: TABLE_MAX }
    }

    /// Returns the field at an index of either table, and its size.
    pub(super) fn get(&self, index: usize) -> Option<&(Field, usize)> {
        match index.checked_sub(LEARNT_FIRST) {
            Some(learnt) => self.entries.get(learnt),
            None => STATIC.get(index.checked_sub(1)?),
        }
    }

    /// Returns the name at an index, and its length.
    pub(super) fn name(&self, index: usize) -> Option<(Name, usize)> {
        let (field, size) = self.get(index)?;
        let value = match field {
            Field::Pseudo(_, value) => value.len(),
            Field::Regular(_, value) => value.len(),
            // Whatever its name counted: it is no name of a field.
            Field::Malformed => 0,
        };
        Some((field.name(), size.saturating_sub(ENTRY_OVERHEAD + value)))
    }

    pub(super) fn insert(&mut self, field: Field, size: usize) {
        self.shrink_to(self.max.saturating_sub(size));
        if size <= self.max {
            self.size += size;
            self.entries.push_front((field, size));
        }
    }

    /// Sets the size, of at most [`TABLE_MAX`].
    pub(super) fn resize(&mut self, max: usize) {
        self.max = max;
        self.shrink_to(max);
    }

    fn shrink_to(&mut self, most: usize) {
        while self.size > most {
            let Some((_, size)) = self.entries.pop_back() else { break };
            self.size -= size;
        }
    }
}
