//! Queries that are answered from the state, without ordering (Q1).

use super::Actions;
use super::answers::Asker;
use super::journal::Waiting;
use super::replica::{Replica, to_client};
use super::replies::{Due, Told};
use crate::crypto::Scheme;
use crate::ordering::ReadPoint;
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{ClientId, LinkId, Quotas, Round, SessionId};
use crate::wire::{ChainQuery, Message, Note, NoteKind, Reply, RequestBody, StepPosition};
use std::collections::{BTreeMap, VecDeque};

/// Queries have no session; replies and notes to them name this one.
const SESSION: SessionId = SessionId::QUERIES;

/// Queries that wait for what their replica had chosen when they came.
#[derive(Debug, Default)]
pub(super) struct Reads {
    waiting: VecDeque<Asked>,
    of_client: BTreeMap<ClientId, u32>,
    bytes: u64,
}

#[derive(Debug)]
struct Asked {
    link: LinkId,
    client: ClientId,
    id: u64,
    body: RequestBody,
    bytes: u64,
    point: ReadPoint,
    /// It is asked again, for a whole answer (C3).
    again: bool,
}

impl Reads {
    fn has_room(&self, client: &ClientId, bytes: u64, quotas: &Quotas) -> bool {
        let own = self.of_client.get(client).copied().unwrap_or(0);
        own < quotas.per_client
            && self.waiting.len() < quotas.global as usize
            && self.bytes.saturating_add(bytes) <= quotas.body_bytes
    }

    fn push(&mut self, asked: Asked) {
        *self.of_client.entry(asked.client).or_insert(0) += 1;
        self.bytes += asked.bytes;
        self.waiting.push_back(asked);
    }

    fn pop(&mut self) -> Option<Asked> {
        let asked = self.waiting.pop_front()?;
        self.bytes -= asked.bytes;
        if let Some(count) = self.of_client.get_mut(&asked.client) {
            *count -= 1;
            if *count == 0 {
                self.of_client.remove(&asked.client);
            }
        }
        Some(asked)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl<S: Scheme> Replica<S> {
    /// A client's query: it waits at least until all is executed that this replica had chosen.
    pub(super) fn query(
        &mut self,
        (link, client): (LinkId, ClientId),
        query: ChainQuery,
        again: bool,
        out: &mut Actions,
    ) {
        self.counters.queries += 1;
        let (id, bytes) = (query.id, query.body.len() as u64);
        let kind = match self.judge_query(&client, &query) {
            Ok((body, point)) => {
                self.reads.push(Asked { link, client, id, body, bytes, point, again });
                return;
            }
            Err(kind) => kind,
        };
        match kind {
            NoteKind::Busy => self.counters.busy += 1,
            NoteKind::Unacceptable => self.counters.unacceptable += 1,
            _ => {}
        }
        self.note_query(link, id, kind, out);
    }

    fn judge_query(
        &self,
        client: &ClientId,
        query: &ChainQuery,
    ) -> Result<(RequestBody, ReadPoint), NoteKind> {
        let fits = query.body.len() <= self.limits.max_request as usize;
        let body = RequestBody::parse(&query.body).ok().filter(|_| fits);
        // O8: what may write has to be ordered, whoever asks for it.
        let reads = |body: &RequestBody| {
            body.only_reads() && body.commands.len() <= self.limits.max_commands as usize
        };
        let body = body.filter(reads).ok_or(NoteKind::Unacceptable)?;
        if self.is_halted() {
            return Err(NoteKind::Halted);
        }
        if self.quarantine.is_on() {
            return Err(NoteKind::Quarantined);
        }
        let point = self.core.read_point().filter(|_| !self.executor.is_lost());
        let point = point.ok_or(NoteKind::NotMember)?;
        match self.reads.has_room(client, query.body.len() as u64, &self.quotas) {
            true => Ok((body, point)),
            false => Err(NoteKind::Busy),
        }
    }

    /// Answers what has waited long enough, in one message a link. What this replica may not answer
    /// any more it says.
    pub(super) fn answer_reads(&mut self, out: &mut Actions) {
        if self.reads.waiting.is_empty() {
            return;
        }
        let opening = self.core.read_point().map(|point| point.opening);
        let opening = opening.filter(|_| !self.executor.is_lost() && !self.is_halted());
        let executed = self.executor.position().round;
        let may_answer = self.core.may_answer() || planted("q1-frozen-answers");
        let mut answers: BTreeMap<LinkId, Vec<Told>> = BTreeMap::new();
        while let Some(first) = self.reads.waiting.front() {
            let is_of_now = opening == Some(first.point.opening);
            if is_of_now && (executed < first.point.round || !may_answer) {
                mark("Q1 a query waited for what was chosen");
                break;
            }
            let asked = self.reads.pop().expect("it was just there");
            if !is_of_now {
                mark("Q1 a query was given up in a change of the epoch");
                self.note_query(asked.link, asked.id, NoteKind::NotMember, out);
                continue;
            }
            if self.links.client(asked.link).is_none() {
                continue;
            }
            let outcome = self.executor.query(&asked.client, &asked.body).to_bytes();
            let reply = Reply { session: SESSION, number: asked.id, index: 0, outcome };
            let told = self.brief(Due { reply, again: asked.again, output: None });
            if !self.answers.may(Asker::Client(asked.link), told.bytes()) {
                self.note_query(asked.link, asked.id, NoteKind::Busy, out);
                continue;
            }
            answers.entry(asked.link).or_default().push(told);
        }
        let Some(opening) = opening else { return };
        let position = StepPosition { round: Round(0), vector: opening };
        for (link, told) in answers {
            let waiting = Waiting::of(link, position, self.executor.shown(), told);
            let now = match planted("q1-unsynced-answers") {
                true => Some(waiting),
                false => self.journal.hold(waiting),
            };
            now.into_iter().for_each(|now| self.send_replies(now, out));
        }
    }

    fn is_halted(&self) -> bool {
        self.executor.halted().is_some()
    }

    pub(super) fn note_query(&self, link: LinkId, id: u64, kind: NoteKind, out: &mut Actions) {
        let note = Note { session: SESSION, number: id, kind };
        out.push(to_client(link, note.to_frame(self.group)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Digest;

    #[test]
    fn waiting_queries_are_bounded_for_each_client_and_by_their_bytes() {
        let mut reads = Reads::default();
        let quotas = Quotas { per_client: 2, global: 3, body_bytes: 100, ..Quotas::default() };
        let point = ReadPoint { round: Round(1), opening: Digest::ZERO };
        let asked = |client: u8, bytes| Asked {
            link: LinkId(1),
            client: ClientId([client; 32]),
            id: 1,
            body: RequestBody { commands: Vec::new() },
            bytes,
            point,
            again: false,
        };
        let fits = |reads: &Reads, client: u8, bytes| {
            reads.has_room(&ClientId([client; 32]), bytes, &quotas)
        };
        reads.push(asked(1, 10));
        reads.push(asked(1, 10));
        assert!(!fits(&reads, 1, 10) && fits(&reads, 2, 80) && !fits(&reads, 2, 81));
        reads.push(asked(2, 10));
        assert!(!fits(&reads, 3, 1), "three wait");
        reads.pop();
        assert!(fits(&reads, 1, 10) && fits(&reads, 3, 10));
        (0..2).for_each(|_| drop(reads.pop()));
        assert!(reads.pop().is_none() && reads.of_client.is_empty() && reads.bytes == 0);
    }
}
