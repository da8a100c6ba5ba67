//! Where a replica runs: its clock, its disk, and what becomes of it.

use super::disk::Disk;
use crate::chain::{Chain, Found, Input, Setup};
use crate::simulator::Dice;
use crate::types::{Instant, Now, Wall};
use std::collections::VecDeque;

pub(super) struct Site {
    pub(super) setup: Setup,
    /// `None` while it is down.
    pub(super) chain: Option<Chain>,
    pub(super) disk: Disk,
    /// Whether it has noted on this disk that it began there ([`crate::chain::Action::Begun`]).
    pub(super) begun: bool,
    /// Whether its disk was lost, and nothing has been written since.
    pub(super) gone: bool,
    /// Counts lives: what was meant for an earlier one is lost.
    pub(super) life: u64,
    /// It stands still until then, and what comes meanwhile waits.
    pub(super) paused_until: u64,
    pub(super) inbox: VecDeque<Input>,
    /// The master does not hear it before this time.
    pub(super) cut_until: u64,
    /// Thousandths by which its clock runs fast or slow, and how far its wall clock is off.
    pub(super) drift: i64,
    pub(super) skew: u64,
    /// Its disk is slow until then.
    pub(super) slow_until: u64,
    /// The life and the number after which its state was last compared, beside now and then.
    pub(super) looked_at: (u64, u64),
    /// When its next wake is due.
    pub(super) wake: u64,
    /// Whether `Drained` is still to come.
    pub(super) undrained: bool,
}

impl Site {
    /// Its clocks at a time of the world, which is in microseconds.
    pub(super) fn now(&self, time: u64) -> Now {
        let run = i128::from(time) * i128::from(1000 + self.drift);
        let nanos = u64::try_from(run).expect("clocks run forward");
        Now { monotonic: Instant(nanos), wall: Wall(nanos / 1000 + self.skew) }
    }

    /// The first time of the world at which its clock shows this.
    pub(super) fn time_of(&self, instant: Instant) -> u64 {
        let rate = u64::try_from(1000 + self.drift).expect("clocks run forward");
        instant.0.div_ceil(rate)
    }

    /// Its disk is another one from now on.
    pub(super) fn lose_disk(&mut self) {
        (self.disk, self.begun, self.gone) = (Disk::default(), false, true);
        // Nobody tells one that asks the master itself.
        self.setup.lost = !self.setup.unsure;
    }

    /// Whether its disk was lost, and it has not been a member since.
    pub(super) fn is_lost(&self) -> bool {
        self.gone && self.chain.as_ref().is_none_or(Chain::is_lost)
    }

    /// Starts it in a new life, from what its disk has.
    pub(super) fn start(&mut self, found: Found) -> Result<(), String> {
        self.life += 1;
        let is_empty = found.state.is_none() && found.log.is_empty();
        self.setup.lost &= is_empty;
        self.gone &= is_empty;
        let unsure = self.setup.unsure && is_empty && !self.begun;
        let setup = Setup { incarnation: self.life, unsure, ..self.setup.clone() };
        self.chain = Some(Chain::new(setup, found)?);
        (self.wake, self.undrained) = (0, true);
        Ok(())
    }

    /// Stops it.
    pub(super) fn stop(&mut self, dice: &mut Dice) {
        self.chain = None;
        self.inbox.clear();
        self.paused_until = 0;
        self.disk.crash(dice);
    }
}
