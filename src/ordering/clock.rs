//! The clock that candidate ids are taken from (docs/protocol.md §4).

use crate::types::{ClockKind, Wall};

/// A strictly increasing source of candidate clock values.
///
/// No single other replica can raise it: it looks at the own reading and at the agreed clock C,
/// which `t` liars cannot move beyond what a good replica said.
#[derive(Clone, Debug)]
pub(super) struct CandidateClock {
    kind: ClockKind,
    last: u64,
}

impl CandidateClock {
    pub(super) fn new(kind: ClockKind) -> Self {
        Self { kind, last: 0 }
    }

    /// After a restart: nothing below what one's own proposals in the chain said (R4).
    pub(super) fn at_least(&mut self, floor: u64) {
        self.last = self.last.max(floor);
    }

    /// The value for the next candidate; greater than all before.
    pub(super) fn candidate(&mut self, wall: Wall, agreed: u64) -> u64 {
        let value = match self.kind {
            ClockKind::RealTime => wall.0,
            ClockKind::Hybrid => wall.0.max(agreed.saturating_add(1)),
            ClockKind::Logical => agreed.saturating_add(1),
        };
        self.last = value.max(self.last.saturating_add(1));
        self.last
    }

    /// The value of `now` in a proposal: not below any candidate or `now` given before. Under the
    /// logical clock time passes by candidates alone.
    pub(super) fn now(&mut self, wall: Wall, agreed: u64) -> u64 {
        let value = match self.kind {
            ClockKind::RealTime => wall.0,
            ClockKind::Hybrid => wall.0.max(agreed.saturating_add(1)),
            ClockKind::Logical => agreed,
        };
        self.last = self.last.max(value);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_goes_back_is_held() {
        let mut clock = CandidateClock::new(ClockKind::RealTime);
        assert_eq!(clock.candidate(Wall(100), 0), 100);
        assert_eq!(clock.candidate(Wall(50), 0), 101);
        assert_eq!(clock.now(Wall(50), 0), 101);
        assert_eq!(clock.candidate(Wall(200), 0), 200);
    }

    #[test]
    fn a_hybrid_clock_is_above_the_agreed_one_and_a_real_time_clock_is_not() {
        assert_eq!(CandidateClock::new(ClockKind::Hybrid).candidate(Wall(5), 9), 10);
        assert_eq!(CandidateClock::new(ClockKind::RealTime).candidate(Wall(5), 9), 5);
    }

    #[test]
    fn a_logical_clock_counts_candidates_and_follows_the_agreed_one() {
        let mut clock = CandidateClock::new(ClockKind::Logical);
        assert_eq!(clock.candidate(Wall(1_000_000), 0), 1);
        assert_eq!(clock.candidate(Wall(1_000_000), 7), 8);
        assert_eq!((clock.now(Wall(0), 7), clock.now(Wall(0), 7)), (8, 8));
    }

    #[test]
    fn a_clock_that_lost_its_state_does_not_fall_behind_its_own_proposals() {
        let mut clock = CandidateClock::new(ClockKind::RealTime);
        clock.at_least(500);
        assert_eq!((clock.now(Wall(100), 0), clock.candidate(Wall(100), 0)), (500, 501));
    }

    #[test]
    fn the_end_of_the_number_range_does_not_wrap() {
        let mut clock = CandidateClock::new(ClockKind::Hybrid);
        assert_eq!(clock.candidate(Wall(u64::MAX), u64::MAX), u64::MAX);
        assert_eq!(clock.candidate(Wall(1), 1), u64::MAX);
    }
}
