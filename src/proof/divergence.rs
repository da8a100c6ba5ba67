//! Evidence of divergence (docs/protocol.md §6): what replicas attested of one place, under their
//! signatures. It convicts nobody of lying. It shows that one has a broken memory, disk or service
//! (or lies), or that the service is not deterministic.

use super::sealed::Sealed;
use super::{ProofFileError, file};
use crate::crypto::{Domain, Keyring, Scheme, Unverified, VerifyError, hash};
use crate::types::{Digest, GroupId, Members, ReplicaId, Round};
use crate::wire::{DecodeError, Header, StepPosition, get_list, put_list};
use std::collections::BTreeMap;
use std::fmt;

/// What the name of such a file ends with.
pub const DIVERGENCE_SUFFIX: &str = ".divergence";

const FILE: Sealed = Sealed {
    magic: b"QUODIVRG",
    version: 1,
    domain: Domain::Proofs,
    most: (MAX_DIVERGENCE_FILE, "larger than any evidence of divergence"),
    other: "not quorate's evidence of divergence",
};
/// Statements at most: one a replica.
const MOST: usize = 31;
/// Bytes of a file at most. A statement has at most 31 hashes of a choice, and 300 bytes more.
pub const MAX_DIVERGENCE_FILE: usize = 64 << 10;

/// What the statements are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attested {
    /// The running root over all outputs up to this step.
    Outputs(StepPosition),
    /// The digest of the state at the checkpoint of this round.
    State(Round),
}

impl Attested {
    /// What a header says of it; none if it speaks of something else.
    fn value(self, header: &Header) -> Option<Digest> {
        let said = &header.attestation;
        match self {
            Attested::Outputs(position) => (said.position == position).then_some(said.running),
            Attested::State(round) => (said.checkpoint == round).then_some(said.state),
        }
    }

    /// The round of the step, or of the checkpoint.
    pub fn round(self) -> Round {
        match self {
            Attested::Outputs(position) => position.round,
            Attested::State(round) => round,
        }
    }
}

/// Continues "attest different ...".
impl fmt::Display for Attested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attested::Outputs(position) => write!(f, "outputs up to round {}", position.round.0),
            Attested::State(round) => write!(f, "states at the checkpoint of round {}", round.0),
        }
    }
}

/// A file of such evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DivergenceFile {
    /// The cluster.
    pub cluster: Digest,
    /// The group.
    pub group: GroupId,
    /// The hash of the roster's first keys, all of them.
    pub roster: Digest,
    /// What the statements are about.
    pub about: Attested,
    /// What replicas signed, one statement each.
    pub statements: Vec<Unverified<Header>>,
}

/// What such a file shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// These attest something else than `t + 1` that agree, of whom one is correct at least.
    Minority {
        /// Who differs.
        differ: Members,
        /// Who agrees.
        agree: Members,
    },
    /// They attest so many different things that nothing can have `t + 1`: the service is not
    /// deterministic, or more than `t` replicas are bad.
    Split {
        /// Who said something.
        said: Members,
    },
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Divergence::Minority { differ, agree } => {
                write!(f, "{differ} differ from {agree}, who are t + 1 or more and agree")
            }
            Divergence::Split { said } => {
                write!(f, "no t + 1 of {said} and those who are silent can agree")
            }
        }
    }
}

/// Why a file shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DivergenceError {
    /// A statement is not signed by whom it names.
    #[error("it shows nothing: {0}")]
    Signature(VerifyError),
    /// Correct replicas may have signed this.
    #[error("it shows nothing: {0}")]
    Nothing(&'static str),
}

impl DivergenceFile {
    /// Evidence under the keys of this keyring.
    pub fn new<S: Scheme>(
        about: Attested,
        statements: Vec<Unverified<Header>>,
        keyring: &Keyring<S>,
    ) -> Self {
        let (context, roster) = (keyring.context(), file::roster(keyring));
        Self { cluster: context.cluster, group: context.group, roster, about, statements }
    }

    /// As [`super::ProofFile::fits`].
    ///
    /// # Errors
    /// As there.
    pub fn fits<S: Scheme>(&self, keyring: &Keyring<S>) -> Result<(), ProofFileError> {
        file::fits((self.cluster, self.roster), keyring)
    }

    /// What it shows, by the signatures and the number of replicas alone.
    ///
    /// # Errors
    /// [`DivergenceError`] says why it shows nothing.
    pub fn judge<S: Scheme>(&self, keyring: &Keyring<S>) -> Result<Divergence, DivergenceError> {
        let nothing = |why| Err(DivergenceError::Nothing(why));
        let mut said = Members::NONE;
        let mut groups: BTreeMap<Digest, Members> = BTreeMap::new();
        for statement in &self.statements {
            let header = statement.verify_ref(keyring).map_err(DivergenceError::Signature)?;
            let Some(value) = self.about.value(&header) else {
                return nothing("one of its statements is about something else");
            };
            if said.contains(header.replica) {
                return nothing("it has two statements of one replica");
            }
            said.insert(header.replica);
            groups.entry(value).or_insert(Members::NONE).insert(header.replica);
        }
        let ensemble = keyring.ensemble();
        let silent = ensemble.n() - said.len();
        let Some(agree) = groups.values().copied().max_by_key(|group| group.len()) else {
            return nothing("it has no statements");
        };
        match () {
            () if groups.len() < 2 => nothing("its statements are all the same"),
            () if agree.len() >= ensemble.majority() => {
                Ok(Divergence::Minority { differ: said.minus(agree), agree })
            }
            () if agree.len() + silent < ensemble.majority() => Ok(Divergence::Split { said }),
            () => nothing("t + 1 may agree, with those who are silent"),
        }
    }

    /// The name that such a file gets: the round, whom it is about (nobody in particular: `all`),
    /// and the first bytes of its hash.
    pub fn name(&self, whom: Option<ReplicaId>) -> String {
        let digest = hash(Domain::Proofs, &self.to_bytes());
        let whom = whom.map_or("all".to_owned(), |replica| replica.to_string());
        format!("{}-{whom}-{digest}{DIVERGENCE_SUFFIX}", self.about.round().0)
    }

    /// The file's bytes: magic, version, what it is judged by, what it is about, the statements,
    /// and a digest over all.
    pub fn to_bytes(&self) -> Vec<u8> {
        FILE.write((&self.cluster, self.group), |out| {
            out.digest(&self.roster);
            match self.about {
                Attested::Outputs(position) => {
                    out.u8(0).round(position.round).digest(&position.vector);
                }
                Attested::State(round) => {
                    out.u8(1).round(round);
                }
            }
            put_list(&self.statements, out);
        })
    }

    /// Whether a file is meant to be one of these, by how it begins.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(FILE.magic)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ProofFileError::Damaged`] if the bytes are not such a file, whole and undamaged.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofFileError> {
        Self::read(bytes).map_err(ProofFileError::Damaged)
    }

    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (cluster, group, (roster, about, statements)) = FILE.read(bytes, |r| {
            let roster = r.digest("roster")?;
            let about = match r.u8("what it is about")? {
                0 => {
                    let (round, vector) = (r.round("round")?, r.digest("vector")?);
                    Attested::Outputs(StepPosition { round, vector })
                }
                1 => Attested::State(r.round("round")?),
                _ => return Err(r.error("what it is about")),
            };
            Ok((roster, about, get_list(r, MOST, "statements")?))
        })?;
        Ok(Self { cluster, group, roster, about, statements })
    }
}

#[cfg(test)]
mod tests;
