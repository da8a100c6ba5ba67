//! Fetching the bodies that a step lacks (O7).

use crate::ordering::Ordered;
use crate::types::{Digest, Instant, ReplicaId, Timing};
use crate::wire::WantBody;
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
    /// from the second time on all of them, since some may lie. At most [`WantBody::MAX`] each.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        timing: &Timing,
        me: ReplicaId,
        missing: &[Ordered],
    ) -> BTreeMap<ReplicaId, Vec<Digest>> {
        let mut asks: BTreeMap<ReplicaId, Vec<Digest>> = BTreeMap::new();
        for ordered in missing.iter().take(WantBody::MAX) {
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
        self.asked = missing.iter().take(WantBody::MAX).map(|o| o.digest).collect();
        asks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let many: Vec<Ordered> = (0..=255).map(ordered).chain([ordered(0)]).collect();
        fetch.begin(Instant(0), &timing);
        fetch.ask(Instant(10), &timing, me, &many);
        (0..255).for_each(|n| fetch.arrived(&Digest([n; 32]), Instant(20)));
        assert!(!fetch.is_due(Instant(20)) && fetch.wants(&Digest([255; 32])));
        fetch.arrived(&Digest([255; 32]), Instant(20));
        assert!(fetch.is_due(Instant(20)));
        fetch.end();
        assert_eq!(fetch.next_wake(), None);
    }
}
