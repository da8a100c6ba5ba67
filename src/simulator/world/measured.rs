//! What drivers let replicas measure: when things were sent, and that they were away.

use super::super::{Effect, Node, NodeId};
use super::World;
use crate::replica::Lane;
use crate::types::Now;
use crate::wire::Stamp;

impl<N: Node> World<N> {
    /// The stamp under what a replica sends on the protocol stream now.
    pub(super) fn stamp(&mut self, from: NodeId, to: NodeId, lane: Lane) -> Option<Stamp> {
        let (NodeId::Replica(peer), Lane::Protocol) = (to, lane) else { return None };
        let seat = self.seats.get_mut(&from)?;
        let now = seat.clock.read(self.now).monotonic;
        seat.node.as_mut()?.stamp(peer, now)
    }

    /// Tells a node that goes on after a pause how long it did nothing.
    pub(super) fn tell_away(&mut self, id: NodeId, now: Now) -> Vec<Effect<N::Note>> {
        let mut effects = Vec::new();
        if let Some(seat) = self.seats.get_mut(&id)
            && let (Some(node), Some(since)) = (&mut seat.node, seat.away.take())
        {
            node.away(now, seat.clock.read(since).monotonic, &mut effects);
        }
        effects
    }
}
