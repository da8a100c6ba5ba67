//! Everything that a replica of a chain asks of its driver, as data.

use super::Encoding;
use crate::types::{ClientId, LinkId, ReplicaId};
use crate::wire::{ChainAnswer, ChainConfig, ChainEntry, ChainMessage, Reply};
use bytes::Bytes;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a message to a replica; dropped if its link is down.
    ToPeer {
        /// To whom.
        peer: ReplicaId,
        /// What.
        message: ChainMessage,
    },
    /// Tell a client what became of its update, on whatever link it has; dropped if it has none.
    Reply {
        /// Whom.
        client: ClientId,
        /// The number under which it was executed.
        number: u64,
        /// The outcome.
        reply: Reply,
    },
    /// Send an answer or a refusal to a client; dropped if its link is down.
    Answer {
        /// On which link.
        link: LinkId,
        /// What.
        answer: ChainAnswer,
    },
    /// Have the master execute this (CH-L1), and then give [`super::Input::Renewed`]. It need not
    /// be repeated: the next one comes by itself.
    Renew {
        /// Names it.
        serial: u64,
        /// The master's command.
        command: Bytes,
    },
    /// Append these records to the log, make them durable, and then give
    /// [`super::Input::Synced`].
    Append {
        /// 1, 2, 3, ... since this start, one count with that of [`Action::Save`].
        sequence: u64,
        /// The records, in order.
        entries: Vec<Bytes>,
    },
    /// Save this state, make it durable, and then give [`super::Input::Synced`]. Records with
    /// numbers up to this one, and older states, may go then; if `anew` is set, all records
    /// that were written before this must: they may not be of the history.
    Save {
        /// One count with that of [`Action::Append`].
        sequence: u64,
        /// The number after whose execution this was the state.
        number: u64,
        /// The state.
        state: Bytes,
        /// Whether the log begins anew behind it.
        anew: bool,
    },
    /// Make the bytes of a state beside, on another thread, and then give
    /// [`super::Input::Encoded`]. No other is asked for before that, unless a state has come from
    /// the predecessor meanwhile.
    Encode {
        /// Names it.
        id: u64,
        /// The state.
        work: Encoding,
    },
    /// Note for ever, before anything else is done, that this directory has all that the replica
    /// ever had ([`super::Setup::unsure`]).
    Begun,
    /// Something that people, or checkers, should know.
    Event(Event),
}

/// What a driver logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Another configuration holds.
    Configured {
        /// Which.
        config: ChainConfig,
    },
    /// It has no lease any more, and serves nobody until it has one (CH-L1).
    LeaseLost,
    /// As the tail it answers from now on.
    Open {
        /// In which configuration.
        config: u64,
    },
    /// The chain waits for what an earlier life of this replica had on a disk that is lost (CH-F6),
    /// unless another member lives.
    DiskLost,
    /// Updates that were never committed are gone: who asked for them asks again (CH-F1).
    Dropped {
        /// How many.
        updates: u64,
    },
    /// A state came from the predecessor (CH-F4).
    TookState {
        /// The number after whose execution it was the state.
        number: u64,
    },
    /// An update was executed, for checkers.
    Executed {
        /// Which.
        entry: Box<ChainEntry>,
        /// Its outcome's bytes; empty for one that gets nothing.
        outcome: Bytes,
        /// Whether its commands ran now.
        fresh: bool,
    },
    /// It has stopped itself; nothing more comes from it.
    Halted {
        /// Why.
        why: String,
    },
}

/// A list of actions in the order in which to do them.
pub type Actions = Vec<Action>;
