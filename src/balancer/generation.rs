//! One generation of a balancer: its members and who of them is next. It never changes; a change of
//! targets or addresses makes another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Algorithm;
use super::address::{Address, Member, Moment};
use super::hash::mix;
use super::lots::Lots;
use super::slots::Slots;
use super::slow_start::SlowStart;
use super::target::Endpoint;
use super::tried::Tried;
use super::wheel::Wheel;

/// Up to so many members the best of all is found; of more, the best of [`SAMPLE`].
const EXACT_MAX: usize = 12;

/// How many members are compared when there are many.
const SAMPLE: usize = 4;

/// How many turns are tried before everyone is looked at in order.
const TURNS_MAX: u64 = 16;

/// What one pick depends on.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The hash that consistent hashing goes by.
    pub hash: u64,
    /// Who was tried already.
    pub tried: &'a Tried,
    /// The present moment.
    pub now: Moment,
}

/// Members and how one of them is chosen.
#[derive(Debug)]
pub struct Generation {
    targets: Box<[Endpoint]>,
    members: Box<[Member]>,
    /// Those with weight.
    serving: Box<[Member]>,
    choice: Choice,
}

#[derive(Debug)]
enum Choice {
    RoundRobin(Wheel),
    Hashing(Slots),
    LeastConnections(Field),
    Latency(Field),
}

/// Who is compared.
#[derive(Debug)]
enum Field {
    /// Everyone, beginning with whose turn it is.
    All(Wheel),
    /// A few that are drawn.
    Some(Lots),
}

impl Field {
    fn new(serving: &[Member]) -> Self {
        match serving.len() <= EXACT_MAX {
            true => Self::All(Wheel::new(serving)),
            false => Self::Some(Lots::new(serving)),
        }
    }
}

impl Generation {
    /// Builds the generation of targets and the addresses that they have; `old` is the one before.
    pub(super) fn new(
        targets: Box<[Endpoint]>,
        members: Box<[Member]>,
        algorithm: Algorithm,
        old: Option<&Self>,
    ) -> Self {
        let serving: Box<[_]> = members.iter().filter(|it| it.weight > 0).cloned().collect();
        let choice = match algorithm {
            Algorithm::RoundRobin => Choice::RoundRobin(Wheel::new(&serving)),
            Algorithm::LeastConnections => Choice::LeastConnections(Field::new(&serving)),
            Algorithm::Latency => Choice::Latency(Field::new(&serving)),
            Algorithm::Hashing { slots } => {
                let old = match old.map(|old| &old.choice) {
                    Some(Choice::Hashing(old)) => Some(old),
                    _ => None,
                };
                Choice::Hashing(Slots::new(&serving, slots, old))
            }
        };
        Self { targets, members, serving, choice }
    }

    /// Returns all members, those without weight too.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns the targets, with addresses or without.
    pub fn targets(&self) -> &[Endpoint] {
        &self.targets
    }

    /// Returns who gets a request; none if everyone was tried or is unavailable.
    pub(super) fn pick(
        &self,
        ask: &Ask<'_>,
        position: &AtomicU64,
        slow_start: SlowStart,
    ) -> Option<&Arc<Address>> {
        let weight =
            |member: &Member| f64::from(member.weight) * slow_start.share(&member.address, ask.now);
        let member = match &self.choice {
            Choice::RoundRobin(wheel) => self.in_turn(wheel, ask, position, slow_start),
            Choice::Hashing(slots) => self.by_hash(slots, ask),
            Choice::LeastConnections(field) => self.best(field, ask, position, |member| {
                (f64::from(member.address.connections()) + 1.0) / weight(member)
            }),
            Choice::Latency(field) => self.best(field, ask, position, |member| {
                member.address.latency_ms(ask.now) / weight(member)
            }),
        };
        member.map(|member| &member.address)
    }

    fn in_turn(
        &self,
        wheel: &Wheel,
        ask: &Ask<'_>,
        position: &AtomicU64,
        slow_start: SlowStart,
    ) -> Option<&Member> {
        let mut at = 0;
        for _ in 0..TURNS_MAX {
            let turn = position.fetch_add(1, Ordering::Relaxed);
            at = wheel.at(turn)?;
            let member = self.serving.get(at)?;
            if is_fit(member, ask) && slow_start.takes(turn, &member.address, ask.now) {
                return Some(member);
            }
        }
        self.in_order(at).find(|member| is_fit(member, ask))
    }

    /// Kong's ring asks for another hash too when an address is unavailable, which spreads the keys
    /// of one that fails over all others.
    fn by_hash(&self, slots: &Slots, ask: &Ask<'_>) -> Option<&Member> {
        let mut at = 0;
        for turn in 0..TURNS_MAX {
            at = slots.at(if turn == 0 { ask.hash } else { mix(ask.hash.wrapping_add(turn)) })?;
            let member = self.serving.get(at)?;
            if is_fit(member, ask) {
                return Some(member);
            }
        }
        self.in_order(at).find(|member| is_fit(member, ask))
    }

    /// Finds the lowest score; of equal ones that whose turn comes first.
    fn best(
        &self,
        field: &Field,
        ask: &Ask<'_>,
        position: &AtomicU64,
        score: impl Fn(&Member) -> f64,
    ) -> Option<&Member> {
        let lots = match field {
            Field::All(wheel) => {
                let first = wheel.at(position.fetch_add(1, Ordering::Relaxed))?;
                let fit = self.in_order(first).filter(|member| is_fit(member, ask));
                return lowest(fit, score);
            }
            Field::Some(lots) => lots,
        };
        let first = position.fetch_add(SAMPLE as u64, Ordering::Relaxed);
        let turns = (0..TURNS_MAX).map(|turn| first.wrapping_add(turn));
        let drawn = turns.filter_map(|turn| self.serving.get(lots.draw(turn)?));
        let fit = drawn.filter(|member| is_fit(member, ask)).take(SAMPLE);
        lowest(fit, &score)
            .or_else(|| lowest(self.serving.iter().filter(|member| is_fit(member, ask)), &score))
    }

    fn in_order(&self, first: usize) -> impl Iterator<Item = &Member> {
        let (before, from) = self.serving.split_at(first.min(self.serving.len()));
        from.iter().chain(before)
    }
}

fn is_fit(member: &Member, ask: &Ask<'_>) -> bool {
    member.address.health.available() && !ask.tried.has(&member.address)
}

fn lowest<'m>(
    members: impl Iterator<Item = &'m Member>,
    score: impl Fn(&Member) -> f64,
) -> Option<&'m Member> {
    let scored = members.map(|member| (score(member), member));
    let lower = |best: (f64, &'m Member), next: (f64, &'m Member)| {
        if next.0 < best.0 { next } else { best }
    };
    scored.reduce(lower).map(|(_, member)| member)
}
