//! Headers on the request path: a list in the order they came, searched from the front.
//!
//! Messages have some ten headers. Comparing ten names, most of which are a byte, is cheaper than
//! hashing the one that is asked for, and filling a list is much cheaper than filling a map.

mod byte_set;
pub mod debug;
pub mod raw;

use http::header::{self, InvalidHeaderName};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

pub use self::byte_set::ByteSet;

/// The headers of a message, in their order. A name may be there more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

/// What a header can be asked for by.
pub trait AsName {
    /// Returns whether `name` is meant.
    fn is(&self, name: &HeaderName) -> bool;
}

impl AsName for HeaderName {
    fn is(&self, name: &HeaderName) -> bool {
        self == name
    }
}

impl AsName for str {
    fn is(&self, name: &HeaderName) -> bool {
        name.as_str().eq_ignore_ascii_case(self)
    }
}

impl AsName for String {
    fn is(&self, name: &HeaderName) -> bool {
        self.as_str().is(name)
    }
}

impl<N: AsName + ?Sized> AsName for &N {
    fn is(&self, name: &HeaderName) -> bool {
        (**self).is(name)
    }
}

impl Headers {
    /// Returns no headers.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Returns no headers, with room for `count`.
    pub fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the names and values in their order.
    pub fn iter(&self) -> Iter<'_> {
        self.into_iter()
    }

    /// Returns the first value of a name.
    pub fn get(&self, name: impl AsName) -> Option<&HeaderValue> {
        self.0.iter().find(|(found, _)| name.is(found)).map(|(_, value)| value)
    }

    /// Returns the values of a name in their order.
    pub fn get_all(&self, name: impl AsName) -> impl DoubleEndedIterator<Item = &HeaderValue> {
        self.0.iter().filter(move |(found, _)| name.is(found)).map(|(_, value)| value)
    }

    /// Returns whether there is one of that name.
    pub fn contains_key(&self, name: impl AsName) -> bool {
        self.0.iter().any(|(found, _)| name.is(found))
    }

    /// Adds one behind those that there are.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    /// Makes this the one value of a name, where the first one was.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        let Some(first) = self.0.iter().position(|(found, _)| *found == name) else {
            self.0.push((name, value));
            return;
        };
        let mut at = 0;
        self.0.retain(|(found, _)| {
            at += 1;
            at - 1 <= first || *found != name
        });
        if let Some(slot) = self.0.get_mut(first) {
            slot.1 = value;
        }
    }

    /// Takes all values of a name away; tells whether there were any.
    pub fn remove(&mut self, name: impl AsName) -> bool {
        let before = self.0.len();
        self.0.retain(|(found, _)| !name.is(found));
        self.0.len() < before
    }

    /// Keeps the headers that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(&HeaderName, &HeaderValue) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }
}

/// The names that most messages have, as HTTP/1 writes them, by their length.
type Usual = &'static [(&'static str, HeaderName)];
const USUAL_4: Usual = &[("Host", header::HOST), ("Date", header::DATE), ("Vary", header::VARY)];
const USUAL_6: Usual =
    &[("Accept", header::ACCEPT), ("Cookie", header::COOKIE), ("Server", header::SERVER)];
const USUAL_10: Usual = &[("Connection", header::CONNECTION), ("User-Agent", header::USER_AGENT)];
const USUAL_12: Usual = &[("Content-Type", header::CONTENT_TYPE)];
const USUAL_13: Usual =
    &[("Authorization", header::AUTHORIZATION), ("Cache-Control", header::CACHE_CONTROL)];
const USUAL_14: Usual = &[("Content-Length", header::CONTENT_LENGTH)];
const USUAL_15: Usual =
    &[("Accept-Encoding", header::ACCEPT_ENCODING), ("Accept-Language", header::ACCEPT_LANGUAGE)];
const USUAL_17: Usual = &[("Transfer-Encoding", header::TRANSFER_ENCODING)];

/// Reads a name as it came. Those that most messages have are known as they are written: comparing is
/// cheaper than checking every byte.
///
/// # Errors
/// Bytes that are no token.
pub fn read_name(bytes: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
    let usual = match bytes.len() {
        4 => USUAL_4,
        6 => USUAL_6,
        10 => USUAL_10,
        12 => USUAL_12,
        13 => USUAL_13,
        14 => USUAL_14,
        15 => USUAL_15,
        17 => USUAL_17,
        _ => &[],
    };
    let is = |written: &str, name: &HeaderName| {
        bytes == written.as_bytes() || bytes == name.as_str().as_bytes()
    };
    match usual.iter().find(|(written, name)| is(written, name)) {
        Some((_, name)) => Ok(name.clone()),
        None => HeaderName::from_bytes(bytes),
    }
}

/// Returns whether a value of `Connection` says more than whether the connection goes on.
pub fn names_others(value: &[u8]) -> bool {
    !value.eq_ignore_ascii_case(b"keep-alive") && !value.eq_ignore_ascii_case(b"close")
}

/// Writes what a line begins with, its value, and its end. There is one copy of this in the binary: each message
/// comes by some ten times, and what a core executes does not fit its instruction cache.
#[inline(never)]
pub fn push_line(bytes: &mut Vec<u8>, start: &[u8], value: &[u8]) {
    bytes.reserve(start.len() + value.len() + 2);
    bytes.extend_from_slice(start);
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}

/// Writes a name as HTTP/1 is used to have it: a capital at the start and behind each hyphen. Clients and
/// servers that compare by bytes are more than there should be.
pub fn push_title(bytes: &mut Vec<u8>, name: &[u8]) {
    let start = bytes.len();
    bytes.extend_from_slice(name);
    let mut is_start = true;
    for byte in bytes.iter_mut().skip(start) {
        if is_start {
            byte.make_ascii_uppercase();
        }
        is_start = *byte == b'-';
    }
}

/// Names and values in their order.
pub type Iter<'a> = std::iter::Map<
    std::slice::Iter<'a, (HeaderName, HeaderValue)>,
    fn(&'a (HeaderName, HeaderValue)) -> (&'a HeaderName, &'a HeaderValue),
>;

impl<'a> IntoIterator for &'a Headers {
    type Item = (&'a HeaderName, &'a HeaderValue);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl IntoIterator for Headers {
    type Item = (HeaderName, HeaderValue);
    type IntoIter = std::vec::IntoIter<(HeaderName, HeaderValue)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Extend<(HeaderName, HeaderValue)> for Headers {
    fn extend<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(&mut self, more: I) {
        self.0.extend(more);
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Headers {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

impl From<HeaderMap> for Headers {
    fn from(map: HeaderMap) -> Self {
        let mut headers = Self::with_capacity(map.len());
        let mut last = None;
        for (name, value) in map {
            // The map names a header at its first value only.
            last = name.or(last);
            if let Some(name) = &last {
                headers.append(name.clone(), value);
            }
        }
        headers
    }
}

impl From<Headers> for HeaderMap {
    fn from(headers: Headers) -> Self {
        let mut map = Self::with_capacity(headers.len());
        for (name, value) in headers {
            map.append(name, value);
        }
        map
    }
}

/// The head of a request.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The version of HTTP that it came by.
    pub version: Version,
    /// The headers.
    pub headers: Headers,
    /// Which of those there are that few requests have.
    pub noted: Noted,
}

/// What is noted of headers while they are read, so that nobody looks for them in all the requests that have
/// none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noted {
    /// One is about request debugging ([`debug`]).
    pub debug: bool,
    /// The client wants another protocol (`Upgrade`).
    pub upgrade: bool,
    /// `Connection` names other headers.
    pub named: bool,
}

impl From<http::request::Parts> for RequestHead {
    fn from(parts: http::request::Parts) -> Self {
        let http::request::Parts { method, uri, version, headers, .. } = parts;
        let noted = Noted {
            debug: headers.keys().any(|name| debug::is_about(name.as_str())),
            upgrade: headers.contains_key(header::UPGRADE),
            named: headers.contains_key(header::CONNECTION),
        };
        Self { method, uri, version, headers: headers.into(), noted }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append(u8, u8),
        Insert(u8, u8),
        Remove(u8),
    }

    const NAMES: [&str; 4] = ["host", "x-own", "accept", "x-Other"];

    fn name(of: u8) -> HeaderName {
        HeaderName::from_bytes(NAMES[usize::from(of) % NAMES.len()].as_bytes()).unwrap()
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (any::<u8>(), any::<u8>()).prop_map(|(name, value)| Step::Append(name, value)),
            (any::<u8>(), any::<u8>()).prop_map(|(name, value)| Step::Insert(name, value)),
            any::<u8>().prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn a_list_holds_what_a_map_would(steps in proptest::collection::vec(step(), 0..40)) {
            let (mut list, mut map) = (Headers::new(), HeaderMap::new());
            for step in steps {
                match step {
                    Step::Append(of, value) => {
                        list.append(name(of), HeaderValue::from(u16::from(value)));
                        map.append(name(of), HeaderValue::from(u16::from(value)));
                    }
                    Step::Insert(of, value) => {
                        list.insert(name(of), HeaderValue::from(u16::from(value)));
                        map.insert(name(of), HeaderValue::from(u16::from(value)));
                    }
                    Step::Remove(of) => {
                        prop_assert_eq!(list.remove(name(of)), map.remove(name(of)).is_some());
                    }
                }
                prop_assert_eq!(list.len(), map.len());
                for asked in NAMES {
                    prop_assert_eq!(list.get(asked), map.get(asked));
                    prop_assert_eq!(list.contains_key(asked), map.contains_key(asked));
                    prop_assert!(list.get_all(asked).eq(map.get_all(asked)));
                }
            }
            prop_assert_eq!(HeaderMap::from(list.clone()), map.clone());
            prop_assert_eq!(HeaderMap::from(Headers::from(map.clone())), map);
        }
    }

    #[test]
    fn names_are_read_in_any_case() {
        for written in
            ["Host", "host", "hOST", "Content-Length", "content-type", "X-Own", "Transfer-encoding"]
        {
            let name = read_name(written.as_bytes()).unwrap();
            assert_eq!(name, HeaderName::from_bytes(written.as_bytes()).unwrap());
        }
        for refused in ["", "Ho t", "Hos:", "Content-Type "] {
            read_name(refused.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn names_are_written_with_capitals() {
        let mut bytes = b"x: ".to_vec();
        push_title(&mut bytes, b"x-kong--request-1d");
        assert_eq!(bytes, b"x: X-Kong--Request-1d");
    }

    #[test]
    fn order_is_kept_and_a_value_is_replaced_where_it_stood() {
        let value = HeaderValue::from_static;
        let mut headers = Headers::new();
        for (at, text) in [(1, "a"), (2, "b"), (1, "c"), (0, "d")] {
            headers.append(name(at), value(text));
        }
        headers.insert(name(1), value("e"));
        let told: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value)).collect();
        assert_eq!(told, [("x-own", &value("e")), ("accept", &value("b")), ("host", &value("d"))]);
    }
}
