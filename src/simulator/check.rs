//! The checkers: what must hold of every run, judged from what good replicas say they executed
//! and what clients sent and accepted.
//!
//! They share no predicate with the protocol. One list of steps is the order; the first good
//! replica that reaches a step writes it, all others must find it as they have it.

mod losses;

use crate::replica::{StepTrace, TraceEntry};
use crate::types::{Digest, Members, ReplicaId, RequestId, Round};
use crate::wire::{Outcome, Refusal, StepPosition};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A rule that a run has broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule, in one or two words.
    pub rule: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// The outcome of one check.
pub type Checked = Result<(), Violation>;

fn broken(rule: &'static str, what: String) -> Checked {
    Err(Violation { rule, what })
}

/// What a client sent, as the world saw it leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Whose request, and which.
    pub request: RequestId,
    /// Its body.
    pub body: Bytes,
    /// When it first left, nanoseconds of the world.
    pub time: u64,
}

/// What a correct client has accepted for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The request that carried it, perhaps with other calls.
    pub request: RequestId,
    /// At which step.
    pub position: StepPosition,
    /// At which index of the step.
    pub index: u32,
    /// The outputs.
    pub outputs: Vec<Bytes>,
}

#[derive(Default)]
struct Reached {
    steps: usize,
    last_round: Round,
    /// Steps that it took up from its disk, or executed though it knew of a later epoch, and that
    /// nobody else may have: it can still find that the others have gone on without them (§7).
    own: Vec<StepTrace>,
    /// Whether it has executed nothing since that it may tell: its root may be of such steps.
    unsure: bool,
    /// The others have gone on without a step that it has executed, and it is yet to hear of that:
    /// it must give it up before it executes anything else.
    passed_by: bool,
}

/// All that is known of a run, and the checks that run along.
pub struct Checks {
    good: Members,
    order: Vec<StepTrace>,
    places: BTreeMap<StepPosition, usize>,
    reached: BTreeMap<ReplicaId, Reached>,
    executed: BTreeMap<RequestId, Digest>,
    seen: BTreeSet<RequestId>,
    sent: BTreeMap<Digest, Sent>,
    receipts: BTreeMap<Digest, BTreeMap<ReplicaId, u64>>,
    vouchers: BTreeMap<Digest, Members>,
    roots: BTreeMap<Round, (ReplicaId, Digest)>,
    /// Steps of the order up to the last that a correct client has accepted something of.
    accepted: usize,
    /// Steps that nobody has any more: what replicas that crashed had executed.
    lost: Vec<StepTrace>,
    /// Those of them that the history has gone on without.
    dead: Vec<StepTrace>,
    /// Those of them that a client has accepted something of nevertheless: they must come back.
    owed: BTreeMap<StepPosition, StepTrace>,
    /// Steps that somebody who had executed them has lost, whoever else has them.
    forgotten: BTreeSet<StepPosition>,
}

impl Checks {
    /// Checks a run in which these replicas are good from beginning to end.
    pub fn new(good: Members) -> Self {
        Self {
            good,
            order: Vec::new(),
            places: BTreeMap::new(),
            reached: BTreeMap::new(),
            executed: BTreeMap::new(),
            seen: BTreeSet::new(),
            sent: BTreeMap::new(),
            receipts: BTreeMap::new(),
            vouchers: BTreeMap::new(),
            roots: BTreeMap::new(),
            accepted: 0,
            lost: Vec::new(),
            dead: Vec::new(),
            owed: BTreeMap::new(),
            forgotten: BTreeSet::new(),
        }
    }

    /// The replicas whose word counts.
    pub fn good(&self) -> Members {
        self.good
    }

    /// The order so far: every step that executed something at a good replica.
    pub fn order(&self) -> &[StepTrace] {
        &self.order
    }

    /// Every request executed for the first time, in the order.
    pub fn executions(&self) -> impl Iterator<Item = &TraceEntry> {
        self.order.iter().flat_map(|s| &s.entries).filter(|e| e.fresh)
    }

    /// How many requests in the order were refused, by reason; and how many numbers withdrawn.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        let mut out = BTreeMap::new();
        for entry in self.order.iter().flat_map(|s| &s.entries) {
            let why = match Outcome::parse(&entry.outcome) {
                Ok(Outcome::Refused(why)) => format!("{why:?}"),
                Ok(Outcome::Withdrawn) => "Withdrawn".to_owned(),
                _ => continue,
            };
            *out.entry(why).or_default() += 1;
        }
        out
    }

    /// What clients sent, by digest.
    pub fn sent(&self) -> &BTreeMap<Digest, Sent> {
        &self.sent
    }

    /// When each replica first had each request from its client, nanoseconds of the world.
    pub fn receipts(&self) -> &BTreeMap<Digest, BTreeMap<ReplicaId, u64>> {
        &self.receipts
    }

    /// How many steps of the order a good replica has executed.
    pub fn steps_of(&self, replica: ReplicaId) -> usize {
        self.reached.get(&replica).map_or(0, |r| r.steps)
    }

    /// Whether a replica has executed what the others have gone on without, and has executed
    /// nothing with them since.
    pub fn is_passed_by(&self, replica: ReplicaId) -> bool {
        self.reached.get(&replica).is_some_and(|r| r.passed_by)
    }

    /// A client, correct or not, has sent a request.
    pub fn on_sent(&mut self, digest: Digest, sent: Sent) {
        self.sent.entry(digest).or_insert(sent);
    }

    /// A replica has got a request from its client.
    pub fn on_received(&mut self, replica: ReplicaId, digest: Digest, time: u64) {
        self.receipts.entry(digest).or_default().entry(replica).or_insert(time);
        self.vouchers.entry(digest).or_default().insert(replica);
    }

    /// A replica said that it does not take a request now: fairness owes it nothing.
    pub fn on_declined(&mut self, replica: ReplicaId, request: RequestId) {
        for (digest, times) in &mut self.receipts {
            if self.sent.get(digest).is_some_and(|s| s.request == request) {
                times.remove(&replica);
            }
        }
    }

    /// A replica has executed a step.
    ///
    /// # Errors
    /// The rule that is broken by that.
    pub fn on_step(&mut self, replica: ReplicaId, step: &StepTrace) -> Checked {
        if !self.good.contains(replica) {
            return Ok(());
        }
        self.next_round(replica, step)?;
        let reached = self.reached.entry(replica).or_default();
        // It goes on from what it took up: so that is in everybody's history.
        let own = std::mem::take(&mut reached.own);
        reached.unsure = false;
        own.iter().try_for_each(|before| self.place(replica, before))?;
        let passed = |s: &mut StepTrace| s.position.round <= step.position.round;
        self.dead.extend(self.lost.extract_if(.., passed));
        self.place(replica, step)
    }

    /// A step that was executed and that no good replica has now.
    fn find_lost(&self, position: StepPosition) -> Option<&StepTrace> {
        let mut all = self.lost.iter().rev().chain(self.dead.iter().rev());
        all.find(|s| s.position == position)
    }

    fn place(&mut self, replica: ReplicaId, step: &StepTrace) -> Checked {
        if step.entries.is_empty() {
            return Ok(());
        }
        let reached = self.reached.entry(replica).or_default();
        let (at, passed_by) = (reached.steps, reached.passed_by);
        reached.steps += 1;
        match self.order.get(at) {
            Some(known) => match same_step(replica, at, known, step) {
                // Or it has taken up the others' state meanwhile, and goes on with them.
                Ok(()) => reached.passed_by = false,
                Err(_) if !passed_by && self.pass_by(replica, at) => self.append(replica, step)?,
                differs => return differs,
            },
            None if passed_by => {
                let what = format!("goes on at {:?} after what others have lost", step.position);
                return broken("agreement", format!("{replica} {what}"));
            }
            None => self.append(replica, step)?,
        }
        Ok(())
    }

    fn append(&mut self, replica: ReplicaId, step: &StepTrace) -> Checked {
        if let Some(last) = self.order.last().filter(|l| l.time > step.time) {
            return broken("time", format!("{} after {} at {replica}", step.time, last.time));
        }
        if let Some(pair) = step.entries.windows(2).find(|p| p[0].uid_clock > p[1].uid_clock) {
            let (a, b) = (&pair[0], &pair[1]);
            let what = format!("{} with uid {} before", a.request, a.uid_clock);
            return broken("uid order", format!("{what} {} with {}", b.request, b.uid_clock));
        }
        if let Some(owed) = self.owed.remove(&step.position) {
            same_step(replica, self.order.len(), &owed, step)?;
            self.accepted = self.order.len() + 1;
        }
        for entry in &step.entries {
            self.valid(replica, entry)?;
            self.once(entry)?;
        }
        self.places.insert(step.position, self.order.len());
        self.order.push(step.clone());
        Ok(())
    }

    // O1: what is executed was sent by its client, to a good replica among others.
    fn valid(&self, replica: ReplicaId, entry: &TraceEntry) -> Checked {
        let name = entry.request;
        let Some(sent) = self.sent.get(&entry.digest) else {
            return broken("validity", format!("{replica} executed {name}, which nobody sent"));
        };
        if sent.request != name || sent.body != entry.body {
            let what = format!("{replica} executed {name} with a body that is not its client's");
            return broken("validity", what);
        }
        let vouched = self.vouchers.get(&entry.digest);
        if !vouched.is_some_and(|who| who.iter().any(|r| self.good.contains(r))) {
            let what = format!("{name} was executed, but no good replica had it from its client");
            return broken("validity", what);
        }
        Ok(())
    }

    // O6: a number takes effect once. What was refused for its session's sake may come again.
    fn once(&mut self, entry: &TraceEntry) -> Checked {
        let name = entry.request;
        if !entry.fresh {
            let refused = matches!(Outcome::parse(&entry.outcome), Ok(Outcome::Refused(_)));
            let known = self.seen.contains(&name) || refused;
            let what = format!("{name} is called a repetition and is none");
            return if known { Ok(()) } else { broken("exactly once", what) };
        }
        self.seen.insert(name);
        match Outcome::parse(&entry.outcome) {
            Err(e) => broken("outcome", format!("of {name}: {e}")),
            Ok(outcome) if !had_effect(&outcome) => Ok(()),
            Ok(_) => match self.executed.insert(name, entry.digest) {
                None => Ok(()),
                Some(before) => {
                    let what = format!("{name} again, as {before} and as {}", entry.digest);
                    broken("exactly once", what)
                }
            },
        }
    }

    /// A correct client has accepted an outcome: a good replica must have executed just that.
    ///
    /// # Errors
    /// If none has.
    pub fn on_accepted(&mut self, accepted: &Accepted) -> Checked {
        let name = accepted.request;
        let position = accepted.position;
        let step = if let Some(&at) = self.places.get(&position) {
            self.accepted = self.accepted.max(at + 1);
            &self.order[at]
        } else if let Some(lost) = self.find_lost(position).cloned() {
            self.owed.entry(position).or_insert(lost)
        } else {
            let round = position.round;
            return broken("acceptance", format!("{name} at {round:?}, where nothing good is"));
        };
        let entry = step.entries.iter().find(|e| e.index == accepted.index);
        let Some(entry) = entry.filter(|e| e.request == name) else {
            return broken("acceptance", format!("{name} is not at index {}", accepted.index));
        };
        let truth = Outcome::parse(&entry.outcome);
        let part = match &truth {
            Ok(Outcome::Executed(outputs)) => {
                let len = accepted.outputs.len().max(1);
                outputs.windows(len).any(|part| part == accepted.outputs)
            }
            _ => false,
        };
        let what = || format!("{name}: {:?} accepted, {truth:?} executed", accepted.outputs);
        if part { Ok(()) } else { broken("acceptance", what()) }
    }

    /// A replica says how far it is and what its running root is there.
    ///
    /// # Errors
    /// If another good replica has another root at that round.
    pub fn on_root(&mut self, replica: ReplicaId, executed: Round, root: Digest) -> Checked {
        let unsure = self.reached.get(&replica).is_some_and(|r| r.unsure || r.passed_by);
        if !self.good.contains(replica) || unsure {
            return Ok(());
        }
        let (other, theirs) = *self.roots.entry(executed).or_insert((replica, root));
        if theirs == root {
            return Ok(());
        }
        let what = format!("{replica} has {root} at round {}, {other} {theirs}", executed.0);
        broken("running root", what)
    }

    /// At the end of a run: what clients have accepted has not been lost (§7).
    ///
    /// # Errors
    /// The step that has.
    pub fn nothing_accepted_is_lost(&self) -> Checked {
        self.owed.keys().next().map_or(Ok(()), |position| {
            broken("durability", format!("{position:?} was accepted and is nowhere any more"))
        })
    }

    /// At the end of a run: all good replicas have executed everything.
    ///
    /// # Errors
    /// The replica that is behind.
    pub fn all_caught_up(&self) -> Checked {
        let behind = self.good.iter().find(|r| self.steps_of(*r) < self.order.len());
        behind.map_or(Ok(()), |r| {
            let (has, of) = (self.steps_of(r), self.order.len());
            broken("liveness", format!("{r} has executed {has} steps of {of}"))
        })
    }
}

// Whether it can happen only once: an opening may be repeated, and what was refused for the
// session's sake changed nothing.
fn had_effect(outcome: &Outcome) -> bool {
    !matches!(
        outcome,
        Outcome::Refused(
            Refusal::UnknownSession
                | Refusal::BelowLowWater
                | Refusal::BeyondWindow
                | Refusal::ReplyGone
        ) | Outcome::Opened
    )
}

fn same_step(replica: ReplicaId, at: usize, known: &StepTrace, step: &StepTrace) -> Checked {
    // Where an opening made void what had run, what came before it is a checkpoint for some only.
    let states = known.checkpoint.zip(step.checkpoint).is_none_or(|(known, own)| known == own);
    let parts = |s: &StepTrace| (s.position, s.time, s.running);
    if parts(known) == parts(step) && known.entries == step.entries && states {
        return Ok(());
    }
    let what = if known.position != step.position {
        format!("is at {:?}, elsewhere at {:?}", step.position, known.position)
    } else if known.time != step.time {
        format!("has time {}, elsewhere {}", step.time, known.time)
    } else {
        let both = known.entries.iter().zip(&step.entries).enumerate();
        match both.into_iter().find(|(_, (a, b))| a != b) {
            Some((i, (a, b))) => format!("has {b:?} as number {i}, elsewhere {a:?}"),
            None if step.entries.len() == known.entries.len() => {
                let [own, others] = [step, known].map(|s| (s.running, s.checkpoint));
                format!("has the roots {own:?}, elsewhere {others:?}")
            }
            None => format!("has {} entries, others {}", step.entries.len(), known.entries.len()),
        }
    };
    broken("agreement", format!("step {at} of {replica} {what}"))
}

#[cfg(test)]
mod tests;
