//! The state that a service begins with, where the cluster file names one.
//!
//! It lies in the data directory as the bytes that [`Service::snapshot`] gave, or with sessions
//! beside them ([`crate::service::Carried`]). The cluster file has their digest, and with it the
//! cluster's id: so no two replicas of one cluster begin with different states. It stays there,
//! since a log without a snapshot is executed again from it.

use super::DaemonError;
use super::disk::Claim;
use super::mark;
use crate::config::Cluster;
use crate::files;
use crate::offline::InitialState;
use crate::service::{Inherited, Service};
use bytes::Bytes;
use std::path::Path;

const FILE: &str = "initial.state";
/// The state is the clients' own business.
const MODE: u32 = 0o600;

const REMEDY: &str = "give it the state that the cluster file names: `quorate snapshot restore \
                      FILE --config CLUSTER --data DIR` for a backup, `quorate convert --install \
                      FILE` with the same for a state of another fault model";

/// What a cluster begins with.
#[derive(Debug)]
pub(super) struct Initial {
    /// The state of the service.
    pub(super) service: Bytes,
    /// What was taken over with it, if it comes from another fault model.
    pub(super) inherited: Option<Inherited>,
}

/// Reads what this cluster begins with; `None` if it begins with nothing.
///
/// # Errors
/// If the directory does not hold it.
fn read(directory: &Path, cluster: &Cluster) -> Result<Option<Initial>, DaemonError> {
    let Some(named) = cluster.service.initial else { return Ok(None) };
    let path = directory.join(FILE);
    let failed = |reason: String| DaemonError::Data { path: path.clone(), reason };
    let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            let what = "is missing: this cluster does not begin with an empty state";
            failed(format!("{what}; {REMEDY}"))
        }
        _ => failed(format!("cannot be read: {e}; {REMEDY}")),
    })?;
    let bytes = Bytes::from(bytes);
    let state = InitialState::named(bytes.clone(), &named).ok_or_else(|| {
        let found = InitialState::Service(bytes).digest();
        let what = format!("is another state ({found}) than the cluster file names ({named})");
        failed(format!("{what}; {REMEDY}"))
    })?;
    let (service, carried) = state.parts().map_err(|e| failed(format!("{e}; {REMEDY}")))?;
    let inherited = carried.map(|c| c.inherited(&cluster.limits)).transpose();
    let inherited = inherited.map_err(|e| {
        let remedy = "write the [limits] of the former cluster file back, or higher ones";
        failed(format!("its sessions are beyond the limits of the cluster file: {e}; {remedy}"))
    })?;
    Ok(Some(Initial { service, inherited }))
}

/// Lets a service begin with the state of this cluster, and gives what that begins with.
///
/// # Errors
/// As [`read`], and if the service cannot read it.
pub(super) fn load(
    directory: &Path,
    cluster: &Cluster,
    service: &mut dyn Service,
) -> Result<Option<Initial>, DaemonError> {
    let Some(initial) = read(directory, cluster)? else { return Ok(None) };
    service.restore(&initial.service).map_err(|e| {
        let (path, name) = (directory.join(FILE), service.name());
        let reason = format!("the service `{name}` cannot read it: {e}; {REMEDY}");
        DaemonError::Data { path, reason }
    })?;
    Ok(Some(initial))
}

/// Whether the cluster file names this state.
///
/// # Errors
/// What to write into it.
pub(super) fn is_named(
    directory: &Path,
    cluster: &Cluster,
    state: &InitialState,
) -> Result<(), DaemonError> {
    let path = directory.join(FILE);
    let failed = |reason: String| DaemonError::Data { path: path.clone(), reason };
    let digest = state.digest();
    if cluster.service.initial != Some(digest) {
        let what = match cluster.service.initial {
            Some(named) => format!("names another initial state ({named})"),
            None => "names no initial state".to_owned(),
        };
        let remedy = format!("write initial_state = \"{}\" under [service]", digest.to_hex());
        return Err(failed(format!(
            "cannot be made, since the cluster file {what}; in the file of a new cluster {remedy}, \
             the same on all hosts"
        )));
    }
    Ok(())
}

/// Whether a directory has been given this state to begin with.
pub(super) fn has(directory: &Path, state: &InitialState) -> bool {
    std::fs::read(directory.join(FILE)).is_ok_and(|bytes| bytes == *state.bytes())
}

/// Prepares a data directory of a new cluster with the state that it begins with.
///
/// # Errors
/// If the cluster file does not name this state, if the directory is in use or was used before, or
/// cannot be written.
pub fn prepare(
    directory: &Path,
    cluster: &Cluster,
    state: &InitialState,
) -> Result<(), DaemonError> {
    let path = directory.join(FILE);
    let failed = |reason: String| DaemonError::Data { path: path.clone(), reason };
    is_named(directory, cluster, state)?;
    let claim = Claim::take(directory)?;
    if let Some(mark) = mark::read(claim.directory())? {
        return Err(failed(format!(
            "cannot be made, since {} of cluster {} has started on this directory before; give an \
             empty directory with --data",
            mark.replica, mark.cluster
        )));
    }
    let written = files::write_atomically(&path, state.bytes(), MODE);
    written.map_err(|e| failed(format!("{e}; free some space, or let this user write there")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::init::{InitOptions, write_cluster};
    use crate::service::kv::Kv;
    use crate::types::{Digest, ReplicaId};

    fn cluster(initial: Option<Digest>) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let options = InitOptions { initial, ..InitOptions::new(dir.path().join("c")) };
        write_cluster(&options).unwrap().cluster
    }

    fn state() -> InitialState {
        let mut kv = Kv::new();
        let put = crate::service::kv::Command::put("colour", "blue").encode();
        kv.execute(crate::types::AgreedTime(1), &crate::types::ClientId([1; 32]), &put);
        InitialState::Service(kv.snapshot().into())
    }

    #[test]
    fn a_replica_begins_with_the_state_that_the_file_names_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (state, mut kv) = (state(), Kv::new());
        let named = cluster(Some(state.digest()));
        let missing = load(dir.path(), &named, &mut kv).unwrap_err().to_string();
        assert!(
            missing.contains("is missing") && missing.contains("snapshot restore"),
            "{missing}"
        );
        prepare(dir.path(), &named, &state).unwrap();
        // Twice is as good as once.
        prepare(dir.path(), &named, &state).unwrap();
        load(dir.path(), &named, &mut kv).unwrap();
        assert_eq!(kv.get(b"colour"), Some(&b"blue"[..]));

        let mut bytes = state.bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(dir.path().join(FILE), bytes).unwrap();
        let other = load(dir.path(), &named, &mut Kv::new()).unwrap_err().to_string();
        assert!(other.contains("is another state"), "{other}");
        // One that begins with nothing does not look.
        load(dir.path(), &cluster(None), &mut Kv::new()).unwrap();
    }

    #[test]
    fn only_an_unused_directory_of_a_cluster_that_names_the_state_is_prepared() {
        let dir = tempfile::tempdir().unwrap();
        let state = state();
        for initial in [None, Some(Digest([3; 32]))] {
            let refused = prepare(dir.path(), &cluster(initial), &state).unwrap_err().to_string();
            assert!(refused.contains("write initial_state = "), "{refused}");
        }
        let named = cluster(Some(state.digest()));
        let claim = Claim::take(dir.path()).unwrap();
        let in_use = prepare(dir.path(), &named, &state);
        assert!(matches!(in_use, Err(DaemonError::InUse { .. })));
        drop(claim);
        mark::count(dir.path(), named.id(), ReplicaId::from_index(0), None).unwrap();
        let used = prepare(dir.path(), &named, &state).unwrap_err().to_string();
        assert!(used.contains("has started on this directory before"), "{used}");
        assert!(!dir.path().join(FILE).exists());
    }

    #[test]
    fn clusters_that_begin_with_different_states_are_different_clusters() {
        let one = cluster(Some(Digest([3; 32])));
        let mut two = one.clone();
        two.service.initial = None;
        assert_ne!(one.id(), two.id());
        assert_ne!(one.digest(), two.digest());
        let name = |c: &Cluster| c.fields().into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        assert_eq!(name(&one), name(&two));
    }
}
