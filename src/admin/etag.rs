//! Entity tags: the name of a config as HTTP validators carry it (RFC 9110, sections 8.8 and 13).
//!
//! Every answer carries the config hash that it was read from or led to. `If-Match` holds a write
//! to configs of these names: the writer looks when it decides. `If-None-Match` saves the body of
//! a read that depends on path, query and config alone; `If-None-Match: *` keeps a write from
//! touching what is there already.

use axum::response::Response;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::call::Call;
use super::error::ApiError;
use super::reply;
use crate::domain::hash::ConfigHash;
use crate::writer::Precondition;

/// Returns the entity tag of a config.
pub(super) fn of(hash: ConfigHash) -> HeaderValue {
    reply::ascii(&format!("\"{hash}\""))
}

/// Names the config that an answer was read from.
pub(super) fn tag(mut response: Response, hash: ConfigHash) -> Response {
    response.headers_mut().insert(ETAG, of(hash));
    response
}

/// Names the newest config on an answer that names none.
pub(super) fn tag_if_bare(response: &mut Response, hash: ConfigHash) {
    response.headers_mut().entry(ETAG).or_insert_with(|| of(hash));
}

/// Returns the configs that a request wants its write to be decided on.
pub(super) fn precondition(headers: &HeaderMap) -> Result<Precondition, ApiError> {
    let text = "If-Match must be * or a list of entity tags in double quotes";
    let tags = Tags::read(headers, &IF_MATCH);
    Ok(match tags.map_err(|Malformed| ApiError::BadRequest(text.into()))? {
        // There is always a config, if only the empty one.
        None | Some(Tags::Any) => Precondition::Any,
        Some(Tags::Listed(tags)) => {
            let strong = tags.iter().filter(|tag| !tag.weak);
            Precondition::OneOf(strong.filter_map(|tag| tag.opaque.parse().ok()).collect())
        }
    })
}

/// Returns whether a write is wanted only where nothing is yet.
pub(super) fn wants_absence(headers: &HeaderMap) -> Result<bool, ApiError> {
    match Tags::read(headers, &IF_NONE_MATCH) {
        Ok(None) => Ok(false),
        Ok(Some(Tags::Any)) => Ok(true),
        _ => {
            let text = "If-None-Match of a write must be *; If-Match holds it to a configuration";
            Err(ApiError::BadRequest(text.into()))
        }
    }
}

/// Refuses a request that wants another config than the one that answers it.
pub(super) fn check(call: &Call, hash: ConfigHash) -> Result<(), ApiError> {
    match precondition(&call.headers)?.admits(hash) {
        true => Ok(()),
        false => Err(ApiError::Stale { current: hash }),
    }
}

/// Answers a read whose body depends on path, query and config alone; it is rendered only for a
/// client that does not have it yet.
pub(super) fn answer(
    call: &Call,
    hash: ConfigHash,
    render: impl FnOnce() -> Response,
) -> Result<Response, ApiError> {
    check(call, hash)?;
    let response = match is_known(&call.headers, hash) {
        true => reply::empty(StatusCode::NOT_MODIFIED),
        false => render(),
    };
    Ok(tag(response, hash))
}

/// Returns whether the client says that it has this config's answer; a header that cannot be read
/// says nothing.
fn is_known(headers: &HeaderMap, hash: ConfigHash) -> bool {
    match Tags::read(headers, &IF_NONE_MATCH) {
        Ok(Some(Tags::Any)) => true,
        Ok(Some(Tags::Listed(tags))) => tags.iter().any(|tag| tag.opaque.parse() == Ok(hash)),
        _ => false,
    }
}

/// What `If-Match` or `If-None-Match` says.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    Any,
    Listed(Vec<Tag>),
}

#[derive(Debug, PartialEq, Eq)]
struct Tag {
    weak: bool,
    opaque: String,
}

/// A list of entity tags that is none.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

impl Tags {
    /// Reads a header, all its lines; none when it is absent.
    fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Malformed> {
        let mut lines = headers.get_all(name).iter().peekable();
        if lines.peek().is_none() {
            return Ok(None);
        }
        let mut text = String::new();
        for line in lines {
            text.push_str(line.to_str().map_err(|_| Malformed)?);
            text.push(',');
        }
        Self::parse(&text).map(Some)
    }

    fn parse(text: &str) -> Result<Self, Malformed> {
        let blank = |c: char| c == ' ' || c == '\t' || c == ',';
        if text.trim_matches(blank) == "*" {
            return Ok(Self::Any);
        }
        let mut tags = Vec::new();
        let mut left = text.trim_start_matches(blank);
        while !left.is_empty() {
            let (weak, quoted) = match left.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, left),
            };
            let quoted = quoted.strip_prefix('"').ok_or(Malformed)?;
            let (opaque, rest) = quoted.split_once('"').ok_or(Malformed)?;
            tags.push(Tag { weak, opaque: opaque.to_owned() });
            let rest = rest.trim_start_matches([' ', '\t']);
            left = rest.strip_prefix(',').ok_or(Malformed)?.trim_start_matches(blank);
        }
        if tags.is_empty() { Err(Malformed) } else { Ok(Self::Listed(tags)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_the_rfc_writes_them() {
        let listed = |tags: &[(bool, &str)]| {
            let tag = |(weak, opaque): &(bool, &str)| Tag { weak: *weak, opaque: (*opaque).into() };
            Ok(Some(Tags::Listed(tags.iter().map(tag).collect())))
        };
        let read = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(IF_MATCH, HeaderValue::from_static(line));
            }
            Tags::read(&headers, &IF_MATCH)
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[" * "]), Ok(Some(Tags::Any)));
        assert_eq!(read(&["\"a\""]), listed(&[(false, "a")]));
        assert_eq!(read(&["\"a,b\" , W/\"c\",,"]), listed(&[(false, "a,b"), (true, "c")]));
        assert_eq!(read(&["\"a\"", "\"b\""]), listed(&[(false, "a"), (false, "b")]));
        for bad in ["", "a", "\"a", "\"a\" \"b\"", "*, \"a\"", "w/\"a\"", "\"a\"b"] {
            assert_eq!(read(&[bad]), Err(Malformed), "{bad}");
        }
    }

    #[test]
    fn a_weak_tag_never_lets_a_write_through() {
        let hash = ConfigHash([7; 32]);
        let weak = HeaderValue::from_str(&format!("W/\"{hash}\"")).unwrap();
        let headers = |name: HeaderName| HeaderMap::from_iter([(name, weak.clone())]);
        assert!(!precondition(&headers(IF_MATCH)).unwrap().admits(hash));
        assert!(is_known(&headers(IF_NONE_MATCH), hash));
        assert!(!is_known(&headers(IF_NONE_MATCH), ConfigHash([8; 32])));
    }
}
