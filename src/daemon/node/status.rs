//! What the loop adds to the core's status, and how the core's words are those of the links.

use super::{Node, Player};
use crate::daemon::chains::Chains;
use crate::replica::{self, Status};
use crate::transport::Lane;

impl Node {
    pub(super) fn status(&self) -> Status {
        let now = self.clock.now();
        let status = match &self.replica {
            Player::Honest(replica) => replica.status(now),
            Player::Lying(liar) => liar.status(now),
        };
        let mut counters = status.counters;
        let handshakes = self.endpoint.handshakes();
        counters.insert("handshakes_admitted".to_owned(), handshakes.admitted);
        counters.insert("handshakes_failed".to_owned(), handshakes.failed);
        counters.insert("handshakes_refused".to_owned(), handshakes.refused);
        let of_chains = self.chains.iter().flat_map(Chains::counters);
        counters.extend(of_chains.map(|(name, value)| (name.to_owned(), value)));
        let mut chains = self.chains.as_ref().map_or_else(Vec::new, |chains| chains.status(now));
        let chain = if chains.len() == 1 { chains.pop() } else { None };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            counters,
            file_outdated: self.file_behind,
            chain,
            chains,
            ..status
        }
    }
}

impl From<replica::Lane> for Lane {
    fn from(lane: replica::Lane) -> Self {
        match lane {
            replica::Lane::Protocol => Lane::Protocol,
            replica::Lane::Bulk => Lane::Bulk,
        }
    }
}
