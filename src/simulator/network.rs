//! Links that behave as QUIC streams do, and as badly as they may.
//!
//! A link joins two nodes and carries two streams each way. A stream is reliable and in order
//! until its link breaks; then everything in flight is lost and both sides are told. Beyond what
//! streams do, frames of the protocol stream can be dropped, doubled and reordered one by one:
//! the core must survive that as well (R5).

use super::{Dice, NodeId};
use crate::replica::Lane;
use std::collections::BTreeMap;
use std::time::Duration;

/// How the network behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkOptions {
    /// Each directed pair of nodes has a delay of its own, at least this ...
    pub min_delay: Duration,
    /// ... and at most this.
    pub max_delay: Duration,
    /// Each message takes up to this much longer.
    pub jitter: Duration,
    /// Arrivals fall on multiples of this, so that several come at one instant.
    pub grain: Duration,
    /// Frames of the protocol stream between replicas that are lost, in a thousand.
    pub drop_per_mille: u32,
    /// Frames of the protocol stream between replicas that come twice, in a thousand.
    pub duplicate_per_mille: u32,
    /// Whether frames of the protocol stream between replicas may overtake each other.
    pub reorder: bool,
    /// A link that one side closed comes up again after this.
    pub reconnect: Duration,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            min_delay: Duration::from_micros(100),
            max_delay: Duration::from_millis(3),
            jitter: Duration::from_millis(1),
            grain: Duration::from_micros(10),
            drop_per_mille: 0,
            duplicate_per_mille: 0,
            reorder: false,
            reconnect: Duration::from_millis(50),
        }
    }
}

/// The unordered pair that a link joins, lower node first.
pub(super) type Pair = (NodeId, NodeId);

pub(super) fn pair(a: NodeId, b: NodeId) -> Pair {
    if a < b { (a, b) } else { (b, a) }
}

#[derive(Debug, Default)]
struct Link {
    connection: Option<u64>,
    /// Until when it must not come up again.
    blocked_until: u64,
    /// Which sides know that it is up, lower node first.
    known: [bool; 2],
}

#[derive(Debug, Default)]
struct Path {
    base: u64,
    /// Extra delay and until when it lasts.
    slow: (u64, u64),
    /// When the last frame of each stream arrives: nothing on it comes earlier.
    last: [u64; 2],
    /// When the other side learns that the link is up: nothing at all comes earlier.
    floor: u64,
}

/// All links.
#[derive(Debug)]
pub(super) struct Network {
    options: NetworkOptions,
    dice: Dice,
    links: BTreeMap<Pair, Link>,
    paths: BTreeMap<(NodeId, NodeId), Path>,
    connections: u64,
    /// How often each kind of fault has struck.
    pub(super) fired: BTreeMap<&'static str, u64>,
}

impl Network {
    pub(super) fn new(options: NetworkOptions, dice: Dice) -> Self {
        let (links, paths) = (BTreeMap::new(), BTreeMap::new());
        Self { options, dice, links, paths, connections: 0, fired: BTreeMap::new() }
    }

    pub(super) fn options(&self) -> &NetworkOptions {
        &self.options
    }

    pub(super) fn fire(&mut self, fault: &'static str) {
        *self.fired.entry(fault).or_default() += 1;
    }

    /// Makes a link that is down yet.
    pub(super) fn add(&mut self, a: NodeId, b: NodeId) {
        self.links.entry(pair(a, b)).or_default();
        let low = nanos(self.options.min_delay);
        let high = nanos(self.options.max_delay);
        for ends in [(a, b), (b, a)] {
            let base = self.dice.between(low, high);
            self.paths.entry(ends).or_insert(Path { base, ..Path::default() });
        }
    }

    /// All links of a node.
    pub(super) fn links_of(&self, node: NodeId) -> Vec<Pair> {
        self.links.keys().filter(|(a, b)| *a == node || *b == node).copied().collect()
    }

    /// Lets the link connect: the connection's number and when each side learns of it. `None` if
    /// it is up or may not come up yet.
    pub(super) fn connect(&mut self, now: u64, (a, b): Pair) -> Option<(u64, [u64; 2])> {
        let link = self.links.get(&(a, b))?;
        if link.connection.is_some() || link.blocked_until > now {
            return None;
        }
        // A handshake takes about one exchange; each side learns of it in its own time.
        let to_b = now + 2 * self.delay(now, (a, b));
        let to_a = now + 2 * self.delay(now, (b, a));
        let times = [self.on_grain(to_a), self.on_grain(to_b)];
        for (ends, floor) in [((b, a), times[0]), ((a, b), times[1])] {
            let path = self.paths.get_mut(&ends).expect("made with the link");
            (path.floor, path.last) = (floor, [floor; 2]);
        }
        self.connections += 1;
        let connection = self.connections;
        let link = self.links.get_mut(&(a, b)).expect("looked up above");
        (link.connection, link.known) = (Some(connection), [false; 2]);
        Some((connection, times))
    }

    /// A side has learnt that this connection is up; false if it is gone already.
    pub(super) fn learn(&mut self, at: NodeId, peer: NodeId, connection: u64) -> bool {
        let ends = pair(at, peer);
        match self.links.get_mut(&ends) {
            Some(link) if link.connection == Some(connection) => {
                link.known[usize::from(at != ends.0)] = true;
                true
            }
            _ => false,
        }
    }

    /// The connection that `at` has with `peer`, as far as `at` knows.
    pub(super) fn connection(&self, at: NodeId, peer: NodeId) -> Option<u64> {
        let ends = pair(at, peer);
        let link = self.links.get(&ends)?;
        link.connection.filter(|_| link.known[usize::from(at != ends.0)])
    }

    /// Breaks the link, not to come up before `until`: the connection and which sides knew it.
    pub(super) fn sever(&mut self, ends: Pair, until: u64) -> Option<(u64, [bool; 2])> {
        let link = self.links.get_mut(&ends)?;
        link.blocked_until = link.blocked_until.max(until);
        let known = std::mem::take(&mut link.known);
        link.connection.take().map(|c| (c, known))
    }

    /// Makes one direction slower for a while.
    pub(super) fn slow(&mut self, from: NodeId, to: NodeId, extra: Duration, until: u64) {
        if let Some(path) = self.paths.get_mut(&(from, to)) {
            path.slow = (nanos(extra), until);
        }
    }

    /// When a frame that leaves now arrives: once, never or twice.
    pub(super) fn transit(&mut self, now: u64, from: NodeId, to: NodeId, lane: Lane) -> Vec<u64> {
        let unruly = lane == Lane::Protocol && from.is_replica() && to.is_replica();
        if unruly && self.dice.chance(self.options.drop_per_mille) {
            self.fire("frame dropped");
            return Vec::new();
        }
        let twice = unruly && self.dice.chance(self.options.duplicate_per_mille);
        if twice {
            self.fire("frame doubled");
        }
        let overtakes = unruly && self.options.reorder;
        (0..=usize::from(twice)).map(|_| self.arrival(now, (from, to), lane, overtakes)).collect()
    }

    fn arrival(&mut self, now: u64, ends: (NodeId, NodeId), lane: Lane, overtakes: bool) -> u64 {
        let at = now + self.delay(now, ends);
        let path = self.paths.get_mut(&ends).expect("made with the link");
        let last = &mut path.last[lane as usize];
        let early = at < *last;
        let at = if overtakes { at.max(path.floor) } else { at.max(*last) };
        *last = at.max(*last);
        if overtakes && early {
            self.fire("frame reordered");
        }
        self.on_grain(at)
    }

    fn delay(&mut self, now: u64, ends: (NodeId, NodeId)) -> u64 {
        let jitter = self.dice.between(0, nanos(self.options.jitter));
        let path = &self.paths[&ends];
        let extra = if now < path.slow.1 { path.slow.0 } else { 0 };
        // Nothing arrives at the instant at which it left.
        (path.base + jitter + extra).max(1)
    }

    fn on_grain(&self, at: u64) -> u64 {
        at.next_multiple_of(nanos(self.options.grain).max(1))
    }
}

pub(super) fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
