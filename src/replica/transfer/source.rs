//! What is known of one source of snapshots: what it offers, and what it owes.

use super::partial::Claim;
use super::proof::Proof;
use crate::types::{Instant, Round};
use crate::wire::Piece;
use std::collections::BTreeMap;
use std::time::Duration;

/// Pieces in flight at one source at most.
const WINDOW: usize = 16;
/// How often the time for an answer doubles at most.
const DOUBLINGS: u32 = 4;

/// How things stand with its next offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// It is to be asked from then on: for what was begun, or for whatever it has.
    At { time: Instant, any: bool },
    /// It was asked for this round, 0 for whatever it has, and must answer by then.
    Sent { by: Instant, round: Round },
}

/// One source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) ask: Ask,
    /// What it offered last, with what attests it.
    pub(super) offer: Option<(Claim, Proof)>,
    /// Pieces that it was asked for, and when.
    owes: BTreeMap<Piece, Instant>,
    /// When one of them must come.
    by: Instant,
    /// How many it is asked for at a time: more when they come quickly, fewer when they do not. So
    /// one that is slow, on purpose or not, keeps little from being asked of others.
    window: usize,
    /// How often it was silent.
    silent: u32,
}

impl Source {
    /// One that is to be asked at once.
    pub(super) fn new(now: Instant) -> Self {
        let ask = Ask::At { time: now, any: false };
        Self { ask, offer: None, owes: BTreeMap::new(), by: now, window: 2, silent: 0 }
    }

    /// What it offers.
    pub(super) fn claim(&self) -> Option<&Claim> {
        self.offer.as_ref().map(|(claim, _)| claim)
    }

    /// The time that it has for an answer: twice as much for each time that it was silent.
    pub(super) fn time(&self, patience: Duration) -> Duration {
        patience.saturating_mul(1 << self.silent.min(DOUBLINGS))
    }

    /// Pieces that it owes.
    pub(super) fn owed(&self) -> usize {
        self.owes.len()
    }

    /// Whether it may be asked for another piece.
    pub(super) fn has_room(&self) -> bool {
        self.owes.len() < self.window
    }

    /// It is asked for a piece.
    pub(super) fn ask_piece(&mut self, piece: Piece, now: Instant, patience: Duration) {
        if self.owes.is_empty() {
            self.by = now + self.time(patience);
        }
        self.owes.insert(piece, now);
    }

    /// A piece came. Gives whether it owed that.
    pub(super) fn piece_came(&mut self, piece: Piece, now: Instant, patience: Duration) -> bool {
        let Some(asked) = self.owes.remove(&piece) else { return false };
        let quick = now < asked + patience / 4;
        self.window = if quick { (self.window + 1).min(WINDOW) } else { (self.window / 2).max(1) };
        self.by = now + self.time(patience);
        true
    }

    /// It owes nothing any more. Gives what it did.
    pub(super) fn take_back(&mut self) -> impl Iterator<Item = Piece> + use<> {
        std::mem::take(&mut self.owes).into_keys()
    }

    /// It has nothing to give for now and may be asked again then.
    pub(super) fn later(&mut self, time: Instant, any: bool) {
        self.ask = Ask::At { time, any };
    }

    /// It did not answer in time.
    pub(super) fn was_silent(&mut self, now: Instant, patience: Duration) {
        self.silent = self.silent.saturating_add(1);
        (self.offer, self.window) = (None, 2);
        self.later(now + self.time(patience), false);
    }

    /// When something that it was asked for should have come at the latest.
    pub(super) fn late_at(&self) -> Option<Instant> {
        let offer = match self.ask {
            Ask::Sent { by, .. } => Some(by),
            Ask::At { .. } => None,
        };
        let piece = (!self.owes.is_empty()).then_some(self.by);
        offer.into_iter().chain(piece).min()
    }
}
