//! The one signed message of a round (docs/protocol.md §3).

use super::codec::USUAL;
use super::header::MAX_CHOICE;
use super::layout::{Framed, Layout, bytes_of, get_list, put_list};
use super::{DecodeError, Kind, Reader, SignedChange, Writer};
use crate::crypto::{Domain, Signable};
use crate::types::{Digest, Epoch, Members, ReplicaId, Round};

/// Candidates in a proposal that the layout allows; the opening's limit may be lower. A proposal
/// of that many is 656 KB, within a frame.
pub const MAX_CANDIDATES: usize = 16_384;

/// Status changes in a proposal at most.
pub const MAX_CHANGES: usize = 64;

/// A candidate as a proposal carries it; whose it is, the proposal's signer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Clock value of the candidate id.
    pub clock: u64,
    /// Which request.
    pub request: Digest,
}

/// A place in the order: the committed vector that executed a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct StepPosition {
    /// Its round; 0 before the first.
    pub round: Round,
    /// Hash of V(round).
    pub vector: Digest,
}

/// What a replica says it has executed (§3, attestation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attestation {
    /// The last executed step.
    pub position: StepPosition,
    /// Chain over executed steps of the Merkle roots of (request digest, index, output hash).
    pub running: Digest,
    /// Round of the last checkpoint; 0 before the first.
    pub checkpoint: Round,
    /// State digest there.
    pub state: Digest,
    /// Whether it ever rolled back something that it had answered (§7).
    pub rolled: bool,
    /// Whether it saw Δ hold since its last proposal.
    pub delta_held: bool,
}

/// What a member says in a round: its candidates (phase 1) and its choice of the round before
/// (phase 2). Its signature is over its [`super::Header`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The epoch.
    pub epoch: Epoch,
    /// The epoch's members.
    pub members: Members,
    /// The round.
    pub round: Round,
    /// The sender.
    pub replica: ReplicaId,
    /// Hashes of V(round - 1), one a member in order; in an epoch's first round of what opens it.
    pub choice: Vec<Digest>,
    /// New candidates, clocks strictly increasing.
    pub candidates: Vec<Candidate>,
    /// Status changes, whole, at most [`MAX_CHANGES`] (M1 to M3).
    pub changes: Vec<SignedChange>,
    /// The sender's candidate clock, microseconds or ticks.
    pub now: u64,
    /// What the sender has executed.
    pub attestation: Attestation,
}

impl Layout for Candidate {
    const LEAST: usize = 40;

    fn put(&self, out: &mut Writer) {
        out.u64(self.clock).digest(&self.request);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { clock: r.u64("candidate clock")?, request: r.digest("candidate digest")? })
    }
}

impl Layout for Proposal {
    const LEAST: usize = 12 + 4 + 8 + 1 + 3 * 4 + 8 + Attestation::LEAST;

    fn put(&self, out: &mut Writer) {
        out.epoch(self.epoch).u32(self.members.bits()).round(self.round).replica(self.replica);
        out.count(self.choice.len());
        self.choice.iter().for_each(|d| {
            out.digest(d);
        });
        put_list(&self.candidates, out);
        put_list(&self.changes, out);
        out.u64(self.now);
        self.attestation.put(out);
    }

    fn room(&self) -> usize {
        USUAL
            + 32 * self.choice.len()
            + Candidate::LEAST * self.candidates.len()
            + self.changes.iter().map(Layout::room).sum::<usize>()
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let epoch = r.epoch("proposal epoch")?;
        let members = r.members("proposal members")?;
        let round = r.round("proposal round")?;
        let replica = r.replica("proposal replica")?;
        let n = r.count(MAX_CHOICE, 32, "proposal choice")?;
        let choice = (0..n).map(|_| r.digest("chosen hash")).collect::<Result<_, _>>()?;
        let n = r.count(MAX_CANDIDATES, Candidate::LEAST, "proposal candidates")?;
        let mut candidates: Vec<Candidate> = Vec::with_capacity(n);
        for _ in 0..n {
            let candidate = Candidate::get(r)?;
            // Headers name the first and the last: in a list out of order they would say nothing.
            if candidates.last().is_some_and(|last| last.clock >= candidate.clock) {
                return Err(r.error("candidates in the order of their clocks"));
            }
            candidates.push(candidate);
        }
        let changes = get_list(r, MAX_CHANGES, "status changes")?;
        let now = r.u64("proposal now")?;
        let attestation = Attestation::get(r)?;
        Ok(Self { epoch, members, round, replica, choice, candidates, changes, now, attestation })
    }
}

impl Framed for Proposal {
    const KIND: Kind = Kind::Proposal;
}

impl Signable for Proposal {
    const DOMAIN: Domain = Domain::Proposal;

    fn signer(&self) -> ReplicaId {
        self.replica
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn members(&self) -> Members {
        self.members
    }

    /// That of its header.
    fn body(&self) -> Vec<u8> {
        bytes_of(&self.header())
    }
}
