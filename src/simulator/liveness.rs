//! Liveness with numbers: no call waits longer than a bound.

use super::check::{Checked, Violation};
use std::collections::BTreeMap;
use std::time::Duration;

/// The calls of correct clients that wait for an answer.
#[derive(Debug, Default)]
pub struct Waits {
    open: BTreeMap<(u32, u64), u64>,
    longest: u64,
    answered: u64,
}

impl Waits {
    /// A client has made a call; both are named by number.
    pub fn on_call(&mut self, client: u32, call: u64, time: u64) {
        self.open.insert((client, call), time);
    }

    /// A call has been answered, whatever the answer.
    pub fn on_answer(&mut self, client: u32, call: u64, time: u64) {
        if let Some(since) = self.open.remove(&(client, call)) {
            self.longest = self.longest.max(time.saturating_sub(since));
            self.answered += 1;
        }
    }

    /// How many calls wait.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// How many calls have been answered.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// The longest that an answered call has waited.
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest)
    }

    /// No call has waited, or waits now, for longer than `bound`.
    ///
    /// # Errors
    /// The call that has.
    pub fn within(&self, now: u64, bound: Duration) -> Checked {
        let late = |wait: u64| Duration::from_nanos(wait) > bound;
        if late(self.longest) {
            let what = format!("a call waited {:?}, the bound is {bound:?}", self.longest());
            return Err(Violation { rule: "liveness", what });
        }
        let worst = self.open.iter().min_by_key(|(_, since)| **since);
        match worst.filter(|(_, since)| late(now.saturating_sub(**since))) {
            None => Ok(()),
            Some(((client, call), since)) => {
                let waits = Duration::from_nanos(now - since);
                let what = format!("call {call} of client {client} waits since {waits:?}");
                Err(Violation { rule: "liveness", what: format!("{what}, the bound is {bound:?}") })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_wait_too_long_are_named_open_or_answered() {
        let mut w = Waits::default();
        w.on_call(1, 7, 100);
        w.on_call(2, 7, 150);
        let bound = Duration::from_nanos(60);
        assert_eq!(w.within(160, bound), Ok(()));
        assert!(w.within(161, bound).unwrap_err().what.contains("call 7 of client 1"));
        w.on_answer(1, 7, 160);
        assert_eq!((w.within(161, bound), w.open(), w.answered()), (Ok(()), 1, 1));
        w.on_answer(2, 7, 300);
        assert!(w.within(161, bound).unwrap_err().what.contains("waited 150ns"));
    }
}
