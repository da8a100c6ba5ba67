//! Replies without their outcomes (docs/protocol.md C3), and queries that ask for these.

use super::{ChainQuery, DecodeError, Kind, MAX_COMMANDS, MAX_FRAME, Message, Reader, Reply};
use super::{Replies, StepPosition, Writer};
use crate::crypto::{Domain, hash};
use crate::types::{Digest, ReplicaId, SessionId};

/// What stands for an outcome that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeDigest {
    /// The digest of its bytes, as in the leaf of its step's Merkle tree.
    pub output: Digest,
    /// How many bytes they are.
    pub bytes: u32,
}

impl OutcomeDigest {
    /// That of an outcome's bytes, which fit a frame.
    pub fn of(outcome: &[u8]) -> Self {
        Self { output: hash(Domain::Output, outcome), bytes: size(outcome) }
    }
}

fn size(outcome: &[u8]) -> u32 {
    u32::try_from(outcome.len()).unwrap_or(u32::MAX)
}

/// A reply whose outcome another replica is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyDigest {
    /// The session.
    pub session: SessionId,
    /// The request's number.
    pub number: u64,
    /// The index in the step.
    pub index: u32,
    /// What stands for the outcome.
    pub outcome: OutcomeDigest,
    /// Whose turn it is to send the whole, as far as the sender knows. A hint: who lacks the whole
    /// asks again, whatever is named here.
    pub whole: ReplicaId,
}

impl ReplyDigest {
    /// Bytes of one in a message.
    pub const SIZE: usize = 8 + 8 + 4 + 32 + 4 + 1;

    /// What a replica says in place of this reply if it is the turn of `whole` to send it.
    pub fn of(reply: &Reply, whole: ReplicaId) -> Self {
        Self::with(reply, hash(Domain::Output, &reply.outcome), whole)
    }

    /// The same if the digest of its outcome is known.
    pub fn with(reply: &Reply, output: Digest, whole: ReplicaId) -> Self {
        let Reply { session, number, index, .. } = *reply;
        let outcome = OutcomeDigest { output, bytes: size(&reply.outcome) };
        Self { session, number, index, outcome, whole }
    }
}

/// Replies of one step to one client without their outcomes; such as [`super::Replies`] else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// The step.
    pub position: StepPosition,
    /// Whether the replica ever rolled back something that it had answered (§7).
    pub rolled: bool,
    /// At least one.
    pub digests: Vec<ReplyDigest>,
}

impl Digests {
    /// So many fit one message.
    pub const MOST: usize = (MAX_FRAME - 128) / ReplyDigest::SIZE;

    /// The session of the first digest in the body of such a message, without looking at the rest.
    pub fn first_session(body: &[u8]) -> Option<SessionId> {
        Replies::first_session(body)
    }
}

impl Message for Digests {
    const KIND: Kind = Kind::Digests;

    fn encode(&self, out: &mut Writer) {
        out.round(self.position.round).digest(&self.position.vector).bool(self.rolled);
        out.count(self.digests.len());
        for d in &self.digests {
            out.u64(d.session.0).u64(d.number).u32(d.index);
            out.digest(&d.outcome.output).u32(d.outcome.bytes).replica(d.whole);
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let position =
            StepPosition { round: r.round("digest round")?, vector: r.digest("digest vector")? };
        let rolled = r.bool("rolled")?;
        let n = r.count(MAX_COMMANDS, ReplyDigest::SIZE, "digests")?;
        if n == 0 {
            return Err(r.error("digests without a digest"));
        }
        let mut digests = Vec::with_capacity(n);
        for _ in 0..n {
            let session = SessionId(r.u64("digest session")?);
            let number = r.u64("digest number")?;
            let index = r.u32("digest index")?;
            let output = r.digest("digest of an outcome")?;
            let bytes = r.u32("bytes of an outcome")?;
            if bytes as usize > MAX_FRAME {
                return Err(r.error("an outcome larger than a frame"));
            }
            let outcome = OutcomeDigest { output, bytes };
            let whole = r.replica("who has the whole")?;
            digests.push(ReplyDigest { session, number, index, outcome, whole });
        }
        Ok(Self { position, rolled, digests })
    }
}

/// A query that is asked again: whoever answers sends the whole outcome (C3, Q1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeQuery(pub ChainQuery);

impl Message for WholeQuery {
    const KIND: Kind = Kind::WholeQuery;

    fn encode(&self, out: &mut Writer) {
        self.0.encode(out);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        ChainQuery::decode(r).map(Self)
    }
}
