//! What the last steps gave: the leaves of their Merkle trees (docs/protocol.md §3), to show
//! anybody what became of a request (§6) and to find where replicas differ.

use crate::crypto::{Leaf, MerkleTree, running_root};
use crate::types::{Digest, Round};
use crate::wire::StepPosition;
use std::collections::VecDeque;

/// Bytes that are kept at most; the oldest steps go first. Some 400,000 requests.
const MAX_BYTES: usize = 32 << 20;

/// One executed step.
#[derive(Clone, Debug)]
pub(super) struct StepOutputs {
    pub(super) position: StepPosition,
    /// The running root before it.
    pub(super) before: Digest,
    /// Its requests in order, each with the hash of its output.
    pub(super) leaves: Vec<Leaf>,
}

impl StepOutputs {
    pub(super) fn tree(&self) -> MerkleTree {
        MerkleTree::new(&self.leaves)
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.leaves.len() * size_of::<Leaf>()
    }
}

/// The last executed steps of one history, without gaps.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// Each with the root of its tree.
    steps: VecDeque<(StepOutputs, Digest)>,
    bytes: usize,
}

impl Outputs {
    /// A step was executed; gives the running root after it.
    pub(super) fn push(&mut self, step: StepOutputs) -> Digest {
        let root = step.tree().root();
        let after = running_root(&step.before, &step.position.vector, &root);
        self.bytes += step.weight();
        self.steps.push_back((step, root));
        while self.bytes > MAX_BYTES && self.steps.len() > 1 {
            let oldest = self.steps.pop_front();
            self.bytes -= oldest.map_or(0, |(s, _)| s.weight());
        }
        after
    }

    /// The state is another one now: nothing is known of the steps before it.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The step of this round, and those after it.
    pub(super) fn since(&self, round: Round) -> impl Iterator<Item = &StepOutputs> {
        self.steps.range(self.place_of(round)..).map(|(step, _)| step)
    }

    /// The roots of their trees.
    pub(super) fn roots_since(
        &self,
        round: Round,
    ) -> impl Iterator<Item = (StepPosition, Digest)> + use<'_> {
        self.steps.range(self.place_of(round)..).map(|(step, root)| (step.position, *root))
    }

    fn place_of(&self, round: Round) -> usize {
        let first = self.steps.partition_point(|(s, _)| s.position.round < round);
        let found = self.steps.get(first).is_some_and(|(s, _)| s.position.round == round);
        if found { first } else { self.steps.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Domain, hash};

    fn step(round: u64, before: Digest, leaves: u32) -> StepOutputs {
        let of = |i: u32| hash(Domain::Request, &[&round.to_le_bytes()[..], &[i as u8]].concat());
        let leaf = |index| Leaf { request: of(index), index, output: of(index) };
        let position = StepPosition { round: Round(round), vector: of(200) };
        StepOutputs { position, before, leaves: (0..leaves).map(leaf).collect() }
    }

    #[test]
    fn steps_are_found_with_what_followed_them() {
        let (mut outputs, mut running) = (Outputs::default(), Digest::ZERO);
        for round in [3, 4, 6] {
            let next = step(round, running, round as u32);
            let expected = running_root(&running, &next.position.vector, &next.tree().root());
            running = outputs.push(next);
            assert_eq!(running, expected);
        }
        let rounds =
            |from: u64| outputs.since(Round(from)).map(|s| s.position.round.0).collect::<Vec<_>>();
        assert_eq!(rounds(3), [3, 4, 6]);
        assert_eq!(rounds(6), [6]);
        assert_eq!((rounds(5), rounds(7), rounds(0)), (vec![], vec![], vec![]));
        let befores: Vec<Digest> = outputs.since(Round(4)).map(|s| s.before).collect();
        assert!(befores[0] != befores[1] && !befores.contains(&Digest::ZERO));
        outputs.clear();
        assert_eq!(outputs.since(Round(3)).count(), 0);
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room() {
        let mut outputs = Outputs::default();
        let big = step(0, Digest::ZERO, 255);
        let many = MAX_BYTES / big.weight() + 10;
        for round in 1..=many as u64 {
            outputs.push(step(round, Digest::ZERO, 255));
            assert!(outputs.bytes <= MAX_BYTES);
        }
        assert_eq!(outputs.since(Round(10)).count(), 0);
        assert_eq!(outputs.since(Round(many as u64)).count(), 1);
        let weights = outputs.steps.iter().map(|(step, _)| step.weight());
        assert_eq!(outputs.bytes, weights.sum::<usize>());
    }
}
