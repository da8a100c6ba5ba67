//! A fake world to run whole clusters in: virtual time, a network that misbehaves on demand, and
//! checkers that know the truth.
//!
//! Everything follows from one seed. The cores run unchanged; only what surrounds them is fake.
//! The checkers share no code with what they check: they see what replicas say they executed and
//! what clients sent and accepted, and judge that against models of their own.

mod cast;
mod cells;
pub mod chain;
mod chaos;
pub mod check;
mod client_node;
mod clock;
mod dice;
mod disk;
pub mod explore;
pub mod fairness;
mod fault;
mod judge;
mod kv;
pub mod linear;
pub mod liveness;
mod lying_client;
mod meter;
mod mischief;
pub mod model;
mod network;
mod node;
mod note;
mod operator;
mod options;
mod replica_node;
mod report;
mod run;
mod seeker;
mod without_log;
mod world;

pub use cast::new_key;
pub use cells::Cell;
pub use chaos::{RandomFaults, plan};
pub use client_node::{ClientNode, Workload};
pub use clock::Clock;
pub use dice::Dice;
pub use disk::DiskOptions;
pub use fault::{CrashPoint, Fault, KINDS};
pub use lying_client::{ClientLie, Knows, LyingClient};
pub use meter::Meter;
pub use mischief::Given;
pub use network::NetworkOptions;
pub use node::{Arrival, Effect, Node, NodeId};
pub use note::{Note, client_id};
pub use operator::OperatorNode;
pub use options::{AfterPanic, Options, PersistRule, Receipts, Twins, WrongService};
pub use replica_node::{Inner, ReplicaNode};
pub use report::{Failure, Report};
pub use run::{run, run_watched, run_with};
pub use world::{Noted, Stopped, World, WorldOptions};
