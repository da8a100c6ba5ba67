//! Log lines that strangers can cause: so many a second at most.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const SPAN: Duration = Duration::from_secs(1);

/// Lets so many through a second, and counts the others.
pub(super) struct Seldom {
    per_second: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    // When the present second began.
    began: Option<Instant>,
    passed: u32,
    withheld: u64,
}

impl Seldom {
    pub fn new(per_second: u32) -> Self {
        Self { per_second, state: Mutex::default() }
    }

    /// Whether one more may pass: then how many were withheld since the last one that did.
    pub fn allow(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.began.is_none_or(|began| now.saturating_duration_since(began) >= SPAN) {
            (state.began, state.passed) = (Some(now), 0);
        }
        if state.passed >= self.per_second {
            state.withheld = state.withheld.saturating_add(1);
            return None;
        }
        state.passed += 1;
        Some(std::mem::take(&mut state.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_the_rest_is_counted() {
        let (seldom, start) = (Seldom::new(2), Instant::now());
        let at = |ms| seldom.allow(start + Duration::from_millis(ms));
        assert_eq!([at(0), at(0), at(10), at(999)], [Some(0), Some(0), None, None]);
        assert_eq!([at(1000), at(1500), at(1999)], [Some(2), Some(0), None]);
        assert_eq!([at(9000), at(9000), at(9000)], [Some(1), Some(0), None]);
    }
}
