//! The one signed message of a round (docs/protocol.md §3).

use super::{DecodeError, Kind, Message, Reader, Writer, frame};
use crate::crypto::{Domain, Signable, Signature, Unverified, Verified};
use crate::types::{Digest, Epoch, GroupId, Members, ReplicaId, Round};

/// Candidates in a proposal that the layout allows; the opening's limit may be lower. A proposal
/// of that many is 656 KB, within a frame.
pub const MAX_CANDIDATES: usize = 16_384;

const MAX_CHOICE: usize = 31;

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
/// (phase 2).
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
    /// The sender's candidate clock, microseconds or ticks.
    pub now: u64,
    /// What the sender has executed.
    pub attestation: Attestation,
}

impl Proposal {
    fn encode_body(&self, out: &mut Writer) {
        out.epoch(self.epoch).u32(self.members.bits()).round(self.round).replica(self.replica);
        out.count(self.choice.len());
        self.choice.iter().for_each(|d| {
            out.digest(d);
        });
        out.count(self.candidates.len());
        self.candidates.iter().for_each(|c| {
            out.u64(c.clock).digest(&c.request);
        });
        // Status changes, carried whole: a later version fills this list (M1 to M3).
        out.count(0).u64(self.now);
        let a = &self.attestation;
        out.round(a.position.round).digest(&a.position.vector).digest(&a.running);
        out.round(a.checkpoint).digest(&a.state).bool(a.rolled).bool(a.delta_held);
    }

    fn decode_body(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let epoch = r.epoch("proposal epoch")?;
        let members = r.members("proposal members")?;
        let round = r.round("proposal round")?;
        let replica = r.replica("proposal replica")?;
        let n = r.count(MAX_CHOICE, 32, "proposal choice")?;
        let choice = (0..n).map(|_| r.digest("chosen hash")).collect::<Result<_, _>>()?;
        let n = r.count(MAX_CANDIDATES, 40, "proposal candidates")?;
        let mut candidates = Vec::with_capacity(n);
        for _ in 0..n {
            let clock = r.u64("candidate clock")?;
            candidates.push(Candidate { clock, request: r.digest("candidate digest")? });
        }
        if r.u32("status changes")? != 0 {
            return Err(r.error("status changes are not known to this version"));
        }
        let now = r.u64("proposal now")?;
        let position = StepPosition {
            round: r.round("attested round")?,
            vector: r.digest("attested vector")?,
        };
        let attestation = Attestation {
            position,
            running: r.digest("running root")?,
            checkpoint: r.round("checkpoint round")?,
            state: r.digest("checkpoint digest")?,
            rolled: r.bool("rolled")?,
            delta_held: r.bool("delta held")?,
        };
        Ok(Self { epoch, members, round, replica, choice, candidates, now, attestation })
    }
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

    fn body(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.encode_body(&mut out);
        out.into_bytes()
    }
}

impl Message for Unverified<Proposal> {
    const KIND: Kind = Kind::Proposal;

    fn encode(&self, out: &mut Writer) {
        encode_signed(self.peek(), self.signature(), out);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let proposal = Proposal::decode_body(r)?;
        Ok(Unverified::new(proposal, r.signature("proposal signature")?))
    }
}

impl Verified<Proposal> {
    /// The frame that carries it.
    pub fn to_frame(&self, group: GroupId) -> Vec<u8> {
        let mut out = Writer::new();
        frame::begin(&mut out, Kind::Proposal, group);
        encode_signed(self.message(), self.signature(), &mut out);
        frame::end(out)
    }
}

fn encode_signed(proposal: &Proposal, signature: &Signature, out: &mut Writer) {
    proposal.encode_body(out);
    out.raw(&signature.0);
}
