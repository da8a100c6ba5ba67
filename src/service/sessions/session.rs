//! One session of the table.

use super::{Admission, Room, SessionLimits, SessionTable, StoredReply};
use crate::crypto::{Domain, Hasher};
use crate::types::plant::planted;
use crate::types::{ClientId, Digest, SessionId};
use crate::wire::{Refusal, StepPosition};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

#[derive(Clone, Debug)]
pub(super) struct Session {
    /// The count of uses at the last use.
    pub last_used: u64,
    /// The low-water mark; from 1.
    pub low: u64,
    /// The reply to the opening; never given up.
    pub opened: Option<Arc<Stored>>,
    /// What became of `low`, `low + 1`, ...; no longer than the window, the last never `Free`.
    pub slots: VecDeque<Slot>,
    /// What the replies in `slots` count for.
    pub held: u64,
    /// No slot before this one holds a reply; saves looking at them again.
    hint: usize,
    /// Whether it changed since the last digest of the table.
    pub is_dirty: bool,
    /// Its digest at that time; `None` if there was no such session.
    pub in_set: Option<Digest>,
}

/// What became of a number.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// Nothing yet.
    Free,
    /// A request was executed; its reply is not here (yet, or any more).
    Spent,
    /// A request was executed, with this reply.
    Stored(Arc<Stored>),
}

#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// Digest of the request, or [`SessionTable::ANY_REQUEST`].
    pub request: Digest,
    /// The reply to it.
    pub reply: StoredReply,
    /// Digest of both, once it was needed: replies may be large and stay for many checkpoints.
    digest: OnceLock<Digest>,
}

impl Session {
    pub fn new() -> Self {
        Self {
            last_used: 0,
            low: 1,
            opened: None,
            slots: VecDeque::new(),
            held: 0,
            hint: 0,
            is_dirty: false,
            in_set: None,
        }
    }

    /// As [`super::SessionTable::admit`], for numbers from 1; without a digest as
    /// [`super::SessionTable::withdraw`].
    pub fn admit(
        &mut self,
        number: u64,
        low: u64,
        digest: Option<&Digest>,
        room: Room<'_>,
    ) -> Admission<'_> {
        if number < self.low {
            return Admission::Refused(Refusal::BelowLowWater);
        }
        // What was executed comes before the request's own mark: a repeat changes nothing.
        let runs = digest.is_some() && planted("c2-withdrawn-runs");
        if self.is_spent(number) && !(runs && self.stored(number).is_some_and(Stored::is_any)) {
            return match (self.stored(number), digest) {
                (Some(stored), None) => Admission::Repeat(&stored.reply),
                (Some(stored), Some(d)) if stored.answers(d) => Admission::Repeat(&stored.reply),
                (None, None) => Admission::Refused(Refusal::ReplyGone),
                (_, Some(_)) => Admission::Nothing,
            };
        }
        let low = self.low.max(low);
        if number < low {
            return Admission::Refused(Refusal::BelowLowWater);
        }
        if number - low >= room.window {
            return Admission::Refused(Refusal::BeyondWindow);
        }
        *room.held -= self.raise(low);
        let at = usize::try_from(number - low).expect("it is below the window, a u32");
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || Slot::Free);
        }
        if digest.is_none() && planted("c2-withdrawal-spends-nothing") {
            return Admission::Fresh;
        }
        self.slots[at] = Slot::Spent;
        Admission::Fresh
    }

    /// Stores a reply in the place that was admitted for it; gives what it counts for.
    pub fn record(&mut self, number: u64, stored: Arc<Stored>) -> u64 {
        let Some(at) = self.place(number) else { return 0 };
        if !matches!(self.slots[at], Slot::Spent) {
            return 0;
        }
        let weight = stored.weight();
        self.slots[at] = Slot::Stored(stored);
        self.hint = self.hint.min(at);
        self.held = self.held.saturating_add(weight);
        weight
    }

    /// See [`super::SessionTable::carried_over`].
    pub fn carry_over(&mut self) {
        let stored = self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::Stored(stored) => Some(stored),
            Slot::Free | Slot::Spent => None,
        });
        for stored in stored.chain(&mut self.opened) {
            let outcome = stored.reply.outcome.clone();
            let reply = StoredReply { position: StepPosition::default(), index: 0, outcome };
            *stored = Arc::new(Stored::new(SessionTable::ANY_REQUEST, reply));
        }
    }

    /// Stores the reply to the opening, unless there is one.
    pub fn record_opening(&mut self, stored: Arc<Stored>) {
        self.opened.get_or_insert(stored);
    }

    pub fn stored(&self, number: u64) -> Option<&Stored> {
        match &self.slots[self.place(number)?] {
            Slot::Stored(stored) => Some(stored),
            Slot::Free | Slot::Spent => None,
        }
    }

    pub fn is_spent(&self, number: u64) -> bool {
        let executed = |at: usize| !matches!(self.slots[at], Slot::Free);
        // Number 0 has been executed in any session that there is, and is below every mark.
        number < self.low || self.place(number).is_some_and(executed)
    }

    /// Gives up the reply with the lowest number, of which there must be one; gives what it counted
    /// for.
    pub fn give_up_oldest(&mut self) -> u64 {
        let mut rest = self.slots.iter_mut().enumerate().skip(self.hint);
        let (at, slot) = rest
            .find(|(_, slot)| matches!(slot, Slot::Stored(_)))
            .expect("a session that holds bytes has a reply at or after its hint");
        let weight = slot.weight();
        *slot = Slot::Spent;
        self.hint = at + 1;
        self.held -= weight;
        weight
    }

    /// A digest of all that it is.
    pub fn digest(&self, client: &ClientId, id: SessionId) -> Digest {
        let mut h = Hasher::new(Domain::Session);
        h.put(&client.0).put_u64(id.0).put_u64(self.last_used).put_u64(self.low);
        match &self.opened {
            Some(opened) => h.put(&[1]).put(&opened.digest().0),
            None => h.put(&[0]),
        };
        h.put_u64(self.slots.len() as u64);
        for slot in &self.slots {
            match slot {
                Slot::Free => h.put(&[0]),
                Slot::Spent => h.put(&[1]),
                Slot::Stored(stored) => h.put(&[2]).put(&stored.digest().0),
            };
        }
        h.finish()
    }

    /// Where in `slots` a number is.
    fn place(&self, number: u64) -> Option<usize> {
        let at = usize::try_from(number.checked_sub(self.low)?).ok()?;
        (at < self.slots.len()).then_some(at)
    }

    /// Raises the low-water mark and forgets what is below; gives what the replies counted for.
    fn raise(&mut self, low: u64) -> u64 {
        let by = usize::try_from(low - self.low).unwrap_or(usize::MAX).min(self.slots.len());
        let forgotten = self.slots.drain(..by).map(|slot| slot.weight()).sum();
        self.held -= forgotten;
        self.hint = self.hint.saturating_sub(by);
        self.low = low;
        forgotten
    }
}

impl Slot {
    fn weight(&self) -> u64 {
        match self {
            Slot::Free | Slot::Spent => 0,
            Slot::Stored(stored) => stored.weight(),
        }
    }
}

impl Stored {
    /// Whether this is the reply to the request with this digest.
    pub fn answers(&self, digest: &Digest) -> bool {
        self.request == *digest || self.is_any()
    }

    /// Whether it is that to every request with its number: that was withdrawn, or it ran in
    /// another cluster.
    pub fn is_any(&self) -> bool {
        self.request == SessionTable::ANY_REQUEST
    }

    pub fn new(request: Digest, reply: StoredReply) -> Self {
        Self { request, reply, digest: OnceLock::new() }
    }

    pub fn weight(&self) -> u64 {
        SessionLimits::REPLY_OVERHEAD + self.reply.outcome.len() as u64
    }

    fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| {
            let StoredReply { position, index, outcome } = &self.reply;
            let mut h = Hasher::new(Domain::Session);
            h.put(&self.request.0).put_u64(position.round.0).put(&position.vector.0);
            h.put(&index.to_le_bytes()).put_var(outcome);
            h.finish()
        })
    }
}
