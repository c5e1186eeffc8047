//! The wheel: members in turn, each as often as its weight says.
//!
//! Positions are visited in steps of about 0.618 of the whole. As the step has no divisor in common
//! with the whole, each position comes once a turn, and consecutive ones are spread evenly.

use super::address::Member;

/// Which member stands at which position.
#[derive(Debug)]
pub(super) struct Wheel {
    /// The sum of the weights up to and with each member, in steps of their common divisor.
    ends: Box<[u64]>,
    /// Of each equal part of the whole, who stands at its begin: from there it is a short way.
    guide: Box<[u32]>,
    total: u64,
    stride: u64,
    /// How many positions a part has, as a power of two.
    part_bits: u32,
}

impl Wheel {
    /// Builds the wheel of members with weights above 0.
    pub(super) fn new(members: &[Member]) -> Self {
        let weights = members.iter().map(|member| u64::from(member.weight));
        let divisor = weights.clone().fold(0, gcd).max(1);
        let mut total = 0;
        let ends = weights.map(|weight| {
            total += weight / divisor;
            total
        });
        let ends: Box<[u64]> = ends.collect();
        // As many parts as members, up to twice as many.
        let part_bits = (total / ends.len().max(1) as u64).max(1).ilog2();
        let first = |part: u64| ends.partition_point(|end| *end <= part << part_bits);
        let parts = 0..=total >> part_bits;
        let guide = parts.map(|part| u32::try_from(first(part)).unwrap_or(u32::MAX)).collect();
        Self { ends, guide, total, stride: stride(total), part_bits }
    }

    /// Returns the index of the member at the n-th position; none of an empty wheel.
    pub(super) fn at(&self, n: u64) -> Option<usize> {
        let position = n.checked_rem(self.total)?;
        // Fits: both are below 2^32 for as many members of the largest weight as anyone has.
        Some(self.find(position.wrapping_mul(self.stride) % self.total))
    }

    fn find(&self, position: u64) -> usize {
        let part = (position >> self.part_bits) as usize;
        let from = self.guide.get(part).map_or(0, |first| *first as usize);
        let ends = self.ends.iter().skip(from);
        from + ends.take_while(|end| **end <= position).count()
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn stride(total: u64) -> u64 {
    let wanted = (total as f64 * 0.618_033_988_75) as u64;
    (wanted.max(1)..).find(|step| gcd(*step, total.max(1)) == 1).unwrap_or(1)
}
