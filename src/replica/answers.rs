//! What may be answered before the driver has sent what waits (§10).

use crate::types::{LinkId, ReplicaId};
use std::collections::BTreeMap;

/// Bytes of answers that one link gets at most in one batch: whoever asked for more asks again.
const MAX: usize = 4 << 20;

/// Who is given answers to what it may ask as often as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asker {
    /// A replica that wants proposals or bodies.
    Peer(ReplicaId),
    /// A client that repeats requests.
    Client(LinkId),
}

/// Bytes of answers given in this batch. A question of 60 bytes may ask for an answer of half a
/// megabyte, and thousands of them come in one batch: without a bound they would use up the
/// memory before the first answer is on its way.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<Asker, usize>);

impl Answers {
    /// Whether a link may have so many bytes more now; if so they are counted.
    pub(super) fn may(&mut self, who: Asker, bytes: usize) -> bool {
        let given = self.0.entry(who).or_default();
        let total = given.saturating_add(bytes);
        if total > MAX {
            return false;
        }
        *given = total;
        true
    }

    /// The batch is over.
    pub(super) fn end_batch(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_link_has_a_bound_of_its_own_in_each_batch() {
        let (one, two) = (Asker::Client(LinkId(1)), Asker::Peer(ReplicaId::from_index(0)));
        let mut answers = Answers::default();
        assert_eq!((0..100).filter(|_| answers.may(one, 1 << 20)).count(), 4);
        assert!(answers.may(two, MAX) && !answers.may(two, 1));
        answers.end_batch();
        assert!(answers.may(one, MAX));
    }
}
