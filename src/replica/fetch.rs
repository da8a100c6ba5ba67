//! Fetching the bodies that a step lacks (O7).

use super::answers::Asker;
use super::bodies::Held;
use super::replica::{Replica, to_peer};
use super::{Actions, Lane};
use crate::crypto::Scheme;
use crate::ordering::Ordered;
use crate::types::plant::planted;
use crate::types::{Digest, Instant, Now, ReplicaId, Timing};
use crate::wire::{Body, Message, Request, WantBody, Writer};
use std::collections::{BTreeMap, BTreeSet};

/// When to ask for what is missing, and whom.
#[derive(Debug, Default)]
pub(super) struct Fetch {
    /// When to ask next; `None` while nothing is missing.
    at: Option<Instant>,
    /// How often that was done for the present step in vain.
    tries: usize,
    /// Bodies asked for that have not come.
    asked: BTreeSet<Digest>,
}

/// Bodies that are asked for at a time: a follower that has rounds to catch up with needs those of
/// many, and each time takes a journey there and back.
pub(super) const AT_ONCE: usize = 8 * WantBody::MAX;

/// Asking in vain so often means that nobody has a body any more.
pub(super) const HOPELESS: usize = 4;

impl Fetch {
    /// Something is missing. Bodies are mostly on their way from the client itself.
    pub(super) fn begin(&mut self, now: Instant, timing: &Timing) {
        self.at.get_or_insert(now + timing.join_delay);
    }

    /// Nothing is missing any more.
    pub(super) fn end(&mut self) {
        (self.at, self.tries) = (None, 0);
    }

    /// Whether this body was asked for and has not come.
    pub(super) fn wants(&self, digest: &Digest) -> bool {
        self.asked.contains(digest)
    }

    /// Whether it is of no use to go on asking: the state has to come from elsewhere.
    pub(super) fn is_hopeless(&self) -> bool {
        self.tries >= HOPELESS
    }

    /// A body has come; when all have that were asked for, the next ones are asked for at once.
    pub(super) fn arrived(&mut self, digest: &Digest, now: Instant) {
        let last = self.asked.remove(digest) && self.asked.is_empty();
        if last && self.at.is_some() {
            (self.at, self.tries) = (Some(now), 0);
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.at
    }

    /// Whether it is time to ask.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| now >= at)
    }

    /// Whom to ask for what: one of the holders of each body at first, by turns over the bodies;
    /// from the second time on all of them, since some may lie. At most [`AT_ONCE`] each.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        timing: &Timing,
        me: ReplicaId,
        missing: &[Ordered],
    ) -> BTreeMap<ReplicaId, Vec<Digest>> {
        let mut asks: BTreeMap<ReplicaId, Vec<Digest>> = BTreeMap::new();
        for ordered in missing.iter().take(AT_ONCE) {
            let holders: Vec<ReplicaId> = ordered.holders.iter().filter(|r| *r != me).collect();
            let turn = usize::from(ordered.digest.0[0]) % holders.len().max(1);
            let asked = if self.tries == 0 { holders.get(turn..=turn) } else { Some(&holders[..]) };
            for holder in asked.unwrap_or_default() {
                asks.entry(*holder).or_default().push(ordered.digest);
            }
        }
        // One that withholds must not cost every step 2Δ, so the others are asked soon after it.
        let patience = if self.tries == 0 { timing.join_delay } else { 2 * timing.delta };
        self.at = Some(now + patience);
        self.tries += 1;
        self.asked = missing.iter().take(AT_ONCE).map(|o| o.digest).collect();
        asks
    }
}

impl<S: Scheme> Replica<S> {
    /// Asks for the bodies that are missing, if it is time to.
    pub(super) fn ask_for_bodies(&mut self, now: Now, out: &mut Actions) {
        if !self.fetch.is_due(now.monotonic) || self.paused {
            return;
        }
        if self.fetch.is_hopeless() {
            self.behind(out);
        }
        let missing = self.executor.missing(&self.bodies);
        let asks = self.fetch.ask(now.monotonic, &self.timing, self.id, &missing);
        for (peer, digests) in asks {
            self.counters.bodies_asked += digests.len() as u64;
            for part in digests.chunks(WantBody::MAX) {
                let want = WantBody { digests: part.to_vec() };
                out.push(to_peer(peer, Lane::Protocol, want.to_frame(self.group)));
            }
        }
    }

    /// R7: whether so much waits for bodies that nothing more is to be taken in that can be later.
    pub(super) fn waits_too_much(&self) -> bool {
        self.executor.is_far_behind() && !planted("r7-no-bound")
    }

    pub(super) fn want_body(&mut self, peer: ReplicaId, want: &WantBody, out: &mut Actions) {
        for held in want.digests.iter().filter_map(|d| self.bodies.get(d)) {
            if !self.answers.may(Asker::Peer(peer), held.request.body.len()) {
                break;
            }
            let mut request = Writer::new();
            held.request.encode(&mut request);
            let body = Body { client: held.client, request: request.into_bytes().into() };
            self.counters.bodies_sent += 1;
            out.push(to_peer(peer, Lane::Bulk, body.to_frame(self.group)));
        }
    }

    /// O7: takes a body that a step waits for; its digest says whether it is the right one.
    pub(super) fn body(&mut self, now: Now, body: Body, out: &mut Actions) {
        if !self.executor.is_waiting_for_bodies() && self.needed_wake().is_none() {
            return;
        }
        let Ok(request) = Request::from_body(&body.request) else {
            self.counters.malformed += 1;
            return;
        };
        let digest = request.digest(&self.keyring.context(), &body.client);
        let queued = self.executor.lacks(&digest) || self.fetch.wants(&digest);
        let wanted = queued || self.needs(&digest);
        if !wanted || self.bodies.get(&digest).is_some() {
            return;
        }
        self.counters.bodies_received += 1;
        let (client, origin) = (body.client, None);
        let held = Held { client, request, origin, executed: false, logged: false, again: false };
        self.bodies.insert(digest, held);
        self.executor.found(&digest);
        self.fetch.arrived(&digest, now.monotonic);
        self.look_at_needed(now, out);
        self.execute(now, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Domain, hash};
    use crate::types::{Members, Round, Uid};
    use std::time::Duration;

    fn ordered(n: u8) -> Ordered {
        let holders: Members = [0, 1, 2].map(ReplicaId::from_index).into_iter().collect();
        let cuid = crate::types::Cuid { clock: 1, replica: ReplicaId::from_index(0) };
        let (digest, uid) = (Digest([n; 32]), Uid::of(cuid));
        Ordered { digest, uid, accepted: Round(1), holders, void: false }
    }

    #[test]
    fn one_holder_is_asked_first_and_then_all() {
        let timing = Timing::from_delta(Duration::from_millis(100));
        let (me, mut fetch) = (ReplicaId::from_index(0), Fetch::default());
        fetch.begin(Instant(0), &timing);
        assert!(!fetch.is_due(Instant(9_999_999)) && fetch.is_due(Instant(10_000_000)));
        let missing: Vec<Ordered> = (0..10).map(ordered).collect();
        let first = fetch.ask(Instant(10_000_000), &timing, me, &missing);
        let counts: Vec<usize> = first.values().map(Vec::len).collect();
        assert_eq!(counts, [5, 5], "by turns, never oneself");
        assert!(!fetch.is_due(Instant(19_999_999)) && fetch.is_due(Instant(20_000_000)));
        let second = fetch.ask(Instant(20_000_000), &timing, me, &missing);
        assert!(second.values().all(|asked| asked.len() == 10));
        assert!(!fetch.is_due(Instant(219_999_999)) && fetch.is_due(Instant(220_000_000)));
    }

    #[test]
    fn when_all_that_was_asked_for_has_come_the_rest_is_asked_for_at_once() {
        let timing = Timing::from_delta(Duration::from_millis(100));
        let (me, mut fetch) = (ReplicaId::from_index(0), Fetch::default());
        let digest = |n: usize| hash(Domain::Request, &n.to_le_bytes());
        let one = |n: usize| Ordered { digest: digest(n), ..ordered(0) };
        let many: Vec<Ordered> = (0..=AT_ONCE).map(one).collect();
        fetch.begin(Instant(0), &timing);
        fetch.ask(Instant(10), &timing, me, &many);
        (1..AT_ONCE).for_each(|n| fetch.arrived(&digest(n), Instant(20)));
        assert!(!fetch.is_due(Instant(20)) && fetch.wants(&digest(0)));
        fetch.arrived(&digest(0), Instant(20));
        assert!(fetch.is_due(Instant(20)));
        fetch.end();
        assert_eq!(fetch.next_wake(), None);
    }
}
