//! What shows a third party that the service answered this (docs/protocol.md §6).
//!
//! The way goes from the reply to a leaf of its step's Merkle tree, from there to the running root
//! after the step, over the steps that follow to later running roots, and to proposals that attest
//! one of these. Nothing here is believed: `proof::receipt` judges it.

use super::layout::{Layout, get_list, put_list};
use super::{DecodeError, Header, MAX_FRAME, Message, Reader, Request, StepPosition, Writer};
use crate::crypto::{MerklePath, Unverified};
use crate::types::{ClientId, Digest};
use bytes::Bytes;

/// Steps after the one of the reply that a receipt may go on to.
pub const MAX_LATER_STEPS: usize = 4096;
/// Signed headers in a receipt: one a replica.
const MAX_SIGNED: usize = 31;
/// Hashes on a Merkle path: no step has more requests than a `u32` counts.
const MAX_SIBLINGS: usize = 32;

/// A step that was executed after the one of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaterStep {
    /// Its position.
    pub position: StepPosition,
    /// The root of its Merkle tree; zero if it had no requests.
    pub root: Digest,
}

/// What leads from a reply to signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptProof {
    /// The step that executed the request.
    pub position: StepPosition,
    /// The request's index in that step.
    pub index: u32,
    /// The running root before that step.
    pub before: Digest,
    /// The path from the reply's leaf to the root of the step's tree.
    pub path: MerklePath,
    /// The steps that followed, in order and without gaps, at most [`MAX_LATER_STEPS`].
    pub later: Vec<LaterStep>,
    /// Proposals that attest the running root after that step or after one of the later ones, by
    /// replica, at most one of each.
    pub signed: Vec<Unverified<Header>>,
}

/// A reply with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Whose request it was.
    pub client: ClientId,
    /// The request.
    pub request: Request,
    /// What became of it ([`super::Outcome::to_bytes`]).
    pub outcome: Bytes,
    /// Why that is so.
    pub proof: ReceiptProof,
}

impl Receipt {
    /// Its bytes by themselves.
    pub fn to_bytes(&self) -> Vec<u8> {
        super::layout::bytes_of(self)
    }

    /// Reads one from where a reader stands.
    ///
    /// # Errors
    /// [`DecodeError`] names the part that does not fit and where it stands.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::get(r)
    }
}

impl Layout for MerklePath {
    const LEAST: usize = 4 + 4 + 4;

    fn put(&self, out: &mut Writer) {
        out.u32(self.place).u32(self.leaves).count(self.siblings.len());
        self.siblings.iter().for_each(|d| {
            out.digest(d);
        });
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (place, leaves) = (r.u32("place of the leaf")?, r.u32("number of leaves")?);
        if place >= leaves {
            return Err(r.error("a leaf that is not in its tree"));
        }
        let n = r.count(MAX_SIBLINGS, 32, "siblings")?;
        let siblings = (0..n).map(|_| r.digest("sibling")).collect::<Result<_, _>>()?;
        Ok(Self { place, leaves, siblings })
    }
}

impl Layout for LaterStep {
    const LEAST: usize = StepPosition::LEAST + 32;

    fn put(&self, out: &mut Writer) {
        self.position.put(out);
        out.digest(&self.root);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { position: StepPosition::get(r)?, root: r.digest("root of a step")? })
    }
}

impl Layout for ReceiptProof {
    const LEAST: usize = StepPosition::LEAST + 4 + 32 + MerklePath::LEAST + 4 + 4;

    fn put(&self, out: &mut Writer) {
        self.position.put(out);
        out.u32(self.index).digest(&self.before);
        self.path.put(out);
        put_list(&self.later, out);
        put_list(&self.signed, out);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let position = StepPosition::get(r)?;
        let index = r.u32("index in the step")?;
        let before = r.digest("running root before the step")?;
        let path = MerklePath::get(r)?;
        let later = get_list(r, MAX_LATER_STEPS, "later steps")?;
        let signed: Vec<Unverified<Header>> = get_list(r, MAX_SIGNED, "signed proposals")?;
        let by = |h: &Unverified<Header>| h.peek().replica;
        if !signed.is_sorted_by(|a, b| by(a) < by(b)) {
            return Err(r.error("signed proposals that are not one a replica, in order"));
        }
        Ok(Self { position, index, before, path, later, signed })
    }
}

impl Layout for Receipt {
    const LEAST: usize = 32 + 28 + 4 + ReceiptProof::LEAST;

    fn put(&self, out: &mut Writer) {
        out.raw(&self.client.0);
        self.request.encode(out);
        out.var(&self.outcome);
        self.proof.put(out);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let client = r.client("client")?;
        let request = Request::decode(r)?;
        let outcome = Bytes::copy_from_slice(r.var(MAX_FRAME, "outcome")?);
        Ok(Self { client, request, outcome, proof: ReceiptProof::get(r)? })
    }
}
