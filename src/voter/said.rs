//! What one replica stands for: an outcome, or the digest of one (C3).

use super::Value;
use crate::types::plant::planted;
use crate::wire::{OutcomeDigest, ReplyDigest, StepPosition};
use bytes::Bytes;

/// A value as a replica gave it. A whole outcome and its digest are the same value.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub position: StepPosition,
    pub index: u32,
    outcome: Outcome,
}

#[derive(Clone, Debug)]
enum Outcome {
    /// With its digest once that is needed: a client hashes nothing of which no digest came.
    Whole(Bytes, Option<OutcomeDigest>),
    Digest(OutcomeDigest),
}

impl Said {
    pub fn whole(value: Value) -> Self {
        let Value { position, index, outcome } = value;
        Self { position, index, outcome: Outcome::Whole(outcome, None) }
    }

    pub fn digest(position: StepPosition, digest: &ReplyDigest) -> Self {
        let outcome = Outcome::Digest(digest.outcome);
        Self { position, index: digest.index, outcome }
    }

    /// The outcome, if it is here.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.outcome {
            Outcome::Whole(bytes, _) => Some(bytes),
            Outcome::Digest(_) => None,
        }
    }

    /// What stands for the outcome; `None` if nobody has hashed it.
    pub fn digested(&self) -> Option<OutcomeDigest> {
        match &self.outcome {
            Outcome::Whole(_, digest) => *digest,
            Outcome::Digest(digest) => Some(*digest),
        }
    }

    pub fn is_digest(&self) -> bool {
        matches!(self.outcome, Outcome::Digest(_))
    }

    /// Hashes the outcome, unless one of these is equal and has been hashed.
    pub fn weigh<'a>(&mut self, known: impl Iterator<Item = &'a Said>) {
        let Outcome::Whole(bytes, digest @ None) = &mut self.outcome else { return };
        let mut equal = known.filter(|k| k.bytes() == Some(bytes)).filter_map(Said::digested);
        *digest = Some(equal.next().unwrap_or_else(|| OutcomeDigest::of(bytes)));
    }

    /// Equal outcomes share their bytes: only different ones cost memory.
    pub fn share(&mut self, with: &Said) {
        if let (Outcome::Whole(own, _), Outcome::Whole(theirs, _)) =
            (&mut self.outcome, &with.outcome)
        {
            *own = theirs.clone();
        }
    }

    /// Whether this whole outcome is what a digest stands for, in whichever place of the order its
    /// replica puts it.
    pub fn fits(&self, digest: OutcomeDigest) -> bool {
        !self.is_digest() && (self.digested() == Some(digest) || planted("c3-whole-unfitting"))
    }

    /// The value with these bytes for its outcome.
    pub fn with(&self, outcome: Bytes) -> Value {
        Value { position: self.position, index: self.index, outcome }
    }
}

impl PartialEq for Said {
    fn eq(&self, other: &Self) -> bool {
        let place = (self.position, self.index) == (other.position, other.index);
        place
            && match (&self.outcome, &other.outcome) {
                (Outcome::Whole(own, _), Outcome::Whole(theirs, _)) => own == theirs,
                // Where a digest came all that is whole was hashed.
                _ => self.digested().is_some() && self.digested() == other.digested(),
            }
    }
}
