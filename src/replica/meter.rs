//! What a replica measures of Δ (docs/protocol.md §1, docs/adr/0018-measuring-delta.md).
//!
//! Δ bounds how long a message between two good replicas takes, with its handling. Measured are
//!
//! - *messages*: each batch of frames is followed by a [`Stamp`] of its sender, which is read when
//!   all of the batch has been handled, and echoed under what is sent back. The difference of the
//!   clocks comes from such round trips and from pings (`offset.rs`), so both ends see how long
//!   both directions take;
//! - *the driver*: how long its loop was not there for what came, because it had too much to do or
//!   because the process was stopped;
//! - *the disk*: how long writes took that something waited for.
//!
//! What others say is not believed: stamps that are wrong spoil what is told of their sender, and
//! nothing else. A message that was late because this replica itself was away is not charged to its
//! sender.

mod advice;
mod offset;
#[cfg(test)]
mod tests;
mod window;

use super::{DelayRow, DeltaAlarm, DeltaStatus, Event, Late};
use crate::types::plant::planted;
use crate::types::{Ensemble, Instant, Members, Now, ReplicaId};
use crate::wire::Stamp;
use offset::{Offset, Took};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use window::Window;

/// Alarms that are kept.
pub(super) const ALARMS: usize = 32;
/// What is late again within this time, or within five Δ if that is more, is late still: one alarm.
const STILL: u64 = 1_000_000_000;

/// All that is measured. Its memory is bounded: two windows for each peer, and [`ALARMS`].
#[derive(Debug)]
pub(super) struct Meter {
    me: ReplicaId,
    /// Nanoseconds.
    delta: u64,
    peers: BTreeMap<ReplicaId, Peer>,
    driver: Row,
    disk: Row,
    /// The last time in which the driver was away for long, by our clock.
    away: (u64, u64),
    /// Writes that are under way, and since when.
    writes: VecDeque<(u64, u64)>,
    /// Whether a bound was seen broken since the last proposal.
    broken: bool,
    /// What the last proposal says of that.
    held: bool,
    alarms: VecDeque<Alarm>,
    warnings: u64,
    breaches: u64,
    news: Vec<Event>,
}

#[derive(Debug)]
struct Peer {
    row: Row,
    offset: Offset,
    /// Of the stamps that were read since one was last made for it the one that took longest, and
    /// when it was read.
    heard: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Row {
    window: Window,
    /// Of which half of the window it was told that it is near Δ.
    warned: Option<Instant>,
    breaches: u64,
}

#[derive(Debug)]
struct Alarm {
    who: Late,
    /// When it began and was last seen, by our clocks.
    wall: u64,
    last: u64,
    worst: u64,
    times: u64,
    answered: bool,
}

/// A question and its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trip {
    /// When the question left, by our clock.
    pub(super) asked: u64,
    /// When it had been handled, and when the answer left, by the peer's clock.
    pub(super) answered: u64,
    pub(super) sent: u64,
}

/// Something that took time.
#[derive(Clone, Copy, Debug)]
struct Measured {
    who: Late,
    took: Took,
    /// From when until when by our clock: if the driver was away meanwhile, that is its doing.
    span: (u64, u64),
    /// Whether the estimate is good enough to be counted.
    good: bool,
}

impl Row {
    fn new(now: Instant) -> Self {
        Self { window: Window::new(now), warned: None, breaches: 0 }
    }
}

impl Meter {
    pub(super) fn new(me: ReplicaId, ensemble: Ensemble, delta: Duration, now: Instant) -> Self {
        let peer = |r| (r, Peer { row: Row::new(now), offset: Offset::default(), heard: None });
        Self {
            me,
            delta: u64::try_from(delta.as_nanos()).unwrap_or(u64::MAX),
            peers: ensemble.replicas().filter(|r| *r != me).map(peer).collect(),
            driver: Row::new(now),
            disk: Row::new(now),
            away: (0, 0),
            writes: VecDeque::new(),
            broken: false,
            held: true,
            alarms: VecDeque::new(),
            warnings: 0,
            breaches: 0,
            news: Vec::new(),
        }
    }

    /// A link came up or went down: the process at the other end may be another one, with another
    /// clock.
    pub(super) fn relinked(&mut self, peer: ReplicaId) {
        if let Some(p) = self.peers.get_mut(&peer) {
            (p.offset, p.heard) = (Offset::default(), None);
        }
    }

    /// All of a batch has been handled that a peer sent. `members` are those of the epoch: of the
    /// others nobody expects that they are in time.
    pub(super) fn stamp(&mut self, peer: ReplicaId, stamp: Stamp, now: Now, members: Members) {
        let (here, delta) = (now.monotonic.0, self.delta);
        let Some(p) = self.peers.get_mut(&peer) else { return };
        let Stamp { sent, echo, handled } = stamp;
        // By how much a clock is ahead is the same for all of them.
        let took = |(sent, read): (u64, u64)| i128::from(read) - i128::from(sent);
        if p.heard.is_none_or(|heard| took((sent, here)) > took(heard)) {
            p.heard = Some((sent, here));
        }
        p.offset.came(sent, here);
        if (1..=here).contains(&echo) {
            let trip = Trip { asked: echo, answered: handled, sent };
            return self.round_trip(peer, trip, now, members);
        }
        let Some(took) = p.offset.on_the_way_here(sent, here) else { return };
        let good = p.offset.is_good(delta);
        let span = (here.saturating_sub(took.about), here);
        self.charge(Measured { who: Late::Replica(peer), took, span, good }, now, members);
    }

    /// The stamp for what is sent to a peer now. Of the peer's stamps since the last one it echoes
    /// the one that took longest.
    pub(super) fn make_stamp(&mut self, peer: ReplicaId, now: Instant) -> Stamp {
        let heard = self.peers.get_mut(&peer).and_then(|p| p.heard.take());
        let (echo, handled) = heard.unwrap_or_default();
        Stamp { sent: now.0, echo, handled }
    }

    /// Something that was sent to a peer was answered, and the answer is here.
    pub(super) fn round_trip(&mut self, peer: ReplicaId, trip: Trip, now: Now, members: Members) {
        let (here, delta) = (now.monotonic.0, self.delta);
        let Trip { asked, answered, sent } = trip;
        let Some(p) = self.peers.get_mut(&peer) else { return };
        p.offset.round_trip(asked, answered, here);
        let ways =
            (p.offset.on_the_way_there(asked, answered), p.offset.on_the_way_here(sent, here));
        let (Some(to), Some(from)) = ways else { return };
        let (who, good) = (Late::Replica(peer), p.offset.is_good(delta));
        let to = Measured { who, took: to, span: (asked, asked.saturating_add(to.about)), good };
        let left = here.saturating_sub(from.about);
        let from = Measured { who, took: from, span: (left, here), good };
        let (mut longer, shorter) =
            if to.took.about > from.took.about { (to, from) } else { (from, to) };
        // For how long the peer kept the answer is no delay.
        let whole = here.saturating_sub(asked).saturating_sub(sent.saturating_sub(answered));
        let whole = whole - self.overlap((asked, here)).min(whole);
        if whole > delta.saturating_mul(2) {
            // One of the two ways took more than Δ, whatever the clocks say, and the driver was
            // there for it.
            let half = whole - whole / 2;
            let Took { about, surely } = longer.took;
            longer.took = Took { about: about.max(half), surely: surely.max(half) };
            longer.span = (here, here);
        }
        self.charge(shorter, now, members);
        self.charge(longer, now, members);
    }

    /// A peer whose link is up has not answered since `asked`. What it is silent about for more
    /// than 2Δ is late for sure, whether or not an answer comes.
    pub(super) fn unanswered(
        &mut self,
        peer: ReplicaId,
        asked: Instant,
        now: Now,
        members: Members,
    ) {
        let here = now.monotonic.0;
        let waited = here.saturating_sub(asked.0);
        let waited = waited - self.overlap((asked.0, here)).min(waited);
        if waited <= self.delta.saturating_mul(2) || !self.counts(Late::Replica(peer), members) {
            return;
        }
        self.broken = true;
        self.alarm((Late::Replica(peer), false), waited, now);
    }

    /// The driver was away for so long: it came to nothing from `since` on.
    pub(super) fn away(&mut self, since: Instant, late: Duration, now: Now, members: Members) {
        let late = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        // What is shorter is a part of handling messages, and counts as that.
        if late > self.delta / 4 {
            let joins = since.0 <= self.away.1;
            let from = if joins { self.away.0.min(since.0) } else { since.0 };
            self.away = (from, now.monotonic.0);
        }
        let (took, span) = (Took { about: late, surely: late }, (0, 0));
        self.charge(Measured { who: Late::Driver, took, span, good: true }, now, members);
    }

    /// A write has begun that something waits for.
    pub(super) fn writes(&mut self, sequence: u64, now: Instant) {
        self.writes.push_back((sequence, now.0));
    }

    /// The writes up to this one are durable.
    pub(super) fn synced(&mut self, sequence: u64, now: Now, members: Members) {
        let mut first = None;
        while let Some((_, begun)) = self.writes.pop_front_if(|(s, _)| *s <= sequence) {
            first = first.or(Some(begun));
        }
        let Some(begun) = first else { return };
        let (here, took) = (now.monotonic.0, now.monotonic.0.saturating_sub(begun));
        let (took, span) = (Took { about: took, surely: took }, (begun, here));
        self.charge(Measured { who: Late::Disk, took, span, good: true }, now, members);
    }

    /// Whether no bound was seen broken since the last proposal (§3, attestation).
    pub(super) fn holds(&self) -> bool {
        !self.broken
    }

    /// A proposal was made, and says what [`Meter::holds`] said.
    pub(super) fn proposed(&mut self) {
        self.held = !std::mem::take(&mut self.broken);
    }

    /// What people should be told.
    pub(super) fn news(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.news.drain(..)
    }

    // --- what is made of it -------------------------------------------------------------------

    /// For how much of a time the driver was away.
    fn overlap(&self, (from, to): (u64, u64)) -> u64 {
        to.min(self.away.1).saturating_sub(from.max(self.away.0))
    }

    /// Whether Δ is promised for this: between members only.
    fn counts(&self, who: Late, members: Members) -> bool {
        let of = |r| members.contains(r);
        of(self.me) && !matches!(who, Late::Replica(peer) if !of(peer))
    }

    fn row(&mut self, who: Late) -> Option<&mut Row> {
        match who {
            Late::Replica(peer) => self.peers.get_mut(&peer).map(|p| &mut p.row),
            Late::Driver => Some(&mut self.driver),
            Late::Disk => Some(&mut self.disk),
        }
    }

    fn charge(&mut self, measured: Measured, now: Now, members: Members) {
        let Measured { who, took, span, good } = measured;
        let (delta, counts) = (self.delta, self.counts(who, members));
        let own = self.overlap(span).min(took.about);
        let rest = took.about - own;
        let Some(row) = self.row(who) else { return };
        if good {
            row.window.record(now.monotonic, rest);
            if counts && rest > delta / 2 {
                self.warn(who, now.monotonic);
            }
        }
        if !counts || planted("delta-late-untold") {
            return;
        }
        self.broken |= good && took.about > delta || took.surely > delta;
        if took.surely > delta {
            let blamed = if own > took.about / 2 { Late::Driver } else { who };
            self.alarm((blamed, true), took.about.max(took.surely), now);
        }
    }

    /// Tells once in each half of the window that a delay comes near Δ.
    fn warn(&mut self, who: Late, now: Instant) {
        let half_delta = self.delta / 2;
        let Some(row) = self.row(who) else { return };
        let half = row.window.half_since();
        if row.warned == Some(half) {
            return;
        }
        let near = row.window.spread(now).p999;
        if near.saturating_mul(1000) <= half_delta {
            return;
        }
        row.warned = Some(half);
        self.warnings += 1;
        self.news.push(Event::DeltaNear { who, took: Duration::from_micros(near) });
    }

    fn alarm(&mut self, (who, answered): (Late, bool), took: u64, now: Now) {
        let here = now.monotonic.0;
        let still = self.delta.saturating_mul(5).max(STILL);
        if answered {
            self.breaches += 1;
            if let Some(row) = self.row(who) {
                row.breaches += 1;
            }
        }
        let last = self.alarms.iter_mut().rev().find(|alarm| alarm.who == who);
        if let Some(alarm) = last.filter(|a| here.saturating_sub(a.last) <= still) {
            alarm.last = here;
            alarm.worst = if answered == alarm.answered { alarm.worst.max(took) } else { took };
            alarm.times += u64::from(answered);
            alarm.answered |= answered;
            return;
        }
        if self.alarms.len() == ALARMS {
            self.alarms.pop_front();
        }
        let times = u64::from(answered);
        let wall = now.wall.0;
        self.alarms.push_back(Alarm { who, wall, last: here, worst: took, times, answered });
        let took = Duration::from_nanos(took);
        self.news.push(Event::DeltaBroken { who, took, answered });
    }

    // --- for people ---------------------------------------------------------------------------

    pub(super) fn status(&self, now: Instant) -> DeltaStatus {
        let row = |who: Late, row: &Row, offset: Option<&Offset>| {
            let s = row.window.spread(now);
            DelayRow {
                of: who.name(),
                replica: who.replica().map(ReplicaId::number),
                count: s.count,
                p50_us: s.p50,
                p99_us: s.p99,
                p999_us: s.p999,
                max_us: s.max,
                unsure_us: offset.and_then(Offset::width).map(|width| width / 2000),
                breaches: row.breaches,
            }
        };
        let peers = self.peers.iter();
        let mut rows: Vec<DelayRow> =
            peers.map(|(r, p)| row(Late::Replica(*r), &p.row, Some(&p.offset))).collect();
        rows.push(row(Late::Driver, &self.driver, None));
        rows.push(row(Late::Disk, &self.disk, None));
        let alarm = |a: &Alarm| DeltaAlarm {
            of: a.who.name(),
            replica: a.who.replica().map(ReplicaId::number),
            wall_us: a.wall,
            ago_ms: now.since(Instant(a.last)).as_millis() as u64,
            worst_us: a.worst.div_ceil(1000),
            times: a.times,
            answered: a.answered,
        };
        DeltaStatus {
            delta_us: self.delta / 1000,
            held: self.held,
            would_do_us: advice::would_do(&rows),
            rows,
            alarms: self.alarms.iter().map(alarm).collect(),
        }
    }

    /// Counters by name.
    pub(super) fn counters(&self) -> [(&'static str, u64); 2] {
        [("delta_breaches", self.breaches), ("delta_warnings", self.warnings)]
    }
}
