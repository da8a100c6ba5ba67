//! What a replica gives to its disk, and what waits until it is there (docs/protocol.md §7).
//!
//! Entries of the log of rounds are collected and written in one go when nothing more is waiting;
//! meanwhile rounds go on. A reply leaves when the step that it is of can be done again from the
//! disk: when the vectors up to the one that commits it are durable, and its requests.

use super::Action;
use crate::types::plant::planted;
use crate::types::{Durability, Epoch, LinkId, Round};
use crate::wire::{Reply, ReplyDigest, StepPosition};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Checkpoints whose places in the log are remembered.
const MARKS: usize = 64;
/// The same while there is a gap: entries are held from the first of them on.
const OPEN_MARKS: usize = 3;

/// Replies that wait for the disk.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) link: LinkId,
    pub(super) position: StepPosition,
    /// The step that must be on the disk before.
    pub(super) after: Round,
    /// Those that go out whole ...
    pub(super) replies: Vec<Reply>,
    /// ... and those of which another replica sends the whole (C3).
    pub(super) digests: Vec<ReplyDigest>,
}

/// A write that is under way.
#[derive(Clone, Copy, Debug)]
struct Write {
    sequence: u64,
    /// The core's number of it, if it is the core's.
    core: Option<u64>,
    /// The last complete vector in the log once this is durable.
    complete: Round,
    /// The last step that can be done again from the log.
    executed: Round,
    /// The last own proposal among its entries.
    own: Option<(Epoch, Round)>,
}

/// What has become durable.
#[derive(Debug, Default)]
pub(super) struct Durable {
    /// Numbers of the core's writes.
    pub(super) core: Vec<u64>,
    /// The last complete vector in the log.
    pub(super) complete: Option<Round>,
    /// The last own proposal in the log.
    pub(super) own: Option<(Epoch, Round)>,
    /// What may leave now.
    pub(super) replies: Vec<Waiting>,
}

/// Whether something is missing in the log. Then nothing is durable before a snapshot is saved
/// from which the log goes on; and nothing can be appended before that, since the end of the log
/// may be what is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    No,
    /// Entries are only collected, from the last checkpoints on.
    Open,
    /// A snapshot is being saved, by the write of this sequence.
    Closing(u64),
}

/// A snapshot on its way to the disk.
#[derive(Debug)]
enum Saving {
    /// Its bytes are being made.
    Made(Making),
    /// It is being written, by the write of this sequence.
    Written(u64),
}

/// A snapshot whose bytes will come.
#[derive(Debug)]
struct Making {
    number: u64,
    round: Round,
    /// The place in the log that follows it.
    first: u64,
    head: Bytes,
    /// By how much the log had grown when it was asked for.
    grown: u64,
}

/// What is written, and what waits for it.
#[derive(Debug)]
pub(super) struct Journal {
    durability: Durability,
    sequence: u64,
    /// Entries that are in no write yet.
    entries: Vec<Bytes>,
    /// The last own proposal among these.
    own: Option<(Epoch, Round)>,
    /// The place in the log that the next entry gets.
    position: u64,
    complete: Round,
    writes: VecDeque<Write>,
    /// The last step that can be done again from the disk, and the last complete vector there.
    durable: Round,
    durable_complete: Round,
    waiting: VecDeque<Waiting>,
    /// Where the log goes on after checkpoints.
    marks: BTreeMap<Round, u64>,
    gap: Gap,
    /// One at a time: a second is not begun before the first is on the disk.
    saving: Option<Saving>,
    /// Bytes since the last snapshot that was saved, and after how many there is another: as many
    /// as that has, but at least `least`.
    grown: u64,
    limit: u64,
    least: u64,
    /// Entries are only read, not written.
    replays: bool,
    /// From which place on entries are on the disk, as far as is known here, and after the
    /// snapshot of which round.
    begins: u64,
    saved_round: Round,
    /// After the writes up to this one the replica starts again from the disk.
    ends: Option<u64>,
    /// Whether the next vector is the first of its epoch.
    pub(super) opened: bool,
    /// Entries and snapshots that were written since the start.
    pub(super) written: u64,
    pub(super) saved: u64,
}

impl Journal {
    pub(super) fn new(durability: Durability, least: u64) -> Self {
        Self {
            durability,
            sequence: 0,
            entries: Vec::new(),
            own: None,
            position: 0,
            complete: Round(0),
            writes: VecDeque::new(),
            durable: Round(0),
            durable_complete: Round(0),
            waiting: VecDeque::new(),
            marks: BTreeMap::new(),
            gap: Gap::No,
            saving: None,
            grown: 0,
            limit: least,
            least,
            replays: false,
            begins: 0,
            saved_round: Round(0),
            ends: None,
            opened: true,
            written: 0,
            saved: 0,
        }
    }

    /// Whether what is executed goes into a log.
    pub(super) fn keeps(&self) -> bool {
        self.durability != Durability::None && !self.replays
    }

    /// An own proposal was added.
    pub(super) fn signed(&mut self, own: (Epoch, Round)) {
        self.own = Some(own);
    }

    /// Whether entries are being read.
    pub(super) fn is_replaying(&self) -> bool {
        self.replays
    }

    /// From now on until [`Journal::replayed`] entries are read, beginning at this place.
    pub(super) fn replay(&mut self, first: u64) {
        (self.replays, self.position, self.begins) = (true, first, first);
    }

    /// The place of the next entry.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The place of the first entry that a start would read.
    pub(super) fn begins(&self) -> u64 {
        self.begins
    }

    /// The round of the snapshot that a start would take up.
    pub(super) fn saved(&self) -> Round {
        self.saved_round
    }

    /// A snapshot of this round was taken up from the disk.
    pub(super) fn took_up(&mut self, round: Round) {
        self.saved_round = round;
        self.mark(round);
    }

    /// Whether all that was executed can be executed again from the disk, and nothing stands in
    /// the way of writing.
    pub(super) fn is_whole(&self) -> bool {
        self.keeps() && self.gap == Gap::No && self.ends.is_none()
    }

    /// Nothing is written any more; what was given is awaited.
    pub(super) fn end(&mut self) {
        self.ends.get_or_insert(self.sequence);
    }

    /// Whether it is at its end: `Some(true)` when all is durable.
    pub(super) fn has_ended(&self) -> Option<bool> {
        let last = self.ends?;
        Some(self.writes.front().is_none_or(|w| w.sequence > last))
    }

    /// An entry was read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.position += 1;
        self.grown += bytes as u64;
    }

    /// All was read that can be used, up to this round; the next entry is written at `next`. With a
    /// gap the log is of no use before a snapshot is saved.
    pub(super) fn replayed(&mut self, next: u64, executed: Round, complete: Round, gap: bool) {
        (self.replays, self.position) = (false, next.max(self.position));
        (self.durable, self.complete) = (executed, complete);
        self.durable_complete = complete;
        if gap {
            (self.gap, self.grown) = (Gap::Open, self.limit);
        }
    }

    /// Adds an entry. `complete` is the last complete vector with it.
    pub(super) fn add(&mut self, entry: Vec<u8>, complete: Option<Round>) {
        self.grown += entry.len() as u64;
        self.entries.push(entry.into());
        self.position += 1;
        self.written += 1;
        self.complete = complete.unwrap_or(self.complete);
    }

    /// The log goes on here after the checkpoint of this round.
    pub(super) fn mark(&mut self, round: Round) {
        self.marks.insert(round, self.position);
        let most = if self.gap == Gap::Open { OPEN_MARKS } else { MARKS };
        while self.marks.len() > most {
            self.marks.pop_first();
        }
        if self.gap == Gap::Open {
            let making = match &self.saving {
                Some(Saving::Made(making)) => Some(making.first),
                _ => None,
            };
            let needed = self.marks.values().copied().chain(making).min();
            self.drop_before(needed.unwrap_or(self.position));
        }
    }

    /// What was collected before this place is not needed.
    fn drop_before(&mut self, place: u64) {
        let begin = self.position - self.entries.len() as u64;
        let over = usize::try_from(place.saturating_sub(begin)).unwrap_or(usize::MAX);
        self.entries.drain(..over.min(self.entries.len()));
    }

    /// Whether the log is so long that a snapshot should be saved; where that `may_wait`, whether
    /// it is twice as long.
    pub(super) fn wants_snapshot(&self, may_wait: bool) -> bool {
        let times = if may_wait && self.gap == Gap::No { 2 } else { 1 };
        self.keeps() && self.grown >= self.limit.saturating_mul(times) && self.saving.is_none()
    }

    /// Writes what was collected. `executed` is the last step that was executed.
    pub(super) fn flush(&mut self, executed: Round) -> Option<Action> {
        if self.entries.is_empty() || self.gap == Gap::Open {
            return None;
        }
        let entries = std::mem::take(&mut self.entries);
        let urgent = self.is_waited_for();
        let sequence = self.write(None, executed);
        let own = self.own.take();
        self.writes.back_mut().into_iter().for_each(|write| write.own = own);
        Some(Action::Append { sequence, entries, urgent })
    }

    /// Whether anything needs what is written now soon: a reply, an own proposal, or the rounds,
    /// which must not get far ahead of the log. The first vector of a lone request is not: its
    /// reply comes with the next.
    fn is_waited_for(&self) -> bool {
        let ahead = self.complete.0 > self.durable_complete.0 + 1;
        !self.waiting.is_empty() || self.own.is_some() || !self.writes.is_empty() || ahead
    }

    fn write(&mut self, core: Option<u64>, executed: Round) -> u64 {
        self.sequence += 1;
        let (sequence, complete) = (self.sequence, self.complete);
        self.writes.push_back(Write { sequence, core, complete, executed, own: None });
        sequence
    }

    /// Writes records, after what was collected: for the core, which waits for them under a number
    /// of its own, or for nobody.
    pub(super) fn persist(
        &mut self,
        core: Option<u64>,
        records: Vec<Bytes>,
        executed: Round,
    ) -> Action {
        let sequence = self.write(core, executed);
        Action::Persist { sequence, records }
    }

    /// The bytes of the snapshot of this round will come under this number, to be saved.
    pub(super) fn await_bytes(&mut self, number: u64, round: Round, head: Bytes) {
        let Some(first) = self.marks.get(&round).copied() else { return };
        let grown = self.grown;
        self.saving = Some(Saving::Made(Making { number, round, first, head, grown }));
    }

    /// Whether bytes of this number are to be saved.
    pub(super) fn awaits(&self, number: u64) -> bool {
        matches!(&self.saving, Some(Saving::Made(making)) if making.number == number)
    }

    /// Saves what was awaited, if it fits; if it does not, the log grows on until the next one.
    pub(super) fn save_awaited(&mut self, state: Bytes, fits: bool) -> Option<Action> {
        let Some(Saving::Made(making)) = self.saving.take() else { return None };
        let Making { round, first, head, grown, .. } = making;
        if !fits {
            self.grown -= grown;
            return None;
        }
        Some(self.save_from((round, first), (head, state), grown))
    }

    /// Saves a snapshot of this round, whose log goes on where it was marked.
    pub(super) fn save(&mut self, round: Round, whole: (Bytes, Bytes)) -> Option<Action> {
        let first = self.marks.get(&round).copied()?;
        Some(self.save_from((round, first), whole, self.grown))
    }

    /// `grown` is what of the growth the snapshot makes up for.
    fn save_from(
        &mut self,
        (round, first): (Round, u64),
        (head, state): (Bytes, Bytes),
        grown: u64,
    ) -> Action {
        self.saved += 1;
        (self.begins, self.saved_round) = (first, round);
        self.grown -= grown;
        self.limit = self.least.max(state.len() as u64);
        let closes = self.gap == Gap::Open;
        let sequence = if closes {
            self.drop_before(first);
            // What was executed since is in the entries that follow.
            let sequence = self.write(None, round);
            self.gap = Gap::Closing(sequence);
            sequence
        } else {
            // Nothing waits for it, and what is written later may be durable earlier.
            self.sequence += 1;
            self.sequence
        };
        self.saving = Some(Saving::Written(sequence));
        Action::Save { sequence, round, first, head, state }
    }

    /// Whether what follows from this step may leave.
    pub(super) fn has_durable(&self, step: Round) -> bool {
        let is_durable = step <= self.durable && self.gap == Gap::No;
        self.durability == Durability::None || is_durable
    }

    /// A proposal so many rounds after a step shows that its signer could do that step again from
    /// its disk, if it attests it or a later one: such a one is signed when the vector that
    /// commits the step is durable there (§7). Without a log it shows that it was executed.
    pub(super) fn attests_after(&self) -> u64 {
        match self.durability {
            Durability::None | Durability::Strict => 2,
            Durability::Reply if planted("s6-receipt-before-sync") => 2,
            Durability::Reply => 4,
        }
    }

    /// Keeps replies back, or gives them again if nothing keeps them.
    pub(super) fn hold(&mut self, waiting: Waiting) -> Option<Waiting> {
        if self.has_durable(waiting.after) || planted("s7-reply-before-sync") {
            return Some(waiting);
        }
        self.waiting.push_back(waiting);
        None
    }

    /// What this replica has executed is wrong: neither replies nor a snapshot of it leave.
    pub(super) fn forget_unsaid(&mut self) {
        self.waiting.clear();
        self.saving.take_if(|saving| matches!(saving, Saving::Made(_)));
    }

    /// Replies that wait for the disk.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The last step that can be done again from the disk.
    pub(super) fn durable(&self) -> Round {
        self.durable
    }

    /// The writes up to this one are durable; a snapshot that is saved may come later than its
    /// place among them, unless it closes a gap.
    pub(super) fn synced(&mut self, sequence: u64) -> Durable {
        let mut durable = Durable::default();
        if matches!(self.saving, Some(Saving::Written(saved)) if saved == sequence) {
            self.saving = None;
        }
        while let Some(write) = self.writes.pop_front_if(|w| w.sequence <= sequence) {
            durable.core.extend(write.core);
            if self.gap == Gap::Closing(write.sequence) {
                self.gap = Gap::No;
            }
            self.durable = self.durable.max(write.executed);
            durable.own = durable.own.max(write.own);
            durable.complete = Some(write.complete);
            self.durable_complete = write.complete;
        }
        if self.gap != Gap::No {
            durable.complete = None;
            return durable;
        }
        let last = self.durable;
        // In the order of their steps, but for what was asked for again.
        let (leave, wait): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|w| w.after <= last);
        (durable.replies, self.waiting) = (leave, wait.into());
        durable
    }
}
