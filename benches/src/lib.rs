//! The paths that are measured, driven without sockets over the public interface of the crate.
//! `micro.rs` takes their times, `instructions.rs` counts their instructions.
//!
//! Each path checks that it did what is measured and panics otherwise: a core that answers nothing
//! would be fast.

#![cfg(feature = "paths")]

mod cores;
mod disks;
mod execution;
mod group;
pub mod samples;

pub use cores::{Cores, Due};
pub use disks::{FileDisk, open_log};
pub use execution::Execution;
pub use group::{Group, Prepared};
