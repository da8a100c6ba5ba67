//! Medians with their spread, and ratios of what ran in the same round.

use serde::Serialize;
use std::collections::BTreeMap;

/// The middle of some values, and the ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Of an even number of values the mean of the two in the middle.
    pub median: f64,
    /// The lowest value.
    pub lowest: f64,
    /// The highest value.
    pub highest: f64,
    /// How many values there were.
    pub count: usize,
}

impl Spread {
    /// Of these values; `None` if there is none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let (lowest, highest) = (*values.first()?, *values.last()?);
        let median = f64::midpoint(values[(count - 1) / 2], values[count / 2]);
        Some(Self { median, lowest, highest, count })
    }
}

/// `above / below` of each round that has both, where `below` is not zero.
pub fn ratios(above: &BTreeMap<u32, f64>, below: &BTreeMap<u32, f64>) -> Vec<f64> {
    let both = above.iter().filter_map(|(round, a)| Some((*a, *below.get(round)?)));
    both.filter(|(_, b)| *b != 0.0).map(|(a, b)| a / b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_and_of_an_even_number_between_the_two() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        let one = Spread { median: 3.0, lowest: 3.0, highest: 3.0, count: 1 };
        assert_eq!(spread(&[3.0]), Some(one));
        let odd = Spread { median: 5.0, lowest: 1.0, highest: 90.0, count: 5 };
        assert_eq!(spread(&[90.0, 1.0, 5.0, 4.0, 7.0]), Some(odd));
        let even = Spread { median: 4.5, lowest: 1.0, highest: 9.0, count: 4 };
        assert_eq!(spread(&[9.0, 5.0, 1.0, 4.0]), Some(even));
    }

    #[test]
    fn ratios_are_of_one_round_each_and_not_of_medians() {
        let above = BTreeMap::from([(1, 10.0), (2, 30.0), (3, 7.0), (5, 1.0)]);
        let below = BTreeMap::from([(1, 5.0), (2, 60.0), (4, 7.0), (5, 0.0)]);
        assert_eq!(ratios(&above, &below), [2.0, 0.5]);
        assert_eq!(ratios(&above, &BTreeMap::new()), [0.0; 0]);
    }
}
