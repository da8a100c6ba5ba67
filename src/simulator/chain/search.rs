//! Every order of delivery of a small chain: breadth first over all states that can be reached.
//!
//! A state is the replicas, what is on its way on each link (in order), the writes that are not
//! done, the updates that clients may still send, and what was executed. A step delivers one
//! message, completes one write, sends one update, or brings the one disturbance a step further.
//! No time passes, but for one whose lease is over. In each state must hold: what [`super::check`]
//! says of histories and executions; that what is executed is on the disks of all members; that at
//! most one would answer as the tail, and has executed all that a client was told; and where no
//! step is left, that all members have all and every client its answer.

use super::check::{Truth, invariants};
use super::disk::{Disk, Write};
use crate::chain::{Action, Chain, Event, Input, Setup};
use crate::crypto::{Domain, Hasher};
use crate::types::{ClientId, Digest, Instant, LinkId, Now, ReplicaId, RequestId, SessionId, Wall};
use crate::wire::{
    ChainConfig, ChainEntry, ChainGrant, ChainMember, ChainMessage, ChainRenewal, Layout, Reader,
    Request,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The one thing that happens besides updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Nothing.
    None,
    /// The replica at this place stops, and the master takes it out (CH-F1 to CH-F3).
    Stop(usize),
    /// It loses its lease and is taken out, and lives on.
    Expire(usize),
    /// The link between the one at this place and the next breaks and comes back.
    Break(usize),
    /// The operator turns the order round.
    Turn,
    /// One more replica joins and is appended (CH-F4).
    Join,
    /// All stop, lose what is not synced, and begin again by what their disks have (CH-F6).
    Outage,
}

/// What a search has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Different states.
    pub states: u64,
    /// Steps between them.
    pub steps: u64,
    /// States without a next step.
    pub ends: u64,
}

#[derive(Clone)]
struct Node {
    chain: Chain,
    disk: Disk,
    now: Now,
    lives: bool,
    /// Whether it may be told of the newest configuration.
    to_learn: bool,
}

#[derive(Clone)]
struct State {
    nodes: Vec<Node>,
    links: BTreeMap<(usize, usize), VecDeque<ChainMessage>>,
    config: ChainConfig,
    truth: Truth,
    /// How often each update may still be sent.
    unsent: Vec<u8>,
    replied: BTreeSet<RequestId>,
    disturbed: bool,
    /// Who has told the master that the joining one has everything.
    paired: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Deliver(usize, usize),
    Written(usize),
    Update(usize, usize),
    Disturb,
    Append,
    Learn(usize),
}

/// Goes through all states of a chain of so many members and updates.
///
/// # Errors
/// What is wrong in a state, and the steps that lead there; or that there are more states than
/// `most`.
pub fn search(
    setups: Vec<Setup>,
    members: usize,
    updates: usize,
    disturbance: Disturbance,
    most: u64,
) -> Result<Seen, String> {
    let start = State::new(setups, members, updates)?;
    let mut known = BTreeSet::from([start.clone().fingerprint()]);
    let (mut queue, mut seen) = (VecDeque::from([(start, Vec::new())]), Seen::default());
    while let Some((state, path)) = queue.pop_front() {
        seen.states += 1;
        if seen.states > most {
            return Err(format!("more than {most} states"));
        }
        let steps = state.steps(disturbance);
        if steps.is_empty() {
            seen.ends += 1;
            state.ended(disturbance).map_err(|what| format!("{what}, at the end of {path:?}"))?;
        }
        for step in steps {
            seen.steps += 1;
            let mut next = state.clone();
            let path: Vec<Step> = path.iter().copied().chain([step]).collect();
            next.take(step, disturbance).map_err(|what| format!("{what}, after {path:?}"))?;
            if known.insert(next.fingerprint()) {
                queue.push_back((next, path));
            }
        }
    }
    Ok(seen)
}

impl State {
    fn new(setups: Vec<Setup>, members: usize, updates: usize) -> Result<Self, String> {
        let now = Now { monotonic: Instant(0), wall: Wall(1) };
        let node = |setup: Setup| {
            let (chain, disk) = (Chain::new(setup, Default::default())?, Disk::default());
            Ok(Node { chain, disk, now, lives: true, to_learn: false })
        };
        let nodes = setups.into_iter().map(node).collect::<Result<Vec<Node>, String>>()?;
        let first = nodes[..members].iter().map(|n| n.chain.member()).collect();
        let mut state = Self {
            config: ChainConfig { number: 1, members: first, joining: None },
            links: BTreeMap::new(),
            truth: Truth::default(),
            unsent: vec![2; updates],
            replied: BTreeSet::new(),
            disturbed: false,
            paired: false,
            nodes,
        };
        for (a, b) in super::faults::pairs(state.nodes.len()) {
            state.link(a, b)?;
        }
        (0..state.nodes.len()).try_for_each(|at| state.learn(at))?;
        // Until the chain has begun there is one order, which other searches go through.
        while let Some(step) = state
            .steps(Disturbance::Join)
            .into_iter()
            .find(|step| matches!(step, Step::Deliver(..)))
        {
            state.take(step, Disturbance::None)?;
        }
        Ok(state)
    }

    fn link(&mut self, a: usize, b: usize) -> Result<(), String> {
        self.links.insert((a, b), VecDeque::new());
        self.links.insert((b, a), VecDeque::new());
        self.handle(a, Input::PeerUp { peer: ReplicaId::from_index(b) })?;
        self.handle(b, Input::PeerUp { peer: ReplicaId::from_index(a) })
    }

    fn unlink(&mut self, a: usize, b: usize) -> Result<(), String> {
        if self.links.remove(&(a, b)).is_some() {
            self.links.remove(&(b, a));
            self.handle(a, Input::PeerDown { peer: ReplicaId::from_index(b) })?;
            self.handle(b, Input::PeerDown { peer: ReplicaId::from_index(a) })?;
        }
        Ok(())
    }

    fn steps(&self, disturbance: Disturbance) -> Vec<Step> {
        let mut steps = Vec::new();
        let full = self.links.iter().filter(|(_, queue)| !queue.is_empty());
        steps.extend(full.map(|((from, to), _)| Step::Deliver(*from, *to)));
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, n)| n.lives) {
            if node.disk.is_writing() {
                steps.push(Step::Written(at));
            }
            if node.to_learn {
                steps.push(Step::Learn(at));
            }
            if node.chain.config().head() == Some(node.chain.member()) {
                let can = self.unsent.iter().enumerate().filter(|(_, left)| **left > 0);
                steps.extend(can.map(|(update, _)| Step::Update(update, at)));
            }
        }
        if !self.disturbed && disturbance != Disturbance::None {
            steps.push(Step::Disturb);
        }
        if self.paired && self.config.joining.is_some() {
            steps.push(Step::Append);
        }
        steps
    }

    fn take(&mut self, step: Step, disturbance: Disturbance) -> Result<(), String> {
        match step {
            Step::Deliver(from, to) => {
                let queue = self.links.get_mut(&(from, to)).expect("it is a step");
                let message = queue.pop_front().expect("it is a step");
                self.handle(to, Input::Peer { peer: ReplicaId::from_index(from), message })
            }
            Step::Written(at) => match self.nodes[at].disk.complete() {
                Some(sequence) => self.handle(at, Input::Synced { sequence }),
                None => Ok(()),
            },
            Step::Update(update, at) => {
                self.unsent[update] -= 1;
                let client = ClientId([u8::try_from(update).expect("few") + 1; 32]);
                let request =
                    Request { session: SessionId(1), number: 0, low: 0, body: Bytes::new() };
                self.handle(at, Input::Update { link: LinkId(0), client, request })
            }
            Step::Disturb => {
                self.disturbed = true;
                self.disturb(disturbance)
            }
            Step::Append => {
                self.paired = false;
                let joining = self.config.joining.expect("it is a step");
                self.config.members.push(joining);
                self.reconfigure(None);
                Ok(())
            }
            Step::Learn(at) => self.learn(at),
        }
    }

    fn reconfigure(&mut self, joining: Option<ChainMember>) {
        self.config.number += 1;
        self.config.joining = joining;
        self.nodes.iter_mut().for_each(|node| node.to_learn = true);
    }

    fn learn(&mut self, at: usize) -> Result<(), String> {
        self.nodes[at].to_learn = false;
        // The first renewal of each gives it a lease; none ends but that of who expires.
        let grant = ChainGrant { granted: true, again: 0, config: self.config.clone() };
        self.handle(at, Input::Renewed { serial: 1, output: grant.to_bytes().into() })
    }

    fn disturb(&mut self, disturbance: Disturbance) -> Result<(), String> {
        match disturbance {
            Disturbance::None => {}
            Disturbance::Stop(at) | Disturbance::Expire(at) => {
                let replica = ReplicaId::from_index(at);
                self.config.members.retain(|m| m.replica != replica);
                self.reconfigure(None);
                if disturbance == Disturbance::Stop(at) {
                    self.nodes[at].lives = false;
                    for other in (0..self.nodes.len()).filter(|other| *other != at) {
                        self.unlink(at.min(other), at.max(other))?;
                    }
                } else {
                    self.nodes[at].now.monotonic = Instant(u64::MAX / 2);
                    self.handle(at, Input::Tick)?;
                }
            }
            Disturbance::Break(at) => {
                self.unlink(at, at + 1)?;
                self.link(at, at + 1)?;
            }
            Disturbance::Turn => {
                self.config.members.reverse();
                self.reconfigure(None);
            }
            Disturbance::Join => {
                let new = self.nodes.last().expect("there are some").chain.member();
                self.reconfigure(Some(new));
            }
            Disturbance::Outage => self.outage()?,
        }
        Ok(())
    }

    fn outage(&mut self) -> Result<(), String> {
        self.links.clear();
        let mut reports = Vec::new();
        for node in &mut self.nodes {
            let life = node.chain.member().incarnation + 1;
            node.disk.lose();
            node.chain = node.chain.next_life(life, node.disk.found())?;
            if self.config.has(node.chain.member().replica) {
                reports.push((node.chain.last(), node.chain.member()));
            }
        }
        reports.sort_by_key(|(last, _)| std::cmp::Reverse(*last));
        self.config.members = reports.into_iter().map(|(_, member)| member).collect();
        self.reconfigure(None);
        for (a, b) in super::faults::pairs(self.nodes.len()) {
            self.link(a, b)?;
        }
        Ok(())
    }

    fn handle(&mut self, at: usize, input: Input) -> Result<(), String> {
        for input in [input, Input::Drained] {
            let node = &mut self.nodes[at];
            if !node.lives {
                return Ok(());
            }
            let actions = node.chain.handle(node.now, input);
            actions.into_iter().try_for_each(|action| self.perform(at, action))?;
        }
        self.look()
    }

    fn perform(&mut self, at: usize, action: Action) -> Result<(), String> {
        match action {
            Action::ToPeer { peer, message } => {
                if let Some(queue) = self.links.get_mut(&(at, peer.index())) {
                    queue.push_back(message);
                }
            }
            Action::Reply { client, number, reply } => {
                self.truth.told(number, &reply.outcome)?;
                let (session, number) = (reply.session, reply.number);
                self.replied.insert(RequestId { client, session, number });
            }
            Action::Append { sequence, entries } => {
                self.nodes[at].disk.push(sequence, Write::Append(entries));
            }
            Action::Save { sequence, number, state, anew } => {
                self.nodes[at].disk.push(sequence, Write::Save { number, state, anew });
            }
            // As if it cost no time: other orders change nothing that is looked at here.
            Action::Encode { id, work } => {
                self.handle(at, Input::Encoded { id, state: work.run() })?;
            }
            Action::Renew { command, .. } => {
                let renewal = ChainRenewal::get(&mut Reader::new(&command[1..]));
                let paired = renewal.map_err(|e| e.to_string())?.paired;
                self.paired |= paired > 0 && paired == self.config.number;
            }
            Action::Event(Event::Executed { entry, outcome, fresh }) => {
                if self.truth.executed(&entry, &outcome, fresh)? {
                    self.is_on_every_disk(at, &entry)?;
                }
            }
            Action::Event(Event::Halted { why }) => return Err(format!("halted: {why}")),
            Action::Event(_) | Action::Answer { .. } | Action::Begun => {}
        }
        Ok(())
    }

    fn is_on_every_disk(&self, at: usize, entry: &ChainEntry) -> Result<(), String> {
        let number = entry.position.number;
        for member in &self.nodes[at].chain.config().members {
            if !self.nodes[member.replica.index()].disk.has(entry) {
                return Err(format!("{number} is committed and not on disk of {}", member.replica));
            }
        }
        Ok(())
    }

    fn look(&self) -> Result<(), String> {
        let live = || self.nodes.iter().filter(|n| n.lives);
        let chains: Vec<&Chain> = live().map(|n| &n.chain).collect();
        invariants(&chains)?;
        let tails: Vec<&Chain> =
            live().filter(|n| n.chain.answers(n.now)).map(|n| &n.chain).collect();
        match tails[..] {
            [] => Ok(()),
            [tail] if tail.executed().number >= self.truth.told => Ok(()),
            [tail] => Err(format!("{} answers without what was told", tail.member().replica)),
            _ => Err("two answer as the tail".to_owned()),
        }
    }

    /// Where nothing is left to happen.
    fn ended(&self, disturbance: Disturbance) -> Result<(), String> {
        // Otherwise what was sent may be gone with a head, or executed and told by nobody; then
        // its client would send it once more.
        let told = matches!(disturbance, Disturbance::None | Disturbance::Break(_));
        if told && self.replied.len() < self.unsent.len() {
            return Err(format!("clients were told {:?} only", self.replied));
        }
        for member in &self.config.members {
            let chain = &self.nodes[member.replica.index()].chain;
            if chain.executed().number != self.truth.len() || chain.last() != chain.executed() {
                return Err(format!("{} has not executed all", member.replica));
            }
        }
        Ok(())
    }

    fn fingerprint(&mut self) -> Digest {
        let mut h = Hasher::new(Domain::State);
        for node in &mut self.nodes {
            h.put(&node.chain.fingerprint().0);
            h.put_var(format!("{:?}", node.disk).as_bytes());
            h.put(&[u8::from(node.lives), u8::from(node.to_learn)]);
            h.put_u64(node.now.monotonic.0);
        }
        let (links, config) = (&self.links, &self.config);
        let rest = (links, config, &self.unsent, &self.replied, self.disturbed, self.paired);
        h.put_var(format!("{rest:?}").as_bytes());
        h.put_u64(self.truth.told);
        for number in 1..=self.truth.len() {
            h.put_var(self.truth.record(number).expect("it is executed"));
        }
        h.finish()
    }
}
