//! Signature schemes and keys.

use super::{Domain, Hasher};
use crate::types::Digest;
use aws_lc_rs::signature::Ed25519KeyPair;
use curve25519_dalek::constants::EIGHT_TORSION;
use ed25519_dalek::{SigningKey, Verifier as _, VerifyingKey};
use std::fmt;
use std::sync::LazyLock;
use zeroize::{Zeroize, Zeroizing};

/// An ed25519 public key, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Short name of the key for people: the first eight bytes of its hash in hexadecimal.
    pub fn fingerprint(&self) -> String {
        super::hash(Domain::Fingerprint, &self.0).to_string()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}", self.fingerprint())
    }
}

/// A signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sig {:02x}{:02x}..", self.0[0], self.0[1])
    }
}

/// A private key's 32-byte seed; wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// Takes over a seed.
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let key = Self(Zeroizing::new(seed));
        seed.zeroize();
        key
    }

    /// The seed, for key files and TLS set-up.
    pub fn seed(&self) -> &[u8; 32] {
        &self.0
    }

    /// The ed25519 public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        PublicKey(SigningKey::from_bytes(&self.0).verifying_key().to_bytes())
    }

    /// A secret for another purpose that the key owner can always derive again.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut h = Hasher::new(Domain::Derive);
        h.put(&self.0[..]).put_var(purpose.as_bytes());
        h.finish().0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public().fingerprint())
    }
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a point of the curve.
    #[error("these 32 bytes are not an ed25519 public key (not a point of the curve)")]
    NotAPoint,
    /// Another encoding of a point than the one that everybody else writes.
    #[error("this ed25519 public key is not in its canonical encoding")]
    NotCanonical,
    /// A key of small order, for which everybody can make signatures.
    #[error("this ed25519 public key is weak (of small order): anybody could sign for it")]
    Weak,
}

/// How statements are signed and checked. Statements are 32-byte digests, never whole messages.
pub trait Scheme: Clone + fmt::Debug + Send + 'static {
    /// A key ready for signing.
    type Signer: Send;
    /// A public key ready for checking: prepared once, used for every message.
    type Verifier: Clone + Send + Sync;

    /// Prepares a private key.
    fn signer(secret: &SecretKey) -> Self::Signer;

    /// The public key of a prepared private key.
    fn public(signer: &Self::Signer) -> PublicKey;

    /// Prepares a public key.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with the key.
    fn verifier(public: &PublicKey) -> Result<Self::Verifier, KeyError>;

    /// Signs a digest.
    fn sign(signer: &Self::Signer, digest: &Digest) -> Signature;

    /// Whether this is the signature of that key over this digest. Strict.
    fn verify(verifier: &Self::Verifier, digest: &Digest, signature: &Signature) -> bool;
}

/// Ed25519 with strict verification (RFC 8032; small-order keys and non-canonical parts refused).
///
/// Signing is AWS-LC's, which takes about half as long as dalek's and makes the same bytes: a
/// signature of ed25519 is a function of key and message. Checking is dalek's, which takes about
/// three fifths of AWS-LC's time with AVX-512 (`docs/adr/0025-signing-and-checking.md`).
#[derive(Clone, Debug)]
pub struct Ed25519;

/// A private key ready for signing, wiped from memory when dropped.
pub struct Ed25519Signer {
    public: PublicKey,
    pair: Ed25519KeyPair,
}

/// A public key ready for checking, which is not of small order: only [`Scheme::verifier`] makes
/// one, so what [`VerifyingKey::verify_strict`] asks of a key has been asked once and for all.
#[derive(Clone, Debug)]
pub struct Ed25519Verifier(VerifyingKey);

/// The eight points of small order as they are written.
static SMALL_ORDER: LazyLock<[[u8; 32]; 8]> =
    LazyLock::new(|| EIGHT_TORSION.map(|point| point.compress().to_bytes()));

impl Scheme for Ed25519 {
    type Signer = Ed25519Signer;
    type Verifier = Ed25519Verifier;

    fn signer(secret: &SecretKey) -> Ed25519Signer {
        let pair = Ed25519KeyPair::from_seed_unchecked(secret.seed());
        Ed25519Signer { public: secret.public(), pair: pair.expect("any 32 bytes are a seed") }
    }

    fn public(signer: &Ed25519Signer) -> PublicKey {
        signer.public
    }

    fn verifier(public: &PublicKey) -> Result<Ed25519Verifier, KeyError> {
        let key = VerifyingKey::from_bytes(&public.0).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        if key.to_edwards().compress().to_bytes() != public.0 {
            return Err(KeyError::NotCanonical);
        }
        Ok(Ed25519Verifier(key))
    }

    fn sign(signer: &Ed25519Signer, digest: &Digest) -> Signature {
        let signature = signer.pair.sign(&digest.0);
        Signature(signature.as_ref().try_into().expect("signatures of ed25519 have 64 bytes"))
    }

    /// The verdict of [`VerifyingKey::verify_strict`], without its square root for the signature's
    /// first half R: `verify` succeeds only if R is, byte for byte, what the point that it reckons
    /// is written as. So R is a point in its canonical encoding, and of small order only if it is
    /// one of eight strings.
    #[expect(clippy::disallowed_methods, reason = "here it is made strict")]
    fn verify(verifier: &Ed25519Verifier, digest: &Digest, signature: &Signature) -> bool {
        if SMALL_ORDER.iter().any(|point| signature.0[..32] == point[..]) {
            return false;
        }
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        verifier.0.verify(&digest.0, &signature).is_ok()
    }
}

/// A keyed hash in place of a signature, for simulations: a hundred times cheaper.
///
/// The "public key" is what the keyring lists; the signing secret is derived from it under a salt
/// that only this module knows, so that code which is handed no [`Keyed::Signer`] of a replica
/// cannot make a statement of that replica, just as with real keys. It proves nothing to anybody
/// outside of the process.
#[derive(Clone, Debug)]
pub struct Keyed;

/// An odd number without a pattern.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// A signing key of [`Keyed`].
#[derive(Clone)]
pub struct KeyedSigner {
    public: PublicKey,
    secret: Digest,
}

impl Keyed {
    fn secret_of(public: &PublicKey) -> Digest {
        let mut h = Hasher::new(Domain::Derive);
        h.put(b"simulated secret").put(&public.0);
        h.finish()
    }

    fn tag(secret: &Digest, digest: &Digest) -> Signature {
        // Nobody in a simulation looks for collisions: a few multiplications stand for a hash.
        let word = |bytes: &[u8; 32], i: usize| {
            let eight = bytes[8 * i..8 * i + 8].try_into().expect("eight bytes");
            u64::from_le_bytes(eight)
        };
        let mut lanes: [u64; 4] = std::array::from_fn(|i| word(&secret.0, i));
        for round in 0..8 {
            for lane in 0..4 {
                let (left, right) = (lanes[(lane + 3) % 4], lanes[(lane + 1) % 4]);
                let fresh = if round == 0 { word(&digest.0, lane) } else { right };
                let mixed = (lanes[lane] ^ fresh).wrapping_mul(MIX).rotate_left(29);
                lanes[lane] = mixed.wrapping_add(left);
            }
        }
        let mut out = [0; 64];
        for (place, lane) in out.chunks_exact_mut(8).zip(lanes) {
            place.copy_from_slice(&lane.to_le_bytes());
        }
        Signature(out)
    }
}

impl Scheme for Keyed {
    type Signer = KeyedSigner;
    type Verifier = Digest;

    fn signer(secret: &SecretKey) -> KeyedSigner {
        let public = PublicKey(super::hash(Domain::Derive, secret.seed()).0);
        KeyedSigner { public, secret: Self::secret_of(&public) }
    }

    fn public(signer: &KeyedSigner) -> PublicKey {
        signer.public
    }

    fn verifier(public: &PublicKey) -> Result<Digest, KeyError> {
        Ok(Self::secret_of(public))
    }

    fn sign(signer: &KeyedSigner, digest: &Digest) -> Signature {
        Self::tag(&signer.secret, digest)
    }

    fn verify(verifier: &Digest, digest: &Digest, signature: &Signature) -> bool {
        Self::tag(verifier, digest) == *signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::scalar::{Scalar, clamp_integer};
    use ed25519_dalek::Signer as _;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha512};

    fn signs_and_refuses<S: Scheme>() {
        let one = S::signer(&SecretKey::from_seed([1; 32]));
        let two = S::signer(&SecretKey::from_seed([2; 32]));
        let (a, b) = (Digest([7; 32]), Digest([8; 32]));
        let signature = S::sign(&one, &a);
        let verifier = S::verifier(&S::public(&one)).unwrap();
        assert!(S::verify(&verifier, &a, &signature));
        assert!(!S::verify(&verifier, &b, &signature));
        assert!(!S::verify(&S::verifier(&S::public(&two)).unwrap(), &a, &signature));
        for byte in 0..64 {
            let mut bad = signature;
            bad.0[byte] ^= 1;
            assert!(!S::verify(&verifier, &a, &bad), "byte {byte}");
        }
    }

    #[test]
    fn both_schemes_sign_and_refuse() {
        signs_and_refuses::<Ed25519>();
        signs_and_refuses::<Keyed>();
    }

    /// B13: adding the group order to `s` gives a second signature for sloppy verifiers.
    #[test]
    fn a_malleated_signature_is_refused() {
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let key = SecretKey::from_seed([1; 32]);
        let digest = Digest([7; 32]);
        let mut s = Ed25519::sign(&Ed25519::signer(&key), &digest);
        let mut carry = 0u16;
        for (i, o) in ORDER.iter().enumerate() {
            let sum = u16::from(s.0[32 + i]) + u16::from(*o) + carry;
            s.0[32 + i] = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        assert!(!Ed25519::verify(&Ed25519::verifier(&key.public()).unwrap(), &digest, &s));
    }

    /// A key, a digest and a signature, of which each may be nonsense.
    fn verdicts(public: &PublicKey, digest: &Digest, signature: &Signature) -> (bool, bool) {
        let ours = Ed25519::verifier(public);
        let ours = ours.is_ok_and(|key| Ed25519::verify(&key, digest, signature));
        let Ok(key) = VerifyingKey::from_bytes(&public.0) else { return (ours, false) };
        let parsed = ed25519_dalek::Signature::from_bytes(&signature.0);
        (ours, key.verify_strict(&digest.0, &parsed).is_ok())
    }

    /// B13: who has the key can make signatures whose R is of small order, by `s = k a`. Sloppy
    /// verifiers take the one with the neutral element; a strict one does not.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "shows what being strict is about")]
    fn a_signature_with_a_point_of_small_order_is_refused() {
        let key = SecretKey::from_seed([1; 32]);
        let (public, digest) = (key.public(), Digest([7; 32]));
        let half = *Sha512::digest(key.seed()).first_chunk().expect("64 bytes");
        let a = Scalar::from_bytes_mod_order(clamp_integer(half));
        let mut taken_by_the_sloppy = 0;
        for r in *SMALL_ORDER {
            let hash = Sha512::new_with_prefix(r).chain_update(public.0).chain_update(digest.0);
            let s = Scalar::from_bytes_mod_order_wide(&hash.finalize().into()) * a;
            let mut signature = Signature([0; 64]);
            signature.0[..32].copy_from_slice(&r);
            signature.0[32..].copy_from_slice(s.as_bytes());
            let parsed = ed25519_dalek::Signature::from_bytes(&signature.0);
            let sloppy = VerifyingKey::from_bytes(&public.0).unwrap();
            taken_by_the_sloppy += usize::from(sloppy.verify(&digest.0, &parsed).is_ok());
            assert_eq!(verdicts(&public, &digest, &signature), (false, false), "{r:?}");
        }
        assert_eq!(taken_by_the_sloppy, 1);
    }

    proptest! {
        /// Dalek signs what AWS-LC signs, to the byte, and one judges as the other does, also what
        /// somebody changed.
        #[test]
        fn ours_is_what_others_make_and_take(
            seed: [u8; 32], digest: [u8; 32], place in 0..128usize, change in 0..=255u8,
        ) {
            let (key, mut digest) = (SecretKey::from_seed(seed), Digest(digest));
            let mut public = key.public();
            let mut signature = Ed25519::sign(&Ed25519::signer(&key), &digest);
            let theirs = SigningKey::from_bytes(&seed).sign(&digest.0);
            prop_assert_eq!(signature.0, theirs.to_bytes());
            prop_assert_eq!(verdicts(&public, &digest, &signature), (true, true));
            match place {
                0..64 => signature.0[place] ^= change,
                64..96 => public.0[place - 64] ^= change,
                _ => digest.0[place - 96] ^= change,
            }
            let same = change == 0;
            prop_assert_eq!(verdicts(&public, &digest, &signature), (same, same));
        }
    }

    /// B13, B27: the neutral element and other small-order points; half of all strings are none.
    #[test]
    fn weak_and_impossible_keys_are_refused() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(Ed25519::verifier(&PublicKey(neutral)).unwrap_err(), KeyError::Weak);
        let refused = (0..=255u8).filter(|b| Ed25519::verifier(&PublicKey([*b; 32])).is_err());
        assert!(refused.count() > 64);
    }

    #[test]
    fn a_secret_is_never_printed() {
        let shown = format!("{:?}", SecretKey::from_seed([0x41; 32]));
        assert!(!shown.contains("41414141") && !shown.contains("65, 65"), "{shown}");
    }
}
