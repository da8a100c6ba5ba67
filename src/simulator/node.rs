//! What the world needs to know of a node: a replica, a liar or a client.

use crate::replica::{Encoded, Encoding, Lane};
use crate::types::{Instant, Now, ReplicaId};
use crate::wire::{Frame, FrameDecoder, Hello, Stamp};
use bytes::Bytes;
use std::fmt;

/// A node of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeId {
    /// A replica, honest or not.
    Replica(ReplicaId),
    /// A client, honest or not, counted from 0.
    Client(u32),
}

impl NodeId {
    /// The replica with this number, counted from 0.
    pub fn replica(index: usize) -> Self {
        NodeId::Replica(ReplicaId::from_index(index))
    }

    /// Whether it is a replica.
    pub fn is_replica(self) -> bool {
        matches!(self, NodeId::Replica(_))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeId::Replica(r) => write!(f, "{r}"),
            NodeId::Client(c) => write!(f, "client {c}"),
        }
    }
}

/// What comes to a node. All that comes at one instant is handed over in order, then `Drained`,
/// as a real driver does.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// A link is up. `connection` is new for each link that ever comes up.
    Up {
        /// The other side.
        peer: NodeId,
        /// Names the connection.
        connection: u64,
        /// What a replica at the other side said of itself.
        hello: Option<Hello>,
    },
    /// A link is gone with everything in flight on it.
    Down {
        /// The other side.
        peer: NodeId,
        /// Names the connection.
        connection: u64,
    },
    /// Frames that came on one stream.
    Frames {
        /// From whom.
        peer: NodeId,
        /// On which connection.
        connection: u64,
        /// In order.
        frames: Vec<Frame>,
        /// What their sender put under them, if it was a replica, on the protocol stream. Real
        /// drivers send it as a frame.
        stamp: Option<Stamp>,
    },
    /// What [`Effect::Persist`] of this sequence asked for is durable.
    Synced {
        /// Which.
        sequence: u64,
    },
    /// What [`Effect::Encode`] of this number asked for.
    Encoded {
        /// Which.
        number: u64,
        /// What came of it.
        made: Encoded,
    },
    /// The instant of `next_wake` has come.
    Tick,
    /// Nothing more is waiting.
    Drained,
}

/// What a node asks of the world.
#[derive(Clone, Debug)]
pub enum Effect<T> {
    /// Send bytes that are or claim to be whole frames; dropped if the link is down.
    Send {
        /// To whom.
        to: NodeId,
        /// On which stream.
        lane: Lane,
        /// The frames.
        frame: Bytes,
    },
    /// Write these records to the node's disk, sync them, and tell it.
    Persist {
        /// 1, 2, 3, ... since the node started.
        sequence: u64,
        /// The records.
        records: Vec<Bytes>,
    },
    /// Append entries to the node's log, make them durable, and tell it.
    Append {
        /// One count with [`Effect::Persist`].
        sequence: u64,
        /// The entries.
        entries: Vec<Bytes>,
    },
    /// Save a snapshot, make it durable, and tell it. Then those before the one before it may go,
    /// and what of the log none of these needs.
    Save {
        /// One count with [`Effect::Persist`].
        sequence: u64,
        /// Where the log goes on from it.
        first: u64,
        /// What attests it.
        head: Bytes,
        /// The state.
        state: Bytes,
    },
    /// Start again, with what is on the node's disk.
    StartAgain,
    /// Make the bytes of a state and give them, after a while.
    Encode {
        /// What names it.
        number: u64,
        /// The state, and what is wanted of it.
        work: Encoding,
    },
    /// Close a link.
    Close {
        /// The other side.
        peer: NodeId,
        /// Why.
        why: String,
    },
    /// Tell the checkers something.
    Note(T),
}

/// Cuts bytes into the frames that they are; `None` if they are not just whole frames.
pub(super) fn frames_of(bytes: &Bytes) -> Option<Vec<Frame>> {
    let (mut decoder, mut frames) = (FrameDecoder::default(), Vec::new());
    decoder.push(bytes.clone());
    while let Some(frame) = decoder.next_frame().ok()? {
        frames.push(frame);
    }
    (decoder.buffered() == 0).then_some(frames)
}

/// A node: the same surface as the cores have.
pub trait Node {
    /// What it tells the checkers.
    type Note;

    /// Takes one arrival.
    fn handle(&mut self, now: Now, arrival: Arrival, out: &mut Vec<Effect<Self::Note>>);

    /// What it puts under what it sends to a replica now, by its monotonic clock.
    fn stamp(&mut self, _to: ReplicaId, _now: Instant) -> Option<Stamp> {
        None
    }

    /// It did nothing from `since` until now, as a driver notices by itself.
    fn away(&mut self, _now: Now, _since: Instant, _out: &mut Vec<Effect<Self::Note>>) {}

    /// When it wants its next tick, by its own monotonic clock.
    fn next_wake(&self) -> Option<Instant>;

    /// What it says of itself when a link comes up; clients say nothing.
    fn hello(&self) -> Option<Hello>;
}
