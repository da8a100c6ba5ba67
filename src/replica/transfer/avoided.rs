//! Sources that lied in a transfer, and for how long they are asked for nothing.
//!
//! Nothing that they said is signed, so it convicts nobody: each replica keeps this for itself.

use crate::types::plant::planted;
use crate::types::{Instant, ReplicaId};
use std::collections::BTreeMap;
use std::time::Duration;

/// How many times `patience` a liar is left alone after its first lie; with each further one it is
/// twice as long.
const TIMES: u32 = 128;
/// How often that doubles at most.
const DOUBLINGS: u32 = 10;

/// What is known of one liar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) struct Lied {
    /// What it did last.
    pub(in crate::replica) why: &'static str,
    /// When.
    pub(in crate::replica) at: Instant,
    /// How often.
    pub(in crate::replica) times: u32,
    /// Until when it is avoided; none once that is over.
    until: Option<Instant>,
}

/// All that lied since the start of this process.
#[derive(Debug, Default)]
pub(super) struct Avoided(BTreeMap<ReplicaId, Lied>);

impl Avoided {
    /// Somebody lied.
    pub(super) fn lied(
        &mut self,
        who: ReplicaId,
        why: &'static str,
        (at, patience): (Instant, Duration),
    ) {
        let times = self.0.get(&who).map_or(1, |lied| lied.times.saturating_add(1));
        let doublings = (times - 1).min(DOUBLINGS);
        let until = Some(at + patience.saturating_mul(TIMES << doublings));
        self.0.insert(who, Lied { why, at, times, until });
    }

    /// Those whose time is over may be asked again.
    pub(super) fn forgive(&mut self, now: Instant) {
        for lied in self.0.values_mut() {
            lied.until = lied.until.filter(|until| now < *until);
        }
    }

    /// Whether nothing is asked of it.
    pub(super) fn contains(&self, who: ReplicaId) -> bool {
        let avoided = self.0.get(&who).is_some_and(|lied| lied.until.is_some());
        avoided && !planted("s7-liar-asked-again")
    }

    /// When [`Avoided::forgive`] has something to do.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.0.values().filter_map(|lied| lied.until).min()
    }

    /// Those that are avoided.
    pub(super) fn all(&self) -> impl Iterator<Item = (ReplicaId, &Lied)> {
        let avoided = self.0.iter().filter(|(_, lied)| lied.until.is_some());
        avoided.map(|(who, lied)| (*who, lied))
    }
}
