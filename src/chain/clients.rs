//! Updates and queries of clients.

use super::executor::Known;
use super::queries::Waiting;
use super::{Action, Actions, Chain};
use crate::types::plant::planted;
use crate::types::{AgreedTime, ClientId, Instant, LinkId, Now, RequestId};
use crate::wire::{
    ChainAnswer, ChainAsked, ChainEntry, ChainMessage, ChainPosition, ChainQuery, ChainRefusal,
    CommandKind, Reply, Request, RequestBody,
};

/// One client may have this part of the bytes that a head takes.
const CLIENT_SHARE: usize = 8;

impl Chain {
    /// A client's update (CH-U1).
    pub(super) fn update(
        &mut self,
        now: Now,
        link: LinkId,
        client: ClientId,
        request: Request,
        out: &mut Actions,
    ) {
        let (session, number) = (request.session, request.number);
        let asked = ChainAsked::Update { session, number };
        if !self.is_head() {
            return self.refuse(link, asked, ChainRefusal::NotHead, out);
        }
        if !self.serves(now) {
            return self.refuse(link, asked, ChainRefusal::NotServing, out);
        }
        if !self.executor.fits(&request) {
            return self.refuse(link, asked, ChainRefusal::Unacceptable, out);
        }
        let id = RequestId { client, session, number };
        let looks = !planted("ch-repeats-run");
        if looks && self.pending.contains(&id) {
            // Its commit will answer it.
            self.stats.waiting_repeats += 1;
            return;
        }
        match self.executor.known(&client, &request) {
            _ if !looks => {}
            Known::Reply(at, outcome) => {
                // What is executed here is committed: the answer is the tail's.
                self.stats.answered_repeats += 1;
                let reply = Reply { session, number, index: 0, outcome };
                return out.push(Action::Reply { client, number: at, reply });
            }
            Known::Taken => return self.refuse(link, asked, ChainRefusal::NumberTaken, out),
            Known::No => {}
        }
        if !self.has_room(&client, request.body.len()) {
            return self.refuse(link, asked, ChainRefusal::Busy, out);
        }
        let number = self.history.last().number + 1;
        let position = ChainPosition { config: self.config.number, number };
        let before = self.history.last_time().unwrap_or(self.executor.time());
        let time = AgreedTime(now.wall.0).max(before);
        let entry = ChainEntry { position, time, client, request };
        self.pending.insert(&entry);
        self.history.push(entry);
        self.stats.taken += 1;
    }

    /// Whether a head takes one more update of this client: its own share first, then everybody's.
    /// A client that has nothing on its way is not refused for its share of bytes.
    fn has_room(&self, client: &ClientId, bytes: usize) -> bool {
        let limits = self.setup.limits;
        let (count, own) = self.pending.share(client);
        let share = count == 0 || own + bytes <= limits.pending_bytes / CLIENT_SHARE;
        let all = self.history.pending_bytes() + bytes;
        share
            && count < limits.per_client
            && self.history.pending() < limits.pending
            && all <= limits.pending_bytes
    }

    /// A client's query.
    pub(super) fn query(
        &mut self,
        now: Now,
        link: LinkId,
        client: ClientId,
        query: &ChainQuery,
        out: &mut Actions,
    ) {
        let asked = ChainAsked::Query { id: query.id };
        let Some(body) = RequestBody::parse(&query.body).ok().filter(RequestBody::only_reads)
        else {
            return self.refuse(link, asked, ChainRefusal::Unacceptable, out);
        };
        if !self.serves(now) {
            return self.refuse(link, asked, ChainRefusal::NotServing, out);
        }
        if self.is_tail() {
            // CH-Q1.
            if !self.open {
                return self.refuse(link, asked, ChainRefusal::NotServing, out);
            }
            return self.answer(link, client, query.id, &body, out);
        }
        if !self.setup.reads_any {
            return self.refuse(link, asked, ChainRefusal::NotTail, out);
        }
        // CH-Q2. Whatever the tail has committed is in this history; if nothing that is not
        // executed touches the query, the tail would answer the same.
        if planted("ch-reads-uncommitted-keys") || !self.is_touched(&body) {
            return self.answer(link, client, query.id, &body, out);
        }
        let limits = self.setup.limits;
        let own = self.queries.of(&client);
        if own >= limits.per_client || self.queries.len() >= limits.queries {
            return self.refuse(link, asked, ChainRefusal::Busy, out);
        }
        self.stats.asked += 1;
        let (id, at) = (query.id, now.monotonic);
        self.queries.push(Waiting { link, client, id, body, at });
    }

    /// Whether an update that is not executed touches what the query reads.
    fn is_touched(&self, query: &RequestBody) -> bool {
        if self.history.pending() == 0 {
            return false;
        }
        // Every update may be the one that a look asks about.
        if query.commands.iter().any(|c| c.kind == CommandKind::Look) {
            return true;
        }
        let read = self.executor.touches(query);
        self.history.unexecuted().any(|entry| {
            let body = RequestBody::parse(&entry.request.body);
            let written = body.map(|b| self.executor.touches(&b)).unwrap_or_default();
            written.iter().any(|w| read.iter().any(|r| r.meets(w)))
        })
    }

    /// Asks the tail for those that wait, and answers whom it has told.
    pub(super) fn answer_waiting(&mut self, now: Now, out: &mut Actions) {
        if self.queries.len() == 0 {
            return;
        }
        let late = self.queries.late(now.monotonic, self.setup.lease / 2);
        self.refuse_all(late, out);
        if !self.serves(now) {
            return self.give_up_queries(out);
        }
        for query in self.queries.ready(self.history.executed()) {
            self.answer(query.link, query.client, query.id, &query.body, out);
        }
        let tail = self.config.tail().map(|m| m.replica);
        let Some(peer) = tail.filter(|t| self.is_linked(*t)) else { return };
        if let Some(id) = self.queries.ask() {
            let config = self.config.number;
            out.push(Action::ToPeer { peer, message: ChainMessage::AskCommitted { config, id } });
        }
    }

    /// Refuses all queries that wait: their clients ask again.
    pub(super) fn give_up_queries(&mut self, out: &mut Actions) {
        let all = self.queries.give_up();
        self.refuse_all(all, out);
    }

    fn refuse_all(&mut self, queries: Vec<Waiting>, out: &mut Actions) {
        for query in queries {
            let asked = ChainAsked::Query { id: query.id };
            self.refuse(query.link, asked, ChainRefusal::NotServing, out);
        }
    }

    fn answer(
        &mut self,
        link: LinkId,
        client: ClientId,
        id: u64,
        body: &RequestBody,
        out: &mut Actions,
    ) {
        self.stats.answered += 1;
        let (number, outcome) = (self.history.executed(), self.executor.query(&client, body));
        out.push(Action::Answer { link, answer: ChainAnswer::Answer { id, number, outcome } });
    }

    fn refuse(&mut self, link: LinkId, asked: ChainAsked, why: ChainRefusal, out: &mut Actions) {
        match why {
            ChainRefusal::Busy => self.stats.busy += 1,
            _ => self.stats.refused += 1,
        }
        let answer = ChainAnswer::Refused { asked, why, config: self.config.clone() };
        out.push(Action::Answer { link, answer });
    }

    /// When the oldest query gives up waiting; `None` if none waits.
    pub(super) fn queries_wake(&self) -> Option<Instant> {
        self.queries.oldest().map(|at| at + self.setup.lease / 2)
    }
}
