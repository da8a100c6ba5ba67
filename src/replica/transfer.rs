//! State transfer: a replica that cannot follow from what others still have of the history
//! fetches a whole snapshot from them, piece by piece, and goes on from there (§7).
//!
//! `snapshot.rs` has the states and their bytes, `list.rs` the list of chunks that goes with these,
//! `making.rs` when both are made, `proof.rs` why they can be believed, `shelf.rs` what is kept for
//! others, `pacer.rs` how fast it is given to them. `download.rs` is the fetching, with
//! `source.rs` what is known of each source, `partial.rs` what has come, and `blame.rs` and
//! `avoided.rs` who lied. Here all that is put to work in a replica.
//!
//! Snapshots are taken at checkpoints, and only while some replica is no member, or is one
//! without a state: nobody else could need one.

mod avoided;
mod blame;
mod download;
mod list;
mod making;
mod opened;
mod pacer;
mod partial;
mod proof;
mod shelf;
mod snapshot;
mod source;

pub(super) use download::{Download, Whole};
pub use list::{ChunkList, Encoded, Encoding};
pub(super) use making::Maker;
pub use opened::OpenedSnapshot;
pub(super) use pacer::Pacer;
pub(super) use proof::{Proof, check as proven, head_of, parse_head};
pub(super) use shelf::Shelf;
pub use snapshot::FrozenState;
pub(super) use snapshot::{Head, Snapshot};

use super::replica::{Replica, to_peer};
use super::{Actions, Event, Lane, TransferLie, TransferStatus};
use crate::crypto::Scheme;
use crate::ordering::{self, Step};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Instant, Members, Now, ReplicaId, Round};
use crate::wire::{DecodeError, Frame, Kind, Message, Piece};
use crate::wire::{SnapshotOffer, SnapshotPart, WantSnapshot};
use avoided::Lied;
use blame::Fault;
use download::Verdict;
use partial::Claim;
use std::time::Duration;

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
        let some_lack = members.iter().any(|m| self.lacks_a_state(m));
        let some_lack = some_lack && !planted("s7-members-have-a-state");
        self.shelf.always || members != self.keyring.ensemble().all() || some_lack
    }

    fn lacks_a_state(&self, member: ReplicaId) -> bool {
        let here = self.executor.position().round.0;
        let there = self.executed_by[member.index()].0;
        there == 0 && here > FIRST || there + self.limits.checkpoint_every.max(LAG) < here
    }

    /// Whether snapshots are taken: for others, or so that the log need not grow for ever.
    fn takes_snapshots(&self) -> bool {
        self.snapshots_are_needed() || self.wants_to_save()
    }

    /// Whether the log is so long that a snapshot should be saved. While somebody fetches one that
    /// has time, until the log is twice as long: to make bytes twice and to write them, and to copy
    /// what is changed after another snapshot, would slow the rounds.
    fn wants_to_save(&self) -> bool {
        self.journal.wants_snapshot(self.shelf.is_being_fetched())
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
        if self.shelf.newest() > before && self.wants_to_save() {
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
    /// That costs little, however large the state is: nothing is copied and no bytes are made. But
    /// what is changed afterwards is copied, once for each snapshot; so some are left out while one
    /// is fetched. Not that of an epoch's first vector: some can go on from no other.
    pub(super) fn take_snapshot(&mut self) {
        let (round, digest) = self.executor.checkpoint();
        let is_checkpoint = round == self.executor.position().round;
        let silent = self.journal.is_replaying() && !self.shelf.always;
        if !is_checkpoint || !self.takes_snapshots() || silent {
            return;
        }
        let first = round == self.core.first_round();
        if self.shelf.leaves_out() && !first && !self.wants_to_save() {
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
    pub(super) fn transfer_wake(&self) -> Option<Instant> {
        let download = self.download.next_wake(self.timing.patience);
        let download = download.filter(|_| !self.has_enough());
        download.into_iter().chain(self.pacer.next_wake()).min()
    }

    /// What time and links bring: answers that may go out, sources that were silent for too long,
    /// and new ones.
    pub(super) fn transfer(&mut self, now: Now, out: &mut Actions) {
        self.shelf.expire(now.monotonic);
        self.answer_fetchers(now, out);
        if let Some(whole) = self.take_waiting() {
            self.install(now, *whole, out);
        }
        for fault in self.download.expire(now.monotonic, self.timing.patience) {
            self.refuse(fault, out);
        }
        self.ask_sources(now, out);
    }

    /// The link to a replica is gone. What it was fetching stays for a while: it may come back.
    pub(super) fn transfer_link_down(&mut self, now: Now, peer: ReplicaId) {
        self.pacer.forget(peer);
        self.download.link_down(now.monotonic, self.timing.patience, peer);
    }

    /// Takes a message of state transfer.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn transfer_frame(
        &mut self,
        now: Now,
        peer: ReplicaId,
        frame: &Frame,
        out: &mut Actions,
    ) -> Result<(), DecodeError> {
        let times = (now.monotonic, self.timing.patience);
        let verdict = match frame.kind {
            Kind::WantSnapshot => {
                self.want_snapshot(now, peer, WantSnapshot::from_body(&frame.body)?, out);
                return Ok(());
            }
            Kind::SnapshotOffer => {
                let offer = SnapshotOffer::from_body(&frame.body)?;
                let above = self.above();
                self.download.offer(times, peer, offer, above, &self.keyring)
            }
            _ => self.download.part(times, peer, &SnapshotPart::from_body(&frame.body)?),
        };
        match verdict {
            Verdict::Unasked => self.counters.snapshot_parts_unasked += 1,
            Verdict::Taken => {}
            Verdict::Refused(fault) => self.refuse(fault, out),
            Verdict::Whole(whole) => self.came_whole(now, whole, out),
        }
        for fault in self.download.outvoted(times) {
            self.refuse(fault, out);
        }
        self.ask_sources(now, out);
        Ok(())
    }

    /// Only snapshots of later rounds are of use.
    fn above(&self) -> Round {
        let waiting = self.whole.as_ref().map(|whole| whole.round());
        let reached = if self.core.is_astray() { Round(0) } else { self.executor.reached() };
        waiting.unwrap_or_default().max(reached)
    }

    /// Whether one that is complete waits, and no later one is asked for meanwhile. Whoever has no
    /// state asks for one of an epoch past the call that it waits for.
    fn has_enough(&self) -> bool {
        self.whole.is_some() && !self.core.is_blank()
    }

    fn ask_sources(&mut self, now: Now, out: &mut Actions) {
        if self.has_enough() {
            return;
        }
        let times = (now.monotonic, self.timing.patience);
        for (to, want) in self.download.ask(times, self.above(), self.links.up_peers()) {
            out.push(to_peer(to, Lane::Bulk, want.to_frame(self.group)));
        }
    }

    fn want_snapshot(&mut self, now: Now, peer: ReplicaId, want: WantSnapshot, out: &mut Actions) {
        if want.piece == Piece::Offer {
            let patience = 2 * self.timing.patience;
            self.shelf.choose(peer, want.round, (now.monotonic, patience));
            self.make_served(now.monotonic + patience, out);
        }
        if !self.pacer.push(peer, want) {
            self.counters.snapshot_wants_dropped += 1;
        }
        self.answer_fetchers(now, out);
    }

    /// Gives what others have asked for, as fast as the quota allows.
    fn answer_fetchers(&mut self, now: Now, out: &mut Actions) {
        while let Some((peer, want)) = self.pacer.next(now.monotonic) {
            // Only for one without a state is what was replaced worth its memory.
            let member = self.core.members().contains(peer);
            let hold = !member || self.lacks_a_state(peer) || self.shelf.always;
            let times = (now.monotonic, hold.then_some(2 * self.timing.patience));
            let frame = match want.piece {
                Piece::Offer => self.shelf.offer(peer, want.round, times).to_frame(self.group),
                _ => {
                    let part = self.shelf.part(peer, want, times);
                    self.counters.snapshot_parts_sent += u64::from(!part.bytes.is_empty());
                    self.counters.snapshot_bytes_sent += part.bytes.len() as u64;
                    part.to_frame(self.group)
                }
            };
            self.pacer.charge(frame.len(), now.monotonic);
            out.push(to_peer(peer, Lane::Bulk, frame));
        }
    }

    /// A snapshot is complete. Who has told in a Report which bodies it lacks goes on lacking them
    /// until the opening says what that means (O7): it holds a state and the snapshot comes later.
    fn came_whole(&mut self, now: Now, whole: Box<Whole>, out: &mut Actions) {
        let reported = self.core.awaits_opening() && self.needed_wake().is_none();
        let past = Snapshot::parse(&whole.bytes);
        let past = past.is_ok_and(|snapshot| self.core.is_left_behind_by(&snapshot.ordering));
        let waits = reported && !self.executor.is_lost() && !past;
        if waits && !planted("o7-takes-up-between") {
            mark("O7 a snapshot waited for the opening");
            self.whole = Some(whole);
        } else {
            self.install(now, *whole, out);
        }
    }

    fn take_waiting(&mut self) -> Option<Box<Whole>> {
        let waits = self.core.awaits_opening();
        self.whole.take_if(|_| !waits)
    }

    /// An opening is committed: a snapshot of what it gives up is of no use any more.
    pub(super) fn keep_whole(&mut self, opened: &ordering::Opened) {
        let last = opened.first_void.map_or(opened.first, |void| void.min(opened.first)).previous();
        if self.whole.take_if(|whole| whole.round() > last).is_some() {
            self.download.give_up();
        }
    }

    /// Takes in a snapshot whose bytes are all there, and lets the order go on from it.
    fn install(&mut self, now: Now, whole: Whole, out: &mut Actions) {
        let (round, state, times) =
            (whole.round(), whole.state(), (now.monotonic, self.timing.patience));
        let Whole { givers, proof, bytes, claim, claimants } = whole;
        let parsed = Snapshot::parse(&bytes);
        let back = parsed.as_ref().is_ok_and(|s| self.core.leads_back(&s.ordering));
        // Whoever was led astray has said what that means for it.
        let here = if back { Round(0) } else { self.executor.position().round };
        // Steps may have been executed while it came: it must not lead back, but for whoever is
        // not in its history.
        if round <= self.executor.reached() && !back {
            return;
        }
        let restored = match parsed {
            Ok(snapshot) if snapshot.head.position.round != round => Err("it is of another round"),
            Ok(snapshot) => self.executor.restore(&snapshot, &state).map(|()| snapshot),
            Err(_) => Err("its bytes are no snapshot"),
        };
        let snapshot = match restored {
            Ok(snapshot) => snapshot,
            Err(why) => return self.refuse_list(times, (claim, claimants), why, out),
        };
        self.gives_up_for(&snapshot, here, out);
        let faults = self.download.right(times, &claim);
        faults.into_iter().for_each(|fault| self.refuse(fault, out));
        self.download.end();
        self.fetch.end();
        self.counters.snapshots_installed += 1;
        self.released(round, out);
        self.stable = self.stable.max(round);
        let length = bytes.len() as u64;
        mark("§7 a snapshot was taken up");
        let installed = Event::SnapshotInstalled { round, bytes: length, from: givers };
        out.push(super::Action::Event(installed));
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

    /// §7: a state takes the place of what was executed here up to this round. Unless that is known
    /// to be in its history something is given up, and that is written before the state is.
    fn gives_up_for(&mut self, snapshot: &Snapshot, executed: Round, out: &mut Actions) {
        let given_up = self.core.not_followed_by(&snapshot.ordering, executed);
        let given_up = given_up.filter(|_| executed > Round(0) && !planted("s7-forward-unsaid"));
        if let Some(epoch) = given_up {
            mark("§7 a state of another history took the place of what was executed");
            self.rolled.back(epoch, true);
            self.write_rolled(out);
        }
    }

    /// Bodies that were held all the while: those of requests that have run under the snapshot
    /// hold up nobody's quota any more, for the others the order may need a candidate. One that can
    /// have no effect any more, since its client has gone on, still has its turn if it has
    /// candidates, and all need it then.
    pub(super) fn look_at_bodies(&mut self, now: Now, out: &mut Actions) {
        let round = self.executor.position().round;
        let waiting = self.executor.waiting();
        for (digest, ran) in self.bodies.outstanding_requests(|digest, held| {
            let spent = self.executor.is_spent(&held.client, &held.request);
            let open = self.core.has_candidates(digest) && !planted("o7-spent-goes");
            self.core.is_executed(digest) || spent && !open
        }) {
            match ran {
                _ if waiting.contains(&digest) => {}
                true => self.bodies.executed(&digest, round),
                false => self.core(now, ordering::Input::Seen { request: digest }, out),
            }
        }
    }

    /// What these sources agreed on does not give the attested state.
    fn refuse_list(
        &mut self,
        times: (Instant, Duration),
        whose: (Claim, Members),
        why: &'static str,
        out: &mut Actions,
    ) {
        mark("§7 what sources agreed on was not the attested state");
        let faults = self.download.refute(times, whose, why);
        faults.into_iter().for_each(|fault| self.refuse(fault, out));
    }

    fn refuse(&mut self, Fault { from, why, lied }: Fault, out: &mut Actions) {
        self.counters.snapshots_refused += 1;
        self.counters.transfer_lies += u64::from(lied);
        mark("§7 the source of a snapshot was put aside");
        out.push(super::Action::Event(Event::SnapshotRefused { from, why, lied }));
    }

    /// What is being fetched, for people.
    pub(super) fn transfer_status(&self) -> Option<TransferStatus> {
        let (from, bytes, total) = self.download.progress();
        let from = from.into_iter().map(ReplicaId::number).collect();
        self.download.is_wanted().then_some(TransferStatus { bytes, total, from })
    }

    /// Who lied in a transfer and is still avoided, for people.
    pub(super) fn transfer_lies(&self, now: Now) -> Vec<TransferLie> {
        let lie = |(replica, lied): (ReplicaId, &Lied)| TransferLie {
            replica: replica.number(),
            why: lied.why.to_owned(),
            times: lied.times,
            since_ms: now.monotonic.since(lied.at).as_millis() as u64,
        };
        self.download.liars().map(lie).collect()
    }
}

#[cfg(test)]
mod tests;
