//! The replica's part in the group that votes, if it has one.

use crate::adversary::{Liar, Lie};
use crate::config::Cluster;
use crate::crypto::{Ed25519, Scheme, SecretKey};
use crate::replica::{self, Action, Actions, CloseReason, Input, Replica, Standing, Status};
use crate::service::Service;
use crate::transport::Lane;
use crate::types::{GroupId, Instant, Now, ReplicaId};
use crate::wire::{Hello, Kind, Message, PROTOCOL_VERSION, Ping, Pong, Stamp};

/// An honest replica, one that lies because a test asked for it, or one that has no vote.
pub(super) enum Player {
    Honest(Box<Replica<Ed25519>>),
    Lying(Box<Liar<Ed25519>>),
    /// A replica of chains whose master is a group of its own (docs/chain.md).
    Host(Box<Host>),
}

/// What there is to say without a vote.
pub(super) struct Host {
    hello: Hello,
    service: String,
}

const NO_VOTE: CloseReason =
    CloseReason::Malformed("this replica has parts in chains alone, and votes on nothing");

impl Player {
    pub(super) fn voting(
        setup: replica::Setup<Ed25519>,
        (service, key): (Box<dyn Service>, &SecretKey),
        lie: Option<Lie>,
        now: Now,
    ) -> Self {
        let Some(lie) = lie else {
            return Player::Honest(Box::new(Replica::new(setup, service, now)));
        };
        let attack = lie.attack(u64::from(setup.id.number()));
        let signer = Ed25519::signer(key);
        Player::Lying(Box::new(Liar::new(setup, signer, service, attack, now)))
    }

    /// One without a vote.
    pub(super) fn host(cluster: &Cluster, replica: ReplicaId, incarnation: u64) -> Self {
        let hello = Hello {
            version: PROTOCOL_VERSION,
            cluster: cluster.id(),
            replica,
            incarnation,
            restarted: false,
            fields: cluster.fields(),
            groups: Vec::new(),
        };
        Player::Host(Box::new(Host { hello, service: cluster.service.name.clone() }))
    }

    pub(super) fn hello(&self) -> Vec<u8> {
        let hello = match self {
            Player::Honest(replica) => replica.hello(),
            Player::Lying(liar) => liar.hello(),
            Player::Host(host) => host.hello.clone(),
        };
        hello.to_frame(GroupId::MAIN)
    }

    pub(super) fn handle(&mut self, now: Now, input: Input, out: &mut Actions) {
        match self {
            Player::Honest(replica) => replica.handle(now, input, out),
            Player::Lying(liar) => liar.handle(now, input, out),
            Player::Host(_) => take_as_host(now, input, out),
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        match self {
            Player::Honest(replica) => replica.next_wake(),
            Player::Lying(liar) => liar.next_wake(),
            Player::Host(_) => None,
        }
    }

    /// What is said of a batch of frames to a replica that votes, too.
    pub(super) fn stamp(&mut self, peer: ReplicaId, sent: Instant) -> Option<Stamp> {
        match self {
            Player::Honest(replica) => Some(replica.stamp(peer, sent)),
            Player::Lying(liar) => Some(liar.stamp(peer, sent)),
            Player::Host(_) => None,
        }
    }

    pub(super) fn status(&self, now: Now) -> Status {
        match self {
            Player::Honest(replica) => replica.status(now),
            Player::Lying(liar) => liar.status(now),
            Player::Host(host) => Status {
                cluster: host.hello.cluster.to_hex(),
                replica: host.hello.replica.number(),
                incarnation: host.hello.incarnation,
                standing: Standing::Host,
                service: host.service.clone(),
                ..Status::default()
            },
        }
    }
}

/// Of what is for a group that votes only pings are for this replica.
fn take_as_host(now: Now, input: Input, out: &mut Actions) {
    let reason = NO_VOTE;
    match input {
        Input::PeerFrame { peer, .. } => out.push(Action::ClosePeer { peer, reason }),
        Input::ClientFrames { link, frames } => {
            for frame in frames {
                let ping = Ping::from_body(&frame.body).ok().filter(|_| frame.kind == Kind::Ping);
                let Some(Ping { sent, .. }) = ping else {
                    return out.push(Action::CloseClient { link, reason });
                };
                let pong = Pong { sent, clock: now.monotonic.0, answered: now.wall.0 };
                out.push(Action::ToClient { link, frame: pong.to_frame(GroupId::MAIN).into() });
            }
        }
        _ => {}
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
