//! How long things took, of late: a histogram that forgets.

use crate::types::Instant;
use std::time::Duration;

/// Half of the window: what is told is of the last one to two of these.
pub(super) const HALF: Duration = Duration::from_secs(600);

/// Each power of two is divided into so many buckets, as a power of two: a quantile is too large by
/// an eighth at most, and never too small.
const FINE: u32 = 3;
/// What takes as many microseconds as this power of two says, 18 minutes, is as good as for ever.
const LAST: u32 = 30;
const BUCKETS: usize = ((LAST - FINE + 1) << FINE) as usize;

/// Counts by size, over ten to twenty minutes. It takes 1.8 KiB, however much it counts.
#[derive(Debug)]
pub(super) struct Window {
    halves: [Half; 2],
    /// Which half counts now, and since when.
    current: usize,
    since: Instant,
}

#[derive(Clone, Debug)]
struct Half {
    counts: Box<[u32; BUCKETS]>,
    count: u64,
    max: u64,
}

/// What a window holds, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spread {
    /// How many were counted.
    pub(super) count: u64,
    /// Half of them took no longer.
    pub(super) p50: u64,
    /// 99 of 100.
    pub(super) p99: u64,
    /// 999 of 1000.
    pub(super) p999: u64,
    /// All.
    pub(super) max: u64,
}

impl Window {
    pub(super) fn new(now: Instant) -> Self {
        let empty = Half { counts: Box::new([0; BUCKETS]), count: 0, max: 0 };
        Self { halves: [empty.clone(), empty], current: 0, since: now }
    }

    /// Counts one.
    pub(super) fn record(&mut self, now: Instant, nanos: u64) {
        self.turn(now);
        let half = &mut self.halves[self.current];
        let micros = nanos.div_ceil(1000);
        let count = &mut half.counts[bucket(micros)];
        *count = count.saturating_add(1);
        half.count = half.count.saturating_add(1);
        half.max = half.max.max(micros);
    }

    /// Begins another half when it is time.
    fn turn(&mut self, now: Instant) {
        let age = now.since(self.since);
        if age < HALF {
            return;
        }
        let over = age >= 2 * HALF;
        if over {
            self.halves[self.current].clear();
        }
        self.current = 1 - self.current;
        self.halves[self.current].clear();
        self.since = if over { now } else { self.since + HALF };
    }

    /// When the half that counts now began.
    pub(super) fn half_since(&self) -> Instant {
        self.since
    }

    /// All that is not too old.
    pub(super) fn spread(&self, now: Instant) -> Spread {
        let age = now.since(self.since);
        let with = |old: bool| match old {
            true => age < 2 * HALF,
            false => age < HALF,
        };
        let halves = [(&self.halves[self.current], true), (&self.halves[1 - self.current], false)];
        let halves: Vec<&Half> =
            halves.into_iter().filter_map(|(half, old)| with(old).then_some(half)).collect();
        let count = halves.iter().fold(0u64, |sum, half| sum.saturating_add(half.count));
        let max = halves.iter().map(|half| half.max).max().unwrap_or(0);
        let at = |per_mille: u64| {
            // Rounded up: of 10 the 999 in 1000 are all 10.
            let rank = u128::from(count) * u128::from(per_mille);
            let rank = u64::try_from(rank.div_ceil(1000)).unwrap_or(u64::MAX);
            let mut seen = 0u64;
            let of = |b: usize| halves.iter().map(move |half| u64::from(half.counts[b]));
            let mut found = (0..BUCKETS).filter(|b| {
                seen = of(*b).fold(seen, u64::saturating_add);
                seen >= rank
            });
            found.next().map_or(max, |b| largest(b).min(max))
        };
        if count == 0 {
            return Spread::default();
        }
        Spread { count, p50: at(500), p99: at(990), p999: at(999), max }
    }
}

impl Half {
    fn clear(&mut self) {
        self.counts.fill(0);
        (self.count, self.max) = (0, 0);
    }
}

/// Where so many microseconds are counted.
fn bucket(micros: u64) -> usize {
    let micros = micros.min((1 << LAST) - 1);
    if micros < 1 << FINE {
        return micros as usize;
    }
    let power = micros.ilog2();
    let part = (micros >> (power - FINE)) as usize - (1 << FINE);
    (((power - FINE + 1) << FINE) as usize) + part
}

/// The most that is counted in a bucket; of the last one there is no such thing.
fn largest(bucket: usize) -> u64 {
    if bucket == BUCKETS - 1 {
        return u64::MAX;
    }
    if bucket < 1 << FINE {
        return bucket as u64;
    }
    let power = (bucket >> FINE) as u32 + FINE - 1;
    let part = (bucket & ((1 << FINE) - 1)) as u64;
    (((1 << FINE) + part + 1) << (power - FINE)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn each_bucket_begins_where_the_one_before_it_ends() {
        for b in 0..BUCKETS - 1 {
            assert_eq!(bucket(largest(b)), b);
            assert_eq!(bucket(largest(b) + 1), b + 1);
            let (low, high) = (if b == 0 { 0 } else { largest(b - 1) + 1 }, largest(b));
            assert!(high - low <= low / 8, "an eighth at most: {low} {high}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_never_too_small_and_hardly_too_large() {
        let mut window = Window::new(Instant(0));
        assert_eq!(window.spread(Instant(0)), Spread::default());
        for ms in 1..=1000 {
            window.record(Instant(ms), ms * 1_000_000);
        }
        let s = window.spread(Instant(5));
        assert_eq!((s.count, s.max), (1000, 1_000_000));
        for (is, exact) in [(s.p50, 500_000), (s.p99, 990_000), (s.p999, 999_000)] {
            assert!(is >= exact && is <= exact + exact / 8, "{is} for {exact}");
        }
        window.record(Instant(6), u64::MAX);
        let s = window.spread(Instant(6));
        assert_eq!((s.count, s.max), (1001, u64::MAX.div_ceil(1000)));
        assert!(s.p999 < 1_050_000, "one in a thousand: {}", s.p999);
        window.record(Instant(6), u64::MAX);
        assert_eq!(window.spread(Instant(6)).p999, u64::MAX.div_ceil(1000));
    }

    #[test]
    fn what_is_old_goes_after_ten_to_twenty_minutes() {
        let at = |seconds: u64| Instant(seconds * SECOND);
        let mut window = Window::new(at(0));
        window.record(at(599), SECOND);
        let long = |window: &Window, s: u64| window.spread(at(s)).max == 1_000_000;
        assert!(long(&window, 1199), "as long as nothing comes");
        assert!(!long(&window, 1200));
        window.record(at(601), 1000);
        assert!(long(&window, 601) && long(&window, 1199) && !long(&window, 1200));
        window.record(at(1201), 1000);
        assert_eq!(window.spread(at(1201)).count, 2);
        assert_eq!(window.half_since(), at(1200));
        // After a long silence neither half counts.
        window.record(at(9000), 2000);
        assert_eq!(window.spread(at(9000)), Spread { count: 1, p50: 2, p99: 2, p999: 2, max: 2 });
        assert_eq!(window.spread(at(20_000)), Spread::default());
    }
}
