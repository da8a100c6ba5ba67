//! Blames without a reason (E1), calls that rest on them (E3), and cries that nothing moves (E8).

use super::{Attack, EpochLie, Fate, Pen};
use crate::crypto::Scheme;
use crate::replica::Actions;
use crate::types::{Call, Epoch, Members, Now, ReplicaId, Root, Round};
use crate::wire::{Blame, BlameStep, CallMessage, Evidence, Message as _, Proposal, Stalled};

/// The attack behind [`EpochLie::FalseBlame`].
#[derive(Debug, Default)]
pub struct FalseBlame {
    /// What it last proposed in, if it has not blamed anybody there yet.
    fresh: Option<(Epoch, Members, Round)>,
    last: Option<Round>,
    stalled: Option<Root>,
}

impl FalseBlame {
    /// Rounds between two salvos.
    const EVERY: u64 = 8;
}

impl<S: Scheme> Attack<S> for FalseBlame {
    fn name(&self) -> &'static str {
        EpochLie::FalseBlame.name()
    }

    fn proposal(&mut self, _: Now, _: ReplicaId, proposal: &mut Proposal) -> Fate {
        let due = self.last.is_none_or(|last| proposal.round.0 >= last.0 + Self::EVERY);
        if due {
            self.fresh = Some((proposal.epoch, proposal.members, proposal.round));
            self.last = Some(proposal.round);
        }
        Fate::Keep
    }

    fn add(&mut self, _: Now, pen: &Pen<'_, S>, out: &mut Actions) {
        let Some((epoch, members, round)) = self.fresh.take() else { return };
        let by = pen.id;
        for accused in members.iter().filter(|m| *m != by) {
            let mut evidence = Vec::new();
            for step in [BlameStep::Round(round), BlameStep::Round(round.next()), BlameStep::Report]
            {
                let blame = pen.sign(Blame { epoch, members, step, accused, by });
                pen.tell_all(&blame.to_frame(pen.group), out);
                evidence.push(Evidence::Blame(blame.into()));
            }
            // A call for everybody but this one; one blame is not enough for it.
            let accused = std::iter::once(accused).collect();
            let call = Call { root: epoch.root(), list: members, accused };
            pen.tell_all(&CallMessage { call, evidence }.to_frame(pen.group), out);
        }
        if self.stalled.replace(epoch.root()) != Some(epoch.root()) {
            let stalled = pen.sign(Stalled { root: epoch.root(), replica: by });
            pen.tell_all(&stalled.to_frame(pen.group), out);
        }
    }
}
