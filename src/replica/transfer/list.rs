//! A snapshot's bytes, and the list of its chunks for whoever fetches it. Both take as long as the
//! state is large, so they are made together, beside the loop.

use super::FrozenState;
use crate::types::{Digest, Round};
use crate::wire::SnapshotShape;
use bytes::Bytes;

/// The digests of a snapshot's chunks, page by page as they are given away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkList {
    digests: Vec<Digest>,
    pages: Vec<Bytes>,
}

impl ChunkList {
    /// That of these bytes; none for what cannot be given away, since it is empty or larger than
    /// [`SnapshotShape::LARGEST`].
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let shape = SnapshotShape::new(bytes.len() as u64)?;
        let chunk = |number| {
            let range = shape.bytes_of(number);
            SnapshotShape::chunk_digest(&bytes[range.start as usize..range.end as usize]).0
        };
        let page = |number| -> Bytes { shape.chunks_of(number).flat_map(chunk).collect() };
        let pages: Vec<Bytes> = (0..shape.pages()).map(page).collect();
        let digests = pages.iter().map(|page| SnapshotShape::page_digest(page)).collect();
        Some(Self { digests, pages })
    }

    /// The digests of its pages.
    pub(super) fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// One of its pages: the digests of up to 8192 chunks.
    pub(super) fn page(&self, number: u32) -> Option<&Bytes> {
        self.pages.get(number as usize)
    }
}

/// A state whose bytes are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    state: FrozenState,
    /// Whether the list of chunks is wanted, too: the disk needs none.
    listed: bool,
}

impl Encoding {
    pub(super) fn new(state: FrozenState, listed: bool) -> Self {
        Self { state, listed }
    }

    /// The round of the state's checkpoint.
    pub fn round(&self) -> Round {
        self.state.round()
    }

    /// Makes what is wanted. Takes as long as the state is large.
    pub fn run(&self) -> Encoded {
        let bytes = self.state.to_bytes();
        let list = if self.listed { ChunkList::of(&bytes) } else { None };
        Encoded { bytes, list }
    }
}

/// What came of an [`Encoding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The state's bytes.
    pub bytes: Bytes,
    /// The list of their chunks, if it was wanted.
    pub list: Option<ChunkList>,
}
