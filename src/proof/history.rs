//! An honest replica through a random history: everything that it may ever sign, and with a flaw
//! what it must not. Used by the tests only.

use crate::crypto::{Context, Keyed, Keyring, Scheme, SecretKey, Signable, Verified};
use crate::types::{Call, Digest, Ensemble, Epoch, GroupId, Members, ReplicaId, Root, Round};
use crate::wire::{Candidate, Header, Proposal, ReportHeader};
use std::collections::BTreeMap;

/// How this replica breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Not at all.
    None,
    /// R2: it signs in an epoch that it had entered before a restart.
    SignsAfterRestart,
    /// R4: its clock starts anew in the middle of an epoch.
    ClockGoesBack,
    /// E5: it writes its report anew after a restart.
    ReportsAnew,
    /// E5: its report after a restart does not say so, though what it held is lost.
    HidesRestart,
    /// E4: it goes on signing proposals below its promise.
    ForgetsPromise,
}

/// The roster of these tests: five replicas.
pub(super) fn keyring() -> Keyring<Keyed> {
    let ensemble = Ensemble::new(2).unwrap();
    let keys = ensemble.replicas().map(|r| Keyed::public(&signer(r))).collect();
    let context = Context { cluster: Digest([7; 32]), group: GroupId(3) };
    Keyring::new(context, ensemble, keys).unwrap()
}

fn signer(replica: ReplicaId) -> <Keyed as Scheme>::Signer {
    Keyed::signer(&SecretKey::from_seed([replica.number(); 32]))
}

/// Signs with the key of whoever the message names.
pub(super) fn sign<T: Signable>(message: T) -> Verified<T> {
    let by = signer(message.signer());
    Verified::sign(message, &keyring(), &by)
}

/// A proposal without anything in it.
pub(super) fn empty(epoch: Epoch, members: Members, round: Round, replica: ReplicaId) -> Proposal {
    let (choice, candidates, changes) = (vec![], vec![], vec![]);
    let attestation = Default::default();
    Proposal { epoch, members, round, replica, choice, candidates, changes, now: 0, attestation }
}

/// A report for a call of one that holds nothing of this epoch.
pub(super) fn blank_report(
    call: Call,
    replica: ReplicaId,
    entered: Epoch,
    entered_members: Members,
) -> ReportHeader {
    ReportHeader::bare(call, replica, (entered, entered_members, Digest([1; 32])))
}

/// The replica with all that it has signed so far.
pub(super) struct History {
    id: ReplicaId,
    flaw: Flaw,
    /// Its proposals, in the order in which it signed them.
    pub proposals: Vec<Verified<Header>>,
    /// Its reports.
    pub reports: Vec<Verified<ReportHeader>>,
    /// Proposals of the others in the vectors that it completed.
    pub others: Vec<Verified<Header>>,
    // On disk.
    promise: Option<Call>,
    stored: BTreeMap<Epoch, ReportHeader>,
    entered: Epoch,
    members: Members,
    first: Round,
    // In memory.
    restarted: bool,
    sent: Round,
    complete: Round,
    choice: Vec<Digest>,
    clock: u64,
    last_candidate: u64,
}

impl History {
    /// In the first epoch, nothing signed.
    pub(super) fn new(flaw: Flaw) -> Self {
        let members = Ensemble::new(2).unwrap().all();
        Self {
            id: ReplicaId::from_index(1),
            flaw,
            proposals: vec![],
            reports: vec![],
            others: vec![],
            promise: None,
            stored: BTreeMap::new(),
            entered: Epoch::GENESIS,
            members,
            first: Round(1),
            restarted: false,
            sent: Round(0),
            complete: Round(0),
            choice: vec![Digest([9; 32])],
            clock: 1000,
            last_candidate: 1000,
        }
    }

    /// Does what a byte pair says, if it may.
    pub(super) fn act(&mut self, what: u8, how: u8) {
        match what % 16 {
            0..5 => self.propose(how),
            5..9 => self.complete(how),
            9 | 10 => self.promise(how),
            11 | 12 => self.report(),
            13 | 14 => self.enter(how),
            _ => self.restart(how),
        }
    }

    fn next(&self) -> Round {
        if self.complete == Round(0) { self.first } else { self.complete.next() }
    }

    fn propose(&mut self, how: u8) {
        let frozen = self.promise.is_some_and(|c| c.number() > self.entered);
        let may = self.members.contains(self.id)
            && (!self.restarted || self.flaw == Flaw::SignsAfterRestart)
            && (!frozen || self.flaw == Flaw::ForgetsPromise)
            && self.sent < self.next();
        if !may {
            return;
        }
        if self.flaw == Flaw::ClockGoesBack && how.is_multiple_of(8) {
            (self.clock, self.last_candidate) = (0, 0);
        }
        let mut p = empty(self.entered, self.members, self.next(), self.id);
        p.choice = self.choice.clone();
        for i in 0..how % 3 {
            self.last_candidate += 1 + u64::from(how);
            let request = Digest([i; 32]);
            p.candidates.push(Candidate { clock: self.last_candidate, request });
        }
        // Equal clocks are allowed.
        self.clock = self.clock.max(self.last_candidate) + u64::from(how % 2);
        p.now = self.clock;
        self.sent = p.round;
        self.proposals.push(sign(p.header()));
    }

    // A follower completes rounds without a proposal of its own.
    fn complete(&mut self, how: u8) {
        let next = self.next();
        if self.members.contains(self.id) && !self.restarted && self.sent < next {
            return;
        }
        let mut choice = Vec::new();
        for member in self.members.iter().filter(|m| *m != self.id) {
            let mut p = empty(self.entered, self.members, next, member);
            p.now = u64::from(how);
            let signed = sign(p.header());
            choice.push(signed.digest());
            self.others.push(signed);
        }
        choice.extend(self.proposals.last().filter(|p| p.round == next).map(|p| p.digest()));
        (self.choice, self.complete) = (choice, next);
    }

    /// A call above its promise comes, with whatever list.
    fn promise(&mut self, how: u8) {
        let number = self.promise.map_or(self.entered, |c| c.number()).max(self.entered);
        let Epoch { generation, resets, accused } = number;
        let all = Ensemble::new(2).unwrap().all();
        let (root, out) = match how % 3 {
            0 => (Root { generation, resets }, accused as usize + 1),
            1 => (Root { generation, resets: resets + 1 }, 0),
            _ => (Root { generation: generation + 1, resets: 0 }, usize::from(how) % 2),
        };
        // Sometimes it is itself among those that are out.
        let skip = usize::from(how) % 5;
        let accused = all.iter().cycle().skip(skip).take(out.min(3)).collect();
        let call = Call { root, list: all, accused };
        if call.number() > number {
            self.promise = Some(call);
        }
    }

    fn report(&mut self) {
        let Some(call) = self.promise.filter(|c| c.number() > self.entered) else { return };
        let sent_again = self.stored.get(&call.number()).copied();
        let written_anew = ReportHeader {
            round: self.complete,
            vector: if self.complete == Round(0) { Digest::ZERO } else { Digest([2; 32]) },
            restarted: self.restarted && self.flaw != Flaw::HidesRestart,
            ..blank_report(call, self.id, self.entered, self.members)
        };
        let anew = self.flaw == Flaw::ReportsAnew && self.restarted;
        let report = sent_again.filter(|_| !anew).unwrap_or(written_anew);
        self.stored.insert(call.number(), report);
        self.reports.push(sign(report));
    }

    fn enter(&mut self, how: u8) {
        let Some(call) = self.promise.filter(|c| c.number() > self.entered) else { return };
        let member = call.members().contains(self.id);
        if member && !self.stored.contains_key(&call.number()) {
            return;
        }
        (self.entered, self.members) = (call.number(), call.members());
        // The base may be older than what it held, or newer.
        let known = self.complete.0.max(self.first.0.saturating_sub(1));
        self.first = Round((known + u64::from(how % 4)).saturating_sub(1).max(1));
        (self.complete, self.sent, self.restarted) = (Round(0), Round(0), false);
        self.choice = vec![Digest([how; 32]); call.members().len()];
        // E7: its own discarded candidates come again with their old ids.
        self.last_candidate = self.last_candidate.saturating_sub(u64::from(how));
    }

    /// What was not written down is lost.
    fn restart(&mut self, how: u8) {
        self.restarted = true;
        if how.is_multiple_of(2) {
            (self.complete, self.choice) = (Round(0), vec![Digest([how; 32])]);
        }
        if self.flaw == Flaw::SignsAfterRestart {
            self.sent = self.complete;
        }
    }
}
