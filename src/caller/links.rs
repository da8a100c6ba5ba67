//! Links to the replicas, and what is to be sent over each.

use super::route::Route;
use super::window::{Pending, Window};
use super::{Action, Actions, ReplicaStats};
use crate::types::{Instant, Members, ReplicaId};
use crate::voter::LinkState;
use bytes::{Bytes, BytesMut};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Links {
    links: Vec<Link>,
    /// Where requests go in a fail-stop chain; `None` where every replica gets all of them.
    pub route: Option<Route>,
}

#[derive(Debug)]
struct Link {
    state: LinkState,
    since: Instant,
    // Was up once.
    known: bool,
    // Came up since the last flush: everything outstanding goes over it.
    fresh: bool,
    // Numbers to repeat at the next flush.
    repeat: Vec<u64>,
    // Until then no large result is waited for (C3).
    tardy_until: Instant,
    stats: ReplicaStats,
}

impl Links {
    pub fn new(roster: usize, now: Instant, route: Option<Route>) -> Self {
        let link = || Link {
            state: LinkState::Down(now),
            since: now,
            known: false,
            fresh: false,
            repeat: Vec::new(),
            tardy_until: Instant(0),
            stats: ReplicaStats::default(),
        };
        Self { links: (0..roster).map(|_| link()).collect(), route }
    }

    pub fn up(&mut self, replica: ReplicaId, now: Instant, restarted: bool) {
        if let Some(link) = self.links.get_mut(replica.index()) {
            link.state = if restarted { LinkState::Restarted } else { LinkState::Up };
            link.since = now;
            link.known = true;
            // In a chain each request has its own place to go to.
            link.fresh = self.route.is_none();
            link.repeat.clear();
        }
    }

    pub fn down(&mut self, replica: ReplicaId, now: Instant) {
        if let Some(link) = self.links.get_mut(replica.index()).filter(|l| l.is_up()) {
            link.state = LinkState::Down(now);
            link.since = now;
            link.fresh = false;
            link.repeat.clear();
        }
    }

    pub fn is_up(&self, replica: ReplicaId) -> bool {
        self.links.get(replica.index()).is_some_and(Link::is_up)
    }

    /// Whether a large result is waited for that a replica is to send (C3).
    pub fn is_counted_on(&self, replica: ReplicaId, now: Instant) -> bool {
        let link = self.links.get(replica.index());
        link.is_some_and(|l| l.state == LinkState::Up && l.tardy_until <= now)
    }

    /// It was waited for in vain.
    pub fn not_counted_on(&mut self, replica: ReplicaId, until: Instant) {
        if let Some(link) = self.links.get_mut(replica.index()) {
            link.tardy_until = until;
        }
    }

    /// Whose link is down. One that is made for the first time is given so long to come up.
    pub fn gone(&self, now: Instant, first: Duration) -> Members {
        let gone = |l: &Link| !l.is_up() && (l.known || now >= l.since + first);
        let down = self.links.iter().enumerate().filter(|(_, link)| gone(link));
        down.map(|(i, _)| ReplicaId::from_index(i)).collect()
    }

    /// Whether there is somebody to send requests to.
    pub fn can_send(&self) -> bool {
        match &self.route {
            None => self.links.iter().any(Link::is_up),
            Some(route) => route.preferred().iter().any(|r| self.is_up(*r)),
        }
    }

    pub fn state(&self, replica: ReplicaId) -> LinkState {
        match self.links[replica.index()].state {
            // That it lacks its state matters to the voting group, not to the chain.
            LinkState::Restarted if self.route.is_some() => LinkState::Up,
            state => state,
        }
    }

    /// Counts something of a replica of the roster.
    pub fn count(&mut self, replica: ReplicaId) -> &mut ReplicaStats {
        &mut self.links[replica.index()].stats
    }

    pub fn stats(&self, now: Instant) -> Vec<ReplicaStats> {
        let stats = self.links.iter();
        stats
            .map(|l| ReplicaStats { up: l.is_up(), since: now.since(l.since), ..l.stats.clone() })
            .collect()
    }

    /// Notes that a request is to be sent again: to those that have not voted on it; if all that
    /// are up have, without a majority, to all of them. In a chain, to who is next. False if no
    /// link is up.
    pub fn repeat(&mut self, number: u64, pending: &mut Pending) -> bool {
        if self.route.is_some() {
            return self.send_on(number, pending, true);
        }
        let lacking = pending.voter.lacking().map_or(Members::NONE, |lacking| lacking.agree);
        let voted = pending.voter.voted().minus(lacking);
        let up = || self.links.iter().enumerate().filter(|(_, l)| l.is_up());
        let any_up = up().next().is_some();
        let all_voted = up().all(|(i, _)| voted.contains(ReplicaId::from_index(i)));
        for (i, link) in self.links.iter_mut().enumerate().filter(|(_, l)| l.is_up()) {
            if all_voted || !voted.contains(ReplicaId::from_index(i)) {
                link.repeat.push(number);
            }
        }
        any_up
    }

    /// Notes that all that are up are asked for the proof of an accepted request: also those that
    /// have given one, as that was not enough.
    pub fn ask_for_receipt(&mut self, number: u64, pending: &mut Pending) {
        let Some(gathering) = &mut pending.receipt else { return };
        for (i, link) in self.links.iter_mut().enumerate().filter(|(_, l)| l.is_up()) {
            gathering.asks(ReplicaId::from_index(i));
            link.repeat.push(number);
        }
    }

    /// Notes that a request is to be sent again to those of these that are up. False if none is.
    pub fn send_again(&mut self, number: u64, to: Members) -> bool {
        let links = self.links.iter_mut().enumerate();
        let up = links.filter(|(i, l)| l.is_up() && to.contains(ReplicaId::from_index(*i)));
        up.map(|(_, link)| link.repeat.push(number)).count() > 0
    }

    /// In a chain: notes that a request goes to one who is up, at a repeat rather to another than
    /// before. False if there is none.
    pub fn send_on(&mut self, number: u64, pending: &mut Pending, again: bool) -> bool {
        let Some(route) = &mut self.route else { return false };
        let links = &self.links;
        let up = |r: ReplicaId| links.get(r.index()).is_some_and(Link::is_up);
        let Some(to) = route.choose(pending.trail.to, again, up) else { return false };
        pending.trail.goes_to(to);
        self.links[to.index()].repeat.push(number);
        true
    }

    /// The session is another one: what was to be repeated no longer is.
    pub fn forget_repeats(&mut self) {
        self.links.iter_mut().for_each(|l| l.repeat.clear());
    }

    /// In a chain: sends what was noted to be sent to somebody.
    pub fn flush_repeats(&mut self, window: Option<&Window>, out: &mut Actions) {
        if let Some(window) = window.filter(|_| self.route.is_some()) {
            self.flush(window, window.next(), out);
        }
    }

    /// Sends what is to be sent: one action a replica at most. `first_new` is the number of the
    /// first request that goes out for the first time.
    pub fn flush(&mut self, window: &Window, first_new: u64, out: &mut Actions) {
        let new = join((first_new..window.next()).filter_map(|n| window.pending(n)));
        for (i, link) in self.links.iter_mut().enumerate().filter(|(_, l)| l.is_up()) {
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
