//! What crosses the network and what lies on disk, byte for byte.
//!
//! Every layout is fixed and has one encoding: decoding refuses trailing bytes, non-canonical
//! numbers and flags, and any count above its limit before it allocates. So whatever decodes
//! re-encodes to the same bytes, and what is signed is what was received. The golden files in
//! `tests/golden/` freeze the bytes; a change there is a new protocol version.
//!
//! A stream carries frames: `length: u32, kind: u8, group: u32, body`, little-endian like every
//! number here; `length` counts what follows it. A frame is at most [`MAX_FRAME`] bytes.

mod blame;
mod chain;
mod chain_client;
mod change;
mod client;
mod codec;
mod digests;
mod entry;
mod evidence;
mod frame;
mod header;
mod hello;
mod layout;
mod lease;
mod leaves;
mod look;
mod mark;
mod peer;
mod proposal;
mod receipt;
mod record;
mod report;
mod snapshot;
mod transfer;
mod want_receipt;

pub use blame::{Blame, BlameStep, Restarted, Stalled};
pub use chain::{ChainConfig, ChainEntry, ChainMember, ChainMessage, ChainPosition, MAX_CHAIN};
pub use chain_client::{ChainAnswer, ChainAsked, ChainQuery, ChainRefusal, ChainSession};
pub use change::{Author, Change, OperatorChange, SignedChange};
pub use client::{
    Command, CommandKind, Commands, MAX_COMMANDS, Note, NoteKind, Outcome, Refusal, Replies, Reply,
    Request, RequestBody,
};
pub use codec::{DecodeError, Reader, Writer};
pub use digests::{Digests, OutcomeDigest, ReplyDigest, WholeQuery};
pub use entry::LogEntry;
pub use evidence::{CallMessage, Evidence, MAX_EVIDENCE, MAX_EVIDENCE_BLAMES, Proof};
pub use frame::{Frame, FrameDecoder, Kind, MAX_FRAME, OPEN_FRAME};
pub use header::{CandidateSummary, Header, vector_hash};
pub use hello::{Greeting, GroupState, Hello, MAX_FIELDS, PROTOCOL_VERSION};
pub use layout::{Layout, get_list, put_list};
pub use lease::{ChainGrant, ChainRenewal, RENEW};
pub use leaves::{Leaves, WantLeaves};
pub use look::{Look, Looked};
pub use mark::Mark;
pub use peer::{Body, Ping, Pong, Stamp, Want, WantBody};
pub use proposal::{Attestation, Candidate, MAX_CANDIDATES, MAX_CHANGES, Proposal, StepPosition};
pub use receipt::{LaterStep, MAX_LATER_STEPS, Receipt, ReceiptProof};
pub use record::{MAX_KEY_CHANGES, MAX_RECORD, Record};
pub use report::{Lacks, MAX_LACKS, Report, ReportHeader};
pub use snapshot::{Piece, SnapshotOffer, SnapshotPart, SnapshotShape, WantSnapshot};
pub use transfer::{Gone, WantHistory};
pub use want_receipt::{NoReceipt, ReceiptAnswer, WantReceipt};

/// ALPN of links between replicas.
pub const ALPN_REPLICA: &[u8] = b"quorate/1";
/// ALPN of links from clients: a client key can never speak the replica protocol.
pub const ALPN_CLIENT: &[u8] = b"quorate-client/1";

/// A message with a fixed layout.
pub trait Message: Sized {
    /// Its frame kind.
    const KIND: Kind;

    /// Appends the body of its frame.
    fn encode(&self, out: &mut Writer);

    /// About how many bytes its body takes: so many are asked of the allocator at once.
    fn room(&self) -> usize {
        codec::USUAL
    }

    /// Reads the body of its frame.
    ///
    /// # Errors
    /// [`DecodeError`] names the part that does not fit and where it stands.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Reads a whole body, refusing trailing bytes.
    ///
    /// # Errors
    /// As [`Message::decode`].
    fn from_body(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let message = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(message)
    }

    /// The whole frame with its header.
    fn to_frame(&self, group: crate::types::GroupId) -> Vec<u8> {
        let mut out = Writer::with_capacity(frame::HEADER + 4 + self.room());
        frame::begin(&mut out, Self::KIND, group);
        self.encode(&mut out);
        frame::end(out)
    }
}
