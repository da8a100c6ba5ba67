//! The Merkle tree over one step's outputs, and the chain over these trees (§3, attestation).
//!
//! A leaf binds (request digest, index in the step, output hash). Leaves and inner nodes are
//! hashed under different domains, and an odd node is carried up unhashed, so no tree can be
//! read as another (the second-preimage trick on naive trees).

use super::{Domain, Hasher};
use crate::types::Digest;

/// One executed request of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The request's digest.
    pub request: Digest,
    /// Its index in the step.
    pub index: u32,
    /// The hash of its output.
    pub output: Digest,
}

impl Leaf {
    fn hash(&self) -> Digest {
        let mut h = Hasher::new(Domain::Leaf);
        h.put(&self.request.0).put(&self.index.to_le_bytes()).put(&self.output.0);
        h.finish()
    }
}

/// The tree over a step.
#[derive(Clone, Debug)]
pub struct MerkleTree {
    // levels[0] are the leaves' hashes, the last level is the root alone; empty for no leaves.
    levels: Vec<Vec<Digest>>,
}

/// The way from a leaf to the root: for each level the sibling, where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerklePath {
    /// Place of the leaf among the leaves.
    pub place: u32,
    /// Number of leaves of the tree.
    pub leaves: u32,
    /// Siblings from the leaf upwards; levels in which the node is carried up have none.
    pub siblings: Vec<Digest>,
}

impl MerkleTree {
    /// Builds the tree over the leaves in their order.
    pub fn new(leaves: &[Leaf]) -> Self {
        let mut levels = Vec::new();
        let mut level: Vec<Digest> = leaves.iter().map(Leaf::hash).collect();
        while level.len() > 1 {
            let above = level.chunks(2).map(parent).collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        levels.push(level);
        Self { levels }
    }

    /// The root; [`Digest::ZERO`] for a step without requests.
    pub fn root(&self) -> Digest {
        self.levels.last().and_then(|top| top.first()).copied().unwrap_or(Digest::ZERO)
    }

    /// The path of the leaf at `place`, if there is one.
    pub fn path(&self, place: u32) -> Option<MerklePath> {
        let leaves = self.levels[0].len();
        let mut at = place as usize;
        if at >= leaves {
            return None;
        }
        let mut siblings = Vec::new();
        for level in &self.levels[..self.levels.len() - 1] {
            siblings.extend(level.get(at ^ 1));
            at /= 2;
        }
        Some(MerklePath { place, leaves: u32::try_from(leaves).ok()?, siblings })
    }
}

impl MerklePath {
    /// The root that this path leads to from `leaf`; `None` if the path does not fit its own sizes.
    pub fn root(&self, leaf: &Leaf) -> Option<Digest> {
        let (mut at, mut width) = (self.place as usize, self.leaves as usize);
        if at >= width {
            return None;
        }
        let mut siblings = self.siblings.iter();
        let mut node = leaf.hash();
        while width > 1 {
            if at ^ 1 < width {
                let sibling = *siblings.next()?;
                let pair = if at & 1 == 0 { [node, sibling] } else { [sibling, node] };
                node = parent(&pair);
            }
            (at, width) = (at / 2, width.div_ceil(2));
        }
        siblings.next().is_none().then_some(node)
    }
}

/// The running root after a step: the chain over the roots of all executed steps.
pub fn running_root(before: &Digest, vector: &Digest, step_root: &Digest) -> Digest {
    let mut h = Hasher::new(Domain::Running);
    h.put(&before.0).put(&vector.0).put(&step_root.0);
    h.finish()
}

fn parent(pair: &[Digest]) -> Digest {
    match pair {
        [left, right] => {
            let mut h = Hasher::new(Domain::Node);
            h.put(&left.0).put(&right.0);
            h.finish()
        }
        _ => pair[0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(n: u32) -> Vec<Leaf> {
        let leaf = |i: u32| Leaf {
            request: super::super::hash(Domain::Request, &i.to_le_bytes()),
            index: i,
            output: super::super::hash(Domain::Output, &i.to_le_bytes()),
        };
        (0..n).map(leaf).collect()
    }

    #[test]
    fn every_leaf_of_every_size_has_a_path_to_the_root() {
        for n in 1..40 {
            let all = leaves(n);
            let tree = MerkleTree::new(&all);
            for (i, leaf) in all.iter().enumerate() {
                let path = tree.path(i as u32).unwrap();
                assert_eq!(path.root(leaf), Some(tree.root()), "leaf {i} of {n}");
            }
            assert!(tree.path(n).is_none());
        }
        assert_eq!(MerkleTree::new(&[]).root(), Digest::ZERO);
    }

    #[test]
    fn a_path_fits_no_other_leaf_place_or_length() {
        let all = leaves(7);
        let tree = MerkleTree::new(&all);
        let path = tree.path(3).unwrap();
        assert_ne!(path.root(&all[2]), Some(tree.root()));
        let mut other = path.clone();
        other.place = 2;
        assert_ne!(other.root(&all[3]), Some(tree.root()));
        let mut longer = path.clone();
        longer.siblings.push(Digest::ZERO);
        assert_eq!(longer.root(&all[3]), None);
        let mut shorter = path;
        shorter.siblings.pop();
        assert_eq!(shorter.root(&all[3]), None);
    }
}
