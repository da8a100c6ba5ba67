//! How many files this process may have open.

use super::DaemonError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many as a replica may have open at one time beside those of its chains: sockets, the data
/// directory, the logs and snapshots that are kept open, who asks at the admin address.
const OWN: u64 = 128;
/// As many as a chain adds.
const EACH_CHAIN: u64 = 32;

/// Lets this process have as many as the system allows it to, so that what is set for a shell does
/// not end a replica when a segment of its log is full (D5 of docs/testing.md).
///
/// # Errors
/// If a replica with so many chains could come to need more than that.
pub(super) fn raise(chains: usize) -> Result<(), DaemonError> {
    let needed = OWN + EACH_CHAIN * chains as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| maximum.is_some_and(|maximum| current >= maximum)) {
        return enough(current, needed);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => enough(maximum, needed),
        // What there is may do.
        Err(_) => enough(current, needed),
    }
}

fn enough(limit: Option<u64>, needed: u64) -> Result<(), DaemonError> {
    match limit {
        Some(limit) if limit < needed => Err(DaemonError::OpenFiles { limit, needed }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_run_out_of_files_is_refused_with_the_remedy() {
        assert!(enough(None, u64::MAX).is_ok() && enough(Some(160), 160).is_ok());
        let refused = enough(Some(159), 160).unwrap_err().to_string();
        assert!(refused.contains("159") && refused.contains("160"), "{refused}");
        assert!(refused.contains("ulimit -n"), "{refused}");
    }

    #[test]
    fn the_limit_is_as_high_as_it_may_be() {
        raise(1).unwrap();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
