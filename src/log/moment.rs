//! Moments: how people name a position of the log, by number, by hash or by time.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;

/// Fewest characters of a hash that name a config.
pub const PREFIX_LEN_MIN: usize = 8;

/// A position of the log as people write it: `17`, `3fa9c01b…`, `2026-01-31T08:00:00Z`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// A position.
    Seq(Seq),
    /// The newest position with this config.
    Hash(HashPrefix),
    /// The last position at or before this time.
    Time(DateTime<Utc>),
}

/// The first characters of a config hash: 8 to 64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashPrefix {
    low: ConfigHash,
    high: ConfigHash,
    len: usize,
}

/// Why a text is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a position, {PREFIX_LEN_MIN} to 64 lower-case hexadecimal characters of a config \
     hash, or a time such as 2026-01-31T08:00:00Z"
)]
pub struct ParseMomentError;

impl HashPrefix {
    /// Returns the least and the greatest hash that begin so.
    pub fn range(&self) -> (ConfigHash, ConfigHash) {
        (self.low, self.high)
    }

    /// Returns whether a hash begins so.
    pub fn matches(&self, hash: ConfigHash) -> bool {
        (self.low..=self.high).contains(&hash)
    }

    /// Returns the position that the same characters name if no config has such a hash.
    pub fn as_seq(&self) -> Option<Seq> {
        self.to_string().parse().ok().map(Seq)
    }
}

impl From<ConfigHash> for HashPrefix {
    fn from(hash: ConfigHash) -> Self {
        Self { low: hash, high: hash, len: 64 }
    }
}

impl FromStr for HashPrefix {
    type Err = ParseMomentError;

    fn from_str(text: &str) -> Result<Self, ParseMomentError> {
        if !(PREFIX_LEN_MIN..=64).contains(&text.len()) {
            return Err(ParseMomentError);
        }
        let filled = |with: &str| format!("{text}{}", with.repeat(64 - text.len()));
        let low = filled("0").parse().map_err(|_| ParseMomentError)?;
        let high = filled("f").parse().map_err(|_| ParseMomentError)?;
        Ok(Self { low, high, len: text.len() })
    }
}

impl fmt::Display for HashPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = self.low.to_hex();
        f.write_str(hex.get(..self.len).unwrap_or(&hex))
    }
}

impl fmt::Debug for HashPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Moment {
    type Err = ParseMomentError;

    fn from_str(text: &str) -> Result<Self, ParseMomentError> {
        if let Ok(prefix) = text.parse() {
            return Ok(Self::Hash(prefix));
        }
        if let Ok(seq) = text.parse() {
            return Ok(Self::Seq(Seq(seq)));
        }
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::Time(at.to_utc()));
        }
        let midnight = text.parse::<NaiveDate>().map(|day| day.and_time(NaiveTime::MIN).and_utc());
        midnight.map(Self::Time).map_err(|_| ParseMomentError)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seq(seq) => seq.fmt(f),
            Self::Hash(prefix) => prefix.fmt(f),
            Self::Time(at) => f.write_str(&at.to_rfc3339()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_positions_hashes_and_times() {
        let parse = |text: &str| text.parse::<Moment>();
        assert_eq!(parse("17"), Ok(Moment::Seq(Seq(17))));
        assert!(matches!(parse("0123abcd"), Ok(Moment::Hash(_))));
        assert!(matches!(parse(&"a".repeat(64)), Ok(Moment::Hash(_))));
        assert_eq!(parse("2026-01-31"), parse("2026-01-31T00:00:00Z"));
        assert_eq!(parse("2026-01-31T02:00:00+02:00"), parse("2026-01-31T00:00:00Z"));
        for text in ["", "abc", "-1", "0123abcZ", &"a".repeat(65), "yesterday", "2026-13-01"] {
            assert_eq!(parse(text), Err(ParseMomentError), "{text}");
        }
    }

    #[test]
    fn a_prefix_matches_what_begins_so() {
        let prefix: HashPrefix = "0123abcd9".parse().unwrap();
        assert_eq!(prefix.to_string(), "0123abcd9");
        let hash = |text: &str| format!("{text:0<64}").parse::<ConfigHash>().unwrap();
        assert!(prefix.matches(hash("0123abcd9")) && prefix.matches(hash("0123abcd9fff")));
        assert!(!prefix.matches(hash("0123abcda")) && !prefix.matches(hash("0123abcd8fff")));
        assert_eq!("00000017".parse::<HashPrefix>().unwrap().as_seq(), Some(Seq(17)));
    }
}
