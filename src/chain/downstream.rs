//! The side towards the tail: updates go there, and acknowledgements come from there.

use super::{Action, Actions, Chain};
use crate::types::ReplicaId;
use crate::types::plant::planted;
use crate::wire::{ChainEntry, ChainMessage, ChainPosition};
use bytes::Bytes;
use std::collections::VecDeque;

#[derive(Clone, Debug, Default)]
pub(super) struct Downstream {
    /// What the successor has said that it has: the last number executed, and runs.
    said: Option<(u64, Vec<ChainPosition>)>,
    /// The next number to send; `None`: the successor has not said where to go on.
    next: Option<u64>,
    /// Whether it still waits for the answer to what it said.
    owed: bool,
    /// What it has acknowledged.
    pub(super) acked: u64,
    /// What was sent beyond that: the last number of each message, and its bytes; and all bytes.
    sent: VecDeque<(u64, usize)>,
    sent_bytes: usize,
    /// The watermark that was sent last.
    durable: u64,
    /// The state that it is given.
    giving: Giving,
    /// Who joins: what it had to reach when it was found close.
    paired_at: Option<u64>,
    /// Who joins: whether it has reached that.
    paired: bool,
    /// Questions of others how far this one has committed (CH-Q2).
    pub(super) questions: Vec<(ReplicaId, u64)>,
}

/// What is known of the state that a successor needs.
#[derive(Clone, Debug, Default)]
enum Giving {
    /// It needs none.
    #[default]
    Nothing,
    /// Its bytes are still to be made.
    Wanted,
    /// It gets this one, of this number.
    Made(u64, Bytes),
}

impl Downstream {
    /// Another configuration holds.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The link to the successor is gone, or a new one is there. It stays paired: nothing may be
    /// committed without it once the master may have heard that.
    pub(super) fn lost(&mut self) {
        (self.said, self.next, self.owed) = (None, None, false);
        self.giving = Giving::Nothing;
        self.sent.clear();
        self.sent_bytes = 0;
    }

    fn sends(&mut self, last: u64, bytes: usize) {
        self.sent.push_back((last, bytes));
        self.sent_bytes += bytes;
    }

    fn has_acked(&mut self, number: u64) {
        self.acked = self.acked.max(number);
        while let Some((_, bytes)) = self.sent.pop_front_if(|(last, _)| *last <= number) {
            self.sent_bytes -= bytes;
        }
    }

    /// Whether the successor waits for a state that is not made yet.
    pub(super) fn wants_state(&self) -> bool {
        matches!(self.giving, Giving::Wanted)
    }

    /// Whether who joins has everything, and the master may append it (CH-F4).
    pub(super) fn is_paired(&self) -> bool {
        self.paired
    }
}

impl Chain {
    /// Whether what this replica has, and all before it have synced, is committed: it is the last
    /// in the line. A tail whose joiner is close is not: it commits what the joiner has (CH-F4).
    pub(super) fn is_commit_point(&self) -> bool {
        let unpaired = self.is_tail() && self.down.paired_at.is_none();
        self.successor().is_none() || unpaired
    }

    /// The successor says what it has (CH-F3).
    pub(super) fn resumed(&mut self, peer: ReplicaId, executed: u64, runs: Vec<ChainPosition>) {
        if Some(peer) != self.successor() {
            self.stats.unfit += 1;
            return;
        }
        self.down.lost();
        self.acked(peer, executed);
        self.down.said = Some((executed, runs));
        if planted("ch-resumes-before-ready") {
            self.go_on();
        }
    }

    /// Finds where the successor goes on. Not before this replica is ready: until then its own
    /// history may still be cut, and what both have would not be what they have.
    fn go_on(&mut self) {
        let Some((executed, runs)) = self.down.said.take() else { return };
        let start = if planted("ch-resume-ignored") {
            Some(self.history.last().number)
        } else {
            // What it has beyond what both have is not part of the history. What it executed is.
            let both = self.history.common(&runs).unwrap_or(executed).max(executed);
            self.history.position_at(both).map(|at| at.number)
        };
        match start {
            Some(number) => (self.down.next, self.down.owed) = (Some(number + 1), true),
            None => self.want_state(),
        }
    }

    fn want_state(&mut self) {
        self.stats.states_given += 1;
        self.down.giving = Giving::Wanted;
    }

    /// A state is made that the successor waits for.
    pub(super) fn give(&mut self, number: u64, state: Bytes, out: &mut Actions) {
        self.down.giving = Giving::Made(number, state);
        if let Some(peer) = self.successor() {
            self.more(peer, number, 0, out);
        }
    }

    /// The successor asks for a part of the state that it is given.
    pub(super) fn more(&mut self, peer: ReplicaId, number: u64, offset: u64, out: &mut Actions) {
        let Giving::Made(of, state) = &self.down.giving else { return };
        if *of != number || Some(peer) != self.successor() {
            return;
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(state.len());
        let to = state.len().min(from + ChainMessage::CHUNK);
        let (size, bytes) = (state.len() as u64, state.slice(from..to));
        let config = self.config.number;
        let message = ChainMessage::Snapshot { config, number, size, offset: from as u64, bytes };
        out.push(Action::ToPeer { peer, message });
    }

    /// The successor has all this committed, or executed: that is the same (CH-U3).
    pub(super) fn acked(&mut self, peer: ReplicaId, committed: u64) {
        if Some(peer) != self.successor() {
            self.stats.unfit += 1;
            return;
        }
        self.down.has_acked(committed);
        if !self.is_tail() {
            return;
        }
        // CH-F4: first it is found close, and from then on nothing is committed without it; when
        // it has all that was committed until then, it can take the tail's place.
        if planted("ch-append-unpaired") {
            self.down.paired = true;
            return;
        }
        let lacks = self.history.last().number.saturating_sub(committed);
        if self.down.paired_at.is_none() && lacks <= self.setup.limits.close {
            self.down.paired_at = Some(self.history.executed());
        }
        let reached = self.down.paired_at.is_some_and(|at| committed >= at);
        if reached && !self.down.paired {
            self.down.paired = true;
            self.lease.hurry();
        }
    }

    /// What all replicas up to this one have synced (CH-U4).
    pub(super) fn durable_here(&self) -> u64 {
        let own = self.durable();
        if self.is_head() { own } else { own.min(self.up.durable) }
    }

    /// Passes on what the successor lacks, as far as the window allows, and the watermark.
    pub(super) fn forward(&mut self, out: &mut Actions) {
        let (Some(peer), true) = (self.successor(), self.up.ready) else { return };
        self.go_on();
        let Some(mut next) = self.down.next.filter(|_| self.is_linked(peer)) else { return };
        if self.history.position_at(next - 1).is_none() {
            // Who joins is too slow for what is kept: it begins anew.
            self.down.lost();
            return self.want_state();
        }
        let limits = self.setup.limits;
        let (config, durable) = (self.config.number, self.durable_here());
        let end = self.down.acked.saturating_add(limits.window as u64);
        loop {
            let (mut entries, mut bytes) = (Vec::new(), 0);
            let full = self.down.sent_bytes >= limits.window_bytes;
            let end = if full && !planted("ch-window-by-count") { next - 1 } else { end };
            for entry in self.history.from(next).take_while(|e| e.position.number <= end) {
                let more = entry.request.body.len() + ChainEntry::OVERHEAD;
                if !entries.is_empty() && bytes + more > limits.batch_bytes {
                    break;
                }
                bytes += more;
                entries.push(entry.clone());
            }
            let news = std::mem::take(&mut self.down.owed) || durable > self.down.durable;
            if entries.is_empty() && !news {
                break;
            }
            let after = next - 1;
            next += entries.len() as u64;
            if !entries.is_empty() {
                self.down.sends(next - 1, bytes);
            }
            self.stats.batches += 1;
            self.stats.forwarded += entries.len() as u64;
            self.down.durable = durable;
            let message = ChainMessage::Forward { config, after, durable, entries };
            out.push(Action::ToPeer { peer, message });
        }
        self.down.next = Some(next);
    }

    /// What must be kept because the successor may still need it.
    pub(super) fn kept_floor(&self) -> u64 {
        let giving = match &self.down.giving {
            Giving::Nothing => None,
            Giving::Wanted => Some(self.maker.number().unwrap_or(self.history.executed())),
            Giving::Made(number, _) => Some(*number),
        };
        let unsent = self.down.next.map(|next| next - 1);
        giving.into_iter().chain(unsent).min().unwrap_or(u64::MAX)
    }
}
