//! A fake world to run whole clusters in: virtual time, a network that misbehaves on demand, and
//! checkers that know the truth.
//!
//! Everything follows from one seed. The cores run unchanged; only what surrounds them is fake.
//! The checkers share no code with what they check: they see what replicas say they executed and
//! what clients sent and accepted, and judge that against models of their own.

pub mod check;
mod client_node;
mod dice;
pub mod fairness;
mod judge;
mod kv;
pub mod linear;
pub mod liveness;
mod lying_client;
mod mischief;
pub mod model;
mod network;
mod node;
mod note;
mod options;
mod replica_node;
mod run;
mod world;

pub use client_node::{ClientNode, Workload};
pub use dice::Dice;
pub use lying_client::{ClientLie, Knows, LyingClient};
pub use network::NetworkOptions;
pub use node::{Arrival, Clock, Effect, Node, NodeId};
pub use note::{Note, client_id};
pub use options::{AfterPanic, Options, RandomFaults, Twins, WrongService};
pub use replica_node::{Inner, ReplicaNode};
pub use run::{Failure, Report, run, run_with};
pub use world::{Fault, Noted, Stopped, World, WorldOptions};
