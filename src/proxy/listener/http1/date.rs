//! The Date header, written once a second.

use chrono::DateTime;

use crate::clock::Clock;

/// The newest Date of a core.
#[derive(Debug, Default)]
pub(in crate::proxy::listener) struct Date {
    second: i64,
    text: Vec<u8>,
}

impl Date {
    /// Returns the time as headers have it (RFC 9110, section 5.6.7).
    pub(in crate::proxy::listener) fn text(&mut self) -> &[u8] {
        let second = Clock::System.now_ms().div_euclid(1000);
        if second != self.second || self.text.is_empty() {
            let time = DateTime::from_timestamp(second, 0).unwrap_or_default();
            self.text = time.format("%a, %d %b %Y %H:%M:%S GMT").to_string().into_bytes();
            self.second = second;
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_has_the_form_of_http() {
        let mut date = Date::default();
        let text = String::from_utf8(date.text().to_vec()).unwrap();
        let read = chrono::NaiveDateTime::parse_from_str(&text, "%a, %d %b %Y %H:%M:%S GMT");
        let age = Clock::System.now().naive_utc() - read.unwrap();
        assert!((0..60).contains(&age.num_seconds()), "{text}");
        assert_eq!(text.len(), 29);
    }
}
