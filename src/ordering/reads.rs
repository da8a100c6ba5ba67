//! Reads without ordering (Q1): what a member has to have executed before it may answer.

use super::Core;
use crate::crypto::Scheme;
use crate::types::plant::planted;
use crate::types::{Digest, Round};

/// What a query that comes now has to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadPoint {
    /// The step after which it may be answered.
    pub round: Round,
    /// The opening of the present epoch: answers under different openings do not add up.
    pub opening: Digest,
}

impl<S: Scheme> Core<S> {
    /// Q1: up to where a query that comes now has to wait; `None` if this replica may answer none.
    ///
    /// Whatever any client was told before this moment was committed by then, in V(k), say. A
    /// commit takes the choice of every member, so this one has chosen V(k), too: it has sent its
    /// proposal of round k + 1 or a later one. So it is enough to wait for what follows from what
    /// it has chosen, if it has sent a proposal in this epoch, and does not give the epoch up.
    pub fn read_point(&self) -> Option<ReadPoint> {
        let entered = &self.change.entered;
        let frozen = self.change.is_frozen() && !planted("q1-frozen-answers");
        let is_member = self.takes_part() || planted("q1-follower-answers");
        if self.blank || frozen || !is_member || entered.epoch != self.epoch {
            return None;
        }
        let has_sent = self.sent > self.rounds.base() || planted("q1-entering-answers");
        if !has_sent {
            return None;
        }
        let opening = entered.opening;
        let chosen = self.sent.previous();
        let nothing_follows = chosen > self.committed && self.is_without_effect(chosen);
        let at_once = nothing_follows || planted("q1-chosen-not-awaited");
        Some(ReadPoint { round: if at_once { self.committed } else { chosen }, opening })
    }

    /// Whether nothing is under way: all that is complete is committed or carries nothing, and all
    /// that is accepted has run.
    pub fn is_settled(&self) -> bool {
        let complete = self.rounds.complete();
        let open = complete > self.committed && complete > self.rounds.base();
        if open { self.is_without_effect(complete) } else { self.nothing_waits() }
    }

    fn nothing_waits(&self) -> bool {
        !self.order.has_unexecuted() && self.change.prepared.is_none()
    }

    /// Whether the commit of this vector executes nothing: it carries nothing, and nothing waits.
    fn is_without_effect(&self, round: Round) -> bool {
        let empty = |p: &super::rounds::Held| p.candidates.is_empty() && p.changes.is_empty();
        let carries_nothing =
            self.rounds.vector(round).is_some_and(|(_, vector)| vector.iter().all(empty));
        carries_nothing && self.nothing_waits()
    }
}
