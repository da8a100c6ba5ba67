//! A snapshot with its attestations as one file.
//!
//! | at | bytes | |
//! | --- | --- | --- |
//! | 0 | 8 | `QUORBACK` |
//! | 8 | 4 | version of the format, 1 |
//! | 12 | 32 | the cluster |
//! | 44 | 4 | length of the attestations |
//! | 48 | | attestations: headers of proposals, as before a snapshot on disk |
//! | | 8 | length of the state |
//! | | | state: ordering, sessions, service |
//! | | 32 | digest of all before |

use crate::crypto::{Domain, Hasher, hash};
use crate::service::{Carried, CarriedError};
use crate::types::Digest;
use crate::wire::{Reader, Writer};
use bytes::Bytes;

const MAGIC: &[u8; 8] = b"QUORBACK";
const VERSION: u32 = 1;
/// Bytes of the digest at the end.
const END: usize = 32;

/// The file as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The cluster whose state it is.
    pub cluster: Digest,
    /// What attests the state.
    pub head: Bytes,
    /// The state.
    pub state: Bytes,
}

/// What a cluster begins with, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitialState {
    /// The state of its service.
    Service(Bytes),
    /// A state that goes over from another fault model, with the sessions: [`Carried`].
    Carried(Bytes),
}

/// Why bytes are no backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// They do not begin like one.
    #[error("it is no backup: give a file that `quorate snapshot save` has made")]
    Other,
    /// They are of a version that this program does not know.
    #[error("it has version {0} of the format: use the program that wrote it")]
    Version(u32),
    /// They are not what was written: something is missing, changed or added.
    #[error("it is damaged (byte {at}: {what}): take another copy of it")]
    Damaged {
        /// Which part.
        what: &'static str,
        /// Where, in bytes.
        at: usize,
    },
}

impl InitialState {
    /// The one of these bytes that has this digest. Which of the two it is shows by that alone.
    pub fn named(bytes: Bytes, digest: &Digest) -> Option<Self> {
        let both = [Self::Service(bytes.clone()), Self::Carried(bytes)];
        both.into_iter().find(|state| state.digest() == *digest)
    }

    /// Its digest, as a cluster file names it.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Service(bytes) => hash(Domain::Initial, bytes),
            Self::Carried(bytes) => Carried::digest(bytes),
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Service(bytes) | Self::Carried(bytes) => bytes,
        }
    }

    /// The state of the service in it, and what goes with that.
    ///
    /// # Errors
    /// If it is to be a carried state and is none.
    pub fn parts(&self) -> Result<(Bytes, Option<Carried>), CarriedError> {
        match self {
            Self::Service(bytes) => Ok((bytes.clone(), None)),
            Self::Carried(bytes) => {
                let carried = Carried::parse(bytes)?;
                Ok((carried.service.clone(), Some(carried)))
            }
        }
    }
}

impl Backup {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(MAGIC).u32(VERSION).digest(&self.cluster).var(&self.head);
        out.u64(self.state.len() as u64).raw(&self.state);
        let mut bytes = out.into_bytes();
        let end = end(&bytes);
        bytes.extend_from_slice(&end.0);
        bytes
    }

    /// Reads a file; head and state share its memory.
    ///
    /// # Errors
    /// If it is none, or not as it was written.
    pub fn parse(bytes: &Bytes) -> Result<Self, BackupError> {
        let mut r = Reader::new(bytes);
        if r.raw(MAGIC.len(), "magic") != Ok(MAGIC) {
            return Err(BackupError::Other);
        }
        let damaged = |e: crate::wire::DecodeError| BackupError::Damaged { what: e.what, at: e.at };
        let version = r.u32("version").map_err(damaged)?;
        if version != VERSION {
            return Err(BackupError::Version(version));
        }
        let content = bytes.len().saturating_sub(END);
        let (before, digest) = bytes.split_at(content);
        if end(before).0 != digest {
            let (what, at) = ("the digest at its end does not fit", content);
            return Err(BackupError::Damaged { what, at });
        }
        let cluster = r.digest("cluster").map_err(damaged)?;
        let head = r.var(content, "attestations").map_err(damaged)?;
        let length = r.u64("length of the state").map_err(damaged)?;
        let state = usize::try_from(length).ok().and_then(|length| r.raw(length, "state").ok());
        let state = state.ok_or_else(|| damaged(r.error("state")))?;
        let (head, state) = (bytes.slice_ref(head), bytes.slice_ref(state));
        if r.place() != content {
            return Err(damaged(r.error("the end")));
        }
        Ok(Self { cluster, head, state })
    }
}

fn end(bytes: &[u8]) -> Digest {
    let mut h = Hasher::new(Domain::Snapshot);
    h.put(bytes);
    h.finish()
}
