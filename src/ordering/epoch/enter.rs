//! Entering an epoch and committing its opening (E6, E7).

use super::build::{Effect, Needs, Prepared};
use super::{Entered, Opening, Stage};
use crate::crypto::{Scheme, Unverified, Verified};
use crate::ordering::{Action, Core, Event, Logged};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Call, Digest, Epoch, Instant, Members, Now};
use crate::wire::{Candidate, Record, Want};
use std::sync::Arc;

impl<S: Scheme> Core<S> {
    /// E6: enters the epoch of the promised call, if everything is there for it.
    pub(in crate::ordering) fn try_enter(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some(sent_at) = self.change.reporting_since() else { return };
        let call = self.change.promise;
        self.change.following.unshown = Members::NONE;
        self.change.entry_at = None;
        let Some(reports) = self.change.store.all_of(&call) else { return };
        let member = call.members().contains(self.id);
        if member && !self.is_unsigned(call.root.generation) {
            // The Report in our name is from before our disk was lost.
            return;
        }
        if member && self.is_blocked(&call, now, out) {
            return;
        }
        if member && self.must_wait(&call, sent_at, now) {
            mark("E6 entering waited for Δ after the own Report");
            self.change.entry_at = Some(sent_at + self.timing.delta);
            return;
        }
        let opening = self.opening_from(&call, &reports);
        let prepared = match self.build(&opening) {
            Ok(prepared) => prepared,
            Err(needs) => return self.fetch(now, needs, &opening, out),
        };
        // O7: what must run has its body here, or it is void.
        let of = |o: &Digest| *o == opening.digest;
        let asked = matches!(&self.change.stage, Stage::Fetching { opening, .. } if of(opening));
        let fetched = asked && self.change.following.bodies.as_ref().is_some_and(of);
        if member && !fetched {
            self.ask_for_bodies(sent_at, &opening, &prepared, out);
            return;
        }
        self.enter(now, opening, prepared, out);
    }

    /// When the wait of E6 is over, as long as this replica waits there: another call, or a state
    /// taken over, may have come between.
    pub(in crate::ordering) fn entry_due(&self) -> Option<Instant> {
        let waits = self.change.reporting_since().is_some() || planted("e6-wait-stays");
        self.change.entry_at.filter(|_| waits)
    }

    /// E6: whether something else that is known keeps this replica from entering.
    fn is_blocked(&mut self, call: &Call, now: Now, out: &mut Vec<Action>) -> bool {
        let accused = self.said_accused(call.root);
        let majority = self.keyring.ensemble().majority();
        let mut blocked = !call.accused.includes(self.accused_in(call.root, call.list));
        let mut another_list = false;
        let counted = self.reported_calls();
        for report in self.change.store.reports(call.root) {
            let other = report.header.call;
            if other.list != call.list {
                let reporters = counted.get(&(other.root, other.list)).copied();
                another_list |= reporters.is_some_and(|n| n >= majority);
                mark("E6 a Report for another L was known");
            } else if other.number() >= call.number() || !call.accused.includes(other.accused) {
                blocked |= other != *call && accused.includes(other.accused);
            }
        }
        if let Some(lists) = self.change.lists.get(&call.root) {
            another_list |= lists.iter().any(|list| *list != call.list);
        }
        another_list &= !planted("e6-any-list");
        if another_list {
            mark("E6 another L kept from entering");
            self.stall(now, out);
        }
        if blocked {
            mark("E6 an accusation beyond S kept from entering");
        }
        blocked || another_list
    }

    /// E6: with Blames in play the own Report must have been out for Δ.
    fn must_wait(&self, call: &Call, sent_at: Instant, now: Now) -> bool {
        let blamed =
            self.change.store.charges(call.root).keys().any(|c| call.accused.contains(c.3));
        let status = call.root.resets == 0 && call.root.generation > 0;
        let wait = blamed || status && self.change.blames_before;
        wait && !planted("e6-enters-at-once") && now.monotonic < sent_at + self.timing.delta
    }

    /// What is lacking is asked for; who named it must show it.
    fn fetch(&mut self, now: Now, needs: Needs, opening: &Arc<Opening>, out: &mut Vec<Action>) {
        match needs {
            Needs::Wants(wants) => {
                mark("E6 entering waited for a proposal that a Report names");
                self.change.following.unshown = self.who_named_base(opening);
                self.ask_at_times(now, wants, out);
            }
            // It is this replica that is behind: nobody else is to blame for that.
            Needs::Far(wants) => {
                self.ask_at_times(now, wants, out);
                self.fall_behind(now, out);
            }
            Needs::Opening(wants) => {
                mark("F1 entering waited for an opening that a Report names");
                self.change.following.unshown = self.who_named_base(opening);
                self.ask_at_times(now, wants, out);
                self.fall_behind(now, out);
            }
            Needs::Invalid => {
                self.change.following.unshown = self.who_named_base(opening);
            }
            Needs::Behind => self.fall_behind(now, out),
            Needs::Astray => self.go_astray(now, opening, out),
        }
    }

    /// Asks for what is missing, each thing again after 2Δ at the earliest, whoever waits for it:
    /// an answer makes this replica look again at once, and must not make it ask again for the
    /// rest.
    pub(in crate::ordering) fn ask_at_times(
        &mut self,
        now: Now,
        wants: Vec<Want>,
        out: &mut Vec<Action>,
    ) {
        let again = 2 * self.timing.delta;
        for want in wants {
            if self.change.following.asks(want, now.monotonic, again) {
                self.stats.wants += 1;
                out.push(Action::Ask(want));
            }
        }
    }

    fn ask_for_bodies(
        &mut self,
        sent_at: Instant,
        opening: &Opening,
        prepared: &Prepared,
        out: &mut Vec<Action>,
    ) {
        let digest = opening.digest;
        if matches!(&self.change.stage, Stage::Fetching { opening, .. } if *opening == digest) {
            return;
        }
        self.change.stage = Stage::Fetching { sent_at, opening: digest };
        self.change.following.lacking = Members::NONE;
        mark("E6 entering asked for bodies");
        let openings = prepared.effects.iter().filter_map(|effect| match effect {
            Effect::Opened(opened, _) => Some(&opened.void),
            Effect::Step(_) => None,
        });
        let void: Vec<Digest> = openings.flatten().copied().collect();
        let mut bodies = prepared.bodies();
        bodies.retain(|(digest, _)| !void.contains(digest));
        for (digest, holders) in &mut bodies {
            *holders = holders.union(opening.may_hold(digest));
        }
        out.push(Action::NeedBodies { opening: digest, bodies, void });
    }

    /// Some bodies that an opening needs are still missing: whoever did not say that it lacks them
    /// must show them (E5).
    pub(in crate::ordering) fn bodies_are_missing(&mut self, missing: &[Digest]) {
        let call = self.change.promise;
        let Some(reports) = self.change.store.all_of(&call) else { return };
        let opening = self.opening_from(&call, &reports);
        let who = missing.iter().flat_map(|d| opening.who_holds(d).iter().collect::<Vec<_>>());
        self.change.following.lacking = who.collect();
    }

    /// The bodies that an opening needs are all here.
    pub(in crate::ordering) fn bodies_are_here(&mut self, opening: Digest) {
        self.change.following.bodies = Some(opening);
        self.change.dirty = true;
    }

    fn enter(
        &mut self,
        now: Now,
        opening: Arc<Opening>,
        prepared: Prepared,
        out: &mut Vec<Action>,
    ) {
        let rounds = self.rounds_after(&opening, &prepared.order);
        let base = prepared.order.round();
        self.switch_chain(rounds, opening);
        (self.sent, self.started_at, self.gather) = (base, None, None);
        self.wants = Default::default();
        self.change.prepared = Some(Box::new(prepared));
        self.change.progress = now.monotonic;
        if self.members.contains(self.id) {
            self.write_opening(out);
        } else {
            self.change.stage = Stage::Waiting;
        }
        self.take_early(now, out);
    }

    /// The opening with its content goes to disk; then this replica has entered (E6).
    pub(in crate::ordering) fn write_opening(&mut self, out: &mut Vec<Action>) {
        let opening = self.change.opening.clone().expect("this chain was built from an opening");
        let reports = &opening.sources;
        let held = opening.base.as_ref().and_then(|v| {
            let rounds = self.chain_of(opening.from.0, opening.from.1)?;
            let members = opening.from.1.iter().zip(&v.hashes);
            members.map(|(m, h)| rounds.find(v.round, m, h).cloned()).collect::<Option<Vec<_>>>()
        });
        let record = Record::Entered {
            epoch: self.epoch,
            members: self.members,
            opening: opening.digest,
            first: self.rounds.base().next(),
            reports: reports.iter().map(|r| r.signed().clone().into()).collect(),
            base: held
                .unwrap_or_default()
                .iter()
                .map(|p| Unverified::from(Verified::clone(p)))
                .collect(),
        };
        let mut records = vec![record.to_bytes().into()];
        records.extend(self.keys_to_write());
        self.log_base(out);
        self.persist(records, out);
        let sequence = self.change.sequence;
        self.change.stage = Stage::Opening { sequence };
        if planted("e6-propose-before-sync") {
            self.change.stage = Stage::Running;
        }
        self.change.entered = Entered {
            epoch: self.epoch,
            members: self.members,
            opening: opening.digest,
            certificate: reports.iter().map(|r| r.signed_header()).collect(),
        };
    }

    /// §7: the content of an opening's base is in the log before the opening is written, with the
    /// openings on the way there: what was complete here may end some rounds, and some epochs,
    /// before that.
    fn log_base(&mut self, out: &mut Vec<Action>) {
        let Some(prepared) = &self.change.prepared else { return };
        let digest = self.change.opening.as_ref().map(|o| o.digest);
        if digest.is_none() || self.based == digest {
            return;
        }
        out.extend(prepared.effects.iter().filter_map(|effect| match effect {
            Effect::Step(step) => Some(Action::Log(Logged::Base(step.proposals.clone()))),
            Effect::Opened(_, opening) if Some(opening.digest) != digest => {
                Some(Action::Log(Logged::Leg(opening.sources.clone())))
            }
            Effect::Opened(..) => None,
        }));
        self.based = digest;
    }

    /// M3: what is known of keys with the opening, if any was ever replaced.
    fn keys_to_write(&self) -> Option<bytes::Bytes> {
        let order = self.change.prepared.as_ref().map_or(&self.order, |p| &p.order);
        // Only what openings have brought: what a cut asks for may still turn out to be void.
        let changes = self.keyring_after(&order.roster.keys).changes();
        (!changes.is_empty()).then(|| Record::Keys(changes).to_bytes().into())
    }

    /// The opening is on disk: a member sends its first proposal, a follower commits.
    pub(in crate::ordering) fn opened(&mut self, now: Now, out: &mut Vec<Action>) {
        self.change.stage = Stage::Running;
        self.change.progress = now.monotonic;
        self.durable = self.durable.map(|durable| durable.max(self.rounds.base()));
        // §7: nobody who restarted knows what it signed in the epoch that it had entered before,
        // even if it comes to the opening of that again.
        let later = |before: Epoch| self.epoch > before || planted("s7-signs-again");
        let anew = self.is_unsigned(self.epoch.generation);
        if self.members.contains(self.id) && self.change.restarted.is_some_and(later) && anew {
            self.change.restarted = None;
        }
        self.is_whole_again();
        let (epoch, members) = (self.epoch, self.members);
        self.stats.epochs += 1;
        out.push(Action::Event(Event::Entered { epoch, members }));
        self.change.following.ask_history_again();
        self.commit_complete(out);
        self.propose_again();
        self.propose(now, out);
        self.advance(now, out);
    }

    /// Whether the state here is of an epoch that this replica cannot show to be one (E5).
    pub(in crate::ordering) fn is_uncertified(&self) -> bool {
        !self.blank && self.order.epoch().0 > self.change.entered.epoch
    }

    /// A state taken over says which epoch it is of; what certifies that epoch its members show.
    pub(in crate::ordering) fn certify(&mut self, now: Now, out: &mut Vec<Action>) {
        let call = self.order.roster.call;
        if !self.is_uncertified() || self.change.is_frozen() {
            return;
        }
        let Some(reports) = self.change.store.all_of(&call) else {
            return self.ask_at_times(now, self.wanted_reports(&call), out);
        };
        let opening = self.opening_from(&call, &reports);
        // Reports of this call with another outcome are not those that were committed.
        if opening.digest == self.order.opening.0 {
            self.change.opening = Some(opening);
            self.write_opening(out);
        }
    }

    /// E7: the first vector is complete, so the opening holds.
    pub(in crate::ordering) fn commit_opening(&mut self, out: &mut Vec<Action>) {
        self.log_base(out);
        let Some(prepared) = self.change.prepared.take() else { return };
        for effect in prepared.effects {
            match effect {
                Effect::Step(step) => {
                    mark("E7 an opening committed a vector");
                    self.commit_step(*step, out);
                }
                Effect::Opened(opened, opening) => {
                    out.push(Action::Log(Logged::Opening(opening.sources.clone())));
                    self.history.opening(opening, opened.first);
                    out.push(Action::Opened(opened));
                }
            }
        }
        self.order = prepared.order;
        self.committed = self.order.round();
        // The log may hold later rounds of the epoch before, which do not count.
        self.durable = self.durable.map(|durable| durable.min(self.committed));
        self.change.dirty = true;
    }

    /// E7: own candidates of discarded proposals go into the next one, with the same ids. Those
    /// that the opening has dropped get new ones: the old may be below what counts (R4).
    pub(in crate::ordering) fn propose_again(&mut self) {
        let order = self.change.prepared.as_ref().map_or(&self.order, |p| &p.order);
        let own = order.tips[self.id.index()];
        if !planted("e7-clock-not-raised") {
            self.clock.at_least(own.now.max(own.candidate));
        }
        let tip = own.candidate;
        let mine: Vec<(Digest, u64)> =
            self.mine.sorted().into_iter().map(|(d, c)| (*d, *c)).collect();
        let (mut again, mut anew) = (Vec::new(), Vec::new());
        for (request, clock) in mine {
            if order.has_candidate_of(self.id, &request) {
                continue;
            }
            match clock > tip || planted("e7-old-ids") {
                true => {
                    mark("E7 a candidate was proposed again");
                    again.push(Candidate { clock, request });
                }
                false => {
                    mark("E7 a dropped candidate got a new id");
                    anew.push((clock, request));
                }
            }
        }
        anew.sort_unstable();
        let agreed = order.agreed();
        for (_, request) in anew {
            let clock = self.clock.candidate(self.last_wall, agreed);
            self.mine.insert(request, clock);
            again.push(Candidate { clock, request });
        }
        again.sort_unstable();
        self.unsent = again.into();
    }
}
