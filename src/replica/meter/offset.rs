//! How far the clock of another replica is ahead of ours, found by round trips.
//!
//! No clock has to be right for that: only monotonic clocks are compared, each of which begins
//! anywhere and is never set. What is kept is an interval that holds the difference for sure:
//!
//! - a message that left at `s` by the other's clock and is here at `r` by ours took some time, so
//!   the difference is `s - r` or more;
//! - a question that left here at `a` and was answered at `s` by the other's clock took some time,
//!   so the difference is `s - a` or less.
//!
//! The quickest messages give the narrowest interval. Two clocks do not run quite alike, so with
//! time it grows. The middle is the estimate, as if the quickest message took as long in both
//! directions: it is wrong by half of what these differ by, and by half of the interval at most.

use crate::types::plant::planted;

/// By how many parts in a million two clocks may run apart. Crystals are better than 100, and what
/// sets the time by a network may add to that.
const DRIFT_PPM: i128 = 200;
/// The interval grows in steps of this, so that nothing is lost by rounding.
const STEP: i128 = 1_000_000;
/// After so many round trips the quickest of them is quick.
const SOME: u32 = 64;

/// The interval, nanoseconds: the other's clock minus ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offset {
    low: Option<i128>,
    high: Option<i128>,
    /// Up to when it has grown, by our clock.
    grown: i128,
    /// Round trips that it is made of.
    trips: u32,
}

/// How long a message took, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Took {
    /// As far as can be told.
    pub(super) about: u64,
    /// That long for sure.
    pub(super) surely: u64,
}

impl Offset {
    /// A message that left at `sent` by the other's clock is here.
    pub(super) fn came(&mut self, sent: u64, now: u64) {
        self.grow(now);
        let low = i128::from(sent) - i128::from(now);
        if self.high.is_some_and(|high| low > high) {
            // One of the clocks has jumped, or the other side lies: it is measured anew.
            *self = Self { low: Some(low), high: None, grown: i128::from(now), trips: 0 };
        }
        self.low = self.low.max(Some(low));
    }

    /// A question that left at `asked` by our clock was answered at `answered` by the other's, and
    /// its answer is here. What claims to be asked later than now is ignored.
    pub(super) fn round_trip(&mut self, asked: u64, answered: u64, now: u64) {
        if asked > now {
            return;
        }
        self.grow(now);
        let (low, high) =
            (i128::from(answered) - i128::from(now), i128::from(answered) - i128::from(asked));
        let (lowest, highest) =
            (self.low.map_or(low, |l| l.max(low)), self.high.map_or(high, |h| h.min(high)));
        (self.low, self.high, self.trips) = match lowest <= highest {
            true => (Some(lowest), Some(highest), self.trips.saturating_add(1)),
            false => (Some(low), Some(high), 1),
        };
    }

    fn grow(&mut self, now: u64) {
        let now = i128::from(now);
        let passed = now - self.grown;
        if passed < STEP {
            return;
        }
        let by = passed * DRIFT_PPM / 1_000_000;
        (self.low, self.high) = (self.low.map(|l| l - by), self.high.map(|h| h + by));
        self.grown = now;
    }

    /// The width of the interval, if there is one.
    pub(super) fn width(&self) -> Option<u64> {
        let width = self.high? - self.low?;
        Some(u64::try_from(width).unwrap_or(u64::MAX))
    }

    /// Whether the estimate is good enough for a bound of so many nanoseconds: it is made of some
    /// round trips, or of one that was quick.
    pub(super) fn is_good(&self, bound: u64) -> bool {
        self.trips >= SOME || self.width().is_some_and(|width| width <= bound / 4)
    }

    /// How long a message took that left at `sent` by the other's clock and came at `came` by ours.
    pub(super) fn on_the_way_here(&self, sent: u64, came: u64) -> Option<Took> {
        let (low, high) = (self.low?, self.high?);
        let middle = if planted("delta-offset-stays") { 0 } else { (low + high) / 2 };
        let took = i128::from(came) - i128::from(sent);
        Some(Took { about: nanos(took + middle), surely: nanos(took + low) })
    }

    /// How long a message took that left at `sent` by our clock and came at `came` by the other's.
    pub(super) fn on_the_way_there(&self, sent: u64, came: u64) -> Option<Took> {
        let (low, high) = (self.low?, self.high?);
        let middle = if planted("delta-offset-stays") { 0 } else { (low + high) / 2 };
        let took = i128::from(came) - i128::from(sent);
        Some(Took { about: nanos(took - middle), surely: nanos(took - high) })
    }
}

fn nanos(n: i128) -> u64 {
    u64::try_from(n.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1000 * MS;

    /// Another replica, whose clock is ahead by so much, and how long messages take each way.
    struct Other {
        offset: Offset,
        ahead: i128,
        to: u64,
        from: u64,
    }

    impl Other {
        fn new(ahead: i128, to: u64, from: u64) -> Self {
            Self { offset: Offset::default(), ahead, to, from }
        }

        fn clock(&self, ours: u64) -> u64 {
            u64::try_from(i128::from(ours) + self.ahead).unwrap()
        }

        fn ping(&mut self, at: u64) {
            let (there, back) = (self.clock(at + self.to), at + self.to + self.from);
            self.offset.round_trip(at, there, back);
        }

        /// How long a message is said to take that really takes so long.
        fn seems(&mut self, at: u64, takes: u64) -> Option<Took> {
            let sent = self.clock(at);
            self.offset.came(sent, at + takes);
            self.offset.on_the_way_here(sent, at + takes)
        }
    }

    #[test]
    fn the_difference_of_the_clocks_does_not_matter() {
        let year = i128::from(365 * 86_400 * SECOND);
        for ahead in [-year, -1_000_000, 0, 77, year] {
            let mut other = Other::new(ahead, MS, MS);
            let begin = u64::try_from(2 * year).unwrap();
            assert_eq!(other.seems(begin, 40 * MS), None, "nothing was measured yet");
            other.ping(begin + SECOND);
            let took = other.seems(begin + SECOND + 3 * MS, 40 * MS).unwrap();
            assert!(took.about.abs_diff(40 * MS) < MS / 10, "{ahead}: {took:?}");
            assert!(took.surely <= 40 * MS && took.surely >= 39 * MS - MS / 10, "{took:?}");
            assert!(other.offset.is_good(100 * MS));
        }
    }

    /// The error is half of what the quickest messages of the two directions differ by.
    #[test]
    fn where_one_direction_is_slower_half_of_that_cannot_be_seen() {
        let mut other = Other::new(5_000, 10 * MS, 2 * MS);
        other.ping(SECOND);
        let took = other.seems(SECOND + 20 * MS, 50 * MS).unwrap();
        assert!(took.about.abs_diff(54 * MS) < MS / 10, "{took:?}");
        assert!(took.surely <= 50 * MS, "{took:?}");
        let there =
            other.offset.on_the_way_there(2 * SECOND, other.clock(2 * SECOND + 50 * MS)).unwrap();
        assert!(there.about.abs_diff(46 * MS) < MS && there.surely <= 50 * MS, "{there:?}");
    }

    /// A slow round trip is no reason to forget a quick one.
    #[test]
    fn a_delay_that_begins_later_is_seen_in_full() {
        let mut other = Other::new(-7, MS / 2, MS / 2);
        other.ping(SECOND);
        other.from = 120 * MS;
        for n in 2..60 {
            other.ping(n * SECOND);
            let took = other.seems(n * SECOND + 200 * MS, 120 * MS).unwrap();
            // The longer ago it was measured, the less is sure.
            let grown = n * SECOND * 2 / 10_000;
            assert!(took.about.abs_diff(120 * MS) <= MS + grown, "{n}: {took:?}");
            assert!(
                took.surely <= 120 * MS && took.surely + MS + 2 * grown >= 120 * MS,
                "{took:?}"
            );
        }
    }

    #[test]
    fn a_clock_that_jumps_is_measured_anew() {
        for by in [-3 * i128::from(SECOND), 3 * i128::from(SECOND)] {
            let mut other = Other::new(0, MS, MS);
            other.ping(10 * SECOND);
            other.ahead += by;
            other.ping(11 * SECOND);
            let took = other.seems(11 * SECOND + 5 * MS, 4 * MS).unwrap();
            assert!(took.about.abs_diff(4 * MS) < MS / 10, "{by}: {took:?}");
        }
        // A stamp of the future shows it before the next round trip does.
        let mut other = Other::new(0, MS, MS);
        other.ping(10 * SECOND);
        other.ahead += i128::from(SECOND);
        assert_eq!(other.seems(10 * SECOND + 50 * MS, MS), None);
        assert_eq!(other.offset.width(), None);
        other.ping(11 * SECOND);
        assert!(other.seems(11 * SECOND + 50 * MS, MS).is_some());
    }

    #[test]
    fn a_few_slow_round_trips_are_not_enough() {
        let mut other = Other::new(0, 300 * MS, MS);
        for n in 1..SOME {
            other.ping(u64::from(n) * SECOND);
            assert!(!other.offset.is_good(100 * MS));
        }
        other.ping(u64::from(SOME) * SECOND);
        assert!(other.offset.is_good(100 * MS));
    }

    #[test]
    fn extreme_stamps_overflow_nothing() {
        let extremes = [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX];
        for a in extremes {
            for b in extremes {
                for c in extremes {
                    let mut offset = Offset::default();
                    offset.came(a, b);
                    offset.round_trip(a, b, c);
                    offset.came(c, a);
                    offset.round_trip(c, b, a);
                    let took = (
                        offset.on_the_way_here(a, b),
                        offset.on_the_way_there(b, c),
                        offset.width(),
                    );
                    assert!(took.0.is_none_or(|t| t.surely <= t.about), "{took:?}");
                }
            }
        }
    }
}
