//! A member that takes part and then does not: it comes and goes.

use super::{Attack, EpochLie, Fate};
use crate::crypto::Scheme;
use crate::types::{Epoch, Now, ReplicaId, Round};
use crate::wire::Proposal;

/// The attack behind [`EpochLie::Withhold`].
#[derive(Debug, Default)]
pub struct Withhold {
    /// The epoch that it proposes in, and its first round there.
    since: Option<(Epoch, Round)>,
}

impl Withhold {
    /// Rounds in which it takes part, of each epoch.
    const ROUNDS: u64 = 20;
}

impl<S: Scheme> Attack<S> for Withhold {
    fn name(&self) -> &'static str {
        EpochLie::Withhold.name()
    }

    fn proposal(&mut self, _: Now, _: ReplicaId, proposal: &mut Proposal) -> Fate {
        let here = (proposal.epoch, proposal.round);
        let (epoch, first) = *self.since.get_or_insert(here);
        if epoch < proposal.epoch {
            self.since = Some(here);
            return Fate::Keep;
        }
        match proposal.round.0 >= first.0 + Self::ROUNDS {
            true => Fate::Drop,
            false => Fate::Keep,
        }
    }
}
