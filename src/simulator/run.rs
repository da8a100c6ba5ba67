//! Whole runs: a cluster from options and a seed, run to its end and judged.

use super::cast::{Blank, CLIENTS, Member, client, new_secret, note_disk, operator};
use super::cast::{operator_number, replica, secret, session};
use super::check::Violation;
use super::clock::random_clock;
use super::judge::Judge;
use super::network::nanos;
use super::without_log::WithoutLog;
use super::{Cell, Dice, Failure, Knows, LyingClient, NodeId, Options};
use super::{Clock, OperatorNode, ReplicaNode, Report, Stopped, Twins, World, chaos};
use crate::crypto::{Context, Keyed, Keyring, Scheme, SecretKey, sha256};
use crate::replica::Status;
use crate::types::marks;
use crate::types::{DiskState, Ensemble, GroupId, Members, Now, ReplicaId, SessionId};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

/// How often replicas are asked how far they are.
const LOOK_EVERY: u64 = 50_000_000;
/// How long it takes a replica's operator to do what the replica said as it ended.
const OBEYS_AFTER: Duration = Duration::from_millis(100);

/// Heartbeats that an idle group may take until all have caught up.
const IDLE_ROUNDS: u64 = 5;

// The streams of the seed.
const NETWORK: u64 = 0;
const CLOCKS: u64 = 1;
// 2 and from 12 on: faults.

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
    run_watched::<S>(seed, options, &mut |_, _, _| {})
}

/// Runs a cluster to its end and lets somebody watch what nodes tell: when by the world's clock,
/// nanoseconds, who, and what.
///
/// # Errors
/// As [`run_with`].
///
/// # Panics
/// As [`run_with`].
pub fn run_watched<S: Scheme>(
    seed: u64,
    options: &Options,
    watch: &mut dyn FnMut(u64, NodeId, &dyn Display),
) -> Result<Report, Failure> {
    // What another run of this thread has counted is not ours.
    marks::take();
    let mut run = Run::<S>::new(seed, options, watch);
    let result = run.finish();
    let at = Duration::from_nanos(run.world.now());
    let name = options.name;
    result.map_err(|violation| Failure { name, seed, violation, at })
}

struct Run<'a, S: Scheme> {
    options: &'a Options,
    seed: u64,
    ensemble: Ensemble,
    world: World<Member<S>>,
    judge: Judge,
    /// What each replica is started from again.
    blank: BTreeMap<ReplicaId, Blank<S>>,
    watch: &'a mut dyn FnMut(u64, NodeId, &dyn Display),
    healed: bool,
    /// Whether a rule was broken that is not promised here: from then on only accusations count.
    forked: bool,
    without_log: WithoutLog,
}

impl<'a, S: Scheme> Run<'a, S> {
    fn new(
        seed: u64,
        options: &'a Options,
        watch: &'a mut dyn FnMut(u64, NodeId, &dyn Display),
    ) -> Self {
        let ensemble = Ensemble::new(options.t).expect("the options name a t of 1 to 15");
        let world = World::new(Dice::new(seed, NETWORK), options.world.clone());
        let (judge, blank) = (Judge::new(options), BTreeMap::new());
        let (healed, forked) = (false, false);
        let without_log = WithoutLog::new(options);
        let mut run = Self {
            options,
            seed,
            ensemble,
            world,
            judge,
            blank,
            watch,
            healed,
            forked,
            without_log,
        };
        run.populate(seed);
        for (at, fault) in run.options.faults.clone() {
            run.world.schedule(nanos(at), fault);
        }
        for (at, fault) in chaos::chosen(seed, options) {
            run.world.schedule(at, fault);
        }
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
            if options.checks_time() && options.good().contains(id) {
                self.judge.on_clock(clock);
            }
            let (secret, keyring) = (secret.clone(), keyring.clone());
            self.blank.insert(id, Blank::new(secret, keyring));
            let node = self.fresh(id, clock.read(0));
            self.world.add(NodeId::Replica(id), node, clock);
        }
        for number in 0..options.clients {
            let clock = random_clock(options, &mut clocks);
            let mut dice = Dice::new(seed, CLIENTS + u64::from(number));
            let own = SessionId(dice.any());
            let one = options.twins == Some(Twins::OneSession);
            let session = if one { session(seed, options.key_of(number)) } else { own };
            let times = (dice, clock.read(0).monotonic);
            let node = client(options, number, (&keyring, session), times);
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
        if !options.commands.is_empty() {
            let node = OperatorNode::new(&S::signer(&operator()), &context, &options.commands);
            let number = operator_number(options);
            let node = Member::Operator(Box::new(node));
            self.world.add(NodeId::Client(number), node, Clock::default());
        }
    }

    // A replica as its process starts: with what is on its disk and nothing else.
    fn fresh(&mut self, id: ReplicaId, now: Now) -> Member<S> {
        let mut recovered = self.world.disk(NodeId::Replica(id)).to_vec();
        let old = self.options.old_disks.iter().find(|(place, _)| *place == id.index());
        recovered.truncate(recovered.len() - old.map_or(0, |(_, lost)| *lost).min(recovered.len()));
        let blank = self.blank.get_mut(&id).expect("one for each replica");
        blank.incarnation += 1;
        if blank.disk == DiskState::Replaced {
            self.world.begin_with_gap(NodeId::Replica(id));
        }
        let stored = self.world.stored(NodeId::Replica(id));
        let inner = replica(self.options, self.seed, id, blank, (recovered, stored), now);
        let options = self.options;
        let twins = (0..options.clients).filter(|c| options.key_of(*c) != *c);
        let keys = twins.map(|c| (c, options.key_of(c))).collect();
        let operator = (operator_number(options), S::public(&S::signer(&operator())));
        let node = ReplicaNode::new(inner, blank.keyring.context(), keys).obeying(operator);
        Member::Replica(node.telling(options.persist_rule.is_some()))
    }

    fn boot(&mut self, node: NodeId) {
        let NodeId::Replica(id) = node else { return };
        let Some(clock) = self.world.clock(node) else { return };
        self.take_new_key(id);
        let member = self.fresh(id, clock.read(self.world.now()));
        self.judge.on_started(id, self.world.disk(node).to_vec());
        (self.watch)(self.world.now(), node, &"starts again");
        self.world.start(node, member);
    }

    /// M3: where the others know another key of this replica, its operator starts it with that, on
    /// an empty disk, with a cluster file that has both.
    fn take_new_key(&mut self, id: ReplicaId) {
        let others = self.ensemble.replicas().filter(|r| *r != id);
        let keyrings = others.filter_map(|r| match self.world.node(NodeId::Replica(r))? {
            Member::Replica(node) => Some(node.keyring()),
            _ => None,
        });
        let newest = keyrings.max_by_key(|keyring| keyring.changes().len()).cloned();
        let Some(keyring) = newest else { return };
        let secret = new_secret(id);
        let new = S::public(&S::signer(&secret));
        let blank = self.blank.get_mut(&id).expect("one for each replica");
        let renewed = keyring.key(id) == Some(&new);
        if renewed && S::public(&S::signer(&blank.secret)) != new {
            (blank.secret, blank.keyring) = (secret, keyring);
            (blank.incarnation, blank.disk) = (0, DiskState::New);
            self.world.wipe(NodeId::Replica(id));
        } else if self.options.new_files {
            blank.keyring = keyring;
        }
    }

    fn finish(&mut self) -> Result<Report, Violation> {
        while !(self.clients_are_done() && self.heal_at().is_none()) {
            let now = self.world.now();
            if now >= self.limit() {
                break;
            }
            let next = now + LOOK_EVERY;
            self.go_on(self.heal_at().map_or(next, |at| next.min(at.max(now))))?;
            self.heal_if_due();
        }
        let took = Duration::from_nanos(self.world.now());
        let finished = self.clients_are_done();
        if self.must_be_live() && !finished {
            return Err(self.without_log.named(self.unfinished()));
        }
        let settle = match self.options.by_cell && !self.must_be_live() {
            true => 0,
            false => nanos(self.options.settle),
        };
        let end = self.world.now() + settle;
        let last = end + IDLE_ROUNDS * nanos(self.options.timing.heartbeat);
        while self.world.now() < end || self.world.now() < last && self.is_catching_up() {
            self.go_on(self.world.now() + LOOK_EVERY)?;
        }
        if !self.forked {
            self.conclude().or_else(|violation| self.excuse(violation))?;
        }
        Ok(self.report(took, finished))
    }

    // When it ends at the latest. Where no answers are asked for any more it need not wait for
    // them: groups that cannot go on say so to each other without end.
    fn limit(&self) -> u64 {
        let limit = nanos(self.options.time_limit);
        match self.options.heal_at {
            Some(at) if self.options.by_cell && self.healed && !self.must_be_live() => {
                limit.min(nanos(at + self.options.settle))
            }
            _ => limit,
        }
    }

    // Whether somebody has still to catch up, which in an idle group takes a few heartbeats.
    fn is_catching_up(&self) -> bool {
        let asked = self.options.by_cell && !self.forked && self.must_be_live();
        asked && self.judge.checks.all_caught_up().is_err()
    }

    // The checks that need the whole run.
    fn conclude(&self) -> Result<(), Violation> {
        let (live, now) = (self.must_be_live(), self.world.now());
        let mut options = self.options.clone();
        if options.by_cell {
            options.must_finish = live;
            options.bound = options.bound.filter(|_| live);
            options.fairness &= live;
        }
        if self.cell() == Cell::InModel {
            self.judge.nobody_good_is_out(self.world.meter().cut_off(self.liars()))?;
        }
        self.judge.all_say_what_they_gave_up(&self.statuses())?;
        self.judge.finish(&options, now)?;
        match options.heal_bound.filter(|_| live) {
            Some(bound) => self.judge.waits.within_since(now, bound),
            None => Ok(()),
        }
    }

    // When all faults end, if that is still to come.
    fn heal_at(&self) -> Option<u64> {
        self.options.heal_at.filter(|_| !self.healed).map(nanos)
    }

    fn heal_if_due(&mut self) {
        let now = self.world.now();
        if self.heal_at().is_some_and(|at| now >= at) {
            self.healed = true;
            self.world.heal();
            self.judge.waits.on_healed(now);
        }
    }

    fn liars(&self) -> Members {
        self.ensemble.all().minus(self.options.good())
    }

    // What the run is so far.
    fn cell(&self) -> Cell {
        Cell::of(self.ensemble, self.liars(), self.world.meter(), self.options.timing.delta)
    }

    fn must_be_live(&self) -> bool {
        let cell = self.cell();
        let promised = cell.is_live() || (self.healed && cell.is_safe());
        let promised = promised && !self.without_log.forgot();
        self.options.must_finish && (promised || !self.options.by_cell)
    }

    // Whether what was broken was not promised.
    fn excuse(&mut self, violation: Violation) -> Result<(), Violation> {
        let excused = match self.cell() {
            Cell::Lost => true,
            // Without a log nothing is on disk but what the change of the epoch needs.
            _ if self.without_log.forgot() => violation.rule != "false accusation",
            Cell::Anarchy => violation.rule != "false accusation",
            Cell::InModel | Cell::Honest | Cell::Budget => false,
        };
        if !(excused && self.options.by_cell) {
            return Err(self.without_log.named(violation));
        }
        self.forked = true;
        Ok(())
    }

    fn go_on(&mut self, until: u64) -> Result<(), Violation> {
        loop {
            let (mut found, forked) = (Ok(()), self.forked);
            let (judge, watch, blank) = (&mut self.judge, &mut self.watch, &mut self.blank);
            let mut refused = Vec::new();
            let stopped = self.world.run_until(until, &mut |noted| {
                watch(noted.time, noted.node, &noted.note);
                refused.extend(note_disk(&noted, blank));
                if found.is_ok() {
                    found = match forked {
                        true => judge.on_accusation(&noted),
                        false => judge.on_note(noted),
                    };
                }
                found.is_ok() && refused.is_empty()
            });
            for id in refused {
                self.judge.on_crashed(id);
                self.world.end(NodeId::Replica(id), OBEYS_AFTER);
            }
            self.judge.receipts.no_strong_ones_contradict()?;
            found.or_else(|violation| self.excuse(violation))?;
            match stopped {
                Stopped::Crashed(node) => {
                    (self.watch)(self.world.now(), node, &"crashes");
                    if let NodeId::Replica(id) = node {
                        self.judge.on_crashed(id);
                        self.without_log.on_crashed(id);
                    }
                }
                Stopped::DiskGone(NodeId::Replica(id)) => {
                    let blank = self.blank.get_mut(&id).expect("one for each replica");
                    (blank.incarnation, blank.disk) = (0, DiskState::New);
                }
                Stopped::DiskGone(_) => {}
                Stopped::Boot(node) => self.boot(node),
                Stopped::Observer => {}
                other => return self.looked(other),
            }
        }
    }

    fn looked(&mut self, stopped: Stopped) -> Result<(), Violation> {
        match stopped {
            Stopped::Time | Stopped::Observer => {}
            Stopped::Crashed(_) | Stopped::DiskGone(_) | Stopped::Boot(_) => {}
            Stopped::Idle => return Err(broken("liveness", "nothing happens any more".into())),
            Stopped::Events => {
                let most = self.options.world.max_events;
                let what = format!("more than {most} arrivals, or too many that wait");
                return Err(broken("livelock", what));
            }
            Stopped::Spinning(node) => {
                return Err(broken(
                    "livelock",
                    format!("{node} wants a tick that is due for ever"),
                ));
            }
        }
        for id in self.ensemble.replicas() {
            let Some(Member::Replica(replica)) = self.world.node(NodeId::Replica(id)) else {
                continue;
            };
            let glance = replica.glance();
            self.without_log.on_standing(id, glance.standing);
            let fits = self.judge.checks.on_root(id, glance.executed_round, glance.running);
            if !self.forked {
                fits.or_else(|violation| self.excuse(violation))?;
            }
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
            Member::Replica(_) | Member::Operator(_) => true,
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

    fn report(&self, took: Duration, finished: bool) -> Report {
        let mut dissent = vec![0; self.ensemble.n()];
        let mut told = BTreeMap::new();
        let mut tell = |(lie, times): (&'static str, u64)| *told.entry(lie).or_insert(0) += times;
        for member in self.members() {
            match member {
                Member::Replica(r) => r.lies().into_iter().for_each(&mut tell),
                Member::Client(c) => {
                    let stats = c.stats();
                    let each = dissent.iter_mut().zip(&stats.replicas);
                    each.for_each(|(sum, r)| *sum += r.dissent);
                }
                Member::LyingClient(c) => tell(c.lies()),
                Member::Operator(_) => {}
            }
        }
        Report {
            executed: self.judge.checks.executions().count(),
            answered: self.judge.waits.answered(),
            failed: self.judge.failed.clone(),
            longest: self.judge.waits.longest(),
            refusals: self.judge.checks.refusals(),
            events: self.judge.receipts.counted(&self.judge.events),
            fired: self.world.fired().clone(),
            told,
            statuses: self.statuses().into_iter().map(|(_, s)| s).collect(),
            dissent,
            took,
            cell: self.cell(),
            finished,
            forked: self.forked,
            longest_since: self.judge.waits.longest_since(),
            simulated: Duration::from_nanos(self.world.now()),
            marks: marks::take(),
            arrivals: self.world.events(),
            trace_hash: self.world.trace_hash(),
        }
    }
}

fn broken(rule: &'static str, what: String) -> Violation {
    Violation { rule, what }
}
