//! Clients that lie (FAULTS: K1 to K4, K6 to K8). Replicas must stay equal and serve the others.

use super::note::{client_id, name_of};
use super::{Arrival, Dice, Effect, Node, NodeId, Note};
use crate::crypto::Context;
use crate::replica::Lane;
use crate::service::kv;
use crate::types::{GroupId, Instant, Now, ReplicaId, SessionId};
use crate::wire::{Command, CommandKind, Frame, Hello, MAX_FRAME, Message, Request, RequestBody};
use bytes::Bytes;
use std::collections::BTreeSet;
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
}

impl ClientLie {
    /// All of them.
    pub const ALL: [ClientLie; 10] = [
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
    ];
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
    used: u64,
}

impl LyingClient {
    /// Client number `number`, which lies `acts` times.
    pub fn new(number: u32, context: Context, lie: ClientLie, acts: u32, dice: Dice) -> Self {
        let (up, next, session) = (BTreeSet::new(), Instant(0), SessionId(7));
        Self { number, context, lie, dice, up, acts_left: acts, next, session, used: 0 }
    }

    /// Whether it has told all its lies.
    pub fn is_done(&self) -> bool {
        self.acts_left == 0
    }

    fn act(&mut self, out: &mut Vec<Effect<Note>>) {
        let everybody: Vec<ReplicaId> = self.up.iter().copied().collect();
        let Some(&one) = everybody.first().map(|_| self.dice.pick(&everybody)) else { return };
        self.used += 1;
        let (n, low) = (self.used, self.used.saturating_sub(4).max(1));
        match self.lie {
            ClientLie::Equivocate => {
                for to in everybody {
                    let body = self.body(u64::from(to.number()));
                    self.send(&[to], n, low, body, out);
                }
            }
            ClientLie::ReuseNumbers => {
                let reused = self.dice.between(1, 3);
                let body = self.body(n);
                self.send(&everybody, reused, 1, body, out);
            }
            ClientLie::WildNumbers => {
                let wild = [0, 1, n, n * 100, 1 << 40, u64::MAX - 1, u64::MAX];
                let (number, low) = (*self.dice.pick(&wild), *self.dice.pick(&wild));
                let body = self.body(n);
                self.send(&everybody, number, low, body, out);
            }
            ClientLie::OneReplica => {
                let body = self.body(n);
                self.send(&[one], n, low, body, out);
            }
            ClientLie::SomeReplicas => {
                let body = self.body(n);
                let some = everybody.into_iter().filter(|_| self.dice.chance(500));
                let some: Vec<ReplicaId> = some.collect();
                self.send(&some, n, low, body, out);
            }
            ClientLie::NonsenseBodies => {
                let len = self.dice.between(0, 40);
                let noise = Bytes::from(self.dice.bytes(usize::try_from(len).unwrap_or(0)));
                let wrapped = self.dice.chance(500);
                let body = if wrapped { body_of(noise) } else { noise };
                self.send(&everybody, n, low, body, out);
            }
            ClientLie::GarbageFrames => self.garbage(one, out),
            ClientLie::Oversize => {
                let size = *self.dice.pick(&[256 * 1024 + 1, 512 * 1024, MAX_FRAME - 64]);
                self.send(&everybody, n, low, Bytes::from(vec![0; size]), out);
            }
            ClientLie::Flood => {
                for i in 0..200 {
                    let body = self.body(i);
                    self.send(&everybody, n * 200 + i, n * 200, body, out);
                }
            }
            ClientLie::SessionStorm => {
                self.session = SessionId(self.dice.any());
                self.send(&everybody, 0, 0, Bytes::new(), out);
                let body = self.body(n);
                self.send(&everybody, 1, 1, body, out);
            }
        }
    }

    fn garbage(&mut self, to: ReplicaId, out: &mut Vec<Effect<Note>>) {
        let to = NodeId::Replica(to);
        let len = usize::try_from(self.dice.between(0, 60)).unwrap_or(0);
        let mut bytes = self.dice.bytes(len);
        if self.dice.chance(700) {
            // A frame of any kind around the noise: this one is read further.
            let kind = self.dice.pick(&crate::wire::Kind::ALL);
            let length = u32::try_from(len + 5).expect("at most 65");
            let header = [&length.to_le_bytes()[..], &[*kind as u8], &[0; 4]].concat();
            bytes = [header, bytes].concat();
        }
        out.push(Effect::Send { to, lane: Lane::Protocol, frame: bytes.into() });
    }

    fn body(&mut self, value: u64) -> Bytes {
        let key = format!("k{}", self.dice.below(5));
        body_of(kv::Command::put(&key, &value.to_string()).encode().into())
    }

    fn send(
        &mut self,
        to: &[ReplicaId],
        number: u64,
        low: u64,
        body: Bytes,
        out: &mut Vec<Effect<Note>>,
    ) {
        let request = Request { session: self.session, number, low, body };
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

fn body_of(bytes: Bytes) -> Bytes {
    RequestBody { commands: vec![Command { kind: CommandKind::Execute, bytes }] }.to_bytes()
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
