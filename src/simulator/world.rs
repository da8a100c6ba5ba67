//! The world: virtual time, nodes, and everything that happens to them, in one fixed order.
//!
//! A world is a function of its seed, its options and its nodes: the same three give the same
//! events and the same [`World::trace_hash`]. A node takes no time to handle what comes.

use super::disk::{Disk, Item};
use super::fault::{CrashPoint, Fault};
use super::meter::Meter;
use super::network::{Network, Pair, nanos, pair};
use super::node::frames_of;
use super::{Arrival, Clock, Dice, DiskOptions, Effect, NetworkOptions, Node, NodeId};
use crate::replica::{Encoding, Stored};
use crate::types::Digest;
use crate::wire::Stamp;
use bytes::Bytes;
use post::{Inbox, post};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use trace::Trace;

/// Ticks in a row after which a node still wants one that is due already, until the world says
/// that it spins.
const MAX_SPINS: u32 = 1000;
/// What may wait to happen at one time, until the world says that messages make ever more messages.
const MAX_WAITING: usize = 200_000;
/// The stream of the seed that disks draw from.
const DISKS: u64 = 3;
/// The stream that the time for making a snapshot's bytes is drawn from, and how long it is at
/// most: several checkpoints.
const ENCODERS: u64 = 4;
const ENCODING: Duration = Duration::from_millis(300);

/// How a world behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldOptions {
    /// The links.
    pub network: NetworkOptions,
    /// The disks.
    pub disk: DiskOptions,
    /// Timers fire on multiples of this, never early.
    pub timer_grain: Duration,
    /// Arrivals at most, over the world's life.
    pub max_events: u64,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            network: NetworkOptions::default(),
            disk: DiskOptions::default(),
            timer_grain: Duration::from_micros(100),
            max_events: 5_000_000,
        }
    }
}

/// Why a run of the world ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The time asked for has come.
    Time,
    /// Nothing will ever happen any more.
    Idle,
    /// The limit on events is reached.
    Events,
    /// A node asks for a tick that is due already, again and again.
    Spinning(NodeId),
    /// The observer has seen enough.
    Observer,
    /// A node has crashed. The world goes on if it is asked to.
    Crashed(NodeId),
    /// The disk of a node that has crashed is gone.
    DiskGone(NodeId),
    /// The time has come to start a node that crashed or ended: [`World::start`].
    Boot(NodeId),
}

/// What a node told the checkers, when by the world's time.
#[derive(Clone, Debug)]
pub struct Noted<T> {
    /// Nanoseconds since the world began.
    pub time: u64,
    /// Who.
    pub node: NodeId,
    /// What.
    pub note: T,
    /// How many records are durable on its disk.
    pub durable: usize,
}

#[derive(Debug)]
enum Event {
    Deliver {
        from: NodeId,
        to: NodeId,
        connection: u64,
        frame: Bytes,
        stamp: Option<Stamp>,
    },
    Learn {
        at: NodeId,
        peer: NodeId,
        connection: u64,
    },
    Down {
        at: NodeId,
        peer: NodeId,
        connection: u64,
    },
    Connect(Pair),
    /// One side of this connection is gone since a while; now the other learns of it.
    Fade {
        ends: Pair,
        connection: u64,
    },
    /// A link on which one direction is cut gives up; it may come up again at `until`.
    GiveUp {
        ends: Pair,
        until: u64,
    },
    Synced {
        at: NodeId,
        life: u64,
        sequence: u64,
    },
    /// The bytes that a node of this life asked for are made.
    Encoded {
        at: NodeId,
        life: u64,
        number: u64,
        work: Encoding,
    },
    Boot(NodeId),
    Wake(NodeId),
    Resume(NodeId),
    Fault(Fault),
}

struct Seat<N> {
    node: Option<N>,
    clock: Clock,
    armed: Option<u64>,
    spins: u32,
    paused_until: u64,
    /// Since when it does nothing.
    away: Option<u64>,
    held: Vec<Arrival>,
    disk: Disk,
    /// Starts so far: what an earlier life has asked of the disk does not reach a later one.
    life: u64,
    trap: Option<Trap>,
}

/// A crash that waits for a write.
struct Trap {
    point: CrashPoint,
    nth: u64,
    down_for: Duration,
    /// Whether the node has been told: it crashes once it has acted.
    sprung: bool,
}

/// A world of nodes of one kind (an enum, as a rule).
pub struct World<N: Node> {
    now: u64,
    events: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    seats: BTreeMap<NodeId, Seat<N>>,
    network: Network,
    disk_options: DiskOptions,
    disk_dice: Dice,
    encode_dice: Dice,
    /// What whoever runs the world has to be told.
    news: VecDeque<Stopped>,
    timer_grain: u64,
    max_events: u64,
    healed: bool,
    trace: Trace,
}

impl<N: Node> World<N> {
    /// An empty world at time 0.
    pub fn new(dice: Dice, options: WorldOptions) -> Self {
        Self {
            now: 0,
            events: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            seats: BTreeMap::new(),
            disk_options: options.disk,
            disk_dice: dice.stream(DISKS),
            encode_dice: dice.stream(ENCODERS),
            news: VecDeque::new(),
            network: Network::new(options.network, dice),
            timer_grain: nanos(options.timer_grain).max(1),
            max_events: options.max_events,
            healed: false,
            trace: Trace::default(),
        }
    }

    /// Adds a node and links it to every other, but clients not to clients.
    pub fn add(&mut self, id: NodeId, node: N, clock: Clock) {
        let others: Vec<NodeId> = self.seats.keys().copied().collect();
        let seat = Seat {
            node: Some(node),
            clock,
            armed: None,
            spins: 0,
            paused_until: 0,
            away: None,
            held: Vec::new(),
            disk: Disk::default(),
            life: 0,
            trap: None,
        };
        self.seats.insert(id, seat);
        if clock.rate_ppm.abs() > strike::MAX_RATE_PPM {
            self.network.meter.on_held(id, u64::MAX);
        }
        for other in others.into_iter().filter(|o| o.is_replica() || id.is_replica()) {
            self.network.add(id, other);
            self.push(self.now, Event::Connect(pair(id, other)));
        }
        self.arm(id);
    }

    /// Lets something bad happen at a time, nanoseconds since the world began.
    pub fn schedule(&mut self, at: u64, fault: Fault) {
        self.push(at.max(self.now), Event::Fault(fault));
    }

    /// Nanoseconds since the world began.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Arrivals so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// A node, if it is not stopped.
    pub fn node(&self, id: NodeId) -> Option<&N> {
        self.seats.get(&id).and_then(|s| s.node.as_ref())
    }

    /// A node to be changed by the test; ask [`World::poke`] to let it act on it.
    pub fn node_mut(&mut self, id: NodeId) -> Option<&mut N> {
        self.seats.get_mut(&id).and_then(|s| s.node.as_mut())
    }

    /// Gives a node a tick as soon as the world goes on.
    pub fn poke(&mut self, id: NodeId) {
        self.push(self.now, Event::Resume(id));
    }

    /// A node's clocks now.
    pub fn clock(&self, id: NodeId) -> Option<Clock> {
        self.seats.get(&id).map(|s| s.clock)
    }

    /// What is durable on a node's disk, in order; nothing for an unknown node.
    pub fn disk(&self, id: NodeId) -> &[Bytes] {
        self.seats.get(&id).map_or(&[], |s| s.disk.durable())
    }

    /// What a start of a node finds of its log and its snapshots.
    pub fn stored(&self, id: NodeId) -> Stored {
        self.seats.get(&id).map(|s| s.disk.stored()).unwrap_or_default()
    }

    /// How often each kind of fault has struck.
    pub fn fired(&self) -> &BTreeMap<&'static str, u64> {
        &self.network.fired
    }

    /// What really happened between and to replicas.
    pub fn meter(&self) -> &Meter {
        &self.network.meter
    }

    /// A hash over everything that has come to any node, and when.
    pub fn trace_hash(&self) -> Digest {
        self.trace.digest()
    }

    /// Lets the world go on until a time. `observe` sees every note and says whether to go on.
    pub fn run_until(
        &mut self,
        until: u64,
        observe: &mut impl FnMut(Noted<N::Note>) -> bool,
    ) -> Stopped {
        loop {
            if let Some(news) = self.news.pop_front() {
                return news;
            }
            let Some((&(time, _), _)) = self.queue.first_key_value() else {
                return Stopped::Idle;
            };
            if time > until {
                self.now = self.now.max(until);
                return Stopped::Time;
            }
            self.now = time;
            let mut inbox = Inbox::new();
            while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 == time) {
                let event = entry.remove();
                self.dispatch(event, &mut inbox);
            }
            let mut go_on = true;
            for (id, arrivals) in inbox {
                self.deliver(id, arrivals, &mut |note| go_on &= observe(note));
                if self.seats[&id].spins > MAX_SPINS {
                    return Stopped::Spinning(id);
                }
            }
            if !go_on {
                return Stopped::Observer;
            }
            if self.events > self.max_events || self.queue.len() > MAX_WAITING {
                return Stopped::Events;
            }
        }
    }

    fn dispatch(&mut self, event: Event, inbox: &mut Inbox) {
        match event {
            Event::Deliver { from, to, connection, frame, stamp } => {
                if self.network.connection(to, from) != Some(connection) {
                    return;
                }
                match frames_of(&frame) {
                    Some(frames) => post(inbox, to, (from, connection), frames, stamp),
                    // As the real driver does with a stream that cannot be read any further.
                    None => {
                        self.network.fire("malformed frame");
                        self.sever(pair(from, to), nanos(self.network.options().reconnect));
                    }
                }
            }
            Event::Learn { at, peer, connection } => {
                if self.network.learn(at, peer, connection) {
                    let hello = self.node(peer).and_then(N::hello);
                    let up = Arrival::Up { peer, connection, hello };
                    inbox.entry(at).or_default().push(up);
                }
            }
            Event::Down { at, peer, connection } => {
                inbox.entry(at).or_default().push(Arrival::Down { peer, connection });
            }
            Event::Connect(ends) => self.connect(ends),
            Event::Fade { ends, connection } => {
                if self.network.is_connected(ends, connection) {
                    self.sever(ends, 0);
                }
            }
            Event::GiveUp { ends, until } => self.sever(ends, until.saturating_sub(self.now)),
            Event::Synced { at, life, sequence } => self.synced(at, life, sequence, inbox),
            Event::Encoded { at, life, number, work } => {
                if self.seats.get(&at).is_some_and(|s| s.node.is_some() && s.life == life) {
                    let encoded = Arrival::Encoded { number, made: work.run() };
                    inbox.entry(at).or_default().push(encoded);
                }
            }
            Event::Boot(id) => {
                if self.seats.get(&id).is_some_and(|s| s.node.is_none()) {
                    self.news.push_back(Stopped::Boot(id));
                }
            }
            Event::Wake(id) => {
                if let Some(seat) = self.seats.get_mut(&id).filter(|s| s.armed == Some(self.now)) {
                    seat.armed = None;
                    inbox.entry(id).or_default().push(Arrival::Tick);
                }
            }
            Event::Resume(id) => inbox.entry(id).or_default().push(Arrival::Tick),
            Event::Fault(fault) => self.strike(fault),
        }
    }

    fn deliver(
        &mut self,
        id: NodeId,
        arrivals: Vec<Arrival>,
        note: &mut impl FnMut(Noted<N::Note>),
    ) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if seat.paused_until > self.now {
            seat.held.extend(arrivals);
            return;
        }
        let now = seat.clock.read(self.now);
        let mut effects = self.tell_away(id, now);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(node) = &mut seat.node else { return };
        let held = std::mem::take(&mut seat.held);
        for arrival in held.into_iter().chain(arrivals).chain([Arrival::Drained]) {
            self.events += 1;
            self.trace.record(self.now, id, &arrival);
            node.handle(now, arrival, &mut effects);
        }
        for effect in effects {
            self.perform(id, effect, note);
        }
        self.arm(id);
        self.spring(id);
    }

    fn perform(
        &mut self,
        id: NodeId,
        effect: Effect<N::Note>,
        note: &mut impl FnMut(Noted<N::Note>),
    ) {
        match effect {
            Effect::Send { to, lane, frame } => {
                let Some(connection) = self.network.connection(id, to) else { return };
                let (arrivals, breaks) = self.network.transit(self.now, id, to, lane);
                let stamp = self.stamp(id, to, lane);
                for at in arrivals {
                    let frame = frame.clone();
                    self.push(at, Event::Deliver { from: id, to, connection, frame, stamp });
                }
                if breaks {
                    self.sever(pair(id, to), nanos(self.network.options().reconnect));
                }
            }
            Effect::Persist { sequence, records } => {
                self.persist(id, sequence, records.into_iter().map(Item::Record).collect());
            }
            Effect::Append { sequence, entries } => {
                self.persist(id, sequence, entries.into_iter().map(Item::Entry).collect());
            }
            Effect::Save { sequence, first, head, state } => {
                self.persist(id, sequence, vec![Item::Snapshot(first, head, state)]);
            }
            Effect::StartAgain => self.start_again(id),
            Effect::Encode { number, work } => {
                let delay = self.encode_dice.between(1, nanos(ENCODING));
                let life = self.seats.get(&id).map_or(0, |seat| seat.life);
                self.push(self.now + delay, Event::Encoded { at: id, life, number, work });
            }
            Effect::Close { peer, .. } => {
                self.network.fire("link closed by a node");
                self.sever(pair(id, peer), nanos(self.network.options().reconnect));
            }
            Effect::Note(what) => {
                let durable = self.disk(id).len();
                note(Noted { time: self.now, node: id, note: what, durable });
            }
        }
    }

    fn arm(&mut self, id: NodeId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(wake) = seat.node.as_ref().and_then(N::next_wake) else { return };
        let due = seat.clock.world_time(wake);
        seat.spins = if due <= self.now && self.now > 0 { seat.spins + 1 } else { 0 };
        let at = due.max(self.now + 1).checked_next_multiple_of(self.timer_grain);
        let at = at.unwrap_or(u64::MAX);
        if seat.armed != Some(at) {
            seat.armed = Some(at);
            self.push(at, Event::Wake(id));
        }
    }

    fn push(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }
}

#[cfg(test)]
mod crash_tests;
mod heal;
mod measured;
mod post;
mod strike;
#[cfg(test)]
mod tests;
mod trace;
