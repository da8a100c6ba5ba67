//! Everything that can happen to a client.

use crate::types::ReplicaId;
use crate::wire::{Command, Frame, Hello};

/// Names a call between a caller and its driver; the driver picks it, never twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// One event.
#[derive(Clone, Debug)]
pub enum Input {
    /// A link to a replica is up and its hello fits.
    Up {
        /// Which.
        replica: ReplicaId,
        /// What it said of itself.
        hello: Hello,
    },
    /// The link to a replica is gone.
    Down {
        /// Which.
        replica: ReplicaId,
    },
    /// Frames came from a replica.
    Frames {
        /// From which, as the link's key says.
        replica: ReplicaId,
        /// What, in order.
        frames: Vec<Frame>,
    },
    /// A call: commands that run in this order.
    Call {
        /// Its name.
        token: Token,
        /// What to run; not empty.
        commands: Vec<Command>,
        /// Whether commands of other calls may travel in the same request. Outputs stay apart,
        /// but they share the limit on a request's outputs: calls that expect large outputs
        /// should travel alone.
        coalesce: bool,
    },
    /// A call whose receipt is wanted: it is ordered, even if it only reads, and travels in a
    /// request of its own. What becomes of the receipt is told with [`super::Action::Receipt`],
    /// right before the call is done. Only for groups that vote.
    CallForReceipt {
        /// Its name.
        token: Token,
        /// What to run; not empty.
        commands: Vec<Command>,
    },
    /// A call that withdraws the first number of the first session ([`super::Start::first`]), once:
    /// its answer has all outputs of the request that had it, whichever that was (rule C2).
    Withdraw {
        /// Its name.
        token: Token,
    },
    /// Nobody waits for this call any more. It may still be executed; if it was sent it is
    /// repeated until it is answered or its time is over.
    Forget {
        /// Which.
        token: Token,
    },
    /// The instant of `next_wake` has come (or any other time).
    Tick,
    /// Nothing more is waiting: now is the time to send. Comes after every batch of other inputs;
    /// nothing is sent at any other time.
    Drained,
}
