//! The pace of the loop: when it is to go on, how late it was, and how long each turn took.
//!
//! A turn begins with the first event after a sleep and ends when everything that follows from it
//! was done. Whatever comes meanwhile waits; the core measures that against Δ.

use super::Node;
use crate::daemon::chains::Chains;
use crate::replica::Input;
use crate::transport::Lane;
use crate::types::{Instant, Now, Timing};
use std::time::Duration;

/// The loop looks up at least so often while there is a link to another replica, so that it knows
/// when it was stopped; within half of Δ, as far as these allow.
const LOOKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// What the loop knows of its own pace, by the monotonic clock.
#[derive(Debug)]
pub(super) struct Pace {
    /// How long it sleeps at most.
    look: Duration,
    /// Since when it sleeps, and until when at the latest.
    slept: Instant,
    until: Instant,
    /// When the turn began that is not over, and how much of it was told already.
    began: Option<Instant>,
    told: Duration,
    /// A turn that takes so long is told of while it goes on, so that nobody else is held to be
    /// late for it.
    long: Duration,
    /// When the last event was taken.
    last: Instant,
}

impl Pace {
    pub(super) fn new(delta: Duration, now: Instant) -> Self {
        let look = (delta / 2).clamp(LOOKS.0, LOOKS.1);
        let (told, long) = (Duration::ZERO, delta / 4);
        Self { look, slept: now, until: now + look, began: None, told, long, last: now }
    }

    /// An event is taken. Since when the loop was away, and for how long it should not have been:
    /// if it is the first of its turn, while it slept; else in the turn, if that takes long.
    fn begin(&mut self, now: Instant) -> Option<(Instant, Duration)> {
        self.last = now;
        let Some(began) = self.began else {
            self.began = Some(now);
            let late = now.since(self.until + Timing::TIMER_GRAIN);
            return (!late.is_zero()).then_some((self.slept, late));
        };
        let so_far = now.since(began);
        if so_far <= self.told + self.long {
            return None;
        }
        self.told = so_far;
        Some((began, so_far))
    }

    /// The turn is over. When it began, and how long it took.
    fn end(&mut self, now: Instant) -> Option<(Instant, Duration)> {
        (self.slept, self.told) = (now, Duration::ZERO);
        self.began.take().map(|began| (began, now.since(began)))
    }

    /// Sleeps until what was asked for, and not for too long while it is linked.
    fn sleep(&mut self, asked: Option<Instant>, linked: bool) -> Option<Instant> {
        let look = linked.then_some(self.slept + self.look);
        let until = asked.into_iter().chain(look).min();
        // A time that has passed already is no reason to be late.
        self.until = until.map_or(Instant(u64::MAX), |until| until.max(self.slept));
        until
    }
}

impl Node {
    pub(super) fn event(&mut self, input: Input) {
        let now = self.clock.now();
        if let Some((since, late)) = self.pace.begin(now.monotonic) {
            self.input(now, Input::Away { since, late });
        }
        self.input(now, input);
    }

    fn input(&mut self, now: Now, input: Input) {
        let out = self.pending.actions();
        self.replica.handle(now, input, out);
        if self.pending.is_heavy() {
            self.act();
        }
    }

    /// Ends the turn, and says until when to sleep.
    pub(super) fn wake(&mut self) -> tokio::time::Instant {
        let now = self.clock.now();
        if let Some((since, late)) = self.pace.end(now.monotonic) {
            self.input(now, Input::Away { since, late });
        }
        let own = self.replica.next_wake();
        let of_chains = self.chains.as_ref().map(Chains::next_wake);
        let asked = own.into_iter().chain(of_chains).min();
        let until = self.pace.sleep(asked, !self.peers.is_empty());
        self.clock.deadline(now.monotonic, until)
    }

    /// Lets all links have what was sent on them. Another replica learns when that was.
    pub(super) fn flush(&mut self) {
        let sent = self.pace.last;
        while let Some(peer) = self.touched_peers.pop_first() {
            if let Some(open) = self.peers.get(&peer) {
                if let Some(stamp) = self.replica.stamp(peer, sent) {
                    open.link.send(Lane::Protocol, &stamp.frame());
                }
                open.link.flush();
            }
        }
        while let Some(link) = self.touched_clients.pop_first() {
            if let Some(open) = self.clients.get(&link) {
                open.link.flush();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn sleep_is_not_late_and_being_stopped_is() {
        let at = |n: u64| Instant(n * MS);
        let mut pace = Pace::new(ms(100), at(0));
        assert_eq!(pace.sleep(Some(at(30)), true), Some(at(30)));
        assert_eq!(pace.begin(at(20)), None, "something came");
        assert_eq!(pace.begin(at(21)), None);
        assert_eq!(pace.end(at(24)), Some((at(20), ms(4))));
        assert_eq!(pace.end(at(25)), None, "nothing was done");

        assert_eq!(pace.sleep(Some(at(900)), true), Some(at(75)), "it looks up");
        assert_eq!(pace.begin(at(76)), None, "within the grain of timers");
        pace.end(at(76));
        assert_eq!(pace.sleep(Some(at(900)), true), Some(at(126)));
        assert_eq!(pace.begin(at(400)), Some((at(76), ms(273))), "it was stopped");
        assert_eq!(pace.begin(at(401)), None, "once");
        pace.end(at(402));

        // What was due in the turn is done at once, and not late.
        assert_eq!(pace.sleep(Some(at(401)), true), Some(at(401)));
        assert_eq!(pace.begin(at(403)), None);
        pace.end(at(403));
        assert_eq!(pace.sleep(None, false), None);
        assert_eq!(pace.begin(at(99_000)), None, "nothing was asked for");
    }

    #[test]
    fn a_turn_that_takes_long_is_told_of_while_it_goes_on() {
        let at = |n: u64| Instant(n * MS);
        let mut pace = Pace::new(ms(100), at(0));
        assert_eq!(pace.begin(at(1)), None);
        assert_eq!(pace.begin(at(26)), None);
        assert_eq!(pace.begin(at(27)), Some((at(1), ms(26))));
        assert_eq!(pace.begin(at(50)), None);
        assert_eq!(pace.begin(at(301)), Some((at(1), ms(300))), "all of it");
        assert_eq!(pace.begin(at(302)), None);
        assert_eq!(pace.end(at(303)), Some((at(1), ms(302))));
        pace.sleep(None, true);
        assert_eq!(pace.begin(at(304)), None);
        assert_eq!(pace.begin(at(331)), Some((at(304), ms(27))));
    }

    #[test]
    fn how_often_it_looks_up_has_bounds() {
        for (delta, look) in [(ms(1), ms(5)), (ms(100), ms(50)), (ms(60_000), ms(1000))] {
            assert_eq!(Pace::new(delta, Instant(0)).look, look);
        }
    }
}
