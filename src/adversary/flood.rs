//! Signed statements without end (B24, B37): all are what they should be, and each costs whoever
//! gets it the check of a signature.

use super::{Attack, EpochLie, Fate, Pen};
use crate::crypto::Scheme;
use crate::replica::Actions;
use crate::types::{Epoch, Instant, Members, Now, ReplicaId, Root, Round};
use crate::wire::{Blame, BlameStep, Proposal, Stalled};
use std::time::Duration;

/// The attack behind [`EpochLie::Flood`].
#[derive(Debug, Default)]
pub struct Flood {
    /// Where it last proposed.
    at: Option<(Epoch, Members)>,
    /// When it goes on.
    next: Option<Instant>,
    said: u64,
}

impl Flood {
    /// Statements that go out together, to each other replica.
    const AT_ONCE: u64 = 64;
    /// Time between two such salvos.
    const EVERY: Duration = Duration::from_millis(4);
}

impl<S: Scheme> Attack<S> for Flood {
    fn name(&self) -> &'static str {
        EpochLie::Flood.name()
    }

    fn proposal(&mut self, now: Now, _: ReplicaId, proposal: &mut Proposal) -> Fate {
        self.at = Some((proposal.epoch, proposal.members));
        self.next.get_or_insert(now.monotonic);
        Fate::Keep
    }

    fn add(&mut self, now: Now, pen: &Pen<'_, S>, out: &mut Actions) {
        let (Some((epoch, members)), Some(next)) = (self.at, self.next) else { return };
        if now.monotonic < next {
            return;
        }
        self.next = Some(now.monotonic + Self::EVERY);
        let by = pen.id;
        for _ in 0..Self::AT_ONCE {
            self.said += 1;
            let frame = if self.said.is_multiple_of(2) {
                // Of rounds that will never be.
                let step = BlameStep::Round(Round(u64::MAX - self.said));
                let accused = members.iter().find(|m| *m != by).unwrap_or(by);
                pen.sign(Blame { epoch, members, step, accused, by }).to_frame(pen.group)
            } else {
                let resets = u32::try_from(self.said).unwrap_or(u32::MAX);
                let root = Root { resets, ..epoch.root() };
                pen.sign(Stalled { root, replica: by }).to_frame(pen.group)
            };
            pen.tell_all(&frame, out);
        }
    }

    fn wake(&self) -> Option<Instant> {
        self.next
    }
}
