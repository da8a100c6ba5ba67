//! What numbers an epoch: roots and calls (docs/protocol.md §2, E3).

use super::{Epoch, Members};
use std::fmt;

/// The first two numbers of an epoch. Within one root all calls start from the same member list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Root {
    /// Status changes so far.
    pub generation: u32,
    /// Resets since the last of these.
    pub resets: u32,
}

impl Root {
    /// The root of the epoch that every new cluster starts in.
    pub const GENESIS: Root = Root { generation: 0, resets: 0 };
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{})", self.generation, self.resets)
    }
}

impl Epoch {
    /// Its first two numbers.
    pub fn root(self) -> Root {
        Root { generation: self.generation, resets: self.resets }
    }
}

/// A call for an epoch (E3): the list of its root, less those accused. Two calls with the same
/// root, list and accused are one call, whatever evidence comes with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// The root.
    pub root: Root,
    /// `L`: the members that the root starts with.
    pub list: Members,
    /// `S`: who of these is accused; a subset of `list`.
    pub accused: Members,
}

impl Call {
    /// The number of the epoch that it calls for: the root and how many are accused.
    pub fn number(&self) -> Epoch {
        let accused = u32::try_from(self.accused.len()).expect("at most 31 replicas are accused");
        Epoch { generation: self.root.generation, resets: self.root.resets, accused }
    }

    /// `A = L - S`: the members of the epoch that it calls for.
    pub fn members(&self) -> Members {
        self.list.minus(self.accused)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} without {}", self.number(), self.list, self.accused)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ReplicaId;
    use super::*;

    #[test]
    fn a_call_is_numbered_by_its_root_and_how_many_it_accuses() {
        let set = |of: &[usize]| of.iter().map(|i| ReplicaId::from_index(*i)).collect::<Members>();
        let root = Root { generation: 3, resets: 2 };
        let call = Call { root, list: set(&[0, 1, 2, 4]), accused: set(&[1, 4]) };
        assert_eq!(call.number(), Epoch { generation: 3, resets: 2, accused: 2 });
        assert_eq!(call.number().root(), root);
        assert_eq!(call.members(), set(&[0, 2]));
        assert_eq!(call.to_string(), "(3,2,2) of {R1,R2,R3,R5} without {R2,R5}");
    }

    #[test]
    fn roots_compare_generation_first() {
        let root = |generation, resets| Root { generation, resets };
        assert!(root(1, 0) > root(0, 9) && root(1, 1) > root(1, 0));
        assert_eq!(Epoch::GENESIS.root(), Root::GENESIS);
    }
}
