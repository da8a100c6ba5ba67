//! The client of a group that votes: requests are ordered, queries mostly need not be.

use super::core::{Caller, Diverted};
use super::queue::Travel;
use super::setup::{Mode, Start};
use super::{Action, Actions, Input, Setup, Stats, Token};
use crate::types::{Instant, SessionId};
use crate::voter::Explanation;
use crate::wire::{
    ChainQuery, Command, CommandKind, Digests, Frame, Kind, Message, Note, Replies, RequestBody,
};
use bytes::Bytes;

/// One client of a group that votes, with the doors of [`Caller`].
///
/// It consists of two callers over the same links. One has the session and sends requests, which
/// are ordered (rule C1). The other sends calls that consist of queries only to all replicas, which
/// answer from their states; it believes `t + 1` equal answers that were given under one opening
/// (rule Q1). If these do not come, since something is written at the same time, somebody lies or
/// the epoch changes, the queries go into a request: as soon as what was said leaves no other way,
/// and after the time after which requests are repeated at the latest.
///
/// The two ways are not in order: **a query may overtake a request of the same client that is not
/// answered yet.** Who needs to see its write waits for its answer, or sends both in one call.
#[derive(Debug)]
pub struct VotingCaller {
    requests: Caller,
    queries: Caller,
    /// Whether queries are ordered too.
    ordered: bool,
}

impl VotingCaller {
    /// A client without links. It opens its session when something has to be ordered.
    pub fn new(setup: Setup, now: Instant) -> Self {
        let of = |mode| Setup { mode, ..setup.clone() };
        let mut requests = Caller::new(of(Mode::Vote), now);
        requests.discouraged = !setup.ordered;
        let queries = Caller::new(of(Mode::Reads), now);
        Self { requests, queries, ordered: setup.ordered }
    }

    /// The same, with a first session that begins in another way.
    pub fn starting(mut self, start: Start) -> Self {
        self.requests = self.requests.starting(start);
        self
    }

    /// Takes one event and appends what is to be done about it. One [`Input::Drained`] may send
    /// twice to one replica.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Actions) {
        match input {
            Input::Call { token, commands, coalesce } => {
                let reads = |c: &Command| c.kind != CommandKind::Execute;
                let is_query = !self.ordered && !commands.is_empty() && commands.iter().all(reads);
                let caller = if is_query { &mut self.queries } else { &mut self.requests };
                caller.handle(now, Input::Call { token, commands, coalesce }, out);
            }
            Input::CallForReceipt { .. } | Input::Withdraw { .. } => {
                self.requests.handle(now, input, out);
            }
            Input::Forget { token } => {
                self.requests.handle(now, Input::Forget { token }, out);
                self.queries.handle(now, Input::Forget { token }, out);
            }
            Input::Frames { replica, frames } => {
                let (queries, requests): (Vec<Frame>, Vec<Frame>) =
                    frames.into_iter().partition(is_of_query);
                let before = out.len();
                if !queries.is_empty() {
                    self.queries.handle(now, Input::Frames { replica, frames: queries }, out);
                }
                if !requests.is_empty() {
                    self.requests.handle(now, Input::Frames { replica, frames: requests }, out);
                }
                // Both have one link.
                if out[before..].iter().any(|a| matches!(a, Action::Close { .. })) {
                    self.queries.handle(now, Input::Down { replica }, out);
                    self.requests.handle(now, Input::Down { replica }, out);
                }
            }
            Input::Drained => {
                self.queries.handle(now, Input::Drained, out);
                self.order_diverted(out);
                self.requests.handle(now, Input::Drained, out);
            }
            other @ (Input::Up { .. } | Input::Down { .. } | Input::Tick) => {
                self.queries.handle(now, other.clone(), out);
                self.requests.handle(now, other, out);
            }
        }
    }

    // Q1: what replicas did not answer alike becomes requests, with what is left of its time.
    fn order_diverted(&mut self, out: &mut Actions) {
        for Diverted { parts, frame } in std::mem::take(&mut self.queries.diverted) {
            self.requests.counts.ordered_queries += 1;
            let travel = if parts.len() > 1 { Travel::Together } else { Travel::Alone };
            let mut commands = commands_of(&frame).into_iter();
            for part in parts {
                let own: Vec<Command> = commands.by_ref().take(part.commands).collect();
                let Some(token) = part.token else { continue };
                self.requests.order(token, own, travel, part.since, out);
            }
        }
    }

    /// When to call again at the latest, as [`Caller::next_wake`].
    pub fn next_wake(&self) -> Option<Instant> {
        self.requests.next_wake().into_iter().chain(self.queries.next_wake()).min()
    }

    /// As [`Caller::explain`].
    pub fn explain(&self, token: Token) -> Option<Explanation> {
        self.requests.explain(token).or_else(|| self.queries.explain(token))
    }

    /// Counters of requests and queries together.
    pub fn stats(&self) -> Stats {
        self.requests.stats().plus(self.queries.stats())
    }
}

fn commands_of(frame: &Bytes) -> Vec<Command> {
    let query = Frame::parse(frame.clone()).ok().and_then(|f| ChainQuery::from_body(&f.body).ok());
    let body = query.and_then(|query| RequestBody::parse(&query.body).ok());
    body.expect("this client has made the frame").commands
}

fn is_of_query(frame: &Frame) -> bool {
    let session = match frame.kind {
        Kind::Replies => Replies::first_session(&frame.body),
        Kind::Digests => Digests::first_session(&frame.body),
        Kind::Note => Note::session_of(&frame.body),
        _ => None,
    };
    session == Some(SessionId::QUERIES)
}

#[cfg(test)]
#[path = "voting_tests.rs"]
mod tests;
