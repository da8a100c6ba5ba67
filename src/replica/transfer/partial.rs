//! A snapshot of which some pieces have come, from one source or several that offer the same.

use super::proof::Proof;
use crate::types::plant::planted;
use crate::types::{Digest, Members, ReplicaId, Round};
use crate::wire::{Piece, SnapshotShape};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What a source says that there is. Sources with equal claims give pieces of one whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The checkpoint's round, and the state digest that `t + 1` replicas attest there.
    pub(super) round: Round,
    pub(super) state: Digest,
    pub(super) shape: SnapshotShape,
    /// The digests of the pages of the list of chunks.
    pub(super) pages: Vec<Digest>,
}

impl Claim {
    /// Whether it is another list of the same state: one of the two is a lie.
    pub(super) fn contradicts(&self, other: &Claim) -> bool {
        (self.round, self.state) == (other.round, other.state) && self != other
    }
}

/// A snapshot on its way. What is in it fits its claim.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) claim: Claim,
    pub(super) proof: Proof,
    /// Who gave pieces that are in it.
    pub(super) givers: Members,
    /// Who made this claim at any time.
    pub(super) claimants: Members,
    pages: BTreeMap<u32, Vec<Digest>>,
    chunks: BTreeMap<u32, Bytes>,
    /// Bytes of the chunks that came.
    came: u64,
    /// What nobody owes: pages, and chunks of pages that are there.
    open: BTreeSet<Piece>,
}

impl Partial {
    pub(super) fn new(claim: Claim, proof: Proof) -> Self {
        let open = (0..claim.shape.pages()).map(Piece::Page).collect();
        let (givers, claimants) = (Members::NONE, Members::NONE);
        let (pages, chunks) = (BTreeMap::new(), BTreeMap::new());
        Self { claim, proof, givers, claimants, pages, chunks, came: 0, open }
    }

    /// Bytes of the snapshot that have come.
    pub(super) fn came(&self) -> u64 {
        self.came
    }

    /// Whether all of it has come.
    pub(super) fn is_whole(&self) -> bool {
        self.came == self.claim.shape.total()
    }

    /// The next piece to ask for.
    pub(super) fn next(&mut self) -> Option<Piece> {
        self.open.pop_first()
    }

    /// A piece will not come from whom it was asked.
    pub(super) fn put_back(&mut self, piece: Piece) {
        self.open.insert(piece);
    }

    /// Takes in a piece that was asked for.
    ///
    /// # Errors
    /// If it is not what its source said that it would be.
    pub(super) fn add(
        &mut self,
        from: ReplicaId,
        piece: Piece,
        bytes: &Bytes,
    ) -> Result<(), &'static str> {
        match piece {
            Piece::Offer => return Err("it gave an offer as a piece"),
            Piece::Page(number) => self.add_page(number, bytes)?,
            Piece::Chunk(number) => self.add_chunk(number, bytes)?,
        }
        self.givers.insert(from);
        Ok(())
    }

    fn add_page(&mut self, number: u32, bytes: &[u8]) -> Result<(), &'static str> {
        let chunks = self.claim.shape.chunks_of(number);
        let promised = self.claim.pages.get(number as usize);
        let fits = promised == Some(&SnapshotShape::page_digest(bytes));
        if !fits || bytes.len() != chunks.len() * 32 {
            return Err("it gave a list of chunks that does not match its own offer");
        }
        let digests = bytes.chunks_exact(32).map(|d| Digest(d.try_into().expect("32 bytes")));
        self.pages.insert(number, digests.collect());
        self.open.extend(chunks.map(Piece::Chunk));
        Ok(())
    }

    fn add_chunk(&mut self, number: u32, bytes: &Bytes) -> Result<(), &'static str> {
        let range = self.claim.shape.bytes_of(number);
        let (page, place) = SnapshotShape::place(number);
        let promised = self.pages.get(&page).and_then(|page| page.get(place));
        let fits = promised == Some(&SnapshotShape::chunk_digest(bytes));
        let length = bytes.len() as u64;
        if length != range.end - range.start || !(fits || planted("s7-chunk-unchecked")) {
            return Err("it gave a chunk that does not match its own list");
        }
        self.came += length;
        self.chunks.insert(number, bytes.clone());
        Ok(())
    }

    /// The bytes, once all have come.
    pub(super) fn take_bytes(&mut self) -> Bytes {
        // Bounded by what has come.
        let mut whole = Vec::with_capacity(self.came as usize);
        while let Some((_, chunk)) = self.chunks.pop_first() {
            whole.extend_from_slice(&chunk);
        }
        whole.into()
    }
}
