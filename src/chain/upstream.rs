//! The side towards the head: updates come from there, and acknowledgements go there.

use super::{Action, Actions, Chain, Event};
use crate::types::ReplicaId;
use crate::types::plant::planted;
use crate::wire::{ChainEntry, ChainMessage};
use bytes::Bytes;

#[derive(Clone, Debug, Default)]
pub(super) struct Upstream {
    /// Whether the predecessor has gone on in this configuration, and so all before it. A head
    /// has none to wait for.
    pub(super) ready: bool,
    /// Whether what comes next is the answer to the last [`ChainMessage::Resume`].
    awaiting: bool,
    /// The durable watermark: all before this replica have synced so much (CH-U4).
    pub(super) durable: u64,
    /// The last number acknowledged.
    acked: u64,
    /// A state that is coming.
    coming: Option<Coming>,
}

#[derive(Clone, Debug)]
struct Coming {
    number: u64,
    size: u64,
    bytes: Vec<u8>,
}

impl Upstream {
    /// Another configuration holds.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

impl Chain {
    /// Tells the predecessor from where to go on (CH-F3). Not while a state is on its way to the
    /// disk: what is said here counts as committed here, and that has to be durable (CH-U4). If
    /// this replica became a member before, and all lost their power, it could not report it, and
    /// would answer without it as the tail.
    pub(super) fn resume(&mut self, out: &mut Actions) {
        if self.setup.durable && self.log.is_without_base() {
            return;
        }
        let Some(peer) = self.predecessor().filter(|p| self.is_linked(*p)) else { return };
        (self.up.awaiting, self.up.acked, self.up.coming) = (true, 0, None);
        self.stats.resumed += 1;
        let (executed, runs) = (self.history.executed(), self.history.runs());
        let message = ChainMessage::Resume { config: self.config.clone(), executed, runs };
        out.push(Action::ToPeer { peer, message });
    }

    /// Updates came from the predecessor (CH-U2).
    pub(super) fn forwarded(
        &mut self,
        peer: ReplicaId,
        after: u64,
        durable: u64,
        entries: Vec<ChainEntry>,
        out: &mut Actions,
    ) {
        let last = self.history.last().number;
        let fits = after == last || self.up.awaiting && after < last;
        if Some(peer) != self.predecessor() || after < self.history.executed() || !fits {
            // A gap, or the rest of what an earlier link carried.
            self.stats.unfit += 1;
            if after > last && !self.up.awaiting {
                self.resume(out);
            }
            return;
        }
        if std::mem::take(&mut self.up.awaiting) {
            // What is beyond it here is not part of the history: its head is gone, and nobody
            // who is nearer to the head has it.
            self.drop_above(after, out);
        }
        (self.up.ready, self.up.coming) = (true, None);
        self.up.durable = self.up.durable.max(durable);
        for entry in entries {
            self.pending.insert(&entry);
            self.history.push(entry);
        }
    }

    /// A part of a state came, since the predecessor keeps no history so old (CH-F4).
    pub(super) fn state_part(
        &mut self,
        peer: ReplicaId,
        number: u64,
        size: u64,
        (offset, bytes): (u64, &Bytes),
        out: &mut Actions,
    ) {
        let expected = self.up.awaiting || self.is_joining();
        let expected = expected && Some(peer) == self.predecessor();
        let is_new = number > self.history.executed() && size <= self.setup.limits.snapshot_bytes;
        if !expected || !is_new {
            self.stats.unfit += 1;
            return;
        }
        if offset == 0 {
            self.up.coming = Some(Coming { number, size, bytes: Vec::new() });
        }
        let same = |c: &&mut Coming| {
            c.number == number && c.size == size && c.bytes.len() as u64 == offset
        };
        let Some(coming) = self.up.coming.as_mut().filter(same) else {
            self.stats.unfit += 1;
            return;
        };
        coming.bytes.extend_from_slice(bytes);
        let have = coming.bytes.len() as u64;
        if have < size && !bytes.is_empty() {
            let message = ChainMessage::More { config: self.config.number, number, offset: have };
            out.push(Action::ToPeer { peer, message });
        } else if have == size {
            let whole: Bytes = std::mem::take(&mut coming.bytes).into();
            self.take_state(number, whole, out);
        }
    }

    fn take_state(&mut self, number: u64, whole: Bytes, out: &mut Actions) {
        self.up.coming = None;
        if let Err(why) = self.executor.restore(&whole) {
            return self.halt(format!("the state from the predecessor: {why}"), out);
        }
        self.stats.states_taken += 1;
        self.begin_anew(whole, out);
        out.push(Action::Event(Event::TookState { number }));
        self.resume(out);
    }

    /// Acknowledges what is committed (CH-U3).
    pub(super) fn acknowledge(&mut self, out: &mut Actions) {
        let committed = match planted("ch-ack-before-commit") {
            true => self.history.last().number,
            false => self.history.executed(),
        };
        if !self.up.ready || committed <= self.up.acked {
            return;
        }
        let Some(peer) = self.predecessor().filter(|p| self.is_linked(*p)) else { return };
        self.up.acked = committed;
        let config = self.config.number;
        out.push(Action::ToPeer { peer, message: ChainMessage::Ack { config, committed } });
    }
}
