//! Finding the first command with different results, when no `t + 1` replicas attest the same
//! (docs/protocol.md §6, *Divergence*).
//!
//! Each replica keeps the leaves of its last steps. It asks those whose outputs differ for theirs,
//! from the last step on after which both attested the same. Leaves need no signature: step by step
//! they must lead to the running root that their giver has signed in an attestation.

use super::outputs::StepOutputs;
use crate::crypto::{Leaf, MerkleTree, running_root};
use crate::types::{Digest, Instant, ReplicaId, Round};
use crate::wire::{Leaves, StepPosition, WantLeaves};
use std::collections::BTreeMap;

/// How often what is not answered is asked for.
const TRIES: u32 = 16;
/// Steps that are compared with one replica at most.
const STEPS: u32 = 4096;

/// The first request whose results two replicas have differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// The step.
    pub(super) position: StepPosition,
    /// Its place there.
    pub(super) index: u32,
    /// Its digest.
    pub(super) request: Digest,
    /// The hash of its output here.
    pub(super) ours: Digest,
    /// The hash of its output there.
    pub(super) theirs: Digest,
}

/// What came of comparing with one replica.
type Outcome = Result<Found, &'static str>;

/// The steps of one other replica, compared one after the other.
#[derive(Debug)]
struct Walk {
    /// What it has signed: it has other outputs than are here.
    position: StepPosition,
    running: Digest,
    /// The step that is asked for, and the running root before it, which both have.
    round: Round,
    before: Digest,
    /// Leaves of that step that have come.
    leaves: Vec<Leaf>,
    walked: u32,
    found: Option<Found>,
    outcome: Option<Outcome>,
}

impl Walk {
    /// `own` is the first step that is compared, if it is still known here.
    fn new((position, running): (StepPosition, Digest), own: Option<&StepOutputs>) -> Self {
        let (round, before) = own.map_or_else(Default::default, |s| (s.position.round, s.before));
        let outcome =
            own.is_none().then_some(Err("the steps before it are not known here any more"));
        let (leaves, walked, found) = (Vec::new(), 0, None);
        Self { position, running, round, before, leaves, walked, found, outcome }
    }

    fn want(&self) -> WantLeaves {
        WantLeaves { round: self.round, first: self.leaves.len() as u32 }
    }

    /// Takes an answer; `own` is the step of its round as it is here.
    fn take(&mut self, answer: &Leaves, own: Option<&StepOutputs>) {
        if self.outcome.is_some()
            || answer.position.round != self.round
            || answer.first as usize != self.leaves.len()
        {
            return;
        }
        match self.add(answer, own) {
            Ok(()) => {}
            Err(why) => self.outcome = Some(Err(why)),
        }
    }

    fn add(&mut self, answer: &Leaves, own: Option<&StepOutputs>) -> Result<(), &'static str> {
        if answer.is_unknown() {
            return Err("it does not know its results of that time any more");
        }
        let own = own.ok_or("its step is not known here any more")?;
        let fits = answer.position == own.position && answer.total as usize == own.leaves.len();
        if !fits || answer.before != self.before {
            return Err("what it gives is not what it signed");
        }
        for (leaf, ours) in answer.leaves.iter().zip(&own.leaves[self.leaves.len()..]) {
            if leaf.0 != ours.request {
                return Err("it names other requests than were ordered");
            }
            let (request, index, output) = (leaf.0, ours.index, leaf.1);
            self.leaves.push(Leaf { request, index, output });
        }
        if self.leaves.len() < own.leaves.len() {
            let nothing = answer.leaves.is_empty();
            return if nothing { Err("it gives nothing") } else { Ok(()) };
        }
        self.end_step(own)
    }

    fn end_step(&mut self, own: &StepOutputs) -> Result<(), &'static str> {
        let theirs = std::mem::take(&mut self.leaves);
        let both = || own.leaves.iter().zip(&theirs);
        let first = both().find(|(ours, theirs)| ours.output != theirs.output);
        let position = own.position;
        if let Some((ours, theirs)) = first.filter(|_| self.found.is_none()) {
            let (request, index) = (ours.request, ours.index);
            let (ours, theirs) = (ours.output, theirs.output);
            self.found = Some(Found { position, index, request, ours, theirs });
        }
        self.before =
            running_root(&self.before, &position.vector, &MerkleTree::new(&theirs).root());
        self.walked += 1;
        if position == self.position {
            let signed = self.before == self.running;
            let found = self.found.ok_or("its results up to there are the same");
            self.outcome = Some(if signed { found } else { Err("it gives not what it signed") });
        } else if self.walked == STEPS || position.round >= self.position.round {
            return Err("its last result that is the same is too long ago");
        }
        self.round = self.round.next();
        Ok(())
    }
}

/// Asking all whose outputs differ.
#[derive(Debug, Default)]
pub(super) struct Search {
    walks: BTreeMap<ReplicaId, Walk>,
    asked_at: Option<Instant>,
    tries: u32,
}

impl Search {
    /// Compares with this replica as well: what it has signed, and the first step to compare.
    pub(super) fn add(
        &mut self,
        replica: ReplicaId,
        signed: (StepPosition, Digest),
        own: Option<&StepOutputs>,
    ) {
        self.walks.insert(replica, Walk::new(signed, own));
    }

    /// What to ask whom, if it is time to: `every` so often.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        every: std::time::Duration,
    ) -> Vec<(ReplicaId, WantLeaves)> {
        if self.is_over() || self.next_wake(every).is_some_and(|at| now < at) {
            return Vec::new();
        }
        (self.asked_at, self.tries) = (Some(now), self.tries + 1);
        let open = self.walks.iter().filter(|(_, walk)| walk.outcome.is_none());
        open.map(|(replica, walk)| (*replica, walk.want())).collect()
    }

    /// When to ask again.
    pub(super) fn next_wake(&self, every: std::time::Duration) -> Option<Instant> {
        let at = self.asked_at.map_or(Instant(0), |at| at + every);
        (!self.is_over()).then_some(at)
    }

    /// Takes an answer; gives what to ask next.
    pub(super) fn take(
        &mut self,
        replica: ReplicaId,
        answer: &Leaves,
        own: Option<&StepOutputs>,
    ) -> Option<WantLeaves> {
        let walk = self.walks.get_mut(&replica)?;
        let before = walk.want();
        walk.take(answer, own);
        let next = walk.want();
        (walk.outcome.is_none() && next != before).then_some(next)
    }

    /// Whether all have said what they can, or were asked often enough.
    pub(super) fn is_over(&self) -> bool {
        let open = self.walks.values().any(|walk| walk.outcome.is_none());
        !open || self.tries > TRIES
    }

    /// What came of it with each.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (ReplicaId, Outcome)> {
        let silent = Err("it does not say what its results were");
        self.walks.iter().map(move |(replica, walk)| (*replica, walk.outcome.unwrap_or(silent)))
    }

    /// The first request with different results.
    pub(super) fn first(&self) -> Option<Found> {
        self.outcomes().filter_map(|(_, outcome)| outcome.ok()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Domain, hash};
    use std::time::Duration;

    fn digest(of: u64) -> Digest {
        hash(Domain::Request, &of.to_le_bytes())
    }

    /// Steps 1 to 4 of three requests each; `wrong` makes outputs others from there on.
    fn history(wrong: Option<(u64, u32)>) -> Vec<StepOutputs> {
        let mut before = Digest::ZERO;
        let step = |round: u64| {
            let leaf = |index: u32| {
                let is_wrong = wrong.is_some_and(|w| (round, index) >= w);
                let output = digest(1000 * u64::from(is_wrong) + round * 10 + u64::from(index));
                Leaf { request: digest(round * 100 + u64::from(index)), index, output }
            };
            let position = StepPosition { round: Round(round), vector: digest(round) };
            let leaves: Vec<Leaf> = (0..3).map(leaf).collect();
            let step = StepOutputs { position, before, leaves };
            before = running_root(&before, &position.vector, &step.tree().root());
            step
        };
        (1..5).map(step).collect()
    }

    fn signed(history: &[StepOutputs]) -> (StepPosition, Digest) {
        let last = history.last().unwrap();
        let running = running_root(&last.before, &last.position.vector, &last.tree().root());
        (last.position, running)
    }

    fn answer(step: &StepOutputs, first: usize, most: usize) -> Leaves {
        let leaves: Vec<_> = step.leaves.iter().map(|l| (l.request, l.output)).collect();
        let end = leaves.len().min(first + most);
        Leaves {
            position: step.position,
            before: step.before,
            total: leaves.len() as u32,
            first: first as u32,
            leaves: leaves[first..end].to_vec(),
        }
    }

    /// Compares from the second step on, with so many leaves a message.
    fn compare(ours: &[StepOutputs], theirs: &[StepOutputs], most: usize) -> Outcome {
        let peer = ReplicaId::from_index(1);
        let mut search = Search::default();
        search.add(peer, signed(theirs), ours.get(1));
        let mut asked = search.ask(Instant(5), Duration::from_secs(1)).pop().map(|(_, want)| want);
        assert!(search.ask(Instant(6), Duration::from_secs(1)).is_empty(), "it was just asked");
        while let Some(want) = asked {
            let at = want.round.0 as usize - 1;
            asked =
                search.take(peer, &answer(&theirs[at], want.first as usize, most), ours.get(at));
        }
        assert!(search.is_over() && search.next_wake(Duration::from_secs(1)).is_none());
        search.outcomes().next().unwrap().1
    }

    #[test]
    fn the_first_different_output_is_found_however_the_leaves_come() {
        let (ours, theirs) = (history(None), history(Some((3, 1))));
        for most in 1..5 {
            let found = compare(&ours, &theirs, most).unwrap();
            assert_eq!((found.position, found.index), (ours[2].position, 1));
            assert_eq!((found.request, found.ours), (digest(301), digest(31)));
            assert_eq!(found.theirs, digest(1031));
        }
    }

    #[test]
    fn what_was_not_signed_is_no_result() {
        let (ours, theirs) = (history(None), history(Some((3, 1))));
        let other = history(Some((4, 2)));
        let mut search = Search::default();
        let peer = ReplicaId::from_index(1);
        search.add(peer, signed(&theirs), ours.get(1));
        for (at, step) in other.iter().enumerate().take(4).skip(1) {
            search.take(peer, &answer(step, 0, 9), ours.get(at));
        }
        assert_eq!(search.outcomes().next().unwrap().1, Err("it gives not what it signed"));
        assert!(compare(&ours, &history(Some((1, 0))), 9).is_err(), "they differ before that");
    }

    #[test]
    fn what_is_gone_or_silent_ends_the_search() {
        let (ours, theirs) = (history(None), history(Some((3, 1))));
        let (one, two) = (ReplicaId::from_index(1), ReplicaId::from_index(2));
        let mut search = Search::default();
        search.add(one, signed(&theirs), ours.first());
        search.add(two, signed(&theirs), None);
        let every = Duration::from_secs(1);
        assert_eq!(search.ask(Instant(0), every).len(), 1, "nothing to compare with the other");
        search.take(one, &Leaves::unknown(Round(2)), ours.get(1));
        assert!(!search.is_over(), "that was not asked for");
        for second in 1..=TRIES {
            assert_eq!(search.ask(Instant(0) + every * second, every).len(), 1);
        }
        assert!(search.is_over() && search.first().is_none());
        assert!(search.outcomes().all(|(_, outcome)| outcome.is_err()));
    }
}
