//! The mark on disk: this replica has taken part (docs/protocol.md §7).

use super::DaemonError;
use super::disk::Directory;
use crate::config::Cluster;
use crate::storage::{Disk, DiskError, Point, START, replace};
use crate::types::{Digest, DiskState, ReplicaId};
use crate::wire::Mark;
use std::path::Path;

pub(super) const FILE: &str = "cluster.mark";

const WRITABLE: &str = "free some space, let this user write there, or give another directory \
                        with --data";

/// What is left to do with a directory that cannot be used any more.
pub(super) const GIVE_UP: &str = "move this directory away, and start the replica once with \
                                  --replace-disk on an empty one: it joins the others again";

/// Reads the mark, if there is one, whosever it is.
pub(super) fn read(directory: &Path) -> Result<Option<Mark>, DaemonError> {
    let path = directory.join(FILE);
    match std::fs::read(&path) {
        Ok(bytes) => Mark::parse(&bytes).map(Some).map_err(|e| {
            let what = "is damaged, so what this replica has signed before is not known";
            failed(&path, format!("{what} ({e}); {GIVE_UP}"))
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(&path, format!("cannot be read: {e}; {WRITABLE}"))),
    }
}

/// Reads the mark, if there is one, for a replica of this cluster file: as [`look`].
///
/// # Errors
/// As there; if it was written under the other fault model, with a remedy of its own.
pub(super) fn look_for(
    directory: &Path,
    cluster: &Cluster,
    replica: ReplicaId,
) -> Result<Option<Mark>, DaemonError> {
    let asked = cluster.fault_model;
    let other = Cluster { fault_model: asked.other(), ..cluster.clone() }.id();
    if read(directory)?.is_some_and(|mark| mark.cluster == other) {
        let (written, asked) = (asked.other().name(), asked.name());
        return Err(failed(
            directory,
            format!(
                "was written by this cluster with fault_model = \"{written}\", and the cluster \
                 file says \"{asked}\": stop all replicas, write \"{written}\" back, and let \
                 `quorate convert --to {asked}` take over what is stored in these directories"
            ),
        ));
    }
    look(directory, cluster.id(), replica)
}

/// Reads the mark, if there is one: then the replica took part before.
pub(super) fn look(
    directory: &Path,
    cluster: Digest,
    replica: ReplicaId,
) -> Result<Option<Mark>, DaemonError> {
    let before = read(directory)?;
    if let Some(found) = before.filter(|m| m.cluster != cluster || m.replica != replica) {
        let name = |cluster: Digest, replica| format!("{replica} of cluster {cluster}");
        return Err(DaemonError::ForeignData {
            path: directory.to_owned(),
            found: name(found.cluster, found.replica),
            wanted: name(cluster, replica),
        });
    }
    Ok(before)
}

/// Counts this start in the mark that was found and writes it back, synced, before anything is
/// signed.
pub(super) fn count(
    directory: &Path,
    cluster: Digest,
    replica: ReplicaId,
    before: Option<Mark>,
) -> Result<Mark, DaemonError> {
    let incarnation = before.map_or(0, |m| m.incarnation).saturating_add(1);
    let disk = before.map_or_else(DiskState::default, |m| m.disk);
    write(directory, Mark { cluster, replica, incarnation, disk })
}

fn write(directory: &Path, mark: Mark) -> Result<Mark, DaemonError> {
    let path = directory.join(FILE);
    let disk = Directory::open(directory).map_err(|e| failed(&path, format!("{e}; {WRITABLE}")))?;
    put(&mut disk.readable(), mark)
        .map_err(|e| failed(&path, format!("cannot be written: {e}; {WRITABLE}")))?;
    Ok(mark)
}

/// Something that must not be forgotten is signed from now on: writes that into the mark, synced.
pub(super) fn known(directory: &Path, mark: Mark) -> Result<Mark, DaemonError> {
    write(directory, Mark { disk: DiskState::Known, ..mark })
}

/// The operator says that this directory stands in for one that is lost: writes a mark that says
/// so, synced, before anything else is there.
pub(super) fn replaced(
    directory: &Path,
    (cluster, replica): (Digest, ReplicaId),
    before: Option<Mark>,
) -> Result<Mark, DaemonError> {
    match before.map(|m| m.disk) {
        Some(DiskState::Known) => {
            let what = "has signed on this disk, so it is not a lost one's replacement; start it \
                        without --replace-disk: what others have gone on with it fetches by itself";
            return Err(failed(directory, format!("{replica} {what}")));
        }
        None if has_files(directory) => {
            let what = "holds files of a replica, but no cluster.mark, so whose they are is not \
                        known; put the mark back, or give an empty directory with --data";
            return Err(failed(directory, what.to_owned()));
        }
        None | Some(DiskState::New | DiskState::Replaced) => {}
    }
    let incarnation = before.map_or(0, |m| m.incarnation);
    write(directory, Mark { cluster, replica, incarnation, disk: DiskState::Replaced })
}

/// Whether there is something in a directory that only a replica writes.
fn has_files(directory: &Path) -> bool {
    ["epochs.log", "rounds"].iter().any(|name| directory.join(name).symlink_metadata().is_ok())
}

/// Puts a mark in the place of the one before, synced.
///
/// # Errors
/// If the disk does not do it.
pub(super) fn put(disk: &mut impl Disk, mark: Mark) -> Result<(), DiskError> {
    replace(disk, (&START, Point::StartLeftoverRemove), FILE, &mark.to_bytes())
}

fn failed(path: &Path, reason: String) -> DaemonError {
    DaemonError::Data { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FaultModel;

    fn take(
        directory: &Path,
        cluster: Digest,
        replica: ReplicaId,
    ) -> Result<(Mark, bool), DaemonError> {
        let before = look(directory, cluster, replica)?;
        Ok((count(directory, cluster, replica, before)?, before.is_some()))
    }

    #[test]
    fn starts_are_counted_and_only_the_first_is_fresh() {
        let dir = tempfile::tempdir().unwrap();
        let (cluster, me) = (Digest([1; 32]), ReplicaId::from_index(0));
        for start in 1..=3 {
            let (mark, restarted) = take(dir.path(), cluster, me).unwrap();
            assert_eq!((mark.incarnation, restarted), (start, start > 1));
        }
    }

    #[test]
    fn a_directory_of_another_cluster_or_replica_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        take(dir.path(), Digest([1; 32]), ReplicaId::from_index(0)).unwrap();
        let foreign = take(dir.path(), Digest([2; 32]), ReplicaId::from_index(0)).unwrap_err();
        assert!(foreign.to_string().contains("belongs to R1 of cluster 0101"), "{foreign}");
        assert!(take(dir.path(), Digest([1; 32]), ReplicaId::from_index(1)).is_err());
    }

    /// One line of the cluster file changes the model, and nothing of one is valid in the other.
    #[test]
    fn a_directory_of_the_other_fault_model_is_refused_and_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let options = crate::files::init::InitOptions::new(dir.path().join("cluster"));
        let voting = crate::files::init::write_cluster(&options).unwrap().cluster;
        let chain = Cluster { fault_model: FaultModel::FailStop, ..voting.clone() };
        let me = ReplicaId::from_index(0);
        for (first, second, told) in
            [(&voting, &chain, "\"byzantine\", and"), (&chain, &voting, "\"fail-stop\", and")]
        {
            let data = tempfile::tempdir().unwrap();
            assert_eq!(look_for(data.path(), second, me).unwrap(), None);
            let mark = count(data.path(), first.id(), me, None).unwrap();
            assert_eq!(look_for(data.path(), first, me).unwrap(), Some(mark));
            let refused = look_for(data.path(), second, me).unwrap_err().to_string();
            assert!(refused.contains(told) && refused.contains("write"), "{refused}");
            let other = Cluster { nonce: [9; 32], ..second.clone() };
            let foreign = look_for(data.path(), &other, me).unwrap_err().to_string();
            assert!(foreign.contains("belongs to R1 of cluster"), "{foreign}");
        }
    }

    #[test]
    fn a_damaged_mark_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (cluster, me) = (Digest([1; 32]), ReplicaId::from_index(0));
        take(dir.path(), cluster, me).unwrap();
        let path = dir.path().join(FILE);
        let good = std::fs::read(&path).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            assert!(take(dir.path(), cluster, me).is_err(), "byte {place}");
            assert_eq!(std::fs::read(&path).unwrap(), bad);
        }
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(take(dir.path(), cluster, me).is_err());
    }
}
