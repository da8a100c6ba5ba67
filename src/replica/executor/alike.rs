//! Outcomes that are as the one before.

use crate::crypto::{Domain, hash};
use crate::types::Digest;
use bytes::Bytes;

/// Bytes of an outcome that is kept for the next, at most.
const SHORT: usize = 64;

/// The last short outcome and its digest.
///
/// Most requests that write end as the one before, with a word or a number. Those share the bytes,
/// which sessions keep one by one until their client has them, and are hashed once.
#[derive(Default)]
pub(super) struct Alike {
    last: Option<(Bytes, Digest)>,
}

impl Alike {
    /// The same outcome, in the bytes of the one before if that was like it.
    pub(super) fn shared(&mut self, outcome: Bytes) -> Bytes {
        match &self.last {
            Some((last, _)) if *last == outcome => last.clone(),
            _ if outcome.len() > SHORT => outcome,
            _ => {
                self.last = Some((outcome.clone(), hash(Domain::Output, &outcome)));
                outcome
            }
        }
    }

    /// The digest of an outcome, as a leaf has it.
    pub(super) fn digest(&self, outcome: &Bytes) -> Digest {
        match &self.last {
            Some((last, digest)) if last == outcome => *digest,
            _ => hash(Domain::Output, outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Outcomes of few kinds, so that many are as the one before, and some too long to be kept.
        #[test]
        fn outcomes_and_digests_are_those_of_each_alone(
            all in proptest::collection::vec((0u8..3, 60usize..70), 1..40),
        ) {
            let mut alike = Alike::default();
            for (kind, len) in all {
                let outcome = Bytes::from(vec![kind; len]);
                prop_assert_eq!(&alike.shared(outcome.clone()), &outcome);
                prop_assert_eq!(alike.digest(&outcome), hash(Domain::Output, &outcome));
            }
        }
    }

    #[test]
    fn one_that_is_as_the_last_takes_no_bytes_of_its_own_unless_it_is_long() {
        let mut alike = Alike::default();
        let places = |alike: &mut Alike, len: usize| {
            [(); 2].map(|()| alike.shared(Bytes::from(vec![7; len])).as_ptr())
        };
        let [first, second] = places(&mut alike, SHORT);
        assert_eq!(first, second);
        let long = [(); 2].map(|()| alike.shared(Bytes::from(vec![7; SHORT + 1])));
        assert_ne!(long[0].as_ptr(), long[1].as_ptr());
    }
}
