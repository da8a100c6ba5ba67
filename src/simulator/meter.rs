//! What the world itself knows of delays and crashes: the truth by which a run is judged.

use super::NodeId;
use crate::types::{Members, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Measures every message between replicas, and what replicas were slow with themselves.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    /// The longest that a message from the first to the second took, nanoseconds.
    transit: BTreeMap<(ReplicaId, ReplicaId), u64>,
    /// Between whom something was lost, lower replica first.
    lost: BTreeSet<(ReplicaId, ReplicaId)>,
    /// The longest that a replica was held up by itself: a pause, a sync.
    held: BTreeMap<ReplicaId, u64>,
    crashed: Members,
}

impl Meter {
    /// A message takes so long, nanoseconds.
    pub fn on_transit(&mut self, from: NodeId, to: NodeId, takes: u64) {
        if let (NodeId::Replica(from), NodeId::Replica(to)) = (from, to) {
            let most = self.transit.entry((from, to)).or_default();
            *most = takes.max(*most);
        }
    }

    /// Something between these two is lost, or may be.
    pub fn on_lost(&mut self, a: NodeId, b: NodeId) {
        if let (NodeId::Replica(a), NodeId::Replica(b)) = (a, b) {
            self.lost.insert((a.min(b), a.max(b)));
        }
    }

    /// A node does nothing for so long, nanoseconds, or takes so long for each thing.
    pub fn on_held(&mut self, node: NodeId, lasts: u64) {
        if let NodeId::Replica(replica) = node {
            let most = self.held.entry(replica).or_default();
            *most = lasts.max(*most);
        }
    }

    /// A node has stopped, for a while or for ever.
    pub fn on_crashed(&mut self, node: NodeId) {
        if let NodeId::Replica(replica) = node {
            self.crashed.insert(replica);
        }
    }

    /// The replicas that have stopped at least once.
    pub fn crashed(&self) -> Members {
        self.crashed
    }

    /// The replicas that lost something from or to one of these.
    pub fn cut_off(&self, from: Members) -> Members {
        let with = |(a, b): &(ReplicaId, ReplicaId)| from.contains(*a) || from.contains(*b);
        self.lost.iter().filter(|pair| with(pair)).flat_map(|(a, b)| [*a, *b]).collect()
    }

    /// The pairs among these replicas between which a message was lost or took, with its
    /// handling, longer than Δ at least once.
    pub fn late(&self, among: Members, delta: Duration) -> Vec<(ReplicaId, ReplicaId)> {
        let delta = super::network::nanos(delta);
        let held = |r: ReplicaId| self.held.get(&r).copied().unwrap_or(0);
        let late = |(a, b): &(ReplicaId, ReplicaId)| {
            let ways = [(*a, *b), (*b, *a)].map(|way| self.transit.get(&way).copied().unwrap_or(0));
            let most = ways[0].max(ways[1]).saturating_add(held(*a)).saturating_add(held(*b));
            self.lost.contains(&(*a, *b)) || most > delta
        };
        let pairs = among.iter().flat_map(|a| among.iter().map(move |b| (a, b)));
        pairs.filter(|(a, b)| a < b).filter(late).collect()
    }
}
