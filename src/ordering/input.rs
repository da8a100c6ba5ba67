//! Everything that can happen to the ordering core.

use super::epoch::Checked;
use crate::crypto::Verified;
use crate::types::{Digest, Epoch, ReplicaId, Round};
use crate::wire::{
    Attestation, Blame, Proof, Proposal, Restarted, SignedChange, Stalled, StepPosition, Want,
};
use bytes::Bytes;
use std::sync::Arc;

/// One event.
#[derive(Clone, Debug)]
pub enum Input {
    /// A request came over its client's own authenticated connection and was let in: give it a
    /// candidate (§2, *seen*).
    Seen {
        /// Its digest.
        request: Digest,
    },
    /// A proposal came, from anybody; its signature has been checked.
    Proposal(Arc<Verified<Proposal>>),
    /// A replica asks for a proposal (R5).
    Want {
        /// Who asks.
        from: ReplicaId,
        /// For what.
        want: Want,
    },
    /// The link to a replica came up.
    PeerUp {
        /// Which.
        peer: ReplicaId,
        /// The highest round of which it holds a complete vector.
        complete: Round,
    },
    /// Somebody blames somebody (E1); the signature has been checked, as everywhere here.
    Blame(Arc<Verified<Blame>>),
    /// The same of several that came together, as what a call rests on does: what they say together
    /// counts, however much their signers have said before (E2).
    Blames(Vec<Arc<Verified<Blame>>>),
    /// Somebody says that it restarted (E2).
    Restarted(Arc<Verified<Restarted>>),
    /// Somebody says that nothing gets on (E8).
    Stalled(Arc<Verified<Stalled>>),
    /// Somebody reports (E5).
    Report(Arc<Checked>),
    /// Something that may prove a lie (§6); it is judged here.
    Proof(Box<Proof>),
    /// A status change came over its author's own connection (M1 to M3).
    Change(SignedChange),
    /// A peer has sent something of an epoch or a round that is too far ahead to be kept.
    Ahead {
        /// Who.
        peer: ReplicaId,
        /// The epoch.
        epoch: Epoch,
        /// The round.
        round: Round,
    },
    /// A peer asks for what was committed after a round.
    WantHistory {
        /// Who.
        from: ReplicaId,
        /// After which.
        after: Round,
    },
    /// A peer has no history that reaches back so far.
    Gone {
        /// Who.
        from: ReplicaId,
    },
    /// What [`super::Action::Persist`] of this sequence asked for is on disk, and all before it.
    Synced {
        /// Which.
        sequence: u64,
    },
    /// The answer to [`super::Action::Count`]: the bodies that are missing.
    Lacks(Vec<Digest>),
    /// The answer to [`super::Action::NeedBodies`]: all are here.
    Bodies {
        /// The opening.
        opening: Digest,
    },
    /// Some of these are still missing although they were asked for.
    MissingBodies(Vec<Digest>),
    /// The log of rounds is durable up to the complete vector of this round. Once this was said,
    /// no proposal is signed that is more than a few rounds further (§7).
    Durable(Round),
    /// The own proposals up to this one, which [`super::Logged::Own`] had, are durable (§7).
    OwnDurable {
        /// Its epoch.
        epoch: Epoch,
        /// Its round.
        round: Round,
    },
    /// Snapshots are kept for others: history up to the oldest one's round is not needed.
    Kept(Option<Round>),
    /// Rounds up to this one are to be complete, as somebody waits for what proposals attest (R6).
    WantRounds(Round),
    /// The operator stops this replica for a while: it asks to leave (M2).
    Leave,
    /// What this replica has executed by now, for its next proposal.
    Attest(Attestation),
    /// A snapshot was installed: the order goes on from it.
    Install {
        /// The ordering state in it, attested by `t + 1` replicas.
        state: Bytes,
        /// The committed vector after which it was taken.
        position: StepPosition,
    },
    /// Time has passed.
    Tick,
    /// Nothing more is waiting: now is the time to propose.
    Drained,
}

impl Input {
    /// What came in one message, with all its Blames as one.
    pub fn together(inputs: Vec<Input>) -> Vec<Input> {
        let mut blames = Vec::new();
        let mut rest = Vec::new();
        for input in inputs {
            match input {
                Input::Blame(blame) => blames.push(blame),
                other => rest.push(other),
            }
        }
        let blames = Some(blames).filter(|blames| !blames.is_empty()).map(Input::Blames);
        blames.into_iter().chain(rest).collect()
    }
}
