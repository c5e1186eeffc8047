//! The charset of texts whose upstream does not say it (nginx's `charset`).

use http::{HeaderValue, header};

use crate::headers::Headers;
use crate::headers::raw::RawHeaders;

/// What text is said to be in.
#[derive(Clone, Debug)]
pub struct Charset {
    /// The content types of most texts with the charset, ready to be sent.
    usual: [(&'static str, HeaderValue); 2],
    name: String,
}

/// The other types that nginx adds a charset to.
const OTHERS: [&str; 4] =
    ["text/xml", "text/vnd.wap.wml", "application/javascript", "application/rss+xml"];

impl Charset {
    /// Takes the name of a charset; nothing, if it cannot stand in a header.
    pub fn new(name: &str) -> Option<Self> {
        let value = |mime| HeaderValue::try_from(format!("{mime}; charset={name}")).ok();
        let usual = [("text/html", value("text/html")?), ("text/plain", value("text/plain")?)];
        Some(Self { usual, name: name.to_owned() })
    }

    /// Adds the charset where a text lacks one, unless it is encoded.
    pub(super) fn complete(&self, headers: &mut Headers) {
        let value = headers.get(header::CONTENT_TYPE).and_then(|mime| self.of(mime.as_bytes()));
        if let Some(value) = value
            && !headers.contains_key(header::CONTENT_ENCODING)
        {
            headers.insert(header::CONTENT_TYPE, value);
        }
    }

    /// Does the same for lines: takes the content type out of them and returns the one to be sent.
    pub(super) fn complete_raw(&self, raw: &mut RawHeaders) -> Option<HeaderValue> {
        let value = raw.content_type().and_then(|mime| self.of(mime));
        let value = value.filter(|_| !raw.layout().is_encoded)?;
        raw.leave_out_content_type();
        Some(value)
    }

    /// Returns a content type with the charset, if it is one of a text that lacks it.
    fn of(&self, mime: &[u8]) -> Option<HeaderValue> {
        // One with parameters is none of these.
        let is = |known: &str| {
            mime.len() == known.len()
                && (mime == known.as_bytes() || mime.eq_ignore_ascii_case(known.as_bytes()))
        };
        match self.usual.iter().find(|(known, _)| is(known)) {
            Some((_, value)) => Some(value.clone()),
            None => OTHERS.iter().find(|known| is(known)).and_then(|known| {
                HeaderValue::try_from(format!("{known}; charset={}", self.name)).ok()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_get_a_charset_and_nothing_else_does() {
        let charset = Charset::new("UTF-8").unwrap();
        for (sent, expected) in [
            ("text/plain", "text/plain; charset=UTF-8"),
            ("TEXT/HTML", "text/html; charset=UTF-8"),
            ("application/javascript", "application/javascript; charset=UTF-8"),
            ("text/plain; charset=x", "text/plain; charset=x"),
            ("text/css", "text/css"),
            ("application/json", "application/json"),
        ] {
            let mut headers = Headers::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(sent));
            let mut encoded = headers.clone();
            charset.complete(&mut headers);
            assert_eq!(headers.get(header::CONTENT_TYPE).unwrap(), expected);
            encoded.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            charset.complete(&mut encoded);
            assert_eq!(encoded.get(header::CONTENT_TYPE).unwrap(), sent);
        }
        assert!(Charset::new("\n").is_none());
    }
}
