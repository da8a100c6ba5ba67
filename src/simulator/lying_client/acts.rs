//! What each kind of lying client does when its time comes.

use super::{ClientLie, LyingClient};
use crate::replica::Lane;
use crate::service::kv;
use crate::simulator::{Effect, NodeId, Note};
use crate::types::{ReplicaId, SessionId};
use crate::wire::{Command, CommandKind, MAX_FRAME, Request, RequestBody};
use bytes::Bytes;

/// Bytes of a large value.
const LARGE: usize = 1500;

impl LyingClient {
    pub(super) fn act(&mut self, out: &mut Vec<Effect<Note>>) {
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
                let body = if wrapped { body_of(CommandKind::Execute, noise) } else { noise };
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
            _ => self.act_with_others(n, low, &everybody, out),
        }
    }

    // Lies that need somebody else, or something that was sent before.
    fn act_with_others(
        &mut self,
        n: u64,
        low: u64,
        everybody: &[ReplicaId],
        out: &mut Vec<Effect<Note>>,
    ) {
        let (friends, others): (Vec<ReplicaId>, Vec<ReplicaId>) =
            everybody.iter().partition(|r| self.knows.friends.contains(r));
        let body = self.body(n);
        let request = Request { session: self.session, number: n, low, body };
        match self.lie {
            ClientLie::LargeOutputs => self.large_outputs(n, low, everybody, out),
            ClientLie::Replay => {
                self.later.push_back(request.clone());
                for _ in 0..3 {
                    self.send_request(everybody, &request, out);
                }
                if self.later.len() > 3 {
                    let old = self.later.pop_front().expect("there are more than three");
                    self.send_request(everybody, &old, out);
                }
            }
            ClientLie::Impersonate => {
                // Its session has the victim's name, but is its own: a digest binds the client.
                let number = self.dice.between(0, 40);
                let body = if number == 0 { Bytes::new() } else { request.body };
                let low = self.dice.between(0, number);
                let session = self.knows.victim;
                let request = Request { session, number, low, body };
                self.send_request(everybody, &request, out);
            }
            ClientLie::Collude => self.send_request(&friends, &request, out),
            ClientLie::ColludeAndOne => {
                let one = (!others.is_empty()).then(|| *self.dice.pick(&others));
                let to: Vec<ReplicaId> = friends.into_iter().chain(one).collect();
                self.send_request(&to, &request, out);
            }
            ClientLie::ColludeLate => self.collude_late(request, &friends, &others, out),
            ClientLie::Withdraw => self.withdraw(request, everybody, out),
            ClientLie::WritingQueries => {
                for i in 0..100 {
                    let key = format!("k{}", self.dice.below(5));
                    let bytes = kv::Command::put(&key, "written by a query").encode().into();
                    let body = body_of(CommandKind::Query, bytes);
                    self.send(everybody, n * 100 + i, n * 100, body, out);
                }
            }
            ClientLie::HardKeys => {
                let mut key = vec![0; kv::MAX_KEY];
                key[kv::MAX_KEY - 1] = self.dice.below(256) as u8;
                let put = kv::Command::put(&key, "x").encode().into();
                self.send(everybody, n, low, body_of(CommandKind::Execute, put), out);
            }
            other => unreachable!("{other:?} is told alone"),
        }
    }

    // One value that fits the cluster's limit on outputs, and requests that read it many times.
    fn large_outputs(&mut self, n: u64, low: u64, to: &[ReplicaId], out: &mut Vec<Effect<Note>>) {
        let body = if n % 4 == 1 {
            let value = vec![b'v'; LARGE];
            body_of(CommandKind::Execute, kv::Command::put("large", &value).encode().into())
        } else {
            let read = |_| Command {
                kind: CommandKind::Query,
                bytes: kv::Command::get("large").encode().into(),
            };
            RequestBody { commands: (0..=n % 4).map(read).collect() }.to_bytes()
        };
        self.send(to, n, low, body, out);
    }

    // What only liars have is forgotten after a while (O4); just then one other replica gets it,
    // and soon the liars once more.
    fn collude_late(
        &mut self,
        request: Request,
        friends: &[ReplicaId],
        others: &[ReplicaId],
        out: &mut Vec<Effect<Note>>,
    ) {
        self.send_request(friends, &request, out);
        self.later.push_back(request);
        if self.later.len() as u64 > self.dice.between(4, 60)
            && let Some(old) = self.later.pop_front()
        {
            if let Some(&one) = (!others.is_empty()).then(|| self.dice.pick(others)) {
                self.send_request(&[one], &old, out);
            }
            self.again.extend([old.clone(), old.clone(), old]);
        }
        if self.dice.chance(700)
            && let Some(old) = self.again.pop_front()
        {
            self.send_request(friends, &old, out);
        }
    }

    // Which of the two comes first is the network's affair where it is not the dice's. What was
    // sent comes again when it is old, and so does the question.
    fn withdraw(&mut self, request: Request, to: &[ReplicaId], out: &mut Vec<Effect<Note>>) {
        let asks = Request { body: Bytes::new(), ..request.clone() };
        let first = self.dice.chance(500);
        for is_request in [first, !first] {
            let some = to.iter().copied().filter(|_| self.dice.chance(800));
            let some: Vec<ReplicaId> = some.collect();
            self.send_request(&some, if is_request { &request } else { &asks }, out);
        }
        self.later.push_back(request);
        if self.later.len() > 2
            && let Some(old) = self.later.pop_front()
        {
            let low = self.dice.between(0, old.low);
            self.send_request(to, &Request { low, body: Bytes::new(), ..old.clone() }, out);
            self.send_request(to, &old, out);
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
        body_of(CommandKind::Execute, kv::Command::put(&key, &value.to_string()).encode().into())
    }
}

fn body_of(kind: CommandKind, bytes: Bytes) -> Bytes {
    RequestBody { commands: vec![Command { kind, bytes }] }.to_bytes()
}
