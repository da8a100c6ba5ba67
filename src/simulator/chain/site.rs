//! Where a replica runs: its clock, its disk, and what becomes of it.

use crate::chain::{Chain, Found, Input, Setup};
use crate::simulator::Dice;
use crate::types::{Instant, Now, Wall};
use crate::wire::ChainEntry;
use bytes::Bytes;
use std::collections::VecDeque;

/// A write that is on its way to the disk.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Append(Vec<Bytes>),
    Save { number: u64, state: Bytes, anew: bool },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    state: Option<(u64, Bytes)>,
    log: Vec<Bytes>,
    /// In the order in which they were asked for.
    writes: VecDeque<(u64, Write)>,
}

impl Disk {
    pub(super) fn push(&mut self, sequence: u64, write: Write) {
        self.writes.push_back((sequence, write));
    }

    /// The oldest write is done; gives its sequence.
    pub(super) fn complete(&mut self) -> Option<u64> {
        let (sequence, write) = self.writes.pop_front()?;
        match write {
            Write::Append(records) => self.log.extend(records),
            Write::Save { number, state, anew } => {
                let number_of = |r: &Bytes| ChainEntry::parse_record(r).map(|e| e.position.number);
                self.log.retain(|r| !anew && number_of(r).is_ok_and(|n| n > number));
                self.state = Some((number, state));
            }
        }
        Some(sequence)
    }

    /// The process is gone: of what was not synced any first part may have come to the disk.
    pub(super) fn crash(&mut self, dice: &mut Dice) {
        let kept = dice.below(self.writes.len() as u64 + 1);
        for _ in 0..kept {
            self.complete();
        }
        self.writes.clear();
    }

    /// The process is gone, and nothing of what was not synced has come to the disk.
    pub(super) fn lose(&mut self) {
        self.writes.clear();
    }

    /// Whether a write is on its way.
    pub(super) fn is_writing(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Whether it has this entry, or a state behind it.
    pub(super) fn has(&self, entry: &ChainEntry) -> bool {
        let (state, entries) = self.holds();
        entry.position.number.checked_sub(state + 1).is_none_or(|place| {
            entries.get(usize::try_from(place).expect("few")) == Some(&entry.to_record())
        })
    }

    pub(super) fn found(&self) -> Found {
        let state = self.state.as_ref().map(|(_, state)| state.clone());
        Found { state, log: self.log.clone() }
    }

    /// The entries that a start would find, as number and record, and the number of the state.
    fn holds(&self) -> (u64, Vec<Bytes>) {
        let state = self.state.as_ref().map_or(0, |(number, _)| *number);
        let mut entries: Vec<Bytes> = Vec::new();
        for record in &self.log {
            let entry = ChainEntry::parse_record(record).expect("a record that was written");
            let Some(place) = entry.position.number.checked_sub(state + 1) else { continue };
            entries.truncate(usize::try_from(place).expect("few"));
            entries.push(record.clone());
        }
        (state, entries)
    }
}

pub(super) struct Site {
    pub(super) setup: Setup,
    /// `None` while it is down.
    pub(super) chain: Option<Chain>,
    pub(super) disk: Disk,
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
        self.disk = Disk::default();
        self.setup.lost = true;
    }

    /// Whether its disk was lost, and it has not been a member since.
    pub(super) fn is_lost(&self) -> bool {
        self.setup.lost && self.chain.as_ref().is_none_or(Chain::is_lost)
    }

    /// Starts it in a new life, from what its disk has.
    pub(super) fn start(&mut self) -> Result<(), String> {
        self.life += 1;
        let found = self.disk.found();
        self.setup.lost &= found.state.is_none() && found.log.is_empty();
        let setup = Setup { incarnation: self.life, ..self.setup.clone() };
        self.chain = Some(Chain::new(setup, self.disk.found())?);
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
