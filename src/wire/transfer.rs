//! Catching up: the history since a round, and a whole snapshot in parts. Nothing here is signed;
//! what is given in answer proves itself, proposals by their signatures and a snapshot by the
//! checkpoint that `t + 1` signers attest.

use super::layout::{get_list, put_list};
use super::{DecodeError, Header, Kind, Message, Reader, Writer};
use crate::crypto::Unverified;
use crate::types::Round;
use bytes::Bytes;

/// Asks for the committed vectors after a round, and for the openings between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantHistory {
    /// The last round that the asker has committed.
    pub after: Round,
}

impl Message for WantHistory {
    const KIND: Kind = Kind::WantHistory;

    fn encode(&self, out: &mut Writer) {
        out.round(self.after);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { after: r.round("history after")? })
    }
}

/// Answers a [`WantHistory`] that goes back further than what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The round of the snapshot from which on there is history; 0 if there is no snapshot.
    pub snapshot: Round,
}

impl Message for Gone {
    const KIND: Kind = Kind::Gone;

    fn encode(&self, out: &mut Writer) {
        out.round(self.snapshot);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { snapshot: r.round("round of the snapshot")? })
    }
}

/// Asks for a part of a snapshot. The answer is one [`SnapshotPart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantSnapshot {
    /// The checkpoint's round; 0: of the newest that is attested.
    pub round: Round,
    /// From which byte on.
    pub offset: u64,
}

impl Message for WantSnapshot {
    const KIND: Kind = Kind::WantSnapshot;

    fn encode(&self, out: &mut Writer) {
        out.round(self.round).u64(self.offset);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let round = r.round("round of the snapshot")?;
        Ok(Self { round, offset: r.u64("offset in the snapshot")? })
    }
}

/// A part of a snapshot, or the word that there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPart {
    /// The checkpoint's round; 0: the sender has no such snapshot, and nothing else is set.
    pub round: Round,
    /// Bytes of the whole snapshot.
    pub total: u64,
    /// Where this part stands in it.
    pub offset: u64,
    /// In the first part only: signed headers, at most 31, that attest the checkpoint.
    pub manifest: Option<Vec<Unverified<Header>>>,
    /// The part, at most [`SnapshotPart::MAX`] bytes.
    pub bytes: Bytes,
}

const MAX_PART: usize = 256 * 1024;
const MAX_MANIFEST: usize = 31;

impl SnapshotPart {
    /// Bytes of a snapshot in one part at most: 256 KiB.
    pub const MAX: usize = MAX_PART;

    /// The answer of whoever has no such snapshot.
    pub fn none() -> Self {
        Self { round: Round(0), total: 0, offset: 0, manifest: None, bytes: Bytes::new() }
    }
}

impl Message for SnapshotPart {
    const KIND: Kind = Kind::SnapshotPart;

    fn encode(&self, out: &mut Writer) {
        out.round(self.round).u64(self.total).u64(self.offset).bool(self.manifest.is_some());
        if let Some(manifest) = &self.manifest {
            put_list(manifest, out);
        }
        out.var(&self.bytes);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let round = r.round("round of the snapshot")?;
        let total = r.u64("bytes of the snapshot")?;
        let offset = r.u64("offset in the snapshot")?;
        let manifest = if r.bool("flag of the manifest")? {
            Some(get_list(r, MAX_MANIFEST, "headers of the manifest")?)
        } else {
            None
        };
        let bytes = Bytes::copy_from_slice(r.var(MAX_PART, "part of the snapshot")?);
        let part = Self { round, total, offset, manifest, bytes };
        if round == Round(0) && part != Self::none() {
            return Err(r.error("a part of no snapshot"));
        }
        Ok(part)
    }
}
