//! Whole runs: a cluster from options and a seed, run to its end and judged.

use super::check::Violation;
use super::judge::{Judge, random_clock};
use super::mischief::{Faulty, Withhold};
use super::{Arrival, ClientNode, Dice, Effect, Fault, Inner, Knows, LyingClient, Node, NodeId};
use super::{Note, Options, ReplicaNode, Stopped, Twins, World};
use crate::adversary::Liar;
use crate::caller;
use crate::crypto::{Context, Keyed, Keyring, Scheme, SecretKey, sha256};
use crate::replica::{Replica, Setup, Status};
use crate::types::{Digest, Ensemble, GroupId, Instant, Now, ReplicaId, SessionId};
use crate::wire::Hello;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How often replicas are asked how far they are.
const LOOK_EVERY: u64 = 50_000_000;

// The streams of the seed.
const NETWORK: u64 = 0;
const CLOCKS: u64 = 1;
const FAULTS: u64 = 2;
const CLIENTS: u64 = 100;

/// What a good run gives.
#[derive(Clone, Debug)]
pub struct Report {
    /// Requests executed.
    pub executed: usize,
    /// Calls answered.
    pub answered: u64,
    /// Calls that ended without an answer, by reason.
    pub failed: BTreeMap<String, u64>,
    /// The longest wait for an answer.
    pub longest: Duration,
    /// Requests that were executed and refused, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Events of good replicas, by kind.
    pub events: BTreeMap<&'static str, u64>,
    /// Faults that have struck, by kind.
    pub fired: BTreeMap<&'static str, u64>,
    /// Messages that liars changed or held back.
    pub lies: u64,
    /// The last word of each replica.
    pub statuses: Vec<Status>,
    /// Dissenting votes that correct clients have seen, by replica's place.
    pub dissent: Vec<u64>,
    /// When the last call was answered, by the world's clock.
    pub took: Duration,
    /// Arrivals in the world.
    pub arrivals: u64,
    /// Names everything that happened.
    pub trace_hash: Digest,
}

/// A run that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The test.
    pub name: &'static str,
    /// The seed.
    pub seed: u64,
    /// What was broken.
    pub violation: Violation,
    /// When, by the world's clock.
    pub at: Duration,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { name, seed, violation, at } = self;
        write!(f, "seed {seed} at {at:?}: {violation}\nto see it again: ")?;
        write!(f, "QUORATE_SEED={seed} cargo test --test it {name}")
    }
}

enum Member<S: Scheme> {
    Replica(ReplicaNode<S>),
    Client(Box<ClientNode>),
    LyingClient(Box<LyingClient>),
}

impl<S: Scheme> Node for Member<S> {
    type Note = Note;

    fn handle(&mut self, now: Now, arrival: Arrival, out: &mut Vec<Effect<Note>>) {
        match self {
            Member::Replica(n) => n.handle(now, arrival, out),
            Member::Client(n) => n.handle(now, arrival, out),
            Member::LyingClient(n) => n.handle(now, arrival, out),
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        match self {
            Member::Replica(n) => n.next_wake(),
            Member::Client(n) => n.next_wake(),
            Member::LyingClient(n) => n.next_wake(),
        }
    }

    fn hello(&self) -> Option<Hello> {
        match self {
            Member::Replica(n) => n.hello(),
            Member::Client(n) => n.hello(),
            Member::LyingClient(n) => n.hello(),
        }
    }
}

/// Runs a cluster to its end, with keyed hashes in place of signatures.
///
/// # Errors
/// As [`run_with`].
///
/// # Panics
/// As [`run_with`].
pub fn run(seed: u64, options: &Options) -> Result<Report, Failure> {
    run_with::<Keyed>(seed, options)
}

/// Runs a cluster to its end.
///
/// # Errors
/// The first rule that was broken, with the command that shows it again.
///
/// # Panics
/// If the options make no cluster.
pub fn run_with<S: Scheme>(seed: u64, options: &Options) -> Result<Report, Failure> {
    let mut run = Run::<S>::new(seed, options);
    let result = run.finish();
    let at = Duration::from_nanos(run.world.now());
    let name = options.name;
    result.map_err(|violation| Failure { name, seed, violation, at })
}

struct Run<'a, S: Scheme> {
    options: &'a Options,
    ensemble: Ensemble,
    world: World<Member<S>>,
    judge: Judge,
}

impl<'a, S: Scheme> Run<'a, S> {
    fn new(seed: u64, options: &'a Options) -> Self {
        let ensemble = Ensemble::new(options.t).expect("the options name a t of 1 to 15");
        let world = World::new(Dice::new(seed, NETWORK), options.world.clone());
        let mut run = Self { options, ensemble, world, judge: Judge::new(options) };
        run.populate(seed);
        for (at, fault) in run.options.faults.clone() {
            run.world.schedule(nanos(at), fault);
        }
        run.schedule_random_faults(&mut Dice::new(seed, FAULTS));
        run
    }

    fn populate(&mut self, seed: u64) {
        let (options, mut clocks) = (self.options, Dice::new(seed, CLOCKS));
        let context = Context { cluster: sha256(&seed.to_le_bytes()), group: GroupId::MAIN };
        let secrets: Vec<SecretKey> = self.ensemble.replicas().map(|r| secret(seed, r)).collect();
        let keys = secrets.iter().map(|s| S::public(&S::signer(s))).collect();
        let keyring = Keyring::<S>::new(context, self.ensemble, keys).expect("usable keys");
        for (id, secret) in self.ensemble.replicas().zip(&secrets) {
            let clock = random_clock(options, &mut clocks);
            let inner = replica(options, seed, id, secret, &keyring, clock.read(0));
            if options.checks_time() && options.good().contains(id) {
                self.judge.on_clock(clock);
            }
            let twins = (0..options.clients).filter(|c| options.key_of(*c) != *c);
            let keys = twins.map(|c| (c, options.key_of(c))).collect();
            let node = Member::Replica(ReplicaNode::new(inner, context, keys));
            self.world.add(NodeId::Replica(id), node, clock);
        }
        for number in 0..options.clients {
            let clock = random_clock(options, &mut clocks);
            let mut dice = Dice::new(seed, CLIENTS + u64::from(number));
            let own = SessionId(dice.any());
            let one = options.twins == Some(Twins::OneSession);
            let session = if one { session(seed, options.key_of(number)) } else { own };
            let setup = caller(options, options.key_of(number), context, session);
            let (workload, now) = (options.workload.clone(), clock.read(0).monotonic);
            let node = ClientNode::new(setup, workload, dice, now);
            let node = Member::Client(Box::new(node));
            self.world.add(NodeId::Client(number), node, clock);
        }
        for (number, lie) in (options.clients..).zip(&options.lying_clients) {
            let dice = Dice::new(seed, CLIENTS + u64::from(number));
            let friends = options.liars.iter().map(|(place, _)| ReplicaId::from_index(*place));
            let knows = Knows { friends: friends.collect(), victim: session(seed, 0) };
            let lies = (*lie, options.client_acts);
            let node = LyingClient::new(number, context, lies, knows, dice);
            let clock = random_clock(options, &mut clocks);
            self.world.add(NodeId::Client(number), Member::LyingClient(Box::new(node)), clock);
        }
    }

    fn schedule_random_faults(&mut self, dice: &mut Dice) {
        let faults = self.options.random_faults.clone();
        let n = self.ensemble.n() as u64;
        let clients = u64::from(self.options.clients);
        let kinds = [faults.breaks, faults.pauses, faults.slows, faults.steps];
        for (kind, count) in kinds.into_iter().enumerate() {
            for _ in 0..count {
                let at = dice.below(nanos(faults.within));
                let lasts = Duration::from_nanos(dice.between(1, nanos(faults.lasts)));
                let one = dice.below(n);
                let other = (one + 1 + dice.below(n - 1 + clients)) % (n + clients);
                let (a, b) = (node(one, n), node(other, n));
                let fault = match kind {
                    0 => Fault::Break(a, b, lasts),
                    1 => Fault::Pause(a, lasts),
                    2 => Fault::Slow { from: a, to: b, extra: lasts, lasts },
                    _ => {
                        let micros = i64::try_from(lasts.as_micros()).unwrap_or(i64::MAX);
                        Fault::Step(a, if dice.chance(500) { micros } else { -micros })
                    }
                };
                self.world.schedule(at, fault);
            }
        }
    }

    fn finish(&mut self) -> Result<Report, Violation> {
        let limit = nanos(self.options.time_limit);
        while !self.clients_are_done() {
            if self.world.now() >= limit {
                break;
            }
            self.go_on(self.world.now() + LOOK_EVERY)?;
        }
        let took = Duration::from_nanos(self.world.now());
        if self.options.must_finish && !self.clients_are_done() {
            return Err(self.unfinished());
        }
        let end = self.world.now() + nanos(self.options.settle);
        while self.world.now() < end {
            self.go_on(self.world.now() + LOOK_EVERY)?;
        }
        self.judge.finish(self.options, self.world.now())?;
        Ok(self.report(took))
    }

    fn go_on(&mut self, until: u64) -> Result<(), Violation> {
        let (mut found, judge) = (Ok(()), &mut self.judge);
        let stopped = self.world.run_until(until, &mut |noted| {
            if found.is_ok() {
                found = judge.on_note(noted);
            }
            found.is_ok()
        });
        found?;
        match stopped {
            Stopped::Time | Stopped::Observer => {}
            Stopped::Idle => return Err(broken("liveness", "nothing happens any more".into())),
            Stopped::Events => {
                let what = format!("more than {} arrivals", self.options.world.max_events);
                return Err(broken("livelock", what));
            }
            Stopped::Spinning(node) => {
                return Err(broken(
                    "livelock",
                    format!("{node} wants a tick that is due for ever"),
                ));
            }
        }
        for (id, status) in self.statuses() {
            self.judge.checks.on_root(id, status.executed_round, &status.running)?;
        }
        Ok(())
    }

    fn statuses(&self) -> Vec<(ReplicaId, Status)> {
        let status = |id: ReplicaId| {
            let node = NodeId::Replica(id);
            let now = self.world.clock(node)?.read(self.world.now());
            match self.world.node(node)? {
                Member::Replica(r) => Some((id, r.status(now))),
                _ => None,
            }
        };
        self.ensemble.replicas().filter_map(status).collect()
    }

    fn members(&self) -> impl Iterator<Item = &Member<S>> {
        let clients = self.options.clients + self.options.lying_clients.len() as u32;
        let ids = (0..clients).map(NodeId::Client);
        let all = self.ensemble.replicas().map(NodeId::Replica).chain(ids);
        all.filter_map(|id| self.world.node(id))
    }

    fn clients_are_done(&self) -> bool {
        self.members().all(|m| match m {
            Member::Replica(_) => true,
            Member::Client(c) => c.is_done(),
            Member::LyingClient(c) => c.is_done(),
        })
    }

    fn unfinished(&self) -> Violation {
        let (open, done) = (self.judge.waits.open(), self.judge.waits.answered());
        let waits: Vec<String> = self
            .statuses()
            .iter()
            .map(|(id, s)| {
                format!("{id} sent {}, committed {}: {:?}", s.round, s.committed, s.waiting)
            })
            .collect();
        let what = format!("{open} calls wait, {done} are answered; {}", waits.join("; "));
        broken("liveness", what)
    }

    fn report(&self, took: Duration) -> Report {
        let mut dissent = vec![0; self.ensemble.n()];
        let mut lies = 0;
        for member in self.members() {
            match member {
                Member::Replica(r) => lies += r.lies(),
                Member::Client(c) => {
                    let stats = c.stats();
                    let each = dissent.iter_mut().zip(&stats.replicas);
                    each.for_each(|(sum, r)| *sum += r.dissent);
                }
                Member::LyingClient(_) => {}
            }
        }
        Report {
            executed: self.judge.checks.executions().count(),
            answered: self.judge.waits.answered(),
            failed: self.judge.failed.clone(),
            longest: self.judge.waits.longest(),
            refusals: self.judge.checks.refusals(),
            events: self.judge.events.clone(),
            fired: self.world.fired().clone(),
            lies,
            statuses: self.statuses().into_iter().map(|(_, s)| s).collect(),
            dissent,
            took,
            arrivals: self.world.events(),
            trace_hash: self.world.trace_hash(),
        }
    }
}

fn replica<S: Scheme>(
    options: &Options,
    seed: u64,
    id: ReplicaId,
    secret: &SecretKey,
    keyring: &Keyring<S>,
    now: Now,
) -> Inner<S> {
    let setup = Setup {
        id,
        keyring: keyring.clone(),
        signer: S::signer(secret),
        genesis: sha256(b"simulated genesis"),
        timing: options.timing,
        clock: options.clock,
        limits: options.limits,
        quotas: options.quotas,
        seed,
        incarnation: 1,
        restarted: false,
        fields: Vec::new(),
        trace: true,
    };
    let wrong = options.wrong_services.iter().find(|(place, _)| *place == id.index());
    let wrong = wrong.map(|(_, kind)| *kind);
    let service = Box::new(Faulty::new(wrong, options.panics));
    match options.liars.iter().find(|(place, _)| *place == id.index()) {
        None => Inner::Honest(Box::new(Replica::new(setup, service, now))),
        Some((_, lie)) => {
            let (signer, attack) = (S::signer(secret), lie.attack(seed));
            let attack = match options.withhold_bodies {
                true => Box::new(Withhold(attack)),
                false => attack,
            };
            Inner::Lying(Box::new(Liar::new(setup, signer, service, attack, now)))
        }
    }
}

fn caller(options: &Options, number: u32, context: Context, session: SessionId) -> caller::Setup {
    caller::Setup {
        ensemble: Ensemble::new(options.t).expect("the options name a t of 1 to 15"),
        context,
        client: super::client_id(number),
        session,
        limits: options.limits,
        repeat_after: 4 * options.timing.delta,
        repeat_cap: 32 * options.timing.delta,
        timeout: options.call_timeout,
        pipeline: options.workload.pipeline,
    }
}

// The session of a correct client is the first number that its dice give.
fn session(seed: u64, client: u32) -> SessionId {
    SessionId(Dice::new(seed, CLIENTS + u64::from(client)).any())
}

fn secret(seed: u64, id: ReplicaId) -> SecretKey {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8] = id.number();
    SecretKey::from_seed(bytes)
}

// Replicas first, then clients.
fn node(place: u64, replicas: u64) -> NodeId {
    if place < replicas {
        NodeId::replica(usize::try_from(place).expect("at most 31"))
    } else {
        NodeId::Client(u32::try_from(place - replicas).expect("few clients"))
    }
}

fn nanos(d: Duration) -> u64 {
    super::network::nanos(d)
}

fn broken(rule: &'static str, what: String) -> Violation {
    Violation { rule, what }
}
