//! Frames on a stream.

use super::{DecodeError, Writer};
use crate::types::GroupId;
use bytes::{Buf, Bytes, BytesMut};

/// Bytes of a frame at most, its length field not counted: 1 MiB.
pub const MAX_FRAME: usize = 1 << 20;

pub(super) const HEADER: usize = 5;

/// The whole frame of kind [`Kind::Open`].
pub const OPEN_FRAME: [u8; 9] = [HEADER as u8, 0, 0, 0, Kind::Open as u8, 0, 0, 0, 0];

/// What a frame holds. The numbers are part of the protocol; those not listed are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Opens the bulk stream; empty. Lets the other side see the stream.
    Open = 0,
    /// A replica's [`super::Hello`].
    Hello = 1,
    /// A [`super::Proposal`].
    Proposal = 2,
    /// A [`super::Want`].
    Want = 3,
    /// A [`super::Ping`].
    Ping = 4,
    /// A [`super::Pong`].
    Pong = 5,
    /// A [`super::WantBody`].
    WantBody = 6,
    /// A [`super::Body`].
    Body = 7,
    /// A [`super::Blame`].
    Blame = 8,
    /// A [`super::CallMessage`].
    Call = 9,
    /// A [`super::Report`].
    Report = 10,
    /// A [`super::Restarted`].
    Restarted = 11,
    /// A [`super::Stalled`].
    Stalled = 12,
    /// A [`super::SignedChange`], between replicas.
    Change = 13,
    /// A [`super::WantHistory`].
    WantHistory = 14,
    /// A [`super::Gone`].
    Gone = 15,
    /// A [`super::WantSnapshot`].
    WantSnapshot = 16,
    /// A [`super::SnapshotPart`].
    SnapshotPart = 17,
    /// A [`super::SnapshotOffer`].
    SnapshotOffer = 18,
    /// A [`super::ChainMessage`].
    Chain = 19,
    /// A [`super::Stamp`].
    Stamp = 20,
    /// A [`super::WantLeaves`].
    WantLeaves = 24,
    /// [`super::Leaves`].
    Leaves = 25,
    /// A client's [`super::Greeting`].
    Greeting = 32,
    /// A [`super::Request`].
    Request = 33,
    /// [`super::Replies`].
    Replies = 34,
    /// A [`super::Note`].
    Note = 35,
    /// A [`super::OperatorChange`].
    OperatorChange = 36,
    /// A [`super::ChainQuery`].
    ChainQuery = 37,
    /// A [`super::ChainAnswer`].
    ChainAnswer = 38,
    /// A [`super::ChainSession`].
    ChainSession = 39,
    /// A [`super::WantReceipt`].
    WantReceipt = 40,
    /// A [`super::ReceiptAnswer`].
    Receipt = 41,
    /// [`super::Digests`].
    Digests = 44,
    /// A [`super::WholeQuery`].
    WholeQuery = 45,
}

/// The kinds by their numbers.
const KINDS: [Option<Kind>; 256] = {
    let (mut all, mut at) = ([None; 256], 0);
    while at < Kind::ALL.len() {
        all[Kind::ALL[at] as usize] = Some(Kind::ALL[at]);
        at += 1;
    }
    all
};

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 35] = [
        Kind::Open,
        Kind::Hello,
        Kind::Proposal,
        Kind::Want,
        Kind::Ping,
        Kind::Pong,
        Kind::WantBody,
        Kind::Body,
        Kind::Blame,
        Kind::Call,
        Kind::Report,
        Kind::Restarted,
        Kind::Stalled,
        Kind::Change,
        Kind::WantHistory,
        Kind::Gone,
        Kind::WantSnapshot,
        Kind::SnapshotPart,
        Kind::SnapshotOffer,
        Kind::Chain,
        Kind::Stamp,
        Kind::WantLeaves,
        Kind::Leaves,
        Kind::Greeting,
        Kind::Request,
        Kind::Replies,
        Kind::Note,
        Kind::OperatorChange,
        Kind::ChainQuery,
        Kind::ChainAnswer,
        Kind::ChainSession,
        Kind::WantReceipt,
        Kind::Receipt,
        Kind::Digests,
        Kind::WholeQuery,
    ];

    fn of(number: u8) -> Option<Kind> {
        KINDS[usize::from(number)]
    }
}

/// One frame as it came from a stream; its body is not decoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub kind: Kind,
    /// For which group.
    pub group: GroupId,
    /// The message.
    pub body: Bytes,
}

impl Frame {
    /// Takes apart one whole frame, as [`super::Message::to_frame`] makes it.
    ///
    /// # Errors
    /// If it is not exactly one frame.
    pub fn parse(bytes: Bytes) -> Result<Frame, DecodeError> {
        let mut decoder = FrameDecoder::default();
        decoder.push(bytes);
        let frame = decoder.next_frame()?.ok_or(DecodeError { what: "a whole frame", at: 0 })?;
        match decoder.buffered() {
            0 => Ok(frame),
            _ => Err(DecodeError { what: "trailing bytes", at: HEADER + 4 + frame.body.len() }),
        }
    }
}

/// Cuts a stream of chunks into frames. Holds at most one incomplete frame; never allocates for
/// a length that was only claimed.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    chunk: Bytes,
    partial: BytesMut,
}

impl FrameDecoder {
    /// Takes the next chunk of the stream. All frames of earlier chunks should have been taken
    /// out before; what is left of them is copied in front.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.has_remaining() {
            self.partial.extend_from_slice(&self.chunk);
        }
        self.chunk = chunk;
    }

    /// Bytes held that are not a frame yet.
    pub fn buffered(&self) -> usize {
        self.partial.len() + self.chunk.len()
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// If a length is above [`MAX_FRAME`] or too short for a header, or a kind is unknown. The
    /// stream cannot be read any further then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        if !self.partial.is_empty() {
            let Some(total) = self.length_across()? else { return Ok(None) };
            let missing = total.saturating_sub(self.partial.len());
            if missing > self.chunk.len() {
                self.partial.extend_from_slice(&self.chunk.split_to(self.chunk.len()));
                return Ok(None);
            }
            self.partial.extend_from_slice(&self.chunk.split_to(missing));
            return Self::cut(self.partial.split_to(total).freeze()).map(Some);
        }
        let Some(total) = length_of(&self.chunk)? else { return Ok(None) };
        if total > self.chunk.len() {
            return Ok(None);
        }
        Self::cut(self.chunk.split_to(total)).map(Some)
    }

    // Completes the length field in `partial` from the chunk if need be.
    fn length_across(&mut self) -> Result<Option<usize>, DecodeError> {
        let missing = 4usize.saturating_sub(self.partial.len()).min(self.chunk.len());
        self.partial.extend_from_slice(&self.chunk.split_to(missing));
        length_of(&self.partial)
    }

    fn cut(mut whole: Bytes) -> Result<Frame, DecodeError> {
        whole.advance(4);
        let kind =
            Kind::of(whole.get_u8()).ok_or(DecodeError { what: "unknown frame kind", at: 4 })?;
        let group = GroupId(whole.get_u32_le());
        Ok(Frame { kind, group, body: whole })
    }
}

// The whole frame's length with its length field, once that field is there.
fn length_of(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let Some(field) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*field) as usize;
    if !(HEADER..=MAX_FRAME).contains(&length) {
        return Err(DecodeError { what: "frame length out of bounds", at: 0 });
    }
    Ok(Some(length + 4))
}

pub(super) fn begin(out: &mut Writer, kind: Kind, group: GroupId) {
    out.u32(0).u8(kind as u8).u32(group.0);
}

pub(super) fn end(mut out: Writer) -> Vec<u8> {
    let length = out.len() - 4;
    assert!(
        length <= MAX_FRAME,
        "limits keep every message below a frame's size, this has {length}"
    );
    let field = u32::try_from(length).expect("a frame is at most 1 MiB").to_le_bytes();
    out.bytes_mut()[..4].copy_from_slice(&field);
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::{Message, Ping};
    use super::*;

    fn stream() -> Vec<u8> {
        let frames = (0..5).map(|i| Ping { sent: i, wall: 2 * i }.to_frame(GroupId(i as u32)));
        frames.flatten().collect()
    }

    fn read_all(chunks: impl Iterator<Item = Bytes>) -> Vec<(GroupId, Ping)> {
        let mut decoder = FrameDecoder::default();
        let mut out = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            while let Some(f) = decoder.next_frame().unwrap() {
                assert_eq!(f.kind, Kind::Ping);
                out.push((f.group, Ping::from_body(&f.body).unwrap()));
            }
        }
        assert_eq!(decoder.buffered(), 0);
        out
    }

    #[test]
    fn frames_come_out_whatever_the_chunks_are() {
        let stream = Bytes::from(stream());
        for size in 1..stream.len() {
            let chunks = (0..stream.len()).step_by(size);
            let cut = chunks.map(|i| stream.slice(i..(i + size).min(stream.len())));
            let got = read_all(cut);
            assert_eq!(got.len(), 5, "chunks of {size}");
            assert!(
                got.iter().enumerate().all(|(i, (g, p))| g.0 == i as u32 && p.sent == i as u64)
            );
        }
    }

    /// B26: a length that is only claimed is refused or waited for, never allocated.
    #[test]
    fn lengths_out_of_bounds_are_refused() {
        for length in [0u32, 4, (MAX_FRAME + 1) as u32, u32::MAX] {
            let mut decoder = FrameDecoder::default();
            decoder.push(Bytes::copy_from_slice(&length.to_le_bytes()));
            assert_eq!(decoder.next_frame().unwrap_err().what, "frame length out of bounds");
        }
        let mut decoder = FrameDecoder::default();
        decoder.push(Bytes::copy_from_slice(&(MAX_FRAME as u32).to_le_bytes()));
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.buffered(), 4);
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let mut bytes = Ping { sent: 1, wall: 2 }.to_frame(GroupId::MAIN);
        bytes[4] = 200;
        assert_eq!(Frame::parse(bytes.into()).unwrap_err().what, "unknown frame kind");
    }
}
