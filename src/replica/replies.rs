//! Replies on their way to clients.

use super::Actions;
use super::journal::Waiting;
use super::replica::{Replica, to_client};
use crate::crypto::Scheme;
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Digest, LinkId, Round, SessionId};
use crate::wire::{Digests, Message, NoteKind, Replies, Reply, ReplyDigest, StepPosition};

/// A reply that is to go out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) reply: Reply,
    /// Its request came more than once: it goes out whole (C3).
    pub(super) again: bool,
    /// The digest of its outcome, if that is known.
    pub(super) output: Option<Digest>,
}

impl Due {
    /// One that is asked for once more.
    pub(super) fn again(reply: Reply) -> Self {
        Self { reply, again: true, output: None }
    }
}

/// A reply as it goes out (C3).
#[derive(Debug)]
pub(super) enum Told {
    /// With its outcome.
    Whole(Reply),
    /// With the digest of that, which another replica sends.
    Digest(ReplyDigest),
}

impl Told {
    /// Bytes of it that depend on the outcome.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Told::Whole(reply) => reply.outcome.len(),
            Told::Digest(_) => ReplyDigest::SIZE,
        }
    }
}

impl Waiting {
    /// Replies of one step to one client, once the step `after` is on the disk.
    pub(super) fn of(link: LinkId, position: StepPosition, after: Round, told: Vec<Told>) -> Self {
        let (replies, digests) = (Vec::new(), Vec::new());
        let mut waiting = Waiting { link, position, after, replies, digests };
        for one in told {
            match one {
                Told::Whole(reply) => waiting.replies.push(reply),
                Told::Digest(digest) => waiting.digests.push(digest),
            }
        }
        waiting
    }
}

impl<S: Scheme> Replica<S> {
    /// C3: a large outcome goes out whole from the member whose turn it is, and to whoever asks
    /// `again` from everybody.
    ///
    /// Replicas may differ in who they think are members: then two send the whole, or nobody does
    /// and the client asks again.
    pub(super) fn brief(&mut self, Due { reply, again, output }: Due) -> Told {
        let is_large = reply.outcome.len() > self.quotas.whole_bytes as usize;
        let turn = self.core.members().turn(reply.session.0.wrapping_add(reply.number));
        let again = again && !planted("c3-repeat-digested");
        match turn.filter(|whole| is_large && *whole != self.id) {
            Some(whole) if !again => {
                self.counters.replies_digested += 1;
                Told::Digest(match output {
                    Some(output) => ReplyDigest::with(&reply, output, whole),
                    None => ReplyDigest::of(&reply, whole),
                })
            }
            told_again => {
                if told_again.is_some() {
                    mark("C3 a large result went out whole as it was asked for again");
                }
                self.counters.replies_whole += 1;
                Told::Whole(reply)
            }
        }
    }

    /// Replies of one step to one client, once that step can be done again from the disk (§7).
    pub(super) fn reply(
        &mut self,
        link: LinkId,
        position: StepPosition,
        replies: Vec<Due>,
        out: &mut Actions,
    ) {
        if self.links.client(link).is_some() {
            let told = replies.into_iter().map(|due| self.brief(due)).collect();
            let now = self.journal.hold(Waiting::of(link, position, position.round, told));
            now.into_iter().for_each(|now| self.send_replies(now, out));
        }
    }

    /// Replies to one client, in as many messages as their sizes need.
    pub(super) fn send_replies(&self, waiting: Waiting, out: &mut Actions) {
        let Waiting { link, position, replies, digests, .. } = waiting;
        if self.links.client(link).is_none() {
            return;
        }
        let whole = replies.iter().map(|r| (r.session, r.number));
        let all = whole.chain(digests.iter().map(|d| (d.session, d.number)));
        let is_query = all.clone().next().is_some_and(|(s, _)| s == SessionId::QUERIES);
        // Q1: an answer to a query is one of its epoch.
        if is_query {
            let opening = self.core.read_point().map(|point| point.opening);
            if opening != Some(position.vector) {
                for (_, number) in all {
                    self.note_query(link, number, NoteKind::NotMember, out);
                }
                return;
            }
        }
        // E4: nothing of an epoch below the promise is answered.
        let may_answer = self.core.may_answer() || is_query && planted("q1-frozen-answers");
        if !may_answer {
            return;
        }
        let rolled = self.rolled.is_on();
        for digests in digests.chunks(Digests::MOST) {
            let message = Digests { position, rolled, digests: digests.to_vec() };
            out.push(to_client(link, message.to_frame(self.group)));
        }
        let mut message = Replies { position, rolled, replies: Vec::new() };
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
        if !message.replies.is_empty() {
            out.push(to_client(link, message.to_frame(self.group)));
        }
    }
}
