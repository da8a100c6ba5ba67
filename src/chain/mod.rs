//! One replica of a fail-stop chain as a state machine: events in, actions out.
//!
//! `t + 1` replicas tolerate `t` stops. Nobody lies here, so nothing is signed and no client
//! votes. docs/chain.md has the rules; the code cites them as `CH-U1` and so on, since `Q1` and
//! others mean something else in docs/protocol.md. The protocol is the chain replication of
//! van Renesse and Schneider (OSDI 2004), with the reads at all replicas of CRAQ by Terrace and
//! Freedman (USENIX ATC 2009).
//!
//! ```text
//!            updates           Forward             Forward            replies, answers
//!   clients ---------> head ------------> middle ------------> tail ------------------> clients
//!                           <------------        <------------
//!                                Ack                  Ack
//! ```
//!
//! - The head gives each update the next number and drops repeats (`clients.rs`, CH-U1).
//! - Updates go down in batches on one stream, each replica writing them beside (`downstream.rs`,
//!   `log.rs`, CH-U2). The watermark that goes with them says what all before have synced.
//! - The tail commits what it has and the watermark covers: it executes, replies, acknowledges.
//!   The others execute what is acknowledged (`commit.rs`, CH-U3 and CH-U4).
//! - When link or configuration are new, the successor says what it has, and the predecessor goes
//!   on from there as soon as it is ready itself; so a configuration comes down from the head
//!   (`upstream.rs`, CH-F1 to CH-F3). The tail opens for queries when it has come down to it.
//! - Who joins behind the tail gets a state and what follows (CH-F4). Once it is close, the tail
//!   commits only what it has, too, and tells the master so; then it can be appended at any time.
//! - All that clients see needs a lease of the master (`lease.rs`, CH-L1).
//!
//! What stays true (docs/chain.md says why, `crate::simulator::chain` checks it at every step):
//! of two members of one configuration the one nearer to the tail has a prefix of the other's
//! history; what is executed anywhere is on the disk of every member, and stays in every history;
//! at most one replica answers as the tail.

mod actions;
mod clients;
mod commit;
mod core;
mod downstream;
mod encoding;
mod executor;
mod fingerprint;
mod history;
mod input;
mod lease;
mod log;
mod pending;
mod queries;
mod recovered;
mod setup;
mod stats;
mod upstream;

pub use actions::{Action, Actions, Event};
pub use core::Chain;
pub use encoding::Encoding;
pub use input::Input;
pub use recovered::Recovered;
pub use setup::{ChainLimits, Found, MakeService, Setup};
pub use stats::Stats;

#[cfg(test)]
mod tests;
