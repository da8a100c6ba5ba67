//! The keys that links to replicas have to show now. They change while the replica runs (M3), and
//! handshakes ask for them at any time.

use super::DaemonError;
use super::node::gives_leases;
use crate::config::Cluster;
use crate::crypto::{KeyChange, PublicKey};
use crate::transport::{Admit, LinkClass};
use crate::types::ReplicaId;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// By roster place; none while a key is being replaced. Shared by all who hold a clone.
#[derive(Clone, Debug)]
pub(super) struct Pins(Arc<Mutex<Vec<Option<PublicKey>>>>);

impl Pins {
    /// Those of the cluster file.
    pub(super) fn new(cluster: &Cluster) -> Self {
        let keys = cluster.replicas.iter().map(|r| Some(r.public_key)).collect();
        Self(Arc::new(Mutex::new(keys)))
    }

    /// The key of a replica.
    pub(super) fn get(&self, replica: ReplicaId) -> Option<PublicKey> {
        self.lock().get(replica.index()).copied().flatten()
    }

    /// From now on a replica has this key.
    pub(super) fn set(&self, replica: ReplicaId, key: Option<PublicKey>) {
        if let Some(pin) = self.lock().get_mut(replica.index()) {
            *pin = key;
        }
    }

    /// Whose key it is.
    pub(super) fn owner(&self, key: &PublicKey) -> Option<ReplicaId> {
        let place = self.lock().iter().position(|pin| *pin == Some(*key));
        place.map(ReplicaId::from_index)
    }

    /// Who gets a link: other replicas with their present keys, and the clients.
    pub(super) fn admission(&self, cluster: &Cluster, me: ReplicaId) -> Admit {
        let clients: BTreeSet<PublicKey> = cluster.clients.iter().map(|c| c.public_key).collect();
        let pins = self.clone();
        let may_ask = gives_leases(cluster, me);
        let all = cluster.replicas.iter().map(|r| r.id);
        let linked = all.filter(|r| *r != me && cluster.are_linked(*r, me));
        let linked: BTreeSet<ReplicaId> = linked.collect();
        Arc::new(move |key, class| match class {
            LinkClass::Replica => pins.owner(key).is_some_and(|owner| linked.contains(&owner)),
            LinkClass::Client => clients.contains(key) || may_ask && pins.owner(key).is_some(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<PublicKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares what the cluster file says of replaced keys with what is on the disk. Gives the
/// replicas of which the disk knows a later key: of these the file is out of date.
///
/// # Errors
/// If the two contradict each other.
pub(super) fn outdated(
    cluster: &Cluster,
    disk: &[KeyChange],
) -> Result<Vec<ReplicaId>, DaemonError> {
    let mut behind = Vec::new();
    for entry in &cluster.replicas {
        let file = entry.key_changes();
        let disk: Vec<KeyChange> = disk.iter().filter(|c| c.replica == entry.id).copied().collect();
        if !file.iter().zip(&disk).all(|(a, b)| a == b) {
            return Err(DaemonError::KeysDiffer { id: entry.id.number() });
        }
        if disk.len() > file.len() {
            behind.push(entry.id);
        }
    }
    Ok(behind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SecretKey;
    use crate::files::init::{InitOptions, write_cluster};

    fn key(n: u8) -> PublicKey {
        SecretKey::from_seed([n; 32]).public()
    }

    fn cluster() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        write_cluster(&InitOptions::new(dir.path().join("c"))).unwrap().cluster
    }

    /// Where the master is a group of its own: R1 to R3 vote, and R4 to R6 are of chains.
    #[test]
    fn replicas_without_a_vote_are_clients_of_the_master_and_have_none_among_replicas() {
        use crate::config::FaultModel::FailStop;
        let dir = tempfile::tempdir().unwrap();
        let options = InitOptions::new(dir.path().join("c"));
        let options = InitOptions { fault_model: FailStop, chain_replicas: 3, ..options };
        let cluster = write_cluster(&options).unwrap().cluster;
        let admits = |me: usize, other: usize, class| {
            let admit = Pins::new(&cluster).admission(&cluster, ReplicaId::from_index(me));
            admit(&cluster.replicas[other].public_key, class)
        };
        let (replica, client) = (LinkClass::Replica, LinkClass::Client);
        assert!(admits(0, 2, replica) && admits(0, 2, client) && admits(0, 5, client));
        assert!(!admits(0, 5, replica) && !admits(5, 0, replica) && admits(5, 4, replica));
        assert!(!admits(5, 0, client) && !admits(5, 4, client));
    }

    #[test]
    fn a_pin_that_changes_changes_who_is_admitted() {
        let (cluster, r) = (cluster(), ReplicaId::from_index);
        let pins = Pins::new(&cluster);
        let admit = pins.admission(&cluster, r(0));
        let old = cluster.replicas[2].public_key;
        assert!(admit(&old, LinkClass::Replica) && !admit(&old, LinkClass::Client));
        assert!(!admit(&cluster.replicas[0].public_key, LinkClass::Replica), "our own");
        pins.set(r(2), None);
        assert!(!admit(&old, LinkClass::Replica) && !admit(&key(9), LinkClass::Replica));
        pins.set(r(2), Some(key(9)));
        assert!(!admit(&old, LinkClass::Replica) && admit(&key(9), LinkClass::Replica));
        assert_eq!((pins.owner(&key(9)), pins.get(r(2))), (Some(r(2)), Some(key(9))));
        assert!(admit(&cluster.clients[0].public_key, LinkClass::Client));
    }

    #[test]
    fn the_file_may_be_behind_or_ahead_of_the_disk_and_not_beside_it() {
        let (mut cluster, r3) = (cluster(), ReplicaId::from_index(2));
        let change = |out, n| KeyChange { out, replica: r3, key: key(n) };
        let disk = [change(2, 7), change(5, 8)];
        assert_eq!(outdated(&cluster, &[]).unwrap(), []);
        assert_eq!(outdated(&cluster, &disk).unwrap(), [r3]);
        let first = cluster.replicas[2].public_key;
        let former = |key, until| crate::config::FormerKey { key, until };
        cluster.replicas[2].public_key = key(7);
        cluster.replicas[2].former_keys = vec![former(first, 1)];
        assert_eq!(outdated(&cluster, &disk).unwrap(), [r3]);
        assert_eq!(outdated(&cluster, &disk[..1]).unwrap(), []);
        assert_eq!(outdated(&cluster, &[]).unwrap(), []);
        let other = outdated(&cluster, &[change(3, 7)]).unwrap_err();
        assert!(other.to_string().contains("`former_keys` of replica 3"), "{other}");
    }
}
