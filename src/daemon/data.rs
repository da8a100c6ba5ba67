//! A replica's data directory as tools look at it: nothing is changed, and nothing is locked, so a
//! replica may run on it meanwhile. Only a repair changes something, and locks it.

use super::disk::{self, Claim, Directory, RoundsDisk};
use super::{DaemonError, initial, mark};
use crate::config::{Cluster, FaultModel};
use crate::crypto::{Ed25519, Scheme, SecretKey};
use crate::master::Master;
use crate::offline::{Player, Watch};
use crate::replica::{ENCODE_AT_ONCE, Setup, Stored};
use crate::service::{Inherited, Service};
use crate::storage::{Limits, Overlay};
use crate::types::{Digest, GroupId};
use crate::wire::Mark;
use bytes::Bytes;
use std::path::{Path, PathBuf};

/// A data directory that is looked at.
///
/// Of a replica that runs on it, one sees what was there when a part was opened.
#[derive(Clone, Debug)]
pub struct DataDirectory {
    path: PathBuf,
    mark: Mark,
}

/// The log of rounds and the snapshots of a data directory.
pub struct RoundsFiles {
    /// The files. Changes to them stay in memory.
    pub disk: Overlay<RoundsDisk>,
    /// Whose they are.
    pub owner: Digest,
    /// What the checksums of records depend on.
    pub secret: Digest,
    /// How large things get.
    pub limits: Limits,
    /// Where they are.
    pub path: PathBuf,
}

/// The log of rounds and the snapshots of a data directory that no other process uses as long as
/// this is there.
pub struct ClaimedRounds {
    /// The files.
    pub disk: Directory,
    /// Whose they are.
    pub owner: Digest,
    /// What the checksums of records depend on.
    pub secret: Digest,
    /// How large things get.
    pub limits: Limits,
    /// Where they are.
    pub path: PathBuf,
    _claim: Claim,
}

impl DataDirectory {
    /// Looks at the data directory of a replica.
    ///
    /// # Errors
    /// If it is none, or its mark is damaged.
    pub fn look(path: &Path) -> Result<Self, DaemonError> {
        let failed =
            |reason: &str| DaemonError::Data { path: path.to_owned(), reason: reason.to_owned() };
        if !path.is_dir() {
            return Err(failed(
                "is no directory; give --data the directory in which a replica keeps its files",
            ));
        }
        let mark = mark::read(path)?.ok_or_else(|| {
            failed(
                "holds no cluster.mark, so no replica has started on it; give --data the \
                 directory in which a replica keeps its files",
            )
        })?;
        Ok(Self { path: path.to_owned(), mark })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// # Errors
    /// If it is of another cluster than this, or of a replica that this has not.
    pub fn belongs_to(&self, cluster: &Cluster) -> Result<(), DaemonError> {
        if self.mark.cluster == cluster.id() && cluster.replica(self.mark.replica).is_some() {
            return Ok(());
        }
        Err(DaemonError::Data {
            path: self.path.clone(),
            reason: format!(
                "belongs to {} of cluster {}, and the cluster file is of cluster {}; give --config \
                 the file of the cluster that it is of",
                self.mark.replica,
                self.mark.cluster,
                cluster.id()
            ),
        })
    }

    /// All records of epochs, in order. An unfinished write at the end is left out.
    ///
    /// # Errors
    /// If they are damaged, missing or cannot be read.
    pub fn records(&self) -> Result<Vec<Bytes>, DaemonError> {
        disk::read_records(&self.path)
    }

    // Lets a service begin as it did in this cluster; gives what it had taken over besides. The
    // master of a chain begins with nothing but the roster.
    fn begin(
        &self,
        cluster: &Cluster,
        service: &mut dyn Service,
    ) -> Result<Option<Inherited>, DaemonError> {
        if cluster.fault_model == FaultModel::FailStop {
            return Ok(None);
        }
        let initial = initial::load(&self.path, cluster, service)?;
        Ok(initial.and_then(|initial| initial.inherited))
    }

    /// The files of the log of rounds, with the limits of a group of so many, or of the largest.
    ///
    /// # Errors
    /// If there is no log, or it cannot be read.
    pub fn rounds(&self, members: Option<usize>) -> Result<RoundsFiles, DaemonError> {
        let (cluster, replica) = (self.mark.cluster, self.mark.replica);
        let (disk, owner, secret) = disk::look_at_rounds(&self.path, cluster, replica)?;
        let limits = disk::rounds_limits(members);
        let disk = Overlay::new(disk);
        Ok(RoundsFiles { disk, owner, secret, limits, path: disk::rounds_path(&self.path) })
    }

    /// The files of the log of rounds, to be changed, with limits as for [`DataDirectory::rounds`].
    ///
    /// # Errors
    /// If another process uses the directory, if there is no log, or it cannot be read.
    pub fn claim_rounds(&self, members: Option<usize>) -> Result<ClaimedRounds, DaemonError> {
        let (cluster, replica) = (self.mark.cluster, self.mark.replica);
        let (claim, disk, owner, secret) = disk::claim_rounds(&self.path, cluster, replica)?;
        let (limits, path) = (disk::rounds_limits(members), disk::rounds_path(&self.path));
        Ok(ClaimedRounds { disk, owner, secret, limits, path, _claim: claim })
    }

    /// Executes what is on this disk again, as a start of the replica does, with a new and empty
    /// `service`: that of the cluster file, or the chain's master (`master_of`) in the fail-stop
    /// model. No private key is needed, since nothing is signed. `seed` is that of hash
    /// tables: the result does not depend on it.
    ///
    /// # Errors
    /// If what is there cannot be read or belongs to another cluster; if the service is another
    /// than the cluster file names; if the snapshot cannot be used.
    pub fn player(
        &self,
        cluster: &Cluster,
        mut service: Box<dyn Service>,
        (watch, seed): (Watch, u64),
    ) -> Result<Player<Ed25519>, DaemonError> {
        self.belongs_to(cluster)?;
        let configured = ordered_service(cluster).to_owned();
        if service.name() != configured {
            let offered = format!("`{}`", service.name());
            return Err(DaemonError::WrongService { configured, offered });
        }
        let inherited = self.begin(cluster, &mut *service)?;
        let keyring = cluster.keyring(GroupId::MAIN).expect("the parser checks every key");
        let setup = Setup {
            id: self.mark.replica,
            keyring,
            // It signs nothing.
            signer: Ed25519::signer(&SecretKey::from_seed([1; 32])),
            genesis: cluster.genesis(GroupId::MAIN),
            timing: cluster.timing,
            clock: cluster.clock,
            limits: cluster.limits,
            quotas: cluster.quotas,
            seed,
            incarnation: self.mark.incarnation,
            disk: crate::types::DiskState::New,
            recovered: self.records()?,
            durability: cluster.durability,
            inherited,
            stored: self.stored(Some(cluster.ensemble.n()))?,
            fields: cluster.fields(),
            encode_at_once: ENCODE_AT_ONCE,
            trace: true,
        };
        let failed = |reason| DaemonError::Data { path: self.path.clone(), reason };
        Player::new(setup, service, watch).map_err(failed)
    }

    /// What a start of the replica would find of the log of rounds and the snapshots.
    ///
    /// # Errors
    /// As the start would fail.
    pub fn stored(&self, members: Option<usize>) -> Result<Stored, DaemonError> {
        disk::stored(self.rounds(members)?)
    }
}

/// The service for which the group of all replicas orders commands.
pub fn ordered_service(cluster: &Cluster) -> &str {
    match cluster.fault_model {
        FaultModel::Byzantine => cluster.service.name.as_str(),
        FaultModel::FailStop => Master::NAME,
    }
}
