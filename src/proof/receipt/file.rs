//! A receipt as a file: whole by itself, so that whoever knows the roster, or no more than its
//! hash, can judge it at any time without asking anybody.

use super::super::sealed::Sealed;
use super::{Judged, ReceiptError, judge_by};
use crate::crypto::{Context, Domain, Hasher, KeyChange, KeyError, Keyring, PublicKey, Scheme};
use crate::types::{Digest, Ensemble, GroupId, ReplicaId};
use crate::wire::{DecodeError, MAX_KEY_CHANGES, Receipt, get_list, put_list};

/// Bytes of a receipt's file at most: a request and an outcome of a whole frame each, with as many
/// steps and signatures as there can be. 3 MiB.
pub const MAX_RECEIPT_FILE: usize = 3 << 20;

const FILE: Sealed = Sealed {
    magic: b"QUORECPT",
    version: 1,
    domain: Domain::Receipt,
    most: (MAX_RECEIPT_FILE, "larger than any receipt"),
    other: "not a quorate receipt",
};
/// Replicas of a roster at most.
const MAX_REPLICAS: usize = 31;

/// A receipt with what it is to be judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptFile {
    /// The cluster.
    pub cluster: Digest,
    /// The group.
    pub group: GroupId,
    /// The first keys of the roster, in order.
    pub keys: Vec<PublicKey>,
    /// The changes of keys that whoever wrote it knew of, the earliest first (M3).
    pub changes: Vec<KeyChange>,
    /// The receipt.
    pub receipt: Receipt,
}

/// Why a file proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptFileError {
    /// It is damaged, or none at all.
    #[error("it is no undamaged receipt ({0}); copy it again from where it was made")]
    Damaged(DecodeError),
    /// Another cluster's.
    #[error(
        "it is of cluster {found}, not {wanted}; give --config its cluster's file, with all \
         former_keys"
    )]
    Cluster {
        /// Whose it is.
        found: Digest,
        /// Whose was asked for.
        wanted: Digest,
    },
    /// Another group's.
    #[error("it is of group {}, not {} of that cluster", .found.0, .wanted.0)]
    Group {
        /// Whose it is.
        found: GroupId,
        /// Whose was asked for.
        wanted: GroupId,
    },
    /// Another roster's.
    #[error(
        "it was made under the roster {}, not {}; give --roster-hash what `quorate check` says of \
         the cluster that should have answered, or --config its file",
        .found.to_hex(), .wanted.to_hex()
    )]
    Roster {
        /// The hash of the roster that it was made under.
        found: Digest,
        /// The hash that was given.
        wanted: Digest,
    },
    /// A key in it is none.
    #[error("its key of {0} is of no use: {1}")]
    Key(ReplicaId, KeyError),
    /// What it says of changed keys cannot be.
    #[error("the changes of keys in it do not follow one another")]
    Changes,
    /// What it holds proves nothing.
    #[error("{0}")]
    Receipt(#[from] ReceiptError),
}

/// The hash that says which keys a roster has and how they changed: that of its first keys, and
/// with each change one over the hash before and the change. So it says how many replicas there
/// are, and how many must have signed.
pub fn roster_hash<S: Scheme>(keyring: &Keyring<S>) -> Digest {
    let first = keyring.members_hash(0, keyring.ensemble().all());
    keyring.changes().iter().fold(first, with_change)
}

fn with_change(before: Digest, change: &KeyChange) -> Digest {
    let mut h = Hasher::new(Domain::Roster);
    h.put(&before.0).put(&change.out.to_le_bytes());
    h.put(&[change.replica.number()]).put(&change.key.0);
    h.finish()
}

impl ReceiptFile {
    /// A receipt made under the keys of this keyring.
    pub fn new<S: Scheme>(receipt: Receipt, keyring: &Keyring<S>) -> Self {
        let Context { cluster, group } = keyring.context();
        let first = |replica| keyring.key_at(replica, 0).copied();
        let keys = keyring.ensemble().replicas().filter_map(first).collect();
        Self { cluster, group, keys, changes: keyring.changes(), receipt }
    }

    /// Judges it by a roster that is known, such as that of the cluster file. Keys that replicas
    /// got after all changes that the roster knows of do not count.
    ///
    /// # Errors
    /// [`ReceiptFileError`] says what does not fit and what to do.
    pub fn judge<S: Scheme>(&self, keyring: &Keyring<S>) -> Result<Judged, ReceiptFileError> {
        let Context { cluster: wanted, group } = keyring.context();
        let found = self.cluster;
        if found != wanted {
            return Err(ReceiptFileError::Cluster { found, wanted });
        }
        if self.group != group {
            return Err(ReceiptFileError::Group { found: self.group, wanted: group });
        }
        let first = |keyring: &Keyring<S>| keyring.members_hash(0, keyring.ensemble().all());
        let (found, wanted) = (first(&self.first_keys()?), first(keyring));
        if found != wanted {
            return Err(ReceiptFileError::Roster { found, wanted });
        }
        let last = keyring.changes().last().map_or(0, |change| change.out);
        let newer = self.changes.iter().filter(|change| change.out > last);
        self.judge_between(keyring, with_all(keyring, newer)?)
    }

    /// Judges it by a hash of the roster ([`roster_hash`]), of when the receipt was made or of any
    /// time before. Keys that replicas got after that do not count. Which cluster it is of only the
    /// receipt says: the hash stands for keys, and their owners for the cluster that they sign in.
    ///
    /// # Errors
    /// As [`ReceiptFile::judge`].
    pub fn judge_by_hash<S: Scheme>(&self, wanted: &Digest) -> Result<Judged, ReceiptFileError> {
        let mut known = self.first_keys::<S>()?;
        let mut ahead = self.changes.iter();
        while roster_hash(&known) != *wanted {
            let Some(change) = ahead.next() else {
                let (found, wanted) = (self.roster::<S>()?, *wanted);
                return Err(ReceiptFileError::Roster { found, wanted });
            };
            known = with_all(&known, [change])?;
        }
        let all = with_all(&known, ahead)?;
        self.judge_between(&known, all)
    }

    /// The sizes of the group whose keys it has; `None` if no group has so many.
    pub fn ensemble(&self) -> Option<Ensemble> {
        ensemble_of(self.keys.len())
    }

    /// The hash of the roster that it was made under, with all changes that it names.
    ///
    /// # Errors
    /// If its keys are none.
    pub fn roster<S: Scheme>(&self) -> Result<Digest, ReceiptFileError> {
        Ok(roster_hash(&with_all(&self.first_keys::<S>()?, &self.changes)?))
    }

    /// A newer key is needed to read lists of members that have it, and for nothing else.
    fn judge_between<S: Scheme>(
        &self,
        known: &Keyring<S>,
        all: Keyring<S>,
    ) -> Result<Judged, ReceiptFileError> {
        let is_known = |replica, generation| {
            known.key_at(replica, generation) == all.key_at(replica, generation)
        };
        Ok(judge_by(&self.receipt, &all, is_known)?)
    }

    fn first_keys<S: Scheme>(&self) -> Result<Keyring<S>, ReceiptFileError> {
        let context = Context { cluster: self.cluster, group: self.group };
        let ensemble = self.ensemble().ok_or(ReceiptFileError::Changes)?;
        Keyring::new(context, ensemble, self.keys.clone())
            .map_err(|(replica, why)| ReceiptFileError::Key(replica, why))
    }

    /// The file's bytes: magic, version, what it is judged by, the receipt, and a digest over all.
    pub fn to_bytes(&self) -> Vec<u8> {
        FILE.write((&self.cluster, self.group), |out| {
            out.count(self.keys.len());
            self.keys.iter().for_each(|key| {
                out.raw(&key.0);
            });
            put_list(&self.changes, out);
            out.raw(&self.receipt.to_bytes());
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ReceiptFileError::Damaged`] if the bytes are not a whole and undamaged receipt.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptFileError> {
        Self::read(bytes).map_err(ReceiptFileError::Damaged)
    }

    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (cluster, group, (keys, changes, receipt)) = FILE.read(bytes, |r| {
            let n = r.count(MAX_REPLICAS, 32, "keys of replicas")?;
            let keys = (0..n).map(|_| r.key("key of a replica")).collect::<Result<Vec<_>, _>>()?;
            if ensemble_of(n).is_none() {
                return Err(r.error("a number of replicas that no roster has"));
            }
            let changes: Vec<KeyChange> = get_list(r, MAX_KEY_CHANGES, "changes of keys")?;
            if !changes.is_sorted_by(|a, b| a < b) {
                return Err(r.error("changes of keys that are not in order"));
            }
            Ok((keys, changes, Receipt::read(r)?))
        })?;
        Ok(Self { cluster, group, keys, changes, receipt })
    }
}

fn ensemble_of(n: usize) -> Option<Ensemble> {
    let t = u8::try_from(n / 2).ok()?;
    Ensemble::new(t).filter(|ensemble| ensemble.n() == n)
}

/// A keyring that knows of some more changes, each of which must be news and take back none.
fn with_all<'a, S: Scheme>(
    keyring: &Keyring<S>,
    changes: impl IntoIterator<Item = &'a KeyChange>,
) -> Result<Keyring<S>, ReceiptFileError> {
    let mut keyring = keyring.clone();
    for change in changes {
        let before = keyring.changes().len();
        let replaced = keyring.replace(*change);
        let is_news = replaced.map_err(|why| ReceiptFileError::Key(change.replica, why))?;
        if !is_news || keyring.changes().len() != before + 1 {
            return Err(ReceiptFileError::Changes);
        }
    }
    Ok(keyring)
}
