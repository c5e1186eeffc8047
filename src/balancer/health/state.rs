//! The state of one address: what was counted of it, in one word that is read and changed without a
//! lock (behaviour: reference gateway-3, section E.2).
//!
//! An address is up or down. Failures are counted while it is up and successes while it is down; a
//! limit that is reached turns it over, and a sign of the other kind clears what was counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

/// How one try at an address ended, or one probe of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Status(StatusCode),
    /// It did what it was asked, without a status: it took a connection, or said that it serves.
    Succeeded,
    /// It said that it does not serve, or nothing that makes sense.
    Unwell,
    /// It could not be connected to, or broke off.
    Failed,
    /// Something took too long.
    TimedOut,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {}", status.as_u16()),
            Self::Succeeded => f.write_str("success"),
            Self::Unwell => f.write_str("does not serve"),
            Self::Failed => f.write_str("connection failed"),
            Self::TimedOut => f.write_str("timed out"),
        }
    }
}

/// What an outcome is a sign of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Health.
    Success,
    /// Illness: no connection, or one that broke.
    TcpFailure,
    /// Illness: a bad answer.
    HttpFailure,
    /// Illness: no answer in time.
    Timeout,
}

/// How an address does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is up.
    Healthy,
    /// It is up, and failed of late.
    MostlyHealthy,
    /// It is down, and did well of late.
    MostlyUnhealthy,
    /// It is down.
    Unhealthy,
}

impl State {
    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::MostlyHealthy => "mostly_healthy",
            Self::MostlyUnhealthy => "mostly_unhealthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// An address that was up is down now, or the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
}

/// The counts of an address: four of eight bits, by [`Sign`], and whether it is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts(u64);

const DOWN: u64 = 1 << 32;
const COUNT_MAX: u64 = 0xff;
const FAILURES: u64 = 0xffff_ff00;

impl Counts {
    /// Returns the counts of an address that is up or down, and of which nothing else is known.
    pub(super) const fn of(is_up: bool) -> Self {
        Self(if is_up { 0 } else { DOWN })
    }

    pub(super) fn is_up(self) -> bool {
        self.0 & DOWN == 0
    }

    /// Reads five words as they are displayed; none if no address ever has such counts.
    pub(super) fn read<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        let is_up = match words.next()? {
            "up" => true,
            "down" => false,
            _ => return None,
        };
        let mut count = || words.next()?.parse::<u8>().ok();
        let counts = [count()?, count()?, count()?, count()?];
        let counts = Self(Self::of(is_up).0 | u64::from(u32::from_le_bytes(counts)));
        let speaks_for_it = if is_up { counts.count(Sign::Success) } else { counts.0 & FAILURES };
        (speaks_for_it == 0).then_some(counts)
    }

    fn count(self, sign: Sign) -> u64 {
        self.0 >> shift(sign) & COUNT_MAX
    }

    fn state(self) -> State {
        match (self.is_up(), self.0 & FAILURES, self.count(Sign::Success)) {
            (true, 0, _) => State::Healthy,
            (true, ..) => State::MostlyHealthy,
            (false, _, 0) => State::Unhealthy,
            (false, ..) => State::MostlyUnhealthy,
        }
    }

    /// Returns the counts after one more sign, of which `limit` turn the address over. A limit of 0
    /// means that such signs do not count at all.
    fn after(self, sign: Sign, limit: u8) -> Self {
        if limit == 0 {
            return self;
        }
        let is_success = sign == Sign::Success;
        if self.is_up() == is_success {
            // More of the same: what spoke against it is forgotten.
            return Self::of(is_success);
        }
        let count = self.count(sign) + 1;
        if count >= u64::from(limit) {
            return Self::of(is_success);
        }
        Self(self.0 & !(COUNT_MAX << shift(sign)) | count << shift(sign))
    }
}

/// `up` or `down`, and how many successes, failures of TCP and of HTTP, and timeouts.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [successes, tcp, http, timeouts, ..] = self.0.to_le_bytes();
        let state = if self.is_up() { "up" } else { "down" };
        write!(f, "{state} {successes} {tcp} {http} {timeouts}")
    }
}

fn shift(sign: Sign) -> u32 {
    match sign {
        Sign::Success => 0,
        Sign::TcpFailure => 8,
        Sign::HttpFailure => 16,
        Sign::Timeout => 24,
    }
}

/// How often an address failed since it was first known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// No connection, or one that broke.
    pub tcp: u64,
    /// Bad answers.
    pub http: u64,
    /// No answers in time.
    pub timeouts: u64,
}

/// The health of one address. It begins healthy.
#[derive(Debug)]
pub struct AddressHealth {
    counts: AtomicU64,
    /// Of TCP, of HTTP, and in time; only failures write, so that good traffic shares the line.
    failures: [AtomicU64; 3],
}

impl AddressHealth {
    /// Returns the health of an address of which nothing is known.
    pub(in crate::balancer) fn new() -> Self {
        Self { counts: AtomicU64::new(Counts::of(true).0), failures: Default::default() }
    }

    /// Returns whether it gets traffic: one load.
    pub fn available(&self) -> bool {
        Counts(self.counts.load(Ordering::Relaxed)).is_up()
    }

    /// Returns how it does.
    pub fn state(&self) -> State {
        Counts(self.counts.load(Ordering::Relaxed)).state()
    }

    /// Returns how often it failed.
    pub fn failures(&self) -> Failures {
        let [tcp, http, timeouts] = self.failures.each_ref().map(|it| it.load(Ordering::Relaxed));
        Failures { tcp, http, timeouts }
    }

    /// Declares it up or down, and forgets what was counted. Returns whether it turned over.
    pub fn set_available(&self, available: bool) -> Option<Turn> {
        let new = Counts::of(available);
        turn(Counts(self.counts.swap(new.0, Ordering::AcqRel)), new)
    }

    /// Returns what is counted of it.
    pub(super) fn counts(&self) -> Counts {
        Counts(self.counts.load(Ordering::Relaxed))
    }

    /// Takes over what was counted before it was known here. What was seen here counts more, but
    /// brings nobody back who was down. Returns whether it turned over.
    pub(super) fn take_over(&self, kept: Counts) -> Option<Turn> {
        let new = |seen| {
            let is_new = seen == Counts::of(true).0;
            (is_new || Counts(seen).is_up() && !kept.is_up()).then_some(kept.0)
        };
        let old = self.counts.fetch_update(Ordering::AcqRel, Ordering::Relaxed, new);
        turn(Counts(old.ok()?), kept)
    }

    /// Counts one more sign, of which `limit` turn it over. Returns whether that one did: of signs
    /// that come at the same moment exactly one is told so.
    pub(super) fn note(&self, sign: Sign, limit: u8) -> Option<Turn> {
        let [tcp, http, timeouts] = &self.failures;
        match sign {
            Sign::Success => 0,
            Sign::TcpFailure => tcp.fetch_add(1, Ordering::Relaxed),
            Sign::HttpFailure => http.fetch_add(1, Ordering::Relaxed),
            Sign::Timeout => timeouts.fetch_add(1, Ordering::Relaxed),
        };
        let mut seen = self.counts.load(Ordering::Relaxed);
        loop {
            let (old, new) = (Counts(seen), Counts(seen).after(sign, limit));
            if new == old {
                return None;
            }
            let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            match self.counts.compare_exchange_weak(seen, new.0, success, failure) {
                Ok(_) => return turn(old, new),
                Err(now) => seen = now,
            }
        }
    }
}

fn turn(old: Counts, new: Counts) -> Option<Turn> {
    (old.is_up() != new.is_up()).then(|| Turn { from: old.state(), to: new.state() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    const FAILURE_SIGNS: [Sign; 3] = [Sign::TcpFailure, Sign::HttpFailure, Sign::Timeout];

    #[test]
    fn what_was_counted_before_gives_way_to_what_is_seen_except_that_it_was_down() {
        let read = |text: &str| Counts::read(&mut text.split(' ')).unwrap();
        for (seen, kept, wanted, turns) in [
            ("up 0 0 0 0", "up 0 2 1 0", "up 0 2 1 0", false),
            ("up 0 1 0 0", "up 0 0 3 0", "up 0 1 0 0", false),
            ("up 0 1 0 0", "down 2 0 0 0", "down 2 0 0 0", true),
            ("down 1 0 0 0", "down 0 0 0 0", "down 1 0 0 0", false),
            ("down 1 0 0 0", "up 0 0 0 0", "down 1 0 0 0", false),
        ] {
            let health = AddressHealth::new();
            health.counts.store(read(seen).0, Ordering::Relaxed);
            assert_eq!(health.take_over(read(kept)).is_some(), turns, "{seen}, {kept}");
            assert_eq!(health.counts().to_string(), wanted, "{seen}, {kept}");
        }
    }

    #[test]
    fn counts_that_no_address_has_are_not_read() {
        for text in [
            "up",
            "up 0 0 0",
            "up 0 0 0 256",
            "up 0 -1 0 0",
            "up 1 0 0 0",
            "down 0 0 1 0",
            "off 0 0 0 0",
        ] {
            assert_eq!(Counts::read(&mut text.split(' ')), None, "{text}");
        }
    }

    #[test]
    fn limits_turn_an_address_over_through_four_states() {
        let health = AddressHealth::new();
        let steps = [
            (Sign::TcpFailure, 2, State::MostlyHealthy),
            // Another kind of failure counts apart, and takes nothing back.
            (Sign::Timeout, 2, State::MostlyHealthy),
            (Sign::TcpFailure, 2, State::Unhealthy),
            (Sign::Success, 2, State::MostlyUnhealthy),
            (Sign::HttpFailure, 9, State::Unhealthy),
            (Sign::Success, 2, State::MostlyUnhealthy),
            (Sign::Success, 2, State::Healthy),
            (Sign::HttpFailure, 3, State::MostlyHealthy),
            (Sign::Success, 1, State::Healthy),
        ];
        let mut turns = Vec::new();
        for (i, (sign, limit, wanted)) in steps.into_iter().enumerate() {
            turns.extend(health.note(sign, limit).map(|turn| (i, turn.to)));
            assert_eq!(health.state(), wanted, "after step {i}");
            assert_eq!(health.available(), matches!(wanted, State::Healthy | State::MostlyHealthy));
        }
        assert_eq!(turns, [(2, State::Unhealthy), (6, State::Healthy)]);
        assert_eq!(health.failures(), Failures { tcp: 2, http: 2, timeouts: 1 });
    }

    #[test]
    fn a_declaration_forgets_what_was_counted() {
        let health = AddressHealth::new();
        health.note(Sign::TcpFailure, 2);
        assert_eq!(health.set_available(true), None);
        assert_eq!(health.note(Sign::TcpFailure, 2), None, "the first failure counts no more");
        let down = Turn { from: State::MostlyHealthy, to: State::Unhealthy };
        assert_eq!(health.set_available(false), Some(down));
        assert_eq!(health.set_available(false), None);
        assert_eq!(health.state(), State::Unhealthy);
    }

    #[test]
    fn of_signs_at_one_moment_one_is_told() {
        let health = Arc::new(AddressHealth::new());
        for round in 0..50 {
            let sign = if round % 2 == 0 { Sign::HttpFailure } else { Sign::Success };
            let cores: Vec<_> = (0..4)
                .map(|_| {
                    let health = health.clone();
                    std::thread::spawn(move || (0..10).filter_map(|_| health.note(sign, 7)).count())
                })
                .collect();
            let told: usize = cores.into_iter().map(|core| core.join().unwrap()).sum();
            assert_eq!(told, 1, "round {round}");
        }
    }

    /// The same by plain numbers.
    #[derive(Default)]
    struct Model {
        is_down: bool,
        successes: u32,
        failures: [u32; 3],
    }

    impl Model {
        fn note(&mut self, sign: Sign, limit: u8) {
            if limit == 0 {
                return;
            }
            match FAILURE_SIGNS.iter().position(|it| *it == sign) {
                None => {
                    self.failures = [0; 3];
                    if self.is_down {
                        self.successes += 1;
                        self.is_down = self.successes < limit.into();
                    }
                    if !self.is_down {
                        self.successes = 0;
                    }
                }
                Some(kind) => {
                    self.successes = 0;
                    if !self.is_down {
                        self.failures[kind] += 1;
                        self.is_down = self.failures[kind] >= limit.into();
                    }
                    if self.is_down {
                        self.failures = [0; 3];
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn counts_are_what_plain_numbers_are(
            limits in prop::array::uniform4(0_u8..=4),
            signs in prop::collection::vec(0_usize..4, 0..60),
        ) {
            let (health, mut model) = (AddressHealth::new(), Model::default());
            let all = [Sign::Success, Sign::TcpFailure, Sign::HttpFailure, Sign::Timeout];
            for index in signs {
                let was_up = health.available();
                let turned = health.note(all[index], limits[index]);
                model.note(all[index], limits[index]);
                prop_assert_eq!(health.available(), !model.is_down);
                prop_assert_eq!(turned.is_some(), was_up != health.available());
                let wanted = match (model.is_down, model.successes, model.failures) {
                    (false, _, [0, 0, 0]) => State::Healthy,
                    (false, ..) => State::MostlyHealthy,
                    (true, 0, _) => State::Unhealthy,
                    (true, ..) => State::MostlyUnhealthy,
                };
                prop_assert_eq!(health.state(), wanted);
                let text = health.counts().to_string();
                prop_assert_eq!(Counts::read(&mut text.split(' ')), Some(health.counts()));
            }
        }

        #[test]
        fn the_largest_limits_are_reached(limit in 250_u8..=255) {
            let health = AddressHealth::new();
            for _ in 1..limit {
                prop_assert_eq!(health.note(Sign::Timeout, limit), None);
            }
            prop_assert!(health.note(Sign::Timeout, limit).is_some());
        }
    }
}
