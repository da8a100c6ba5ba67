//! Puts together what the nodes tell, while a run goes on and at its end.

use super::check::{Accepted, Checked, Checks, Violation};
use super::fairness::fairness;
use super::linear::{self, Call, Effected, Operation, Read, Verdict};
use super::liveness::Waits;
use super::model::{KvModel, KvOut};
use super::seeker::ReceiptBook;
use super::{AfterPanic, Clock, NodeId, Note, Noted, Options, PersistRule, client_id, kv};
use crate::ordering::Reason;
use crate::replica::{Event, Status};
use crate::types::{AgreedTime, Members, ReplicaId, RequestId, SessionId};
use crate::wire::{Command, Frame};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Steps that the search for an order may take.
const SEARCH_STEPS: u64 = 3_000_000;

/// Microseconds by which agreed time may be ahead of every good clock: a hybrid clock counts one
/// up for each candidate where many come at once.
const MAX_LEAD: u64 = 1000;
/// Microseconds by which it may be behind: an idle group commits a round a heartbeat later.
const MAX_LAG: u64 = 2_000_000;

/// A call of a correct client.
struct Made {
    commands: Vec<Command>,
    invoked: u64,
    answered: Option<(u64, RequestId, Vec<KvOut>)>,
}

/// The judge of one run.
pub struct Judge {
    /// What replicas executed and clients sent.
    pub checks: Checks,
    /// The calls that wait.
    pub waits: Waits,
    /// Events of good replicas, by kind.
    pub events: BTreeMap<&'static str, u64>,
    /// Calls that ended without an answer and should not have, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Whether good replicas may halt.
    may_halt: bool,
    /// Correct clients whose calls may fail.
    excused: BTreeSet<u32>,
    clients: u32,
    /// Good ones that good ones have excluded as silent or lying; had executed nothing until then.
    excluded: Members,
    unstarted: Members,
    /// Good replicas that were late, by the good ones that have told so, also of themselves.
    told_late: BTreeMap<ReplicaId, Members>,
    /// Whether that matters: not where clocks run so wrong that nobody can measure anything.
    measures: bool,
    /// Good replicas that took their disk for a lost one: they had never got as far as a step when
    /// others had gone on without them, which looks like a lost disk (§7).
    passed_over: Members,
    /// Replicas that the world has crashed at least once: they may say that they restarted.
    crashed: Members,
    calls: BTreeMap<(u32, u64), Made>,
    /// What must be durable before something is sent.
    persist_rule: Option<PersistRule>,
    /// Who has given up what it had executed.
    rolled: Members,
    /// What each replica has written since the beginning and not lost, if that is checked.
    written: BTreeMap<ReplicaId, Vec<Bytes>>,
    /// Receipts that clients have; they are judged apart, in every run.
    pub(super) receipts: ReceiptBook,
    /// Wall clocks of good replicas, where agreed time is to be measured against them.
    clocks: Vec<Clock>,
}

impl Judge {
    /// A judge of a run with these options.
    pub fn new(options: &Options) -> Self {
        Self {
            checks: Checks::new(options.good()),
            waits: Waits::default(),
            events: BTreeMap::new(),
            failed: BTreeMap::new(),
            may_halt: options.panics == Some(AfterPanic::InDoubt),
            excused: (0..options.clients).filter(|c| options.may_fail(*c)).collect(),
            clients: options.clients,
            excluded: Members::NONE,
            unstarted: Members::NONE,
            told_late: BTreeMap::new(),
            measures: options.rate_ppm == 0 && options.random_faults.rates == 0,
            passed_over: Members::NONE,
            crashed: Members::NONE,
            calls: BTreeMap::new(),
            persist_rule: options.persist_rule,
            rolled: Members::NONE,
            written: BTreeMap::new(),
            receipts: ReceiptBook::default(),
            clocks: Vec::new(),
        }
    }

    /// A good replica has this clock: from now on agreed time must not run ahead of all of these.
    pub fn on_clock(&mut self, clock: Clock) {
        self.clocks.push(clock);
    }

    /// The world has crashed a replica.
    pub fn on_crashed(&mut self, replica: ReplicaId) {
        self.crashed.insert(replica);
        self.checks.on_restarted(replica);
    }

    /// Takes a note.
    ///
    /// # Errors
    /// The rule that is broken by it.
    pub fn on_note(&mut self, noted: Noted<Note>) -> Checked {
        self.receipts.take(&noted.note);
        let Noted { time, node, note, durable } = noted;
        match (node, note) {
            (NodeId::Client(_), Note::Sent(digest, mut sent)) => {
                sent.time = time;
                self.checks.on_sent(digest, sent);
                Ok(())
            }
            (NodeId::Replica(r), Note::Received(digest)) => {
                self.checks.on_received(r, digest, time);
                Ok(())
            }
            (NodeId::Replica(r), Note::Declined(request)) => {
                self.checks.on_declined(r, request);
                Ok(())
            }
            (NodeId::Replica(r), Note::Step(step, told)) => {
                match told {
                    true => self.checks.on_step(r, &step)?,
                    false => self.checks.on_untold(r, &step)?,
                }
                self.on_time(r, time, step.time)
            }
            (NodeId::Replica(r), Note::Event(event)) => self.on_event(r, &event),
            (NodeId::Replica(_), Note::Evidence { .. } | Note::MarkedKnown) => Ok(()),
            (NodeId::Replica(r), Note::Persists(records)) => {
                self.written.entry(r).or_default().extend(records);
                Ok(())
            }
            (NodeId::Replica(r), Note::Sends(_, frame)) => self.on_sends(r, &frame, durable),
            (node, Note::Closed(peer, why)) => self.on_closed(node, peer, &why),
            (NodeId::Client(c), note) => self.on_client(c, time, note),
            (NodeId::Replica(_), other) => unreachable!("no replica says {other:?}"),
        }
    }

    fn on_client(&mut self, client: u32, time: u64, note: Note) -> Checked {
        match note {
            Note::Called(call, commands) => {
                self.waits.on_call(client, call, time);
                let made = Made { commands, invoked: time, answered: None };
                self.calls.insert((client, call), made);
                Ok(())
            }
            Note::Answered { call, request, position, index, outputs } => {
                self.waits.on_answer(client, call, time);
                let accepted = Accepted { request, position, index, outputs };
                // A query stands nowhere in the order.
                if request.session != SessionId::QUERIES {
                    self.checks.on_accepted(&accepted)?;
                }
                let outs = kv::outs(&accepted.outputs).map_err(|w| violation("answer", w))?;
                if let Some(made) = self.calls.get_mut(&(client, call)) {
                    made.answered = Some((time, request, outs));
                }
                Ok(())
            }
            Note::Failed(call, why) => {
                self.waits.on_answer(client, call, time);
                if !self.excused.contains(&client) {
                    *self.failed.entry(why).or_default() += 1;
                }
                Ok(())
            }
            Note::Receipt(_) | Note::NoReceipt(..) => Ok(()),
            other => unreachable!("no client says {other:?}"),
        }
    }

    /// A replica starts with these records on its disk.
    pub fn on_started(&mut self, replica: ReplicaId, recovered: Vec<Bytes>) {
        if recovered.is_empty() {
            self.rolled.remove(replica);
        }
        self.written.insert(replica, recovered);
    }

    /// In a run in which nothing more is promised: still no good replica may be accused.
    ///
    /// # Errors
    /// If one is.
    pub fn on_accusation(&mut self, noted: &Noted<Note>) -> Checked {
        self.receipts.take(&noted.note);
        match (noted.node, &noted.note) {
            (NodeId::Replica(at), Note::Event(event)) if is_accusation(event) => {
                self.on_event(at, event)
            }
            _ => Ok(()),
        }
    }

    // §7: nothing is said that could be forgotten.
    fn on_sends(&self, at: ReplicaId, frame: &Bytes, durable: usize) -> Checked {
        let (Some(rule), true) = (self.persist_rule, self.checks.good().contains(at)) else {
            return Ok(());
        };
        let written = self.written.get(&at).map_or(&[][..], |w| &w[..durable.min(w.len())]);
        let frame = Frame::parse(frame.clone());
        let frame = frame.map_err(|e| violation("frame", format!("{at} sends {}", e.what)))?;
        rule(&frame, written).map_err(|what| violation("durability", format!("{at}: {what}")))
    }

    // O2, B31: t liars cannot move agreed time beyond what a good replica's clock reads. It is what
    // they read some rounds ago; how far it may lag the bound on a call says.
    fn on_time(&self, at: ReplicaId, now: u64, agreed: AgreedTime) -> Checked {
        let walls = || self.clocks.iter().map(|c| c.read(now).wall.0);
        let (Some(high), Some(low)) = (walls().max(), walls().min()) else { return Ok(()) };
        let fits = low.saturating_sub(MAX_LAG) <= agreed.0 && agreed.0 <= high + MAX_LEAD;
        let what = format!("agreed {agreed} at {at}, good clocks read {low} to {high}");
        if fits || !self.checks.good().contains(at) { Ok(()) } else { Err(violation("time", what)) }
    }

    /// What must hold where at most t are bad and the others in time: none of these is excluded, or
    /// said to be late by one in touch, but who waited with its first proposal for a liar (§7).
    ///
    /// # Errors
    /// Who was.
    pub fn nobody_good_is_out(&self, cut_off: Members) -> Checked {
        let excused = self.crashed.union(self.unstarted.both(cut_off));
        let wrongly = self.excluded.union(self.passed_over).minus(excused);
        let deaf = cut_off.union(self.crashed);
        let told = self.told_late.iter().filter(|(by, _)| !deaf.contains(**by));
        let late = told.fold(Members::NONE, |all, (_, late)| all.union(*late)).minus(self.crashed);
        if !wrongly.is_empty() {
            return Err(violation("false exclusion", format!("{wrongly} were excluded")));
        }
        if !late.is_empty() && self.measures {
            return Err(violation("false alarm", format!("{late} were said to be late")));
        }
        Ok(())
    }

    // What the word of a good replica means for what is expected of it.
    fn note(&mut self, at: ReplicaId, event: &Event) {
        match event {
            Event::Undone { ran: true, .. } => {
                self.rolled.insert(at);
            }
            Event::SnapshotInstalled { round, .. } => {
                if self.checks.is_passed_by(at) {
                    self.rolled.insert(at);
                }
                self.checks.on_taken_up(at, *round);
            }
            Event::Recovered(found) => {
                self.checks.on_taken_up(at, found.snapshot);
                self.checks.on_recovered(at, &found.steps, found.round);
            }
            // A replica speaks of its own lateness as of another's.
            Event::DeltaBroken { who, .. } => {
                let late = who.replica().unwrap_or(at);
                if self.checks.good().contains(late) {
                    self.told_late.entry(at).or_default().insert(late);
                }
            }
            _ => {}
        }
    }

    // Nothing that good replicas report may say that a good one lies, differs or has stopped.
    fn on_event(&mut self, at: ReplicaId, event: &Event) -> Checked {
        let good = self.checks.good();
        if !good.contains(at) {
            return Ok(());
        }
        self.note(at, event);
        let (kind, accused) = match event {
            Event::DiskLost if self.crashed.contains(at) => ("disk lost", None),
            Event::DiskLost => {
                self.passed_over.insert(at);
                ("disk lost", (self.checks.steps_of(at) > 0).then_some(at))
            }
            Event::Restarted if self.crashed.contains(at) => ("restarted", None),
            Event::Restarted if self.checks.steps_of(at) == 0 => {
                self.passed_over.insert(at);
                ("restarted", None)
            }
            Event::Restarted => ("restarted", Some(at)),
            Event::Recovered(_) => ("recovered", None),
            // What is committed is final where nobody forgets anything.
            Event::Undone { .. } => ("undone", self.crashed.is_empty().then_some(at)),
            Event::Waiting { .. } => ("waiting", None),
            Event::Resumed { .. } => ("resumed", None),
            Event::Equivocation { replica, .. } => ("equivocation", Some(*replica)),
            Event::InvalidProposal { replica, .. } => ("invalid proposal", Some(*replica)),
            Event::Stable { .. } => ("stable", None),
            Event::Diverged { replica, .. } => ("diverged", Some(*replica)),
            Event::SnapshotWanted => ("snapshot wanted", None),
            Event::SnapshotInstalled { .. } => ("snapshot installed", None),
            Event::SnapshotRefused { .. } => ("snapshot refused", None),
            Event::Blamed { .. } => ("blamed", None),
            Event::Proven { replica, .. } => ("proven", Some(*replica)),
            Event::Called { .. } => ("called", None),
            Event::Entered { .. } => ("entered", None),
            Event::Epoch { .. } => ("epoch", None),
            Event::Excluded { replica, why, .. } => {
                if matches!(why, Reason::Silent | Reason::Lied) && good.contains(*replica) {
                    let first = !self.excluded.contains(*replica) && *why == Reason::Silent;
                    if first && self.checks.steps_of(*replica) == 0 {
                        self.unstarted.insert(*replica);
                    }
                    self.excluded.insert(*replica);
                }
                ("excluded", None)
            }
            Event::Joined { .. } => ("joined", None),
            Event::Stalled { .. } => ("stalled", None),
            Event::Joining { .. } => ("joining", None),
            Event::Change { .. } => ("change", None),
            Event::DeltaNear { .. } => ("delta near", None),
            Event::DeltaBroken { .. } => ("delta broken", None),
            Event::Quarantined { .. } => ("quarantined", Some(at)),
            Event::Released { .. } => ("released", None),
            Event::Nondeterministic { .. } => ("nondeterministic", (!self.may_halt).then_some(at)),
            Event::Halted { .. } => ("halted", (!self.may_halt).then_some(at)),
            Event::Step { .. } => ("step", None),
        };
        *self.events.entry(kind).or_default() += 1;
        match accused.filter(|a| good.contains(*a)) {
            Some(_) => {
                // Where liars and broken bounds come together good ones may have to give up.
                let gives_up = matches!(event, Event::Undone { .. });
                let rule = if gives_up { "given up" } else { "false accusation" };
                Err(violation(rule, format!("{at} reports {event:?}")))
            }
            None => Ok(()),
        }
    }

    fn on_closed(&self, node: NodeId, peer: NodeId, why: &str) -> Checked {
        let honest = |node| match node {
            NodeId::Replica(r) => self.checks.good().contains(r),
            NodeId::Client(c) => c < self.clients,
        };
        if honest(node) && honest(peer) {
            return Err(violation("closed link", format!("{node} closed that to {peer}: {why}")));
        }
        Ok(())
    }

    /// §7: whoever gave up what it had executed says so.
    ///
    /// # Errors
    /// Who should and does not.
    pub fn all_say_what_they_gave_up(&self, statuses: &[(ReplicaId, Status)]) -> Checked {
        for (replica, status) in statuses.iter().filter(|(id, _)| self.rolled.contains(*id)) {
            let own = status.standings.iter().find(|place| place.replica == replica.number());
            if own.is_none_or(|place| !place.rolled) {
                let what = format!("{replica} does not say that it has");
                return Err(violation("rolled back", what));
            }
        }
        Ok(())
    }

    /// The checks that need the whole run.
    ///
    /// # Errors
    /// The first that fails.
    pub fn finish(&self, options: &Options, now: u64) -> Checked {
        if options.must_finish {
            self.checks.all_caught_up()?;
            if let Some((why, n)) = self.failed.iter().next() {
                return Err(violation("liveness", format!("{n} calls have failed: {why}")));
            }
        }
        if options.must_finish {
            self.checks.nothing_accepted_is_lost()?;
        }
        if let Some(bound) = options.bound {
            self.waits.within(now, bound)?;
        }
        if options.fairness {
            fairness(&self.checks, clock_disagreement(options, now))?;
        }
        self.witness()?;
        if options.search { self.search() } else { Ok(()) }
    }

    fn witness(&self) -> Checked {
        let fail = |what| violation("linearizability", what);
        let order: Result<Vec<_>, String> = self.checks.executions().map(kv::placed).collect();
        let order = order.map_err(fail)?;
        let effects: BTreeMap<RequestId, &Effected<KvOut>> =
            order.iter().map(|p| (p.request, &p.effect)).collect();
        let mut calls: BTreeMap<RequestId, Call<KvOut>> = BTreeMap::new();
        let correct: Vec<_> = (0..self.clients).map(client_id).collect();
        for sent in self.checks.sent().values() {
            // An opening may stand in the order again, and is answered to nobody.
            if sent.request.number > 0 && correct.contains(&sent.request.client) {
                // Twins may have sent two requests of one name; either may be the one that ran.
                let call = Call { invoked: sent.time, answered: None };
                let first = calls.entry(sent.request).or_insert(call);
                first.invoked = first.invoked.min(sent.time);
            }
        }
        let ordered = |request: &RequestId| request.session != SessionId::QUERIES;
        let answered = self.calls.values().filter_map(|m| m.answered.as_ref());
        for (time, request, _) in answered.filter(|(_, request, _)| ordered(request)) {
            let executed = effects.get(request).map_or(Effected::Nothing, |e| (*e).clone());
            let known = format!("{request} was answered and never sent");
            let call = calls.get_mut(request).ok_or_else(|| fail(known))?;
            let first = call.answered.as_ref().map_or(*time, |(t, _)| (*time).min(*t));
            call.answered = Some((first, executed));
        }
        let numbered: Vec<_> = order.into_iter().filter(|p| p.request.number > 0).collect();
        let numbered = without_repeated_refusals(numbered);
        linear::witness(&numbered, &calls).map_err(fail)?;
        linear::reads(&numbered, &calls, self.reads()).map_err(fail)
    }

    fn reads(&self) -> Vec<Read<KvModel>> {
        let read = |made: &Made| {
            let (answered, request, outs) = made.answered.as_ref()?;
            let told = made.commands.iter().map(kv::op).zip(outs.iter().cloned()).collect();
            let (invoked, answered) = (made.invoked, *answered);
            let is_read = request.session == SessionId::QUERIES;
            is_read.then_some(Read { invoked, answered, told })
        };
        self.calls.values().filter_map(read).collect()
    }

    fn search(&self) -> Checked {
        let mut history: Vec<Operation<KvModel>> = Vec::new();
        for made in self.calls.values() {
            let answered = made.answered.as_ref();
            for (i, command) in made.commands.iter().enumerate() {
                let answered = answered.map(|(time, _, outs)| (*time, outs[i].clone()));
                history.push(Operation { invoked: made.invoked, answered, op: kv::op(command) });
            }
        }
        // What lying clients did may have happened at any time.
        let correct: Vec<_> = (0..self.clients).map(client_id).collect();
        for entry in self.checks.executions().filter(|e| !correct.contains(&e.request.client)) {
            let placed = kv::placed(entry).map_err(|what| violation("linearizability", what))?;
            let open = |op| Operation { invoked: 0, answered: None, op };
            history.extend(placed.ops.into_iter().map(open));
        }
        match linear::search(&history, SEARCH_STEPS) {
            Verdict::Linearizable => Ok(()),
            Verdict::NotLinearizable(part) => {
                let part: Vec<_> = part.iter().map(|&i| &history[i]).collect();
                Err(violation("linearizability", format!("no order explains {part:?}")))
            }
            Verdict::Unknown => {
                Err(violation("linearizability", "the search was given up".to_owned()))
            }
        }
    }
}

// What was refused for its session's sake may come again; the witness wants each request once.
fn without_repeated_refusals(
    order: Vec<linear::Placed<RequestId, KvModel>>,
) -> Vec<linear::Placed<RequestId, KvModel>> {
    let mut last: BTreeMap<RequestId, usize> = BTreeMap::new();
    for (i, placed) in order.iter().enumerate() {
        let effect = placed.effect != Effected::Nothing;
        let at = last.entry(placed.request).or_insert(i);
        *at = if effect { i } else { *at };
    }
    let keep = |(i, p): &(usize, linear::Placed<RequestId, KvModel>)| {
        p.effect != Effected::Nothing || last[&p.request] == *i
    };
    order.into_iter().enumerate().filter(keep).map(|(_, p)| p).collect()
}

// By how much two good replicas' candidates for requests that came at one time can differ: their
// wall clocks, and what candidates of one replica for many requests at once are spread over.
fn clock_disagreement(options: &Options, now: u64) -> u64 {
    let drift = now / 1_000_000 * options.drift_ppm * 2;
    let spread = u64::try_from(options.clock_spread.as_nanos()).unwrap_or(u64::MAX);
    let ties = Duration::from_micros(200).as_nanos() as u64;
    spread.saturating_add(drift).saturating_add(ties)
}

// Whether it says that somebody has signed what no good replica signs.
fn is_accusation(event: &Event) -> bool {
    matches!(event, Event::Equivocation { .. } | Event::InvalidProposal { .. })
}

fn violation(rule: &'static str, what: String) -> Violation {
    Violation { rule, what }
}
