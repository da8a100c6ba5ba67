//! The cluster file: TOML in, checked values out.
//!
//! One file describes a cluster and is the same on all hosts; [`Cluster::parse`] reads it.
//! Nothing of it is taken as it comes: unknown keys, values out of range, rosters that do not fit
//! `t`, keys and addresses given twice, and timers that would blame good replicas are refused with
//! file, line, what is wrong and what to write instead ([`ConfigError`]).
//!
//! This module reads no files: [`crate::files`] does, and hands in how keys are read.

mod address;
mod bounds;
mod chains;
mod cluster;
mod duration;
mod error;
mod field;
mod keymap;
mod parse;
mod raw;
mod rewrite;
mod roster;
mod shares;
mod timers;

#[cfg(test)]
mod tests;

pub use chains::default_lease;
pub use cluster::{
    ChainEntry, ChainSettings, ClientEntry, Cluster, FaultModel, FormerKey, Reads, ReplicaEntry,
    ServiceChoice, Testing,
};
pub use duration::{MAX_DURATION, parse_duration, show_duration};
pub use error::ConfigError;
pub use keymap::{KeyMap, MAX_CHAINS, SLOTS, Share, slot_of};
pub use parse::ReadKey;
pub use rewrite::{with_key_replaced, with_model_changed};
pub use timers::least_patience;
