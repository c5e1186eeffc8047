//! Medians, percentiles and the form they are printed in.

/// Samples in order.
pub(crate) struct Percentiles(Vec<u64>);

impl Percentiles {
    /// Sorts the samples.
    pub(crate) fn of(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    /// Returns the smallest sample that `per_mille` of all do not exceed; 0 without samples.
    pub(crate) fn at(&self, per_mille: usize) -> u64 {
        let rank = (self.0.len() * per_mille).div_ceil(1000).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// Returns the largest sample; 0 without samples.
    pub(crate) fn largest(&self) -> u64 {
        self.0.last().copied().unwrap_or_default()
    }
}

/// Median, least and largest of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) largest: f64,
}

impl Spread {
    /// Returns the spread of the figures; all zero without any.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (Some(least), Some(largest)) = (figures.first(), figures.last()) else {
            return Self { median: 0.0, least: 0.0, largest: 0.0 };
        };
        let middle = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[middle]
        } else {
            f64::midpoint(figures[middle - 1], figures[middle])
        };
        Self { median, least: *least, largest: *largest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let percentiles = Percentiles::of((1..=1000).rev().collect());
        assert_eq!([500, 990, 999].map(|p| percentiles.at(p)), [500, 990, 999]);
        assert_eq!(percentiles.largest(), 1000);
        assert_eq!(Percentiles::of(vec![7]).at(500), 7);
        assert_eq!(Percentiles::of(vec![]).at(990), 0);
    }

    #[test]
    fn the_median_of_an_even_count_is_between_the_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread, Spread { median: 2.5, least: 1.0, largest: 4.0 });
    }
}
