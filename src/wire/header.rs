//! What the signature of a proposal is over (docs/protocol.md §3).
//!
//! A proposal may be large, its header is not: candidates and status changes stand in it as
//! digests. Certificates, reports and proofs are made of headers.

use super::layout::Layout;
use super::{Attestation, Candidate, DecodeError, Proposal, Reader, SignedChange, Writer};
use super::{MAX_CANDIDATES, StepPosition};
use crate::crypto::{Context, Domain, Hasher, Signable, Unverified, Verified, hash};
use crate::types::{Digest, Epoch, Members, ReplicaId, Round};

/// Hashes in a choice at most: one a member.
pub(super) const MAX_CHOICE: usize = 31;

/// A proposal's candidates in short. All zero if there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CandidateSummary {
    /// How many.
    pub count: u32,
    /// The clock value of the first, the lowest.
    pub first: u64,
    /// The clock value of the last, the highest.
    pub last: u64,
    /// The digest of the encoded list.
    pub digest: Digest,
}

impl CandidateSummary {
    /// The summary of a list with strictly increasing clocks.
    pub fn of(candidates: &[Candidate]) -> Self {
        let (Some(first), Some(last)) = (candidates.first(), candidates.last()) else {
            return Self::default();
        };
        let mut out = Writer::new();
        candidates.iter().for_each(|c| c.put(&mut out));
        Self {
            count: u32::try_from(candidates.len()).expect("limits keep candidates far below 2^32"),
            first: first.clock,
            last: last.clock,
            digest: hash(Domain::Candidates, &out.into_bytes()),
        }
    }

    // Other values are those of no list: they are refused, so that whatever decodes makes sense.
    fn is_sound(&self) -> bool {
        match self.count {
            0 => *self == Self::default(),
            1 => self.first == self.last && self.digest != Digest::ZERO,
            n => {
                n as usize <= MAX_CANDIDATES
                    && self.first < self.last
                    && self.digest != Digest::ZERO
            }
        }
    }
}

/// The digest of a proposal's status changes in a header: zero if there are none.
pub(super) fn changes_digest(changes: &[SignedChange]) -> Digest {
    if changes.is_empty() {
        return Digest::ZERO;
    }
    let mut out = Writer::new();
    super::layout::put_list(changes, &mut out);
    hash(Domain::Changes, &out.into_bytes())
}

/// What the signature of a proposal is over. Its statement is that of its [`Proposal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The epoch.
    pub epoch: Epoch,
    /// The epoch's members.
    pub members: Members,
    /// The round.
    pub round: Round,
    /// The sender.
    pub replica: ReplicaId,
    /// As [`Proposal::choice`].
    pub choice: Vec<Digest>,
    /// The candidates in short.
    pub candidates: CandidateSummary,
    /// The digest of the encoded status changes; zero if there are none.
    pub changes: Digest,
    /// The sender's candidate clock, microseconds or ticks.
    pub now: u64,
    /// What the sender has executed.
    pub attestation: Attestation,
}

impl Layout for Header {
    const LEAST: usize = 12 + 4 + 8 + 1 + 4 + 52 + 32 + 8 + Attestation::LEAST;

    fn put(&self, out: &mut Writer) {
        out.epoch(self.epoch).u32(self.members.bits()).round(self.round).replica(self.replica);
        out.count(self.choice.len());
        self.choice.iter().for_each(|d| {
            out.digest(d);
        });
        let c = &self.candidates;
        out.u32(c.count).u64(c.first).u64(c.last).digest(&c.digest);
        out.digest(&self.changes).u64(self.now);
        self.attestation.put(out);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let epoch = r.epoch("header epoch")?;
        let members = r.members("header members")?;
        let round = r.round("header round")?;
        let replica = r.replica("header replica")?;
        let n = r.count(MAX_CHOICE, 32, "header choice")?;
        let choice = (0..n).map(|_| r.digest("chosen hash")).collect::<Result<_, _>>()?;
        let candidates = CandidateSummary {
            count: r.u32("candidate count")?,
            first: r.u64("first candidate")?,
            last: r.u64("last candidate")?,
            digest: r.digest("candidates digest")?,
        };
        if !candidates.is_sound() {
            return Err(r.error("a summary of no list of candidates"));
        }
        let changes = r.digest("changes digest")?;
        let now = r.u64("header now")?;
        let attestation = Attestation::get(r)?;
        Ok(Self { epoch, members, round, replica, choice, candidates, changes, now, attestation })
    }
}

impl Signable for Header {
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
        super::layout::bytes_of(self)
    }
}

impl Proposal {
    /// What its signature is over. Hashes candidates and status changes.
    pub fn header(&self) -> Header {
        Header {
            epoch: self.epoch,
            members: self.members,
            round: self.round,
            replica: self.replica,
            choice: self.choice.clone(),
            candidates: CandidateSummary::of(&self.candidates),
            changes: changes_digest(&self.changes),
            now: self.now,
            attestation: self.attestation,
        }
    }
}

impl Verified<Proposal> {
    /// Its header: the same statement under the same signature.
    pub fn header(&self) -> Verified<Header> {
        self.narrow(self.message().header())
    }
}

impl Unverified<Proposal> {
    /// Its header with the signature that came with it.
    pub fn header(&self) -> Unverified<Header> {
        Unverified::new(self.peek().header(), *self.signature())
    }
}

impl Layout for Attestation {
    const LEAST: usize = 8 + 32 + 32 + 8 + 32 + 1 + 1;

    fn put(&self, out: &mut Writer) {
        self.position.put(out);
        out.digest(&self.running).round(self.checkpoint).digest(&self.state);
        out.bool(self.rolled).bool(self.delta_held);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            position: StepPosition::get(r)?,
            running: r.digest("running root")?,
            checkpoint: r.round("checkpoint round")?,
            state: r.digest("checkpoint digest")?,
            rolled: r.bool("rolled")?,
            delta_held: r.bool("delta held")?,
        })
    }
}

impl Layout for StepPosition {
    const LEAST: usize = 40;

    fn put(&self, out: &mut Writer) {
        out.round(self.round).digest(&self.vector);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { round: r.round("position round")?, vector: r.digest("position vector")? })
    }
}

/// The hash of a vector: domain, cluster, group, epoch, round, proposal hashes in member order.
pub fn vector_hash(context: &Context, epoch: Epoch, round: Round, hashes: &[Digest]) -> Digest {
    let mut h = Hasher::new(Domain::Vector);
    h.put(&context.cluster.0).put(&context.group.0.to_le_bytes());
    h.put(&epoch.generation.to_le_bytes()).put(&epoch.resets.to_le_bytes());
    h.put(&epoch.accused.to_le_bytes()).put_u64(round.0);
    hashes.iter().for_each(|d| {
        h.put(&d.0);
    });
    h.finish()
}
