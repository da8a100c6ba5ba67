//! A member that is as slow as it may be: no blame, and everybody waits for it each round.
//! It may be so for all of `patience`, or for no longer than is usual where there is a budget (E1).

use super::{Attack, EpochLie, Pen};
use crate::crypto::{Scheme, Unverified};
use crate::replica::{Action, Actions};
use crate::types::{Instant, Now, ReplicaId};
use crate::wire::{Frame, Kind, Message as _, Proposal};
use std::collections::VecDeque;
use std::time::Duration;

/// The attack behind [`EpochLie::SlowDrip`] and [`EpochLie::SlowUsual`].
#[derive(Debug)]
pub struct SlowDrip {
    lie: EpochLie,
    own: Option<ReplicaId>,
    hold: Duration,
    /// Own proposals on their way out, with the time at which each was made.
    held: VecDeque<(Instant, Action)>,
}

impl SlowDrip {
    /// The attack behind one of the two.
    pub fn new(lie: EpochLie) -> Self {
        Self { lie, own: None, hold: Duration::ZERO, held: VecDeque::new() }
    }

    /// Held at once at most: what is above goes out late enough.
    const MOST: usize = 1024;

    fn is_own_proposal(&self, action: &Action) -> bool {
        let Action::ToPeer { frame, .. } = action else { return false };
        let frame = Frame::parse(frame.clone()).ok().filter(|f| f.kind == Kind::Proposal);
        let proposal = frame.and_then(|f| Unverified::<Proposal>::from_body(&f.body).ok());
        proposal.is_some_and(|p| Some(p.peek().replica) == self.own)
    }
}

impl<S: Scheme> Attack<S> for SlowDrip {
    fn name(&self) -> &'static str {
        self.lie.name()
    }

    fn act(&mut self, now: Now, action: Action, out: &mut Actions) {
        if self.held.len() < Self::MOST && self.is_own_proposal(&action) {
            self.held.push_back((now.monotonic, action));
        } else {
            out.push(action);
        }
    }

    fn add(&mut self, now: Now, pen: &Pen<'_, S>, out: &mut Actions) {
        let lag = pen.timing.lag.filter(|_| self.lie == EpochLie::SlowUsual);
        let usual = lag.map(|lag| lag.patience(pen.timing.join_delay));
        // Either has room for two delays; loopback needs none of it.
        (self.own, self.hold) = (Some(pen.id), usual.unwrap_or(pen.timing.patience) * 7 / 10);
        while let Some((_, action)) =
            self.held.pop_front_if(|(at, _)| now.monotonic >= *at + self.hold)
        {
            out.push(action);
        }
    }

    fn wake(&self) -> Option<Instant> {
        self.held.front().map(|(at, _)| *at + self.hold)
    }
}
