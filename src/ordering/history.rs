//! The committed vectors and openings of late, for those that follow and have missed some (R7).

use super::Statement;
use super::epoch::Opening;
use super::rounds::Held;
use crate::types::{Digest, ReplicaId, Round};
use std::collections::VecDeque;
use std::sync::Arc;

/// Rounds kept while all replicas are members: who restarts is soon out.
const FEW: usize = 64;
/// Candidates kept at most, over all rounds; about 64 MiB.
const MOST: usize = 1 << 20;
/// Rounds sent in one answer at most.
pub(super) const IN_ONE: usize = 64;
/// Candidates sent in one answer at most; about 4 MiB.
const WEIGHT_IN_ONE: usize = 1 << 16;

#[derive(Clone, Debug)]
enum Entry {
    Opening { first: Round, opening: Arc<Opening> },
    Vector { round: Round, held: Vec<Held> },
}

/// What was committed of late, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    weight: usize,
}

impl History {
    pub(super) fn opening(&mut self, opening: Arc<Opening>, first: Round) {
        self.entries.push_back(Entry::Opening { first, opening });
    }

    pub(super) fn vector(&mut self, round: Round, held: &[Held]) {
        self.weight += weight(held);
        self.entries.push_back(Entry::Vector { round, held: held.to_vec() });
    }

    /// Drops what nobody needs: all up to a round from which others can go on by a snapshot, if
    /// there is one, else all but the last few.
    pub(super) fn trim(&mut self, snapshot: Option<Round>) {
        while self.entries.len() > FEW
            && (self.weight > MOST || snapshot.is_none_or(|kept| self.entries[0].round() <= kept))
        {
            if let Some(Entry::Vector { held, .. }) = self.entries.pop_front() {
                self.weight -= weight(&held);
            }
        }
    }

    /// Starts over: what comes next does not follow what is kept.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What follows after a round, or `None` if that is not kept any more.
    pub(super) fn after(&self, round: Round) -> Option<Vec<Statement>> {
        let first = self.entries.front()?;
        if first.round() > round.next() {
            return None;
        }
        let (mut out, mut rounds, mut sum) = (Vec::new(), 0, 0);
        for entry in self.entries.iter().filter(|e| e.round() > round) {
            match entry {
                Entry::Opening { opening, .. } => {
                    out.extend(opening.sources.iter().cloned().map(Statement::Report));
                }
                Entry::Vector { held, .. } => {
                    (rounds, sum) = (rounds + 1, sum + weight(held));
                    out.extend(held.iter().cloned().map(Statement::Proposal));
                }
            }
            if rounds >= IN_ONE || sum > WEIGHT_IN_ONE {
                break;
            }
        }
        Some(out)
    }

    /// A proposal of a committed round.
    pub(super) fn find(&self, round: Round, who: ReplicaId, digest: &Digest) -> Option<&Held> {
        let held = self.vector_at(round)?;
        held.iter().find(|p| p.replica == who && (*digest == Digest::ZERO || p.digest() == *digest))
    }

    /// The openings among them, the earliest first.
    pub(super) fn openings(&self) -> impl Iterator<Item = &Arc<Opening>> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Opening { opening, .. } => Some(opening),
            Entry::Vector { .. } => None,
        })
    }

    /// The proposals of a committed round.
    pub(super) fn vector_at(&self, wanted: Round) -> Option<&[Held]> {
        self.entries.iter().rev().find_map(|e| match e {
            Entry::Vector { round, held } if *round == wanted => Some(&held[..]),
            _ => None,
        })
    }
}

impl Entry {
    fn round(&self) -> Round {
        match self {
            Entry::Opening { first, .. } => *first,
            Entry::Vector { round, .. } => *round,
        }
    }
}

fn weight(held: &[Held]) -> usize {
    held.iter().map(|p| 8 + p.candidates.len()).sum()
}
