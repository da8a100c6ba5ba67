//! The world: what happens when, and what the replicas' actions do.

use super::caller::Caller;
use super::check::{Truth, invariants};
use super::client::Client;
use super::disk::Write;
use super::faults::{Fault, pairs, site};
use super::options::{ChainOptions, ChainReport};
use super::site::Site;
use super::wires::{Load, Wire};
use crate::caller;
use crate::chain::{self, Action, Chain, Encoding, Input};
use crate::master::{Answer, Command as MasterCommand, Master, Terms};
use crate::service::Service;
use crate::simulator::Dice;
use crate::types::{AgreedTime, ClientId, GroupId, ReplicaId};
use crate::wire::{ChainAnswer, ChainConfig, ChainEntry, ChainMessage, Frame, Message, Reply};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// The number of the chain at its master, and of its group.
pub(super) const CHAIN: u32 = 1;
/// Microseconds that a message takes.
const DELAY: (u64, u64) = (200, 6000);
/// Microseconds that a write takes.
const SYNC: (u64, u64) = (100, 8000);
/// How much longer it takes at a slow disk.
const SLOWER: u64 = 25;
/// Microseconds in which the bytes of a state are made.
const ENCODE: (u64, u64) = (100, 60_000);

pub(super) enum Event {
    Site { to: usize, life: u64, input: Input },
    Frame { from: usize, to: usize, link: u64, load: Load, bytes: Bytes },
    Written { site: usize, life: u64 },
    Encoded { site: usize, life: u64, id: u64, work: Encoding },
    Wake { site: usize, life: u64 },
    Told { client: usize, what: Told },
    Timer { client: usize, attempt: u64 },
    Call { caller: usize },
    Caller { caller: usize, replica: ReplicaId, life: u64, input: caller::Input },
    CallerWake { caller: usize },
    Renew { from: usize, life: u64, serial: u64, command: Bytes },
    Fault(Fault),
    LinkUp { a: usize, b: usize },
    Restart { site: usize },
    Operator,
}

#[derive(Clone)]
pub(super) enum Told {
    Reply(u64, Reply),
    Answer(ChainAnswer),
}

pub(super) struct World<'a> {
    pub(super) options: &'a ChainOptions,
    pub(super) time: u64,
    queue: BTreeMap<(u64, u64), Event>,
    serial: u64,
    pub(super) sites: Vec<Site>,
    /// Links by their ends, the lower one first: which one it is, and whether it is up.
    pub(super) links: BTreeMap<(usize, usize), (u64, bool)>,
    /// The directions of links.
    pub(super) wires: BTreeMap<(usize, usize), Wire>,
    pub(super) master: Master,
    pub(super) master_stops: u64,
    pub(super) clients: Vec<Client>,
    pub(super) callers: Vec<Caller>,
    pub(super) truth: Truth,
    pub(super) dice: Dice,
    pub(super) report: ChainReport,
}

/// Plays one seed.
///
/// # Errors
/// What is wrong, and when: a broken rule, or that something was not done in time.
pub fn run(seed: u64, options: &ChainOptions) -> Result<ChainReport, String> {
    let mut world = World::new(seed, options)?;
    world.play().map_err(|what| format!("seed {seed}, at {} us: {what}", world.time))?;
    for site in world.sites.iter().filter_map(|s| s.chain.as_ref()) {
        world.report.stats += site.stats();
    }
    for stats in world.callers.iter().map(|c| c.core.stats()) {
        world.report.moved += stats.moved;
        world.report.repeats += stats.repeats;
        world.report.refused += stats.replicas.iter().map(|r| r.refusals).sum::<u64>();
    }
    world.report.updates = world.truth.len();
    world.report.states_compared = world.truth.compared;
    Ok(world.report)
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("runs are short")
}

impl<'a> World<'a> {
    fn new(seed: u64, options: &'a ChainOptions) -> Result<Self, String> {
        let mut dice = Dice::new(seed, 0);
        let (lease, margin) = (micros(options.lease), micros(options.margin));
        let mut master = Master::new(Terms { lease, margin });
        let ids = |range: std::ops::Range<u8>| {
            range.map(|i| ReplicaId::from_index(usize::from(i))).collect::<Vec<_>>()
        };
        let (members, spares) = (ids(0..options.length), ids(options.length..options.replicas));
        let create =
            MasterCommand::Create { chain: CHAIN, wanted: options.length, members, spares };
        master.execute(AgreedTime(0), &ClientId([0; 32]), &create.encode());
        let sites = (0..options.replicas).map(|i| site(i, options, &mut dice)).collect();
        let know = ChainConfig::default();
        let client = |i, calls| Client::new(i, calls, know.clone(), options.reads_any);
        let mut clients: Vec<_> = (0..options.clients).map(|i| client(i, options.calls)).collect();
        assert!(options.clients + options.burst <= 100, "callers have the names behind these");
        let third = micros(options.within) / 3;
        for i in 0..options.burst {
            let mut of_burst = client(options.clients + i, u32::MAX);
            of_burst.until = Some(2 * third);
            clients.push(of_burst);
        }
        let mut world = Self {
            options,
            time: 0,
            queue: BTreeMap::new(),
            serial: 0,
            sites,
            links: BTreeMap::new(),
            wires: BTreeMap::new(),
            master,
            master_stops: 0,
            clients,
            callers: Vec::new(),
            truth: Truth::default(),
            dice,
            report: ChainReport::default(),
        };
        for (a, b) in pairs(world.sites.len()) {
            world.links.insert((a, b), (0, false));
        }
        for site in 0..world.sites.len() {
            world.restart(site)?;
        }
        for client in 0..world.clients.len() {
            let at = world.clients[client].until.map_or(1000, |_| third);
            world.after(at, Event::Timer { client, attempt: 0 });
        }
        world.start_callers();
        world.plan(seed);
        Ok(world)
    }

    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.serial += 1;
        self.queue.insert((self.time + delay, self.serial), event);
    }

    pub(super) fn delay(&mut self) -> u64 {
        self.dice.between(DELAY.0, DELAY.1)
    }

    fn master_delay(&mut self) -> u64 {
        self.dice.between(DELAY.0, micros(self.options.master_delay))
    }

    pub(super) fn lost(&mut self) -> bool {
        self.dice.chance(self.options.loss)
    }

    fn play(&mut self) -> Result<(), String> {
        let (limit, lease) = (micros(self.options.time_limit), micros(self.options.lease));
        let within = micros(self.options.within);
        while let Some(((time, _), event)) = self.queue.pop_first() {
            self.time = time;
            self.report.events += 1;
            self.happen(event)?;
            let done = self.clients.iter().all(Client::is_done);
            if self.report.done == 0 && done && self.callers.iter().all(Caller::is_done) {
                self.report.done = time;
            }
            let settled = time > within + 8 * lease && time > self.report.done + 8 * lease;
            if self.report.done > 0 && settled && self.is_whole() {
                return self.finish();
            }
            if time > limit {
                return Err(self.stuck());
            }
        }
        Err("nothing happens any more".to_owned())
    }

    /// What there is to see when it is not done in time.
    fn stuck(&self) -> String {
        let mut said = format!("not done in time: {:?}\n", self.config());
        for site in &self.sites {
            if let Some(chain) = &site.chain {
                let (executed, last) = (chain.executed().number, chain.last());
                let (number, ready) = (chain.config().number, chain.is_ready());
                said += &format!(
                    "{} in {number}, ready {ready}: executed {executed}, durable {}, {last:?}\n",
                    site.setup.me,
                    chain.durable(),
                );
            }
        }
        let waits = self.clients.iter().filter_map(|c| c.waits.as_ref());
        said = waits.fold(said, |said, waits| format!("{said}a client waits for {waits:?}\n"));
        for caller in &self.callers {
            for token in caller.waits.keys() {
                let config = caller.core.config();
                said += &format!("a caller in {config:?}:\n{:?}\n", caller.core.explain(*token));
            }
        }
        said
    }

    /// Whether the chain has its length again, and all members are equally far.
    fn is_whole(&self) -> bool {
        let config = self.config();
        let far = |m: &crate::wire::ChainMember| {
            let chain = self.sites[m.replica.index()].chain.as_ref();
            chain.is_some_and(|c| {
                let done = c.executed().number == self.truth.len() && c.last() == c.executed();
                done && c.config().number == config.number
            })
        };
        config.members.len() == usize::from(self.options.length) && config.members.iter().all(far)
    }

    fn finish(&mut self) -> Result<(), String> {
        let config = self.config();
        self.report.configs = config.number;
        for member in config.members {
            let site = &mut self.sites[member.replica.index()];
            self.truth.state(site.chain.as_mut().expect("it is whole"))?;
        }
        if self.truth.told > self.truth.len() {
            return Err(format!("{} was answered and is lost", self.truth.told));
        }
        self.truth.linearizable()
    }

    pub(super) fn show(&self) -> Answer {
        let show = MasterCommand::Show { chain: CHAIN }.encode();
        let said = self.master.query(self.agreed(), &ClientId([0; 32]), &show);
        Answer::parse(&said).expect("a master's answer")
    }

    pub(super) fn config(&self) -> ChainConfig {
        match self.show() {
            Answer::Chain { config, .. } => config,
            other => unreachable!("the chain was made: {other:?}"),
        }
    }

    /// The master's time: a clock that runs neither fast nor slow.
    pub(super) fn agreed(&self) -> AgreedTime {
        AgreedTime(self.time + 1)
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Site { to, life, input } if self.sites[to].life == life => {
                self.arrive(to, input)
            }
            Event::Frame { from, to, link, load, bytes } => {
                self.passed((from, to), link, load);
                let key = (from.min(to), from.max(to));
                if self.links[&key] != (link, true) {
                    return Ok(());
                }
                let frame = Frame::parse(bytes).map_err(|e| e.to_string())?;
                let message = ChainMessage::from_body(&frame.body).map_err(|e| e.to_string())?;
                let peer = ReplicaId::from_index(from);
                self.arrive(to, Input::Peer { peer, message })
            }
            Event::Written { site, life } if self.sites[site].life == life => {
                let done = self.sites[site].disk.step(&mut self.dice);
                let there = self.sites[site].disk.log_bytes();
                self.report.log_bytes = self.report.log_bytes.max(there);
                match done {
                    Some(sequence) => self.arrive(site, Input::Synced { sequence }),
                    None => Ok(()),
                }
            }
            Event::Encoded { site, life, id, work } if self.sites[site].life == life => {
                // Only now: what was executed meanwhile must not be in it.
                self.arrive(site, Input::Encoded { id, state: work.run() })
            }
            Event::Wake { site, life } if self.sites[site].life == life => self.woken(site),
            Event::Site { .. } | Event::Written { .. } => Ok(()),
            Event::Encoded { .. } | Event::Wake { .. } => Ok(()),
            Event::Told { client, what } => self.told(client, what),
            Event::Timer { client, attempt } => {
                if self.clients[client].attempt == attempt {
                    self.ask(client);
                }
                Ok(())
            }
            Event::Renew { from, life, serial, command } => {
                self.renew(from, life, serial, &command);
                Ok(())
            }
            Event::Call { caller } => self.call(caller),
            Event::Caller { caller, replica, life, input } => {
                self.reach_caller(caller, (replica, life), input)
            }
            Event::CallerWake { caller } => self.caller_woken(caller),
            Event::Fault(fault) => self.fault(fault),
            Event::LinkUp { a, b } => self.link_up(a, b),
            Event::Restart { site } => self.restart(site),
            Event::Operator => {
                self.operate();
                Ok(())
            }
        }
    }

    // --- replicas ------------------------------------------------------------------------------

    pub(super) fn arrive(&mut self, to: usize, input: Input) -> Result<(), String> {
        let site = &mut self.sites[to];
        if site.chain.is_none() {
            return Ok(());
        }
        if self.time < site.paused_until || !site.inbox.is_empty() {
            site.inbox.push_back(input);
            return Ok(());
        }
        self.handle(to, input)
    }

    fn woken(&mut self, at: usize) -> Result<(), String> {
        let site = &self.sites[at];
        // Another one took the place of this one, and is still to come.
        let outdated = site.inbox.is_empty() && site.wake > self.time;
        if self.time < site.paused_until || site.chain.is_none() || outdated {
            return Ok(());
        }
        self.sites[at].wake = 0;
        for input in std::mem::take(&mut self.sites[at].inbox) {
            self.handle(at, input)?;
        }
        self.sites[at].undrained = false;
        self.handle(at, Input::Tick)?;
        self.handle(at, Input::Drained)
    }

    fn handle(&mut self, at: usize, input: Input) -> Result<(), String> {
        let drained = matches!(input, Input::Drained);
        if let Input::Peer { peer, message: ChainMessage::Resume { .. } } = &input {
            self.resumes(peer.index(), at);
        }
        let site = &mut self.sites[at];
        let now = site.now(self.time);
        let Some(chain) = site.chain.as_mut() else { return Ok(()) };
        let actions = chain.handle(now, input);
        for action in actions {
            self.perform(at, action)?;
        }
        // Sometimes more has come, and is taken together.
        if !drained && self.dice.chance(700) {
            return self.handle(at, Input::Drained);
        }
        let site = &mut self.sites[at];
        site.undrained |= !drained;
        let Some(chain) = site.chain.as_ref() else { return Ok(()) };
        let soon = if site.undrained { self.time + 300 } else { u64::MAX };
        let due = site.time_of(chain.next_wake()).min(soon).max(self.time + 1);
        if site.wake == 0 || due < site.wake {
            site.wake = due;
            let life = site.life;
            self.after(due - self.time, Event::Wake { site: at, life });
        }
        self.look(at)
    }

    fn look(&mut self, at: usize) -> Result<(), String> {
        let time = self.time;
        let often = self.report.events.is_multiple_of(16);
        let site = &mut self.sites[at];
        let chain = site.chain.as_mut().expect("it was just there");
        // It changes when something is executed, and hardly ever should otherwise.
        let executed = (site.life, chain.executed().number);
        if std::mem::replace(&mut site.looked_at, executed) != executed || often {
            self.truth.state(chain)?;
        }
        let answers = |s: &&Site| s.chain.as_ref().is_some_and(|c| c.answers(s.now(time)));
        let tails: Vec<ReplicaId> = self.sites.iter().filter(answers).map(|s| s.setup.me).collect();
        if tails.len() > 1 {
            return Err(format!("{tails:?} all answer as the tail"));
        }
        let chains: Vec<&Chain> = self.sites.iter().filter_map(|s| s.chain.as_ref()).collect();
        invariants(&chains)
    }

    fn perform(&mut self, at: usize, action: Action) -> Result<(), String> {
        let life = self.sites[at].life;
        match action {
            Action::ToPeer { peer, message } => {
                let (load, bytes) = (Load::of(&message), message.to_frame(GroupId(CHAIN)).into());
                self.send((at, peer.index()), load, bytes)?;
            }
            Action::Reply { client, number, reply } => {
                let ids =
                    self.clients.iter().map(|c| c.id).chain(self.callers.iter().map(|c| c.id));
                let client = ids.zip(0..).find(|(id, _)| *id == client).expect("a client").1;
                self.tell(at, client, Told::Reply(number, reply));
            }
            Action::Answer { link, answer } => {
                let client = usize::try_from(link.0).expect("few clients");
                self.tell(at, client, Told::Answer(answer));
            }
            Action::Renew { serial, command } => {
                let delay = self.master_delay();
                if !self.lost() && self.hears(at) {
                    self.after(delay, Event::Renew { from: at, life, serial, command });
                }
            }
            Action::Append { sequence, entries } => {
                self.write(at, sequence, Write::Append(entries));
            }
            Action::Save { sequence, number, state, anew } => {
                self.write(at, sequence, Write::Save { number, state, anew });
            }
            Action::Encode { id, work } => {
                let delay = self.dice.between(ENCODE.0, ENCODE.1);
                self.after(delay, Event::Encoded { site: at, life, id, work });
            }
            Action::Begun => self.sites[at].begun = true,
            Action::Event(chain::Event::Executed { entry, outcome, fresh }) => {
                if self.truth.executed(&entry, &outcome, fresh)? {
                    self.is_on_every_disk(at, &entry)?;
                }
            }
            Action::Event(chain::Event::Halted { why }) => return Err(format!("halted: {why}")),
            Action::Event(_) => {}
        }
        Ok(())
    }

    /// CH-U4.
    fn is_on_every_disk(&self, at: usize, entry: &ChainEntry) -> Result<(), String> {
        let chain = self.sites[at].chain.as_ref().expect("it has just executed");
        let number = entry.position.number;
        for member in &chain.config().members {
            let site = &self.sites[member.replica.index()];
            // One whose disk is lost is still a member until the master knows.
            if !site.is_lost() && !site.disk.has(entry) {
                return Err(format!("{number} is committed and not on disk of {}", member.replica));
            }
        }
        Ok(())
    }

    fn write(&mut self, at: usize, sequence: u64, write: Write) {
        let steps = if matches!(write, Write::Save { anew: false, .. }) { 2 } else { 1 };
        self.sites[at].disk.push(sequence, write);
        let life = self.sites[at].life;
        let slower = if self.time < self.sites[at].slow_until { SLOWER } else { 1 };
        for _ in 0..steps {
            let delay = self.dice.between(SYNC.0, slower * SYNC.1);
            self.after(delay, Event::Written { site: at, life });
        }
    }

    // --- the master ----------------------------------------------------------------------------

    fn hears(&self, site: usize) -> bool {
        self.time >= self.master_stops && self.time >= self.sites[site].cut_until
    }

    fn renew(&mut self, from: usize, life: u64, serial: u64, command: &[u8]) {
        if !self.hears(from) {
            return;
        }
        let output = self.master.execute(self.agreed(), &ClientId([0; 32]), command);
        let delay = self.master_delay();
        if !self.lost() {
            let input = Input::Renewed { serial, output: output.into() };
            self.after(delay, Event::Site { to: from, life, input });
        }
    }
}
