//! How long a data plane waits before it tries its control plane again.

use std::time::Duration;

/// The shortest pause, unless the first is to be shorter.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest pause while the control plane is away: as long as Kong's, so that a data plane is
/// back as soon (reference hybrid.md, section 4.3).
const LONGEST: Duration = Duration::from_secs(10);

/// The longest pause when one of the two refuses the other, which only an operator mends.
const LONGEST_REFUSED: Duration = Duration::from_secs(30);

/// Draws a pause: the bound begins with the `first` and doubles with each failure in a row, and
/// what is drawn below it spreads a fleet that lost its control plane at once.
pub(super) fn draw(first: Duration, failures: u32, is_refused: bool, random: u64) -> Duration {
    let bound = if is_refused { LONGEST_REFUSED } else { LONGEST };
    let longest = first.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(bound);
    let shortest = SHORTEST.min(first);
    let part = (random % 1000) as u32;
    shortest + longest.saturating_sub(shortest) * part / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_control_plane_that_is_away_tries_again_within_ten_seconds() {
        let first = Duration::from_secs(1);
        let longest = |failures, is_refused| draw(first, failures, is_refused, 999).as_secs_f64();
        for (failures, away, refused) in
            [(0, 1.0, 1.0), (1, 1.0, 1.0), (3, 4.0, 4.0), (5, 10.0, 16.0), (u32::MAX, 10.0, 30.0)]
        {
            for (is_refused, wanted) in [(false, away), (true, refused)] {
                let drawn = longest(failures, is_refused);
                assert!((wanted - 0.1..=wanted).contains(&drawn), "{failures}: {drawn}");
                assert_eq!(draw(first, failures, is_refused, 0), SHORTEST, "{failures}");
            }
        }
        let soon = Duration::from_millis(10);
        assert_eq!(draw(soon, 1, true, 999), soon, "a test waits for less");
    }
}
