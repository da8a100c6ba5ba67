//! What the loop adds to the core's status.

use super::Node;
use super::player::Player;
use crate::daemon::chains::Chains;
use crate::replica::{LinkStatus, Status};

impl Node {
    pub(super) fn status(&self) -> Status {
        let now = self.clock.now();
        let status = self.replica.status(now);
        let mut counters = status.counters;
        let handshakes = self.endpoint.handshakes();
        counters.insert("handshakes_admitted".to_owned(), handshakes.admitted);
        counters.insert("handshakes_failed".to_owned(), handshakes.failed);
        counters.insert("handshakes_refused".to_owned(), handshakes.refused);
        let of_chains = self.chains.iter().flat_map(Chains::counters);
        counters.extend(of_chains.map(|(name, value)| (name.to_owned(), value)));
        let (links, client_links) = match self.replica {
            Player::Host(_) => (self.links(), self.clients.len() as u64),
            Player::Honest(_) | Player::Lying(_) => (status.links, status.client_links),
        };
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
            links,
            client_links,
            ..status
        }
    }

    /// The links of one that has no vote.
    fn links(&self) -> Vec<LinkStatus> {
        let others = self.cluster.hosts().iter().filter(|r| r.id != self.id);
        let link = |r: &crate::config::ReplicaEntry| {
            let open = self.peers.get(&r.id);
            let down = self.down.get(&r.id).copied().unwrap_or(self.started);
            let since = open.map_or(down, |open| open.since);
            let since_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            let (up, replica) = (open.is_some(), r.id.number());
            LinkStatus { replica, up, since_ms, rtt_us: None, offset_us: None }
        };
        others.map(link).collect()
    }
}
