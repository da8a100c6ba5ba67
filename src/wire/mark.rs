//! The one record on disk so far: this disk belongs to a cluster (docs/protocol.md §7).

use super::{DecodeError, Reader, Writer};
use crate::crypto::{Domain, hash};
use crate::types::{Digest, ReplicaId};

const MAGIC: &[u8; 8] = b"QUORATE1";

/// Says whose disk this is, and how often a replica started on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The cluster.
    pub cluster: Digest,
    /// The replica.
    pub replica: ReplicaId,
    /// Starts so far, from 1.
    pub incarnation: u64,
}

impl Mark {
    /// The file's bytes: magic, fields, and a digest over both.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(MAGIC).digest(&self.cluster).replica(self.replica).u64(self.incarnation);
        let mut bytes = out.into_bytes();
        bytes.extend_from_slice(&hash(Domain::State, &bytes).0);
        bytes
    }

    /// Reads a mark.
    ///
    /// # Errors
    /// If the bytes are not a whole and undamaged mark.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.raw(MAGIC.len(), "magic")? != MAGIC {
            return Err(r.error("not a quorate mark"));
        }
        let cluster = r.digest("cluster")?;
        let replica = r.replica("replica")?;
        let incarnation = r.u64("incarnation")?;
        let expected = hash(Domain::State, r.since(0));
        if r.digest("checksum")? != expected {
            return Err(r.error("checksum"));
        }
        r.finish()?;
        Ok(Self { cluster, replica, incarnation })
    }
}
