//! Links to the replicas, and what is to be sent over each.

use super::window::{Pending, Window};
use super::{Action, Actions, ReplicaStats};
use crate::types::{Ensemble, Instant, ReplicaId};
use crate::voter::LinkState;
use bytes::{Bytes, BytesMut};

#[derive(Debug)]
pub(super) struct Links(Vec<Link>);

#[derive(Debug)]
struct Link {
    state: LinkState,
    since: Instant,
    // Came up since the last flush: everything outstanding goes over it.
    fresh: bool,
    // Numbers to repeat at the next flush.
    repeat: Vec<u64>,
    stats: ReplicaStats,
}

impl Links {
    pub fn new(ensemble: Ensemble, now: Instant) -> Self {
        let link = || Link {
            state: LinkState::Down(now),
            since: now,
            fresh: false,
            repeat: Vec::new(),
            stats: ReplicaStats::default(),
        };
        Self((0..ensemble.n()).map(|_| link()).collect())
    }

    pub fn up(&mut self, replica: ReplicaId, now: Instant, restarted: bool) {
        if let Some(link) = self.0.get_mut(replica.index()) {
            link.state = if restarted { LinkState::Restarted } else { LinkState::Up };
            link.since = now;
            link.fresh = true;
            link.repeat.clear();
        }
    }

    pub fn down(&mut self, replica: ReplicaId, now: Instant) {
        if let Some(link) = self.0.get_mut(replica.index()).filter(|l| l.is_up()) {
            link.state = LinkState::Down(now);
            link.since = now;
            link.fresh = false;
            link.repeat.clear();
        }
    }

    pub fn is_up(&self, replica: ReplicaId) -> bool {
        self.0.get(replica.index()).is_some_and(Link::is_up)
    }

    pub fn any_up(&self) -> bool {
        self.0.iter().any(Link::is_up)
    }

    pub fn state(&self, replica: ReplicaId) -> LinkState {
        self.0[replica.index()].state
    }

    /// Counts something of a replica of the roster.
    pub fn count(&mut self, replica: ReplicaId) -> &mut ReplicaStats {
        &mut self.0[replica.index()].stats
    }

    pub fn stats(&self, now: Instant) -> Vec<ReplicaStats> {
        let stats = self.0.iter();
        stats
            .map(|l| ReplicaStats { up: l.is_up(), since: now.since(l.since), ..l.stats.clone() })
            .collect()
    }

    /// Notes that a request is to be sent again: to those that have not voted on it; if all that
    /// are up have, without a majority, to all of them. False if no link is up.
    pub fn repeat(&mut self, number: u64, pending: &Pending) -> bool {
        let voted = pending.voter.voted();
        let up = || self.0.iter().enumerate().filter(|(_, l)| l.is_up());
        let any_up = up().next().is_some();
        let all_voted = up().all(|(i, _)| voted.contains(ReplicaId::from_index(i)));
        for (i, link) in self.0.iter_mut().enumerate().filter(|(_, l)| l.is_up()) {
            if all_voted || !voted.contains(ReplicaId::from_index(i)) {
                link.repeat.push(number);
            }
        }
        any_up
    }

    /// The session is another one: what was to be repeated no longer is.
    pub fn forget_repeats(&mut self) {
        self.0.iter_mut().for_each(|l| l.repeat.clear());
    }

    /// Sends what is to be sent: one action a replica at most. `first_new` is the number of the
    /// first request that goes out for the first time.
    pub fn flush(&mut self, window: &Window, first_new: u64, out: &mut Actions) {
        let new = join((first_new..window.next()).filter_map(|n| window.pending(n)));
        for (i, link) in self.0.iter_mut().enumerate().filter(|(_, l)| l.is_up()) {
            let frame = if link.fresh {
                join(window.all().map(|(_, p)| p))
            } else if link.repeat.is_empty() {
                new.clone()
            } else {
                link.repeat.sort_unstable();
                link.repeat.dedup();
                let old = link.repeat.iter().filter(|n| **n < first_new);
                join(old.copied().chain(first_new..window.next()).filter_map(|n| window.pending(n)))
            };
            link.fresh = false;
            link.repeat.clear();
            if !frame.is_empty() {
                out.push(Action::Send { replica: ReplicaId::from_index(i), frame });
            }
        }
    }
}

impl Link {
    fn is_up(&self) -> bool {
        !matches!(self.state, LinkState::Down(_))
    }
}

// The frames one after the other; a single one is not copied.
fn join<'a>(requests: impl Iterator<Item = &'a Pending>) -> Bytes {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    for request in requests {
        match (first.is_empty(), all.is_empty()) {
            (true, _) => first = request.frame.clone(),
            (false, true) => {
                all.reserve(2 * (first.len() + request.frame.len()));
                all.extend_from_slice(&first);
                all.extend_from_slice(&request.frame);
            }
            (false, false) => all.extend_from_slice(&request.frame),
        }
    }
    if all.is_empty() { first } else { all.freeze() }
}
