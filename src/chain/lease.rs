//! The replica's own count of its lease (CH-L1).

use crate::types::Instant;
use crate::types::plant::planted;
use std::collections::BTreeMap;
use std::time::Duration;

/// Renewals whose answers may still come, at most.
const OUTSTANDING: usize = 16;

/// Between two renewals that ask for the end of another's lease lies at least this part of one.
const SOONEST: u32 = 64;

/// When it ends, and which renewals are on their way.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    lease: Duration,
    margin: Duration,
    /// It serves before this instant.
    until: Instant,
    /// When to renew next.
    next: Instant,
    serial: u64,
    sent: BTreeMap<u64, Instant>,
    /// Whether its end was told.
    told: bool,
}

impl Lease {
    pub(super) fn new(lease: Duration, margin: Duration) -> Self {
        let start = Instant::default();
        let sent = BTreeMap::new();
        Self { lease, margin, until: start, next: start, serial: 0, sent, told: true }
    }

    /// The serial number of a renewal that is due now.
    pub(super) fn due(&mut self, now: Instant) -> Option<u64> {
        if now < self.next {
            return None;
        }
        self.next = now + self.lease / 4;
        self.serial += 1;
        self.sent.insert(self.serial, now);
        if self.sent.len() > OUTSTANDING {
            self.sent.pop_first();
        }
        Some(self.serial)
    }

    /// The next one at once: the master should know something.
    pub(super) fn hurry(&mut self) {
        self.next = Instant::default();
    }

    /// The master has said when somebody else's lease is over (nothing: nobody's): who asks then
    /// has it taken out, and need not wait for its own quarter (CH-L2). What the master says later
    /// counts as well, so an early question costs one more.
    pub(super) fn again(&mut self, now: Instant, after: Duration) {
        if !after.is_zero() {
            self.next = self.next.min(now + after.max(self.lease / SOONEST));
        }
    }

    /// The master has granted the renewal of this serial number. What counts is when it was sent:
    /// the master cannot have counted from an earlier moment.
    pub(super) fn granted(&mut self, now: Instant, serial: u64) {
        let Some(sent) = self.sent.remove(&serial) else { return };
        let from = if planted("ch-lease-from-answer") { now } else { sent };
        let until = from + self.lease.saturating_sub(self.margin);
        if until > self.until {
            self.until = until;
        }
        self.told = self.until <= now;
    }

    pub(super) fn holds(&self, now: Instant) -> bool {
        now < self.until || planted("ch-serves-after-lease") && self.until > Instant::default()
    }

    /// How long it holds yet.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.until.since(now)
    }

    /// Whether it has ended since this was asked last.
    pub(super) fn lost(&mut self, now: Instant) -> bool {
        now >= self.until && !std::mem::replace(&mut self.told, true)
    }

    pub(super) fn next_wake(&self) -> Instant {
        if self.told { self.next } else { self.next.min(self.until) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Instant {
        Instant(n * 1_000_000)
    }

    fn lease() -> Lease {
        Lease::new(Duration::from_millis(100), Duration::from_millis(10))
    }

    /// CH-L1.
    #[test]
    fn a_lease_runs_from_the_sending_of_its_renewal_less_the_margin() {
        let mut lease = lease();
        let serial = lease.due(ms(5)).unwrap();
        assert!(!lease.holds(ms(6)));
        lease.granted(ms(60), serial);
        assert!(lease.holds(ms(94)) && !lease.holds(ms(95)));
        assert!(!lease.lost(ms(94)));
        assert!(lease.lost(ms(95)) && !lease.lost(ms(96)), "it is told once");
    }

    #[test]
    fn it_is_renewed_every_quarter_and_old_answers_shorten_nothing() {
        let mut lease = lease();
        let first = lease.due(ms(1)).unwrap();
        assert_eq!(lease.due(ms(25)), None);
        let second = lease.due(ms(26)).unwrap();
        lease.granted(ms(30), second);
        lease.granted(ms(31), first);
        assert!(lease.holds(ms(115)) && !lease.holds(ms(116)));
        lease.granted(ms(32), second);
        assert!(!lease.holds(ms(116)), "an answer counts once");
    }

    /// CH-L2: the end of another's lease is not found out a quarter of a lease later.
    #[test]
    fn the_next_renewal_is_when_another_lease_is_over() {
        let mut lease = lease();
        let serial = lease.due(ms(0)).unwrap();
        lease.granted(ms(1), serial);
        lease.again(ms(1), Duration::from_millis(80));
        assert_eq!(lease.next_wake(), ms(25), "its own quarter is sooner");
        lease.again(ms(1), Duration::from_millis(7));
        assert_eq!((lease.due(ms(7)), lease.due(ms(8))), (None, Some(2)));
        lease.again(ms(9), Duration::from_nanos(1));
        assert_eq!(lease.due(ms(10)), None, "not again and again");
        assert_eq!(lease.due(ms(11)), Some(3));
        lease.again(ms(11), Duration::ZERO);
        assert_eq!(lease.next_wake(), ms(36), "nobody's lease is waited for");
    }

    #[test]
    fn an_answer_that_comes_after_its_lease_gives_none() {
        let mut lease = lease();
        let serial = lease.due(ms(0)).unwrap();
        lease.granted(ms(200), serial);
        assert!(!lease.holds(ms(200)));
        assert!(!lease.lost(ms(200)), "there was none to lose");
    }
}
