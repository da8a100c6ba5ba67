//! Making the bytes of a snapshot, when somebody wants them: whoever fetches it, or the disk.
//!
//! That takes as long as the state is large, so the driver does it beside the loop, from the state
//! as it was frozen. Only what takes no longer than an ordinary step is done at once.

use super::super::replica::Replica;
use super::super::{Action, Actions};
use super::{Encoded, Encoding, FrozenState, Proof, head_of};
use crate::crypto::Scheme;
use crate::types::marks::mark;
use crate::types::{Instant, Now, Round};
use bytes::Bytes;

/// Numbers the bytes that are asked of the driver, and makes small ones itself.
#[derive(Debug)]
pub(in crate::replica) struct Maker {
    /// Up to about so many bytes are made at once.
    at_once: usize,
    asked: u64,
}

/// What comes of wanting bytes.
enum Making {
    Done(Encoded),
    /// They come under this number.
    Asked(u64),
}

impl Maker {
    pub(in crate::replica) fn new(at_once: usize) -> Self {
        Self { at_once, asked: 0 }
    }

    /// `listed`: whether the list of chunks is wanted, too.
    fn make(&mut self, state: FrozenState, listed: bool, out: &mut Actions) -> Making {
        let at_once = state.size_hint() <= self.at_once;
        let work = Encoding::new(state, listed);
        if at_once {
            return Making::Done(work.run());
        }
        self.asked += 1;
        mark("§7 a snapshot's bytes were made beside the loop");
        out.push(Action::Encode { number: self.asked, work });
        Making::Asked(self.asked)
    }
}

impl<S: Scheme> Replica<S> {
    /// Sees to it that there will be bytes of the snapshot that is served.
    pub(super) fn make_served(&mut self, until: Instant, out: &mut Actions) {
        let Some(state) = self.shelf.unmade() else { return };
        let state = self.executor.as_frozen(state);
        match self.maker.make(state, true, out) {
            Making::Done(made) if self.fits(&made.bytes) => self.shelf.set_bytes(made, until),
            Making::Done(_) => self.shelf.give_up(),
            Making::Asked(number) => self.shelf.await_bytes(number),
        }
    }

    /// The newest attested snapshot goes to the disk, so that the log before it can go.
    pub(in crate::replica) fn save_newest(&mut self, out: &mut Actions) {
        if !self.journal.keeps() {
            return;
        }
        let Some((state, proof, bytes)) = self.shelf.attested() else { return };
        let (round, head) = (state.round(), head_of(proof));
        if let Some(bytes) = bytes {
            return self.save(round, (head, bytes), out);
        }
        let state = self.executor.as_frozen(state);
        match self.maker.make(state, false, out) {
            Making::Done(Encoded { bytes, .. }) if self.fits(&bytes) => {
                self.save(round, (head, bytes), out);
            }
            Making::Done(_) => {}
            Making::Asked(number) => self.journal.await_bytes(number, round, head),
        }
    }

    /// An attested snapshot whose bytes are here goes to the disk.
    pub(super) fn save_whole(
        &mut self,
        (round, proof): (Round, &Proof),
        bytes: Bytes,
        out: &mut Actions,
    ) {
        if self.journal.keeps() {
            self.save(round, (head_of(proof), bytes), out);
        }
    }

    fn save(&mut self, round: Round, whole: (Bytes, Bytes), out: &mut Actions) {
        let executed = self.executor.position().round;
        out.extend(self.journal.flush(executed));
        out.extend(self.journal.save(round, whole));
        out.extend(self.journal.flush(executed));
    }

    /// The driver has made the bytes of this number.
    pub(in crate::replica) fn encoded(
        &mut self,
        now: Now,
        number: u64,
        made: Encoded,
        out: &mut Actions,
    ) {
        let fits = self.fits(&made.bytes);
        if self.shelf.awaits(number) {
            match fits {
                true => {
                    let until = now.monotonic + 4 * self.timing.patience;
                    self.shelf.set_bytes(made.clone(), until);
                }
                false => self.shelf.give_up(),
            }
        }
        let executed = self.executor.position().round;
        if self.journal.awaits(number) {
            out.extend(self.journal.flush(executed));
            out.extend(self.journal.save_awaited(made.bytes, fits));
            out.extend(self.journal.flush(executed));
        }
    }

    /// Whether a snapshot's bytes are within the quota.
    fn fits(&mut self, bytes: &Bytes) -> bool {
        let fits = bytes.len() as u64 <= self.quotas.snapshot_bytes;
        self.counters.snapshots_too_large += u64::from(!fits);
        fits
    }
}
