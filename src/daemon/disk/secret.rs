//! Whose a log of rounds is, and the secret on which the checksums of its records depend.
//!
//! The secret's file is made before the log: 32 random bytes, and a digest of them and of whose
//! they are. With another secret every record would look like an unfinished write and be cut off,
//! so a secret that is missing or damaged is refused.

use super::{DaemonError, WRITABLE};
use crate::crypto::{Domain, Hasher};
use crate::files;
use crate::types::{Digest, ReplicaId};
use std::path::Path;

/// The file.
pub(in crate::daemon) const SECRET: &str = "rounds.secret";
const SECRET_BYTES: usize = 32;

/// What is left to do without it, for the log of rounds.
pub(in crate::daemon) const GO_ON_WITHOUT: &str = "put it back from a copy, or move the directory \
                                                   away; the replica starts without its state \
                                                   then and takes that of the others";

/// Whose log and snapshots these are.
pub(in crate::daemon) fn owner(cluster: Digest, replica: ReplicaId) -> Digest {
    let mut hasher = Hasher::new(Domain::Owner);
    hasher.put(&cluster.0).put_u64(u64::from(replica.number()));
    hasher.finish()
}

/// Whose log and states of a chain these are: another's than those of rounds.
pub(in crate::daemon) fn chain_owner(cluster: Digest, replica: ReplicaId, chain: u32) -> Digest {
    let mut hasher = Hasher::new(Domain::Owner);
    hasher.put(&cluster.0).put_u64(u64::from(replica.number())).put_u64(u64::from(chain));
    hasher.finish()
}

/// The secret in this file, or a new one where there is no log yet. The remedy is told where it
/// cannot be used.
///
/// # Errors
/// If it is missing beside a log, is damaged or another's, or cannot be read or made.
pub(in crate::daemon) fn secret(
    path: &Path,
    owner: Digest,
    (has_log, remedy): (bool, &str),
) -> Result<Digest, DaemonError> {
    let failed = |reason| DaemonError::Data { path: path.to_owned(), reason };
    let check = |secret: &[u8]| {
        let mut hasher = Hasher::new(Domain::Owner);
        hasher.put(&owner.0).put(secret);
        hasher.finish()
    };
    match std::fs::read(path) {
        Ok(bytes) => {
            let split = bytes.split_first_chunk::<SECRET_BYTES>();
            let good = split.filter(|(secret, rest)| *rest == check(&secret[..]).0);
            let what = "is damaged or belongs to another replica, and without it the log beside \
                        it cannot be read";
            good.map(|(s, _)| Digest(*s)).ok_or_else(|| failed(format!("{what}; {remedy}")))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && has_log => {
            let what = "is missing, and without it the log beside it cannot be read";
            Err(failed(format!("{what}; {remedy}")))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let mut secret = [0; SECRET_BYTES];
            let drawn = getrandom::fill(&mut secret);
            drawn.map_err(|e| failed(format!("the system gives no random numbers: {e}")))?;
            let bytes = [secret, check(&secret).0].concat();
            let written = files::write_atomically(path, &bytes, 0o600);
            written.map_err(|e| failed(format!("{e}; {WRITABLE}")))?;
            Ok(Digest(secret))
        }
        Err(e) => Err(failed(format!("cannot be read: {e}; {WRITABLE}"))),
    }
}
