//! Calls: which one this replica is in, and what it does when it takes one (E3, E4, E5, E8).

use super::{Chain, Checked, Stage};
use crate::crypto::{Scheme, Unverified, Verified};
use crate::ordering::commit::commit_vector;
use crate::ordering::order::Order;
use crate::ordering::rounds::Held;
use crate::ordering::{Action, Core, Event, Statement};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Call, Digest, Epoch, Instant, Members, Now, ReplicaId, Root, Round};
use crate::wire::{Lacks, Record, Report, ReportHeader, Stalled, Want};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl<S: Scheme> Core<S> {
    /// E3, E4: goes on to the highest call that there is evidence for.
    pub(in crate::ordering) fn consider(&mut self, now: Now, out: &mut Vec<Action>) {
        let promise = self.change.promise;
        let (root, list) = self.best_root();
        let same = root == promise.root;
        let before = if same { promise.accused } else { Members::NONE };
        let accused = before.union(self.accused_in(root, list));
        let call = Call { root, list, accused };
        let restarted = self.change.store.who_restarted(promise.root).both(promise.list).len();
        let majority = self.keyring.ensemble().majority();
        if call.members().len() < majority || (same && restarted >= majority) {
            if !same {
                mark("E4 a root was taken only to be called stalled");
                // The root is left behind like the one before, but everybody must come to it first.
                self.take(now, Call { root, list, accused: Members::NONE }, out);
            }
            mark("E4 known accusations left no call");
            self.stall(now, out);
            return;
        }
        if call.number() > promise.number() {
            self.take(now, call, out);
        }
    }

    /// The highest root that this replica knows to be called for, with its member list L.
    fn best_root(&self) -> (Root, Members) {
        let here = (self.change.promise.root, self.change.promise.list);
        let ensemble = self.keyring.ensemble();
        let mut best = here;
        let mut offer = |root: Root, list: Members| {
            if root > best.0 {
                best = (root, list);
            }
        };
        if let Some(stalled) = self.change.store.stalled_root(ensemble.majority())
            && let Some(resets) = stalled.resets.checked_add(1)
        {
            offer(Root { resets, ..stalled }, self.reset_list(stalled.generation));
        }
        if let Some((root, list)) = self.order.roster.status_call() {
            offer(root, list);
        }
        for (root, lists) in &self.change.lists {
            lists.first().iter().for_each(|list| offer(*root, **list));
        }
        for (call, count) in self.reported_calls() {
            // Who lacks the history to check a status call takes it on t + 1 Reports for it.
            if count >= ensemble.majority() && call.0 > here.0 {
                mark("E3 a call was taken on Reports alone");
                offer(call.0, call.1);
            }
        }
        best
    }

    /// Roots and lists that Reports are for, with how many replicas sent one.
    pub(in crate::ordering) fn reported_calls(&self) -> BTreeMap<(Root, Members), usize> {
        let mut signers: BTreeMap<(Root, Members), Members> = BTreeMap::new();
        for report in self.change.store.all_reports() {
            let call = report.header.call;
            signers.entry((call.root, call.list)).or_default().insert(report.header.replica);
        }
        signers.into_iter().map(|(call, signers)| (call, signers.len())).collect()
    }

    /// E4: takes a call. From here on nothing of a lower epoch is signed, committed or answered.
    fn take(&mut self, now: Now, call: Call, out: &mut Vec<Action>) {
        let before = self.change.promise.root;
        mark(match call.root {
            root if root == before => "E4 a call with more accused was taken",
            root if root.resets > 0 => "E3 a reset was taken",
            _ => "E3 a status call was taken",
        });
        if call.root > before {
            let blames = !self.change.store.charges(before).is_empty();
            self.change.blames_before = call.root.resets == 0
                && (blames
                    || (self.change.blames_before
                        && before.generation + 1 == call.root.generation));
            self.change.store.forget_below(call.root);
            self.change.lists.retain(|root, _| *root >= call.root);
            self.change.blamed.clear();
        }
        self.close_lags(now.monotonic);
        self.change.promise = call;
        self.change.following.forget_named();
        self.change.stage = Stage::Counting;
        self.change.progress = now.monotonic;
        self.passed_on = None;
        self.waiting = None;
        self.stats.calls += 1;
        out.push(Action::Event(Event::Called { call }));
        out.push(Action::Count { requests: self.accepted_here() });
    }

    /// Requests that may be accepted, as far as the vector goes that a Report names: what is
    /// complete and not committed may accept what it names (O7).
    pub(in crate::ordering) fn accepted_here(&self) -> Vec<Digest> {
        let accepted = self.order.unexecuted_bodies().into_iter().map(|(digest, _)| digest);
        let mut all: BTreeSet<Digest> = accepted.collect();
        if planted("o7-committed-only") {
            return all.into_iter().collect();
        }
        let chains = self.change.old.iter().map(|c| &c.rounds).chain([&self.rounds]);
        for rounds in chains {
            let open = self.committed.next().0..=rounds.complete().0;
            let vectors = open.filter_map(|round| rounds.vector(Round(round)));
            let named = vectors.flat_map(|(_, held)| held).flat_map(|p| &p.candidates);
            all.extend(named.map(|c| c.request).filter(|d| !self.order.is_executed(d)));
        }
        // An opening from the disk names vectors that were never complete here.
        if let Some(prepared) = &self.change.prepared
            && !planted("o7-base-not-counted")
        {
            all.extend(prepared.bodies().into_iter().map(|(digest, _)| digest));
        }
        all.into_iter().collect()
    }

    /// E5: the bodies that are lacking are counted; promise and Report go to disk together.
    pub(in crate::ordering) fn counted(&mut self, lacks: Vec<Digest>, out: &mut Vec<Action>) {
        if !matches!(self.change.stage, Stage::Counting) {
            return;
        }
        let call = self.change.promise;
        let promise = Record::Promise { call, evidence: self.evidence_of(&call) };
        let mut records = vec![promise.to_bytes().into()];
        let signs = call.members().contains(self.id)
            && self.may_sign(call.root.generation)
            && self.is_unsigned(call.root.generation)
            && !self.abstains;
        if !signs {
            // A replica that is not to be a member reports nothing; it waits for the others.
            self.persist(records, out);
            let sequence = self.change.sequence;
            self.change.stage = Stage::Promising { sequence };
            mark("E4 a call was promised by one that is not to be a member");
            return;
        }
        let (report, vector) = self.own_report(call, lacks);
        let signed = Verified::sign(report, &self.keyring, &self.signer);
        let record = Record::Report {
            report: Box::new(signed.clone().into()),
            vector: vector.iter().map(|p| Unverified::from(Verified::clone(p))).collect(),
        };
        records.push(record.to_bytes().into());
        let report = Checked::new(signed, &self.keyring, self.limits.max_candidates)
            .expect("a Report of our own holds");
        self.persist(records, out);
        let sequence = self.change.sequence;
        self.change.stage = Stage::Writing { report: Arc::new(report), sequence };
        if planted("e5-send-before-sync") {
            self.synced_report(out);
        }
    }

    pub(in crate::ordering) fn persist(
        &mut self,
        records: Vec<bytes::Bytes>,
        out: &mut Vec<Action>,
    ) {
        self.change.sequence += 1;
        out.push(Action::Persist { sequence: self.change.sequence, records });
    }

    fn synced_report(&mut self, out: &mut Vec<Action>) {
        if let Stage::Writing { report, .. } = &self.change.stage {
            out.push(Action::TellAll(Statement::Report(report.clone())));
        }
    }

    /// Promise and Report are on disk: now they may be shown.
    pub(in crate::ordering) fn written(&mut self, now: Now, out: &mut Vec<Action>) {
        let stage =
            std::mem::replace(&mut self.change.stage, Stage::Reporting { sent_at: now.monotonic });
        self.change.progress = now.monotonic;
        self.change.resent_at = now.monotonic;
        self.show_call(None, out);
        if let Stage::Writing { report, .. } = stage {
            out.push(Action::TellAll(Statement::Report(report.clone())));
            self.on_report(report, out);
        }
        self.change.dirty = true;
    }

    /// E5: how far this replica is.
    fn own_report(&self, call: Call, lacks: Vec<Digest>) -> (Report, Vec<Held>) {
        let entered = &self.change.entered;
        let restarted = self.change.restarted.is_some();
        let named = self.entered_vector();
        let (round, vector, held) = match &named {
            Some((round, hash, held)) => (*round, *hash, held.to_vec()),
            None => (Round(0), Digest::ZERO, Vec::new()),
        };
        if restarted {
            mark("E5 a Report was marked restarted");
        }
        let root = call.root;
        let proven = self.proven(root);
        let proofs = self.change.store.proofs.iter().filter(|(x, _)| proven.contains(**x));
        let restarts = self.change.store.who_restarted(root);
        let of = (entered.epoch, entered.members, entered.opening);
        let bare = ReportHeader::bare(call, self.id, of);
        let header = ReportHeader { restarts, round, vector, restarted, ..bare };
        // Whoever has a state has the effect of what ran under it, which others can fetch, and the
        // bodies of all that ran since.
        let none = self.is_blank() || restarted && planted("o7-restarted-has-none");
        let lacks = if none { Lacks::All } else { Lacks::of(lacks) };
        let report = Report::new(
            header,
            entered.certificate.iter().cloned().map(Unverified::from).collect(),
            held.iter().map(|p| p.header().into()).collect(),
            proofs.map(|(_, convicted)| convicted.proof.as_ref().clone()).collect(),
            Vec::new(),
            lacks,
        );
        (report, held)
    }

    /// The highest complete vector of the epoch entered, which a Report names.
    fn entered_vector(&self) -> Option<(Round, Digest, &[Held])> {
        let entered = (self.change.entered.epoch, self.change.entered.members);
        // More than one chain of it is kept if a state of it was taken over.
        let chains = self.change.old.iter().map(|c| &c.rounds).chain([&self.rounds]);
        let chains = chains.filter(|rounds| rounds.epoch() == entered && rounds.is_open());
        let rounds = chains.max_by_key(|rounds| rounds.complete())?;
        let round = if planted("e5-report-less") {
            rounds.complete().previous().previous()
        } else {
            rounds.complete()
        };
        rounds.vector(round).map(|(hash, held)| (round, hash, held))
    }

    /// E8: says that the root of the promise does not get on.
    pub(in crate::ordering) fn stall(&mut self, now: Now, out: &mut Vec<Action>) {
        let root = self.change.promise.root;
        let said = self.change.stalled == Some(root) || !self.may_sign(root.generation);
        if said || planted("e8-never-stalled") {
            return;
        }
        self.change.stalled = Some(root);
        mark("E8 a root was called stalled");
        self.stats.stalled += 1;
        out.push(Action::Event(Event::Stalled { root }));
        let one = Stalled { root, replica: self.id };
        let one = Arc::new(Verified::sign(one, &self.keyring, &self.signer));
        self.change.resent_at = now.monotonic;
        let evidence = self.evidence_of(&self.change.promise);
        out.push(Action::TellAll(Statement::Call(self.change.promise, evidence)));
        out.push(Action::TellAll(Statement::Stalled(one.clone())));
        self.on_stalled(one);
    }

    /// E8: when nothing has got on for twice the patience although there is work.
    pub(in crate::ordering) fn stall_due(&self) -> Option<Instant> {
        let root = self.change.promise.root;
        let done = self.change.stalled == Some(root) || !self.may_sign(root.generation);
        let busy = self.change.is_frozen()
            || self.waiting.is_some()
            || self.passed_on.is_some()
            || self.has_work() && self.may_start();
        let waits = busy && !done && !self.blank;
        waits.then(|| self.change.progress.max(self.sent_at) + 2 * self.timing.patience)
    }

    pub(in crate::ordering) fn stall_if_due(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.stall_due().is_some_and(|due| now.monotonic >= due) {
            self.stall(now, out);
        }
    }

    /// R5 in the report step: asks for Reports that have not come after 2Δ.
    pub(in crate::ordering) fn ask_for_reports(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.change.reporting_since().is_none() || now.monotonic < self.report_ask_due() {
            return;
        }
        let wants = self.wanted_reports(&self.change.promise);
        self.change.following.reports_asked = Some(now.monotonic);
        self.stats.wants += wants.len() as u64;
        out.extend(wants.into_iter().map(Action::Ask));
    }

    /// What asks for the Reports of a call that have not come.
    pub(in crate::ordering) fn wanted_reports(&self, call: &Call) -> Vec<Want> {
        let has = |m: &ReplicaId| self.change.store.report_of(*m, call).is_some();
        let missing = call.members().iter().filter(|m| !has(m));
        let (epoch, round, digest) = (call.number(), Round(0), Digest::ZERO);
        missing.map(|replica| Want { epoch, round, replica, digest }).collect()
    }

    pub(in crate::ordering) fn report_ask_due(&self) -> Instant {
        let since = self.change.reporting_since().unwrap_or_default();
        let asked = self.change.following.reports_asked.filter(|at| *at > since);
        asked.map_or(since + 2 * self.timing.delta, |at| at + self.timing.patience)
    }

    /// M2: this replica is asked to leave for a while.
    pub(in crate::ordering) fn leave(&mut self, now: Now, out: &mut Vec<Action>) {
        if std::mem::replace(&mut self.leaving, true) {
            return;
        }
        let context = self.keyring.context();
        let change = crate::wire::Change::Leave { replica: self.id, stays: false };
        let (author, serial) = (crate::wire::Author::Replica(self.id), now.wall.0);
        let change =
            crate::wire::SignedChange::sign::<S>(change, author, serial, &context, &self.signer);
        out.push(Action::TellAll(Statement::Change(change)));
        self.on_change(now, change);
    }

    /// E3: looks whether vectors that were completed and may not be committed show that a status
    /// call is due.
    pub(in crate::ordering) fn look_for_cut(&mut self) {
        if let Some((root, list)) = self.uncommitted_cut() {
            mark("E3 a cut was seen in what may not be committed");
            self.change.lists.entry(root).or_default().insert(list);
            self.change.dirty = true;
        }
    }

    fn uncommitted_cut(&self) -> Option<(Root, Members)> {
        if self.blank {
            return None;
        }
        // An opening whose first vector is complete may itself leave changes pending.
        let prepared = self.change.prepared.as_ref().filter(|_| self.rounds.is_open());
        let start = prepared.map_or(&self.order, |p| &p.order);
        let here = self.change.promise.root;
        let cut = |order: &Order| order.roster.status_call().filter(|(root, _)| *root > here);
        if let Some(call) = cut(start) {
            return Some(call);
        }
        let of = start.epoch();
        let rounds = self.chain_of(of.0, of.1)?;
        let context = self.keyring.context();
        let mut order = None;
        let mut round = start.round().next();
        while round < rounds.complete() {
            let (_, held) = rounds.vector(round)?;
            let order = order.get_or_insert_with(|| start.clone());
            commit_vector(order, &context, held);
            if let Some(call) = cut(order) {
                return Some(call);
            }
            round = round.next();
        }
        None
    }

    // --- chains -------------------------------------------------------------------------------

    /// The rounds of an epoch, if they are known here.
    pub(in crate::ordering) fn chain_of(
        &self,
        epoch: Epoch,
        members: Members,
    ) -> Option<&crate::ordering::rounds::Rounds> {
        if self.rounds.epoch() == (epoch, members) {
            return Some(&self.rounds);
        }
        self.change.old.iter().find(|c| c.is(epoch, members)).map(|c: &Chain| &c.rounds)
    }
}
