//! Two replicas with one key (docs/testing.md, B33): each is honest, and together they are a liar.
//!
//! This is what happens when a machine is copied, or when somebody starts a second process with
//! the same key file on an empty directory. Neither twin knows of the other; what one signs, the
//! other contradicts without meaning to.

use crate::crypto::{Keyring, Scheme};
use crate::replica::{Action, Actions, Glance, Input, Replica, Setup, Status};
use crate::service::Service;
use crate::types::{Instant, Members, Now, ReplicaId, Wall};
use crate::wire::Hello;

/// How far apart the twins' wall clocks are, in microseconds.
const APART: u64 = 300;

/// Who of the others is on which side of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides {
    /// Replicas that the second twin speaks to; the others hear the first.
    pub second: Members,
    /// Whether each twin hears only those that it speaks to, or both hear everybody.
    pub deaf: bool,
}

/// Two replicas with one key; their surface is that of [`Replica`].
///
/// Clients and people get the first one's answers and events. Nothing of either is written to
/// disk: what a liar would remember binds nobody.
pub struct Twins<S: Scheme> {
    twins: [Replica<S>; 2],
    sides: Sides,
    /// Until then both hear the same and have the same clock, so that they sign the same.
    apart: Instant,
    /// Who would start again from its disk. It has none, and does nothing any more; when the first
    /// one ends, both begin anew.
    ended: [bool; 2],
}

impl<S: Scheme> Twins<S> {
    /// Two replicas of the same making, with a service each. Until `apart` they are one.
    pub fn new(
        setups: [Setup<S>; 2],
        services: [Box<dyn Service>; 2],
        sides: Sides,
        (apart, now): (Instant, Now),
    ) -> Self {
        let both = setups.into_iter().zip(services);
        let mut both = both.map(|(setup, service)| Replica::new(setup, service, now));
        let twins = std::array::from_fn(|_| both.next().expect("there are two of each"));
        Self { twins, sides, apart, ended: [false; 2] }
    }

    /// As [`Replica::handle`].
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Actions) {
        match peer_of(&input).map(|peer| self.sides.second.contains(peer)) {
            // What is said on a link is for its end, unless both listen.
            Some(second) if self.sides.deaf && now.monotonic >= self.apart => {
                self.one(usize::from(second), now, input, out);
            }
            _ => {
                self.one(0, now, input.clone(), out);
                self.one(1, now, input, out);
            }
        }
    }

    /// As [`Replica::next_wake`].
    pub fn next_wake(&self) -> Option<Instant> {
        let alive = self.twins.iter().zip(self.ended).filter(|(_, ended)| !ended);
        alive.filter_map(|(twin, _)| twin.next_wake()).min()
    }

    /// As [`Replica::hello`]: the first one's.
    pub fn hello(&self) -> Hello {
        self.twins[0].hello()
    }

    /// As [`Replica::status`]: the first one's.
    pub fn status(&self, now: Now) -> Status {
        self.twins[0].status(now)
    }

    /// As [`Replica::glance`]: the first one's.
    pub fn glance(&self) -> Glance {
        self.twins[0].glance()
    }

    /// As [`Replica::keyring`]: the first one's.
    pub fn keyring(&self) -> &Keyring<S> {
        self.twins[0].keyring()
    }

    fn one(&mut self, which: usize, now: Now, input: Input, out: &mut Actions) {
        let mut actions = Actions::new();
        if self.ended[which] {
            return;
        }
        // Two machines have two clocks; with one they would sign the same all the time.
        let apart = if now.monotonic >= self.apart { APART } else { 0 };
        let wall = Wall(now.wall.0.saturating_add(which as u64 * apart));
        self.twins[which].handle(Now { wall, ..now }, input, &mut actions);
        for action in actions {
            self.ended[which] |= matches!(action, Action::StartAgain);
            match action {
                Action::Persist { sequence, .. }
                | Action::Append { sequence, .. }
                | Action::Save { sequence, .. } => {
                    self.one(which, now, Input::Synced { sequence }, out);
                }
                Action::Encode { number, work } => {
                    self.one(which, now, Input::Encoded { number, made: work.run() }, out);
                }
                Action::ToPeer { peer, .. } | Action::ClosePeer { peer, .. } => {
                    if self.sides.second.contains(peer) == (which == 1) {
                        out.push(action);
                    }
                }
                Action::ToClient { .. }
                | Action::CloseClient { .. }
                | Action::Evidence { .. }
                | Action::KeepHalted { .. }
                | Action::MarkKnown
                | Action::Pin { .. }
                | Action::StartAgain
                | Action::Event(_) => {
                    if which == 0 {
                        out.push(action);
                    }
                }
            }
        }
    }
}

/// The replica at the other end of the link that an input is about.
fn peer_of(input: &Input) -> Option<ReplicaId> {
    match input {
        Input::PeerUp { peer, .. } | Input::PeerDown { peer } | Input::PeerFrame { peer, .. } => {
            Some(*peer)
        }
        _ => None,
    }
}
