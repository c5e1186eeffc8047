//! When to say that a certificate runs out: 30, 7 and 1 days before, and once it has.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

/// How near the end of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    /// Less than 30 days are left.
    Days30,
    /// Less than 7 days are left.
    Days7,
    /// Less than a day is left.
    Days1,
    /// It has run out.
    Over,
}

impl Nearness {
    /// Returns how near an end is; nothing while it is far.
    pub fn of(not_after: DateTime<Utc>, now: DateTime<Utc>) -> Option<Self> {
        let left = not_after - now;
        let within = |days| left < TimeDelta::days(days);
        let bands = [
            (left < TimeDelta::zero(), Self::Over),
            (within(1), Self::Days1),
            (within(7), Self::Days7),
            (within(30), Self::Days30),
        ];
        bands.into_iter().find(|(inside, _)| *inside).map(|(_, nearness)| nearness)
    }
}

/// What was said of which certificate, so that each thing is said once.
#[derive(Debug)]
pub struct Notices<K>(BTreeMap<K, (DateTime<Utc>, Nearness)>);

impl<K> Default for Notices<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Notices<K> {
    /// Returns what is to be said of the certificate of `whose` now, if anything is new.
    pub fn look(
        &mut self,
        whose: K,
        not_after: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<Nearness> {
        let Some(nearness) = Nearness::of(not_after, now) else {
            self.0.remove(&whose);
            return None;
        };
        let before = self.0.insert(whose, (not_after, nearness));
        let known = before.is_some_and(|(end, said)| end == not_after && said >= nearness);
        (!known).then_some(nearness)
    }

    /// Forgets all but these.
    pub fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.0.retain(|whose, _| keep(whose));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nearness_is_said_once_and_again_for_another_certificate() {
        let end: DateTime<Utc> = "2030-01-31T00:00:00Z".parse().unwrap();
        let before = |hours| end - TimeDelta::hours(hours);
        let mut notices = Notices::default();
        for (hours_left, said) in [
            (31 * 24, None),
            (30 * 24, None),
            (30 * 24 - 1, Some(Nearness::Days30)),
            (29 * 24, None),
            (7 * 24 - 1, Some(Nearness::Days7)),
            (25, None),
            (23, Some(Nearness::Days1)),
            (0, None),
            (-1, Some(Nearness::Over)),
            (-100, None),
        ] {
            assert_eq!(notices.look("a", end, before(hours_left)), said, "{hours_left}");
        }
        assert_eq!(notices.look("b", end, before(100)), Some(Nearness::Days7));
        let renewed = end + TimeDelta::days(5);
        assert_eq!(notices.look("a", renewed, before(1)), Some(Nearness::Days7));
        notices.retain(|whose| *whose == "b");
        assert_eq!(notices.look("a", renewed, before(1)), Some(Nearness::Days7));
    }
}
