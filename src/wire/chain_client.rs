//! What clients and the replicas of a chain say to each other, besides requests and replies
//! (docs/chain.md).

use super::chain::ChainConfig;
use super::layout::Layout;
use super::{DecodeError, Kind, MAX_FRAME, Message, Reader, Writer};
use crate::types::SessionId;
use bytes::Bytes;

/// A client's question that changes nothing (CH-Q1, CH-Q2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainQuery {
    /// Names the question on its link.
    pub id: u64,
    /// The commands, all of them queries, as [`super::RequestBody`] lays them out.
    pub body: Bytes,
}

impl Message for ChainQuery {
    const KIND: Kind = Kind::ChainQuery;

    fn encode(&self, out: &mut Writer) {
        out.u64(self.id).var(&self.body);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let id = r.u64("query")?;
        Ok(Self { id, body: Bytes::copy_from_slice(r.var(MAX_FRAME, "query body")?) })
    }
}

/// A client says on each of its links which session it has: replies to that come over this link.
/// The tail answers, and hears of no update before the head has passed it on. Nothing is opened by
/// it, and nothing answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainSession {
    /// The session.
    pub session: SessionId,
}

impl Message for ChainSession {
    const KIND: Kind = Kind::ChainSession;

    fn encode(&self, out: &mut Writer) {
        out.u64(self.session.0);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { session: SessionId(r.u64("session")?) })
    }
}

/// What a client has asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChainAsked {
    /// An update.
    Update {
        /// The session.
        session: SessionId,
        /// The number in it.
        number: u64,
    },
    /// A query.
    Query {
        /// Its id.
        id: u64,
    },
}

/// What a replica of a chain tells a client besides [`super::Replies`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainAnswer {
    /// The answer to a query.
    Answer {
        /// Which.
        id: u64,
        /// How many updates the state had executed that it was asked of.
        number: u64,
        /// The outcome's bytes ([`super::Outcome::to_bytes`]).
        outcome: Bytes,
    },
    /// The chain has another configuration: told to all clients, unasked, so that they need not
    /// find out by waiting (CH-F5).
    Config(ChainConfig),
    /// It is not done here; the configuration says where (CH-F5).
    Refused {
        /// What.
        asked: ChainAsked,
        /// Why.
        why: ChainRefusal,
        /// The newest configuration known here.
        config: ChainConfig,
    },
}

/// Why a replica of a chain does not do what a client asks. Nothing was done then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[repr(u8)]
pub enum ChainRefusal {
    /// Updates go to the head.
    #[error("not the head of the chain")]
    NotHead = 0,
    /// Queries go to the tail here.
    #[error("not the tail of the chain")]
    NotTail = 1,
    /// It has no lease, or is not ready yet: ask again, or ask the master who is in the chain.
    #[error("not serving at present")]
    NotServing = 2,
    /// A limit is reached: repeat later.
    #[error("busy: a limit on outstanding requests is reached")]
    Busy = 3,
    /// Another request with this number was executed, or its reply had to be given up.
    #[error("a request with this number was executed")]
    NumberTaken = 4,
    /// It is malformed or larger than the limits.
    #[error("the request is malformed or larger than the limits")]
    Unacceptable = 5,
}

impl ChainRefusal {
    const ALL: [Self; 6] = [
        Self::NotHead,
        Self::NotTail,
        Self::NotServing,
        Self::Busy,
        Self::NumberTaken,
        Self::Unacceptable,
    ];
}

impl Message for ChainAnswer {
    const KIND: Kind = Kind::ChainAnswer;

    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Answer { id, number, outcome } => {
                out.u8(0).u64(*id).u64(*number).var(outcome);
            }
            Self::Config(config) => config.put(out.u8(3)),
            Self::Refused { asked, why, config } => {
                match asked {
                    ChainAsked::Update { session, number } => {
                        out.u8(1).u64(session.0).u64(*number);
                    }
                    ChainAsked::Query { id } => {
                        out.u8(2).u64(*id);
                    }
                }
                config.put(out.u8(*why as u8));
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let asked = match r.u8("chain answer")? {
            0 => {
                let (id, number) = (r.u64("query")?, r.u64("executed number")?);
                let outcome = Bytes::copy_from_slice(r.var(MAX_FRAME, "outcome of a query")?);
                return Ok(Self::Answer { id, number, outcome });
            }
            1 => {
                let session = SessionId(r.u64("refused session")?);
                ChainAsked::Update { session, number: r.u64("refused number")? }
            }
            2 => ChainAsked::Query { id: r.u64("refused query")? },
            3 => return ChainConfig::get(r).map(Self::Config),
            _ => return Err(r.error("chain answer")),
        };
        let code = r.u8("refusal")?;
        let why = ChainRefusal::ALL.into_iter().find(|w| *w as u8 == code);
        let why = why.ok_or_else(|| r.error("refusal"))?;
        Ok(Self::Refused { asked, why, config: ChainConfig::get(r)? })
    }
}
