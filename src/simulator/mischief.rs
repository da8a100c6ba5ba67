//! Replicas that are bad in ways that no [`Lie`](crate::adversary::Lie) has.

use super::options::{AfterPanic, WrongService};
use crate::adversary::{Attack, Fate, Pen};
use crate::crypto::Scheme;
use crate::replica::{Action, Actions, Input};
use crate::service::kv::{Command, Kv, Output};
use crate::service::{Frozen, RestoreError, Service};
use crate::types::{AgreedTime, ClientId, ClockKind, Digest, Instant, LinkId, Now, ReplicaId};
use crate::wire::{Digests, Frame, Kind, Proposal, Replies};

/// Another attack that besides never gives a body away, or another one than was asked for.
pub struct Withhold<S: Scheme>(pub Box<dyn Attack<S>>, pub Given);

/// What somebody who asks for a body gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Nothing.
    Nothing,
    /// One with other commands under the same name (B2).
    False,
}

impl<S: Scheme> Attack<S> for Withhold<S> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn clock(&self) -> Option<ClockKind> {
        self.0.clock()
    }

    fn now(&mut self, now: Now) -> Now {
        self.0.now(now)
    }

    fn hear(&mut self, now: Now, input: Input, heard: &mut Vec<Input>) {
        self.0.hear(now, input, heard);
    }

    fn proposal(&mut self, now: Now, to: ReplicaId, proposal: &mut Proposal) -> Fate {
        self.0.proposal(now, to, proposal)
    }

    fn replies(&mut self, now: Now, to: LinkId, replies: &mut Replies) -> Fate {
        self.0.replies(now, to, replies)
    }

    fn digests(&mut self, now: Now, to: LinkId, digests: &mut Digests) -> Fate {
        self.0.digests(now, to, digests)
    }

    fn act(&mut self, now: Now, action: Action, out: &mut Actions) {
        let is_body = |frame| Frame::parse(frame).is_ok_and(|f| f.kind == Kind::Body);
        match action {
            Action::ToPeer { peer, lane, frame } if is_body(frame.clone()) => {
                if self.1 == Given::False {
                    // The last byte is one of the commands.
                    let mut bytes = frame.to_vec();
                    bytes.last_mut().into_iter().for_each(|byte| *byte ^= 1);
                    out.push(Action::ToPeer { peer, lane, frame: bytes.into() });
                }
            }
            action => self.0.act(now, action, out),
        }
    }

    fn add(&mut self, now: Now, pen: &Pen<'_, S>, out: &mut Actions) {
        self.0.add(now, pen, out);
    }

    fn wake(&self) -> Option<Instant> {
        self.0.wake()
    }
}

/// The key-value service with faults.
pub struct Faulty {
    /// In which way it computes wrongly now and then.
    wrong: Option<WrongService>,
    /// Whether it panics where it cannot read a command, and what it says of its state then.
    panics: Option<AfterPanic>,
    kv: Kv,
    commands: u64,
}

impl Faulty {
    /// Every so many commands one goes wrong.
    const EVERY: u64 = 10;

    /// An empty one.
    pub fn new(wrong: Option<WrongService>, panics: Option<AfterPanic>) -> Self {
        Self { wrong, panics, kv: Kv::new(), commands: 0 }
    }
}

impl Service for Faulty {
    fn name(&self) -> &'static str {
        self.kv.name()
    }

    fn execute(&mut self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8> {
        let readable = Command::parse(command).is_ok();
        assert!(readable || self.panics.is_none(), "a service that cannot read a command");
        self.commands += 1;
        let right = self.kv.execute(time, client, command);
        match self.wrong {
            Some(WrongService::Outputs) if self.commands.is_multiple_of(Self::EVERY) => {
                Output::Number(-77).encode()
            }
            Some(WrongService::State) if self.commands.is_multiple_of(Self::EVERY) => {
                self.kv.execute(time, client, &Command::put("k0", "wrong").encode());
                right
            }
            Some(WrongService::Flip) if self.commands == Self::EVERY => {
                self.kv.execute(time, client, &Command::put("flipped", "x").encode());
                right
            }
            _ => right,
        }
    }

    fn unchanged_after_panic(&self) -> bool {
        self.panics == Some(AfterPanic::Unchanged)
    }

    fn query(&self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8> {
        self.kv.query(time, client, command)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.kv.snapshot()
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        self.kv.freeze()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.kv.restore(snapshot)
    }

    fn digest(&mut self) -> Digest {
        self.kv.digest()
    }
}
