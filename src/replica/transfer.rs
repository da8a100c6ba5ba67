//! State transfer: a replica that cannot follow from what others still have of the history
//! fetches a whole snapshot from one of them and goes on from there (§7).
//!
//! `snapshot.rs` has the states and their bytes, `making.rs` when these are made, `proof.rs` why
//! they can be believed, `shelf.rs` what is kept for others, `download.rs` the fetching. Here all
//! that is put to work in a replica.
//!
//! Snapshots are taken at checkpoints, and only while some replica is no member, or is one
//! without a state: nobody else could need one.

mod download;
mod making;
mod opened;
mod proof;
mod shelf;
mod snapshot;

pub(super) use download::Download;
pub(super) use making::Maker;
pub use opened::OpenedSnapshot;
pub(super) use proof::{Proof, check as proven, head_of, parse_head};
pub(super) use shelf::Shelf;
pub use snapshot::FrozenState;
pub(super) use snapshot::{Head, Snapshot};

use super::answers::Asker;
use super::replica::{Replica, to_peer};
use super::{Actions, Event, Lane, TransferStatus};
use crate::crypto::Scheme;
use crate::ordering::{self, Step};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Now, ReplicaId, Round};
use crate::wire::{Message, SnapshotPart, WantSnapshot};
use download::{Verdict, Whole};

/// In the first rounds of a group nobody can have attested a step.
const FIRST: u64 = 4;
/// A member whose attestations are so many rounds old does not get on.
const LAG: u64 = 64;

impl<S: Scheme> Replica<S> {
    /// The order cannot go on from what is here: a snapshot is wanted.
    pub(super) fn behind(&mut self, out: &mut Actions) {
        // Whoever halted did so because of its service or its memory; a snapshot heals neither.
        if self.executor.halted().is_none() && self.download.begin() {
            self.counters.snapshots_wanted += 1;
            out.push(super::Action::Event(Event::SnapshotWanted));
        }
    }

    /// The order goes on by itself, so no snapshot is needed; unless there is no state to go on.
    pub(super) fn follows_again(&mut self) {
        let lacking = self.executor.is_lost() || self.fetch.is_hopeless();
        if self.download.is_wanted() && !lacking {
            self.download.end();
        }
    }

    /// Whether some replica may need a snapshot: one that is no member, or a member that has none
    /// of its state (it attests nothing then) or does not get on.
    pub(super) fn snapshots_are_needed(&self) -> bool {
        let members = self.core.members();
        let here = self.executor.position().round.0;
        let lacks = |m: ReplicaId| {
            let there = self.executed_by[m.index()].0;
            there == 0 && here > FIRST || there + self.limits.checkpoint_every.max(LAG) < here
        };
        let some_lack = members.iter().any(lacks) && !planted("s7-members-have-a-state");
        self.shelf.always || members != self.keyring.ensemble().all() || some_lack
    }

    /// Whether snapshots are taken: for others, or so that the log need not grow for ever.
    fn takes_snapshots(&self) -> bool {
        self.snapshots_are_needed() || self.journal.wants_snapshot()
    }

    /// Looks at what the members attest of the snapshots kept here, and gives up those that
    /// nobody needs any more.
    pub(super) fn collect_proofs(&mut self, step: &Step, out: &mut Actions) {
        if !self.takes_snapshots() {
            self.shelf.clear();
            return;
        }
        let (majority, before) = (self.keyring.ensemble().majority(), self.shelf.newest());
        step.proposals.iter().for_each(|proposal| self.shelf.attest(proposal, majority));
        if self.shelf.newest() > before && self.journal.wants_snapshot() {
            self.save_newest(out);
        }
    }

    /// Up to which round bodies may be dropped: what all members have executed, and nothing that
    /// comes after a snapshot that somebody may go on from.
    pub(super) fn bodies_needed_until(&self) -> Round {
        let all = self.core.members().iter().map(|m| self.executed_by[m.index()]).min();
        let all = all.unwrap_or_default();
        match self.snapshots_are_needed() {
            true => all.min(self.shelf.oldest().unwrap_or_default()),
            false => all,
        }
    }

    /// After a step: takes a snapshot if it was that of a checkpoint and somebody may need it.
    /// That costs little, however large the state is: nothing is copied and no bytes are made.
    pub(super) fn take_snapshot(&mut self) {
        let (round, digest) = self.executor.checkpoint();
        let is_checkpoint = round == self.executor.position().round;
        let silent = self.journal.is_replaying() && !self.shelf.always;
        if !is_checkpoint || !self.takes_snapshots() || silent {
            return;
        }
        let Some(state) = self.executor.freeze() else { return };
        if state.size_hint() as u64 > self.quotas.snapshot_bytes {
            self.counters.snapshots_too_large += 1;
            return;
        }
        self.counters.snapshots_taken += 1;
        self.shelf.take(state, digest);
    }

    /// When [`Replica::transfer`] has something to do because of the time.
    pub(super) fn transfer_wake(&self) -> Option<crate::types::Instant> {
        self.download.next_wake()
    }

    /// What time and links bring: sources that were silent for too long, and new ones.
    pub(super) fn transfer(&mut self, now: Now, out: &mut Actions) {
        let (now, patience) = (now.monotonic, self.timing.patience);
        self.shelf.expire(now);
        if let Some((from, why)) = self.download.expire(now) {
            self.refuse(from, why, out);
        }
        if let Some((to, want)) = self.download.start(now, patience, self.links.up_peers()) {
            out.push(to_peer(to, Lane::Bulk, want.to_frame(self.group)));
        }
    }

    /// The link to a replica is gone.
    pub(super) fn transfer_link_down(&mut self, peer: ReplicaId) {
        self.shelf.release(peer);
        self.download.link_down(peer);
    }

    pub(super) fn want_snapshot(
        &mut self,
        now: Now,
        peer: ReplicaId,
        want: &WantSnapshot,
        out: &mut Actions,
    ) {
        // A member has a state; only for others what was replaced is worth its memory.
        let hold = !self.core.members().contains(peer) || self.shelf.always;
        let patience = 2 * self.timing.patience;
        self.shelf.choose(peer, want, (now.monotonic, patience));
        self.make_served(now.monotonic + patience, out);
        let part = self.shelf.part(peer, want, (now.monotonic, hold.then_some(patience)));
        // Before it is copied into a frame: thousands of questions may come in one batch.
        if self.answers.may(Asker::Peer(peer), part.bytes.len() + 1024) {
            self.counters.snapshot_parts_sent += u64::from(!part.bytes.is_empty());
            out.push(to_peer(peer, Lane::Bulk, part.to_frame(self.group)));
        }
    }

    pub(super) fn snapshot_part(
        &mut self,
        now: Now,
        peer: ReplicaId,
        part: SnapshotPart,
        out: &mut Actions,
    ) {
        let above = if self.core.is_astray() { Round(0) } else { self.executor.position().round };
        let times = (now.monotonic, self.timing.patience);
        match self.download.part(times, peer, part, above, &self.keyring) {
            Verdict::Unasked => self.counters.snapshot_parts_unasked += 1,
            Verdict::NothingThere => {}
            Verdict::More(want) => {
                out.push(to_peer(peer, Lane::Bulk, want.to_frame(self.group)));
            }
            Verdict::Refused(why) => self.refuse(peer, why, out),
            Verdict::Whole(whole) => self.install(now, *whole, out),
        }
    }

    /// Takes in a snapshot whose bytes are all there, and lets the order go on from it.
    fn install(&mut self, now: Now, whole: Whole, out: &mut Actions) {
        let Whole { from, round, state, proof, bytes } = whole;
        let parsed = Snapshot::parse(&bytes);
        let back = parsed.as_ref().is_ok_and(|s| self.core.leads_back(&s.ordering));
        // Steps may have been executed while it came: it must not lead back, but for whoever is
        // not in its history.
        if round <= self.executor.position().round && !back {
            return;
        }
        let restored = match parsed {
            Ok(snapshot) if snapshot.head.position.round != round => Err("it is of another round"),
            Ok(snapshot) => self.executor.restore(&snapshot, &state).map(|()| snapshot),
            Err(_) => Err("its bytes are no snapshot"),
        };
        let snapshot = match restored {
            Ok(snapshot) => snapshot,
            Err(why) => return self.refuse(from, why, out),
        };
        self.download.end();
        self.fetch.end();
        self.counters.snapshots_installed += 1;
        self.stable = self.stable.max(round);
        let length = bytes.len() as u64;
        mark("§7 a snapshot was taken up");
        out.push(super::Action::Event(Event::SnapshotInstalled { round, bytes: length, from }));
        // Where the order is further already, what follows that round stands in the log.
        if back || self.core.committed() < round {
            self.journal.mark(round);
        }
        self.save_whole((round, &proof), bytes, out);
        if let Some(state) = self.executor.freeze() {
            self.shelf.adopt(state, proof);
        }
        if back {
            self.counters.rebuilt += 1;
            self.executor.drop_waiting();
        }
        if back || self.core.committed() < round {
            let position = snapshot.head.position;
            let input = ordering::Input::Install { state: snapshot.ordering, position };
            self.attest();
            self.core(now, input, out);
            // What was counted as lacking is of another state than this one.
            self.paused = false;
            self.pin(out);
            self.execute(now, out);
        } else {
            // The order is further than that; what it lacked was the state or a body.
            self.execute(now, out);
            self.attest();
        }
        self.look_at_bodies(now, out);
    }

    /// Bodies that were held all the while: those of requests that have run under the snapshot
    /// hold up nobody's quota any more, for the others the order may need a candidate.
    pub(super) fn look_at_bodies(&mut self, now: Now, out: &mut Actions) {
        let round = self.executor.position().round;
        let waiting = self.executor.waiting();
        for (digest, ran) in self.bodies.outstanding_requests(|digest, held| {
            self.executor.is_spent(&held.client, &held.request) || self.core.is_executed(digest)
        }) {
            match ran {
                _ if waiting.contains(&digest) => {}
                true => self.bodies.executed(&digest, round),
                false => self.core(now, ordering::Input::Seen { request: digest }, out),
            }
        }
    }

    fn refuse(&mut self, from: ReplicaId, why: &'static str, out: &mut Actions) {
        self.counters.snapshots_refused += 1;
        mark("§7 the source of a snapshot was put aside");
        out.push(super::Action::Event(Event::SnapshotRefused { from, why }));
    }

    /// What is being fetched, for people.
    pub(super) fn transfer_status(&self) -> Option<TransferStatus> {
        let (from, bytes, total) = self.download.progress();
        let from = from.map(|r| r.number());
        self.download.is_wanted().then_some(TransferStatus { bytes, total, from })
    }
}

#[cfg(test)]
mod tests;
