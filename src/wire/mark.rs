//! The mark on disk: whose it is, and what is known on it (docs/protocol.md §7).

use super::{DecodeError, Reader, Writer};
use crate::crypto::{Domain, hash};
use crate::types::{Digest, DiskState, ReplicaId};

const MAGIC: &[u8; 8] = b"QUORATE2";
/// As it was before disks could be replaced: without the state, which was always
/// [`DiskState::Known`].
const MAGIC_1: &[u8; 8] = b"QUORATE1";

/// Says whose disk this is, and how often a replica started on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The cluster.
    pub cluster: Digest,
    /// The replica.
    pub replica: ReplicaId,
    /// Starts so far, from 1.
    pub incarnation: u64,
    /// What it holds of what the replica has signed.
    pub disk: DiskState,
}

impl Mark {
    /// The file's bytes: magic, fields, and a digest over both.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(MAGIC).digest(&self.cluster).replica(self.replica).u64(self.incarnation);
        out.u8(match self.disk {
            DiskState::New => 0,
            DiskState::Known => 1,
            DiskState::Replaced => 2,
        });
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
        let magic = r.raw(MAGIC.len(), "magic")?;
        if magic != MAGIC && magic != MAGIC_1 {
            return Err(r.error("not a quorate mark"));
        }
        let has_state = magic == MAGIC;
        let cluster = r.digest("cluster")?;
        let replica = r.replica("replica")?;
        let incarnation = r.u64("incarnation")?;
        let disk = match has_state.then(|| r.u8("disk state")).transpose()? {
            Some(0) => DiskState::New,
            None | Some(1) => DiskState::Known,
            Some(2) => DiskState::Replaced,
            Some(_) => return Err(r.error("disk state")),
        };
        let expected = hash(Domain::State, r.since(0));
        if r.digest("checksum")? != expected {
            return Err(r.error("checksum"));
        }
        r.finish()?;
        Ok(Self { cluster, replica, incarnation, disk })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_of_before_disks_could_be_replaced_is_of_one_that_is_known() {
        let (cluster, replica) = (Digest([7; 32]), ReplicaId::from_index(2));
        let mut out = Writer::new();
        out.raw(MAGIC_1).digest(&cluster).replica(replica).u64(5);
        let mut bytes = out.into_bytes();
        bytes.extend_from_slice(&hash(Domain::State, &bytes).0);
        let read = Mark::parse(&bytes).unwrap();
        assert_eq!(read, Mark { cluster, replica, incarnation: 5, disk: DiskState::Known });
    }

    #[test]
    fn a_state_that_is_none_is_refused() {
        for (number, fits) in [(0, true), (1, true), (2, true), (3, false), (255, false)] {
            let mut out = Writer::new();
            out.raw(MAGIC).digest(&Digest([7; 32])).replica(ReplicaId::from_index(2)).u64(5);
            out.u8(number);
            let mut bytes = out.into_bytes();
            bytes.extend_from_slice(&hash(Domain::State, &bytes).0);
            assert_eq!(Mark::parse(&bytes).is_ok(), fits, "{number}");
        }
    }
}
