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

/// Measures a link: asks the other side what its clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// The sender's monotonic clock, nanoseconds. The pong echoes it.
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
    /// The answerer's monotonic clock, nanoseconds: what its [`Stamp`]s count by.
    pub clock: u64,
    /// The answerer's wall clock, microseconds.
    pub answered: u64,
}

impl Message for Pong {
    const KIND: Kind = Kind::Pong;

    fn encode(&self, out: &mut Writer) {
        out.u64(self.sent).u64(self.clock).u64(self.answered);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let sent = r.u64("pong sent")?;
        Ok(Self { sent, clock: r.u64("pong clock")?, answered: r.u64("pong answered")? })
    }
}

/// When what stands before it on the stream was sent, and when what the other side sent was
/// handled. It follows each batch of a replica's frames on the protocol stream, so that whoever has
/// read it has handled the batch. Nobody has to believe it: it only serves to measure delays
/// (docs/adr/0018-measuring-delta.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The sender's monotonic clock, nanoseconds, when it began to make the last of the batch.
    pub sent: u64,
    /// Of the other side's stamps that were read since the last one to it, the one that had taken
    /// longest; 0 if none was.
    pub echo: u64,
    /// The sender's monotonic clock when it had read that; 0 if there is none.
    pub handled: u64,
}

impl Stamp {
    /// Bytes of its frame.
    pub const FRAME: usize = 33;

    /// Its whole frame for the cluster's own group, as [`Message::to_frame`] makes it, but without
    /// an allocation: there is one in each batch.
    pub fn frame(self) -> [u8; Self::FRAME] {
        let mut frame = [0; Self::FRAME];
        frame[0] = (Self::FRAME - 4) as u8;
        frame[4] = Kind::Stamp as u8;
        for (place, number) in [self.sent, self.echo, self.handled].into_iter().enumerate() {
            frame[9 + 8 * place..17 + 8 * place].copy_from_slice(&number.to_le_bytes());
        }
        frame
    }
}

impl Message for Stamp {
    const KIND: Kind = Kind::Stamp;

    fn encode(&self, out: &mut Writer) {
        out.u64(self.sent).u64(self.echo).u64(self.handled);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (sent, echo) = (r.u64("stamp sent")?, r.u64("stamp echo")?);
        Ok(Self { sent, echo, handled: r.u64("stamp handled")? })
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

    /// Exactly: an entry of the log has it before the body.
    fn room(&self) -> usize {
        self.client.0.len() + self.request.len()
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let client = r.client("body client")?;
        let rest = r.raw(r.remaining(), "body request")?;
        Ok(Self { client, request: Bytes::copy_from_slice(rest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::GroupId;

    #[test]
    fn a_stamp_without_an_allocation_has_the_same_bytes() {
        for sent in [0, 0x0102_0304_0506_0708, u64::MAX] {
            let stamp = Stamp { sent, echo: sent / 3, handled: sent / 5 };
            assert_eq!(stamp.frame()[..], stamp.to_frame(GroupId::MAIN)[..]);
        }
    }
}
