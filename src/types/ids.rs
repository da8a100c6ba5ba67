//! Identifiers and the ordered numbers of the protocol.

use std::cmp::Ordering;
use std::fmt;

/// A 32-byte hash. Made only by [`crate::crypto`], which tags every hash with its domain.
///
/// It begins at a word. Behind the tag of an enum it would begin at an odd byte and be moved in
/// pieces that overlap; to read what two writes have put together, a processor waits until all
/// writes before them have left it. That took half of what a replica does when a request comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(align(8))]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest that stands for "nothing yet".
    pub const ZERO: Digest = Digest([0; 32]);
}

impl fmt::Display for Digest {
    /// The first eight bytes in hexadecimal: enough to tell digests apart in a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Digest {
    /// All 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// A replica of the roster, numbered from 1; shown as `R2`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(u8);

impl ReplicaId {
    /// The id with this number, `1..=31`; `None` outside of that.
    pub fn new(number: u8) -> Option<Self> {
        (1..=31).contains(&number).then_some(Self(number))
    }

    /// The id at this place of the roster, counted from 0.
    ///
    /// # Panics
    /// If `index` is above 30; rosters are no longer than that.
    pub fn from_index(index: usize) -> Self {
        let number = u8::try_from(index + 1).expect("a roster has at most 31 replicas");
        Self::new(number).expect("a roster has at most 31 replicas")
    }

    /// The number as configured, `1..=31`.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The place in the roster, counted from 0.
    pub fn index(self) -> usize {
        usize::from(self.0) - 1
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R{}", self.0)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A client, named by its ed25519 public key: the name is the same at every replica whatever
/// else their configurations say. Shown as `c` and the first four bytes of the key. It begins at a
/// word, as a [`Digest`] does.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(align(8))]
pub struct ClientId(pub [u8; 32]);

impl ClientId {
    /// Numbers that are ordered as the bytes are.
    fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks();
        std::array::from_fn(|i| u64::from_be_bytes(words[i]))
    }
}

impl Ord for ClientId {
    /// By bytes. It stands here because a request looks for its client in some ten maps, and each
    /// comparison would be a call.
    fn cmp(&self, other: &Self) -> Ordering {
        self.words().cmp(&other.words())
    }
}

impl PartialOrd for ClientId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c")?;
        self.0[..4].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A session of a client: the nonce that the client chose when it opened it (rule O6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl SessionId {
    /// Stands in place of a session where queries are answered without one (rule Q1). No session
    /// of a client should have this nonce.
    pub const QUERIES: SessionId = SessionId(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{:x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One request of one session; shown as `c01ab23cd.s3f#7`. Number 0 opens the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// Who asked.
    pub client: ClientId,
    /// In which session.
    pub session: SessionId,
    /// Its number there.
    pub number: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}#{}", self.client, self.session, self.number)
    }
}

/// A candidate id: the clock value that a replica gave a request when it first saw it.
/// Ordered by clock, ties by replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cuid {
    /// Reading of that replica's candidate clock: microseconds or ticks, see [`super::ClockKind`].
    pub clock: u64,
    /// Whose candidate it is.
    pub replica: ReplicaId,
}

/// The unique id of a request: the candidate chosen for it, capped by the agreed clock (rule O2).
///
/// A cap at agreed time `c` lies above every candidate with clock `c`, so that capping never puts
/// a request before a candidate that is not later than the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid {
    clock: u64,
    // 0 never occurs; `CAP` marks the cap.
    replica: u8,
}

impl Uid {
    const CAP: u8 = u8::MAX;

    /// The id that equals a candidate.
    pub fn of(candidate: Cuid) -> Self {
        Self { clock: candidate.clock, replica: candidate.replica.number() }
    }

    /// This id, or the cap at agreed time `c` if that is lower.
    pub fn capped(self, c: u64) -> Self {
        self.min(Self { clock: c, replica: Self::CAP })
    }

    /// The clock part.
    pub fn clock(self) -> u64 {
        self.clock
    }

    /// Both parts, to be written down.
    pub fn parts(self) -> (u64, u8) {
        (self.clock, self.replica)
    }

    /// The id with these parts.
    pub fn from_parts(clock: u64, replica: u8) -> Self {
        Self { clock, replica }
    }
}

/// The number of an epoch: (generation, resets, accused), compared in that order (§2 of
/// docs/protocol.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch {
    /// Status changes so far.
    pub generation: u32,
    /// Resets since the last of these.
    pub resets: u32,
    /// Replicas accused since the last of both.
    pub accused: u32,
}

impl Epoch {
    /// The epoch that every new cluster starts in; all replicas are its members.
    pub const GENESIS: Epoch = Epoch { generation: 0, resets: 0, accused: 0 };
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{},{})", self.generation, self.resets, self.accused)
    }
}

/// One exchange of proposals, numbered without gaps across epochs; the first is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Round(pub u64);

impl Round {
    /// The round after this one.
    pub fn next(self) -> Round {
        Round(self.0 + 1)
    }

    /// The round before this one; round 0 stands for "none yet" and is before itself.
    pub fn previous(self) -> Round {
        Round(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h{}", self.0)
    }
}

/// A group hosted by a daemon; group 0 is the cluster's own (docs/protocol.md §11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The cluster's own group.
    pub const MAIN: GroupId = GroupId(0);

    /// Chain 0 of a cluster in the fail-stop model; group 0 is the master of its chains.
    pub const CHAIN: GroupId = GroupId::of_chain(0);

    /// The group of the chain with this number: one more than that.
    pub const fn of_chain(number: u32) -> GroupId {
        GroupId(number.saturating_add(1))
    }

    /// The number of the chain that has this group; `None` for group 0.
    pub fn chain(self) -> Option<u32> {
        self.0.checked_sub(1)
    }
}

/// One connection of a client to this process, named by the driver. Local: never on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cuid(clock: u64, replica: u8) -> Cuid {
        Cuid { clock, replica: ReplicaId::new(replica).unwrap() }
    }

    proptest! {
        /// The first byte in which they differ may be any.
        #[test]
        fn clients_are_ordered_by_their_bytes(one: [u8; 32], at in 0usize..32, byte: u8) {
            let mut other = one;
            other[at] = byte;
            prop_assert_eq!(ClientId(one).cmp(&ClientId(other)), one.cmp(&other));
        }
    }

    /// Neither behind the tag of an enum nor beside a byte does one begin at an odd place.
    #[test]
    fn digests_and_clients_begin_at_words() {
        assert_eq!([align_of::<Digest>(), align_of::<ClientId>()], [align_of::<u64>(); 2]);
        assert_eq!([size_of::<Digest>(), size_of::<ClientId>()], [32, 32]);
    }

    #[test]
    fn epochs_compare_generation_first_then_resets_then_accused() {
        let e = |generation, resets, accused| Epoch { generation, resets, accused };
        assert!(e(1, 0, 0) > e(0, 9, 9));
        assert!(e(0, 1, 0) > e(0, 0, 9));
        assert!(e(0, 0, 1) > e(0, 0, 0));
    }

    #[test]
    fn candidates_tie_by_replica() {
        assert!(cuid(5, 1) < cuid(5, 2));
        assert!(cuid(5, 3) < cuid(6, 1));
    }

    #[test]
    fn a_cap_lies_above_all_candidates_of_its_clock_value_and_below_the_next() {
        assert_eq!(Uid::of(cuid(7, 3)).capped(7), Uid::of(cuid(7, 3)));
        let capped = Uid::of(cuid(8, 1)).capped(7);
        assert!(capped > Uid::of(cuid(7, 31)));
        assert!(capped < Uid::of(cuid(8, 1)));
    }

    #[test]
    fn replica_ids_start_at_one() {
        assert_eq!(ReplicaId::new(0), None);
        assert_eq!(ReplicaId::new(32), None);
        assert_eq!(ReplicaId::from_index(1).to_string(), "R2");
        assert_eq!(ReplicaId::new(31).unwrap().index(), 30);
    }
}
