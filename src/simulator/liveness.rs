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
    /// When all faults ended, if they have.
    healed: Option<u64>,
    /// The longest wait since then of a call that was answered since then.
    longest_since: u64,
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
            if let Some(healed) = self.healed {
                let wait = time.saturating_sub(since.max(healed));
                self.longest_since = self.longest_since.max(wait);
            }
        }
    }

    /// All faults have ended.
    pub fn on_healed(&mut self, time: u64) {
        self.healed = Some(time);
    }

    /// The longest that a call has waited since all faults ended, if it was answered since then.
    pub fn longest_since(&self) -> Duration {
        Duration::from_nanos(self.longest_since)
    }

    /// Since all faults ended no call has waited, or waits now, for longer than `bound`.
    ///
    /// # Errors
    /// The call that has.
    pub fn within_since(&self, now: u64, bound: Duration) -> Checked {
        let Some(healed) = self.healed else { return Ok(()) };
        let late = |wait: u64| Duration::from_nanos(wait) > bound;
        let open = self.open.iter().map(|(name, since)| (name, now - (*since).max(healed)));
        let worst = open.max_by_key(|(_, wait)| *wait).filter(|(_, wait)| late(*wait));
        let what = match worst {
            Some(((client, call), wait)) => {
                let wait = Duration::from_nanos(wait);
                format!("call {call} of client {client} waits since {wait:?} with all faults over")
            }
            None if late(self.longest_since) => {
                format!("a call waited {:?} after all faults were over", self.longest_since())
            }
            None => return Ok(()),
        };
        Err(Violation { rule: "liveness", what: format!("{what}, the bound is {bound:?}") })
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
        assert_eq!(w.within_since(900, Duration::ZERO), Ok(()), "not healed");
        assert!(w.within(161, bound).unwrap_err().what.contains("waited 150ns"));
    }

    #[test]
    fn waits_are_counted_from_the_end_of_all_faults() {
        let mut w = Waits::default();
        w.on_call(1, 1, 0);
        w.on_call(1, 2, 0);
        w.on_healed(1000);
        w.on_answer(1, 1, 1040);
        w.on_call(1, 3, 1100);
        w.on_answer(1, 3, 1150);
        assert_eq!(w.longest_since(), Duration::from_nanos(50));
        assert_eq!(w.within_since(1060, Duration::from_nanos(60)), Ok(()));
        let open = w.within_since(1061, Duration::from_nanos(60)).unwrap_err().what;
        assert!(open.contains("call 2 of client 1"), "{open}");
        w.on_answer(1, 2, 1061);
        let over = w.within_since(5000, Duration::from_nanos(60)).unwrap_err().what;
        assert!(over.contains("waited 61ns"), "{over}");
    }
}
