//! Small messages between replicas. Their answers are proposals and bodies, which prove themselves.

use super::{DecodeError, Kind, Message, Reader, Writer};
use crate::types::{ClientId, Digest, Epoch, ReplicaId, Round};
use bytes::Bytes;

/// Asks for a proposal (rule R5). Unsigned: the answer carries its own signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    /// Epoch of the proposal.
    pub epoch: Epoch,
    /// Round of the proposal.
    pub round: Round,
    /// Whose proposal.
    pub replica: ReplicaId,
    /// Which one, where a choice named it; [`Digest::ZERO`]: any.
    pub digest: Digest,
}

impl Message for Want {
    const KIND: Kind = Kind::Want;

    fn encode(&self, out: &mut Writer) {
        out.epoch(self.epoch).round(self.round).replica(self.replica).digest(&self.digest);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let epoch = r.epoch("want epoch")?;
        let round = r.round("want round")?;
        let replica = r.replica("want replica")?;
        Ok(Self { epoch, round, replica, digest: r.digest("want digest")? })
    }
}

/// Measures a link: the sender's stamps, which the pong echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// The sender's monotonic clock, nanoseconds.
    pub sent: u64,
    /// The sender's wall clock, microseconds.
    pub wall: u64,
}

impl Message for Ping {
    const KIND: Kind = Kind::Ping;

    fn encode(&self, out: &mut Writer) {
        out.u64(self.sent).u64(self.wall);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let sent = r.u64("ping sent")?;
        Ok(Self { sent, wall: r.u64("ping wall")? })
    }
}

/// Answers a [`Ping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// The ping's monotonic stamp.
    pub sent: u64,
    /// The ping's wall stamp, microseconds.
    pub wall: u64,
    /// The answerer's wall clock, microseconds.
    pub answered: u64,
}

impl Message for Pong {
    const KIND: Kind = Kind::Pong;

    fn encode(&self, out: &mut Writer) {
        out.u64(self.sent).u64(self.wall).u64(self.answered);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let sent = r.u64("pong sent")?;
        let wall = r.u64("pong wall")?;
        Ok(Self { sent, wall, answered: r.u64("pong answered")? })
    }
}

const MAX_WANTED_BODIES: usize = 256;

/// Asks for the bodies of requests that were accepted but not received (rule O7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantBody {
    /// Digests of the requests.
    pub digests: Vec<Digest>,
}

impl WantBody {
    /// Digests in one message at most.
    pub const MAX: usize = MAX_WANTED_BODIES;
}

impl Message for WantBody {
    const KIND: Kind = Kind::WantBody;

    fn encode(&self, out: &mut Writer) {
        out.count(self.digests.len());
        self.digests.iter().for_each(|d| {
            out.digest(d);
        });
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let n = r.count(MAX_WANTED_BODIES, 32, "wanted bodies")?;
        let digests = (0..n).map(|_| r.digest("wanted body")).collect::<Result<_, _>>()?;
        Ok(Self { digests })
    }
}

/// The request behind a digest; whoever asked computes the digest again (rule O7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Whose request it is.
    pub client: ClientId,
    /// The request's frame body as the client sent it.
    pub request: Bytes,
}

impl Message for Body {
    const KIND: Kind = Kind::Body;

    fn encode(&self, out: &mut Writer) {
        out.raw(&self.client.0).raw(&self.request);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let client = r.client("body client")?;
        let rest = r.raw(r.remaining(), "body request")?;
        Ok(Self { client, request: Bytes::copy_from_slice(rest) })
    }
}
