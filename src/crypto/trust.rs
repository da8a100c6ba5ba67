//! Trust as a type: what has been verified, by which keys, in which context.

use super::{Domain, Hasher, KeyError, PublicKey, Scheme, Signature};
use crate::types::{Digest, Ensemble, Epoch, GroupId, Members, ReplicaId};
use std::sync::{Mutex, PoisonError};

/// What every signed statement is bound to besides its own bytes (docs/protocol.md §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The cluster's identity.
    pub cluster: Digest,
    /// The group within it.
    pub group: GroupId,
}

/// That a replica got another key (docs/protocol.md §5, M3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyChange {
    /// The generation in which it has no key at all: the one before counts up to the generation
    /// before this one, the new one from the generation after it on.
    pub out: u32,
    /// Who.
    pub replica: ReplicaId,
    /// The new key.
    pub key: PublicKey,
}

/// The public keys of a roster, prepared for checking, and the context they sign in. Which key of a
/// replica counts depends on the generation that a statement names, and on nothing else (M3).
#[derive(Clone)]
pub struct Keyring<S: Scheme> {
    context: Context,
    ensemble: Ensemble,
    /// By roster place, the earliest first.
    keys: Vec<Vec<Tenure<S>>>,
    /// The member list asked for last and its hash: one epoch after the other names the same.
    latest: Latest,
}

/// See [`Keyring::members_hash`]. Whatever a copy of a keyring knew, the copy finds out again.
#[derive(Default)]
struct Latest(Mutex<Option<(u32, Members, Digest)>>);

impl Clone for Latest {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// A key and the first generation in which it counts. In the generation before, the replica has
/// none, unless this is its first.
#[derive(Clone)]
struct Tenure<S: Scheme> {
    from: u32,
    key: PublicKey,
    verifier: S::Verifier,
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
        let first = |(i, key)| match S::verifier(&key) {
            Ok(verifier) => Ok(vec![Tenure { from: 0, key, verifier }]),
            Err(e) => Err((ReplicaId::from_index(i), e)),
        };
        let keys = keys.into_iter().enumerate().map(first).collect::<Result<_, _>>()?;
        Ok(Self { context, ensemble, keys, latest: Latest::default() })
    }

    /// Takes down that a replica gets another key. What was known of its keys from then on gives
    /// way to it. Gives whether that is news.
    ///
    /// # Errors
    /// Why the key is not usable; nothing is changed then.
    pub fn replace(&mut self, change: KeyChange) -> Result<bool, KeyError> {
        let KeyChange { out, replica, key } = change;
        let verifier = S::verifier(&key)?;
        let (Some(from), Some(keys)) = (out.checked_add(1), self.keys.get_mut(replica.index()))
        else {
            return Ok(false);
        };
        // Generation 0 is before every change.
        if out == 0 || keys.iter().any(|t| (t.from, t.key) == (from, key)) {
            return Ok(false);
        }
        keys.retain(|t| t.from < out);
        keys.push(Tenure { from, key, verifier });
        self.latest = Latest::default();
        Ok(true)
    }

    /// All changes of keys that are known, the earliest first.
    pub fn changes(&self) -> Vec<KeyChange> {
        let of = |(replica, keys): (ReplicaId, &Vec<Tenure<S>>)| -> Vec<KeyChange> {
            let later = keys.iter().skip(1);
            later.map(|t| KeyChange { out: t.from - 1, replica, key: t.key }).collect()
        };
        let all = self.ensemble.replicas().zip(&self.keys);
        let mut changes: Vec<KeyChange> = all.flat_map(of).collect();
        changes.sort_unstable();
        changes
    }

    /// The context in which the keys sign.
    pub fn context(&self) -> Context {
        self.context
    }

    /// The sizes of the group.
    pub fn ensemble(&self) -> Ensemble {
        self.ensemble
    }

    /// The last key of a replica of the roster.
    pub fn key(&self, replica: ReplicaId) -> Option<&PublicKey> {
        self.keys.get(replica.index())?.last().map(|t| &t.key)
    }

    /// The key that a replica signs with in the epochs of a generation.
    pub fn key_at(&self, replica: ReplicaId, generation: u32) -> Option<&PublicKey> {
        self.at(replica, generation).map(|t| &t.key)
    }

    /// Whether a replica has or had this key, or is getting it.
    pub fn had(&self, replica: ReplicaId, key: &PublicKey) -> bool {
        self.keys.get(replica.index()).is_some_and(|keys| keys.iter().any(|t| t.key == *key))
    }

    /// Replicas that have no key in this generation, since theirs is being replaced.
    pub fn keyless(&self, generation: u32) -> Members {
        self.ensemble.replicas().filter(|r| self.at(*r, generation).is_none()).collect()
    }

    fn at(&self, replica: ReplicaId, generation: u32) -> Option<&Tenure<S>> {
        let keys = self.keys.get(replica.index())?;
        let next = keys.partition_point(|t| t.from <= generation);
        let leaving = keys.get(next).is_some_and(|t| t.from - 1 == generation);
        keys.get(next.checked_sub(1)?).filter(|_| !leaving)
    }

    /// Checks a replica's signature over a digest with the key that it has in a generation.
    ///
    /// # Errors
    /// [`VerifyError`] names the signer.
    pub fn check(
        &self,
        signer: ReplicaId,
        generation: u32,
        digest: &Digest,
        signature: &Signature,
    ) -> Result<(), VerifyError> {
        if !self.ensemble.contains(signer) {
            return Err(VerifyError::UnknownSigner(signer));
        }
        let key = self.at(signer, generation).ok_or(VerifyError::NoKey(signer, generation))?;
        if S::verify(&key.verifier, digest, signature) {
            Ok(())
        } else {
            Err(VerifyError::BadSignature(signer))
        }
    }

    /// The hash that names a member list with its keys of a generation, so that a key that was
    /// replaced can never stand in for its successor. Whoever has no key counts with zeros.
    pub fn members_hash(&self, generation: u32, members: Members) -> Digest {
        let latest = || self.latest.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, known)) = latest().filter(|(g, m, _)| (*g, *m) == (generation, members))
        {
            return known;
        }
        let hash = self.hash_members(generation, members);
        *latest() = Some((generation, members, hash));
        hash
    }

    fn hash_members(&self, generation: u32, members: Members) -> Digest {
        let mut h = Hasher::new(Domain::Members);
        h.put(&members.bits().to_le_bytes());
        for member in members.iter().filter(|m| self.ensemble.contains(*m)) {
            h.put(&self.key_at(member, generation).map_or([0; 32], |key| key.0));
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
            .put(&self.members_hash(epoch.generation, members).0)
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
    /// The signer has no key in this generation: it is being replaced.
    #[error("{0} has no key in generation {1}")]
    NoKey(ReplicaId, u32),
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
        let generation = self.message.epoch().generation;
        keyring.check(signer, generation, &digest, &self.signature).map(|()| digest)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Ed25519, SecretKey};

    fn secret(n: u8) -> SecretKey {
        SecretKey::from_seed([n; 32])
    }

    fn keyring() -> Keyring<Ed25519> {
        let context = Context { cluster: Digest([9; 32]), group: GroupId::MAIN };
        let keys = (1..=3).map(|n| secret(n).public()).collect();
        Keyring::new(context, Ensemble::new(1).unwrap(), keys).unwrap()
    }

    /// M3: no signature ever counts under two keys of one replica.
    #[test]
    fn a_generation_decides_which_key_counts() {
        let (mut ring, r3, digest) = (keyring(), ReplicaId::from_index(2), Digest([7; 32]));
        let change = KeyChange { out: 5, replica: r3, key: secret(9).public() };
        assert_eq!((ring.replace(change), ring.replace(change)), (Ok(true), Ok(false)));
        assert_eq!(ring.changes(), [change]);
        let by = |n| Ed25519::sign(&Ed25519::signer(&secret(n)), &digest);
        let verdict = |n, generation| ring.check(r3, generation, &digest, &by(n));
        for generation in [0, 4] {
            assert_eq!(verdict(3, generation), Ok(()));
            assert_eq!(verdict(9, generation), Err(VerifyError::BadSignature(r3)));
            assert!(ring.keyless(generation).is_empty());
        }
        for n in [3, 9] {
            assert_eq!(verdict(n, 5), Err(VerifyError::NoKey(r3, 5)));
        }
        assert_eq!(ring.keyless(5), [r3].into_iter().collect());
        for generation in [6, u32::MAX] {
            assert_eq!(verdict(9, generation), Ok(()));
            assert_eq!(verdict(3, generation), Err(VerifyError::BadSignature(r3)));
        }
        let all = ring.ensemble().all();
        let hashes = [4, 5, 6].map(|generation| ring.members_hash(generation, all));
        assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
        let others = all.minus([r3].into_iter().collect());
        assert_eq!(ring.members_hash(4, others), ring.members_hash(5, others));
        assert_eq!(ring.key(r3), Some(&secret(9).public()));
        assert!(ring.had(r3, &secret(3).public()) && !ring.had(r3, &secret(1).public()));
    }

    #[test]
    fn a_key_that_is_none_or_a_change_before_all_is_not_taken() {
        let mut ring = keyring();
        let r3 = ReplicaId::from_index(2);
        let weak = KeyChange { out: 5, replica: r3, key: PublicKey([0; 32]) };
        assert!(ring.replace(weak).is_err());
        let early = KeyChange { out: 0, replica: r3, key: secret(9).public() };
        assert_eq!(ring.replace(early), Ok(false));
        let late = KeyChange { out: u32::MAX, ..early };
        assert_eq!(ring.replace(late), Ok(false));
        assert!(ring.changes().is_empty());
    }
}
