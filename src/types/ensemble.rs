//! All arithmetic on `n` and `t`, and sets of replicas.

use super::ReplicaId;
use std::fmt;

/// The largest number of faults a group can be configured for; `n = 31` then.
pub const MAX_T: u8 = 15;

/// Replicas of a cluster at most, those without a vote among them.
pub const MAX_ROSTER: usize = 31;

/// How many replicas there are and how many of them may be bad: `n = 2t + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ensemble {
    t: u8,
}

impl Ensemble {
    /// An ensemble that survives `t` bad replicas, `1..=15`; `None` outside of that.
    pub fn new(t: u8) -> Option<Self> {
        (1..=MAX_T).contains(&t).then_some(Self { t })
    }

    /// How many replicas may be bad.
    pub fn t(self) -> usize {
        usize::from(self.t)
    }

    /// How many replicas there are: `2t + 1`.
    pub fn n(self) -> usize {
        2 * self.t() + 1
    }

    /// `t + 1`: at least one of so many is good, and a client accepts what so many say (C1).
    pub fn majority(self) -> usize {
        self.t() + 1
    }

    /// `⌈(3t + 2) / 2⌉`: equal replies that no timing can contradict (C4).
    pub fn strong(self) -> usize {
        (3 * self.t() + 2).div_ceil(2)
    }

    /// All replicas of the roster in order.
    pub fn replicas(self) -> impl DoubleEndedIterator<Item = ReplicaId> + Clone {
        (0..self.n()).map(ReplicaId::from_index)
    }

    /// The set of all replicas.
    pub fn all(self) -> Members {
        self.replicas().collect()
    }

    /// Whether the roster has this replica.
    pub fn contains(self, replica: ReplicaId) -> bool {
        replica.index() < self.n()
    }
}

/// A set of replicas, iterated in the order of the roster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Members(u32);

impl Members {
    /// The empty set.
    pub const NONE: Members = Members(0);

    /// The set as one bit a replica, `R1` lowest.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The set with these bits; bit 31 must be clear.
    pub fn from_bits(bits: u32) -> Option<Self> {
        (bits >> 31 == 0).then_some(Self(bits))
    }

    /// Whether `replica` is in the set.
    pub fn contains(self, replica: ReplicaId) -> bool {
        self.0 >> replica.index() & 1 == 1
    }

    /// Adds `replica`.
    pub fn insert(&mut self, replica: ReplicaId) {
        self.0 |= 1 << replica.index();
    }

    /// Takes `replica` out.
    pub fn remove(&mut self, replica: ReplicaId) {
        self.0 &= !(1 << replica.index());
    }

    /// How many replicas are in the set.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every replica of `other` is in this set.
    pub fn includes(self, other: Members) -> bool {
        other.0 & !self.0 == 0
    }

    /// Those of this set that are not in `other`.
    pub fn minus(self, other: Members) -> Members {
        Members(self.0 & !other.0)
    }

    /// The replicas that are in one of the two sets.
    pub fn union(self, other: Members) -> Members {
        Members(self.0 | other.0)
    }

    /// The replicas that are in both sets.
    pub fn both(self, other: Members) -> Members {
        Members(self.0 & other.0)
    }

    /// Whose turn it is at this count: one after the other, from the lowest on. `None` if the set
    /// is empty.
    pub fn turn(self, count: u64) -> Option<ReplicaId> {
        let place = count.checked_rem(self.len() as u64)?;
        self.iter().nth(usize::try_from(place).ok()?)
    }

    /// The replicas in the order of the roster.
    pub fn iter(self) -> impl Iterator<Item = ReplicaId> + Clone {
        (0..31).filter(move |i| self.0 >> i & 1 == 1).map(ReplicaId::from_index)
    }
}

impl FromIterator<ReplicaId> for Members {
    fn from_iter<I: IntoIterator<Item = ReplicaId>>(replicas: I) -> Self {
        let mut set = Self::NONE;
        replicas.into_iter().for_each(|r| set.insert(r));
        set
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.iter().map(|r| r.to_string()).collect();
        write!(f, "{{{}}}", names.join(","))
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_for_every_size() {
        // (t, n, majority, strong): C4 says 3 of 3, 4 of 5, 6 of 7.
        for (t, n, majority, strong) in [(1, 3, 2, 3), (2, 5, 3, 4), (3, 7, 4, 6), (4, 9, 5, 7)] {
            let e = Ensemble::new(t).unwrap();
            assert_eq!((e.n(), e.majority(), e.strong()), (n, majority, strong));
        }
    }

    #[test]
    fn two_strong_sets_share_an_honest_replica_for_every_t() {
        for e in (1..=MAX_T).map(|t| Ensemble::new(t).unwrap()) {
            assert!(2 * e.strong() - e.n() > e.t(), "t={}", e.t());
            assert!(2 * e.strong() - e.n() >= e.majority());
            assert!(e.strong() <= e.n());
        }
    }

    #[test]
    fn turns_go_around_the_set() {
        let set: Members = [0, 2, 3].map(ReplicaId::from_index).into_iter().collect();
        let turns = (0..7).map(|count| set.turn(count).unwrap().number()).collect::<Vec<_>>();
        assert_eq!(turns, [1, 3, 4, 1, 3, 4, 1]);
        assert_eq!(Members::NONE.turn(5), None);
    }

    #[test]
    fn zero_faults_and_too_many_are_no_ensemble() {
        assert_eq!(Ensemble::new(0), None);
        assert_eq!(Ensemble::new(16), None);
    }

    #[test]
    fn sets_of_replicas() {
        let e = Ensemble::new(2).unwrap();
        let r = ReplicaId::from_index;
        let mut s: Members = [r(0), r(4)].into_iter().collect();
        assert_eq!(s.to_string(), "{R1,R5}");
        assert!(e.all().includes(s) && !s.includes(e.all()));
        s.remove(r(0));
        assert_eq!((s.len(), s.contains(r(0)), s.contains(r(4))), (1, false, true));
        assert_eq!(e.all().minus(s).len(), 4);
        assert_eq!(Members::from_bits(1 << 31), None);
    }
}
