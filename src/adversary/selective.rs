//! A member that speaks to some only: the others must get on by what these pass on (R5).

use super::{Attack, EpochLie, Fate};
use crate::crypto::Scheme;
use crate::replica::{Action, Actions};
use crate::types::{Now, ReplicaId};
use crate::wire::{Frame, Kind, Proposal};

/// The attack behind [`EpochLie::Selective`].
#[derive(Debug, Default)]
pub struct Selective {
    own: Option<ReplicaId>,
    round: u64,
}

impl Selective {
    /// Every second one of the others, beginning with another each round: with two others it is
    /// always one of them.
    fn chooses(&self, to: ReplicaId, own: ReplicaId) -> bool {
        let place = to.index() - usize::from(to > own);
        (place as u64 + self.round).is_multiple_of(2)
    }
}

impl<S: Scheme> Attack<S> for Selective {
    fn name(&self) -> &'static str {
        EpochLie::Selective.name()
    }

    fn proposal(&mut self, _: Now, to: ReplicaId, proposal: &mut Proposal) -> Fate {
        (self.own, self.round) = (Some(proposal.replica), proposal.round.0);
        match self.chooses(to, proposal.replica) {
            true => Fate::Keep,
            false => Fate::Drop,
        }
    }

    fn act(&mut self, _: Now, action: Action, out: &mut Actions) {
        if let (Action::ToPeer { peer, frame, .. }, Some(own)) = (&action, self.own) {
            let report = Frame::parse(frame.clone()).is_ok_and(|f| f.kind == Kind::Report);
            if report && !self.chooses(*peer, own) {
                return;
            }
        }
        out.push(action);
    }
}
