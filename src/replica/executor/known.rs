//! What an executor still knows of what it has executed: refusals, stored replies, outputs.

use super::super::outputs::StepOutputs;
use super::{Executor, MAX_REFUSED};
use crate::service::sessions::{Lookup, StoredReply};
use crate::types::{ClientId, Digest, Round, SessionId};
use crate::wire::{Request, StepPosition};
use bytes::Bytes;
use std::iter::Peekable;

impl Executor {
    pub(in crate::replica) fn remember_refusal(
        &mut self,
        client: ClientId,
        digest: Digest,
        (position, index): (StepPosition, u32),
        outcome: Bytes,
    ) {
        self.refused.insert(digest, (client, StoredReply { position, index, outcome }));
        self.refused_at.push_back((position.round, digest));
        let horizon = position.round.0.saturating_sub(self.limits.forget_after);
        while let Some((round, digest)) = self.refused_at.front().copied() {
            if round.0 > horizon && self.refused_at.len() <= MAX_REFUSED {
                break;
            }
            self.refused_at.pop_front();
            if self.refused.get(&digest).is_some_and(|(_, r)| r.position.round == round) {
                self.refused.remove(&digest);
            }
        }
    }

    /// The refusal of this request, if it was refused lately.
    pub(in crate::replica) fn refused(&self, digest: &Digest) -> Option<&StoredReply> {
        self.refused.get(digest).filter(|_| !self.lost).map(|(_, stored)| stored)
    }

    /// What the step of this round gave, and those after it; nothing if that is too long ago.
    pub(in crate::replica) fn outputs_since(
        &self,
        round: Round,
    ) -> impl Iterator<Item = &StepOutputs> {
        self.outputs.since(round)
    }

    /// The roots of the same steps.
    pub(in crate::replica) fn roots_since(
        &self,
        round: Round,
    ) -> Peekable<impl Iterator<Item = (StepPosition, Digest)> + use<'_>> {
        self.outputs.roots_since(round).peekable()
    }

    /// Whether the request with this digest at this place is the one of this client and number: as
    /// long as its reply is stored, or the order still knows that it was refused.
    pub(in crate::replica) fn is_reply_to(
        &self,
        client: &ClientId,
        (session, number): (SessionId, u64),
        digest: &Digest,
        place: (StepPosition, u32),
    ) -> bool {
        let is_here = |stored: &StoredReply| (stored.position, stored.index) == place;
        let refused = self.refused.get(digest).filter(|(of, _)| of == client);
        refused.is_some_and(|(_, stored)| is_here(stored))
            || matches!(
                self.sessions.lookup(client, session, number, digest),
                Lookup::Reply(stored) if is_here(stored)
            )
    }

    /// What is stored under the number of this request, which has this digest.
    pub(in crate::replica) fn stored(
        &self,
        client: &ClientId,
        request: &Request,
        digest: &Digest,
    ) -> Lookup<'_> {
        // Without a state nothing is known of sessions.
        match self.lost {
            true => Lookup::Nothing,
            false => self.sessions.find(client, request, digest),
        }
    }

    /// Whether no request with this number can run in this session any more.
    pub(in crate::replica) fn is_spent(&self, client: &ClientId, request: &Request) -> bool {
        !self.lost && self.sessions.is_spent(client, request.session, request.number)
    }
}
