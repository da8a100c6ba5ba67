//! Clients that lie (the K labels of `docs/testing.md`). Replicas must stay equal and serve the
//! others.

mod acts;

use super::note::{client_id, name_of};
use super::{Arrival, Dice, Effect, Node, NodeId, Note};
use crate::crypto::Context;
use crate::replica::Lane;
use crate::types::{GroupId, Instant, Now, ReplicaId, SessionId};
use crate::wire::{Frame, Hello, Message, Request};
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// What a lying client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientLie {
    /// K1: one number, another body for each replica.
    Equivocate,
    /// K2: a number used again with another body.
    ReuseNumbers,
    /// K3: gaps, numbers that go back, the largest number, marks above the number.
    WildNumbers,
    /// K4: each request to one replica only.
    OneReplica,
    /// K4: each request to a random set of replicas.
    SomeReplicas,
    /// K8: bodies that are no list of commands, and commands that are none.
    NonsenseBodies,
    /// Frames that are no messages, or none of a client's.
    GarbageFrames,
    /// K7: bodies above the limit of a request.
    Oversize,
    /// K6: many requests at once.
    Flood,
    /// K11: one session after the other.
    SessionStorm,
    /// K9: large values, and requests whose outputs are too large together.
    LargeOutputs,
    /// K12, K17: each request several times, and old ones again.
    Replay,
    /// K13: another client's session and numbers, over its own link.
    Impersonate,
    /// K16: each request to the lying replicas only.
    Collude,
    /// K16: each request to the lying replicas and to one other.
    ColludeAndOne,
    /// K16: each request to the lying replicas, much later to one other, then to the liars again.
    ColludeLate,
    /// K19: queries that would write, many at once.
    WritingQueries,
    /// K20: keys that share nearly all their bytes, as long as they may be.
    HardKeys,
    /// K21: withdraws its numbers before, with and after its requests, which come again later.
    Withdraw,
}

impl ClientLie {
    /// All of them.
    pub const ALL: [ClientLie; 19] = [
        ClientLie::Equivocate,
        ClientLie::ReuseNumbers,
        ClientLie::WildNumbers,
        ClientLie::OneReplica,
        ClientLie::SomeReplicas,
        ClientLie::NonsenseBodies,
        ClientLie::GarbageFrames,
        ClientLie::Oversize,
        ClientLie::Flood,
        ClientLie::SessionStorm,
        ClientLie::LargeOutputs,
        ClientLie::Replay,
        ClientLie::Impersonate,
        ClientLie::Collude,
        ClientLie::ColludeAndOne,
        ClientLie::ColludeLate,
        ClientLie::WritingQueries,
        ClientLie::HardKeys,
        ClientLie::Withdraw,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            ClientLie::Equivocate => "client: equivocate",
            ClientLie::ReuseNumbers => "client: reuse-numbers",
            ClientLie::WildNumbers => "client: wild-numbers",
            ClientLie::OneReplica => "client: one-replica",
            ClientLie::SomeReplicas => "client: some-replicas",
            ClientLie::NonsenseBodies => "client: nonsense-bodies",
            ClientLie::GarbageFrames => "client: garbage-frames",
            ClientLie::Oversize => "client: oversize",
            ClientLie::Flood => "client: flood",
            ClientLie::SessionStorm => "client: session-storm",
            ClientLie::LargeOutputs => "client: large-outputs",
            ClientLie::Replay => "client: replay",
            ClientLie::Impersonate => "client: impersonate",
            ClientLie::Collude => "client: collude",
            ClientLie::ColludeAndOne => "client: collude-and-one",
            ClientLie::ColludeLate => "client: collude-late",
            ClientLie::WritingQueries => "client: writing-queries",
            ClientLie::HardKeys => "client: hard-keys",
            ClientLie::Withdraw => "client: withdraw",
        }
    }
}

/// A client that lies, every two milliseconds or so, a limited number of times.
pub struct LyingClient {
    number: u32,
    context: Context,
    lie: ClientLie,
    dice: Dice,
    up: BTreeSet<ReplicaId>,
    acts_left: u32,
    next: Instant,
    session: SessionId,
    /// Acts so far in which it had somebody to lie to; the last one's number.
    used: u64,
    knows: Knows,
    /// What it wants to send again, and to whom.
    later: VecDeque<Request>,
    again: VecDeque<Request>,
}

/// Whom a lying client knows.
#[derive(Clone, Debug)]
pub struct Knows {
    /// Replicas that lie with it.
    pub friends: BTreeSet<ReplicaId>,
    /// The session of a correct client.
    pub victim: SessionId,
}

impl LyingClient {
    /// Client number `number`, which lies `acts` times.
    pub fn new(
        number: u32,
        context: Context,
        (lie, acts): (ClientLie, u32),
        knows: Knows,
        dice: Dice,
    ) -> Self {
        Self {
            number,
            context,
            lie,
            dice,
            up: BTreeSet::new(),
            acts_left: acts,
            next: Instant(0),
            session: SessionId(7),
            used: 0,
            knows,
            later: VecDeque::new(),
            again: VecDeque::new(),
        }
    }

    /// Whether it has told all its lies.
    pub fn is_done(&self) -> bool {
        self.acts_left == 0
    }

    /// Which lie it tells and how often it has.
    pub fn lies(&self) -> (&'static str, u64) {
        (self.lie.name(), self.used)
    }

    fn send(
        &mut self,
        to: &[ReplicaId],
        number: u64,
        low: u64,
        body: Bytes,
        out: &mut Vec<Effect<Note>>,
    ) {
        self.send_request(to, &Request { session: self.session, number, low, body }, out);
    }

    fn send_request(&mut self, to: &[ReplicaId], request: &Request, out: &mut Vec<Effect<Note>>) {
        let frame = Bytes::from(request.to_frame(GroupId::MAIN));
        let parsed = Frame::parse(frame.clone()).expect("one whole frame");
        let named = name_of(&parsed, &self.context, &client_id(self.number));
        if let Some((digest, sent)) = named.filter(|_| !to.is_empty()) {
            out.push(Effect::Note(Note::Sent(digest, sent)));
        }
        for replica in to {
            let (to, lane) = (NodeId::Replica(*replica), Lane::Protocol);
            out.push(Effect::Send { to, lane, frame: frame.clone() });
        }
    }
}

impl Node for LyingClient {
    type Note = Note;

    fn handle(&mut self, now: Now, arrival: Arrival, out: &mut Vec<Effect<Note>>) {
        match arrival {
            Arrival::Up { peer: NodeId::Replica(replica), .. } => {
                self.up.insert(replica);
                // An opened session makes most lies better; without one they are refused.
                self.send(&[replica], 0, 0, Bytes::new(), out);
            }
            Arrival::Down { peer: NodeId::Replica(replica), .. } => {
                self.up.remove(&replica);
            }
            Arrival::Tick if now.monotonic >= self.next && self.acts_left > 0 => {
                self.acts_left -= 1;
                self.act(out);
                let pause = Duration::from_micros(self.dice.between(200, 4000));
                self.next = now.monotonic + pause;
            }
            _ => {}
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        (self.acts_left > 0).then_some(self.next)
    }

    fn hello(&self) -> Option<Hello> {
        None
    }
}
