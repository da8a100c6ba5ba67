//! Fetching a snapshot: one source at a time, one part in flight.
//!
//! A source is believed in nothing. It first shows that `t + 1` replicas attest the checkpoint,
//! and in the end its bytes must give the state that these attest; all of them come from one
//! source, so if they do not, that one lied. What it can do meanwhile is waste time, and that
//! is bounded: a part must come within `patience`, and all parts within a time that doubles with
//! every turn in which somebody was too slow.

use super::proof::{self, Proof};
use crate::crypto::{Keyring, Scheme};
use crate::types::{Digest, Instant, Members, ReplicaId, Round};
use crate::wire::{SnapshotPart, WantSnapshot};
use bytes::Bytes;
use std::time::Duration;

/// How many times `patience` a source has for the whole snapshot in the first turn.
const TIMES: u32 = 64;
/// How often that time doubles at most.
const DOUBLINGS: u32 = 12;

/// What is being fetched, if anything.
#[derive(Debug)]
pub(in crate::replica) struct Download {
    /// Bytes of a snapshot at most.
    limit: u64,
    wanted: bool,
    source: Option<Source>,
    /// Whom it has asked in this turn in vain.
    tried: Members,
    /// Whom it asked last: the next one is asked first in the next turn.
    last: Option<ReplicaId>,
    /// When the next turn begins, after all were asked in vain.
    rest: Option<Instant>,
    /// Whether somebody was too slow in this turn, and how many turns there were of that kind.
    slow: bool,
    doublings: u32,
}

#[derive(Debug)]
struct Source {
    from: ReplicaId,
    /// When its answer is missing, and when all of it is.
    answer_by: Instant,
    end_by: Instant,
    /// What the first part said.
    claim: Option<Claim>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Claim {
    round: Round,
    state: Digest,
    total: u64,
    proof: Proof,
}

/// A snapshot whose bytes are all there, and are not checked against the attested state yet.
#[derive(Debug)]
pub(in crate::replica) struct Whole {
    pub(in crate::replica) from: ReplicaId,
    pub(in crate::replica) round: Round,
    /// The state digest that the proof attests.
    pub(in crate::replica) state: Digest,
    pub(in crate::replica) proof: Proof,
    pub(in crate::replica) bytes: Bytes,
}

/// What a part that came leads to.
#[derive(Debug)]
pub(in crate::replica) enum Verdict {
    /// Nobody asked for it (any more).
    Unasked,
    /// Ask its sender for the next one.
    More(WantSnapshot),
    /// The sender has nothing that helps; that is no fault of it.
    NothingThere,
    /// The sender is put aside: what is wrong with the part.
    Refused(&'static str),
    /// That was the last one.
    Whole(Box<Whole>),
}

impl Download {
    pub(in crate::replica) fn new(limit: u64) -> Self {
        Self {
            limit,
            wanted: false,
            source: None,
            tried: Members::NONE,
            last: None,
            rest: None,
            slow: false,
            doublings: 0,
        }
    }

    /// A snapshot is wanted from now on. Gives whether that is new.
    pub(in crate::replica) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.wanted, true)
    }

    /// No snapshot is wanted any more.
    pub(in crate::replica) fn end(&mut self) {
        *self = Self { last: self.last, ..Self::new(self.limit) };
    }

    /// Whether one is wanted.
    pub(in crate::replica) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whom it is asking, the bytes that have come and those that there are to be.
    pub(in crate::replica) fn progress(&self) -> (Option<ReplicaId>, u64, u64) {
        self.source.as_ref().map_or((None, 0, 0), |source| {
            let total = source.claim.as_ref().map_or(0, |c| c.total);
            (Some(source.from), source.bytes.len() as u64, total)
        })
    }

    /// When to look again, because time has passed.
    pub(in crate::replica) fn next_wake(&self) -> Option<Instant> {
        let source = self.source.as_ref().map(|s| s.answer_by.min(s.end_by));
        source.or(self.rest)
    }

    /// Puts aside a source that is silent or too slow. Gives whom and why.
    pub(in crate::replica) fn expire(&mut self, now: Instant) -> Option<(ReplicaId, &'static str)> {
        let source = self.source.as_ref()?;
        let why = match () {
            () if now >= source.answer_by => "it does not answer",
            () if now >= source.end_by => {
                self.slow = true;
                "it is too slow"
            }
            () => return None,
        };
        Some((self.put_aside()?, why))
    }

    /// The link to a replica is gone. Whatever had come is of no use at another.
    pub(in crate::replica) fn link_down(&mut self, peer: ReplicaId) {
        if self.source.as_ref().is_some_and(|s| s.from == peer) {
            self.source = None;
        }
    }

    /// Chooses a source among those whose links are up, if it needs one.
    pub(in crate::replica) fn start(
        &mut self,
        now: Instant,
        patience: Duration,
        up: impl Iterator<Item = ReplicaId>,
    ) -> Option<(ReplicaId, WantSnapshot)> {
        if !self.wanted || self.source.is_some() {
            return None;
        }
        if self.rest.is_some_and(|until| now >= until) {
            (self.rest, self.tried) = (None, Members::NONE);
            self.doublings = (self.doublings + u32::from(self.slow)).min(DOUBLINGS);
            self.slow = false;
        }
        let left = |r: &ReplicaId| !self.tried.contains(*r);
        let from = up.filter(left).min_by_key(|r| (self.last.is_some_and(|last| *r <= last), *r));
        let Some(from) = from else {
            if !self.tried.is_empty() {
                self.rest.get_or_insert(now + patience);
            }
            return None;
        };
        let whole = patience.saturating_mul(TIMES << self.doublings);
        let (answer_by, end_by) = (now + patience, now + whole);
        self.source = Some(Source { from, answer_by, end_by, claim: None, bytes: Vec::new() });
        (self.last, self.rest) = (Some(from), None);
        Some((from, WantSnapshot { round: Round(0), offset: 0 }))
    }

    /// Takes a part. Only snapshots of rounds after `above` are of use.
    pub(in crate::replica) fn part<S: Scheme>(
        &mut self,
        (now, patience): (Instant, Duration),
        from: ReplicaId,
        part: SnapshotPart,
        above: Round,
        keyring: &Keyring<S>,
    ) -> Verdict {
        let Some(source) = self.source.as_mut().filter(|s| s.from == from) else {
            return Verdict::Unasked;
        };
        let is_nothing = part.round == Round(0);
        if !is_nothing && part.offset != source.bytes.len() as u64 {
            // A late answer to what was asked before; silence is found out in time.
            return Verdict::Unasked;
        }
        if is_nothing || (source.claim.is_none() && part.round <= above) {
            self.put_aside();
            return Verdict::NothingThere;
        }
        match source.add(part, self.limit, keyring) {
            Err(why) => {
                self.put_aside();
                Verdict::Refused(why)
            }
            Ok(None) => {
                source.answer_by = now + patience;
                let round = source.claim.as_ref().map_or(Round(0), |c| c.round);
                Verdict::More(WantSnapshot { round, offset: source.bytes.len() as u64 })
            }
            Ok(Some(whole)) => {
                self.put_aside();
                Verdict::Whole(Box::new(whole))
            }
        }
    }

    /// Its source is asked no more in this turn.
    fn put_aside(&mut self) -> Option<ReplicaId> {
        let from = self.source.take()?.from;
        self.tried.insert(from);
        Some(from)
    }
}

impl Source {
    /// Adds a part that stands where the last one ended. Gives the whole when that is complete.
    fn add<S: Scheme>(
        &mut self,
        part: SnapshotPart,
        limit: u64,
        keyring: &Keyring<S>,
    ) -> Result<Option<Whole>, &'static str> {
        let SnapshotPart { round, total, offset, manifest, bytes } = part;
        let claim = match &mut self.claim {
            Some(claim) => {
                if (claim.round, claim.total, false) != (round, total, manifest.is_some()) {
                    return Err("its parts do not belong together");
                }
                claim
            }
            none => {
                let proof = manifest.ok_or("nobody attests it")?;
                let (attested, state) = proof::check(&proof, keyring)?;
                if attested != round {
                    return Err("another checkpoint is attested");
                }
                if total > limit {
                    return Err("it is larger than the quota allows");
                }
                none.insert(Claim { round, state, total, proof })
            }
        };
        let expected = total.saturating_sub(offset).min(SnapshotPart::MAX as u64);
        if bytes.is_empty() || bytes.len() as u64 != expected {
            return Err("a part has not the size that it should have");
        }
        self.bytes.extend_from_slice(&bytes);
        if (self.bytes.len() as u64) < claim.total {
            return Ok(None);
        }
        Ok(Some(Whole {
            from: self.from,
            round,
            state: claim.state,
            proof: std::mem::take(&mut claim.proof),
            bytes: std::mem::take(&mut self.bytes).into(),
        }))
    }
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
