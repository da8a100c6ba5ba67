//! The ordering core: one event in, actions out.

use super::clock::CandidateClock;
use super::epoch::{Change, Checked};
use super::history::History;
use super::lag::Lags;
use super::order::Order;
use super::rounds::{Held, Rounds, Stored};
use super::strict::Signed;
use super::wants::Wants;
use super::{Action, Event, Input, Setup, Statement, Stats};
use crate::crypto::{KeyChange, Keyring, Scheme};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Digest, DigestMap, DiskState, Epoch, Instant, Members, Now, OrderLimits};
use crate::types::{ReplicaId, Round, Timing, Wall};
use crate::wire::{Attestation, Candidate, Proof, Record, SignedChange, Want};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The state of one replica in the ordering protocol of one group.
#[derive(Clone)]
pub struct Core<S: Scheme> {
    pub(super) id: ReplicaId,
    pub(super) keyring: Keyring<S>,
    /// The keys that were known at the start, and what the order has changed since (M3).
    pub(super) start_keys: Arc<Keyring<S>>,
    pub(super) noted_keys: Vec<KeyChange>,
    pub(super) signer: S::Signer,
    pub(super) timing: Timing,
    pub(super) limits: OrderLimits,
    pub(super) seed: u64,
    pub(super) incarnation: u64,
    /// The epoch and the members of `rounds`.
    pub(super) epoch: Epoch,
    pub(super) members: Members,
    pub(super) rounds: Rounds,
    pub(super) order: Order,
    pub(super) history: History,
    /// The change of the epoch (§5).
    pub(super) change: Change,
    pub(super) clock: CandidateClock,
    pub(super) wants: Wants,
    /// Requests that have a candidate of ours, with its clock value, and are neither executed nor
    /// forgotten.
    pub(super) mine: DigestMap<u64>,
    /// Status changes among these, which proposals carry whole.
    pub(super) changes: BTreeMap<Digest, SignedChange>,
    /// Candidates that are not in a proposal yet, in the order of their ids.
    pub(super) unsent: VecDeque<Candidate>,
    /// Whether some of these may be of requests that were executed meanwhile.
    pub(super) unsent_is_stale: bool,
    /// The last round in which we signed a proposal of this epoch (R2: one each).
    pub(super) sent: Round,
    pub(super) sent_at: Instant,
    pub(super) committed: Round,
    pub(super) attestation: Attestation,
    pub(super) last_wall: Wall,
    /// When the first proposal of another came for the round that we have not joined yet.
    pub(super) started_at: Option<Instant>,
    /// When the first proposal of the round after the one under way came: others are ahead (R6).
    pub(super) ahead: Option<(Epoch, Round, Instant)>,
    /// When a follower passed on what had started the round that does not complete (E1).
    pub(super) passed_on: Option<Instant>,
    /// Requests named by others in that round that have not come yet, and until when to wait.
    pub(super) gather: Option<(Vec<Digest>, Instant)>,
    /// Since when the round that we sent in has been incomplete, once that is too long.
    pub(super) waiting: Option<Instant>,
    /// What members were waited for beyond what is usual (E1).
    pub(super) lags: Lags,
    /// Since when there has been work and too few others have been heard of to start.
    pub(super) blocked: Option<Instant>,
    /// Peers that have told us how far they are; the first proposal waits for t+1 of them.
    pub(super) heard: Members,
    /// Those of them that hold a complete vector although we have signed nothing: so we did and
    /// lost it, or they lie. Until `doubt` we wait for their proof, a proposal of ours.
    pub(super) doubters: Members,
    pub(super) doubt: Instant,
    /// Whether V(complete) must be committed soon (R6).
    pub(super) vector_is_work: bool,
    /// Up to which round somebody waits for what proposals attest (R6).
    pub(super) wanted: Round,
    /// There is no state to go on from: it was lost, and no other has been taken over yet (§7).
    pub(super) blank: bool,
    /// What must happen first after a start with something on disk was done.
    pub(super) resumed: bool,
    /// What the disk holds, until the log of rounds was replayed.
    pub(super) found: Vec<Record>,
    /// What its disk should hold is damaged or missing: it reports nothing.
    pub(super) abstains: bool,
    /// It stands in for a disk that was lost, until it is a member again.
    pub(super) replaced: bool,
    /// Where it does, the first generation of which it is known to have signed nothing (§7).
    pub(super) unsigned: Option<u32>,
    /// Its disk is empty and another one, with what it has signed, is lost: it does nothing.
    pub(super) lost: bool,
    /// What was committed here is not in the history that others have gone on with.
    pub(super) astray: bool,
    /// Own proposals on their way to the disk, and from there.
    pub(super) signed: Signed,
    /// The last complete vector that was given to the log of rounds, with its epoch.
    pub(super) logged: (Epoch, Round),
    /// The opening whose base was given to it last.
    pub(super) based: Option<Digest>,
    /// Proposals from that log of epochs whose openings are still to be taken up.
    pub(super) unplaced: Vec<super::rounds::Held>,
    /// Openings from that log on the way to others.
    pub(super) legs: Vec<Vec<Arc<Checked>>>,
    /// Up to where that log is durable; `None` if nobody says.
    pub(super) durable: Option<Round>,
    /// The operator wants this replica out: it does not ask to join.
    pub(super) leaving: bool,
    /// How often `keyring` has changed since the start (M3).
    pub(super) key_news: u32,
    pub(super) stats: Stats,
}

impl<S: Scheme> Core<S> {
    /// A core in epoch (0,0,0), or where its disk says that it was.
    pub fn new(setup: Setup<S>, now: Now) -> Self {
        let ensemble = setup.keyring.ensemble();
        let members = ensemble.all();
        // A key that came later has never signed in the first epoch, and must not.
        let first = setup.keyring.key_at(setup.id, 0) == Some(&S::public(&setup.signer));
        let restarted = setup.disk != DiskState::New || !first;
        let replaced = setup.disk == DiskState::Replaced;
        let mut core = Self {
            id: setup.id,
            timing: setup.timing,
            limits: setup.limits,
            seed: setup.seed,
            incarnation: setup.incarnation,
            epoch: Epoch::GENESIS,
            members,
            rounds: Rounds::genesis(members, ensemble.n(), setup.genesis),
            order: Order::new(ensemble, setup.limits, setup.seed, setup.genesis),
            history: History::default(),
            change: Change::new(ensemble, setup.genesis, now.monotonic),
            clock: CandidateClock::new(setup.clock),
            wants: Wants::default(),
            mine: DigestMap::new(setup.seed),
            changes: BTreeMap::new(),
            unsent: VecDeque::new(),
            unsent_is_stale: false,
            sent: Round(0),
            sent_at: now.monotonic,
            committed: Round(0),
            attestation: Attestation::default(),
            last_wall: now.wall,
            started_at: None,
            ahead: None,
            passed_on: None,
            gather: None,
            waiting: None,
            lags: Lags::default(),
            blocked: None,
            heard: Members::NONE,
            doubters: Members::NONE,
            doubt: Instant(0),
            vector_is_work: false,
            wanted: Round(0),
            blank: false,
            resumed: !restarted,
            found: setup.recovered,
            abstains: false,
            replaced,
            unsigned: None,
            lost: false,
            astray: false,
            signed: Signed::new(setup.strict),
            logged: (Epoch::GENESIS, Round(0)),
            based: None,
            unplaced: Vec::new(),
            legs: Vec::new(),
            durable: None,
            leaving: false,
            key_news: 0,
            start_keys: Arc::new(setup.keyring.clone()),
            noted_keys: Vec::new(),
            stats: Stats::default(),
            keyring: setup.keyring,
            signer: setup.signer,
        };
        if restarted && !setup.replays {
            core.blank = true;
            core.recovered();
        }
        core
    }

    /// Handles one event. Appends what is to be done.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        if self.lost {
            return;
        }
        let before = out.len();
        self.handle_one(now, input, out);
        self.keep_back(before, out);
    }

    fn handle_one(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        self.last_wall = now.wall;
        if !std::mem::replace(&mut self.resumed, true) {
            self.resume(now, out);
        }
        match input {
            Input::Seen { request } => self.seen(now, request),
            Input::Proposal(proposal) => self.on_proposal(now, proposal, out),
            Input::Want { from, want } => self.want(from, want, out),
            Input::PeerUp { peer, complete } => self.peer_up(now, peer, complete, out),
            Input::Blame(blame) => self.on_blames(&[blame], out),
            Input::Blames(blames) => self.on_blames(&blames, out),
            Input::Restarted(restarted) => self.on_restarted(restarted),
            Input::Stalled(stalled) => self.on_stalled(stalled),
            Input::Report(report) => self.on_report(report, out),
            Input::Proof(proof) => self.on_proof(*proof, out),
            Input::Change(change) => self.on_change(now, change),
            Input::Ahead { peer, epoch, round } => self.ahead(now, peer, (epoch, round), out),
            Input::WantHistory { from, after } => self.want_history(from, after, out),
            Input::Gone { from } => self.history_gone(now, from, out),
            Input::Synced { sequence } => self.on_synced(now, sequence, out),
            Input::Lacks(lacks) => self.counted(lacks, out),
            Input::Bodies { opening } => self.bodies_are_here(opening),
            Input::MissingBodies(missing) => self.bodies_are_missing(&missing),
            Input::Durable(round) => self.durable = self.durable.max(Some(round)),
            Input::OwnDurable { epoch, round } => self.own_durable(now, (epoch, round), out),
            Input::Kept(snapshot) => self.history.trim(snapshot),
            Input::Install { state, .. } => self.install(now, &state, out),
            Input::WantRounds(round) => self.want_rounds(round),
            Input::Leave => self.leave(now, out),
            Input::Attest(attestation) => self.attest(attestation),
            Input::Tick => self.tick(now, out),
            Input::Drained => {
                let before = out.len();
                self.propose_if_due(now, out);
                self.tick(now, out);
                let nothing = out.len() == before && !self.change.dirty;
                if nothing && self.change.reviewed == Some(now.monotonic) {
                    return;
                }
            }
        }
        self.review(now, out);
    }

    /// §5: what follows from what was heard.
    fn review(&mut self, now: Now, out: &mut Vec<Action>) {
        self.note_keys();
        self.note_join();
        if self.is_unsure(now) {
            return;
        }
        if !self.change.dirty && !self.change.is_frozen() && !self.is_uncertified() {
            return;
        }
        self.change.dirty = false;
        self.change.reviewed = Some(now.monotonic);
        self.consider(now, out);
        self.ask_for_other_reports(out);
        self.try_enter(now, out);
        self.follow_past(now, out);
        self.follow_the_members(now, out);
        self.certify(now, out);
    }

    fn on_synced(&mut self, now: Now, sequence: u64, out: &mut Vec<Action>) {
        use super::epoch::Stage;
        match &self.change.stage {
            Stage::Writing { sequence: s, .. } | Stage::Promising { sequence: s }
                if *s == sequence =>
            {
                self.written(now, out);
            }
            Stage::Opening { sequence: s } if *s == sequence => self.opened(now, out),
            _ => {}
        }
    }

    /// When [`Input::Tick`] is needed at the latest.
    pub fn next_wake(&self) -> Option<Instant> {
        if self.lost {
            return None;
        }
        let change = [self.resend_due(), self.entry_due(), self.join_due(), self.stall_due()];
        let change = change.into_iter().flatten().min();
        if self.change.is_frozen() || self.blank {
            let ask = self.change.reporting_since().map(|_| self.report_ask_due());
            let waits = matches!(self.change.stage, super::epoch::Stage::Waiting);
            let named = self.wants.overtaken_wake().filter(|_| waits);
            let all = [change, self.report_blame_due(), ask, named];
            return all.into_iter().flatten().min();
        }
        let incomplete = self.out_since();
        let member = self.takes_part();
        let sent = self.sent > self.rounds.complete();
        let join = self.started_at.map(|at| at + self.timing.join_delay);
        let propose = if sent || !member || self.awaits_disk() {
            None
        } else if self.has_work() && self.may_start() {
            // Whoever gathers joins all the same.
            match &self.gather {
                Some((_, until)) if planted("r6-gather-first") => Some(*until),
                Some((_, until)) => join.into_iter().chain([*until]).min(),
                None => Some(Instant(0)),
            }
        } else {
            let heartbeat = Some(self.sent_at + self.timing.heartbeat);
            join.into_iter().chain(heartbeat).min().filter(|_| self.may_start())
        };
        let propose = propose.map(|at| at.max(self.doubt));
        let since = if member { incomplete } else { self.started_at };
        let ask = since.map(|at| self.wants.next_ask(at, &self.timing));
        let report = match self.waiting {
            None if member => incomplete.or(self.blocked).map(|at| at + self.timing.patience),
            None => self.passed_on.map(|at| at + self.timing.patience),
            Some(_) => None,
        };
        let core = [propose, ask, report, self.lags_due(), self.wants.overtaken_wake(), change];
        core.into_iter().flatten().min()
    }

    // --- what happens -------------------------------------------------------------------------

    pub(super) fn on_proposal(&mut self, now: Now, proposal: Held, out: &mut Vec<Action>) {
        let (round, from) = (proposal.round, proposal.replica);
        if from == self.id && self.is_unknown_own(&proposal) {
            // Our signature, and we do not know of it: what we signed is lost (§7).
            self.lose_state(out);
            return;
        }
        if (proposal.epoch, proposal.members) != (self.epoch, self.members) {
            self.other_epoch(proposal, out);
            return;
        }
        match self.rounds.store(proposal.clone()) {
            Stored::Ignored if self.is_asked_for(&proposal) => {
                // A Report names it, and the present chain is still that of the Reports (E5).
                mark("E5 a third proposal was kept as a Report names it");
                let want = want_of(&proposal);
                if self.rounds.store_named(proposal) {
                    self.change.following.got(&want);
                }
                self.change.dirty = true;
                return;
            }
            Stored::Ignored => {
                // A follower may wait for a first vector above the one that the members form.
                let waits = self.awaits_first_vector();
                if !(waits && self.change.following.early(proposal)) {
                    self.stats.proposals_ignored += 1;
                }
                self.change.dirty |= waits;
                return;
            }
            Stored::Second { first } => self.equivocated(first, proposal.clone(), out),
            Stored::New => self.stats.proposals += 1,
        }
        for to in self.wants.take_waiting(round, from) {
            out.push(Action::Send { to, proposal: proposal.clone() });
        }
        if from != self.id && round == self.rounds.complete().next() && self.sent < round {
            self.started_at.get_or_insert(now.monotonic);
            self.note_unseen(now.monotonic, &proposal);
        }
        self.note_ahead(now.monotonic, &proposal);
        self.note_overtaken(now.monotonic, &proposal);
        self.change.dirty |= self.awaits_first_vector();
        self.advance(now, out);
        self.settle_lags(now.monotonic);
    }

    fn equivocated(&mut self, first: Held, second: Held, out: &mut Vec<Action>) {
        self.stats.equivocations += 1;
        let proof = Proof::Equivocation(first.header().into(), second.header().into());
        out.push(Action::Event(Event::Equivocation { first, second }));
        self.on_proof(proof, out);
    }

    /// Whether this is a proposal that a Report names and that was asked for by its hash.
    fn is_asked_for(&self, proposal: &Held) -> bool {
        self.change.following.has_asked(&want_of(proposal))
    }

    /// A proposal of an epoch whose rounds are not the present ones.
    fn other_epoch(&mut self, proposal: Held, out: &mut Vec<Action>) {
        let of = (proposal.epoch, proposal.members);
        let named = self.is_asked_for(&proposal);
        if let Some(chain) = self.change.old.iter_mut().find(|c| c.is(of.0, of.1)) {
            if named {
                let want = want_of(&proposal);
                if chain.rounds.store_named(proposal) {
                    self.change.following.got(&want);
                }
                self.change.dirty = true;
            } else if let Stored::Second { first } = chain.rounds.store(proposal.clone()) {
                self.equivocated(first, proposal, out);
            } else {
                let (limit, context) = (self.limits.max_candidates, self.keyring.context());
                chain.rounds.judge(limit, &context);
                while chain.rounds.try_complete(&context) {
                    chain.rounds.judge(limit, &context);
                }
                self.change.dirty = self.change.is_frozen();
                self.look_for_cut();
            }
        } else if proposal.epoch > self.epoch && !self.change.following.early(proposal) {
            self.stats.proposals_ignored += 1;
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Action>) {
        self.resend_if_due(now, out);
        self.stall_if_due(now, out);
        self.blame_if_due(now, out);
        self.ask_for_reports(now, out);
        self.join_if_due(now, out);
        if matches!(self.change.stage, super::epoch::Stage::Waiting) {
            // The first vector of the epoch may have been complete elsewhere long ago.
            self.ask_overtaken(now, out);
        }
        if self.change.is_frozen() || self.blank {
            return;
        }
        self.propose_if_due_by_timer(now, out);
        self.note_blocked(now.monotonic, out);
        self.ask_if_due(now, out);
    }

    /// Whether this replica is a member that signs: one that restarted follows like the rest (§7).
    pub(super) fn takes_part(&self) -> bool {
        self.members.contains(self.id) && self.change.restarted.is_none()
    }

    /// R5, and for followers R7: asks for what is missing of the round under way.
    fn ask_if_due(&mut self, now: Now, out: &mut Vec<Action>) {
        let round = self.rounds.complete().next();
        let member = self.takes_part();
        let since = if member { self.out_since() } else { self.started_at };
        let Some(since) = since else { return };
        let missing = self.rounds.missing(round);
        for want in self.wants.due(now.monotonic, since, &self.timing, missing) {
            if planted("r5-never-ask") {
                continue;
            }
            self.stats.wants += 1;
            let (epoch, digest) = (self.epoch, Digest::ZERO);
            out.push(Action::Ask(Want { epoch, round, replica: want, digest }));
            if !member && self.passed_on.is_none() {
                // E1: a follower passes on what has started the round before it blames anybody.
                mark("E1 a follower passed on what started a round");
                self.passed_on = Some(now.monotonic);
                let first = self.rounds.senders(round).iter().next();
                let held = first.and_then(|m| self.rounds.find(round, m, &Digest::ZERO));
                out.extend(held.map(|p| Action::TellAll(Statement::Proposal(p.clone()))));
            }
        }
        let since = if member { Some(since) } else { self.passed_on };
        let late = since.is_some_and(|at| now.monotonic >= at + self.timing.patience);
        if self.waiting.is_none() && late {
            self.waiting = since;
            self.stats.stalls += 1;
            out.push(Action::Event(Event::Waiting { round, missing }));
        }
    }

    /// Says whom the start of the group waits for.
    fn note_blocked(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.may_start() || !self.has_work() {
            if self.blocked.take().is_some() {
                self.waiting = None;
            }
            return;
        }
        let since = *self.blocked.get_or_insert(now);
        if self.waiting.is_none() && now >= since + self.timing.patience {
            self.waiting = Some(since);
            let missing = self.unheard();
            out.push(Action::Event(Event::Waiting { round: Round(1), missing }));
        }
    }

    pub(super) fn unheard(&self) -> Members {
        let mut missing = self.members.minus(self.heard);
        missing.remove(self.id);
        missing
    }
}

/// What asks for exactly this proposal.
fn want_of(p: &Held) -> Want {
    Want { epoch: p.epoch, round: p.round, replica: p.replica, digest: p.digest() }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
