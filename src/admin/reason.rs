//! Reasons: why a change is made, in the words of who asks for it; recorded with the event.
//!
//! `X-Change-Reason` holds a text of up to 1024 bytes in UTF-8, percent-encoded or not: browsers
//! send ASCII only, `curl` sends what it is given. A `%` that no two hex digits follow is one. A
//! reason that would not be kept as it was meant is refused instead.

use http::HeaderMap;
use percent_encoding::percent_decode;
use serde_json::Value;

use super::error::ApiError;
use crate::domain::canonical::Document;
use crate::domain::rejection::FieldErrors;

/// The header.
pub(super) const NAME: &str = "x-change-reason";

const BYTES_MAX: usize = 1024;

/// Returns the reason that a request's headers give; blank is none.
pub(super) fn of_headers(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(NAME) else { return Ok(None) };
    let wrong = |why: &str| ApiError::BadRequest(format!("X-Change-Reason: {why}"));
    let text = percent_decode(value.as_bytes()).decode_utf8();
    let text = text.map_err(|_| wrong("expected UTF-8, percent-encoded or not"))?;
    checked(&text).map_err(wrong)
}

/// Returns the reason that a body gives beside its other members.
pub(super) fn of_body(body: &Document) -> Result<Option<String>, ApiError> {
    let wrong = |why: &str| FieldErrors::one("reason", why);
    match body.get("reason") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(checked(text).map_err(wrong)?),
        Some(_) => Err(wrong("expected a string").into()),
    }
}

fn checked(text: &str) -> Result<Option<String>, &'static str> {
    let text = text.trim();
    if text.len() > BYTES_MAX {
        return Err("at most 1024 bytes are kept");
    }
    if text.contains(char::is_control) {
        return Err("control characters are not kept");
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn reasons_are_utf_8_percent_encoded_or_not() {
        let long = "a".repeat(1025);
        let control = Err("X-Change-Reason: control characters are not kept".to_owned());
        for (header, kept) in [
            ("INC-7", Ok(Some("INC-7"))),
            ("  ", Ok(None)),
            ("größer", Ok(Some("größer"))),
            ("gr%C3%B6%C3%9Fer", Ok(Some("größer"))),
            ("50% more", Ok(Some("50% more"))),
            ("a%0ab", control),
            ("%FF", Err("X-Change-Reason: expected UTF-8, percent-encoded or not".into())),
            (&long, Err("X-Change-Reason: at most 1024 bytes are kept".into())),
        ] {
            let value = HeaderValue::from_bytes(header.as_bytes()).unwrap();
            let headers = HeaderMap::from_iter([(NAME.parse().unwrap(), value)]);
            let read = of_headers(&headers).map_err(|error| error.to_string());
            assert_eq!(read, kept.map(|text| text.map(str::to_owned)), "{header}");
        }
        assert!(matches!(of_headers(&HeaderMap::new()), Ok(None)));
    }
}
