//! What an opening does to the order (O1, O7, F3).

use super::{Order, State};
use crate::ordering::epoch::Opening;
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{AgreedTime, Digest, Epoch, Members, Round};
use std::collections::BTreeSet;

/// Openings before the present one that are remembered. Whoever entered none of them is taken
/// for one that knows nothing (O7).
pub(super) const MAX_PAST: usize = 32;

impl Order {
    /// Up to which round of this history somebody knows what was accepted, who entered the epoch
    /// of this opening and has completed the vectors of it up to `named`: with an opening comes
    /// all up to its base, and vectors count as far as the next opening has left them. `None` if
    /// this history has gone past that epoch without it.
    fn known_to(&self, (epoch, opening): (Epoch, Digest), named: Round) -> Option<Round> {
        let present = (self.epoch().0, self.opening.0, self.opening.1);
        let path = || self.past.iter().chain([&present]);
        let Some(at) = path().position(|(e, o, _)| (*e, *o) == (epoch, opening)) else {
            // It is so long ago that it is forgotten.
            let old = path().next().is_none_or(|(first, ..)| epoch < *first);
            return (old || planted("o7-dead-branch-is-dumb")).then_some(Round(0));
        };
        let mut ends = path().skip(at).map(|(.., first)| first.previous());
        let base = ends.next().unwrap_or_default();
        Some(base.max(named.min(ends.next().unwrap_or(self.round()))))
    }

    /// The rounds of an epoch with this opening in this history: the one before the first, and the
    /// last. `None` if it is not in it, or so long ago that it is forgotten.
    pub(in crate::ordering) fn passed(
        &self,
        epoch: Epoch,
        opening: Digest,
    ) -> Option<(Round, Round)> {
        let present = (self.epoch().0, self.opening.0, self.opening.1);
        let mut path = self.past.iter().chain([&present]);
        let (.., first) = path.find(|(e, o, _)| (*e, *o) == (epoch, opening))?;
        let next = path.next().map(|(.., next)| next.previous());
        Some((first.previous(), next.unwrap_or(self.round())))
    }

    /// Processes an opening after its base and before its first vector. Gives the requests whose
    /// bodies are lost: they have no effect (O7); and the first round in whose step one of them
    /// stands, if one does.
    pub(in crate::ordering) fn open(&mut self, opening: &Opening) -> (Vec<Digest>, Option<Round>) {
        let void = if opening.may_void() { self.lost(opening) } else { Vec::new() };
        let first = void.iter().filter_map(|d| Some(self.executed.get(d)?.round)).min();
        for digest in &void {
            mark("O7 an opening made a request void");
            if let Some(known) = self.known.get_mut(digest) {
                known.void = true;
            } else if self.is_executed(digest) && !planted("o7-void-stays-executed") {
                // In a step of the base: as when a void one gets its turn, its client may send it
                // again.
                self.executed.remove(digest);
            }
        }
        if !planted("o1-keep-dropped") {
            self.drop_candidates(opening.keeps());
        }
        self.past.push_back((self.epoch().0, self.opening.0, self.opening.1));
        if self.past.len() > MAX_PAST {
            self.past.pop_front();
        }
        self.roster.open(&opening.verdict(), AgreedTime(self.agreed));
        self.opening = (opening.digest, self.round().next());
        self.last.1 = opening.reports.clone();
        self.index_all_partial(self.roster.members());
        (void, first)
    }

    /// Requests accepted up to the base whose body no member of the new epoch has, in the order of
    /// their digests.
    fn lost(&self, opening: &Opening) -> Vec<Digest> {
        let mut lost: BTreeSet<Digest> = BTreeSet::new();
        let waiting = self.accepted.iter().copied();
        let executed = opening.lacked();
        for digest in waiting.chain(executed) {
            let known = self.known.get(&digest).map(|k| (k.state, k.holders));
            let (since, holders) = match (known, self.executed.get(&digest)) {
                (Some((State::Accepted(round, _), holders)), _) => ((round, false), holders),
                // Never accepted: it is no business of an opening.
                (Some((State::HalfSeen, _)), _) => continue,
                (None, Some(done)) => ((done.round, true), done.holders),
                (None, None) => ((Round(0), true), Members::NONE),
            };
            let knows = |entered, named| self.known_to(entered, named);
            if opening.is_lost(&digest, since, holders, knows) && !planted("o7-nothing-is-void") {
                lost.insert(digest);
            }
        }
        lost.into_iter().collect()
    }

    /// O1: for requests not yet accepted only candidates of these replicas stay.
    fn drop_candidates(&mut self, keep: Members) {
        let half_seen: Vec<(Round, Digest)> = self.half_seen.iter().copied().collect();
        for (first, digest) in half_seen {
            let known = self.known.get_mut(&digest).expect("half-seen requests are known");
            let charged_to = known.candidates[0].replica;
            known.candidates.retain(|c| keep.contains(c.replica));
            known.holders = known.candidates.iter().map(|c| c.replica).collect();
            let now_charged = known.candidates.first().map(|c| c.replica);
            if now_charged != Some(charged_to) {
                mark("O1 an opening dropped a candidate");
            }
            if now_charged == Some(charged_to) {
                continue;
            }
            self.charged[charged_to.index()] -= 1;
            if let Some(next) = now_charged {
                self.charged[next.index()] += 1;
                continue;
            }
            let known = self.known.remove(&digest).expect("it was there above");
            if let Some(entry) = known.partial {
                self.partial.remove(&(entry, digest));
            }
            self.half_seen.remove(&(first, digest));
            self.changes.remove(&digest);
        }
    }

    /// O3 (ii) asks for candidates of the members of the epoch: with it the index changes.
    fn index_all_partial(&mut self, members: Members) {
        let unexecuted: Vec<Digest> =
            self.accepted.iter().copied().chain(self.half_seen.iter().map(|(_, d)| *d)).collect();
        for digest in unexecuted {
            self.index_partial(&digest, members);
        }
    }

    /// Accepted requests that are not executed, with those who gave them candidates; void ones are
    /// not among them.
    pub(in crate::ordering) fn unexecuted_bodies(&self) -> Vec<(Digest, Members)> {
        let known = |d: &Digest| self.known.get(d).filter(|k| !k.void);
        self.accepted.iter().filter_map(|d| Some((*d, known(d)?.holders))).collect()
    }

    /// Whether this replica has a committed candidate for a request, or the request is done with.
    pub(in crate::ordering) fn has_candidate_of(
        &self,
        replica: crate::types::ReplicaId,
        request: &Digest,
    ) -> bool {
        self.is_executed(request)
            || self.known.get(request).is_some_and(|k| k.holders.contains(replica))
    }
}
