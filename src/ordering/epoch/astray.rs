//! One that has committed what the others have not gone on with (§7).

use super::Opening;
use crate::crypto::Scheme;
use crate::ordering::order::Order;
use crate::ordering::{Action, Core};
use crate::types::plant::planted;
use crate::types::{Digest, Epoch, Members, Now, Round};
use std::sync::Arc;

/// Openings on the way back to a common one at most: as many as the order remembers.
const MAX_BACK: usize = 32;

impl<S: Scheme> Core<S> {
    /// Whether what was committed here is not in the history that others have gone on with: then
    /// [`Core::leads_back`] says whether a state does.
    pub fn is_astray(&self) -> bool {
        self.astray
    }

    /// Whether this ordering state is of a later epoch than what was committed here: then it goes
    /// before that, though its round may be lower.
    pub fn leads_back(&self, state: &[u8]) -> bool {
        let ensemble = self.keyring.ensemble();
        let order = Order::decode(state, ensemble, self.limits, self.seed);
        self.astray && order.is_ok_and(|order| order.epoch().0 > self.order.epoch().0)
    }

    /// The epoch of an ordering state, unless its history is known to have what was committed here
    /// up to this round. That is not known either if too many epochs came between.
    ///
    /// What two histories have of one epoch with one opening is the same, as far as the shorter one
    /// goes: each vector there has a proposal of every member, and a good one, of whom there is one
    /// at least, signs one for each round, and chooses with it the vector before.
    pub fn not_followed_by(&self, state: &[u8], round: Round) -> Option<Epoch> {
        let order = Order::decode(state, self.keyring.ensemble(), self.limits, self.seed).ok()?;
        let there = order.passed(self.order.epoch().0, self.order.opening.0);
        let known = there.is_some_and(|(_, end)| round <= end);
        (!known).then(|| order.epoch().0)
    }

    /// §7: what was executed here after the base of this opening is given up. Nobody can have
    /// accepted it: it was durable at `t` replicas at most. Whoever has a log executes that again
    /// up to where both histories part; else a state is taken over that `t + 1` attest.
    pub(in crate::ordering) fn go_astray(
        &mut self,
        now: Now,
        opening: &Arc<Opening>,
        out: &mut Vec<Action>,
    ) {
        let again = std::mem::replace(&mut self.astray, !planted("s7-never-rolled-back"));
        if !again && self.astray && !planted("s7-never-undone") {
            let epoch = opening.call.number();
            // Also where nobody knows how far both histories are the same: what was answered here
            // since then may be none of what the others go on with.
            out.push(Action::Astray { keep: self.common_with(opening), epoch });
        }
        self.fall_behind(now, out);
    }

    /// The last vector that the history here and that of an opening have both; the round before
    /// the first of its epoch, if of that they have only its opening.
    fn common_with(&self, opening: &Arc<Opening>) -> Option<(Epoch, Round)> {
        let mut then = opening.clone();
        for _ in 0..MAX_BACK {
            let of = then.from;
            if let Some((base, end)) = self.order.passed(of.0, then.origin) {
                let Some(vector) = &then.base else { return Some((of.0, base)) };
                let same = vector.round > end || self.has(of, vector.round, &vector.hashes);
                let last = if same { vector.round } else { vector.round.previous() };
                return Some((of.0, last.max(base)));
            }
            then = self.opening_of(of, then.origin, &then.origin_reports)?;
        }
        None
    }

    /// Whether all proposals of a vector are at hand.
    fn has(&self, of: (Epoch, Members), round: Round, hashes: &[Digest]) -> bool {
        of.1.iter().zip(hashes).all(|(member, digest)| {
            let chain = self.chain_of(of.0, of.1);
            chain.is_some_and(|rounds| rounds.find(round, member, digest).is_some())
                || self.history.find(round, member, digest).is_some()
        })
    }
}
