//! What a step gave, request by request: replicas ask each other for it when no `t + 1` of them
//! attest the same (docs/protocol.md §6, *Divergence*). Nothing here is signed: together the leaves
//! give a running root, and that is what a replica has signed in its attestation.

use super::layout::Layout;
use super::{DecodeError, Kind, Message, Reader, StepPosition, Writer};
use crate::types::{Digest, Round};

/// Asks for the leaves of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantLeaves {
    /// The step's round.
    pub round: Round,
    /// From which one on, from 0.
    pub first: u32,
}

/// The leaves of one step, or as many of them as go into a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaves {
    /// The step. Its vector is zero if nothing is known of a step of that round any more.
    pub position: StepPosition,
    /// The running root before it.
    pub before: Digest,
    /// How many there are in all: one for each request of the step.
    pub total: u32,
    /// The index of the first that is here.
    pub first: u32,
    /// For each in turn the request's digest and the hash of its output.
    pub leaves: Vec<(Digest, Digest)>,
}

impl Leaves {
    /// Leaves in one message at most: half of what a frame holds.
    pub const MOST: usize = 8192;

    /// Nothing is known of a step of this round.
    pub fn unknown(round: Round) -> Self {
        let position = StepPosition { round, ..StepPosition::default() };
        Self { position, before: Digest::ZERO, total: 0, first: 0, leaves: Vec::new() }
    }

    /// Whether it says that nothing is known.
    pub fn is_unknown(&self) -> bool {
        self.position.vector == Digest::ZERO
    }
}

impl Message for WantLeaves {
    const KIND: Kind = Kind::WantLeaves;

    fn encode(&self, out: &mut Writer) {
        out.round(self.round).u32(self.first);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { round: r.round("round of the step")?, first: r.u32("first leaf")? })
    }
}

impl Message for Leaves {
    const KIND: Kind = Kind::Leaves;

    fn encode(&self, out: &mut Writer) {
        self.position.put(out);
        out.digest(&self.before).u32(self.total).u32(self.first).count(self.leaves.len());
        self.leaves.iter().for_each(|(request, output)| {
            out.digest(request).digest(output);
        });
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let position = StepPosition::get(r)?;
        let before = r.digest("running root before")?;
        let (total, first) = (r.u32("number of leaves")?, r.u32("first leaf")?);
        let count = r.count(Self::MOST, 64, "leaves")?;
        let leaf = |r: &mut Reader<'_>| Ok((r.digest("request")?, r.digest("output")?));
        let leaves: Vec<_> = (0..count).map(|_| leaf(r)).collect::<Result<_, _>>()?;
        if u64::from(first) + leaves.len() as u64 > u64::from(total) {
            return Err(r.error("more leaves than there are"));
        }
        Ok(Self { position, before, total, first, leaves })
    }
}
