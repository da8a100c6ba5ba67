//! How many signatures a peer may have checked (§10).
//!
//! Whoever signs is known, and what is kept of each signer is bounded; but before a statement can
//! be refused its signature has to be checked, and that costs as much whatever it says. Proposals
//! need no such bound: at most two of a round are checked.

use crate::types::{Instant, ReplicaId};
use std::collections::BTreeMap;

/// What a peer that was quiet may have checked at once, in seconds of its allowance.
const BURST: u64 = 4;

/// Signatures that each peer has left. Each second adds as many as the quota says.
#[derive(Debug)]
pub(super) struct Allowance {
    per_second: u64,
    peers: BTreeMap<ReplicaId, Left>,
}

/// In units of a billionth of a signature: so that no time is too short to add something.
#[derive(Debug)]
struct Left {
    billionths: u64,
    at: Instant,
}

impl Allowance {
    /// So many signatures of each peer a second.
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: per_second.into(), peers: BTreeMap::new() }
    }

    /// Whether so many signatures of a peer may be checked now; if so they are counted. What is
    /// larger than all that can be saved up may pass when nothing was used for long.
    pub(super) fn may(&mut self, peer: ReplicaId, signatures: usize, now: Instant) -> bool {
        let most = BURST * self.per_second * 1_000_000_000;
        let fresh = || Left { billionths: most, at: now };
        let left = self.peers.entry(peer).or_insert_with(fresh);
        let passed = u64::try_from(now.since(left.at).as_nanos()).unwrap_or(u64::MAX);
        let more = passed.saturating_mul(self.per_second);
        left.billionths = left.billionths.saturating_add(more).min(most);
        left.at = now;
        let asked = (signatures as u64).saturating_mul(1_000_000_000).min(most);
        let may = asked <= left.billionths;
        if may {
            left.billionths -= asked;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_peer_has_an_allowance_of_its_own_that_grows_with_time() {
        let (one, two) = (ReplicaId::from_index(0), ReplicaId::from_index(1));
        let mut allowance = Allowance::new(100);
        let start = Instant(5);
        assert_eq!((0..1000).filter(|_| allowance.may(one, 1, start)).count(), 400);
        assert!(allowance.may(two, 399, start) && !allowance.may(two, 2, start));
        let later = start + Duration::from_millis(10);
        assert!(allowance.may(one, 1, later) && !allowance.may(one, 1, later));
        // A clock that seems to go back adds nothing and harms nobody.
        assert!(!allowance.may(one, 1, start));
        let much_later = start + Duration::from_secs(1000);
        assert!(allowance.may(one, 400, much_later) && !allowance.may(one, 1, much_later));
    }

    #[test]
    fn what_is_larger_than_all_may_pass_when_all_is_there() {
        let (one, start) = (ReplicaId::from_index(0), Instant(0));
        let mut allowance = Allowance::new(10);
        assert!(allowance.may(one, 1_000_000, start));
        assert!(!allowance.may(one, 1_000_000, start + Duration::from_secs(3)));
        assert!(allowance.may(one, 1_000_000, start + Duration::from_secs(7)));
    }
}
