//! How a link stands.

use crate::types::ReplicaId;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One link of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// To which replica.
    pub replica: ReplicaId,
    /// Its address, as the cluster file has it.
    pub address: String,
    /// Whether the link is up.
    pub up: bool,
    /// Since when.
    pub since: Instant,
    /// Starts of the replica on its disk, as it said last; 0 if it has never said.
    pub incarnation: u64,
    /// Whether it said that it has restarted without its state: it answers nobody then.
    pub restarted: bool,
    /// Why the link is down, or was before it came up: what a person can do about it.
    pub error: Option<Arc<str>>,
    /// Whether that error is one that waiting does not mend, such as a key that is not admitted.
    pub hopeless: bool,
}

impl LinkReport {
    /// A link that is not up yet.
    pub(super) fn new(replica: ReplicaId, address: String) -> Self {
        let since = Instant::now();
        let (up, restarted, hopeless) = (false, false, false);
        // Until the first attempt is over.
        let error = Some("no answer yet".into());
        Self { replica, address, up, since, incarnation: 0, restarted, error, hopeless }
    }

    /// For how long it has been as it is.
    pub fn lasted(&self) -> Duration {
        self.since.elapsed()
    }
}

impl fmt::Display for LinkReport {
    /// One line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: ", self.replica, self.address)?;
        match (self.up, self.restarted) {
            (true, false) => write!(f, "up for {:.1?}", self.lasted()),
            (true, true) => write!(f, "up, but it restarted without its state and answers nobody"),
            (false, _) => {
                write!(f, "no link for {:.1?}", self.lasted())?;
                self.error.iter().try_for_each(|error| write!(f, ": {error}"))
            }
        }
    }
}
