//! Starting from what a disk holds (§7).

use super::build::Effect;
use super::store::Convicted;
use super::{Checked, Entered, Stage};
use crate::crypto::{Scheme, Unverified};
use crate::ordering::rounds::Held;
use crate::ordering::{Action, Core, Event, Logged, Statement};
use crate::proof::convict;
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Epoch, Now, Round};
use crate::wire::{Attestation, Evidence, Proposal, Record, Report};
use std::sync::Arc;

impl<S: Scheme> Core<S> {
    /// Takes up an entry of the log of rounds, as they come one after the other: commits what it
    /// commits. What came before a state that was taken up is passed over. Of the actions only
    /// [`Action::Committed`] and [`Action::Opened`] are to be done.
    ///
    /// # Errors
    /// If it does not follow what was replayed before. Nothing behind it can be replayed either.
    pub fn replay(
        &mut self,
        now: Now,
        entry: Logged,
        out: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        match entry {
            Logged::Vector(held) => self.replay_vector(held, out),
            Logged::Base(held) => {
                self.name_base(held);
                Ok(())
            }
            Logged::Opening(reports) => self.replay_opening(now, &reports),
            Logged::Leg(reports) => {
                self.legs.push(reports);
                Ok(())
            }
            Logged::Own(proposal) => {
                self.replay_own(proposal);
                Ok(())
            }
        }
    }

    /// Takes up the state of a snapshot from the disk, before any entry of the log.
    ///
    /// # Errors
    /// If it is no state of this version.
    pub fn replay_state(
        &mut self,
        now: Now,
        state: &[u8],
        out: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        self.blank = true;
        self.install(now, state, out);
        if self.blank { Err("not an ordering state of this version") } else { Ok(()) }
    }

    /// From now on no proposal is signed that is far ahead of the log of rounds, which is durable
    /// up to the complete vector of this round (§7).
    pub fn bound_by_disk(&mut self, durable: Round) {
        self.durable = Some(durable);
    }

    /// What this replica has executed by now, for its next proposal.
    pub fn attest(&mut self, attestation: Attestation) {
        self.attestation = attestation;
    }

    /// Whether this replica saw Δ hold since its last proposal, for the next one.
    pub fn saw_delta(&mut self, held: bool) {
        self.attestation.delta_held = held;
    }

    /// What a proposal says of what was executed. Nothing, if some of that is not in the history
    /// that its epoch goes on with: the opening makes void what ran here.
    pub(in crate::ordering) fn own_attestation(&self) -> Attestation {
        let ran = self.attestation.position.round;
        let effects = self.change.prepared.iter().flat_map(|prepared| &prepared.effects);
        let mut voids = effects.filter_map(|effect| match effect {
            Effect::Opened(opened, _) => opened.first_void,
            Effect::Step(_) => None,
        });
        let undone = self.astray || voids.any(|first| first <= ran);
        match undone && !planted("s7-attests-undone") {
            true => Attestation { delta_held: self.attestation.delta_held, ..Default::default() },
            false => self.attestation,
        }
    }

    /// There is no state to go on from: before [`Core::recovered`], if the log of rounds is of no
    /// use.
    pub fn start_blank(&mut self) {
        self.blank = true;
    }

    /// Something that this replica had committed is missing on its disk: it reports nothing (E5)
    /// until it has a state that others attest, or has followed them into an epoch.
    pub fn abstain(&mut self) {
        self.abstains = true;
    }

    fn replay_vector(
        &mut self,
        held: Vec<Held>,
        out: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let Some(first) = held.first() else { return Err("a vector of nobody") };
        let (of, round) = ((first.epoch, first.members), first.round);
        if of.0 < self.epoch || of == (self.epoch, self.members) && round <= self.rounds.complete()
        {
            return Ok(());
        }
        if of != self.rounds.epoch() || round != self.rounds.complete().next() {
            return Err("a vector that does not follow");
        }
        if of.0 == Epoch::GENESIS && round == Round(1) && first.choice != self.rounds.choice() {
            return Err("the first round has another opening: the clock or the limits in the \
                        cluster file are not those that it was begun with; put them back");
        }
        held.into_iter().for_each(|proposal| drop(self.rounds.store(proposal)));
        let context = self.keyring.context();
        self.rounds.judge(self.limits.max_candidates, &context);
        if !self.rounds.try_complete(&context) {
            return Err("a vector that is not complete");
        }
        self.commit_opening(out);
        self.commit_to(round.previous(), out);
        self.logged = (self.epoch, round);
        Ok(())
    }

    /// Vectors that the next opening names may be others than those that were complete here. One
    /// that is built over several epochs comes with the vectors of all of them: those of an epoch
    /// whose own opening is still to come wait for that.
    fn name_base(&mut self, held: Vec<Held>) {
        let here = self.rounds.epoch();
        for proposal in held {
            match (proposal.epoch, proposal.members) {
                of if of == here => drop(self.rounds.store_named(proposal)),
                of if of.0 > here.0 && !planted("s7-one-leg-only") => self.unplaced.push(proposal),
                _ => {}
            }
        }
    }

    fn replay_opening(&mut self, now: Now, reports: &[Arc<Checked>]) -> Result<(), &'static str> {
        let Some(call) = reports.first().map(|r| r.header.call) else {
            return Err("an opening of nobody");
        };
        let whole = reports.iter().map(|r| r.header.replica).eq(call.members().iter());
        if !whole || reports.iter().any(|r| r.header.call != call) {
            return Err("an opening that is not of all members");
        }
        if call.number() <= self.epoch {
            return Ok(());
        }
        let opening = self.opening_from(&call, reports);
        let Ok(prepared) = self.build(&opening) else {
            return Err("an opening that does not follow");
        };
        let rounds = self.rounds_after(&opening, &prepared.order);
        let certificate = reports.iter().map(|r| r.signed_header()).collect();
        let (epoch, members) = rounds.epoch();
        self.change.entered = Entered { epoch, members, opening: opening.digest, certificate };
        self.change.promise = call;
        self.change.progress = now.monotonic;
        self.switch_chain(rounds, opening);
        self.change.prepared = Some(Box::new(prepared));
        let unplaced = std::mem::take(&mut self.unplaced);
        self.name_base(unplaced);
        Ok(())
    }

    /// All that is in the log of rounds was replayed, or there is none: takes up what this replica
    /// had written down of epochs before it stopped. One that had entered an epoch says so and
    /// signs nothing in it, unless it knows all that it has signed there; one that stopped between
    /// a promise and entering goes on from its Report.
    pub fn recovered(&mut self) {
        let records = std::mem::take(&mut self.found);
        let (mut report, mut evidence) = (None, &[][..]);
        for record in &records {
            match record {
                Record::Promise { .. } if planted("s7-promise-forgotten") => {}
                Record::Promise { call, evidence: rests_on } => {
                    if call.number() > self.change.promise.number() {
                        self.change.promise = *call;
                        evidence = rests_on;
                    }
                }
                Record::Report { report: one, .. } => report = Some(one),
                // The keyring that this replica was given has them; the other is not of the order.
                Record::Keys(_) | Record::Rolled { .. } => {}
                Record::Entered { epoch, members, opening, reports, base, .. } => {
                    self.come_to(*epoch, reports, base);
                    let headers = reports.iter().map(|r| r.verify_ref(&self.keyring));
                    let Ok(signed) = headers.collect::<Result<Vec<_>, _>>() else { continue };
                    let certificate = signed.iter().map(|r| r.header()).collect();
                    let (epoch, members, opening) = (*epoch, *members, *opening);
                    self.change.entered = Entered { epoch, members, opening, certificate };
                    if let Some(first) = signed.first()
                        && first.header.call.number() >= self.change.promise.number()
                    {
                        self.change.promise = first.header.call;
                    }
                }
            }
        }
        self.unplaced.clear();
        self.take_evidence(evidence);
        if planted("s7-signs-on") {
            return;
        }
        let own = self.order.tips[self.id.index()];
        self.clock.at_least(own.now.max(own.candidate));
        let entered = self.change.entered.epoch;
        if !self.goes_on() {
            self.change.restarted = Some(entered);
        }
        // A state that was taken over may be of an epoch that this replica has not entered, and
        // is of it or past it when its promise is: nothing is left to report then, as in `install`.
        let stateless = self.blank || planted("s7-reports-what-is-past");
        let here = if stateless { entered } else { entered.max(self.order.epoch().0) };
        if self.change.promise.number() <= here {
            return;
        }
        // The promise binds; its Report is sent again, or written now, marked restarted.
        let own = report.and_then(|r| r.verify_ref(&self.keyring).ok());
        let own = own.filter(|r| r.header.call == self.change.promise);
        let own = own.and_then(|r| {
            Checked::new(r, &self.keyring, self.limits.max_candidates).ok().map(Arc::new)
        });
        let own = own.filter(|_| !self.abstains && !planted("s7-report-anew"));
        mark(match own {
            Some(_) => "§7 a Report from the disk was sent again",
            None => "§7 a promise from the disk got its Report after a restart",
        });
        self.change.stage = match own {
            Some(report) => Stage::Writing { report, sequence: 0 },
            None => Stage::Counting,
        };
    }

    /// E4: what the promised call rests on. Whoever signed it may have forgotten that, and without
    /// it nobody else takes the call.
    fn take_evidence(&mut self, evidence: &[Evidence]) {
        if planted("e4-evidence-forgotten") {
            return;
        }
        let (root, limit) = (self.change.promise.root, self.limits.max_candidates);
        let quorum = self.keyring.ensemble().majority();
        let mut blames = Vec::new();
        for one in evidence {
            match one {
                Evidence::Blame(blame) => {
                    blames.extend(blame.verify_ref(&self.keyring).ok().map(Arc::new));
                }
                Evidence::Restarted(restarted) => {
                    let checked = restarted.verify_ref(&self.keyring);
                    checked.map(|one| self.change.store.restarted(one.into(), root)).ok();
                }
                Evidence::Stalled(stalled) => {
                    let checked = stalled.verify_ref(&self.keyring);
                    checked.map(|one| self.change.store.stalled(one.into())).ok();
                }
                Evidence::Proof(proof) => {
                    if let Ok(conviction) = convict(proof, &self.keyring, limit) {
                        let generation = conviction.epoch.generation;
                        let proof = Arc::new(proof.as_ref().clone());
                        let convicted = Convicted { proof, generation };
                        self.change.store.proof(conviction.replica, convicted);
                    }
                }
            }
        }
        self.change.store.blames(&blames, root, quorum);
    }

    /// An epoch that was entered, and of which the log has no vector yet: its opening waits for
    /// the first.
    fn come_to(
        &mut self,
        epoch: Epoch,
        reports: &[Unverified<Report>],
        base: &[Unverified<Proposal>],
    ) {
        if self.blank || epoch <= self.epoch {
            return;
        }
        let base = base.iter().map(|p| p.verify_ref(&self.keyring).map(Arc::new));
        let Ok(base) = base.collect::<Result<Vec<_>, _>>() else { return };
        let limit = self.limits.max_candidates;
        let checked = reports.iter().map(|r| {
            let signed = r.verify_ref(&self.keyring).ok()?;
            Checked::new(signed, &self.keyring, limit).ok().map(Arc::new)
        });
        let Some(checked) = checked.collect::<Option<Vec<_>>>() else { return };
        self.name_base(base);
        let now = Now { monotonic: self.change.progress, wall: self.last_wall };
        if self.go_all_the_way(now, &checked) {
            mark("§7 an opening from the disk waited for its first vector");
        } else if !planted("s7-opening-forgotten") {
            self.change.following.store(checked);
        }
    }

    /// Takes up an opening that was entered, by those on the way to it that the log has. False, and
    /// nothing of it, if something is missing.
    fn go_all_the_way(&mut self, now: Now, reports: &[Arc<Checked>]) -> bool {
        let legs = std::mem::take(&mut self.legs);
        let opening = |core: &Self, reports: &[Arc<Checked>]| {
            Some(core.opening_from(&reports.first()?.header.call, reports))
        };
        let (mut way, mut last) = (Vec::new(), opening(self, reports));
        while let Some(then) = last.take() {
            let leads = |leg: &&Vec<_>| opening(self, leg).is_some_and(|o| o.digest == then.origin);
            let leg = legs.iter().find(leads).filter(|_| !planted("s7-legs-forgotten"));
            if let Some(leg) = leg {
                way.push(leg);
                last = opening(self, leg);
            }
        }
        let before = (self.epoch, self.members, self.rounds.clone(), self.change.clone());
        let all = way.into_iter().rev().map(|leg| &leg[..]).chain([reports]);
        let arrived = all.map(|reports| self.replay_opening(now, reports)).all(|r| r.is_ok());
        if !arrived {
            (self.epoch, self.members, self.rounds, self.change) = before;
        }
        arrived
    }

    /// The first thing after a start with something on disk.
    pub(in crate::ordering) fn resume(&mut self, now: Now, out: &mut Vec<Action>) {
        if let Some(epoch) = self.change.restarted {
            out.push(Action::Event(Event::Restarted { epoch }));
        }
        match self.change.stage {
            Stage::Counting => out.push(Action::Count { requests: self.accepted_here() }),
            Stage::Writing { sequence: 0, .. } => self.written(now, out),
            _ => {}
        }
        if let Some(own) = self.own_restarted() {
            self.on_restarted(own.clone());
            out.push(Action::TellAll(Statement::Restarted(own)));
        }
        self.send_again(now, out);
        if self.blank {
            self.fall_behind(now, out);
        }
    }
}
