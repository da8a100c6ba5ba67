//! The clocks of nodes.

use super::{Dice, Options};
use crate::types::{Instant, Now, Wall};

const MILLION: i128 = 1_000_000;
/// No clock is wrong by more parts in a million.
const MOST_PPM: i64 = 500_000;

/// How a node's clocks read at a given instant of the world. Both differ between nodes, as the
/// clocks of machines do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Clock {
    /// Added to the world's time to give the monotonic clock, nanoseconds.
    pub monotonic_offset: u64,
    /// Added to the wall clock, microseconds.
    pub wall_offset: i64,
    /// Parts per million that the wall clock is too fast.
    pub drift_ppm: i64,
    /// Since when by the world's time, nanoseconds.
    pub drift_since: u64,
    /// Parts per million that the monotonic clock is too fast.
    pub rate_ppm: i64,
    /// Since when by the world's time, nanoseconds.
    pub rate_since: u64,
}

impl Clock {
    /// The wall clock's reading when the world starts, microseconds: some day in 2024.
    pub const EPOCH_US: u64 = 1_720_000_000_000_000;

    /// Both clocks when the world's time is `time` nanoseconds.
    pub fn read(&self, time: u64) -> Now {
        let wall = i128::from(Self::EPOCH_US + time / 1000) + self.drifted(time);
        let wall = wall + i128::from(self.wall_offset);
        let offset = i128::from(self.monotonic_offset);
        let monotonic = i128::from(time) + self.gained(time) + offset;
        Now {
            monotonic: Instant(u64::try_from(monotonic.max(0)).unwrap_or(u64::MAX)),
            wall: Wall(u64::try_from(wall.max(0)).unwrap_or(u64::MAX)),
        }
    }

    /// The first of the world's times at which the monotonic clock reads `instant` or more.
    pub fn world_time(&self, instant: Instant) -> u64 {
        let due = instant.0.saturating_sub(self.monotonic_offset);
        if self.rate_ppm == 0 || due <= self.rate_since {
            return due;
        }
        let gap = i128::from(due - self.rate_since) * MILLION;
        let gap = gap / (MILLION + i128::from(self.rate_ppm)) + 1;
        self.rate_since.saturating_add(u64::try_from(gap).unwrap_or(u64::MAX))
    }

    /// Lets the wall clock run too fast by so many parts per million from now on.
    pub fn set_drift(&mut self, time: u64, ppm: i64) {
        let so_far = i64::try_from(self.drifted(time)).unwrap_or(0);
        self.wall_offset = self.wall_offset.saturating_add(so_far);
        (self.drift_ppm, self.drift_since) = (ppm.clamp(-MOST_PPM, MOST_PPM), time);
    }

    /// Lets the monotonic clock run too fast by so many parts per million from now on.
    pub fn set_rate(&mut self, time: u64, ppm: i64) {
        let so_far = i64::try_from(self.gained(time)).unwrap_or(0);
        self.monotonic_offset = self.monotonic_offset.saturating_add_signed(so_far);
        (self.rate_ppm, self.rate_since) = (ppm.clamp(-MOST_PPM, MOST_PPM), time);
    }

    fn drifted(&self, time: u64) -> i128 {
        let micros = time / 1000 - (self.drift_since / 1000).min(time / 1000);
        i128::from(micros) * i128::from(self.drift_ppm) / MILLION
    }

    fn gained(&self, time: u64) -> i128 {
        let since = time.saturating_sub(self.rate_since);
        i128::from(since) * i128::from(self.rate_ppm) / MILLION
    }
}

/// The clock of a node in a run with these options.
pub fn random_clock(options: &Options, dice: &mut Dice) -> Clock {
    let spread = u64::try_from(options.clock_spread.as_micros()).unwrap_or(u64::MAX);
    let offset = i64::try_from(dice.between(0, spread)).unwrap_or(i64::MAX);
    let drift = i64::try_from(dice.between(0, 2 * options.drift_ppm)).unwrap_or(0);
    // Not drawn for at all where it is not wanted, so that older seeds give what they gave.
    let rate = (options.rate_ppm > 0).then(|| dice.between(0, 2 * options.rate_ppm));
    let rate = rate.map_or(0, |r| i64::try_from(r).unwrap_or(0) - options.rate_ppm as i64);
    Clock {
        monotonic_offset: dice.below(3_600_000_000_000),
        wall_offset: offset,
        drift_ppm: drift - i64::try_from(options.drift_ppm).unwrap_or(0),
        rate_ppm: rate,
        ..Clock::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_on_from_where_it_is_when_its_rate_changes() {
        let mut clock = Clock { monotonic_offset: 1_000_000, ..Clock::default() };
        clock.set_rate(1_000_000, 100_000);
        clock.set_drift(1_000_000, -100_000);
        let before = Clock { monotonic_offset: 1_000_000, ..Clock::default() }.read(1_000_000);
        assert_eq!(clock.read(1_000_000), before);
        let now = clock.read(11_000_000);
        assert_eq!(now.monotonic.0, before.monotonic.0 + 11_000_000);
        assert_eq!(now.wall.0, before.wall.0 + 9_000);
        clock.set_rate(11_000_000, 0);
        clock.set_drift(11_000_000, 0);
        assert_eq!(clock.read(11_000_000), now);
        assert_eq!(clock.read(12_000_000).monotonic.0, now.monotonic.0 + 1_000_000);
    }

    #[test]
    fn a_timer_never_fires_early_and_hardly_late() {
        for ppm in [-200_000, -333, 0, 1, 77, 200_000] {
            let mut clock = Clock { monotonic_offset: 12_345, ..Clock::default() };
            clock.set_rate(1_000_003, ppm);
            for step in 1..2000 {
                let due = Instant(clock.read(1_000_003).monotonic.0 + step * 997);
                let at = clock.world_time(due);
                assert!(clock.read(at).monotonic >= due, "{ppm} {step}");
                assert!(at < 4 || clock.read(at - 4).monotonic < due, "{ppm} {step}");
            }
        }
    }
}
