//! Why a replica must not be started again before somebody has looked into it (docs/protocol.md
//! §6): its service is not deterministic, so that all have halted. The words are kept in a file of
//! its directory, and a start is refused as long as that is there.

use super::DaemonError;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use tracing::error;

/// The file's name.
pub(super) const FILE: &str = "halted";

/// What to do about it.
const REMEDY: &str = "Stop all replicas, give all of them a service that is deterministic (quorate \
                      replay --check-determinism says whether it is), and remove this file on each \
                      host: they then execute again what was ordered since the last checkpoint \
                      that t + 1 agree on.";

/// Writes the words down, in place of those that are there. The log has them as well, so a disk
/// that takes nothing is no reason to end.
pub(super) fn keep(directory: &Path, words: &str) {
    let path = directory.join(FILE);
    let write = || {
        let mut file = File::create(&path)?;
        writeln!(file, "{words}\n\n{REMEDY}")?;
        file.sync_all()?;
        File::open(directory)?.sync_all()
    };
    if let Err(why) = write() {
        error!(path = %path.display(), %why, "cannot write down why this replica has halted");
    }
}

/// Whether a replica may start on this directory.
///
/// # Errors
/// If it halted for good: with the words that it left.
pub(super) fn check(directory: &Path) -> Result<(), DaemonError> {
    let path = directory.join(FILE);
    let failed = |reason: String| Err(DaemonError::Data { path: path.clone(), reason });
    match fs::read(&path) {
        Ok(words) => failed(format!(
            "says that this replica has halted and is not to be started yet: {}",
            String::from_utf8_lossy(&words).split_whitespace().collect::<Vec<_>>().join(" ")
        )),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => failed(format!("cannot be read: {e}; run the replica as who can")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_halted_for_good_starts_once_somebody_has_taken_the_words_away() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check(dir.path()).is_ok());
        keep(dir.path(), "no two agree");
        keep(dir.path(), "request 7 has\ntwo results");
        let refused = check(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("request 7 has two results") && !refused.contains("no two agree"));
        assert!(refused.contains("remove this file"), "{refused}");
        fs::remove_file(dir.path().join(FILE)).unwrap();
        assert!(check(dir.path()).is_ok());
    }
}
