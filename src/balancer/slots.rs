//! The slots of consistent hashing: each hash falls into one slot, and each slot belongs to the
//! member that scores highest there (weighted rendezvous hashing).
//!
//! A slot changes hands only when its member goes, or when one comes that scores higher: with n
//! members of equal weight, one more takes 1/(n+1) of every other's slots, and moves nothing else.

use super::address::{Identity, Member};
use super::hash::{KeyHash, mix};

/// Kong's rings have at least so many points (reference gateway-3, section E.1).
const SLOTS_MIN: usize = 1_000;

/// Which member has which slot.
#[derive(Debug)]
pub(super) struct Slots {
    owners: Box<[u32]>,
    scores: Box<[f64]>,
    members: Box<[(u64, u32)]>,
}

impl Slots {
    /// Deals `count` slots to members with weights above 0. `old` is what they had: what did not
    /// change is not computed again.
    pub(super) fn new(members: &[Member], count: usize, old: Option<&Self>) -> Self {
        let count = count.max(SLOTS_MIN);
        let keys: Box<[(u64, u32)]> =
            members.iter().map(|it| (key(&it.address.identity()), it.weight)).collect();
        let old = old.filter(|old| old.owners.len() == count);
        let place = |wanted: &(u64, u32)| keys.iter().position(|it| it == wanted);
        // Where each old member is now.
        let moved: Vec<Option<u32>> = old
            .iter()
            .flat_map(|old| &old.members)
            .map(place)
            .map(|at| at.and_then(|at| u32::try_from(at).ok()))
            .collect();
        let is_new =
            |it: &&(usize, &(u64, u32))| !old.is_some_and(|old| old.members.contains(it.1));
        let everyone: Vec<_> = keys.iter().enumerate().collect();
        let newcomers: Vec<_> = everyone.iter().filter(is_new).copied().collect();
        let (mut owners, mut scores) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for slot in 0..count {
            let kept = old.and_then(|old| {
                let owner = (*moved.get(*old.owners.get(slot)? as usize)?)?;
                Some((owner, *old.scores.get(slot)?))
            });
            let rivals = if kept.is_some() { &newcomers } else { &everyone };
            let (owner, best) = rivals.iter().fold(
                kept.unwrap_or((0, f64::NEG_INFINITY)),
                |(owner, best), (at, (key, weight))| match score(*key, *weight, slot) {
                    // Members number far below 2^32.
                    score if score > best => (*at as u32, score),
                    _ => (owner, best),
                },
            );
            owners.push(owner);
            scores.push(best);
        }
        Self { owners: owners.into(), scores: scores.into(), members: keys }
    }

    /// Returns the index of the member that has the slot of a hash; none without members.
    pub(super) fn at(&self, hash: u64) -> Option<usize> {
        if self.members.is_empty() {
            return None;
        }
        // The high half of a product: an even spread without a division.
        let slot = (u128::from(hash) * self.owners.len() as u128) >> 64;
        self.owners.get(slot as usize).map(|owner| *owner as usize)
    }
}

/// A number for a member that is the same on every node and after every restart.
fn key(identity: &Identity) -> u64 {
    let mut hash = KeyHash::new();
    hash.write(identity.target.host.as_bytes());
    hash.write(&identity.target.port.to_be_bytes());
    hash.write(identity.host.as_bytes());
    hash.write(identity.ip.to_string().as_bytes());
    hash.write(&identity.port.to_be_bytes());
    hash.finish()
}

/// Returns how a member scores at a slot: it wins with a chance of its share of the weights.
fn score(key: u64, weight: u32, slot: usize) -> f64 {
    let drawn = mix(key ^ mix(slot as u64)) >> 11;
    // Evenly within (0, 1).
    let drawn = (drawn as f64 + 0.5) / 9_007_199_254_740_992.0;
    f64::from(weight) / -drawn.ln()
}
