//! Lots: who is drawn, each as likely as its weight, with one look at a table however many there are
//! (Walker's alias method).
//!
//! The table has an equal cell for each member. A cell is the member's own up to a part of it, and
//! another one's from there: whoever has less weight than the mean leaves room for one that has more.
//! There is no search and no loop, so a processor foresees all of it.

use super::address::Member;

/// The golden ratio's fraction in 64 bits: its multiples spread as evenly as any.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// As many parts has a cell.
const PARTS: f64 = 4_294_967_296.0;

/// The cells by the number of their member.
#[derive(Debug)]
pub(super) struct Lots(Box<[Cell]>);

#[derive(Clone, Copy, Debug)]
struct Cell {
    /// How many of its parts are the member's own.
    own: u32,
    /// Whose the others are.
    other: u32,
}

impl Lots {
    /// Makes the lots of members with weights above 0.
    pub(super) fn new(members: &[Member]) -> Self {
        let weights = || members.iter().map(|member| f64::from(member.weight));
        let mean = weights().sum::<f64>() / members.len().max(1) as f64;
        // What each still has to fill, in cells.
        let mut left: Vec<f64> = weights().map(|weight| weight / mean).collect();
        // Whole cells: so they stay where nothing is left to share, be it by rounding.
        let whole = |at: usize| Cell { own: u32::MAX, other: u32::try_from(at).unwrap_or(0) };
        let mut cells: Vec<_> = (0..members.len()).map(whole).collect();
        let (mut poor, mut rich): (Vec<_>, Vec<_>) =
            left.iter().copied().enumerate().partition(|(_, left)| *left < 1.0);
        while let (Some((at, own)), Some((giver, _))) = (poor.pop(), rich.last().copied()) {
            let (Some(cell), Some(rest)) = (cells.get_mut(at), left.get_mut(giver)) else { break };
            *cell = Cell { own: (own * PARTS) as u32, ..whole(giver) };
            *rest -= 1.0 - own;
            if *rest < 1.0 {
                poor.push((giver, *rest));
                rich.pop();
            }
        }
        Self(cells.into())
    }

    /// Returns the number of the member that the n-th draw falls to; none without members.
    pub(super) fn draw(&self, n: u64) -> Option<usize> {
        let drawn = u128::from(n.wrapping_mul(GOLDEN)) * self.0.len() as u128;
        let (at, part) = ((drawn >> 64) as usize, (drawn >> 32) as u32);
        let cell = self.0.get(at)?;
        Some(if part < cell.own { at } else { cell.other as usize })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::balancer::Balancer;
    use crate::balancer::tests::{target, upstream};

    fn lots(weights: &[u32]) -> Lots {
        let targets = weights.iter().enumerate();
        let targets: Vec<_> =
            targets.map(|(i, weight)| target(&format!("10.0.0.{i}:80"), *weight)).collect();
        let mut members =
            Balancer::build(&upstream(serde_json::json!({})), &targets, None).addresses();
        // In the order of the weights.
        members.sort_by_key(|member| {
            let host = &member.address.target.host;
            host.rsplit('.').next().and_then(|number| number.parse::<usize>().ok())
        });
        Lots::new(&members)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn each_is_drawn_as_often_as_its_weight_says(
            weights in prop::collection::vec(prop_oneof![1_u32..10, 1_u32..=65_535], 1..40),
            start in any::<u64>(),
        ) {
            const DRAWS: u64 = 20_000;
            let (lots, mut seen) = (lots(&weights), vec![0_u32; weights.len()]);
            for n in 0..DRAWS {
                seen[lots.draw(start.wrapping_add(n)).unwrap()] += 1;
            }
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (seen, weight) in seen.into_iter().zip(&weights) {
                let (share, wanted) = (f64::from(seen) / DRAWS as f64, f64::from(*weight) / total);
                prop_assert!((share - wanted).abs() < 0.005, "{share}, not {wanted} of {weights:?}");
            }
        }
    }

    #[test]
    fn nobody_is_drawn_of_none() {
        assert_eq!(Lots::new(&[]).draw(7), None);
    }
}
