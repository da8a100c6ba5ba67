//! What comes to nodes at one instant.

use super::super::{Arrival, NodeId};
use crate::wire::{Frame, Stamp};
use std::collections::BTreeMap;

/// For each node all that comes, in order.
pub(super) type Inbox = BTreeMap<NodeId, Vec<Arrival>>;

/// Frames of one sender that come at one instant come in one read.
pub(super) fn post(
    inbox: &mut Inbox,
    to: NodeId,
    (from, on): (NodeId, u64),
    new: Vec<Frame>,
    under: Option<Stamp>,
) {
    let arrivals = inbox.entry(to).or_default();
    let latest = arrivals.iter_mut().rev().find(|a| match a {
        Arrival::Up { peer, .. } | Arrival::Down { peer, .. } => *peer == from,
        Arrival::Frames { peer, .. } => *peer == from,
        Arrival::Synced { .. } | Arrival::Encoded { .. } | Arrival::Tick | Arrival::Drained => {
            false
        }
    });
    match latest {
        Some(Arrival::Frames { connection, frames, stamp, .. }) if *connection == on => {
            frames.extend(new);
            *stamp = earlier(*stamp, under);
        }
        _ => {
            arrivals.push(Arrival::Frames { peer: from, connection: on, frames: new, stamp: under })
        }
    }
}

/// Of two stamps what shows the longer delays.
fn earlier(a: Option<Stamp>, b: Option<Stamp>) -> Option<Stamp> {
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    let (first, second) = if a.sent <= b.sent { (a, b) } else { (b, a) };
    let echoes = if first.echo == 0 { second } else { first };
    Some(Stamp { sent: first.sent, ..echoes })
}
