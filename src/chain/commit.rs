//! What is done when nothing more waits: forward, write, commit, acknowledge, answer.

use super::{Action, Actions, Chain, Event};
use crate::types::plant::planted;
use crate::types::{Now, ReplicaId};
use crate::wire::{ChainMessage, Reply};

/// Questions of others that wait for an answer, at most; each asks a few at a time.
const QUESTIONS: usize = 256;
/// What is kept for a successor in need, in times of what is kept anyway.
const NEED: u64 = 4;

impl Chain {
    pub(super) fn drained(&mut self, now: Now, out: &mut Actions) {
        // CH-U4: the write goes on beside the forwarding.
        self.forward(out);
        if self.setup.durable {
            self.log.append(self.history.from(self.log.written() + 1), out);
        }
        self.commit(now, out);
        // The tail of a chain of one has nothing to forward and much to save.
        self.forward(out);
        self.acknowledge(out);
        self.open(now, out);
        self.answer_questions(now, out);
        self.answer_waiting(now, out);
        let executed = self.history.executed();
        let floor = self.kept_floor();
        let (kept, bytes) = (self.setup.limits.kept, self.setup.limits.kept_bytes);
        let needed = executed.saturating_sub(NEED * kept as u64);
        self.history.trim((kept, bytes), floor.max(needed));
        self.make_states(out);
    }

    /// Executes what is committed (CH-U3, CH-U4).
    fn commit(&mut self, now: Now, out: &mut Actions) {
        let last = self.history.last().number;
        let target = if !self.is_commit_point() {
            self.down.acked.min(last)
        } else if !self.up.ready || !self.lease.holds(now.monotonic) {
            return;
        } else if planted("ch-commit-before-durable") {
            last
        } else {
            self.durable_here().min(last)
        };
        let tells = self.is_tail() && self.serves(now);
        while self.history.executed() < target && self.halted().is_none() {
            self.execute_next(tells, out);
        }
    }

    fn execute_next(&mut self, tells: bool, out: &mut Actions) {
        let number = self.history.executed() + 1;
        let entry = self.history.get(number).expect("what is committed is in the history").clone();
        let done = match self.executor.execute(&entry) {
            Ok(done) => done,
            Err(why) => return self.halt(format!("update {number}: {why}"), out),
        };
        self.history.executed_next();
        self.pending.remove(&entry);
        self.stats.executed += 1;
        let (client, session) = (entry.client, entry.request.session);
        let request = entry.request.number;
        if self.setup.trace {
            let outcome = done.outcome.clone().unwrap_or_default();
            let entry = Box::new(entry);
            out.push(Action::Event(Event::Executed { entry, outcome, fresh: done.fresh }));
        }
        if let (Some(outcome), true) = (done.outcome, tells) {
            let reply = Reply { session, number: request, index: 0, outcome };
            out.push(Action::Reply { client, number: done.number, reply });
        }
    }

    /// A tail answers once the configuration has come down to it from the head: then every member
    /// knows it, and who is no member has no lease; so nobody answers as an earlier tail.
    fn open(&mut self, now: Now, out: &mut Actions) {
        let ready = self.up.ready || planted("ch-opens-at-once");
        if !self.open && self.is_tail() && ready && self.serves(now) {
            self.open = true;
            out.push(Action::Event(Event::Open { config: self.config.number }));
        }
    }

    pub(super) fn questioned(&mut self, peer: ReplicaId, id: u64) {
        if self.down.questions.len() < QUESTIONS {
            self.down.questions.push((peer, id));
        }
    }

    /// Says how far it has committed, if it may speak for the chain (CH-Q2). Who gets no answer
    /// gives up after a while.
    fn answer_questions(&mut self, now: Now, out: &mut Actions) {
        let speaks = self.answers(now);
        let (config, number) = (self.config.number, self.history.executed());
        for (peer, id) in std::mem::take(&mut self.down.questions) {
            if speaks {
                let message = ChainMessage::Committed { config, id, number };
                out.push(Action::ToPeer { peer, message });
            }
        }
    }
}
