//! Fetching a snapshot: what a source offers, and its pieces.
//!
//! A snapshot is one string of bytes, equal at all good replicas that attest its checkpoint. It is
//! cut into chunks; the digests of the chunks stand in pages, and an offer has the digests of the
//! pages. So each piece can be checked the moment it comes, against what its own source has said
//! before, and sources that offer the same can give pieces of one whole at the same time. That the
//! whole is right only the attested state can say. Nothing here is signed.

use super::layout::{get_list, put_list};
use super::{DecodeError, Header, Kind, Message, Reader, Writer};
use crate::crypto::{Domain, Hasher, Unverified};
use crate::types::{Digest, Round};
use bytes::Bytes;
use std::ops::Range;

const CHUNK: usize = 256 * 1024;
/// Digests in a page: a page is as long as a chunk then.
const PAGE: usize = CHUNK / 32;
/// Enough for the 1 TiB that a cluster file allows at most.
const MAX_PAGES: usize = 512;
const MAX_PROOF: usize = 31;

/// How a snapshot of a length is cut into chunks, and the list of these into pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotShape {
    /// Bytes of the snapshot, 1 to [`SnapshotShape::LARGEST`].
    total: u64,
}

impl SnapshotShape {
    /// Bytes of a snapshot at most: 1 TiB.
    pub const LARGEST: u64 = (CHUNK * PAGE * MAX_PAGES) as u64;

    /// That of a snapshot of so many bytes; none for an empty one and one above
    /// [`SnapshotShape::LARGEST`].
    pub fn new(total: u64) -> Option<Self> {
        (1..=Self::LARGEST).contains(&total).then_some(Self { total })
    }

    /// Bytes of the snapshot.
    pub fn total(self) -> u64 {
        self.total
    }

    /// How many chunks there are.
    pub fn chunks(self) -> u32 {
        Self::count(self.total, CHUNK)
    }

    /// How many pages there are.
    pub fn pages(self) -> u32 {
        Self::count(self.chunks().into(), PAGE)
    }

    fn count(of: u64, each: usize) -> u32 {
        u32::try_from(of.div_ceil(each as u64)).expect("1 TiB has 2^22 chunks")
    }

    /// The page that has a chunk's digest, and its place there.
    pub fn place(chunk: u32) -> (u32, usize) {
        (chunk / PAGE as u32, chunk as usize % PAGE)
    }

    /// The chunks whose digests a page has; none for a page that there is not.
    pub fn chunks_of(self, page: u32) -> Range<u32> {
        let end = |page: u32| page.saturating_mul(PAGE as u32).min(self.chunks());
        end(page)..end(page.saturating_add(1))
    }

    /// Which bytes of the snapshot a chunk has; none for a chunk that there is not.
    pub fn bytes_of(self, chunk: u32) -> Range<u64> {
        let end = |chunk: u64| (chunk * CHUNK as u64).min(self.total);
        end(chunk.into())..end(u64::from(chunk) + 1)
    }

    /// The digest of a chunk's bytes.
    pub fn chunk_digest(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(Domain::Chunk);
        hasher.put(bytes);
        hasher.finish()
    }

    /// The digest of a page's bytes.
    pub fn page_digest(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(Domain::Page);
        hasher.put(bytes);
        hasher.finish()
    }
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Piece {
    /// What a source has; the answer is a [`SnapshotOffer`].
    Offer,
    /// A page of the list of chunks, from 0; the answer is a [`SnapshotPart`].
    Page(u32),
    /// A chunk, from 0; the answer is a [`SnapshotPart`].
    Chunk(u32),
}

impl Piece {
    fn encode(self, out: &mut Writer) {
        match self {
            Piece::Offer => out.u8(0),
            Piece::Page(number) => out.u8(1).u32(number),
            Piece::Chunk(number) => out.u8(2).u32(number),
        };
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.u8("kind of a piece")? {
            0 => Ok(Piece::Offer),
            1 => Ok(Piece::Page(r.u32("number of a page")?)),
            2 => Ok(Piece::Chunk(r.u32("number of a chunk")?)),
            _ => Err(r.error("kind of a piece")),
        }
    }
}

/// Asks for a piece of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantSnapshot {
    /// The checkpoint's round; 0, for an offer only: of the newest that is attested.
    pub round: Round,
    /// Which piece.
    pub piece: Piece,
}

impl Message for WantSnapshot {
    const KIND: Kind = Kind::WantSnapshot;

    fn encode(&self, out: &mut Writer) {
        out.round(self.round);
        self.piece.encode(out);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let round = r.round("round of the snapshot")?;
        let piece = Piece::decode(r)?;
        if round == Round(0) && piece != Piece::Offer {
            return Err(r.error("a piece of no snapshot"));
        }
        Ok(Self { round, piece })
    }
}

/// What a source has: a snapshot, one that is not ready yet, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotOffer {
    /// The checkpoint's round; 0: the sender has no such snapshot, and nothing else is set.
    pub round: Round,
    /// Bytes of the snapshot; 0: it is being made ready, ask again, and nothing else is set.
    pub total: u64,
    /// The digests of all pages of the list of chunks, as many as the length asks for.
    pub pages: Vec<Digest>,
    /// Signed headers, at most 31, that attest the checkpoint.
    pub proof: Vec<Unverified<Header>>,
}

impl SnapshotOffer {
    /// The answer of whoever has no such snapshot.
    pub fn none() -> Self {
        Self::not_yet(Round(0))
    }

    /// The answer of whoever makes the snapshot of this round ready.
    pub fn not_yet(round: Round) -> Self {
        Self { round, total: 0, pages: Vec::new(), proof: Vec::new() }
    }
}

impl Message for SnapshotOffer {
    const KIND: Kind = Kind::SnapshotOffer;

    fn encode(&self, out: &mut Writer) {
        out.round(self.round).u64(self.total).count(self.pages.len());
        self.pages.iter().for_each(|page| {
            out.digest(page);
        });
        put_list(&self.proof, out);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (round, total) = (r.round("round of the snapshot")?, r.u64("bytes of the snapshot")?);
        let count = r.count(MAX_PAGES, 32, "pages of the snapshot")?;
        let pages = (0..count).map(|_| r.digest("a page's digest")).collect::<Result<_, _>>()?;
        let proof = get_list(r, MAX_PROOF, "headers that attest a snapshot")?;
        let offer = Self { round, total, pages, proof };
        let is_none = round == Round(0) || total == 0;
        if is_none && (total > 0 || !offer.pages.is_empty() || !offer.proof.is_empty()) {
            return Err(r.error("an offer of no snapshot"));
        }
        let pages = SnapshotShape::new(total).map_or(0, SnapshotShape::pages);
        if !is_none && (pages == 0 || pages as usize != offer.pages.len()) {
            return Err(r.error("pages that do not fit the snapshot's length"));
        }
        Ok(offer)
    }
}

/// A page or a chunk of a snapshot, or the word that the sender has it not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPart {
    /// The checkpoint's round.
    pub round: Round,
    /// Which; never [`Piece::Offer`].
    pub piece: Piece,
    /// Its bytes, at most [`SnapshotPart::MAX`]; none: the sender does not have it (any more).
    pub bytes: Bytes,
}

impl SnapshotPart {
    /// Bytes of a chunk, and of a page, at most: 256 KiB.
    pub const MAX: usize = CHUNK;
}

impl Message for SnapshotPart {
    const KIND: Kind = Kind::SnapshotPart;

    fn encode(&self, out: &mut Writer) {
        out.round(self.round);
        self.piece.encode(out);
        out.var(&self.bytes);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let round = r.round("round of the snapshot")?;
        let piece = Piece::decode(r)?;
        let bytes = Bytes::copy_from_slice(r.var(CHUNK, "part of the snapshot")?);
        if round == Round(0) || piece == Piece::Offer {
            return Err(r.error("a part of no snapshot"));
        }
        Ok(Self { round, piece, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_and_pages_cover_a_snapshot_without_gaps() {
        let (chunk, page) = (CHUNK as u64, (CHUNK * PAGE) as u64);
        let rows = [(1, 1, 1), (chunk, 1, 1), (chunk + 1, 2, 1), (page, PAGE as u32, 1)];
        let more = [(page + 1, PAGE as u32 + 1, 2), (1 << 40, 1 << 22, 512)];
        for (total, chunks, pages) in rows.into_iter().chain(more) {
            let shape = SnapshotShape::new(total).unwrap();
            assert_eq!((shape.chunks(), shape.pages()), (chunks, pages), "{total}");
            let last = shape.bytes_of(chunks - 1);
            assert!(!last.is_empty() && last.end == total && shape.bytes_of(chunks).is_empty());
            assert_eq!(shape.chunks_of(pages - 1).end, chunks);
            assert!(shape.chunks_of(pages).is_empty() && shape.chunks_of(u32::MAX).is_empty());
            assert_eq!(SnapshotShape::place(chunks - 1).0, pages - 1);
        }
        assert_eq!(SnapshotShape::new(0), None);
        assert_eq!(SnapshotShape::new((1 << 40) + 1), None);
        assert!(SnapshotShape::new(5).unwrap().bytes_of(u32::MAX).is_empty());
    }
}
