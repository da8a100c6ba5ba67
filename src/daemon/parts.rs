//! What the loop of a replica is made from.

use super::chains::Chains;
use super::disk::{Disk, Done};
use super::node::Request;
use super::pins::Pins;
use crate::adversary::Lie;
use crate::config::Cluster;
use crate::crypto::SecretKey;
use crate::replica::Stored;
use crate::service::{Inherited, Service};
use crate::transport::Endpoint;
use crate::types::{DiskState, ReplicaId};
use crate::wire::Mark;
use bytes::Bytes;
use std::path::PathBuf;
use tokio::sync::mpsc;

/// What a node is made from.
pub(super) struct Parts {
    pub(super) cluster: Cluster,
    pub(super) id: ReplicaId,
    pub(super) key: SecretKey,
    pub(super) service: Box<dyn Service>,
    pub(super) lie: Option<Lie>,
    pub(super) mark: Mark,
    /// Where its files are.
    pub(super) directory: PathBuf,
    /// The disk, and what says that something is durable on it.
    pub(super) disk: (Disk, mpsc::UnboundedReceiver<Done>),
    /// What was found on it.
    pub(super) recovered: Vec<Bytes>,
    pub(super) stored: Stored,
    /// What the service goes on from, beside its state.
    pub(super) inherited: Option<Inherited>,
    pub(super) endpoint: Endpoint,
    pub(super) inbox: mpsc::Receiver<Request>,
    pub(super) pins: Pins,
    /// Its parts in chains, in the fail-stop model.
    pub(super) chains: Option<Chains>,
    /// Whether the cluster file lacks a change of a key.
    pub(super) file_behind: bool,
}

impl Parts {
    /// What the disk holds of what the replica has signed. One that has written something is known,
    /// whatever its mark says.
    pub(super) fn disk_state(&self) -> DiskState {
        let has_written = !self.recovered.is_empty() || self.stored != Stored::default();
        match self.mark.disk {
            DiskState::New if has_written => DiskState::Known,
            other => other,
        }
    }
}

/// A number that only the holder of the key knows.
pub(super) fn seed_of(key: &SecretKey) -> u64 {
    let secret = key.derive("seed of hash tables");
    u64::from_le_bytes(*secret.first_chunk::<8>().expect("it has 32 bytes"))
}
