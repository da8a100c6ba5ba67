//! Executes committed steps in order, deterministically.

mod alike;
mod known;
mod waiting;

use self::alike::Alike;
use super::bodies::{Bodies, Held};
use super::outputs::{Outputs, StepOutputs};
use super::replies::Due;
use super::transfer::{FrozenState, Head, Snapshot};
use super::{StepTrace, TraceEntry};
use crate::crypto::Leaf;
use crate::ordering::{Checkpoint, Ordered, Step};
use crate::service::sessions::{Admission, SessionLimits, SessionTable, StoredReply};
use crate::service::{Carried, Inherited, Service, run_commands, run_queries};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{
    AgreedTime, ClientId, Digest, DigestMap, LinkId, OrderLimits, RequestId, Round,
};
use crate::wire::{Outcome, Refusal, Reply, Request, RequestBody, StepPosition};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many of the last positions are remembered to compare attestations with.
const RECENT: usize = 128;
/// Refusals that are remembered at most.
const MAX_REFUSED: usize = 16_384;
/// Steps that may wait for bodies, however few requests they have.
const MAX_STEPS: usize = 65_536;
/// Over so many steps before a checkpoint the service does what its digest would take at once.
const SETTLED_OVER: u64 = 16;

/// Service, sessions, and the steps that wait.
pub(super) struct Executor {
    service: Box<dyn Service>,
    sessions: SessionTable,
    limits: OrderLimits,
    queue: VecDeque<Box<Step>>,
    /// Bodies that the first waiting step lacks; empty if it has not been looked at.
    missing: BTreeSet<Digest>,
    position: StepPosition,
    running: Digest,
    /// Agreed time of the last executed step.
    time: AgreedTime,
    /// The last step that can have changed what a query shows.
    shown: Round,
    /// What it never is before: the time of what was taken over from another cluster.
    earliest: AgreedTime,
    recent: VecDeque<(Round, Digest)>,
    alike: Alike,
    /// What the last steps gave.
    outputs: Outputs,
    checkpoint: (Round, Digest),
    /// The ordering state at that checkpoint, as it goes into a snapshot.
    ordering: Bytes,
    /// Whether there is no state to go on from: a snapshot was taken in that turned out to be
    /// forged, or so much waited that steps were passed over. Nothing runs until another one is
    /// restored.
    lost: bool,
    /// The last step that was passed over: only a state that has it is of use.
    passed_over: Round,
    /// What was refused lately, which no session remembers: so that a lost refusal can be said
    /// again while the order still knows the request.
    refused: DigestMap<(ClientId, StoredReply)>,
    refused_at: VecDeque<(Round, Digest)>,
    executed: u64,
    /// Requests in `queue`.
    backlog: usize,
    halted: Option<String>,
    trace: bool,
}

/// What a step gives to the outside.
pub(super) struct Executed {
    pub(super) position: StepPosition,
    /// By the link that each goes to.
    pub(super) replies: BTreeMap<LinkId, Vec<Due>>,
    /// Requests of this step that had run before: their stored replies go out again.
    pub(super) repeats: Vec<(LinkId, StepPosition, Reply)>,
    /// The requests that it needed, in order.
    pub(super) ran: Vec<Digest>,
    /// Requests without effect, whose turn it was (O7).
    pub(super) void: Vec<Digest>,
    pub(super) trace: Option<Box<StepTrace>>,
}

/// What became of one ordered request.
enum Ran {
    /// It ran; this is its outcome.
    Now(Bytes),
    /// It had run before.
    Before(StoredReply),
    /// It has no effect, and its client is told why.
    Refused(Bytes),
    /// It gets nothing.
    Nothing,
}

impl Executor {
    pub(super) fn new(
        mut service: Box<dyn Service>,
        limits: OrderLimits,
        seed: u64,
        trace: bool,
    ) -> Self {
        // From now on it keeps its digest up to date, and no checkpoint has to catch up.
        service.digest();
        Self {
            service,
            sessions: SessionTable::new(SessionLimits::of(&limits)),
            limits,
            queue: VecDeque::new(),
            missing: BTreeSet::new(),
            position: StepPosition::default(),
            running: Digest::ZERO,
            time: AgreedTime(0),
            shown: Round(0),
            earliest: AgreedTime(0),
            recent: VecDeque::new(),
            alike: Alike::default(),
            outputs: Outputs::default(),
            checkpoint: (Round(0), Digest::ZERO),
            ordering: Bytes::new(),
            lost: false,
            passed_over: Round(0),
            refused: DigestMap::new(seed),
            refused_at: VecDeque::new(),
            executed: 0,
            backlog: 0,
            halted: None,
            trace,
        }
    }

    /// The same, with what was taken over from the cluster before this one.
    pub(super) fn inheriting(mut self, inherited: Option<Inherited>) -> Self {
        if let Some(Inherited { time, sessions }) = inherited {
            (self.time, self.earliest, self.sessions) = (time, time, sessions);
        }
        self
    }

    fn time_of(&self, step: &Step) -> AgreedTime {
        step.time.max(self.earliest)
    }

    /// A step waits for its turn. False if too much does: then all that waits is passed over, and a
    /// later state has to come from others.
    pub(super) fn push(&mut self, step: Box<Step>) -> bool {
        let round = step.position.round;
        self.backlog += step.requests.len();
        self.queue.push_back(step);
        let most = 2 * self.limits.max_unexecuted as usize;
        if self.backlog <= most && self.queue.len() <= most.max(MAX_STEPS) {
            return true;
        }
        mark("O7 too much waited and was passed over");
        self.drop_waiting();
        (self.lost, self.passed_over) = (true, round);
        false
    }

    pub(super) fn halt(&mut self, why: String) {
        self.halted.get_or_insert(why);
        (self.queue, self.backlog) = (VecDeque::new(), 0);
        self.missing.clear();
    }

    /// Executes the next step if its bodies are all there.
    pub(super) fn run_next(&mut self, bodies: &mut Bodies) -> Option<Executed> {
        if self.halted.is_some() || self.lost {
            return None;
        }
        let step = self.queue.front()?;
        if self.missing.is_empty() {
            let lacks =
                |o: &&Ordered| !o.void && !bodies.get(&o.digest).is_some_and(Held::is_within_reach);
            self.missing = step.requests.iter().filter(lacks).map(|o| o.digest).collect();
        }
        if !self.missing.is_empty() {
            return None;
        }
        let step = self.queue.pop_front().expect("it was there above");
        self.backlog -= step.requests.len();
        self.run(&step, bodies)
    }

    fn run(&mut self, step: &Step, bodies: &mut Bodies) -> Option<Executed> {
        let time = self.time_of(step);
        let mut leaves = Vec::with_capacity(step.requests.len());
        let mut replies: BTreeMap<LinkId, Vec<Due>> = BTreeMap::new();
        let (mut entries, mut repeats) = (Vec::new(), Vec::new());
        for (index, ordered) in (0u32..).zip(&step.requests) {
            if ordered.void {
                // O7: its body is lost. It keeps its place and has no effect.
                leaves.push(Leaf { request: ordered.digest, index, output: Digest::ZERO });
                continue;
            }
            let held = bodies.get(&ordered.digest).expect("its bodies are all there");
            let (client, origin, again) = (held.client, held.origin, held.again);
            let request = &held.request;
            let place = (step.position, index);
            let ran = self.execute(time, &client, request, ordered, place);
            let (outcome, fresh) = match ran {
                Ok(Ran::Now(outcome)) => (Some(outcome), true),
                Ok(Ran::Refused(outcome)) => {
                    self.remember_refusal(client, ordered.digest, place, outcome.clone());
                    (Some(outcome), false)
                }
                Ok(Ran::Nothing) => (None, false),
                Ok(Ran::Before(stored)) => {
                    let reply = reply_to(request, stored.index, stored.outcome);
                    repeats.extend(origin.map(|link| (link, stored.position, reply)));
                    (None, false)
                }
                Err(why) => {
                    self.halt(format!("{} of {client}: {why}", ordered.digest));
                    return None;
                }
            };
            let output = outcome.as_ref().map_or(Digest::ZERO, |o| self.alike.digest(o));
            leaves.push(Leaf { request: ordered.digest, index, output });
            if self.trace {
                let Request { session, number, body, .. } = request.clone();
                entries.push(TraceEntry {
                    index,
                    digest: ordered.digest,
                    request: RequestId { client, session, number },
                    uid_clock: ordered.uid.clock(),
                    body,
                    outcome: outcome.clone().unwrap_or_default(),
                    fresh,
                });
            }
            if let (Some(link), Some(outcome)) = (origin, outcome) {
                let reply = reply_to(request, index, outcome);
                replies.entry(link).or_default().push(Due { reply, again, output: Some(output) });
            }
            bodies.executed(&ordered.digest, step.position.round);
        }
        self.finish(step, leaves);
        let position = step.position;
        let trace = self.trace.then(|| {
            let running = self.running();
            let checkpoint = Some(self.checkpoint).filter(|c| c.0 == position.round).map(|c| c.1);
            Box::new(StepTrace { position, time, entries, running, checkpoint })
        });
        let (void, ran): (Vec<&Ordered>, Vec<&Ordered>) =
            step.requests.iter().partition(|o| o.void);
        let [void, ran] = [void, ran].map(|them| them.iter().map(|o| o.digest).collect());
        Some(Executed { position, replies, repeats, ran, void, trace })
    }

    /// Runs one request unless its number has run (O6).
    fn execute(
        &mut self,
        time: AgreedTime,
        client: &ClientId,
        request: &Request,
        ordered: &Ordered,
        (position, index): (StepPosition, u32),
    ) -> Result<Ran, String> {
        let Request { session, number, .. } = *request;
        let withdraws = request.withdraws();
        let outcome = match self.sessions.take(client, request, &ordered.digest) {
            Admission::Nothing if planted("o6-no-duplicate-check") => {
                self.run_commands(time, client, &request.body)?
            }
            Admission::Nothing => return Ok(Ran::Nothing),
            Admission::Repeat(stored) => return Ok(Ran::Before(stored.clone())),
            Admission::Refused(why) => return Ok(Ran::Refused(Outcome::Refused(why).to_bytes())),
            Admission::Open if !request.body.is_empty() => Outcome::Refused(Refusal::Malformed),
            Admission::Open => Outcome::Opened,
            Admission::Fresh if withdraws => Outcome::Withdrawn,
            Admission::Fresh => self.run_commands(time, client, &request.body)?,
        };
        let outcome = self.alike.shared(outcome.to_bytes());
        let reply = StoredReply { position, index, outcome: outcome.clone() };
        let name = if withdraws { SessionTable::ANY_REQUEST } else { ordered.digest };
        self.sessions.record(client, session, number, &name, reply);
        self.executed += 1;
        Ok(Ran::Now(outcome))
    }

    fn run_commands(
        &mut self,
        time: AgreedTime,
        client: &ClientId,
        body: &Bytes,
    ) -> Result<Outcome, String> {
        run_commands(&mut *self.service, &self.sessions, &self.limits, time, client, body)
    }

    fn finish(&mut self, step: &Step, leaves: Vec<Leaf>) {
        let (position, before) = (step.position, self.running);
        self.running = self.outputs.push(StepOutputs { position, before, leaves });
        (self.position, self.time) = (step.position, self.time_of(step));
        if !step.requests.is_empty() {
            self.shown = step.position.round;
        }
        self.recent.push_back((step.position.round, self.running));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        if let Some(Checkpoint { digest, state }) = &step.checkpoint {
            let (sessions, service) = (self.sessions.digest(), self.service.digest());
            self.ordering = state.clone();
            let head = self.head();
            self.checkpoint = (step.position.round, head.digest(digest, &sessions, &service));
        } else {
            let every = self.limits.checkpoint_every;
            let left = every - step.position.round.0 % every;
            if left <= SETTLED_OVER {
                self.service.settle(left);
            }
        }
    }

    fn head(&self) -> Head {
        let Self { position, running, time, executed, .. } = *self;
        Head { position, running, time, executed }
    }

    /// The whole state, right after the step of a checkpoint; `None` at any other time.
    pub(super) fn freeze(&self) -> Option<FrozenState> {
        let fits = self.position.round == self.checkpoint.0 && self.checkpoint.0 > Round(0);
        (fits && !self.lost && self.halted.is_none()).then(|| {
            let (sessions, service) = (self.sessions.freeze(), self.service.freeze());
            FrozenState::new(self.head(), self.ordering.clone(), sessions, service)
        })
    }

    /// What bytes are made of for this state: of nothing that changed since.
    pub(super) fn as_frozen(&self, state: &FrozenState) -> FrozenState {
        match planted("s7-frozen-follows") {
            true => state.with_service(self.service.freeze()),
            false => state.clone(),
        }
    }

    /// Takes in a snapshot in place of the present state, if its digest is the attested one, and
    /// drops the steps that it holds already.
    ///
    /// Nothing of what it says is believed: all digests are taken from what was restored. When
    /// that shows only after the service took it in, the present state is gone as well.
    ///
    /// # Errors
    /// What is wrong with it; then [`Executor::is_lost`] says whether there still is a state.
    pub(super) fn restore(
        &mut self,
        snapshot: &Snapshot,
        attested: &Digest,
    ) -> Result<(), &'static str> {
        let mut sessions = SessionTable::new(self.sessions.limits());
        sessions.restore(&snapshot.sessions).map_err(|_| "its session table is not one")?;
        let service = &mut self.service;
        // A service that panics on forged bytes is broken, and still no reason to stop.
        let restore =
            AssertUnwindSafe(|| service.restore(&snapshot.service).map(|()| service.digest()));
        let digest = match catch_unwind(restore) {
            Ok(Ok(digest)) => digest,
            Ok(Err(_)) => return Err("the service cannot read it"),
            Err(_) => {
                self.lost = true;
                return Err("the service panicked over it");
            }
        };
        let ordering = Checkpoint::of(snapshot.ordering.clone());
        let head = snapshot.head;
        if head.digest(&ordering.digest, &sessions.digest(), &digest) != *attested {
            self.lost = true;
            return Err("it is not the state that was attested");
        }
        let Head { position, running, time, executed } = head;
        (self.position, self.running, self.time, self.executed) =
            (position, running, time, executed);
        (self.sessions, self.ordering, self.lost) = (sessions, ordering.state, false);
        (self.passed_over, self.shown) = (Round(0), position.round);
        self.checkpoint = (position.round, *attested);
        self.recent = VecDeque::from([(position.round, running)]);
        self.outputs.clear();
        self.refused_at.drain(..).for_each(|(_, digest)| {
            self.refused.remove(&digest);
        });
        self.missing.clear();
        self.queue.retain(|step| step.position.round > position.round);
        self.backlog = self.queue.iter().map(|step| step.requests.len()).sum();
        Ok(())
    }

    /// Forgets the steps that wait: they are of another history.
    pub(super) fn drop_waiting(&mut self) {
        (self.queue, self.backlog) = (VecDeque::new(), 0);
        self.missing.clear();
    }

    /// Only a state of a later round than this is of use: the last step that has run, or the one
    /// before the last that was passed over.
    pub(super) fn reached(&self) -> Round {
        self.position.round.max(self.passed_over.previous())
    }

    /// Whether there is no state: see [`Executor::restore`] and [`Executor::push`].
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// The last step without which a query would show something else.
    pub(super) fn shown(&self) -> Round {
        self.shown
    }

    /// Runs commands that only read, on the state as it is (Q1).
    pub(super) fn query(&self, client: &ClientId, body: &RequestBody) -> Outcome {
        run_queries(&*self.service, &self.sessions, &self.limits, self.time, client, body)
    }

    /// What another cluster goes on from; `None` without a state.
    pub(super) fn carried(&self) -> Option<Carried> {
        let service = || self.service.snapshot().into();
        (!self.lost).then(|| Carried::new(self.time, &self.sessions, service()))
    }

    /// Steps and requests ordered and not executed.
    pub(super) fn backlog(&self) -> usize {
        self.backlog
    }

    /// The running root after the step of this round, if it is remembered.
    pub(super) fn running_at(&self, round: Round) -> Option<Digest> {
        let first = self.recent.front()?.0;
        let place = usize::try_from(round.0.checked_sub(first.0)?).ok()?;
        self.recent.get(place).filter(|(r, _)| *r == round).map(|(_, running)| *running)
    }

    pub(super) fn position(&self) -> StepPosition {
        self.position
    }

    pub(super) fn running(&self) -> Digest {
        self.running
    }

    pub(super) fn checkpoint(&self) -> (Round, Digest) {
        self.checkpoint
    }

    pub(super) fn executed(&self) -> u64 {
        self.executed
    }

    pub(super) fn halted(&self) -> Option<&str> {
        self.halted.as_deref()
    }

    pub(super) fn service_name(&self) -> &'static str {
        self.service.name()
    }
}

fn reply_to(request: &Request, index: u32, outcome: Bytes) -> Reply {
    Reply { session: request.session, number: request.number, index, outcome }
}
