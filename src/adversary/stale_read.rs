//! Answers queries at once, with what the same query would have been told before: were that equal
//! to what one slow good replica still has, a client would read what is over (Q1).

use super::{Attack, Fate, Pen};
use crate::crypto::Scheme;
use crate::replica::{Action, Actions, Input};
use crate::types::{Digest, LinkId, Now, Round, SessionId};
use crate::wire::{ChainQuery, Kind, Message, Replies, Reply, StepPosition};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Queries that are remembered at most.
const REMEMBERED: usize = 1024;

/// The attack.
#[derive(Debug, Default)]
pub struct StaleRead {
    /// The last honest answer to each query.
    last: BTreeMap<Bytes, Bytes>,
    /// Queries under way, and whether they were lied to.
    asked: BTreeMap<(LinkId, u64), (Bytes, bool)>,
    opening: Option<Digest>,
    lies: Vec<(LinkId, Reply)>,
}

impl StaleRead {
    fn asked(&mut self, link: LinkId, query: ChainQuery) {
        let older = self.last.get(&query.body).filter(|_| self.opening.is_some()).cloned();
        if self.asked.len() < REMEMBERED {
            self.asked.insert((link, query.id), (query.body, older.is_some()));
        }
        if let Some(outcome) = older {
            let (session, number) = (SessionId::QUERIES, query.id);
            self.lies.push((link, Reply { session, number, index: 0, outcome }));
        }
    }
}

impl<S: Scheme> Attack<S> for StaleRead {
    fn name(&self) -> &'static str {
        "stale-read"
    }

    fn hear(&mut self, _: Now, input: Input, heard: &mut Vec<Input>) {
        if let Input::ClientFrames { link, frames } = &input {
            for frame in frames.iter().filter(|frame| frame.kind == Kind::ChainQuery) {
                let query = ChainQuery::from_body(&frame.body).ok();
                query.into_iter().for_each(|query| self.asked(*link, query));
            }
        }
        heard.push(input);
    }

    fn replies(&mut self, _: Now, to: LinkId, replies: &mut Replies) -> Fate {
        if replies.replies.first().is_none_or(|r| r.session != SessionId::QUERIES) {
            return Fate::Keep;
        }
        self.opening = Some(replies.position.vector);
        let mut lied = Vec::new();
        for reply in &replies.replies {
            let Some((body, told)) = self.asked.remove(&(to, reply.number)) else { continue };
            if self.last.len() < REMEMBERED {
                self.last.insert(body, reply.outcome.clone());
            }
            lied.extend(told.then_some(reply.number));
        }
        replies.replies.retain(|reply| !lied.contains(&reply.number));
        if replies.replies.is_empty() { Fate::Drop } else { Fate::Changed }
    }

    fn add(&mut self, _: Now, pen: &Pen<'_, S>, out: &mut Actions) {
        let Some(vector) = self.opening else { return };
        for (link, reply) in self.lies.drain(..) {
            let position = StepPosition { round: Round(0), vector };
            let told = Replies { position, rolled: false, replies: vec![reply] };
            out.push(Action::ToClient { link, frame: told.to_frame(pen.group).into() });
        }
    }
}
