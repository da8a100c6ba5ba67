//! Replies on their way to clients.

use super::Actions;
use super::journal::Waiting;
use super::replica::{Replica, to_client};
use crate::crypto::Scheme;
use crate::types::plant::planted;
use crate::types::{LinkId, SessionId};
use crate::wire::{Message, NoteKind, Replies, Reply, StepPosition};

impl<S: Scheme> Replica<S> {
    /// Replies of one step to one client, once that step can be done again from the disk (§7).
    pub(super) fn reply(
        &mut self,
        link: LinkId,
        position: StepPosition,
        replies: Vec<Reply>,
        out: &mut Actions,
    ) {
        if self.links.client(link).is_some() {
            let waiting = Waiting { link, position, after: position.round, replies };
            let now = self.journal.hold(waiting);
            now.into_iter().for_each(|now| self.send_replies(now, out));
        }
    }

    /// Replies to one client, in as many messages as their sizes need.
    pub(super) fn send_replies(&self, waiting: Waiting, out: &mut Actions) {
        let Waiting { link, position, replies, .. } = waiting;
        if self.links.client(link).is_none() {
            return;
        }
        let is_query = replies.first().is_some_and(|r| r.session == SessionId::QUERIES);
        // Q1: an answer to a query is one of its epoch.
        if is_query {
            let opening = self.core.read_point().map(|point| point.opening);
            if opening != Some(position.vector) {
                for reply in replies {
                    self.note_query(link, reply.number, NoteKind::NotMember, out);
                }
                return;
            }
        }
        // E4: nothing of an epoch below the promise is answered.
        let may_answer = self.core.may_answer() || is_query && planted("q1-frozen-answers");
        if !may_answer {
            return;
        }
        let mut message = Replies { position, rolled: self.rolled.is_on(), replies: Vec::new() };
        let mut bytes = 0;
        for reply in replies {
            let size = reply.outcome.len() + Reply::OVERHEAD;
            if bytes + size > Replies::MAX_BYTES && !message.replies.is_empty() {
                out.push(to_client(link, message.to_frame(self.group)));
                message.replies.clear();
                bytes = 0;
            }
            bytes += size;
            message.replies.push(reply);
        }
        out.push(to_client(link, message.to_frame(self.group)));
    }
}
