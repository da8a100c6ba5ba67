//! What can be known of a replica's disk without starting it: for tools that inspect, save and
//! execute again.
//!
//! - [`survey`] reads the log of rounds and the snapshots, tells what is damaged, and judges
//!   signatures and certificates of what is logged.
//! - [`Player`] executes a log again, by the code that a start of the replica runs, and compares
//!   the running roots with those that were attested.
//! - [`Lockstep`] goes over two such executions and names the first difference: between two
//!   disks, or between two runs over one, which shows a service that is not deterministic.
//! - [`Backup`] is a snapshot with its attestations as one file, from which a new cluster can
//!   begin.
//!
//! - [`repair()`] puts back what a log has lost, from logs of other replicas.
//!
//! - [`agreed()`] says up to where several disks of a group have the same history,
//!   [`whole_chain()`] what several disks of a chain come to.
//!
//! Nothing here changes a disk but [`repair()`]: [`crate::storage::Overlay`] keeps in memory what
//! opening a log writes.

mod agreed;
mod backup;
mod judge;
mod lockstep;
mod player;
mod repair;
mod survey;
mod watched;
mod whole_chain;

pub use crate::service::words::{in_words, text};
pub use agreed::{Agreed, Executed, agreed};
pub use backup::{Backup, BackupError, InitialState};
pub use judge::{Judge, Problem};
pub use lockstep::{Difference, Lockstep};
pub use player::{Attested, Player, Seen, SeenCommand, SeenStep};
pub use repair::{Donor, Keep, Left, Place, RepairError, Repaired, repair};
pub use survey::{Kind, Listed, LogSurvey, SnapshotSurvey, Tally, survey, survey_snapshots};
pub use watched::Watch;
pub use whole_chain::{Unlike, WholeChain, whole_chain};
