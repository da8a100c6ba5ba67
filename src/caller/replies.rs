//! What comes from replicas: votes, notes, and what follows once `t + 1` agree.

use super::core::{Caller, Diverted, explain};
use super::queue::{Part, id_of};
use super::receipts::ReceiptTrouble;
use super::setup::Mode;
use super::wholes::{PARTS, is_awaited};
use super::window::{Found, Pending, Slot, Window};
use super::{Action, Actions, Answer, CallError};
use crate::types::plant::planted;
use crate::types::{Instant, ReplicaId, RequestId, SessionId};
use crate::voter::{Explanation, Heard, Value};
use crate::wire::{
    DecodeError, Digests, Frame, Kind, Message, Note, NoteKind, Outcome, ReceiptAnswer, Refusal,
    Replies, Reply, StepPosition,
};
use bytes::Bytes;
use std::time::Duration;

/// A query that most have answered, and not alike, waits so long at least for the others.
const LEAST_GRACE: Duration = Duration::from_millis(1);

impl Caller {
    /// Takes frames of one replica. What is no message closes its link, and what that link still
    /// gives is ignored then.
    pub(super) fn frames(
        &mut self,
        replica: ReplicaId,
        frames: &[Frame],
        now: Instant,
        out: &mut Actions,
    ) {
        for frame in frames {
            if !self.links.is_up(replica) {
                return;
            }
            if frame.group != self.setup.context.group {
                self.links.count(replica).strays += 1;
                continue;
            }
            if let Err(why) = self.frame(replica, frame, now, out) {
                self.fault(replica, why, now, out);
            }
        }
    }

    /// Closes the link of a replica that sent what is no message.
    pub(super) fn fault(
        &mut self,
        replica: ReplicaId,
        why: &'static str,
        now: Instant,
        out: &mut Actions,
    ) {
        self.lose_link(replica, now);
        self.links.count(replica).closed += 1;
        out.push(Action::Close { replica, why });
    }

    fn frame(
        &mut self,
        replica: ReplicaId,
        frame: &Frame,
        now: Instant,
        out: &mut Actions,
    ) -> Result<(), &'static str> {
        let no_message = |e: DecodeError| e.what;
        match frame.kind {
            Kind::Replies => {
                let message = Replies::from_body(&frame.body).map_err(no_message)?;
                if message.replies.is_empty() {
                    return Err("replies without a reply");
                }
                let Replies { position, rolled, replies } = message;
                for reply in replies {
                    self.links.count(replica).replies += 1;
                    self.reply(replica, (position, rolled), reply, now, out);
                }
                Ok(())
            }
            Kind::Note => {
                let note = Note::from_body(&frame.body).map_err(no_message)?;
                self.links.count(replica).notes += 1;
                self.note(replica, &note, now, out);
                Ok(())
            }
            Kind::Receipt => {
                let answer = ReceiptAnswer::from_body(&frame.body).map_err(no_message)?;
                self.receipt(replica, answer, now, out);
                Ok(())
            }
            Kind::Digests if self.setup.mode.votes() => {
                self.digests(replica, Digests::from_body(&frame.body), now, out)
            }
            _ => Err("a kind of frame that replicas do not send to clients"),
        }
    }

    // Rule C1. What fits no request changes a counter and nothing else.
    pub(super) fn reply(
        &mut self,
        replica: ReplicaId,
        (position, rolled): (StepPosition, bool),
        reply: Reply,
        now: Instant,
        out: &mut Actions,
    ) {
        let stats = self.links.count(replica);
        let Some(slot) = find(&mut self.session, reply.session, reply.number) else {
            stats.strays += 1;
            return;
        };
        let mixes = self.setup.mode == Mode::Reads && planted("q1-openings-mixed");
        let position = if mixes { StepPosition::default() } else { position };
        let value = Value { position, index: reply.index, outcome: reply.outcome };
        match slot {
            Found::Gone => {}
            Found::Unknown => stats.strays += 1,
            Found::Slot(Slot::Settled(settled)) => {
                let differs = settled.value.as_ref().is_some_and(|v| *v != value);
                if differs && !settled.counted.contains(replica) {
                    settled.counted.insert(replica);
                    stats.differs(self.setup.mode);
                }
            }
            Found::Slot(Slot::Pending(pending)) => {
                if value.outcome.len() > self.setup.max_outcome(pending.commands) {
                    stats.strays += 1;
                    return;
                }
                let heard = pending.voter.hear_marked(replica, now, value, rolled);
                self.heard(reply.number, replica, heard, now, out);
            }
        }
    }

    /// What follows from a vote.
    pub(super) fn heard(
        &mut self,
        number: u64,
        replica: ReplicaId,
        heard: Heard,
        now: Instant,
        out: &mut Actions,
    ) {
        self.links.count(replica).changed += u64::from(heard.changed);
        match heard.accepted {
            true => self.accepted(number, now, out),
            false => self.look_at(number, now),
        }
    }

    // A note is never a vote. But when so many replicas would not take a request that it cannot
    // get the candidates it needs from those that are good, waiting on is of no use.
    fn note(&mut self, replica: ReplicaId, note: &Note, now: Instant, out: &mut Actions) {
        let refusing = self.setup.refusing();
        let slot = find(&mut self.session, note.session, note.number);
        let Some(Found::Slot(Slot::Pending(pending))) = slot else {
            if matches!(slot, None | Some(Found::Unknown)) {
                self.links.count(replica).strays += 1;
            }
            return;
        };
        pending.voter.note(replica, now, note.kind);
        let final_word = match note.kind {
            NoteKind::Forbidden | NoteKind::Unacceptable | NoteKind::NumberTaken => true,
            NoteKind::Busy
            | NoteKind::Restarted
            | NoteKind::Halted
            | NoteKind::NotMember
            | NoteKind::Quarantined => false,
        };
        let open = pending.voter.accepted().is_none();
        if final_word && open && pending.voter.noted(note.kind) >= refusing {
            self.not_taken(note.number, note.kind, now, out);
        } else {
            self.look_at(note.number, now);
        }
    }

    /// Ends a request that cannot be done.
    pub(super) fn not_taken(
        &mut self,
        number: u64,
        why: NoteKind,
        now: Instant,
        out: &mut Actions,
    ) {
        let Some(pending) = self.take_out(number) else { return };
        self.counts.not_taken += 1;
        self.over(&pending, out);
        self.fail(number, &pending, now, out, |explanation| CallError::NotTaken {
            why,
            explanation,
        });
    }

    /// `t + 1` replicas said the same: now it is read.
    pub(super) fn accept(&mut self, number: u64, now: Instant, out: &mut Actions) {
        let Some(pending) = self.take_out(number) else { return };
        let Some(value) = pending.voter.accepted() else { return };
        self.counts.accepted += 1;
        self.over(&pending, out);
        for replica in pending.voter.dissenting().iter() {
            self.links.count(replica).differs(self.setup.mode);
        }
        match Outcome::parse(&value.outcome) {
            Ok(Outcome::Opened) if number == 0 => {
                self.counts.sessions += 1;
                self.discouraged = false;
                if let Some(session) = &mut self.session {
                    session.open = true;
                    if session.first > 1 {
                        session.window = Window::starting_at(session.first);
                    }
                }
            }
            Ok(Outcome::Refused(Refusal::UnknownSession)) if number == 0 && self.goes_on() => {
                self.session = None;
                self.discouraged = false;
            }
            Ok(Outcome::Withdrawn) if number > 0 => {
                self.fail(number, &pending, now, out, |explanation| CallError::Withdrawn {
                    explanation,
                });
            }
            // A withdrawal takes what it gets.
            Ok(Outcome::Executed(outputs))
                if number > 0 && (outputs.len() == pending.commands || pending.commands == 0) =>
            {
                self.answer(number, &pending, value, outputs, now, out);
            }
            Ok(Outcome::Refused(why)) => {
                self.counts.refused += 1;
                self.fail(number, &pending, now, out, |explanation| CallError::Refused {
                    why,
                    explanation,
                });
                // Queries have no session to lose.
                if why == Refusal::UnknownSession && self.setup.mode.has_sessions() {
                    self.lose_session(now, out);
                }
            }
            _ => self.fail(number, &pending, now, out, |explanation| CallError::Unreadable {
                explanation,
            }),
        }
    }

    // What becomes of a request about which somebody has said something that ends nothing.
    fn look_at(&mut self, number: u64, now: Instant) {
        if !self.look_for_whole(number, now) {
            self.look_at_query(number, now);
        }
    }

    /// Q1: what becomes of a query about which somebody has said something. It is ordered when its
    /// vote is hopeless; and soon, when all have spoken that can be waited for and do not agree:
    /// the rest may be silent for ever.
    fn look_at_query(&mut self, number: u64, now: Instant) {
        if self.setup.mode != Mode::Reads {
            return;
        }
        let gone = self.links.gone(now, self.setup.repeat_after);
        let slot = find(&mut self.session, SessionId::QUERIES, number);
        let Some(Found::Slot(Slot::Pending(pending))) = slot else { return };
        if pending.voter.is_hopeless(gone) {
            return self.divert(number);
        }
        if pending.voter.heard_of(gone) >= self.setup.ensemble.n() - self.setup.ensemble.t() {
            // C3: a large answer takes longer than the digests of it.
            let links = &self.links;
            let awaited = pending.voter.named().iter().any(|r| is_awaited(links, pending, r, now));
            let grace = match awaited {
                true => self.setup.repeat_after / PARTS,
                false => now.since(pending.sent).saturating_mul(2).max(LEAST_GRACE),
            };
            pending.repeat_at = pending.repeat_at.min(now + grace);
            let again = pending.repeat_at;
            self.wake_by(again);
        }
    }

    /// Q1: a query that gets no `t + 1` equal answers has to be ordered.
    pub(super) fn divert(&mut self, number: u64) {
        let Some(pending) = self.take_out(number) else { return };
        let Pending { parts, frame, .. } = *pending;
        self.diverted.push(Diverted { parts, frame });
    }

    // Whether another session takes the place of the one that cannot be opened.
    fn goes_on(&self) -> bool {
        self.begun == 1 && self.start.goes_on
    }

    // What came of a request is known.
    fn over(&self, pending: &Pending, out: &mut Actions) {
        if let Some(id) = pending.id.filter(|_| self.start.remembers) {
            out.push(Action::Over { id });
        }
    }

    fn take_out(&mut self, number: u64) -> Option<Box<Pending>> {
        self.session.as_mut()?.window.settle(number)
    }

    // Every call gets its own outputs.
    fn answer(
        &self,
        number: u64,
        pending: &Pending,
        value: &Value,
        outputs: Vec<Bytes>,
        now: Instant,
        out: &mut Actions,
    ) {
        let Some(session) = &self.session else { return };
        let request = RequestId { client: self.setup.client, session: session.id, number };
        let explanation = explain(pending, &self.links, now);
        let mut outputs = outputs.into_iter();
        tell(&pending.parts, explanation, now, out, |part, explanation| {
            let count = if pending.commands == 0 { usize::MAX } else { part.commands };
            let outputs: Vec<Bytes> = outputs.by_ref().take(count).collect();
            let (position, index) = (value.position, value.index);
            Ok(Answer { request, outputs, position, index, explanation })
        });
    }

    // Tells all calls in a request; all calls that wait, if it was the session's opening.
    fn fail(
        &mut self,
        number: u64,
        pending: &Pending,
        now: Instant,
        out: &mut Actions,
        error: impl Fn(Explanation) -> CallError,
    ) {
        let explanation = explain(pending, &self.links, now);
        tell(&pending.parts, explanation.clone(), now, out, |_, e| Err(error(e)));
        if number == 0 {
            self.session = None;
            self.discouraged = true;
            while let Some((token, since)) = self.queue.drain_one() {
                let waited = now.since(since);
                let result = Err(error(Explanation { waited, sends: 0, ..explanation.clone() }));
                out.push(Action::Done { token, result });
            }
        }
    }

    // Rule O6: the session was evicted. What is outstanding in it may have been executed before,
    // so it is never sent again by itself.
    fn lose_session(&mut self, now: Instant, out: &mut Actions) {
        self.end_receipts(ReceiptTrouble::SessionLost, now, out);
        let Some(session) = self.session.take() else { return };
        for (_, pending) in session.window.all() {
            let explanation = explain(pending, &self.links, now);
            tell(&pending.parts, explanation, now, out, |_, explanation| {
                Err(CallError::SessionLost { explanation })
            });
        }
        self.links.forget_repeats();
    }
}

// Where a number of a session stands; `None` if it is not the session in use.
pub(super) fn find(
    session: &mut Option<super::core::Session>,
    id: SessionId,
    number: u64,
) -> Option<Found<'_>> {
    session.as_mut().filter(|s| s.id == id).map(|s| s.window.find(number))
}

// Gives every call in a request its result; each says how long it itself waited.
fn tell(
    parts: &[Part],
    explanation: Explanation,
    now: Instant,
    out: &mut Actions,
    mut result: impl FnMut(&Part, Explanation) -> Result<Answer, CallError>,
) {
    let Some((last, others)) = parts.split_last() else { return };
    let mut one = |place: usize, part: &Part, explanation: Explanation| {
        let waited = now.since(part.since);
        let id = id_of(explanation.id, parts, place);
        let result = result(part, Explanation { waited, id, ..explanation });
        if let Some(token) = part.token {
            out.push(Action::Done { token, result });
        }
    };
    let others = others.iter().enumerate();
    others.for_each(|(place, part)| one(place, part, explanation.clone()));
    one(parts.len() - 1, last, explanation);
}
