//! Following: how a replica that was away gets the history, and joins again (R7, M1).

use super::build::Needs;
use super::{Chain, Checked, Stage};
use crate::crypto::{Scheme, Verified};
use crate::ordering::history;
use crate::ordering::order::Order;
use crate::ordering::rounds::{Rounds, Start};
use crate::ordering::{Action, Core, Event, Statement};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Call, Digest, Epoch, Instant, Members, Now, ReplicaId, Root, Round};
use crate::wire::{Proposal, SignedChange, Want};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What a replica asks for and waits for.
#[derive(Clone, Debug, Default)]
pub(in crate::ordering) struct Following {
    /// Members whose Reports name what nobody has shown yet.
    pub(in crate::ordering) unshown: Members,
    /// Members that should have bodies which nobody has shown yet.
    pub(in crate::ordering) lacking: Members,
    /// What was asked for because something names it, and when last.
    asked: BTreeMap<Want, Instant>,
    /// When Reports were last asked for.
    pub(in crate::ordering) reports_asked: Option<Instant>,
    /// The opening whose bodies are all here.
    pub(in crate::ordering) bodies: Option<Digest>,
    /// When history was last asked for, and up to which round an answer leads.
    history: Option<(Instant, Round)>,
    /// Who has no history after this round.
    pub(in crate::ordering) gone: (Round, Members),
    /// When each peer was last seen to be further than could be followed from here, and the
    /// furthest place that it has shown.
    pub(in crate::ordering) ahead: BTreeMap<ReplicaId, (Instant, (Epoch, Round))>,
    /// When a snapshot was last asked for.
    behind: Option<Instant>,
    /// Reports of epochs between the committed one and the promise, at most of two numbers.
    past: BTreeMap<Epoch, Vec<Arc<Checked>>>,
    /// Reports of epochs that others' Reports name, as asked for; at most of [`MAX_NAMED`] numbers.
    asked_for: BTreeMap<Epoch, Vec<Arc<Checked>>>,
    /// Those of openings on this disk that could not be built from what else is on it.
    stored: VecDeque<Vec<Arc<Checked>>>,
    /// Reports of the promised call that were asked for because first proposals choose them.
    named: BTreeSet<Digest>,
    /// Proposals of epochs whose opening is not known yet: for each signer a few of one epoch.
    early: BTreeMap<ReplicaId, Vec<Arc<Verified<Proposal>>>>,
    /// The own Join that is under way, and when it was said last.
    pub(in crate::ordering) join: Option<(SignedChange, Instant)>,
}

/// Early proposals kept of one signer: two for each round that is looked ahead.
const MAX_EARLY: usize = 8;
const MAX_PAST: usize = 2;
const MAX_NAMED: usize = 8;
/// Reports of one call that are asked for because first proposals choose them; the choices of
/// honest ones name two of each signer at most.
const MAX_OTHERS: usize = 62;

/// Things asked for that are remembered: more than any opening names.
const MAX_ASKED: usize = 512;

impl Following {
    /// Whether something is to be asked for now: not so soon after the last time.
    pub(in crate::ordering) fn asks(&mut self, want: Want, now: Instant, again: Duration) -> bool {
        let again = if planted("r5-ask-at-once") { Duration::ZERO } else { again };
        if self.asked.get(&want).is_some_and(|at| now < *at + again) {
            return false;
        }
        if self.asked.len() >= MAX_ASKED {
            // What has come or is wanted no more makes room, in the end whatever is oldest.
            let oldest = self.asked.values().min().copied().unwrap_or_default();
            self.asked.retain(|_, at| *at > oldest);
        }
        self.asked.insert(want, now);
        true
    }

    /// Whether this was asked for.
    pub(in crate::ordering) fn has_asked(&self, want: &Want) -> bool {
        self.asked.contains_key(want)
    }

    /// Whether any proposal of this replica for this round was asked for and has not come.
    pub(in crate::ordering) fn awaits(&self, epoch: Epoch, round: Round, who: ReplicaId) -> bool {
        let first = Want { epoch, round, replica: who, digest: Digest::ZERO };
        let mut from = self.asked.range(first..).map(|(w, _)| (w.epoch, w.round, w.replica));
        from.next() == Some((epoch, round, who))
    }

    /// What was asked for has come.
    pub(in crate::ordering) fn got(&mut self, want: &Want) {
        self.asked.remove(want);
    }

    /// Keeps a Report of an epoch that this replica may have to follow through.
    pub(in crate::ordering) fn keep(&mut self, report: Arc<Checked>, committed: Epoch, here: Root) {
        let number = report.header.call.number();
        if number <= committed || number.root() > here {
            return;
        }
        self.stored.retain(|of| of.iter().any(|r| r.header.call.number() > committed));
        let digest = report.digest();
        let asked = self.asked.keys().any(|w| (w.round, w.digest) == (Round(0), digest));
        if asked {
            self.asked_for.retain(|epoch, _| *epoch > committed);
            if self.asked_for.len() < MAX_NAMED || self.asked_for.contains_key(&number) {
                add(self.asked_for.entry(number).or_default(), report.clone());
            }
        }
        self.past.retain(|epoch, _| *epoch > committed);
        if !self.past.contains_key(&number) && self.past.len() >= MAX_PAST {
            match self.past.last_key_value().map(|(last, _)| *last) {
                Some(last) if last > number => self.past.remove(&last),
                _ => return,
            };
        }
        add(self.past.entry(number).or_default(), report);
    }

    /// Keeps the Reports of an opening that this replica has entered, and cannot build after a
    /// start: somebody else may have what is missing, and may lack these (§7).
    pub(in crate::ordering) fn store(&mut self, reports: Vec<Arc<Checked>>) {
        if self.stored.len() >= MAX_NAMED {
            self.stored.pop_front();
        }
        self.stored.push_back(reports);
    }

    /// The Reports with these hashes, if all are kept.
    pub(in crate::ordering) fn named(&self, hashes: &[Digest]) -> Option<Vec<Arc<Checked>>> {
        let with = |hash: &Digest| self.kept_reports().find(|r| r.digest() == *hash).cloned();
        hashes.iter().map(with).collect()
    }

    /// All Reports that are kept here.
    pub(in crate::ordering) fn kept_reports(&self) -> impl Iterator<Item = &Arc<Checked>> {
        self.asked_for.values().chain(self.past.values()).chain(&self.stored).flatten()
    }

    /// Whether a Report that a first proposal chooses is to be asked for: once in each call.
    pub(in crate::ordering) fn asks_named(&mut self, digest: Digest) -> bool {
        self.named.len() < MAX_OTHERS && self.named.insert(digest)
    }

    /// Another call was taken: what its first proposals choose is asked for anew.
    pub(in crate::ordering) fn forget_named(&mut self) {
        self.named.clear();
    }

    /// Early proposals of one epoch.
    pub(in crate::ordering) fn early_of(
        &self,
        (epoch, members): (Epoch, Members),
    ) -> impl Iterator<Item = Arc<Verified<Proposal>>> {
        let all = self.early.values().flatten();
        all.filter(move |p| (p.epoch, p.members) == (epoch, members)).cloned()
    }

    /// What came of history while nothing was committed here may have found no room.
    pub(in crate::ordering) fn ask_history_again(&mut self) {
        self.history = None;
    }

    /// Keeps a proposal of an epoch that is not known here yet.
    pub(in crate::ordering) fn early(&mut self, proposal: Arc<Verified<Proposal>>) -> bool {
        let kept = self.early.entry(proposal.replica).or_default();
        if kept.first().is_some_and(|first| first.epoch < proposal.epoch) {
            kept.clear();
        }
        let fits = kept.first().is_none_or(|first| first.epoch == proposal.epoch)
            && kept.len() < MAX_EARLY
            && kept.iter().all(|p| p.digest() != proposal.digest());
        if fits {
            kept.push(proposal);
        }
        fits
    }
}

fn add(kept: &mut Vec<Arc<Checked>>, report: Arc<Checked>) {
    if kept.len() < 62 && kept.iter().all(|r| r.digest() != report.digest()) {
        kept.push(report);
    }
}

/// The calls of which all members' Reports are among these, with those in member order.
fn whole(reports: &[Arc<Checked>]) -> Vec<(Call, Vec<Arc<Checked>>)> {
    let calls: BTreeSet<Call> = reports.iter().map(|r| r.header.call).collect();
    let all = calls.into_iter().filter_map(|call| {
        let of = |m| reports.iter().find(|r| (r.header.call, r.header.replica) == (call, m));
        let all = call.members().iter().map(|m| of(m).cloned());
        Some((call, all.collect::<Option<Vec<_>>>()?))
    });
    all.collect()
}

impl<S: Scheme> Core<S> {
    /// Whether this replica has no state to go on from.
    pub fn is_blank(&self) -> bool {
        self.blank
    }

    /// Early proposals of the epoch whose chain is now here.
    pub(in crate::ordering) fn take_early(&mut self, now: Now, out: &mut Vec<Action>) {
        let of = self.rounds.epoch();
        let early = &mut self.change.following.early;
        let mut now_known = Vec::new();
        for kept in early.values_mut() {
            let (known, rest) =
                std::mem::take(kept).into_iter().partition(|p| (p.epoch, p.members) == of);
            now_known.extend::<Vec<_>>(known);
            *kept = rest;
        }
        now_known.sort_by_key(|p| p.round);
        for proposal in now_known {
            self.on_proposal(now, proposal, out);
        }
    }

    /// A peer is at a place that cannot be reached from what is held here.
    pub(in crate::ordering) fn ahead(
        &mut self,
        now: Now,
        peer: ReplicaId,
        at: (Epoch, Round),
        out: &mut Vec<Action>,
    ) {
        let complete = self.rounds.complete();
        let blank = self.is_blank();
        if !blank && !self.is_beyond(at) {
            return;
        }
        if !(blank && planted("m1-join-behind")) {
            let shown = (now.monotonic, at);
            let known = self.change.following.ahead.entry(peer).or_insert(shown);
            // Its furthest place counts: it may go on to show what came before.
            *known = (now.monotonic, at.max(known.1));
        }
        if blank {
            return self.fall_behind(now, out);
        }
        // Asked again when the answer has been used up, which may be long before 2Δ: by then others
        // are further, and history is not kept for ever.
        let enough = |(asked, until): (Instant, Round)| {
            now.monotonic >= asked + 2 * self.timing.delta || complete >= until
        };
        if self.change.following.history.is_none_or(enough) {
            // Whoever proposes in a round has completed the one before.
            let most = Round(complete.0 + history::IN_ONE as u64 / 2);
            let until = if at.0 == self.epoch { most.min(at.1.previous()) } else { most };
            self.change.following.history = Some((now.monotonic, until));
            mark("R7 history was asked for");
            out.push(Action::AskHistory { from: peer, after: self.committed });
        }
    }

    // Whoever proposes in the next round is no further than this replica.
    pub(in crate::ordering) fn is_beyond(&self, (epoch, round): (Epoch, Round)) -> bool {
        let next = self.rounds.complete().next();
        epoch > self.epoch || epoch == self.epoch && round > next
    }

    /// A peer asks for what was committed after a round.
    pub(in crate::ordering) fn want_history(
        &mut self,
        from: ReplicaId,
        after: Round,
        out: &mut Vec<Action>,
    ) {
        match self.history.after(after) {
            Some(mut statements) => {
                // What is complete and not committed yet lets them commit what is.
                let complete = self.rounds.complete();
                let near = complete.0 <= after.0 + history::IN_ONE as u64;
                if let Some((_, held)) = self.rounds.vector(complete).filter(|_| near) {
                    statements.extend(held.iter().cloned().map(Statement::Proposal));
                }
                out.extend(statements.into_iter().map(|what| Action::Show { to: from, what }));
            }
            None if after < self.committed => out.push(Action::Gone { to: from }),
            None => {}
        }
    }

    /// History does not help any more: the state itself is needed.
    pub(in crate::ordering) fn fall_behind(&mut self, now: Now, out: &mut Vec<Action>) {
        let due = |at: Instant| now.monotonic >= at + self.timing.patience;
        if self.change.following.behind.is_none_or(due) {
            self.change.following.behind = Some(now.monotonic);
            out.push(Action::Behind);
        }
    }

    /// Goes through an epoch of the past whose Reports are here and which the chain here leads to.
    pub(in crate::ordering) fn follow_past(&mut self, now: Now, out: &mut Vec<Action>) {
        // One of the past that is gone through may turn out to be a dead end.
        let busy = self.change.prepared.is_some() && !self.is_history();
        if self.is_blank() {
            return;
        }
        // An epoch that waits for this replica, which has promised more, never goes on.
        let (here, promise, me) = (self.epoch, self.change.promise.number(), self.id);
        // The epoch that is promised is entered by the front door; others may have left it alone.
        let frozen = self.change.is_frozen();
        let promised = |call: &Call| *call == self.change.promise && frozen;
        let leads_on = |call: &Call| {
            call.number() > here
                && !(call.members().contains(me) && call.number() < promise)
                && (!promised(call) || planted("r7-promise-first"))
        };
        // Those of the present root may have come before it was the present one.
        let present: Vec<_> = self.change.store.reports(promise.root()).cloned().collect();
        let past = self.change.following.past.values().flat_map(|reports| whole(reports));
        let ready = past.chain(whole(&present)).find(|(call, _)| leads_on(call));
        let Some((call, reports)) = ready else { return };
        if busy && !self.is_passed_over(&call) {
            return;
        }
        if promised(&call) {
            return;
        }
        let opening = self.opening_from(&call, &reports);
        let prepared = match self.build(&opening) {
            Ok(prepared) => prepared,
            Err(Needs::Wants(wants)) => return self.ask_at_times(now, wants, out),
            Err(Needs::Opening(wants) | Needs::Far(wants)) => {
                self.ask_at_times(now, wants, out);
                return self.fall_behind(now, out);
            }
            Err(Needs::Behind) => return self.fall_behind(now, out),
            Err(Needs::Astray) => return self.go_astray(now, &opening, out),
            Err(Needs::Invalid) => return,
        };
        let rounds = self.rounds_after(&opening, &prepared.order);
        self.switch_chain(rounds, opening);
        self.change.prepared = Some(Box::new(prepared));
        self.sent = self.rounds.base();
        self.wants = Default::default();
        if call.number() >= self.change.promise.number() {
            (self.change.promise, self.change.stage) = (call, Stage::Waiting);
            self.change.progress = now.monotonic;
        }
        // The Reports of the next one may be here already, and none may come any more.
        self.change.dirty |= !planted("r7-one-epoch-only");
        self.take_early(now, out);
    }

    /// Whether all others have left an epoch that this replica has entered, and whose first vector
    /// is not complete here, or must not be committed any more (E4). Where all have restarted there
    /// is no Report by which it could see why (E2); but of those that go on one is good, and has
    /// seen it.
    fn is_passed_over(&self, call: &Call) -> bool {
        (!self.rounds.is_open() || self.change.is_frozen())
            && call.number() >= self.change.promise.number()
            && !call.members().contains(self.id)
            && !planted("r7-not-passed-over")
    }

    /// A snapshot was installed: the order goes on from it.
    pub(in crate::ordering) fn install(&mut self, now: Now, state: &[u8], out: &mut Vec<Action>) {
        let ensemble = self.keyring.ensemble();
        let Ok(order) = Order::decode(state, ensemble, self.limits, self.seed) else {
            self.stats.bad_states += 1;
            return self.fall_behind(now, out);
        };
        let (epoch, base) = (order.epoch().0, order.round());
        let back = self.astray && epoch > self.order.epoch().0;
        if !self.blank && base <= self.committed && !back {
            return;
        }
        if !self.blank && epoch < self.epoch && !back {
            return self.prepare_from(order);
        }
        self.adopt_rounds(&order);
        (self.committed, self.blank) = (base, false);
        (self.abstains, self.astray) = (false, false);
        self.durable = self.durable.map(|durable| durable.min(base));
        self.history.clear();
        self.wants = Default::default();
        self.order = order;
        self.change.progress = now.monotonic;
        let mine: Vec<Digest> = self.mine.sorted().into_iter().map(|(d, _)| *d).collect();
        mine.iter().filter(|d| self.order.is_executed(d)).for_each(|d| {
            self.mine.remove(d);
        });
        self.unsent.clear();
        let own = self.order.tips[self.id.index()];
        self.clock.at_least(own.now.max(own.candidate));
        if epoch >= self.change.promise.number() {
            self.change.promise = self.order.roster.call;
            self.change.store.forget_below(epoch.root());
            self.change.stage = Stage::Running;
        }
        // What others said of epochs after this one may be here already.
        self.change.dirty = !planted("s7-state-unheard");
        out.push(Action::Event(Event::Installed { epoch, round: base }));
        // What the round before was waited for says nothing of this one (E1).
        self.look_at_next_round(now.monotonic);
        self.take_early(now, out);
        // What was complete already and could not be committed may be all that came.
        self.commit_complete(out);
        self.advance(now, out);
    }

    /// A state of an epoch before the present one: the opening that waits here is built on it.
    fn prepare_from(&mut self, order: Order) {
        let opening = self.change.opening.clone().filter(|_| self.change.prepared.is_some());
        let before = std::mem::replace(&mut self.order, order);
        match opening.map(|opening| self.build(&opening)) {
            Some(Ok(prepared)) => {
                self.committed = self.order.round();
                self.change.prepared = Some(Box::new(prepared));
            }
            _ => self.order = before,
        }
    }

    /// The rounds go on from a state that was taken over. What is complete here already stays: a
    /// Report must never claim less than an own proposal chose (E5), and no round is signed twice.
    fn adopt_rounds(&mut self, order: &Order) {
        let (epoch, members) = order.epoch();
        let (base, choice, tips) = (order.round(), order.last.1.clone(), order.tips.clone());
        let same = !self.blank && self.rounds.epoch() == (epoch, members);
        let here = self.rounds.vector(base).is_some_and(|(hash, _)| hash == order.last.0.vector);
        if same && here {
            // The state is of this epoch: its opening is committed in it, with all that followed.
            if !planted("s7-opening-stays") {
                self.change.prepared = None;
            }
            return;
        }
        let entered = (self.change.entered.epoch, self.change.entered.members);
        let rounds = Rounds::new(Start { epoch, members, base, choice, tips }).seen_by(self.id);
        let rounds = std::mem::replace(&mut self.rounds, rounds);
        let before = Chain { rounds, opening: self.change.opening.take() };
        self.change.old.push(before);
        self.change.old.retain(|c| c.rounds.epoch() == entered && c.rounds.is_open());
        let best = self.change.old.iter().map(|c| c.rounds.complete()).max();
        self.change.old.retain(|c| Some(c.rounds.complete()) == best);
        self.change.old.truncate(1);
        self.change.prepared = None;
        self.sent = if same { self.sent.max(base) } else { base };
        (self.epoch, self.members) = (epoch, members);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Duration = Duration::from_millis(200);

    fn want(round: u64) -> Want {
        let replica = ReplicaId::from_index(0);
        Want { epoch: Epoch::GENESIS, round: Round(round), replica, digest: Digest([7; 32]) }
    }

    fn after(millis: u64) -> Instant {
        Instant(1) + Duration::from_millis(millis)
    }

    /// R5. Two things that wait for each other's answers once asked for each other's parts with
    /// every answer, and so with every answer to that: a storm.
    #[test]
    fn two_sets_in_turn_are_asked_for_once_in_that_time() {
        let mut following = Following::default();
        let mut asked = |at: u64| {
            let sets = [[1, 2], [3, 4], [1, 2], [3, 4], [2, 3]];
            let all = sets.into_iter().flatten();
            all.filter(|round| following.asks(want(*round), after(at), AGAIN)).collect::<Vec<_>>()
        };
        assert_eq!(asked(0), [1, 2, 3, 4]);
        assert!(asked(0).is_empty());
        assert!(asked(199).is_empty());
        assert_eq!(asked(200), [1, 2, 3, 4]);
        assert!(asked(399).is_empty());
    }

    #[test]
    fn what_has_come_is_forgotten_and_the_oldest_makes_room() {
        let mut following = Following::default();
        assert!(following.asks(want(1), after(0), AGAIN));
        assert!(following.has_asked(&want(1)));
        following.got(&want(1));
        assert!(!following.has_asked(&want(1)));
        for n in 0..10 * MAX_ASKED as u64 {
            assert!(following.asks(want(n), after(n), AGAIN));
        }
        assert_eq!(following.asked.len(), MAX_ASKED);
        assert!(following.has_asked(&want(10 * MAX_ASKED as u64 - 1)));
        assert!(!following.has_asked(&want(0)));
    }
}
