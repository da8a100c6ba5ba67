//! The process: a replica, its sockets, its clock and its disk.
//!
//! One current-thread runtime owns the QUIC endpoint and the replica's core; nothing is done per
//! request but what the core does. The loop (`node.rs`) takes everything that has arrived, hands
//! it to the core, tells it that nothing more waits, and does what it asks for: that is the
//! batching. Frames of other replicas are taken before those of clients, but of each only a share
//! at a turn (`inlets.rs`).
//!
//! `peers.rs` dials and judges introductions, `places.rs` counts the links of each key,
//! `pending.rs` holds what is to be done, `mark.rs` remembers on disk that this replica took
//! part, `disk.rs` keeps what must outlive it, `admin.rs` answers on the admin address,
//! `journal.rs` turns events into log lines.
//!
//! In the fail-stop model the replica is of the group of the master, and `chains.rs` has its parts
//! in the chains, `chained.rs` one of them: `chain_disk.rs` keeps that, `renewals.rs` asks the
//! master for leases, `gate.rs` judges who may ask it for what.
//!
//! ```no_run
//! # async fn example() -> Result<(), quorate::daemon::DaemonError> {
//! use quorate::{Daemon, files, service::counter::Counter, types::ReplicaId};
//! let cluster = files::load_cluster("quorate.toml".as_ref()).expect("a cluster file");
//! let key = files::read_secret_key("keys/replica-1.pem".as_ref()).expect("a key file");
//! let replica = ReplicaId::new(1).expect("1 is a replica's number");
//! let mut daemon = Daemon::builder(cluster, replica, key)
//!     .data_dir("data/replica-1")
//!     .service(Box::new(Counter::default()))
//!     .start()
//!     .await?;
//! Err(daemon.wait().await)
//! # }
//! ```

mod admin;
mod builder;
mod chain_disk;
mod chained;
mod chains;
mod clock;
mod convert;
mod data;
mod determinism;
mod disk;
mod encoder;
mod error;
mod gate;
mod halted;
mod initial;
mod inlets;
mod journal;
mod mark;
mod node;
mod open_files;
mod parts;
mod peers;
mod pending;
mod pins;
mod places;
mod renewals;
#[cfg(test)]
mod tests;

pub use builder::{Builder, Daemon};
pub use chained::master_of;
pub use convert::{ConvertError, FoundDisk, Installed, TakenOver, install, take_over};
pub use data::{ClaimedRounds, DataDirectory, RoundsFiles, ordered_service};
pub use determinism::{Runs, check_determinism};
pub use disk::{Directory as RoundsDirectory, RoundsDisk};
pub use error::DaemonError;
pub use initial::prepare;
