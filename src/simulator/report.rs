//! What a run gives.

use super::Cell;
use super::check::Violation;
use crate::replica::Status;
use crate::types::Digest;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What a good run gives.
#[derive(Clone, Debug)]
pub struct Report {
    /// Requests executed.
    pub executed: usize,
    /// Calls answered.
    pub answered: u64,
    /// Calls that ended without an answer, by reason.
    pub failed: BTreeMap<String, u64>,
    /// The longest wait for an answer.
    pub longest: Duration,
    /// Requests that were executed and refused, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Events of good replicas, by kind.
    pub events: BTreeMap<&'static str, u64>,
    /// Faults that have struck, by kind.
    pub fired: BTreeMap<&'static str, u64>,
    /// How often lying replicas and clients have lied, by the name of the lie.
    pub told: BTreeMap<&'static str, u64>,
    /// The last word of each replica.
    pub statuses: Vec<Status>,
    /// Dissenting votes that correct clients have seen, by replica's place.
    pub dissent: Vec<u64>,
    /// When the last call was answered, by the world's clock.
    pub took: Duration,
    /// What the run turned out to be.
    pub cell: Cell,
    /// Whether all calls were answered.
    pub finished: bool,
    /// Whether a rule was broken that is not promised in its cell.
    pub forked: bool,
    /// The longest wait for an answer after all faults had ended.
    pub longest_since: Duration,
    /// When the run ended, by the world's clock.
    pub simulated: Duration,
    /// How often the code came to what is marked in it; nothing without the feature `plant`.
    pub marks: BTreeMap<&'static str, u64>,
    /// Arrivals in the world.
    pub arrivals: u64,
    /// Names everything that happened.
    pub trace_hash: Digest,
}

impl Report {
    /// How often anybody has lied.
    pub fn lies(&self) -> u64 {
        self.told.values().sum()
    }
}

/// A run that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The test.
    pub name: &'static str,
    /// The seed.
    pub seed: u64,
    /// What was broken.
    pub violation: Violation,
    /// When, by the world's clock.
    pub at: Duration,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { name, seed, violation, at } = self;
        write!(f, "seed {seed} at {at:?}: {violation}\nto see it again: ")?;
        write!(f, "QUORATE_SEED={seed} cargo test --test it {name}")
    }
}
