//! Lies to whoever fetches a snapshot (docs/protocol.md §7): it must find them out and get the
//! state from others.

use super::{Attack, Pen, UnknownLie, by_name};
use crate::crypto::Scheme;
use crate::replica::{Action, Actions, Lane};
use crate::types::{GroupId, Instant, Now, ReplicaId};
use crate::wire::{Frame, Kind, Message as _, Piece, SnapshotOffer, SnapshotPart, SnapshotShape};
use bytes::Bytes;
use std::collections::VecDeque;
use std::str::FromStr;
use std::time::Duration;

/// A lie about a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceLie {
    /// Changes a byte of each chunk.
    ForgeChunk,
    /// Offers another state than the attested one, with a list that fits it, and gives that.
    ForgeList,
    /// Offers what it has as that of a later round.
    OtherRound,
    /// Gives all but the last chunk.
    Stall,
    /// Gives each piece so late that it is just not silent.
    DripChunks,
    /// Says for ever that it is about to have it.
    NeverReady,
}

impl SourceLie {
    /// All of them.
    pub const ALL: [SourceLie; 6] = [
        SourceLie::ForgeChunk,
        SourceLie::ForgeList,
        SourceLie::OtherRound,
        SourceLie::Stall,
        SourceLie::DripChunks,
        SourceLie::NeverReady,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            SourceLie::ForgeChunk => "forge-chunk",
            SourceLie::ForgeList => "forge-list",
            SourceLie::OtherRound => "other-round",
            SourceLie::Stall => "stall-transfer",
            SourceLie::DripChunks => "drip-chunks",
            SourceLie::NeverReady => "never-ready",
        }
    }

    /// The attack that tells it.
    pub fn attack(self) -> LyingSource {
        LyingSource { lie: self, chunks: 0, hold: Duration::ZERO, held: VecDeque::new() }
    }
}

impl FromStr for SourceLie {
    type Err = UnknownLie;

    fn from_str(given: &str) -> Result<Self, UnknownLie> {
        by_name(given, Self::ALL.into_iter(), Self::name)
    }
}

/// What is offered in place of a state: no snapshot at all, but of any length.
const FORGED: &[u8] = &[7; 1000];

/// The attack behind each [`SourceLie`].
#[derive(Debug)]
pub struct LyingSource {
    lie: SourceLie,
    /// Chunks of what it offered last.
    chunks: u32,
    hold: Duration,
    /// Pieces on their way out, with the time at which each was made.
    held: VecDeque<(Instant, Action)>,
}

impl LyingSource {
    /// Held at once at most: what is above goes out at once.
    const MOST: usize = 1024;

    fn offer(&mut self, mut offer: SnapshotOffer) -> SnapshotOffer {
        self.chunks = SnapshotShape::new(offer.total).map_or(0, SnapshotShape::chunks);
        let ready = offer.total > 0;
        match self.lie {
            SourceLie::ForgeList if ready => {
                let page = SnapshotShape::chunk_digest(FORGED).0;
                let pages = vec![SnapshotShape::page_digest(&page)];
                SnapshotOffer { total: FORGED.len() as u64, pages, ..offer }
            }
            SourceLie::OtherRound if ready => {
                offer.round.0 += 1;
                offer
            }
            SourceLie::NeverReady if ready => SnapshotOffer::not_yet(offer.round),
            _ => offer,
        }
    }

    /// None: it is not given.
    fn part(&self, part: SnapshotPart) -> Option<SnapshotPart> {
        let bytes = match (self.lie, part.piece) {
            (SourceLie::ForgeChunk, Piece::Chunk(_)) if !part.bytes.is_empty() => {
                let mut bytes = part.bytes.to_vec();
                bytes[0] ^= 1;
                bytes.into()
            }
            (SourceLie::ForgeList, Piece::Page(_)) => {
                Bytes::copy_from_slice(&SnapshotShape::chunk_digest(FORGED).0)
            }
            (SourceLie::ForgeList, Piece::Chunk(_)) => Bytes::from_static(FORGED),
            (SourceLie::Stall, Piece::Chunk(number)) if number + 1 >= self.chunks => return None,
            _ => part.bytes,
        };
        Some(SnapshotPart { bytes, ..part })
    }

    fn twist(&mut self, group: GroupId, frame: &Frame) -> Option<Vec<u8>> {
        match frame.kind {
            Kind::SnapshotOffer => {
                let offer = SnapshotOffer::from_body(&frame.body).ok()?;
                Some(self.offer(offer).to_frame(group))
            }
            _ => {
                let part = SnapshotPart::from_body(&frame.body).ok()?;
                self.part(part).map(|part| part.to_frame(group))
            }
        }
    }

    fn give(&mut self, now: Now, peer: ReplicaId, frame: &Frame, out: &mut Actions) {
        let Some(twisted) = self.twist(frame.group, frame) else { return };
        let action = Action::ToPeer { peer, lane: Lane::Bulk, frame: twisted.into() };
        let drips = self.lie == SourceLie::DripChunks && frame.kind == Kind::SnapshotPart;
        match drips && self.held.len() < Self::MOST {
            true => self.held.push_back((now.monotonic, action)),
            false => out.push(action),
        }
    }
}

impl<S: Scheme> Attack<S> for LyingSource {
    fn name(&self) -> &'static str {
        self.lie.name()
    }

    fn act(&mut self, now: Now, action: Action, out: &mut Actions) {
        let Action::ToPeer { peer, frame, .. } = &action else { return out.push(action) };
        let of_transfer = |f: &Frame| matches!(f.kind, Kind::SnapshotOffer | Kind::SnapshotPart);
        match Frame::parse(frame.clone()).ok().filter(of_transfer) {
            Some(frame) => self.give(now, *peer, &frame, out),
            None => out.push(action),
        }
    }

    fn add(&mut self, now: Now, pen: &Pen<'_, S>, out: &mut Actions) {
        // Patience has room for two delays; the network needs some of it.
        self.hold = pen.timing.patience * 7 / 10;
        while let Some((_, action)) =
            self.held.pop_front_if(|(at, _)| now.monotonic >= *at + self.hold)
        {
            out.push(action);
        }
    }

    fn wake(&self) -> Option<Instant> {
        self.held.front().map(|(at, _)| *at + self.hold)
    }
}
