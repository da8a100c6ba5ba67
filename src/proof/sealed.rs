//! What all files that people keep begin and end with: a magic and a version in front, cluster and
//! group behind them, and at the end a digest over all.

use crate::crypto::{Domain, hash};
use crate::types::{Digest, GroupId};
use crate::wire::{DecodeError, Reader, Writer};

/// A kind of such files.
pub(super) struct Sealed {
    pub magic: &'static [u8; 8],
    pub version: u16,
    /// Of the digest.
    pub domain: Domain,
    /// Bytes at most, and what is said of more.
    pub most: (usize, &'static str),
    /// What is said of other files.
    pub other: &'static str,
}

impl Sealed {
    /// The bytes of a file of this group.
    pub fn write(
        &self,
        (cluster, group): (&Digest, GroupId),
        content: impl FnOnce(&mut Writer),
    ) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(self.magic).u16(self.version).digest(cluster).u32(group.0);
        content(&mut out);
        let mut bytes = out.into_bytes();
        bytes.extend_from_slice(&hash(self.domain, &bytes).0);
        bytes
    }

    /// Reads a file: its cluster, its group, and what `content` reads.
    ///
    /// # Errors
    /// If it is not of this kind, not whole, or damaged: where, and what is wrong.
    pub fn read<T>(
        &self,
        bytes: &[u8],
        content: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<(Digest, GroupId, T), DecodeError> {
        let mut r = Reader::new(bytes);
        let (most, too_large) = self.most;
        if bytes.len() > most {
            return Err(r.error(too_large));
        }
        if r.raw(self.magic.len(), "magic")? != self.magic {
            return Err(r.error(self.other));
        }
        if r.u16("version")? != self.version {
            return Err(r.error("a version that this program does not know"));
        }
        let cluster = r.digest("cluster")?;
        let group = GroupId(r.u32("group")?);
        let content = content(&mut r)?;
        let expected = hash(self.domain, r.since(0));
        if r.digest("checksum")? != expected {
            return Err(r.error("checksum"));
        }
        r.finish()?;
        Ok((cluster, group, content))
    }
}
