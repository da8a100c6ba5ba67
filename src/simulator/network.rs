//! Links that behave as QUIC streams do, and as badly as they may.
//!
//! A link joins two nodes and carries two streams each way. A stream is reliable and in order
//! until its link breaks; then everything in flight is lost and both sides are told. Beyond what
//! streams do, frames of the protocol stream can be dropped, doubled and reordered one by one:
//! the core must survive that as well (R5).

use super::meter::Meter;
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
    /// Whether the three above apply to the bulk stream, too.
    pub unruly_bulk: bool,
    /// Frames between replicas that are lost and sent again by the transport, in a thousand: all
    /// that follows on their stream waits for them.
    pub resend_per_mille: u32,
    /// How much later such a frame comes, at most.
    pub resend_after: Duration,
    /// Frames between replicas with which their link breaks, in a thousand.
    pub break_per_mille: u32,
    /// Each frame of the bulk stream takes up to this much longer.
    pub bulk_jitter: Duration,
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
            unruly_bulk: false,
            resend_per_mille: 0,
            resend_after: Duration::from_millis(30),
            break_per_mille: 0,
            bulk_jitter: Duration::ZERO,
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
    /// The whole delay and until when it is that.
    exact: (u64, u64),
    /// Nothing arrives before.
    held_until: u64,
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
    /// What really happened.
    pub(super) meter: Meter,
    /// How often each kind of fault has struck.
    pub(super) fired: BTreeMap<&'static str, u64>,
}

impl Network {
    pub(super) fn new(options: NetworkOptions, dice: Dice) -> Self {
        let (links, paths) = (BTreeMap::new(), BTreeMap::new());
        let (meter, fired) = (Meter::default(), BTreeMap::new());
        Self { options, dice, links, paths, connections: 0, meter, fired }
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

    /// Whether this connection is still up at some side.
    pub(super) fn is_connected(&self, ends: Pair, connection: u64) -> bool {
        self.links.get(&ends).is_some_and(|l| l.connection == Some(connection))
    }

    /// The node at one side is gone: nothing reaches it on this connection any more.
    pub(super) fn forget(&mut self, at: NodeId, peer: NodeId) {
        let ends = pair(at, peer);
        if let Some(link) = self.links.get_mut(&ends) {
            link.known[usize::from(at != ends.0)] = false;
        }
    }

    /// When the last frame that was sent this way arrives.
    pub(super) fn last_arrival(&self, from: NodeId, to: NodeId) -> u64 {
        self.paths.get(&(from, to)).map_or(0, |p| p.last[0].max(p.last[1]))
    }

    /// Breaks the link, not to come up before `until`: the connection and which sides knew it.
    pub(super) fn sever(&mut self, ends: Pair, until: u64) -> Option<(u64, [bool; 2])> {
        let link = self.links.get_mut(&ends)?;
        link.blocked_until = link.blocked_until.max(until);
        let known = std::mem::take(&mut link.known);
        // One that is not up yet comes up late: what would have been sent is as good as lost.
        self.meter.on_lost(ends.0, ends.1);
        Some((link.connection.take()?, known))
    }

    /// Makes one direction slower for a while.
    pub(super) fn slow(&mut self, from: NodeId, to: NodeId, extra: Duration, until: u64) {
        if let Some(path) = self.paths.get_mut(&(from, to)) {
            path.slow = (nanos(extra), until);
        }
    }

    /// Holds back everything that goes one way until a time.
    pub(super) fn hold(&mut self, from: NodeId, to: NodeId, until: u64) {
        if let Some(path) = self.paths.get_mut(&(from, to)) {
            path.held_until = path.held_until.max(until);
        }
    }

    /// Gives one direction a fixed delay for a while.
    pub(super) fn fix(&mut self, from: NodeId, to: NodeId, takes: Duration, until: u64) {
        if let Some(path) = self.paths.get_mut(&(from, to)) {
            path.exact = (nanos(takes), until);
        }
    }

    /// Ends everything that was done to links: gives all pairs, and by how much a frame is late
    /// at most from now on.
    pub(super) fn heal(&mut self, now: u64) -> (Vec<Pair>, u64) {
        let options = &mut self.options;
        options.drop_per_mille = 0;
        options.duplicate_per_mille = 0;
        options.resend_per_mille = 0;
        options.break_per_mille = 0;
        options.reorder = false;
        let most = nanos(options.max_delay) + nanos(options.jitter) + nanos(options.bulk_jitter);
        for path in self.paths.values_mut() {
            (path.slow, path.exact, path.held_until) = ((0, 0), (0, 0), 0);
            path.last = path.last.map(|last| last.min(now + most));
            path.floor = path.floor.min(now + most);
        }
        self.links.values_mut().for_each(|link| link.blocked_until = 0);
        (self.links.keys().copied().collect(), most)
    }

    /// When a frame that leaves now arrives: once, never or twice; and whether its link breaks.
    pub(super) fn transit(
        &mut self,
        now: u64,
        from: NodeId,
        to: NodeId,
        lane: Lane,
    ) -> (Vec<u64>, bool) {
        let inside = from.is_replica() && to.is_replica();
        let unruly = inside && (lane == Lane::Protocol || self.options.unruly_bulk);
        if unruly && self.dice.chance(self.options.drop_per_mille) {
            self.fire("frame dropped");
            self.meter.on_lost(from, to);
            return (Vec::new(), false);
        }
        if inside && self.dice.chance(self.options.break_per_mille) {
            self.fire("link broken by loss");
            return (Vec::new(), true);
        }
        let twice = unruly && self.dice.chance(self.options.duplicate_per_mille);
        if twice {
            self.fire("frame doubled");
        }
        let mut again = 0;
        if inside && self.dice.chance(self.options.resend_per_mille) {
            self.fire("frame sent again");
            again = self.dice.between(1, nanos(self.options.resend_after));
        }
        let overtakes = unruly && self.options.reorder;
        let leaves = now + again;
        let arrival = |_| self.arrival(leaves, (from, to), lane, overtakes);
        let arrivals: Vec<u64> = (0..=usize::from(twice)).map(arrival).collect();
        if let Some(first) = arrivals.iter().min() {
            self.meter.on_transit(from, to, first.saturating_sub(now));
        }
        (arrivals, false)
    }

    fn arrival(&mut self, now: u64, ends: (NodeId, NodeId), lane: Lane, overtakes: bool) -> u64 {
        let bulk = nanos(self.options.bulk_jitter);
        let bulk = if lane == Lane::Bulk && bulk > 0 { self.dice.between(0, bulk) } else { 0 };
        let at = now + self.delay(now, ends) + bulk;
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
        let takes = if now < path.exact.1 { path.exact.0 } else { path.base + jitter + extra };
        // Nothing arrives at the instant at which it left.
        takes.max(path.held_until.saturating_sub(now)).max(1)
    }

    fn on_grain(&self, at: u64) -> u64 {
        at.next_multiple_of(nanos(self.options.grain).max(1))
    }
}

pub(super) fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
