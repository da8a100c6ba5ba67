//! Giving up what the others have not gone on with (docs/protocol.md §7): an entry at the end of
//! the log says so, and the replica starts again from its disk, without that part.

use super::replica::Replica;
use super::{Action, Actions, Event, Input};
use crate::crypto::Scheme;
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Epoch, Now, Round};
use crate::wire::LogEntry;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};

/// Entries of history whose places are remembered: what is given up are a few rounds that the
/// others' disks had not kept.
const PLACES: usize = 4096;

/// Entries before an opening that are read before what they commit is executed.
const UNSETTLED: u64 = 128;

/// Where vectors and openings stand in the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// Epoch, round and place; openings have the round 0.
    entries: VecDeque<(Epoch, Round, u64)>,
    /// Whether some of the log came before those.
    forgot: bool,
}

impl Places {
    /// The log begins here, or goes on from a snapshot.
    pub(super) fn begin(&mut self, whole: bool) {
        *self = Self { entries: VecDeque::new(), forgot: !whole };
    }

    /// An entry of history has this place.
    pub(super) fn add(&mut self, epoch: Epoch, round: Round, place: u64) {
        self.entries.push_back((epoch, round, place));
        if self.entries.len() > PLACES {
            self.entries.pop_front();
            self.forgot = true;
        }
    }

    /// The place of the first entry of history that comes after a vector (or after an opening, if
    /// the round is the one before its first). `None` if there is none, or if that vector itself is
    /// not remembered.
    fn after(&self, (epoch, round): (Epoch, Round)) -> Option<u64> {
        let stays = |(e, r, _): &&(Epoch, Round, u64)| *e < epoch || *e == epoch && *r <= round;
        let kept = self.entries.iter().take_while(stays).count();
        let (.., place) = self.entries.get(kept)?;
        (kept > 0 || !self.forgot).then_some(*place)
    }
}

/// What of a log is given up by entries in it.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    entries: BTreeSet<u64>,
    /// The last epoch that something was given up for.
    pub(super) epoch: Option<Epoch>,
    /// The places of openings that count.
    openings: BTreeSet<u64>,
    /// Whether there are own proposals: then requests come before their steps, at any distance.
    pub(super) early_bodies: bool,
}

impl GivenUp {
    /// Looks through a log whose first entry has this place.
    pub(super) fn of(first: u64, log: &[Bytes]) -> Self {
        let mut found = Self::default();
        for (place, entry) in (first..).zip(log) {
            found.early_bodies |= LogEntry::is_own(entry);
            if let Some((from, epoch)) = LogEntry::gives_up(entry) {
                found.epoch = found.epoch.max(Some(epoch));
                found.entries.extend(from.max(first)..place);
            }
        }
        for (place, entry) in (first..).zip(log) {
            if LogEntry::is_opening(entry) && !found.includes(place, entry) {
                found.openings.insert(place);
            }
        }
        found
    }

    /// Whether what is committed before this place may be executed: an opening that is close behind
    /// may make some of it void (O7). What that can be are a few rounds that others' disks had not
    /// kept.
    pub(super) fn is_settled(&self, place: u64) -> bool {
        let next = self.openings.range(place..).next();
        next.is_none_or(|opening| *opening >= place + UNSETTLED)
    }

    /// Whether this entry of the log is given up.
    pub(super) fn includes(&self, place: u64, entry: &[u8]) -> bool {
        LogEntry::is_history(entry) && self.entries.contains(&place)
    }
}

/// What a replica knows of its log, for giving up some of it.
#[derive(Debug, Default)]
pub(super) struct Undo {
    pub(super) places: Places,
    /// What of the log that was found is given up.
    pub(super) given_up: GivenUp,
    /// The last epoch that something was given up for.
    pub(super) last: Option<Epoch>,
    /// Whether bodies were found on the disk that nobody has looked at.
    pub(super) found_bodies: bool,
    /// What is told when it is on the disk.
    untold: Option<Event>,
}

impl<S: Scheme> Replica<S> {
    /// The core has committed what the others have not gone on with.
    pub(super) fn astray(&mut self, keep: Option<(Epoch, Round)>, epoch: Epoch, out: &mut Actions) {
        let executed = self.executor.position().round;
        // Where it is not known how far both histories are the same, all that was executed may be
        // among what is given up.
        let unknown = executed > Round(0) && !planted("s7-unknown-is-none");
        let ran = keep.map_or(unknown, |keep| executed > keep.1);
        self.rolled.back(epoch, ran);
        let Some(keep) = keep else {
            mark("§7 it is not known what others had not gone on with");
            return self.attest();
        };
        // Once for each epoch: if it did not help, only the state of others does.
        if self.undo.last >= Some(epoch) || !self.journal.is_whole() {
            return;
        }
        let Some(from) = self.undo.places.after(keep).filter(|from| *from >= self.journal.begins())
        else {
            return;
        };
        mark("§7 what others had not gone on with was given up");
        self.undo.last = Some(epoch);
        self.journal.add(LogEntry::Undone { from, epoch }.to_bytes(), None);
        self.undo.untold = Some(Event::Undone { after: keep.1, ran, epoch });
        self.start_again(out);
    }

    /// O7: a request that has run here, in this round at the earliest, is void by an opening. That
    /// stands in the log by now: read again, the request does not run.
    pub(super) fn run_without(&mut self, first: Round, epoch: Epoch, out: &mut Actions) {
        let kept = self.journal.is_whole() && first > self.journal.saved();
        if !kept || planted("s7-never-undone") {
            return self.behind(out);
        }
        self.undo.untold = Some(Event::Undone { after: first.previous(), ran: true, epoch });
        self.start_again(out);
    }

    /// Whether this replica only waits for its disk, to start again from there.
    pub(super) fn is_ending(&mut self, input: &Input, out: &mut Actions) -> bool {
        if self.journal.has_ended().is_none() {
            return false;
        }
        if let Input::Synced { sequence } = input {
            self.journal.synced(*sequence);
        }
        if self.journal.has_ended() == Some(true) {
            out.extend(self.undo.untold.take().map(Action::Event));
            out.push(Action::StartAgain);
        }
        true
    }

    /// Requests from the log that have not run: their step was given up, or is still to come. What
    /// is not known to be ordered already is put forward again, as if its client had sent it.
    pub(super) fn look_at_recovered(&mut self, now: Now, out: &mut Actions) {
        if std::mem::take(&mut self.undo.found_bodies) {
            self.look_at_bodies(now, out);
        }
    }

    /// When all that was given to the disk is durable, this replica starts again from there.
    pub(super) fn start_again(&mut self, out: &mut Actions) {
        let executed = self.executor.position().round;
        out.extend(self.journal.flush(executed));
        self.write_rolled(out);
        self.journal.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(resets: u32) -> Epoch {
        Epoch { resets, ..Epoch::GENESIS }
    }

    fn undone(from: u64, resets: u32) -> Bytes {
        LogEntry::Undone { from, epoch: epoch(resets) }.to_bytes().into()
    }

    /// Only the first byte of these counts here.
    fn entry(kind: u8) -> Bytes {
        Bytes::from(vec![kind])
    }

    #[test]
    fn what_is_given_up_follows_the_last_common_vector() {
        let mut places = Places::default();
        places.begin(true);
        for (round, place) in [(1, 10), (2, 12), (3, 14)] {
            places.add(epoch(0), Round(round), place);
        }
        places.add(epoch(1), Round(0), 16);
        places.add(epoch(1), Round(4), 17);
        assert_eq!(places.after((epoch(0), Round(1))), Some(12));
        assert_eq!(places.after((epoch(0), Round(3))), Some(16), "the opening is given up");
        assert_eq!(places.after((epoch(1), Round(3))), Some(17), "the opening stays");
        assert_eq!(places.after((epoch(1), Round(4))), None, "nothing comes after it");
        assert_eq!(places.after((epoch(0), Round(0))), Some(10), "all of a whole log");
        places.begin(false);
        places.add(epoch(0), Round(8), 20);
        assert_eq!(places.after((epoch(0), Round(7))), None, "nobody knows what came before");
    }

    #[test]
    fn requests_of_what_is_given_up_stay() {
        let log = [entry(1), entry(4), entry(3), entry(1), entry(4), undone(7, 2), entry(1)];
        let found = GivenUp::of(5, &log);
        let places = (5..).zip(&log).filter(|(place, e)| found.includes(*place, e));
        assert_eq!(places.map(|(place, _)| place).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(found.epoch, Some(epoch(2)));
        assert!(found.is_settled(5), "its opening is given up");
        let twice = [entry(3), entry(1), undone(0, 1), entry(3), undone(8, 1)];
        assert!(GivenUp::of(5, &twice).is_settled(0));
    }

    #[test]
    fn what_comes_shortly_before_an_opening_waits_for_it() {
        let mut log = vec![entry(1); 200];
        log[150] = entry(3);
        let found = GivenUp::of(1000, &log);
        assert_eq!(found.epoch, None);
        assert!(found.is_settled(1150 - UNSETTLED) && !found.is_settled(1151 - UNSETTLED));
        assert!(!found.is_settled(1150) && found.is_settled(1151));
    }
}
