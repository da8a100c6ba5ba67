//! What the loop adds to the core's status, and how the core's words are those of the links.

use super::{Node, Player};
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
        let of_chain = self.chain.iter().flat_map(|chain| chain.counters());
        counters.extend(of_chain.map(|(name, value)| (name.to_owned(), value)));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            counters,
            file_outdated: self.file_behind,
            chain: self.chain.as_ref().map(|chain| chain.status(now)),
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
