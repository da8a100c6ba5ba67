//! Faults as they strike, and what becomes of nodes and links then.

use super::super::disk::{Disk, Item};
use super::super::fault::{CrashPoint, Fault};
use super::super::network::{Pair, nanos, pair};
use super::super::{Arrival, Node, NodeId};
use super::post::Inbox;
use super::{Event, Stopped, Trap, World};
use std::time::Duration;

/// For how long at most what a crashed node has sent goes on to arrive.
const FADE: u64 = 1_000_000_000;
/// What it takes a node to start again.
const START: Duration = Duration::from_millis(2);
/// A monotonic clock that is wrong by more parts in a million makes its replica a late one.
pub(super) const MAX_RATE_PPM: i64 = 10_000;

impl<N: Node> World<N> {
    /// Starts a node again that was stopped or crashed; the links come up after a while.
    pub fn start(&mut self, id: NodeId, node: N) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        (seat.node, seat.armed, seat.paused_until) = (Some(node), None, 0);
        seat.away = None;
        seat.held.clear();
        seat.life += 1;
        for ends in self.network.links_of(id) {
            self.push(self.now, Event::Connect(ends));
        }
        self.arm(id);
    }

    /// A node ends by itself, and somebody starts it again after so long.
    pub fn end(&mut self, id: NodeId, down_for: Duration) {
        if self.halt(id) {
            for ends in self.network.links_of(id) {
                self.sever(ends, 0);
            }
            self.push(self.now.saturating_add(nanos(down_for)), Event::Boot(id));
        }
    }

    /// The disk of a node stands in for one that was lost: its log begins with a gap.
    pub fn begin_with_gap(&mut self, id: NodeId) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.disk.begin_with_gap();
        }
    }

    /// Gives a node that does not run an empty disk.
    pub fn wipe(&mut self, id: NodeId) {
        if let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.node.is_none()) {
            seat.disk.wipe();
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        if self.healed {
            return;
        }
        self.network.fire(fault.name());
        match fault {
            Fault::Break(a, b, lasts) => self.sever(pair(a, b), nanos(lasts)),
            Fault::Isolate(node, lasts) => {
                for ends in self.network.links_of(node) {
                    self.sever(ends, nanos(lasts));
                }
            }
            Fault::Pause(id, lasts) => self.pause(id, lasts),
            Fault::Suspend(id, lasts) => self.suspend(id, lasts),
            Fault::Slow { from, to, extra, lasts } => {
                self.network.slow(from, to, extra, self.now.saturating_add(nanos(lasts)));
            }
            Fault::Cut { from, to, lasts, breaks_after } => {
                let until = self.now.saturating_add(nanos(lasts));
                self.network.hold(from, to, until);
                if let Some(after) = breaks_after {
                    let at = self.now.saturating_add(nanos(after));
                    self.push(at, Event::GiveUp { ends: pair(from, to), until });
                }
            }
            Fault::Edge { from, to, takes, lasts, .. } => {
                self.network.fix(from, to, takes, self.now.saturating_add(nanos(lasts)));
            }
            Fault::Step(..) | Fault::Drift(..) | Fault::Rate(..) => self.set_clock(&fault),
            Fault::Stop(id) => {
                self.halt(id);
                for ends in self.network.links_of(id) {
                    self.sever(ends, 0);
                }
            }
            Fault::Crash(id, down_for) => self.crash(id, down_for),
            Fault::LoseDisk(id, down_for) => {
                self.crash(id, down_for);
                self.wipe(id);
                self.news.push_back(Stopped::DiskGone(id));
            }
            Fault::CrashAt { node, point, nth, down_for } => {
                if let Some(seat) = self.seats.get_mut(&node) {
                    seat.trap = Some(Trap { point, nth, down_for, sprung: false });
                }
            }
            Fault::PowerCut { from, to } => {
                let replicas = self.seats.keys().copied().filter(|id| id.is_replica());
                for id in replicas.collect::<Vec<_>>() {
                    let down_for = self.disk_dice.between(nanos(from), nanos(to));
                    self.crash(id, Duration::from_nanos(down_for));
                }
            }
            Fault::SlowDisk { node, extra, lasts } => {
                let until = self.now.saturating_add(nanos(lasts));
                if let Some(seat) = self.seats.get_mut(&node) {
                    seat.disk.slow(nanos(extra), until);
                }
            }
        }
    }

    fn pause(&mut self, id: NodeId, lasts: Duration) {
        let until = self.now.saturating_add(nanos(lasts));
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.paused_until = seat.paused_until.max(until);
            seat.away.get_or_insert(self.now);
            self.network.meter.on_held(id, seat.paused_until - self.now);
            self.push(until, Event::Resume(id));
        }
    }

    fn suspend(&mut self, id: NodeId, lasts: Duration) {
        self.pause(id, lasts);
        if let Some(seat) = self.seats.get_mut(&id) {
            // No clock of its own shows it that.
            seat.away = None;
            // It reads no clock before it goes on, so that it can be set back at once. Its timers
            // are late by as much; they are armed anew when it does something.
            let offset = &mut seat.clock.monotonic_offset;
            *offset = offset.saturating_sub(nanos(lasts));
        }
    }

    fn set_clock(&mut self, fault: &Fault) {
        let now = self.now;
        let (Fault::Step(id, by) | Fault::Drift(id, by) | Fault::Rate(id, by)) = *fault else {
            return;
        };
        let Some(seat) = self.seats.get_mut(&id) else { return };
        match fault {
            Fault::Step(..) => {
                seat.clock.wall_offset = seat.clock.wall_offset.saturating_add(by);
            }
            Fault::Drift(..) => seat.clock.set_drift(now, by),
            _ => {
                seat.clock.set_rate(now, by);
                // Its timers are wrong by more than the bounds between them allow for.
                if by.abs() > MAX_RATE_PPM {
                    self.network.meter.on_held(id, u64::MAX);
                }
                self.arm(id);
            }
        }
    }

    // Takes a node out of its seat: false if there was none.
    fn halt(&mut self, id: NodeId) -> bool {
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        let was_there = seat.node.take().is_some();
        (seat.armed, seat.trap, seat.paused_until) = (None, None, 0);
        seat.held.clear();
        self.network.meter.on_crashed(id);
        if was_there {
            let survive = self.disk_options.survive_per_mille;
            let (lost, survived) = seat.disk.crash(&mut self.disk_dice, survive);
            for (count, what) in
                [(lost, "unsynced record lost"), (survived, "unsynced record survived")]
            {
                (0..count).for_each(|_| self.network.fire(what));
            }
        }
        was_there
    }

    // Only replicas crash: a client that did would be another client afterwards.
    fn crash(&mut self, id: NodeId, down_for: Duration) {
        if !id.is_replica() || !self.halt(id) {
            return;
        }
        for ends in self.network.links_of(id) {
            let peer = if ends.0 == id { ends.1 } else { ends.0 };
            match self.network.connection(id, peer) {
                // What it has sent may be under way still.
                Some(connection) if self.disk_dice.chance(500) => {
                    let last = self.network.last_arrival(id, peer);
                    let at = last.clamp(self.now, self.now + FADE) + 1;
                    self.network.forget(id, peer);
                    self.push(at, Event::Fade { ends, connection });
                }
                _ => self.sever(ends, 0),
            }
        }
        self.news.push_back(Stopped::Crashed(id));
        self.push(self.now.saturating_add(nanos(down_for)), Event::Boot(id));
    }

    /// A node starts again by itself: for its links and its disk that is a crash that is over soon.
    pub(super) fn start_again(&mut self, id: NodeId) {
        self.crash(id, START);
    }

    // --- disks --------------------------------------------------------------------------------

    pub(super) fn persist(&mut self, id: NodeId, sequence: u64, items: Vec<Item>) {
        let options = &self.disk_options;
        let (low, high) = (nanos(options.min_delay), nanos(options.max_delay));
        let delay = self.disk_dice.between(low, high);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let life = seat.life;
        let at = Disk::write(&mut seat.disk, self.now, delay, sequence, items);
        self.network.meter.on_held(id, at - self.now);
        self.push(at, Event::Synced { at: id, life, sequence });
    }

    pub(super) fn synced(&mut self, id: NodeId, life: u64, sequence: u64, inbox: &mut Inbox) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if seat.life != life || seat.node.is_none() {
            return;
        }
        let trap = seat.trap.as_mut().filter(|trap| !trap.sprung).and_then(|trap| {
            trap.nth = trap.nth.saturating_sub(1);
            (trap.nth == 0).then_some((trap.point, trap.down_for))
        });
        if let Some((point, _)) = trap {
            self.network.fire(point.name());
        }
        if let Some((CrashPoint::Before, down_for)) = trap {
            return self.crash(id, down_for);
        }
        seat.disk.complete(sequence);
        match trap {
            Some((CrashPoint::Untold, down_for)) => self.crash(id, down_for),
            other => {
                if let Some(trap) = seat.trap.as_mut().filter(|_| other.is_some()) {
                    trap.sprung = true;
                }
                inbox.entry(id).or_default().push(Arrival::Synced { sequence });
            }
        }
    }

    /// Crashes the node if it has acted on the write that its trap was laid at.
    pub(super) fn spring(&mut self, id: NodeId) {
        let trap = self.seats.get(&id).and_then(|s| s.trap.as_ref());
        if let Some(down_for) = trap.filter(|t| t.sprung).map(|t| t.down_for) {
            self.crash(id, down_for);
        }
    }

    // --- links --------------------------------------------------------------------------------

    // Breaks a link now; it may come up again after `pause` nanoseconds.
    pub(super) fn sever(&mut self, ends: Pair, pause: u64) {
        let until = self.now.saturating_add(pause).max(self.now + 1);
        if let Some((connection, known)) = self.network.sever(ends, until) {
            for (side, (at, peer)) in [ends, (ends.1, ends.0)].into_iter().enumerate() {
                if known[side] {
                    self.push(self.now, Event::Down { at, peer, connection });
                }
            }
        }
        self.push(until, Event::Connect(ends));
    }

    pub(super) fn connect(&mut self, ends: Pair) {
        if self.node(ends.0).is_none() || self.node(ends.1).is_none() {
            return;
        }
        if let Some((connection, times)) = self.network.connect(self.now, ends) {
            for (side, (at, peer)) in [ends, (ends.1, ends.0)].into_iter().enumerate() {
                self.push(times[side], Event::Learn { at, peer, connection });
            }
        }
    }
}
