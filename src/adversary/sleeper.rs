//! A replica that is honest until its time comes (docs/testing.md, B34 and B39).

use super::{Attack, Fate, Pen};
use crate::crypto::Scheme;
use crate::replica::{Action, Actions, Input};
use crate::types::{ClockKind, Instant, LinkId, Now, ReplicaId};
use crate::wire::{Digests, Proposal, Replies};

/// Another attack that begins later. Until then nobody can tell the liar from a good replica:
/// it has whatever trust, history and signatures of others an honest one has.
pub struct Sleeper<S: Scheme> {
    attack: Box<dyn Attack<S>>,
    wakes: Instant,
}

impl<S: Scheme> Sleeper<S> {
    /// An attack that begins at an instant of the liar's own monotonic clock.
    pub fn new(attack: Box<dyn Attack<S>>, wakes: Instant) -> Self {
        Self { attack, wakes }
    }

    fn sleeps(&self, now: Now) -> bool {
        now.monotonic < self.wakes
    }
}

impl<S: Scheme> Attack<S> for Sleeper<S> {
    fn name(&self) -> &'static str {
        self.attack.name()
    }

    fn clock(&self) -> Option<ClockKind> {
        self.attack.clock()
    }

    fn now(&mut self, now: Now) -> Now {
        if self.sleeps(now) { now } else { self.attack.now(now) }
    }

    fn hear(&mut self, now: Now, input: Input, heard: &mut Vec<Input>) {
        match self.sleeps(now) {
            true => heard.push(input),
            false => self.attack.hear(now, input, heard),
        }
    }

    fn proposal(&mut self, now: Now, to: ReplicaId, proposal: &mut Proposal) -> Fate {
        if self.sleeps(now) { Fate::Keep } else { self.attack.proposal(now, to, proposal) }
    }

    fn replies(&mut self, now: Now, to: LinkId, replies: &mut Replies) -> Fate {
        if self.sleeps(now) { Fate::Keep } else { self.attack.replies(now, to, replies) }
    }

    fn digests(&mut self, now: Now, to: LinkId, digests: &mut Digests) -> Fate {
        if self.sleeps(now) { Fate::Keep } else { self.attack.digests(now, to, digests) }
    }

    fn act(&mut self, now: Now, action: Action, out: &mut Actions) {
        match self.sleeps(now) {
            true => out.push(action),
            false => self.attack.act(now, action, out),
        }
    }

    fn add(&mut self, now: Now, pen: &Pen<'_, S>, out: &mut Actions) {
        if !self.sleeps(now) {
            self.attack.add(now, pen, out);
        }
    }

    fn wake(&self) -> Option<Instant> {
        self.attack.wake().map(|at| at.max(self.wakes))
    }
}
