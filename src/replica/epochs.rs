//! The change of the epoch at a replica (§5): what others say of it comes in, is checked, and goes
//! to the core; what the core says goes out; bodies are counted and fetched; execution rests while
//! a call is promised and its epoch is not entered (E4).

use super::answers::Asker;
use super::fetch::HOPELESS;
use super::replica::{Replica, to_peer};
use super::{Action, Actions, Event, Lane};
use crate::crypto::{Scheme, Signable, Unverified, Verified};
use crate::ordering::{self, Checked, Opened, Statement};
use crate::proof;
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Digest, Instant, Members, Now, ReplicaId, Round};
use crate::wire::{
    CallMessage, Change, DecodeError, Evidence, Frame, Gone, Kind, Message, Proof, Report,
    SignedChange, WantBody, WantHistory,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The bodies that an opening needs before its epoch is entered (O7, E6).
#[derive(Debug, Default)]
pub(super) struct Needed {
    opening: Option<Digest>,
    /// Missing ones, with those who should have them.
    missing: BTreeMap<Digest, Members>,
    asked_at: Option<Instant>,
    /// How often.
    asked: usize,
}

impl<S: Scheme> Replica<S> {
    /// A frame of §5 from another replica.
    pub(super) fn epoch_frame(
        &mut self,
        now: Now,
        peer: ReplicaId,
        frame: &Frame,
        out: &mut Actions,
    ) -> Result<(), DecodeError> {
        let body = &frame.body;
        if let Some(inputs) = self.heard.again(peer, frame.kind, body) {
            inputs.into_iter().for_each(|input| self.core(now, input, out));
            return Ok(());
        }
        if !self.allowance.may(peer, signatures_in(frame), now.monotonic) {
            self.counters.over_allowance += 1;
            return Ok(());
        }
        match frame.kind {
            Kind::Change => {
                let change = SignedChange::from_body(body)?;
                let own = change.author == crate::wire::Author::Replica(peer);
                // Only over the author's own connection (M1, M2).
                if own {
                    self.core(now, ordering::Input::Change(change), out);
                } else {
                    self.counters.unacceptable += 1;
                }
            }
            Kind::WantHistory => {
                let after = WantHistory::from_body(body)?.after;
                self.core(now, ordering::Input::WantHistory { from: peer, after }, out);
            }
            Kind::Gone => {
                Gone::from_body(body)?;
                mark("R7 history was gone");
                self.core(now, ordering::Input::Gone { from: peer }, out);
            }
            _ => self.saying(now, peer, frame, out)?,
        }
        Ok(())
    }

    /// What a peer says of the epoch, and is going to say again.
    fn saying(
        &mut self,
        now: Now,
        peer: ReplicaId,
        frame: &Frame,
        out: &mut Actions,
    ) -> Result<(), DecodeError> {
        let said = match frame.kind {
            Kind::Report => vec![self.report(peer, Unverified::from_body(&frame.body)?, out)],
            Kind::Call => {
                let evidence = CallMessage::from_body(&frame.body)?.evidence;
                evidence.into_iter().map(|one| self.evidence(peer, one, out)).collect()
            }
            kind => vec![self.statement(peer, kind, &frame.body, out)?],
        };
        // The core judges a proof each time, which costs signatures: no repeat of one is free.
        let judged = said.iter().flatten().any(|input| match input {
            ordering::Input::Proof(_) => true,
            ordering::Input::Report(report) => !report.signed().message().proofs.is_empty(),
            _ => false,
        });
        let all = said.iter().all(Option::is_some);
        let mut inputs: Vec<ordering::Input> = said.into_iter().flatten().collect();
        if frame.kind == Kind::Call {
            inputs = ordering::Input::together(inputs);
        }
        if all && !judged {
            self.heard.keep(peer, frame.kind, &frame.body, inputs.clone());
        }
        inputs.into_iter().for_each(|input| self.core(now, input, out));
        Ok(())
    }

    /// An operator's status change over a client's link (M2, M3).
    pub(super) fn operator_change(&mut self, now: Now, change: SignedChange, out: &mut Actions) {
        self.core(now, ordering::Input::Change(change), out);
    }

    fn statement(
        &mut self,
        peer: ReplicaId,
        kind: Kind,
        body: &Bytes,
        out: &mut Actions,
    ) -> Result<Option<ordering::Input>, DecodeError> {
        let evidence = match kind {
            Kind::Blame => Evidence::Blame(Unverified::from_body(body)?),
            Kind::Restarted => Evidence::Restarted(Unverified::from_body(body)?),
            Kind::Stalled => Evidence::Stalled(Unverified::from_body(body)?),
            _ => return Ok(None),
        };
        Ok(self.evidence(peer, evidence, out))
    }

    fn checked<T: Signable + Clone>(
        &mut self,
        peer: ReplicaId,
        statement: Unverified<T>,
        out: &mut Actions,
    ) -> Option<Verified<T>> {
        let verified = statement.verify_ref(&self.keyring);
        if verified.is_err() {
            self.bad_signature(peer, statement.peek(), out);
        }
        verified.ok()
    }

    fn report(
        &mut self,
        peer: ReplicaId,
        report: Unverified<Report>,
        out: &mut Actions,
    ) -> Option<ordering::Input> {
        let report = self.checked(peer, report, out)?;
        match Checked::new(report, &self.keyring, self.limits.max_candidates) {
            Ok(report) => Some(ordering::Input::Report(Arc::new(report))),
            // One with something in it that does not hold counts as missing (E5).
            Err(_) => {
                self.counters.bad_reports += 1;
                None
            }
        }
    }

    fn evidence(
        &mut self,
        peer: ReplicaId,
        evidence: Evidence,
        out: &mut Actions,
    ) -> Option<ordering::Input> {
        Some(match evidence {
            Evidence::Blame(one) => ordering::Input::Blame(Arc::new(self.checked(peer, one, out)?)),
            Evidence::Restarted(one) => {
                ordering::Input::Restarted(Arc::new(self.checked(peer, one, out)?))
            }
            Evidence::Stalled(one) => {
                ordering::Input::Stalled(Arc::new(self.checked(peer, one, out)?))
            }
            Evidence::Proof(proof) => ordering::Input::Proof(proof),
        })
    }

    // --- what the core says ---------------------------------------------------------------------

    pub(super) fn tell(&mut self, to: Option<ReplicaId>, what: &Statement, out: &mut Actions) {
        let frame = Bytes::from(self.frame_of(what));
        let peers: Vec<ReplicaId> = match to {
            Some(to) => vec![to],
            None => self.links.up_peers().collect(),
        };
        for peer in peers {
            out.push(Action::ToPeer { peer, lane: Lane::Protocol, frame: frame.clone() });
        }
    }

    /// A part of the history: behind everything else, and only so much at a time.
    pub(super) fn show(&mut self, to: ReplicaId, what: &Statement, out: &mut Actions) {
        let frame = self.frame_of(what);
        if self.answers.may(Asker::Peer(to), frame.len()) {
            out.push(to_peer(to, Lane::Bulk, frame));
        }
    }

    fn frame_of(&self, what: &Statement) -> Vec<u8> {
        match what {
            Statement::Proposal(p) => p.to_frame(self.group),
            Statement::Blame(b) => b.to_frame(self.group),
            Statement::Restarted(r) => r.to_frame(self.group),
            Statement::Stalled(s) => s.to_frame(self.group),
            Statement::Report(r) => r.signed().to_frame(self.group),
            Statement::Call(call, evidence) => {
                CallMessage { call: *call, evidence: evidence.clone() }.to_frame(self.group)
            }
            Statement::Change(change) => change.to_frame(self.group),
        }
    }

    pub(super) fn gone(&mut self, to: ReplicaId, out: &mut Actions) {
        let snapshot = self.shelf.newest().unwrap_or_default();
        out.push(to_peer(to, Lane::Protocol, Gone { snapshot }.to_frame(self.group)));
    }

    // --- bodies ---------------------------------------------------------------------------------

    /// E5: which bodies are missing, of these requests and of all that waits for execution. From
    /// here on nothing of the old epoch is executed (E4).
    pub(super) fn count_bodies(&mut self, now: Now, requests: Vec<Digest>, out: &mut Actions) {
        self.paused = true;
        self.needed = Needed::default();
        let waiting = self.executor.in_need();
        let all = requests.into_iter().chain(waiting);
        let lacks = all.filter(|d| self.bodies.get(d).is_none()).collect();
        self.core(now, ordering::Input::Lacks(lacks), out);
    }

    /// O7: an opening needs these bodies; so does all that waits for execution, but for the void.
    pub(super) fn need_bodies(
        &mut self,
        now: Now,
        opening: Digest,
        (bodies, void): (Vec<(Digest, Members)>, &[Digest]),
        out: &mut Actions,
    ) {
        let everybody = self.keyring.ensemble().all();
        let waiting = self.executor.in_need().into_iter().map(|d| (d, everybody));
        let all = bodies.into_iter().chain(waiting);
        let missing =
            all.filter(|(d, _)| self.bodies.get(d).is_none() && !void.contains(d)).collect();
        self.needed = Needed { opening: Some(opening), missing, asked_at: None, asked: 0 };
        self.look_at_needed(now, out);
    }

    /// Asks for what an opening needs, or tells the core that all is here.
    pub(super) fn look_at_needed(&mut self, now: Now, out: &mut Actions) {
        let Some(opening) = self.needed.opening else { return };
        let bodies = &self.bodies;
        self.needed.missing.retain(|digest, _| bodies.get(digest).is_none());
        if self.needed.missing.is_empty() {
            self.needed = Needed::default();
            self.core(now, ordering::Input::Bodies { opening }, out);
            return;
        }
        if self.needed_wake().is_some_and(|at| now.monotonic < at) {
            return;
        }
        if self.needed.asked_at.replace(now.monotonic).is_some() {
            let missing = self.needed.missing.keys().copied().collect();
            self.core(now, ordering::Input::MissingBodies(missing), out);
        }
        self.needed.asked += 1;
        if self.needed.asked == HOPELESS {
            self.behind(out);
        }
        let mut asks: BTreeMap<ReplicaId, Vec<Digest>> = BTreeMap::new();
        for (digest, holders) in self.needed.missing.iter().take(WantBody::MAX) {
            for holder in holders.iter().filter(|h| *h != self.id) {
                asks.entry(holder).or_default().push(*digest);
            }
        }
        for (peer, digests) in asks {
            self.counters.bodies_asked += digests.len() as u64;
            out.push(to_peer(peer, Lane::Protocol, WantBody { digests }.to_frame(self.group)));
        }
    }

    pub(super) fn needed_wake(&self) -> Option<Instant> {
        self.needed.opening?;
        Some(self.needed.asked_at.map_or(Instant(0), |at| at + 2 * self.timing.delta))
    }

    pub(super) fn needs(&self, digest: &Digest) -> bool {
        self.needed.missing.contains_key(digest)
    }

    /// O7: void requests that a client sent again before they were void, or before their turn. They
    /// are new requests from here on. Their bodies must not be forgotten: candidates for them may
    /// be under way, and without them nobody could execute what these lead to.
    pub(super) fn see_again(&mut self, now: Now, out: &mut Actions) {
        // The core's first event is what it says after a start, when all was read.
        if self.journal.is_replaying() && !planted("o7-seen-while-read") {
            return self.void.clear();
        }
        for request in std::mem::take(&mut self.void) {
            if planted("o7-forgets-what-came-since") {
                self.bodies.forget(&request);
            } else if self.bodies.get(&request).is_some_and(|held| !held.executed) {
                mark("O7 a void request was there again");
                self.core(now, ordering::Input::Seen { request }, out);
            }
        }
    }

    // --- openings -------------------------------------------------------------------------------

    /// E7: an opening is committed. Its void requests have no effect; if one of them had run here,
    /// what is here is of another history, and the state is fetched from others.
    pub(super) fn opened(&mut self, opened: &Opened, out: &mut Actions) {
        self.paused = false;
        self.needed = Needed::default();
        self.keep_whole(opened);
        let void: BTreeSet<Digest> = opened.void.iter().copied().collect();
        let executed = self.executor.position().round;
        if let Some(first) = opened.first_void.filter(|first| *first <= executed) {
            self.counters.rebuilt += 1;
            if !self.journal.is_replaying() {
                self.rolled.back(opened.epoch, true);
            }
            mark("O7 what had run was made void");
            self.executor.lose();
            self.attest();
            self.run_without(first, opened.epoch, out);
        }
        if self.journal.is_replaying()
            && void.iter().any(|digest| self.bodies.get(digest).is_some())
        {
            // Only what was executed has its requests in the log.
            self.rolled.back_by_log(opened.epoch);
        }
        self.executor.void(&void);
        void.iter().for_each(|digest| self.bodies.has_not_run(digest));
        self.void.extend(&void);
        self.counters.void += void.len() as u64;
        self.pin(out);
        let Opened { epoch, members, .. } = *opened;
        out.push(Action::Event(Event::Epoch { epoch, members }));
        for replica in self.keyring.ensemble().replicas() {
            let standing = &opened.standings[replica.index()];
            match (opened.before.contains(replica), members.contains(replica)) {
                (true, false) => {
                    let (why, may_join) = (standing.out, standing.may_join);
                    let why = why.unwrap_or(ordering::Reason::Silent);
                    let kept_out = standing.kept_out;
                    let excluded = Event::Excluded { replica, epoch, why, may_join, kept_out };
                    out.push(Action::Event(excluded));
                }
                (false, true) => out.push(Action::Event(Event::Joined { replica, epoch })),
                _ => {}
            }
        }
    }

    /// What became of status changes of a committed step.
    pub(super) fn changed(
        &mut self,
        round: Round,
        changes: &[ordering::ChangeOutcome],
        out: &mut Actions,
    ) {
        for outcome in changes {
            let (replica, what) = (outcome.change.subject(), name_of(&outcome.change));
            if matches!(outcome.change, Change::Readmit { .. }) && outcome.void.is_none() {
                self.forgive(replica, round);
            }
            out.push(Action::Event(Event::Change { replica, what, void: outcome.void }));
        }
    }

    /// §6: a proof is kept as a file for people and told to whoever asks.
    pub(super) fn proven(&mut self, proof: &Proof, out: &mut Actions) {
        let limit = self.limits.max_candidates;
        let Ok(conviction) = proof::convict(proof, &self.keyring, limit) else { return };
        let file = proof::ProofFile::new(proof.clone(), &self.keyring);
        let name = file.name(&conviction);
        self.counters.evidence += 1;
        out.push(Action::Evidence { name, bytes: file.to_bytes().into() });
    }
}

/// What a frame counts for: how many signatures there may be in it at most, as each takes its
/// bytes, and something for itself.
fn signatures_in(frame: &Frame) -> usize {
    match frame.kind {
        Kind::WantHistory | Kind::Gone => 0,
        Kind::Report | Kind::Call => ALONE + frame.body.len() / LEAST_SIGNED,
        _ => ALONE,
    }
}

/// What a frame of statements counts for by itself. What is in Reports needs an allowance of
/// thousands; but a good replica has one Blame for each other one and each step that is late, and
/// says it again, which is free.
const ALONE: usize = 8;

/// Bytes that a signed statement within another one has at least.
const LEAST_SIGNED: usize = 128;

fn name_of(change: &Change) -> &'static str {
    change.name()
}
