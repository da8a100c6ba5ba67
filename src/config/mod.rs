//! The cluster file: TOML in, checked values out.

mod cluster;

pub use cluster::{ClientEntry, Cluster, FaultModel, ReplicaEntry, ServiceChoice, Testing};
