//! What the replicas of a fail-stop chain say to each other (docs/chain.md). Nothing here is
//! signed: in this mode nobody lies.

use super::client::Request;
use super::layout::{Layout, get_list, put_list};
use super::{DecodeError, Kind, MAX_FRAME, Message, Reader, Writer};
use crate::types::{AgreedTime, ClientId, ReplicaId, RequestId};
use bytes::Bytes;

/// Members of a chain at most: a roster is no longer than that.
pub const MAX_CHAIN: usize = 31;

/// Where an update stands: its number, and the configuration whose head gave it. A head gives each
/// number once, so two entries of one position are one entry. Positions compare by configuration
/// first: of two logs of members of one configuration the one with the higher last position has
/// all that the other has (CH-F6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChainPosition {
    /// The number of the configuration; 0 only before the first update.
    pub config: u64,
    /// The sequence number, from 1.
    pub number: u64,
}

impl Layout for ChainPosition {
    const LEAST: usize = 16;

    fn put(&self, out: &mut Writer) {
        out.u64(self.config).u64(self.number);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let config = r.u64("configuration of a position")?;
        Ok(Self { config, number: r.u64("number of a position")? })
    }
}

/// A member of a chain: one life of a replica. Who starts again is another one, and so no member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainMember {
    /// Who.
    pub replica: ReplicaId,
    /// Which of its lives: higher at every start.
    pub incarnation: u64,
}

impl Layout for ChainMember {
    const LEAST: usize = 9;

    fn put(&self, out: &mut Writer) {
        out.replica(self.replica).u64(self.incarnation);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let replica = r.replica("member of a chain")?;
        Ok(Self { replica, incarnation: r.u64("incarnation of a member")? })
    }
}

/// A chain's configuration. The master makes them and numbers them without gaps.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ChainConfig {
    /// Its number; 0 is none.
    pub number: u64,
    /// From head to tail, no replica twice, at most [`MAX_CHAIN`].
    pub members: Vec<ChainMember>,
    /// Who copies the tail's state so as to be appended (CH-F4); no member.
    pub joining: Option<ChainMember>,
}

impl ChainConfig {
    /// The first member: it takes updates.
    pub fn head(&self) -> Option<ChainMember> {
        self.members.first().copied()
    }

    /// The last member: it answers.
    pub fn tail(&self) -> Option<ChainMember> {
        self.members.last().copied()
    }

    /// Whether a replica is a member, in whatever life.
    pub fn has(&self, replica: ReplicaId) -> bool {
        self.members.iter().any(|m| m.replica == replica)
    }
}

impl Layout for ChainConfig {
    const LEAST: usize = 13;

    fn put(&self, out: &mut Writer) {
        out.u64(self.number);
        put_list(&self.members, out);
        out.bool(self.joining.is_some());
        self.joining.iter().for_each(|m| m.put(out));
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = r.u64("number of a configuration")?;
        let members: Vec<ChainMember> = get_list(r, MAX_CHAIN, "members of a chain")?;
        let joining =
            if r.bool("flag of one that joins")? { Some(ChainMember::get(r)?) } else { None };
        let config = Self { number, members, joining };
        let seen = |(i, m): (usize, &ChainMember)| {
            config.members[..i].iter().any(|other| other.replica == m.replica)
        };
        let twice = config.members.iter().enumerate().any(seen);
        if twice || config.joining.is_some_and(|m| config.has(m.replica)) {
            return Err(r.error("a replica twice in a chain"));
        }
        Ok(config)
    }
}

/// One update in a chain's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainEntry {
    /// Where it stands.
    pub position: ChainPosition,
    /// The head's clock when it took it, at least that of the entry before: what a service sees.
    pub time: AgreedTime,
    /// Whose it is.
    pub client: ClientId,
    /// What was asked.
    pub request: Request,
}

impl ChainEntry {
    /// Bytes that an entry takes besides its request's body.
    pub const OVERHEAD: usize = 8 + 8 + 32 + 24 + 4;

    fn put(&self, out: &mut Writer) {
        out.u64(self.position.config).u64(self.time.0).raw(&self.client.0);
        self.request.encode(out);
    }

    fn get(number: u64, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let position = ChainPosition { config: r.u64("configuration of an entry")?, number };
        let time = AgreedTime(r.u64("time of an entry")?);
        let client = r.client("client of an entry")?;
        Ok(Self { position, time, client, request: Request::decode(r)? })
    }

    /// The request's name.
    pub fn id(&self) -> RequestId {
        let Request { session, number, .. } = self.request;
        RequestId { client: self.client, session, number }
    }

    /// The record of a log on disk. It stands in place of every earlier record with this number or
    /// a higher one: a history that was cut and went on is its own trace.
    pub fn to_record(&self) -> Bytes {
        let mut out = Writer::with_capacity(8 + Self::OVERHEAD + self.request.body.len());
        out.u64(self.position.number);
        self.put(&mut out);
        out.into_bytes().into()
    }

    /// The number of the entry in a record, of which nothing else is looked at; `None` if it is
    /// too short to be one.
    pub fn number_in(record: &[u8]) -> Option<u64> {
        Reader::new(record).u64("number of an entry").ok()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn parse_record(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let number = r.u64("number of an entry")?;
        let entry = Self::get(number, &mut r)?;
        r.finish()?;
        Ok(entry)
    }
}

/// What replicas of a chain say to each other. Each but the first two holds only between two that
/// are in the configuration of this number; in any other it is refused with a newer one (CH-F5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainMessage {
    /// The newest configuration that the sender knows.
    Config(ChainConfig),
    /// To the predecessor, whenever link or configuration is new (CH-F3): go on from here.
    Resume {
        /// The configuration in which this is asked.
        config: ChainConfig,
        /// The last number that the sender has executed.
        executed: u64,
        /// What it has beyond that: the last entry of each configuration that gave some of it, in
        /// order; the last entry that it has if it has nothing beyond.
        runs: Vec<ChainPosition>,
    },
    /// Updates on their way down (CH-U2).
    Forward {
        /// The number of the configuration.
        config: u64,
        /// The number before the first entry. In the first one after [`ChainMessage::Resume`]:
        /// what the receiver has beyond it is not part of the history.
        after: u64,
        /// The durable watermark (CH-U4): every replica before the receiver has synced this much.
        durable: u64,
        /// The entries, numbered from `after` on without gaps.
        entries: Vec<ChainEntry>,
    },
    /// All up to this number is committed (CH-U3). Cumulative.
    Ack {
        /// The number of the configuration.
        config: u64,
        /// The last committed number.
        committed: u64,
    },
    /// A part of a state, in place of what is kept in the history no more (CH-F4).
    Snapshot {
        /// The number of the configuration.
        config: u64,
        /// The number after whose execution this was the state.
        number: u64,
        /// Bytes of the whole.
        size: u64,
        /// Where this part begins.
        offset: u64,
        /// The part.
        bytes: Bytes,
    },
    /// Asks for the part of that state that begins there.
    More {
        /// The number of the configuration.
        config: u64,
        /// Which state.
        number: u64,
        /// From where on.
        offset: u64,
    },
    /// Asks the tail how far it has committed (CH-Q2).
    AskCommitted {
        /// The number of the configuration.
        config: u64,
        /// Names the question.
        id: u64,
    },
    /// How far the tail has committed.
    Committed {
        /// The number of the configuration.
        config: u64,
        /// Which question.
        id: u64,
        /// The last committed number when the question came.
        number: u64,
    },
}

impl ChainMessage {
    /// Bytes of a state in one message at most.
    pub const CHUNK: usize = 256 * 1024;

    /// Configurations of which somebody can have uncommitted entries, at most.
    pub const MAX_RUNS: usize = 1024;

    /// The number of the configuration in which it was said.
    pub fn config(&self) -> u64 {
        match self {
            Self::Config(config) | Self::Resume { config, .. } => config.number,
            Self::Forward { config, .. }
            | Self::Ack { config, .. }
            | Self::Snapshot { config, .. }
            | Self::More { config, .. }
            | Self::AskCommitted { config, .. }
            | Self::Committed { config, .. } => *config,
        }
    }
}

impl Message for ChainMessage {
    const KIND: Kind = Kind::Chain;

    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Config(config) => config.put(out.u8(0)),
            Self::Resume { config, executed, runs } => {
                config.put(out.u8(1));
                put_list(runs, out.u64(*executed));
            }
            Self::Forward { config, after, durable, entries } => {
                out.u8(2).u64(*config).u64(*after).u64(*durable).count(entries.len());
                entries.iter().for_each(|e| e.put(out));
            }
            Self::Ack { config, committed } => {
                out.u8(3).u64(*config).u64(*committed);
            }
            Self::Snapshot { config, number, size, offset, bytes } => {
                out.u8(4).u64(*config).u64(*number).u64(*size).u64(*offset).var(bytes);
            }
            Self::More { config, number, offset } => {
                out.u8(5).u64(*config).u64(*number).u64(*offset);
            }
            Self::AskCommitted { config, id } => {
                out.u8(6).u64(*config).u64(*id);
            }
            Self::Committed { config, id, number } => {
                out.u8(7).u64(*config).u64(*id).u64(*number);
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = r.u8("chain message")?;
        match tag {
            0 => return ChainConfig::get(r).map(Self::Config),
            1 => {
                let config = ChainConfig::get(r)?;
                let executed = r.u64("executed number")?;
                return Ok(Self::Resume { config, executed, runs: runs(r)? });
            }
            2..=7 => {}
            _ => return Err(r.error("chain message")),
        }
        let config = r.u64("number of the configuration")?;
        Ok(match tag {
            2 => {
                let (after, durable) = (r.u64("number before")?, r.u64("durable watermark")?);
                Self::Forward { config, after, durable, entries: entries_after(after, r)? }
            }
            3 => Self::Ack { config, committed: r.u64("committed number")? },
            4 => {
                let (number, size) = (r.u64("number of a state")?, r.u64("size of a state")?);
                let offset = r.u64("offset in a state")?;
                let bytes = r.var(Self::CHUNK, "part of a state")?;
                if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > size) {
                    return Err(r.error("a part beyond the end of its state"));
                }
                let bytes = Bytes::copy_from_slice(bytes);
                Self::Snapshot { config, number, size, offset, bytes }
            }
            5 => {
                let number = r.u64("number of a state")?;
                Self::More { config, number, offset: r.u64("offset in a state")? }
            }
            6 => Self::AskCommitted { config, id: r.u64("question")? },
            _ => {
                let id = r.u64("question")?;
                Self::Committed { config, id, number: r.u64("committed number")? }
            }
        })
    }
}

fn runs(r: &mut Reader<'_>) -> Result<Vec<ChainPosition>, DecodeError> {
    let runs: Vec<ChainPosition> = get_list(r, ChainMessage::MAX_RUNS, "ends of runs")?;
    let rises = |w: &[ChainPosition]| w[0].config < w[1].config && w[0].number < w[1].number;
    if runs.is_empty() || !runs.windows(2).all(rises) {
        return Err(r.error("ends of runs that do not rise"));
    }
    Ok(runs)
}

fn entries_after(after: u64, r: &mut Reader<'_>) -> Result<Vec<ChainEntry>, DecodeError> {
    let n = r.count(MAX_FRAME, ChainEntry::OVERHEAD, "entries")?;
    if after.checked_add(n as u64).is_none() {
        return Err(r.error("numbers above the largest number"));
    }
    // Grown step by step: an entry takes more memory than bytes.
    let mut entries = Vec::new();
    for number in (after..).skip(1).take(n) {
        entries.push(ChainEntry::get(number, r)?);
    }
    Ok(entries)
}
