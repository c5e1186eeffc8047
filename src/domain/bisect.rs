//! The search for the event that broke something: halves a stretch of the log again and again.

use crate::domain::event::Seq;

/// A stretch of the log whose first end is good and whose last is bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bisection {
    good: Seq,
    bad: Seq,
    /// Positions that could not be judged.
    skipped: std::collections::BTreeSet<Seq>,
}

/// What somebody found a position to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Broken.
    Bad,
    /// It cannot be said.
    Skip,
}

/// What is left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Judge this position.
    Judge(Seq),
    /// This event made it bad.
    Guilty(Seq),
    /// One of these events made it bad; those between could not be judged.
    Among(Vec<Seq>),
}

impl Bisection {
    /// Begins with two positions; none if the good one is not before the bad one.
    pub fn new(good: Seq, bad: Seq) -> Option<Self> {
        (good < bad).then(|| Self { good, bad, skipped: Default::default() })
    }

    /// Returns how many judgements are left at the most, unless some are skipped.
    pub fn steps_left(&self) -> u32 {
        (self.bad.0 - self.good.0).next_power_of_two().trailing_zeros()
    }

    /// Returns what is left to do.
    pub fn ask(&self) -> Next {
        if self.good.next() == self.bad {
            return Next::Guilty(self.bad);
        }
        let middle = self.good.0 + (self.bad.0 - self.good.0) / 2;
        // The nearest to the middle that can be judged.
        let distances = 0..(self.bad.0 - self.good.0);
        let candidates = distances.flat_map(|by| [middle.checked_sub(by), middle.checked_add(by)]);
        let within = |seq: &Seq| *seq > self.good && *seq < self.bad && !self.skipped.contains(seq);
        match candidates.flatten().map(Seq).find(within) {
            Some(seq) => Next::Judge(seq),
            None => Next::Among((self.good.0 + 1..=self.bad.0).map(Seq).collect()),
        }
    }

    /// Takes a verdict on a position.
    pub fn judge(&mut self, seq: Seq, verdict: Verdict) {
        match verdict {
            Verdict::Good => self.good = self.good.max(seq),
            Verdict::Bad => self.bad = self.bad.min(seq),
            Verdict::Skip => drop(self.skipped.insert(seq)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(good: u64, bad: u64, verdict: impl Fn(u64) -> Verdict) -> (Next, u32) {
        let mut bisection = Bisection::new(Seq(good), Seq(bad)).unwrap();
        let mut steps = 0;
        loop {
            match bisection.ask() {
                Next::Judge(seq) => bisection.judge(seq, verdict(seq.0)),
                found => return (found, steps),
            }
            steps += 1;
        }
    }

    proptest! {
        #[test]
        fn the_first_bad_event_is_found_in_few_steps(good in 0_u64..1000, len in 1_u64..5000, at in any::<prop::sample::Index>()) {
            let guilty = good + 1 + at.index(len as usize) as u64;
            let most = Bisection::new(Seq(good), Seq(good + len)).unwrap().steps_left();
            let judge = |seq| if seq < guilty { Verdict::Good } else { Verdict::Bad };
            let (found, steps) = run(good, good + len, judge);
            prop_assert_eq!(found, Next::Guilty(Seq(guilty)));
            prop_assert!(steps <= most, "{} steps, {} were announced", steps, most);
        }
    }

    #[test]
    fn what_cannot_be_judged_is_gone_around() {
        let verdict = |seq| match seq {
            5 => Verdict::Skip,
            seq if seq < 8 => Verdict::Good,
            _ => Verdict::Bad,
        };
        assert_eq!(run(0, 10, verdict).0, Next::Guilty(Seq(8)));
        let verdict = |seq| match seq {
            4..=6 => Verdict::Skip,
            seq if seq < 5 => Verdict::Good,
            _ => Verdict::Bad,
        };
        assert_eq!(run(0, 10, verdict).0, Next::Among((4..=7).map(Seq).collect()));
        assert_eq!(Bisection::new(Seq(3), Seq(3)), None);
    }
}
