//! The requests of one session by number: what is outstanding and what was answered lately.

use super::queue::Part;
use super::receipts::Gathering;
use super::route::Trail;
use crate::types::{CallId, Instant, Members};
use crate::voter::{Value, Voter};
use crate::wire::OutcomeDigest;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// Answered requests remembered at most, to hear who dissents late ...
pub(super) const RECENT: usize = 1024;
/// ... and bytes of their outcomes.
pub(super) const RECENT_BYTES: usize = 1 << 20;

/// A request that is outstanding.
#[derive(Debug)]
pub(super) struct Pending {
    /// The frame; a repeat sends the very same bytes.
    pub frame: Bytes,
    /// The calls in it, in the order of their commands; none if it opens the session.
    pub parts: Vec<Part>,
    /// Commands in it.
    pub commands: usize,
    /// The vote on it.
    pub voter: Voter,
    /// When it was first sent.
    pub sent: Instant,
    /// How often it was sent.
    pub sends: u32,
    /// When to repeat it.
    pub repeat_at: Instant,
    /// How long to wait after that repeat.
    pub backoff: Duration,
    /// It was sent again for the whole of what a digest was agreed on (C3).
    pub asked_again: bool,
    /// Its id, unless it is an opening or a query.
    pub id: Option<CallId>,
    /// In a fail-stop chain: where it went. Empty where replicas vote.
    pub trail: Trail,
    /// Where the receipt of it stands, if one is wanted.
    pub receipt: Option<Box<Gathering>>,
}

impl Pending {
    /// Whether it has its answer, and only its receipt is awaited.
    pub fn is_accepted(&self) -> bool {
        self.receipt.as_ref().is_some_and(|receipt| receipt.is_asked())
    }
}

/// A request that is over.
#[derive(Debug)]
pub(super) struct Settled {
    /// What was accepted; `None` if it was given up.
    pub value: Option<Value>,
    /// What stands for its outcome, if that was hashed (C3).
    pub digest: Option<OutcomeDigest>,
    /// Whose dissent is counted already.
    pub counted: Members,
}

/// One number of a session.
#[derive(Debug)]
pub(super) enum Slot {
    Pending(Box<Pending>),
    Settled(Settled),
}

/// Where a number stands.
pub(super) enum Found<'a> {
    /// It was answered or given up so long ago that nothing is known of it.
    Gone,
    /// It was never sent.
    Unknown,
    /// Here.
    Slot(&'a mut Slot),
}

/// Numbers are given without gaps, so a number's place is its distance from the first kept.
#[derive(Debug, Default)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
    // The number of the first slot.
    base: u64,
    // How many slots at the front are settled.
    settled_front: usize,
    outstanding: usize,
    settled_bytes: usize,
}

impl Window {
    /// A window whose first number is this.
    pub fn starting_at(base: u64) -> Self {
        Self { base, ..Self::default() }
    }

    /// The number of the next request.
    pub fn next(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// The lowest number that is outstanding; the next one if none is.
    pub fn low(&self) -> u64 {
        self.base + self.settled_front as u64
    }

    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Adds the request with number [`Window::next`].
    pub fn push(&mut self, pending: Pending) {
        self.slots.push_back(Slot::Pending(Box::new(pending)));
        self.outstanding += 1;
    }

    pub fn find(&mut self, number: u64) -> Found<'_> {
        let Some(place) = number.checked_sub(self.base) else { return Found::Gone };
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        self.slots.get_mut(place).map_or(Found::Unknown, Found::Slot)
    }

    pub fn pending(&self, number: u64) -> Option<&Pending> {
        let place = usize::try_from(number.checked_sub(self.base)?).ok()?;
        match self.slots.get(place)? {
            Slot::Pending(p) => Some(p),
            Slot::Settled(_) => None,
        }
    }

    /// Everything outstanding with its number, lowest first.
    pub fn all(&self) -> impl Iterator<Item = (u64, &Pending)> {
        (self.base..).zip(&self.slots).skip(self.settled_front).filter_map(|(n, s)| match s {
            Slot::Pending(p) => Some((n, &**p)),
            Slot::Settled(_) => None,
        })
    }

    /// As [`Window::all`], to be changed.
    pub fn all_mut(&mut self) -> impl Iterator<Item = (u64, &mut Pending)> {
        self.all_from_mut(self.low())
    }

    /// Everything outstanding from this number on, to be changed.
    pub fn all_from_mut(&mut self, from: u64) -> impl Iterator<Item = (u64, &mut Pending)> {
        let skip = usize::try_from(from.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let slots = (self.base.max(from)..).zip(self.slots.iter_mut().skip(skip));
        slots.filter_map(|(n, s)| match s {
            Slot::Pending(p) => Some((n, &mut **p)),
            Slot::Settled(_) => None,
        })
    }

    /// Ends an outstanding request, answered or given up, and takes it out.
    pub fn settle(&mut self, number: u64) -> Option<Box<Pending>> {
        self.pending(number)?;
        let Found::Slot(slot) = self.find(number) else { return None };
        let over = Settled { value: None, digest: None, counted: Members::NONE };
        let Slot::Pending(pending) = std::mem::replace(slot, Slot::Settled(over)) else {
            return None;
        };
        self.outstanding -= 1;
        if let Some(value) = pending.voter.accepted() {
            // What does not fit is not remembered: that costs a late dissent, never an answer.
            if self.settled_bytes + value.outcome.len() <= RECENT_BYTES {
                self.settled_bytes += value.outcome.len();
                let counted = pending.voter.dissenting();
                let digest = pending.voter.accepted_digest();
                let over = Settled { value: Some(value.clone()), digest, counted };
                *self.slot_of(number) = Slot::Settled(over);
            }
        }
        self.advance();
        Some(pending)
    }

    fn slot_of(&mut self, number: u64) -> &mut Slot {
        let place = usize::try_from(number - self.base).expect("the slot was found before");
        &mut self.slots[place]
    }

    // Moves the low-water mark and drops what was settled too long ago.
    fn advance(&mut self) {
        while let Some(Slot::Settled(_)) = self.slots.get(self.settled_front) {
            self.settled_front += 1;
        }
        // Half of the bytes is dropped early, so that what is answered next finds room.
        let too_much =
            |w: &Self| w.slots.len() - w.outstanding > RECENT || w.settled_bytes > RECENT_BYTES / 2;
        while self.settled_front > 0 && too_much(self) {
            if let Some(Slot::Settled(Settled { value: Some(value), .. })) = self.slots.pop_front()
            {
                self.settled_bytes -= value.outcome.len();
            }
            self.settled_front -= 1;
            self.base += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Ensemble, ReplicaId};
    use crate::wire::StepPosition;

    fn pending(outcome: Option<usize>) -> Pending {
        let mut voter = Voter::new(Ensemble::new(1).unwrap());
        if let Some(bytes) = outcome {
            let outcome = Bytes::from(vec![0; bytes]);
            let value = Value { position: StepPosition::default(), index: 0, outcome };
            voter.hear(ReplicaId::from_index(0), Instant(0), value.clone());
            voter.hear(ReplicaId::from_index(1), Instant(0), value);
        }
        Pending {
            frame: Bytes::new(),
            parts: Vec::new(),
            commands: 0,
            voter,
            sent: Instant(0),
            sends: 1,
            repeat_at: Instant(0),
            backoff: Duration::ZERO,
            asked_again: false,
            id: None,
            trail: Trail::default(),
            receipt: None,
        }
    }

    #[test]
    fn the_low_water_mark_is_the_lowest_outstanding_number() {
        let mut w = Window::default();
        (0..5).for_each(|_| w.push(pending(None)));
        assert_eq!((w.low(), w.next(), w.outstanding()), (0, 5, 5));
        assert!(w.settle(2).is_some());
        assert!(w.settle(2).is_none() && w.settle(5).is_none() && w.settle(u64::MAX).is_none());
        assert_eq!((w.low(), w.outstanding()), (0, 4));
        w.settle(0);
        assert_eq!(w.low(), 1);
        w.settle(1);
        assert_eq!(w.low(), 3, "2 was over already");
        assert_eq!(w.all().map(|(n, _)| n).collect::<Vec<_>>(), [3, 4]);
        w.settle(3);
        w.settle(4);
        assert_eq!((w.low(), w.next(), w.outstanding()), (5, 5, 0));
    }

    #[test]
    fn what_is_over_is_remembered_within_bounds() {
        let mut w = Window::default();
        for n in 0..3 * RECENT as u64 {
            w.push(pending(Some(8)));
            w.settle(n);
            assert!(w.slots.len() <= RECENT && w.settled_bytes == 8 * w.slots.len());
        }
        assert!(matches!(w.find(0), Found::Gone));
        assert!(matches!(w.find(3 * RECENT as u64 - 1), Found::Slot(Slot::Settled(_))));
        assert!(matches!(w.find(3 * RECENT as u64), Found::Unknown));
        assert!(matches!(w.find(u64::MAX), Found::Unknown));
        for _ in 0..5 {
            let n = w.next();
            w.push(pending(Some(RECENT_BYTES / 4)));
            w.settle(n);
            assert!(w.settled_bytes <= RECENT_BYTES / 2);
        }
        assert_eq!(w.slots.len(), 2);
        // Behind one that is outstanding nothing can be dropped, but nothing more is kept either.
        w.push(pending(None));
        for _ in 0..20 {
            let n = w.next();
            w.push(pending(Some(RECENT_BYTES / 4)));
            w.settle(n);
            assert!(w.settled_bytes <= RECENT_BYTES);
        }
    }
}
