//! The disk of a replica: what it gives to the log of rounds, and how it takes its state up from
//! there after a start (docs/protocol.md §7).

use super::bodies::Held;
use super::replica::Replica;
use super::transfer::{Snapshot, parse_head, proven};
use super::undo::GivenUp;
use super::{Action, Actions, Event, Recovered, StepTrace, Stored};
use crate::crypto::{Scheme, Unverified, Verified};
use crate::ordering::{self, Checked, Logged};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Digest, DiskState, Now, Round};
use crate::wire::{Body, LogEntry, Proposal, Report, Request};
use bytes::Bytes;
use std::sync::Arc;

const UNSIGNED: &str = "a signature that does not fit";

impl<S: Scheme> Replica<S> {
    // --- writing ------------------------------------------------------------------------------

    /// What the core wants in the log.
    pub(super) fn log(&mut self, logged: &Logged) {
        if !self.journal.keeps() {
            return;
        }
        let plain = |held: &Vec<Arc<Verified<Proposal>>>| {
            held.iter().map(|p| Unverified::from(Verified::clone(p))).collect()
        };
        let (entry, round, complete) = match logged {
            Logged::Own(proposal) => return self.log_own(proposal),
            Logged::Vector(held) => {
                let round = held.first().map(|p| p.round);
                (LogEntry::Vector(plain(held)), round, round)
            }
            Logged::Base(held) => {
                let round = held.first().map(|p| p.round);
                (LogEntry::Base(plain(held)), round, None)
            }
            Logged::Opening(reports) => (LogEntry::Opening(signed(reports)), None, None),
            Logged::Leg(reports) => {
                // Nothing is committed by it, so the log cannot begin behind it.
                self.journal.add(LogEntry::Leg(signed(reports)).to_bytes(), None);
                return;
            }
        };
        self.note_place(logged, self.journal.position());
        self.journal.add(entry.to_bytes(), complete);
        self.mark_checkpoint(round);
    }

    /// From a checkpoint the log goes on behind its vector. One is that of an epoch's first vector.
    fn mark_checkpoint(&mut self, round: Option<Round>) {
        let Some(round) = round else {
            self.journal.opened = true;
            return;
        };
        if std::mem::take(&mut self.journal.opened)
            || round.0.is_multiple_of(self.limits.checkpoint_every)
        {
            self.journal.mark(round);
            self.log_open_bodies(round);
        }
    }

    /// §7, strict: an own proposal with the requests that it gives candidates.
    fn log_own(&mut self, proposal: &Arc<Verified<Proposal>>) {
        if !planted("s7-strict-without-bodies") {
            let named: Vec<Digest> = proposal.candidates.iter().map(|c| c.request).collect();
            self.log_bodies(proposal.round, &named);
            named.iter().for_each(|digest| self.bodies.logged(digest));
        }
        let entry = LogEntry::Own(Box::new(Unverified::from(Verified::clone(proposal))));
        self.journal.add(entry.to_bytes(), None);
        self.journal.signed((proposal.epoch, proposal.round));
    }

    /// §7, strict: the log may begin here from now on, so what is not executed stands here again.
    fn log_open_bodies(&mut self, round: Round) {
        let open = self.bodies.outstanding_requests(|_, held| held.logged);
        let open: Vec<Digest> = open.into_iter().filter(|(_, l)| *l).map(|(d, _)| d).collect();
        if !open.is_empty() && !planted("s7-strict-bodies-go") {
            self.write_bodies(round, &open);
        }
    }

    /// A step was executed: its requests belong to it, but for those that are in the log already.
    pub(super) fn log_bodies(&mut self, round: Round, requests: &[Digest]) {
        if !self.journal.keeps() {
            return;
        }
        let is_new = |d: &&Digest| self.bodies.get(d).is_some_and(|held| !held.logged);
        let new: Vec<Digest> = requests.iter().filter(is_new).copied().collect();
        self.write_bodies(round, &new);
    }

    fn write_bodies(&mut self, round: Round, requests: &[Digest]) {
        if !self.journal.keeps() || requests.is_empty() {
            return;
        }
        let (mut bodies, mut bytes) = (Vec::with_capacity(requests.len()), 0);
        for held in requests.iter().filter_map(|digest| self.bodies.get(digest)) {
            let size = held.request.body.len() + 128;
            if bytes + size > LogEntry::BODIES_BYTES && !bodies.is_empty() {
                self.journal.add(LogEntry::bodies_of(round, &bodies), None);
                (bytes, bodies) = (0, Vec::new());
            }
            bytes += size;
            bodies.push((held.client, &held.request));
        }
        self.journal.add(LogEntry::bodies_of(round, &bodies), None);
    }

    /// Something is on the disk: the core hears of it, and what waited for it leaves.
    pub(super) fn synced(&mut self, now: Now, sequence: u64, out: &mut Actions) {
        let durable = self.journal.synced(sequence);
        if let Some((epoch, round)) = durable.own {
            self.core(now, ordering::Input::OwnDurable { epoch, round }, out);
        }
        for sequence in durable.core {
            self.core(now, ordering::Input::Synced { sequence }, out);
        }
        if let Some(complete) = durable.complete.filter(|_| self.journal.keeps()) {
            self.core(now, ordering::Input::Durable(complete), out);
        }
        for waiting in durable.replies {
            self.send_replies(waiting, out);
        }
        self.receipts.look_again();
    }

    /// Before anything is signed on a disk its mark says so.
    pub(super) fn mark_known(&mut self, now: Now, out: &mut Actions) {
        if self.unmarked && self.core.knows_its_disk(now) {
            self.unmarked = false;
            out.push(Action::MarkKnown);
        }
    }

    // --- reading ------------------------------------------------------------------------------

    /// Takes up what was found on the disk: the snapshot, then everything that was committed after
    /// it, executed again. It says nothing to anybody meanwhile. A disk that stands in for a lost
    /// one lacks something, so it is damaged.
    pub(super) fn recover(&mut self, now: Now, stored: Stored, disk: DiskState) {
        if !self.journal.keeps() {
            return;
        }
        let Stored { snapshot, first, log, next, mut damage } = stored;
        self.journal.replay(first);
        self.read_ahead(first, &log);
        let mut found = Recovered::default();
        let mut usable = first == 0;
        if let Some((head, state)) = snapshot {
            match self.take_up(now, &head, state) {
                Ok(round) => (found.snapshot, usable) = (round, true),
                Err(why) => {
                    usable = false;
                    damage.get_or_insert(format!("the snapshot cannot be used: {why}"));
                }
            }
        } else if !usable {
            damage.get_or_insert(format!("the log begins with entry {first}"));
        }
        for entry in log.iter().take_while(|_| usable) {
            if let Err(why) = self.replay(now, entry, &mut found.steps) {
                let place = first + found.entries;
                damage.get_or_insert(format!("entry {place} of the log cannot be used: {why}"));
                break;
            }
            found.entries += 1;
        }
        if !usable {
            self.core.start_blank();
        }
        let (executed, complete) = (self.executor.position().round, self.core.complete());
        self.journal.replayed(next, executed, complete, damage.is_some());
        self.void.clear();
        self.undo.found_bodies = true;
        if disk != DiskState::New {
            if damage.is_some() {
                self.core.abstain();
            }
            self.core.recovered();
            found.round = executed;
            found.damage.clone_from(&damage);
            self.recovered = Some(Box::new(found));
        }
        self.core.bound_by_disk(if damage.is_some() { Round(0) } else { complete });
        self.attest();
    }

    pub(super) fn take_up(
        &mut self,
        now: Now,
        head: &Bytes,
        bytes: Bytes,
    ) -> Result<Round, &'static str> {
        let proof = parse_head(head).map_err(|_| "its attestations cannot be read")?;
        let (round, state) = proven(&proof, &self.keyring)?;
        let snapshot = Snapshot::parse(&bytes).map_err(|_| "its bytes are no snapshot")?;
        if snapshot.head.position.round != round {
            return Err("it is of another round");
        }
        self.executor.restore(&snapshot, &state)?;
        self.core.replay_state(now, &snapshot.ordering, &mut Vec::new())?;
        self.stable = round;
        if let Some(state) = self.executor.freeze() {
            self.shelf.adopt(state, proof);
        }
        self.journal.took_up(round);
        mark("§7 a snapshot was taken up from the disk");
        Ok(round)
    }

    pub(super) fn replay(
        &mut self,
        now: Now,
        entry: &Bytes,
        steps: &mut Vec<StepTrace>,
    ) -> Result<(), &'static str> {
        let place = self.journal.position();
        self.journal.read(entry.len());
        if self.undo.given_up.includes(place, entry) && !planted("s7-undone-is-read") {
            return Ok(());
        }
        let (logged, round) = match LogEntry::parse(entry).map_err(|e| e.what)? {
            LogEntry::Undone { .. } => return Ok(()),
            LogEntry::Bodies { bodies, .. } => return self.replay_bodies(now, bodies, steps),
            LogEntry::Vector(vector) => {
                let vector = self.verified(&vector)?;
                let round = vector.first().map(|p| p.round);
                (Logged::Vector(vector), round)
            }
            LogEntry::Base(vector) => {
                let vector = self.verified(&vector)?;
                let round = vector.first().map(|p| p.round);
                (Logged::Base(vector), round)
            }
            LogEntry::Opening(reports) => (Logged::Opening(self.checked_reports(&reports)?), None),
            LogEntry::Leg(reports) => {
                let leg = Logged::Leg(self.checked_reports(&reports)?);
                return self.core.replay(now, leg, &mut Vec::new());
            }
            LogEntry::Own(own) => {
                let own = own.verify_ref(&self.keyring).map_err(|_| UNSIGNED)?;
                return self.core.replay(now, Logged::Own(own.into()), &mut Vec::new());
            }
        };
        self.note_place(&logged, place);
        self.mark_checkpoint(round);
        let mut actions = Vec::new();
        let replayed = self.core.replay(now, logged, &mut actions);
        let mut unsaid = Actions::new();
        for action in actions {
            match action {
                ordering::Action::Committed(step) => self.committed(now, step, &mut unsaid),
                ordering::Action::Opened(opened) => self.opened(&opened, &mut unsaid),
                _ => {}
            }
        }
        self.void.clear();
        self.run_settled(now, steps);
        replayed
    }

    /// Requests are kept though no step waits for them yet: the vector that it follows from may
    /// have been given up, or the opening that goes before it may stand further behind.
    fn replay_bodies(
        &mut self,
        now: Now,
        bodies: Vec<Body>,
        steps: &mut Vec<StepTrace>,
    ) -> Result<(), &'static str> {
        let context = self.keyring.context();
        for body in bodies {
            let request = <Request as crate::wire::Message>::from_body(&body.request);
            let request = request.map_err(|e| e.what)?;
            let digest = request.digest(&context, &body.client);
            let found = &self.undo.given_up;
            let (strict, early) = (found.early_bodies, found.early_bodies || found.epoch.is_some());
            let needed = self.executor.lacks(&digest)
                || !self.is_settled()
                || early && !self.core.is_executed(&digest);
            if self.bodies.get(&digest).is_none() && needed {
                let (client, origin) = (body.client, None);
                let held =
                    Held { client, request, origin, executed: false, logged: strict, again: false };
                self.bodies.insert(digest, held);
            }
            self.executor.found(&digest);
        }
        self.run_settled(now, steps);
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.undo.given_up.is_settled(self.journal.position()) || planted("o7-runs-before-opening")
    }

    fn run_settled(&mut self, now: Now, steps: &mut Vec<StepTrace>) {
        if self.is_settled() {
            let mut unsaid = Actions::new();
            self.execute(now, &mut unsaid);
            steps.extend(unsaid.into_iter().filter_map(step_of));
        }
    }

    /// What has to be known of a log before its entries are read one by one.
    pub(super) fn read_ahead(&mut self, first: u64, log: &[Bytes]) {
        self.undo.given_up = GivenUp::of(first, log);
        self.undo.last = self.undo.given_up.epoch;
        self.undo.given_up.epoch.into_iter().for_each(|epoch| self.rolled.back_by_log(epoch));
        self.undo.places.begin(first == 0);
    }

    fn note_place(&mut self, logged: &Logged, place: u64) {
        match logged {
            Logged::Vector(held) => {
                if let Some(p) = held.first() {
                    self.undo.places.add(p.epoch, p.round, place);
                }
            }
            Logged::Opening(reports) => {
                if let Some(report) = reports.first() {
                    self.undo.places.add(report.header.call.number(), Round(0), place);
                }
            }
            Logged::Base(_) | Logged::Leg(_) | Logged::Own(_) => {}
        }
    }

    fn verified(
        &self,
        vector: &[Unverified<Proposal>],
    ) -> Result<Vec<Arc<Verified<Proposal>>>, &'static str> {
        let checked = vector.iter().map(|p| p.verify_ref(&self.keyring).map(Arc::new));
        checked.collect::<Result<_, _>>().map_err(|_| UNSIGNED)
    }

    fn checked_reports(
        &self,
        reports: &[Unverified<Report>],
    ) -> Result<Vec<Arc<Checked>>, &'static str> {
        let limit = self.limits.max_candidates;
        let checked = reports.iter().map(|r| {
            let signed = r.verify_ref(&self.keyring).map_err(|_| UNSIGNED)?;
            Checked::new(signed, &self.keyring, limit).map(Arc::new)
        });
        checked.collect()
    }
}

fn signed(reports: &[Arc<Checked>]) -> Vec<Unverified<Report>> {
    reports.iter().map(|r| r.signed().clone().into()).collect()
}

fn step_of(action: Action) -> Option<StepTrace> {
    match action {
        Action::Event(Event::Step { trace, .. }) => Some(*trace),
        _ => None,
    }
}
