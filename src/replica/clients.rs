//! What comes over clients' links: requests, pings, operators' commands.

use super::answers::Asker;
use super::intake::{self, Decision};
use super::links::Client;
use super::replica::{Replica, to_client};
use super::replies::Due;
use super::{Action, Actions, CloseReason};
use crate::crypto::{PublicKey, Scheme};
use crate::ordering;
use crate::service::sessions::{Lookup, StoredReply};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Digest, LinkId, Now, Role, SessionId};
use crate::wire::{
    Author, ChainQuery, Frame, Kind, Message, Note, NoteKind, OperatorChange, Ping, Pong,
};
use crate::wire::{Reply, Request, WantReceipt, WholeQuery};

impl<S: Scheme> Replica<S> {
    pub(super) fn client_frame(
        &mut self,
        now: Now,
        link: LinkId,
        frame: &Frame,
        out: &mut Actions,
    ) {
        let Some(client) = self.links.client(link) else { return };
        if frame.group != self.group {
            self.counters.unknown_group += 1;
            return;
        }
        let result = match frame.kind {
            Kind::Request => Request::from_body(&frame.body)
                .map(|request| self.request(now, link, client, request, out)),
            Kind::ChainQuery => ChainQuery::from_body(&frame.body)
                .map(|query| self.query((link, client.id), query, false, out)),
            Kind::WholeQuery => WholeQuery::from_body(&frame.body)
                .map(|query| self.query((link, client.id), query.0, true, out)),
            Kind::Ping => Ping::from_body(&frame.body).map(|ping| {
                let (clock, answered) = (now.monotonic.0, now.wall.0);
                let pong = Pong { sent: ping.sent, clock, answered };
                out.push(to_client(link, pong.to_frame(self.group)));
            }),
            Kind::WantReceipt => WantReceipt::from_body(&frame.body)
                .map(|want| self.want_receipt(now, link, client, want, out)),
            Kind::Greeting => Ok(()),
            Kind::OperatorChange if client.role == Role::Admin => {
                OperatorChange::from_body(&frame.body).map(|change| {
                    // Only over the author's own connection, by a key that may command (M3).
                    if change.0.author == Author::Operator(PublicKey(client.id.0)) {
                        self.operator_change(now, change.0, out);
                    } else {
                        self.counters.forbidden += 1;
                    }
                })
            }
            Kind::OperatorChange => {
                self.counters.forbidden += 1;
                Ok(())
            }
            _ => {
                let reason = CloseReason::Malformed("not a client's message");
                out.push(Action::CloseClient { link, reason });
                Ok(())
            }
        };
        if let Err(e) = result {
            self.counters.malformed += 1;
            out.push(Action::CloseClient { link, reason: CloseReason::Malformed(e.what) });
        }
    }

    fn request(
        &mut self,
        now: Now,
        link: LinkId,
        client: Client,
        request: Request,
        out: &mut Actions,
    ) {
        self.counters.requests += 1;
        let Request { session, number, .. } = request;
        let away = if self.executor.halted().is_some() {
            Some(NoteKind::Halted)
        } else {
            // A member without its state still gives candidates: the others may be too few.
            let lost = self.executor.is_lost()
                && (!self.core.members().contains(self.id) || planted("o3-lost-gives-none"));
            (self.core.is_restarted() || lost).then_some(NoteKind::Restarted)
        };
        if let Some(kind) = away {
            if kind == NoteKind::Restarted && self.repeat(link, &client, &request, out) {
                return;
            }
            let note = Note { session, number, kind };
            out.push(to_client(link, note.to_frame(self.group)));
            return;
        }
        if self.quarantine.is_on() {
            // As one without its state it answers nothing, and gives candidates.
            let note = Note { session, number, kind: NoteKind::Quarantined };
            out.push(to_client(link, note.to_frame(self.group)));
        }
        let context = self.keyring.context();
        let (bodies, executor) = (&mut self.bodies, &self.executor);
        let is_ordered = |digest: &Digest| self.core.is_executed(digest);
        let from = (link, client);
        match intake::decide(from, request, &context, &self.limits, bodies, executor, is_ordered) {
            Decision::Admit(request) => {
                self.core(now, ordering::Input::Seen { request }, out);
            }
            // What is stored may be of the history that was given up (O7).
            Decision::Again(_) if self.executor.is_lost() => self.counters.repeats += 1,
            Decision::Again(stored) => self.again(link, (session, number), stored, out),
            Decision::UnderWay => self.counters.repeats += 1,
            Decision::WasMissing(digest) => {
                mark("O7 a body came from its client after its request was ordered");
                self.executor.found(&digest);
                self.execute(now, out);
            }
            Decision::Note(note) => {
                match note.kind {
                    NoteKind::Busy => self.counters.busy += 1,
                    NoteKind::Forbidden => self.counters.forbidden += 1,
                    _ => self.counters.unacceptable += 1,
                }
                out.push(to_client(link, note.to_frame(self.group)));
            }
        }
    }

    /// C2: the stored reply, again.
    fn again(
        &mut self,
        link: LinkId,
        (session, number): (SessionId, u64),
        stored: StoredReply,
        out: &mut Actions,
    ) {
        self.counters.repeats += 1;
        let (index, outcome) = (stored.index, stored.outcome);
        if self.answers.may(Asker::Client(link), outcome.len()) {
            let reply = Reply { session, number, index, outcome };
            self.reply(link, stored.position, vec![Due::again(reply)], out);
        }
    }

    /// A replica that gives no candidates, as it has restarted, still says what it has executed
    /// since as a follower: the members that have a state may be too few. Gives whether it had.
    fn repeat(
        &mut self,
        link: LinkId,
        client: &Client,
        request: &Request,
        out: &mut Actions,
    ) -> bool {
        if !self.core.may_answer() || planted("c2-restarted-is-dumb") {
            return false;
        }
        let digest = request.digest(&self.keyring.context(), &client.id);
        let Lookup::Reply(stored) = self.executor.stored(&client.id, request, &digest) else {
            return false;
        };
        let stored = stored.clone();
        self.again(link, (request.session, request.number), stored, out);
        true
    }
}
