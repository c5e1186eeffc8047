//! The text of what is kept: a line with the format and the time of the stop, then a line for each
//! upstream and address, in any order.
//!
//! ```text
//! hybridctl-health 2 STOP_MS
//! upstream ID POSITION
//! address ID TARGET HOST IP:PORT up|down SUCCESSES TCP HTTP TIMEOUTS LATENCY_MS AGE_MS SLOW_START_MS
//! ```
//!
//! The time of the stop is in milliseconds since 1970. The last three are the average latency, how long
//! before the stop it was noted, and how long before the stop a slow start began; `-` where there is
//! none. The first format had lines `ID TARGET HOST IP:PORT` of addresses that were down.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use uuid::Uuid;

use crate::balancer::address::{Identity, Moment};
use crate::balancer::health::state::Counts;
use crate::balancer::target::Endpoint;

/// The first word of the file.
const NAME: &str = "hybridctl-health";

/// After how long nothing of what was known counts any more.
pub(super) const AGE_MAX_MS: i64 = 600_000;

/// How many lines there are at the most.
pub(super) const LINES_MAX: usize = 100_000;

/// What one process leaves to the next.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// How many turns were taken, by upstream.
    pub(super) positions: HashMap<Uuid, u64>,
    /// What is known of addresses, by their upstream and who they are.
    pub(super) addresses: HashMap<(Uuid, Identity), Known>,
}

/// What is known of one address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Known {
    /// Whether it is down, and what was counted.
    pub(super) counts: Counts,
    /// Its average latency in milliseconds, and the moment that it is of.
    pub(super) latency: Option<(f64, Moment)>,
    /// The moment from which its slow start counts, while that lasts.
    pub(super) begun: Option<Moment>,
}

impl Known {
    /// What is known of an address that nobody asked yet.
    pub(super) const NOTHING: Self = Self { counts: Counts::of(true), latency: None, begun: None };
}

impl Memory {
    /// Returns whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.addresses.is_empty()
    }

    /// Returns its text at a moment, which is also known in milliseconds since 1970, and how many
    /// lines had no room. Who is down comes first.
    pub(super) fn text(&self, now_ms: i64, now: Moment) -> (String, usize) {
        let mut text = format!("{NAME} 2 {now_ms}\n");
        let mut addresses: Vec<_> = self.addresses.iter().collect();
        addresses.sort_by_key(|(_, known)| known.counts.is_up());
        for ((upstream, identity), known) in addresses.iter().take(LINES_MAX) {
            // Writing to a text cannot fail.
            let _ = write_address(&mut text, *upstream, identity, known, now);
        }
        let room = LINES_MAX.saturating_sub(addresses.len());
        for (upstream, position) in self.positions.iter().take(room) {
            let _ = writeln!(text, "upstream {upstream} {position}");
        }
        (text, (addresses.len() + self.positions.len()).saturating_sub(LINES_MAX))
    }

    /// Reads a text at a moment; nothing of one that is too old. Returns with it how many lines make
    /// no sense; none if the whole text is no such one.
    pub(super) fn parse(text: &str, now_ms: i64, now: Moment) -> Option<(Self, usize)> {
        let mut lines = text.lines();
        let mut words = lines.next()?.split(' ');
        let (name, format) = (words.next()?, words.next()?);
        let stop_ms: i64 = words.next()?.parse().ok()?;
        let read: fn(&mut Self, &str, Moment) -> Option<()> = match format {
            "1" => Self::read_first,
            "2" => Self::read,
            _ => return None,
        };
        if name != NAME || words.next().is_some() {
            return None;
        }
        let mut memory = Self::default();
        let since_ms = now_ms.checked_sub(stop_ms)?;
        if !(0..=AGE_MAX_MS).contains(&since_ms) {
            return Some((memory, 0));
        }
        let stop = now.before(Duration::from_millis(since_ms.unsigned_abs()));
        let damaged =
            lines.take(LINES_MAX).filter(|line| read(&mut memory, line, stop).is_none()).count();
        Some((memory, damaged))
    }

    fn read(&mut self, line: &str, stop: Moment) -> Option<()> {
        let mut words = line.split(' ');
        match words.next()? {
            "upstream" => {
                let (id, position) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                words.next().is_none().then(|| self.positions.insert(id, position))?;
            }
            "address" => {
                let key = read_key(&mut words)?;
                let counts = Counts::read(&mut words)?;
                let latency: Option<f64> = read_or_none(words.next()?)?;
                let noted = read_age(words.next()?, stop)?;
                let begun = read_age(words.next()?, stop)?;
                let latency = match (latency, noted) {
                    (None, None) => None,
                    (Some(ms), Some(noted)) if ms.is_finite() && ms >= 0.0 => Some((ms, noted)),
                    _ => return None,
                };
                let known = Known { counts, latency, begun };
                words.next().is_none().then(|| self.addresses.insert(key, known))?;
            }
            _ => return None,
        }
        Some(())
    }

    fn read_first(&mut self, line: &str, _stop: Moment) -> Option<()> {
        let mut words = line.split(' ');
        let key = read_key(&mut words)?;
        let known = Known { counts: Counts::of(false), ..Known::NOTHING };
        words.next().is_none().then(|| self.addresses.insert(key, known))?;
        Some(())
    }
}

fn write_address(
    text: &mut String,
    upstream: Uuid,
    identity: &Identity,
    known: &Known,
    now: Moment,
) -> std::fmt::Result {
    let Identity { target, host, ip, port } = identity;
    let Known { counts, latency, begun } = known;
    let address = SocketAddr::new(*ip, *port);
    write!(text, "address {upstream} {target} {host} {address} {counts}")?;
    match latency {
        Some((average_ms, noted)) => {
            write!(text, " {average_ms:.3} {}", now.since(*noted).as_millis())?;
        }
        None => text.push_str(" - -"),
    }
    match begun {
        Some(begun) => writeln!(text, " {}", now.since(*begun).as_millis()),
        None => writeln!(text, " -"),
    }
}

fn read_key<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<(Uuid, Identity)> {
    let upstream = words.next()?.parse().ok()?;
    let target = Endpoint::parse(words.next()?)?;
    let host = words.next().filter(|host| !host.is_empty())?.into();
    let address: SocketAddr = words.next()?.parse().ok()?;
    Some((upstream, Identity { target, host, ip: address.ip(), port: address.port() }))
}

/// Reads a word that may stand for none; outer none if it makes no sense.
fn read_or_none<T: std::str::FromStr>(word: &str) -> Option<Option<T>> {
    if word == "-" { Some(None) } else { word.parse().ok().map(Some) }
}

fn read_age(word: &str, stop: Moment) -> Option<Option<Moment>> {
    let age_ms: Option<u64> = read_or_none(word)?;
    Some(age_ms.map(|ms| stop.before(Duration::from_millis(ms))))
}
