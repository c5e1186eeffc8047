//! What authorities have said, for as long as it holds.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::answer::Status;
use super::statement::Statement;

/// How many statements are remembered.
const STATEMENTS_MAX: usize = 4096;

/// How long one is remembered at most: a certificate that is revoked today must not get in for the
/// week that yesterday's answer holds.
const REMEMBERED_MAX: TimeDelta = TimeDelta::hours(1);

/// The digests of a certificate and of its issuer.
pub(super) type Key = [[u8; 32]; 2];

/// The statements that still hold.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<Key, (Status, DateTime<Utc>)>);

impl Known {
    /// Returns what was said of a certificate, if it holds at this moment.
    pub fn find(&self, key: &Key, at: DateTime<Utc>) -> Option<Status> {
        self.0.get(key).filter(|(_, until)| at < *until).map(|(status, _)| *status)
    }

    /// Remembers a statement, if it holds longer than for the moment.
    pub fn remember(&mut self, key: Key, statement: Statement, at: DateTime<Utc>) {
        let Some(until) = statement.until.filter(|until| at < *until) else { return };
        if self.0.len() >= STATEMENTS_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, (_, until)| at < *until);
            if self.0.len() >= STATEMENTS_MAX {
                let soonest = self.0.iter().min_by_key(|(_, (_, until))| *until);
                let soonest = soonest.map(|(key, _)| *key);
                soonest.and_then(|key| self.0.remove(&key));
            }
        }
        self.0.insert(key, (statement.status, until.min(at + REMEMBERED_MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn key(number: usize) -> Key {
        let mut key = [[0; 32]; 2];
        key[0][..8].copy_from_slice(&number.to_be_bytes());
        key
    }

    fn good(until: Option<i64>) -> Statement {
        Statement { status: Status::Good, until: until.map(at) }
    }

    #[test]
    fn a_statement_is_remembered_until_it_ends_and_an_hour_at_most() {
        for (until, remembered) in [(None, 0), (Some(-1), 0), (Some(7), 7), (Some(900), 60)] {
            let mut known = Known::default();
            known.remember(key(1), good(until), at(0));
            for minute in [0, 6, 7, 59, 60] {
                let found = known.find(&key(1), at(minute));
                assert_eq!(found.is_some(), minute < remembered, "{until:?} {minute}");
            }
            assert_eq!(known.find(&key(2), at(0)), None);
        }
    }

    #[test]
    fn what_ends_first_makes_room() {
        let mut known = Known::default();
        known.remember(key(STATEMENTS_MAX), good(Some(10)), at(0));
        for number in 0..STATEMENTS_MAX {
            known.remember(key(number), good(Some(20)), at(0));
        }
        assert_eq!(known.0.len(), STATEMENTS_MAX);
        assert_eq!(known.find(&key(STATEMENTS_MAX), at(1)), None);
        assert_eq!(known.find(&key(0), at(1)), Some(Status::Good));
    }
}
