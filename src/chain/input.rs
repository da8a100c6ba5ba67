//! Everything that can happen to a replica of a chain.

use crate::types::{ClientId, LinkId, ReplicaId};
use crate::wire::{ChainMessage, ChainQuery, Request};
use bytes::Bytes;

/// One event. The driver hands over all that has come, then [`Input::Drained`].
///
/// The time that goes with an input is read after the input came: an answer to a query is right at
/// that time, however long handling it takes.
#[derive(Clone, Debug)]
pub enum Input {
    /// A link to another replica is up. What is sent over it comes in order until it is down.
    PeerUp {
        /// Who.
        peer: ReplicaId,
    },
    /// The link to a replica is gone.
    PeerDown {
        /// Who.
        peer: ReplicaId,
    },
    /// A message came from a replica.
    Peer {
        /// From whom, as the link's key says.
        peer: ReplicaId,
        /// What.
        message: ChainMessage,
    },
    /// A client's update (CH-U1). That its key may send it is the driver's to check.
    Update {
        /// The link that refusals go to.
        link: LinkId,
        /// Whose it is.
        client: ClientId,
        /// What.
        request: Request,
    },
    /// A client's query (CH-Q1, CH-Q2).
    Query {
        /// The link that the answer goes to.
        link: LinkId,
        /// Whose it is.
        client: ClientId,
        /// What.
        query: ChainQuery,
    },
    /// The master's output for [`super::Action::Renew`] of this serial number.
    Renewed {
        /// Which.
        serial: u64,
        /// A [`crate::wire::ChainGrant`].
        output: Bytes,
    },
    /// What [`super::Action::Append`] or [`super::Action::Save`] of this sequence asked for is
    /// durable, and all appends before it.
    Synced {
        /// Which.
        sequence: u64,
    },
    /// What [`super::Action::Encode`] asked for is there.
    Encoded {
        /// Its name.
        id: u64,
        /// What [`super::Encoding::run`] gave.
        state: Bytes,
    },
    /// The instant of [`super::Chain::next_wake`] has come (or any other time).
    Tick,
    /// Nothing more is waiting: now is the time to write, forward, commit and acknowledge.
    Drained,
}
