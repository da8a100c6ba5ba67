//! One replica: links, intake, ordering, execution, replies.
//!
//! [`Replica`] takes one event at a time and answers with actions; it holds no socket, no clock
//! and no thread, so the daemon and the simulator run the very same code. Inside, a request goes
//! this way:
//!
//! 1. `intake.rs` judges a client's request (limits, role, repeats) and holds its body;
//! 2. the ordering core gives it a candidate, exchanges proposals, and commits steps;
//! 3. `executor.rs` runs committed steps in order against the service, once all bodies are there
//!    (`bodies.rs` holds them, missing ones are fetched from whoever gave a candidate, O7);
//! 4. the replies of a step go out together, one message a client link.
//!
//! A replica that cannot follow any more fetches a snapshot from the others (`transfer.rs`, §7).
//! What these have not gone on with after a power cut it gives up and starts again from its disk
//! (`undo.rs`); it says so from then on (`rolled.rs`). One whose results are not those of `t + 1`
//! others (`divergence.rs`) gives up its state; where no `t + 1` can agree all stop and look for
//! the command that shows it (`quarantine.rs`, `difference.rs`, §6).
//!
//! How long messages take is measured all the time, against Δ (`meter.rs`).
//!
//! Signatures are checked here, before the core: [`crate::crypto::Unverified`] goes no further.

mod actions;
mod allowance;
mod answers;
mod bodies;
mod clients;
mod committed;
mod delta;
mod difference;
mod divergence;
mod epochs;
mod executor;
mod fetch;
mod heard;
mod input;
mod intake;
mod journal;
mod keys;
mod links;
mod measure;
mod meter;
mod outputs;
mod quarantine;
mod reads;
mod receipts;
mod recover;
mod replay;
#[allow(clippy::module_inception)]
mod replica;
mod replies;
mod report;
mod rolled;
mod setup;
mod status;
mod transfer;
mod undo;

pub use actions::{Action, Actions, CloseReason, Event, Lane, Recovered, StepTrace, TraceEntry};
pub use delta::{DelayRow, DeltaAlarm, DeltaStatus, Late};
pub use input::Input;
pub use keys::recorded_keys;
pub use replay::Replay;
pub use replica::Replica;
pub use setup::{ENCODE_AT_ONCE, Setup, Stored};
pub use status::{
    ChainRole, ChainStatus, FormerKey, Glance, LinkStatus, Place, Promised, Standing, Status,
    TransferLie, TransferStatus, Waiting, Why,
};
pub use transfer::{ChunkList, Encoded, Encoding, FrozenState, OpenedSnapshot};
