//! Events as log lines.

use crate::replica::Event;
use tracing::{debug, error, info, warn};

/// Logs an event in words that a person can act on.
pub(super) fn log(event: &Event) {
    match event {
        Event::Restarted => warn!(
            "this replica took part before and has lost what it signed: it signs nothing and \
             answers nobody; start over with a new cluster (`quorate init`)"
        ),
        Event::Waiting { round, missing } => warn!(
            round = round.0,
            missing = %missing,
            "the group waits for proposals: check that these replicas run and can be reached"
        ),
        Event::Resumed { round } => info!(round = round.0, "the group goes on"),
        Event::Equivocation { replica, epoch, round } => error!(
            replica = %replica, epoch = %epoch, round = round.0,
            "signed two different proposals for one round: it lies"
        ),
        Event::InvalidProposal { replica, round, why } => error!(
            replica = %replica, round = round.0, why,
            "signed a proposal that the rules do not allow: it lies"
        ),
        Event::Stable { round, state } => {
            debug!(round = round.0, state = %state, "checkpoint attested by t + 1 replicas");
        }
        Event::Diverged { replica, round } => error!(
            replica = %replica, round = round.0,
            "attests other outputs than this replica has: one of the two is wrong"
        ),
        Event::Halted { why } => error!(why, "this replica has halted and answers nobody"),
        Event::Step(_) => {}
    }
}
