//! A replica measures Δ: what its parts and its driver tell its meter.

use super::meter::Trip;
use super::replica::Replica;
use super::{Action, Actions, DeltaStatus};
use crate::crypto::Scheme;
use crate::types::{Instant, Now, ReplicaId};
use crate::wire::{Pong, Stamp};
use std::time::Duration;

impl<S: Scheme> Replica<S> {
    /// The stamp for a batch of frames that is sent to a peer, the last of which was made since
    /// `now`. It is to follow them on the protocol stream.
    pub fn stamp(&mut self, peer: ReplicaId, now: Instant) -> Stamp {
        self.meter.make_stamp(peer, now)
    }

    /// A batch of a peer's frames has been handled.
    pub(super) fn stamped(&mut self, now: Now, peer: ReplicaId, stamp: Stamp) {
        self.meter.stamp(peer, stamp, now, self.core.members());
    }

    /// A ping was answered.
    pub(super) fn pong(&mut self, now: Now, peer: ReplicaId, pong: Pong) {
        if self.links.pong(peer, &pong, now) {
            let trip = Trip { asked: pong.sent, answered: pong.clock, sent: pong.clock };
            self.meter.round_trip(peer, trip, now, self.core.members());
        }
    }

    /// The driver was late.
    pub(super) fn away(&mut self, now: Now, since: Instant, late: Duration) {
        self.meter.away(since, late, now, self.core.members());
    }

    /// Before a proposal: who has not answered for too long?
    pub(super) fn look_at_pings(&mut self, now: Now) {
        let members = self.core.members();
        for (peer, asked) in self.links.unanswered() {
            self.meter.unanswered(peer, asked, now, members);
        }
    }

    /// What was done with an event: writes that begin, and what people should be told of Δ.
    pub(super) fn measure(&mut self, now: Now, before: usize, out: &mut Actions) {
        for action in &out[before..] {
            match action {
                Action::Persist { sequence, .. }
                | Action::Append { sequence, urgent: true, .. } => {
                    self.meter.writes(*sequence, now.monotonic);
                }
                _ => {}
            }
        }
        out.extend(self.meter.news().map(Action::Event));
    }

    pub(super) fn delta_status(&self, now: Now) -> DeltaStatus {
        self.meter.status(now.monotonic)
    }
}
