//! A proof as a file: small, whole by itself, the same bytes wherever it is written.

use super::Conviction;
use super::sealed::Sealed;
use crate::crypto::{Domain, Keyring, Scheme, hash};
use crate::types::{Digest, GroupId};
use crate::wire::{DecodeError, Proof};

/// Bytes of a proof's file at most; the largest kind stays well below.
pub const MAX_PROOF_FILE: usize = 16 << 10;

/// What the name of a proof's file ends with.
pub const PROOF_SUFFIX: &str = ".proof";

const FILE: Sealed = Sealed {
    magic: b"QUOPROOF",
    version: 1,
    domain: Domain::Proofs,
    most: (MAX_PROOF_FILE, "larger than any proof"),
    other: "not a quorate proof",
};

/// A proof with what it is to be judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofFile {
    /// The cluster.
    pub cluster: Digest,
    /// The group.
    pub group: GroupId,
    /// The hash of the roster's first keys, all of them.
    pub roster: Digest,
    /// The proof.
    pub proof: Proof,
}

/// Why a file cannot be judged with a roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileError {
    /// It is damaged, or none at all.
    #[error("it is no undamaged proof ({0}); copy it again from where it was made")]
    Damaged(DecodeError),
    /// Another cluster's.
    #[error("it is of cluster {found}, not {wanted}; give --config its cluster's file")]
    Cluster {
        /// Whose it is.
        found: Digest,
        /// Whose was asked for.
        wanted: Digest,
    },
    /// Of a roster with other first keys.
    #[error(
        "it was made under other first keys of the replicas (roster {found}, not {wanted}); \
         give --config a cluster file with all former_keys"
    )]
    Roster {
        /// The hash of the first keys that it was made under.
        found: Digest,
        /// The hash of the first keys that were given.
        wanted: Digest,
    },
}

impl ProofFile {
    /// A proof made under the keys of this keyring.
    pub fn new<S: Scheme>(proof: Proof, keyring: &Keyring<S>) -> Self {
        let context = keyring.context();
        Self { cluster: context.cluster, group: context.group, roster: roster(keyring), proof }
    }

    /// Whether it was made in this keyring's cluster and under its keys.
    ///
    /// # Errors
    /// [`ProofFileError`] says what differs and what to do.
    pub fn fits<S: Scheme>(&self, keyring: &Keyring<S>) -> Result<(), ProofFileError> {
        fits((self.cluster, self.roster), keyring)
    }

    /// The name that such a file gets: epoch, who, what kind, and the first bytes of its hash.
    pub fn name(&self, conviction: &Conviction) -> String {
        let Conviction { replica, epoch, kind, .. } = conviction;
        let digest = hash(Domain::Proofs, &self.proof.to_bytes());
        let (g, r, a) = (epoch.generation, epoch.resets, epoch.accused);
        format!("{g}.{r}.{a}-{replica}-{kind}-{digest}{PROOF_SUFFIX}")
    }

    /// The file's bytes: magic, version, what it is judged by, the proof, and a digest over all.
    pub fn to_bytes(&self) -> Vec<u8> {
        FILE.write((&self.cluster, self.group), |out| {
            out.digest(&self.roster).raw(&self.proof.to_bytes());
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ProofFileError::Damaged`] if the bytes are not a whole and undamaged proof.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofFileError> {
        Self::read(bytes).map_err(ProofFileError::Damaged)
    }

    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (cluster, group, (roster, proof)) =
            FILE.read(bytes, |r| Ok((r.digest("roster")?, Proof::read(r)?)))?;
        Ok(Self { cluster, group, roster, proof })
    }
}

/// Whether a file of this cluster and roster is of this keyring's.
pub(super) fn fits<S: Scheme>(
    (cluster, first_keys): (Digest, Digest),
    keyring: &Keyring<S>,
) -> Result<(), ProofFileError> {
    let (found, wanted) = (cluster, keyring.context().cluster);
    if found != wanted {
        return Err(ProofFileError::Cluster { found, wanted });
    }
    let (found, wanted) = (first_keys, roster(keyring));
    if found != wanted {
        return Err(ProofFileError::Roster { found, wanted });
    }
    Ok(())
}

pub(super) fn roster<S: Scheme>(keyring: &Keyring<S>) -> Digest {
    keyring.members_hash(0, keyring.ensemble().all())
}
