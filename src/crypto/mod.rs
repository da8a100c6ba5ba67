//! Digests, signatures, keys: everything that makes a byte string mean one thing only.
//!
//! - Every hash is taken under a [`Domain`]: bytes hashed as one kind of thing never collide with
//!   the same bytes hashed as another.
//! - [`Unverified<T>`] is what comes from the network, [`Verified<T>`] is what a core accepts;
//!   [`Unverified::verify`] is the only way from one to the other.
//! - [`Scheme`] is the one type parameter of the system: [`Ed25519`] in daemons and part of the
//!   simulations, [`Keyed`] (a keyed hash that simulated liars cannot forge either) in the rest.
//! - Verification is strict and single everywhere; never batched, since batch verification of
//!   ed25519 can give another verdict for crafted signatures.

mod hash;
mod merkle;
mod multiset;
pub mod pem;
mod scheme;
mod trust;

pub use hash::{Domain, Hasher, hash, sha256};
pub use merkle::{Leaf, MerklePath, MerkleTree, running_root};
pub use multiset::MultisetHash;
pub use pem::PemError;
pub use scheme::{Ed25519, KeyError, Keyed, PublicKey, Scheme, SecretKey, Signature};
pub use trust::{Context, KeyChange, Keyring, Signable, Unverified, Verified, VerifyError};
