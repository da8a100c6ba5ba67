//! Trust as a type: what has been verified, by which keys, in which context.

use super::{Domain, Hasher, KeyError, PublicKey, Scheme, Signature};
use crate::types::{Digest, Ensemble, Epoch, GroupId, Members, ReplicaId};

/// What every signed statement is bound to besides its own bytes (docs/protocol.md §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The cluster's identity.
    pub cluster: Digest,
    /// The group within it.
    pub group: GroupId,
}

/// The public keys of a roster, prepared for checking, and the context they sign in.
#[derive(Clone)]
pub struct Keyring<S: Scheme> {
    context: Context,
    ensemble: Ensemble,
    keys: Vec<PublicKey>,
    verifiers: Vec<S::Verifier>,
}

impl<S: Scheme> Keyring<S> {
    /// A keyring over the roster's keys in order.
    ///
    /// # Errors
    /// The place of the key that is not usable, and why.
    ///
    /// # Panics
    /// If there are not exactly `n` keys; configuration has checked that.
    pub fn new(
        context: Context,
        ensemble: Ensemble,
        keys: Vec<PublicKey>,
    ) -> Result<Self, (ReplicaId, KeyError)> {
        assert_eq!(keys.len(), ensemble.n(), "a keyring holds one key a replica");
        let prepared = keys
            .iter()
            .enumerate()
            .map(|(i, key)| S::verifier(key).map_err(|e| (ReplicaId::from_index(i), e)));
        let verifiers = prepared.collect::<Result<_, _>>()?;
        Ok(Self { context, ensemble, keys, verifiers })
    }

    /// The context in which the keys sign.
    pub fn context(&self) -> Context {
        self.context
    }

    /// The sizes of the group.
    pub fn ensemble(&self) -> Ensemble {
        self.ensemble
    }

    /// The key of a replica of the roster.
    pub fn key(&self, replica: ReplicaId) -> Option<&PublicKey> {
        self.keys.get(replica.index())
    }

    /// Checks a replica's signature over a digest that is no statement of an epoch.
    ///
    /// # Errors
    /// [`VerifyError`] names the signer.
    pub fn check(
        &self,
        signer: ReplicaId,
        digest: &Digest,
        signature: &Signature,
    ) -> Result<(), VerifyError> {
        let verifier =
            self.verifiers.get(signer.index()).ok_or(VerifyError::UnknownSigner(signer))?;
        if S::verify(verifier, digest, signature) {
            Ok(())
        } else {
            Err(VerifyError::BadSignature(signer))
        }
    }

    /// The hash that names a member list with its keys, so that a key that was replaced can never
    /// stand in for its successor.
    pub fn members_hash(&self, members: Members) -> Digest {
        let mut h = Hasher::new(Domain::Members);
        h.put(&members.bits().to_le_bytes());
        for member in members.iter().filter(|m| self.ensemble.contains(*m)) {
            h.put(&self.keys[member.index()].0);
        }
        h.finish()
    }

    /// The digest that a statement's signature is over: domain, cluster, group, epoch, member-list
    /// hash, then the body. It also names the statement in other statements.
    pub fn statement(&self, domain: Domain, epoch: Epoch, members: Members, body: &[u8]) -> Digest {
        let mut h = Hasher::new(domain);
        h.put(&self.context.cluster.0)
            .put(&self.context.group.0.to_le_bytes())
            .put(&epoch.generation.to_le_bytes())
            .put(&epoch.resets.to_le_bytes())
            .put(&epoch.accused.to_le_bytes())
            .put(&self.members_hash(members).0)
            .put(body);
        h.finish()
    }
}

/// A message kind that carries a signature.
pub trait Signable: Sized {
    /// The domain its hash is taken under.
    const DOMAIN: Domain;

    /// Who claims to have signed it.
    fn signer(&self) -> ReplicaId;

    /// The epoch it names.
    fn epoch(&self) -> Epoch;

    /// The member list it names.
    fn members(&self) -> Members;

    /// The one layout of what is signed, without the signature.
    fn body(&self) -> Vec<u8>;
}

/// Why a signed message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The signer is not in the roster.
    #[error("{0} is not in the roster")]
    UnknownSigner(ReplicaId),
    /// The signature is not that of the signer over this message in this cluster.
    #[error("the signature is not {0}'s over this message in this cluster, group and epoch")]
    BadSignature(ReplicaId),
    /// The signature is not that of the operator's key over this message in this cluster.
    #[error("the signature is not that of operator {} in this cluster and group", .0.fingerprint())]
    BadOperator(PublicKey),
    /// The author is somebody who must not say this (M1 to M3).
    #[error("{0} by somebody who has no say in it")]
    NotEntitled(&'static str),
}

/// A signed message as it came from the network: nobody may act on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified<T> {
    message: T,
    signature: Signature,
}

impl<T: Signable> Unverified<T> {
    /// Joins a message with the signature that came with it.
    pub fn new(message: T, signature: Signature) -> Self {
        Self { message, signature }
    }

    /// Looks at the message without trusting it: to drop it early, never to act on it.
    pub fn peek(&self) -> &T {
        &self.message
    }

    /// The signature as it came.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Checks the signature against the roster.
    ///
    /// # Errors
    /// [`VerifyError`] names the signer.
    pub fn verify<S: Scheme>(self, keyring: &Keyring<S>) -> Result<Verified<T>, VerifyError> {
        let digest = self.check(keyring)?;
        Ok(Verified { message: self.message, signature: self.signature, digest })
    }

    /// [`Unverified::verify`] for a message that stays where it is.
    ///
    /// # Errors
    /// As there.
    pub fn verify_ref<S: Scheme>(&self, keyring: &Keyring<S>) -> Result<Verified<T>, VerifyError>
    where
        T: Clone,
    {
        let digest = self.check(keyring)?;
        Ok(Verified { message: self.message.clone(), signature: self.signature, digest })
    }

    fn check<S: Scheme>(&self, keyring: &Keyring<S>) -> Result<Digest, VerifyError> {
        let signer = self.message.signer();
        // Before anything is hashed: a signer that nobody knows costs nothing.
        if !keyring.ensemble.contains(signer) {
            return Err(VerifyError::UnknownSigner(signer));
        }
        let digest = statement_of(&self.message, keyring);
        keyring.check(signer, &digest, &self.signature).map(|()| digest)
    }
}

impl<T> From<Verified<T>> for Unverified<T> {
    /// Gives up the trust: for what is stored or sent on and verified again by whoever reads it.
    fn from(verified: Verified<T>) -> Self {
        Self { message: verified.message, signature: verified.signature }
    }
}

/// A signed message whose signature has been checked, with its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified<T> {
    message: T,
    signature: Signature,
    digest: Digest,
}

/// By its name, which stands for all of it: states hold the same messages many times over.
impl<T: Signable> std::fmt::Debug for Verified<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (signer, epoch) = (self.message.signer(), self.message.epoch());
        write!(f, "signed {} by {signer} in {epoch}", self.digest)
    }
}

impl<T: Signable> Verified<T> {
    /// Signs a message of one's own.
    pub fn sign<S: Scheme>(message: T, keyring: &Keyring<S>, signer: &S::Signer) -> Self {
        let digest = statement_of(&message, keyring);
        let signature = S::sign(signer, &digest);
        Self { message, signature, digest }
    }

    /// The hash of the message without its signature: its name in choices and certificates.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The message.
    pub fn message(&self) -> &T {
        &self.message
    }

    /// The same statement as another type, which has the same domain and body and so the same
    /// digest: what was verified of one holds for the other.
    ///
    /// # Panics
    /// If `part` is another statement; that would be a mistake in the layouts.
    pub fn narrow<U: Signable>(&self, part: U) -> Verified<U> {
        let same = U::DOMAIN == T::DOMAIN
            && part.signer() == self.message.signer()
            && part.epoch() == self.message.epoch()
            && part.members() == self.message.members()
            && part.body() == self.message.body();
        assert!(same, "a verified message can only be narrowed to the same statement");
        Verified { message: part, signature: self.signature, digest: self.digest }
    }
}

impl<T> std::ops::Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.message
    }
}

fn statement_of<T: Signable, S: Scheme>(message: &T, keyring: &Keyring<S>) -> Digest {
    keyring.statement(T::DOMAIN, message.epoch(), message.members(), &message.body())
}
