//! Why a snapshot can be believed: `t + 1` replicas have signed that this was the state at its
//! checkpoint, so an honest one has.
//!
//! What they sign is proposals, and attestations stand in these; their headers are enough to check
//! the signatures. This file is the only place of state transfer that knows of that.

use crate::crypto::{Keyring, Scheme, Unverified, Verified};
use crate::types::plant::planted;
use crate::types::{Digest, Members, ReplicaId, Round};
use crate::wire::{Attestation, DecodeError, Header, Proposal, Reader, Writer};
use crate::wire::{get_list, put_list};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Replicas of a cluster at most.
const MAX_SIGNERS: usize = 31;

/// What proves a checkpoint: headers of proposals.
pub(in crate::replica) type Proof = Vec<Unverified<Header>>;

/// Statements about one checkpoint, one a replica.
#[derive(Clone, Debug, Default)]
pub(super) struct Statements(BTreeMap<ReplicaId, Verified<Header>>);

impl Statements {
    /// Adds what a replica says, unless it has said it before.
    pub(super) fn add(&mut self, proposal: &Verified<Proposal>) {
        self.0.entry(proposal.replica).or_insert_with(|| proposal.header());
    }

    /// The proof, once there are `majority` statements.
    pub(super) fn proof(&self, majority: usize) -> Option<Proof> {
        let enough = self.0.len() >= majority;
        enough.then(|| self.0.values().take(majority).cloned().map(Unverified::from).collect())
    }
}

/// The checkpoint that somebody attests.
pub(super) fn attested(attestation: &Attestation) -> (Round, Digest) {
    (attestation.checkpoint, attestation.state)
}

/// The checkpoint that a proof proves.
///
/// # Errors
/// What it lacks.
pub(in crate::replica) fn check<S: Scheme>(
    proof: &[Unverified<Header>],
    keyring: &Keyring<S>,
) -> Result<(Round, Digest), &'static str> {
    let Some(first) = proof.first() else { return Err("nobody attests it") };
    let checkpoint = attested(&first.peek().attestation);
    let mut signers = Members::NONE;
    for statement in proof {
        if attested(&statement.peek().attestation) != checkpoint {
            return Err("its signers attest different states");
        }
        if signers.contains(statement.peek().replica) {
            return Err("one signer attests it twice");
        }
        if statement.verify_ref(keyring).is_err() {
            return Err("a signature on it does not fit");
        }
        signers.insert(statement.peek().replica);
    }
    let quorum = keyring.ensemble().majority() - usize::from(planted("s7-snapshot-of-t"));
    if signers.len() < quorum {
        return Err("too few attest it");
    }
    Ok(checkpoint)
}

/// A proof as it stands before a snapshot on disk.
pub(in crate::replica) fn head_of(proof: &Proof) -> Bytes {
    let mut out = Writer::new();
    put_list(proof, &mut out);
    out.into_bytes().into()
}

/// Reads what [`head_of`] gave; nothing of it is checked.
///
/// # Errors
/// If it is anything else.
pub(in crate::replica) fn parse_head(head: &Bytes) -> Result<Proof, DecodeError> {
    let mut r = Reader::new(head);
    let proof = get_list(&mut r, MAX_SIGNERS, "attestations")?;
    r.finish()?;
    Ok(proof)
}
