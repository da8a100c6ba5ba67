//! Status changes (docs/protocol.md §5, M1 to M3): who is a member, and with which key.

use super::layout::{Layout, bytes_of};
use super::{DecodeError, Kind, Message, Reader, StepPosition, Writer};
use crate::crypto::{Context, Domain, Hasher, Keyring, PublicKey, Scheme, Signature, VerifyError};
use crate::types::{Digest, ReplicaId};

/// What is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// M1: the replica wants to be a member again. Only its own word counts.
    Join {
        /// Who.
        replica: ReplicaId,
        /// Starts of its process on its disk so far, from 1.
        incarnation: u64,
        /// How far it has executed.
        position: StepPosition,
    },
    /// M2: the replica is to be a member no longer. Its own word or an operator's.
    Leave {
        /// Who.
        replica: ReplicaId,
        /// Whether it asks to join again only once it is recalled, or its process was started
        /// again: an operator's word says so, and its own does not (M4).
        stays: bool,
    },
    /// M3: a replica that was excluded as lying may join again. Only an operator's word counts.
    Readmit {
        /// Who.
        replica: ReplicaId,
    },
    /// M3: the replica gets another key. Only an operator's word counts. What follows from it, the
    /// new key's coming in, is the same change again and nobody's word.
    ReplaceKey {
        /// Who.
        replica: ReplicaId,
        /// The new key; whether it is a usable one is checked by whoever acts on it.
        key: PublicKey,
    },
    /// M2: a replica that stays out on an operator's word may join again. Only an operator's word
    /// counts.
    Recall {
        /// Who.
        replica: ReplicaId,
    },
}

impl Change {
    /// Whom it is about.
    pub fn subject(&self) -> ReplicaId {
        match *self {
            Change::Join { replica, .. }
            | Change::Leave { replica, .. }
            | Change::Readmit { replica }
            | Change::Recall { replica }
            | Change::ReplaceKey { replica, .. } => replica,
        }
    }

    /// Its name for people.
    pub fn name(&self) -> &'static str {
        match self {
            Change::Join { .. } => "join",
            Change::Leave { .. } => "leave",
            Change::Readmit { .. } => "readmit",
            Change::ReplaceKey { .. } => "replace-key",
            Change::Recall { .. } => "recall",
        }
    }
}

impl Layout for Change {
    const LEAST: usize = 2;

    fn put(&self, out: &mut Writer) {
        match self {
            Change::Join { replica, incarnation, position } => {
                out.u8(0).replica(*replica).u64(*incarnation);
                position.put(out);
            }
            Change::Leave { replica, stays } => {
                out.u8(1).replica(*replica).bool(*stays);
            }
            Change::Readmit { replica } => {
                out.u8(2).replica(*replica);
            }
            Change::ReplaceKey { replica, key } => {
                out.u8(3).replica(*replica).raw(&key.0);
            }
            Change::Recall { replica } => {
                out.u8(4).replica(*replica);
            }
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = r.u8("kind of change")?;
        let replica = r.replica("changed replica")?;
        Ok(match tag {
            0 => Change::Join {
                replica,
                incarnation: r.u64("incarnation")?,
                position: StepPosition::get(r)?,
            },
            1 => Change::Leave { replica, stays: r.bool("stays out")? },
            2 => Change::Readmit { replica },
            3 => Change::ReplaceKey { replica, key: r.key("new key")? },
            4 => Change::Recall { replica },
            _ => return Err(r.error("unknown kind of change")),
        })
    }
}

/// Whose word a status change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// A replica of the roster, by its key there.
    Replica(ReplicaId),
    /// An operator, by this key.
    Operator(PublicKey),
}

impl Layout for Author {
    const LEAST: usize = 2;

    fn put(&self, out: &mut Writer) {
        match self {
            Author::Replica(replica) => out.u8(0).replica(*replica),
            Author::Operator(key) => out.u8(1).raw(&key.0),
        };
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.u8("kind of author")? {
            0 => r.replica("author").map(Author::Replica),
            1 => r.key("operator key").map(Author::Operator),
            _ => Err(r.error("unknown kind of author")),
        }
    }
}

/// A status change with the signature of its author. Nobody may act on it before
/// [`SignedChange::verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedChange {
    /// What is to change.
    pub change: Change,
    /// Who says so.
    pub author: Author,
    /// The author's clock: makes a repetition of the same change another one.
    pub serial: u64,
    /// The author's signature over [`SignedChange::digest`].
    pub signature: Signature,
}

impl SignedChange {
    /// Signs a change.
    pub fn sign<S: Scheme>(
        change: Change,
        author: Author,
        serial: u64,
        context: &Context,
        signer: &S::Signer,
    ) -> Self {
        let unsigned = Self { change, author, serial, signature: Signature([0; 64]) };
        let signature = S::sign(signer, &unsigned.digest(context));
        Self { signature, ..unsigned }
    }

    /// Whom it is about.
    pub fn subject(&self) -> ReplicaId {
        self.change.subject()
    }

    /// Its name, and what is signed: cluster, group, change, author and serial, not the signature.
    pub fn digest(&self, context: &Context) -> Digest {
        let mut h = Hasher::new(Domain::Change);
        h.put(&context.cluster.0).put(&context.group.0.to_le_bytes());
        h.put(&bytes_of(&self.change)).put(&bytes_of(&self.author)).put_u64(self.serial);
        h.finish()
    }

    /// Checks that its author may say this and that the signature is the author's. Whether an
    /// operator's key is one that is known stands in the configuration and is not checked here. A
    /// replica's key is the one that it has in this generation.
    ///
    /// # Errors
    /// [`VerifyError`] says what is wrong.
    pub fn verify<S: Scheme>(
        &self,
        keyring: &Keyring<S>,
        generation: u32,
    ) -> Result<(), VerifyError> {
        let own = self.author == Author::Replica(self.subject());
        let operator = matches!(self.author, Author::Operator(_));
        let entitled = match self.change {
            Change::Join { .. } => own,
            Change::Leave { stays: true, .. } => operator,
            Change::Leave { stays: false, .. } => own,
            Change::Readmit { .. } | Change::ReplaceKey { .. } | Change::Recall { .. } => operator,
        };
        if !entitled {
            return Err(VerifyError::NotEntitled(self.change.name()));
        }
        if !keyring.ensemble().contains(self.subject()) {
            return Err(VerifyError::UnknownSigner(self.subject()));
        }
        let digest = self.digest(&keyring.context());
        match self.author {
            Author::Replica(replica) => {
                keyring.check(replica, generation, &digest, &self.signature)
            }
            Author::Operator(key) => {
                let known = S::verifier(&key).map_err(|_| VerifyError::BadOperator(key))?;
                let fits = S::verify(&known, &digest, &self.signature);
                if fits { Ok(()) } else { Err(VerifyError::BadOperator(key)) }
            }
        }
    }
}

impl Layout for SignedChange {
    const LEAST: usize = Change::LEAST + Author::LEAST + 8 + 64;

    fn put(&self, out: &mut Writer) {
        self.change.put(out);
        self.author.put(out);
        out.u64(self.serial).raw(&self.signature.0);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let change = Change::get(r)?;
        let author = Author::get(r)?;
        let serial = r.u64("serial")?;
        Ok(Self { change, author, serial, signature: r.signature("change signature")? })
    }
}

/// Between replicas.
impl Message for SignedChange {
    const KIND: Kind = Kind::Change;

    fn encode(&self, out: &mut Writer) {
        self.put(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::get(reader)
    }
}

/// A status change that an operator sends over a client's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorChange(pub SignedChange);

impl Message for OperatorChange {
    const KIND: Kind = Kind::OperatorChange;

    fn encode(&self, out: &mut Writer) {
        self.0.put(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        SignedChange::get(reader).map(Self)
    }
}
