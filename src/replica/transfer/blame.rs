//! Who lied in a transfer. None of it can be shown to others: nothing that a source says of a
//! snapshot is signed by it.

use super::download::Download;
use super::partial::Claim;
use super::source::Source;
use crate::types::plant::planted;
use crate::types::{Instant, Members, ReplicaId};
use std::time::Duration;

/// Claims that were found wrong and are remembered in one transfer at most.
const WRONG: usize = 32;
/// What everybody hears whose list is not the one that a good replica has.
const OTHER_LIST: &str = "its list of chunks is not that of the attested state";

/// What is wrong with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) struct Fault {
    pub(in crate::replica) from: ReplicaId,
    pub(in crate::replica) why: &'static str,
    /// Whether it lied, and was not only slow.
    pub(in crate::replica) lied: bool,
}

impl Download {
    /// A source lied: it is avoided from now on.
    pub(super) fn lied(
        &mut self,
        times: (Instant, Duration),
        from: ReplicaId,
        why: &'static str,
    ) -> Fault {
        self.take_back(from);
        self.sources.remove(&from);
        self.avoided.lied(from, why, times);
        self.look_for_group(times.0, times.1);
        Fault { from, why, lied: true }
    }

    /// If `t + 1` sources have another list of the state that is being fetched, it is theirs that
    /// is right, since one of them is good. Gives everybody who claimed the one that is not.
    pub(in crate::replica) fn outvoted(&mut self, times: (Instant, Duration)) -> Vec<Fault> {
        let Some(begun) = self.partial.as_ref().map(|p| &p.claim) else { return Vec::new() };
        let others = self.sources.values().filter_map(Source::claim);
        let sure = |c: &&Claim| c.contradicts(begun) && self.claimants(c).len() >= self.majority;
        if others.filter(sure).count() == 0 {
            return Vec::new();
        }
        let Some(partial) = self.partial.take() else { return Vec::new() };
        self.give_up();
        self.refute(times, (partial.claim, partial.claimants), OTHER_LIST)
    }

    /// A claim was found wrong. Gives everybody who made it.
    pub(super) fn refute(
        &mut self,
        times: (Instant, Duration),
        (claim, claimants): (Claim, Members),
        why: &'static str,
    ) -> Vec<Fault> {
        let mut liars = claimants;
        self.claimants(&claim).into_iter().for_each(|r| liars.insert(r));
        if planted("s7-one-claimant-named") {
            liars = liars.iter().take(1).collect();
        }
        if self.wrong.len() < WRONG {
            self.wrong.push(claim);
        }
        liars.iter().map(|from| self.lied(times, from, why)).collect()
    }

    /// The whole gave the attested state. Gives everybody who offers another list of it.
    pub(super) fn right(&mut self, times: (Instant, Duration), claim: &Claim) -> Vec<Fault> {
        let lies = |s: &Source| s.claim().is_some_and(|c| c.contradicts(claim));
        let liars: Vec<_> = self.sources.iter().filter(|(_, s)| lies(s)).map(|(r, _)| *r).collect();
        liars.into_iter().map(|from| self.lied(times, from, OTHER_LIST)).collect()
    }
}
