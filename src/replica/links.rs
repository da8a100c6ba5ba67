//! Links to other replicas and to clients, and their round trips.

use super::LinkStatus;
use crate::types::{ClientId, Instant, LinkId, Now, ReplicaId, Role, Timing};
use crate::wire::{Ping, Pong};
use std::collections::BTreeMap;
use std::time::Duration;

/// All links of this replica.
#[derive(Debug, Default)]
pub(super) struct Links {
    peers: BTreeMap<ReplicaId, Peer>,
    clients: BTreeMap<LinkId, Client>,
    of_client: BTreeMap<ClientId, u32>,
}

#[derive(Debug)]
struct Peer {
    up: bool,
    since: Instant,
    ping_at: Instant,
    /// The last ping and the first one since the last answer, while these are not answered.
    pinged: Option<Asked>,
    unanswered: Option<Asked>,
    rtt: Option<Duration>,
    offset: Option<i64>,
}

/// A ping that was sent: our two clocks, nanoseconds and microseconds.
#[derive(Clone, Copy, Debug)]
struct Asked {
    sent: u64,
    wall: u64,
}

/// A client's link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) id: ClientId,
    pub(super) role: Role,
}

impl Links {
    pub(super) fn new(peers: impl Iterator<Item = ReplicaId>, now: Instant) -> Self {
        let down = |r| {
            let (pinged, unanswered, rtt, offset) = (None, None, None, None);
            (r, Peer { up: false, since: now, ping_at: now, pinged, unanswered, rtt, offset })
        };
        Self { peers: peers.map(down).collect(), ..Self::default() }
    }

    pub(super) fn peer_up(&mut self, peer: ReplicaId, now: Instant) {
        if let Some(p) = self.peers.get_mut(&peer) {
            (p.up, p.since, p.ping_at) = (true, now, now);
            (p.pinged, p.unanswered) = (None, None);
        }
    }

    pub(super) fn peer_down(&mut self, peer: ReplicaId, now: Instant) {
        if let Some(p) = self.peers.get_mut(&peer).filter(|p| p.up) {
            (p.up, p.since, p.rtt, p.offset) = (false, now, None, None);
        }
    }

    pub(super) fn up_peers(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.peers.iter().filter(|(_, p)| p.up).map(|(r, _)| *r)
    }

    pub(super) fn is_up(&self, peer: ReplicaId) -> bool {
        self.peers.get(&peer).is_some_and(|p| p.up)
    }

    /// Admits a client's link unless its key has too many.
    pub(super) fn client_up(&mut self, link: LinkId, client: Client, limit: u32) -> bool {
        let count = self.of_client.entry(client.id).or_insert(0);
        if *count >= limit || self.clients.insert(link, client).is_some() {
            return false;
        }
        *count += 1;
        true
    }

    pub(super) fn client_down(&mut self, link: LinkId) {
        let Some(client) = self.clients.remove(&link) else { return };
        if let Some(count) = self.of_client.get_mut(&client.id) {
            *count -= 1;
            if *count == 0 {
                self.of_client.remove(&client.id);
            }
        }
    }

    pub(super) fn client(&self, link: LinkId) -> Option<Client> {
        self.clients.get(&link).copied()
    }

    pub(super) fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Whom to ping now.
    pub(super) fn due_pings(&mut self, now: Now, timing: &Timing) -> Vec<(ReplicaId, Ping)> {
        let mut due = Vec::new();
        for (id, p) in self.peers.iter_mut().filter(|(_, p)| p.up) {
            if now.monotonic >= p.ping_at {
                p.ping_at = now.monotonic + timing.ping_every;
                let asked = Asked { sent: now.monotonic.0, wall: now.wall.0 };
                p.pinged = Some(asked);
                p.unanswered.get_or_insert(asked);
                due.push((*id, Ping { sent: now.monotonic.0, wall: now.wall.0 }));
            }
        }
        due
    }

    pub(super) fn next_ping(&self) -> Option<Instant> {
        self.peers.values().filter(|p| p.up).map(|p| p.ping_at).min()
    }

    /// Takes a measurement: round trip with the other's handling, and its wall clock against ours
    /// at the middle of it. False if this answers none of our pings.
    pub(super) fn pong(&mut self, peer: ReplicaId, pong: &Pong, now: Now) -> bool {
        let Some(p) = self.peers.get_mut(&peer) else { return false };
        // Only the echo of our own ping says anything, once.
        let is = |asked: &mut Asked| asked.sent == pong.sent;
        let last = p.pinged.take_if(is);
        // The answer to a later one shows that what came before was answered, or lost.
        let first = p.unanswered.take_if(|asked| last.is_some() || is(asked));
        let Some(asked) = last.or(first) else { return false };
        p.unanswered = p.pinged;
        let middle = asked.wall / 2 + now.wall.0 / 2;
        p.rtt = Some(now.monotonic.since(Instant(pong.sent)));
        p.offset = i64::try_from(i128::from(pong.answered) - i128::from(middle)).ok();
        true
    }

    /// Whose pings are not answered on links that are up, and since when.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = (ReplicaId, Instant)> + '_ {
        let asked = |p: &Peer| p.unanswered.filter(|_| p.up).map(|asked| Instant(asked.sent));
        self.peers.iter().filter_map(move |(id, p)| Some((*id, asked(p)?)))
    }

    pub(super) fn status(&self, now: Instant) -> Vec<LinkStatus> {
        let status = |(id, p): (&ReplicaId, &Peer)| LinkStatus {
            replica: id.number(),
            up: p.up,
            since_ms: now.since(p.since).as_millis() as u64,
            rtt_us: p.rtt.map(|d| d.as_micros() as u64),
            offset_us: p.offset,
        };
        self.peers.iter().map(status).collect()
    }
}
