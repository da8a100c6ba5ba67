//! A correct client as a node of the world: a caller with somebody who makes calls.

use super::node::frames_of;
use super::note::name_of;
use super::seeker::Seeks;
use super::{Arrival, Dice, Effect, Node, NodeId, Note};
use crate::caller::{Action, Actions, Input, Setup, Token, VotingCaller};
use crate::crypto::Context;
use crate::replica::Lane;
use crate::service::kv;
use crate::types::{ClientId, Digest, Instant, Now};
use crate::wire::{Command, CommandKind, Hello};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Calls in all.
    pub calls: u64,
    /// Calls that wait at one time.
    pub pipeline: usize,
    /// The pause before a call, at most.
    pub think: Duration,
    /// Keys in use.
    pub keys: u64,
    /// Commands in a call at most.
    pub commands: u64,
    /// Values have so many bytes at least.
    pub value_bytes: usize,
}

impl Default for Workload {
    fn default() -> Self {
        let think = Duration::from_millis(5);
        Self { calls: 30, pipeline: 4, think, keys: 5, commands: 3, value_bytes: 0 }
    }
}

/// A correct client.
pub struct ClientNode {
    client: ClientId,
    context: Context,
    caller: VotingCaller,
    workload: Workload,
    /// Calls that only read, of a thousand.
    queries: u32,
    dice: Dice,
    made: u64,
    open: BTreeSet<Token>,
    next_call: Option<Instant>,
    sent: BTreeSet<Digest>,
    /// Whether receipts of all calls are wanted.
    receipts: bool,
    /// Asks for receipts of all replies.
    seeker: Option<Box<dyn Seeks>>,
}

impl ClientNode {
    /// A client with a caller of this set-up. Of a thousand calls so many only read, besides those
    /// that do so by chance.
    pub fn new(
        setup: Setup,
        (workload, queries): (Workload, u32),
        dice: Dice,
        now: Instant,
    ) -> Self {
        Self {
            client: setup.client,
            context: setup.context,
            caller: VotingCaller::new(setup, now),
            workload,
            queries,
            dice,
            made: 0,
            open: BTreeSet::new(),
            next_call: Some(now),
            sent: BTreeSet::new(),
            receipts: false,
            seeker: None,
        }
    }

    /// The same, wanting a receipt of each call.
    pub fn wanting_receipts(self) -> Self {
        Self { receipts: true, ..self }
    }

    /// The same, with somebody who seeks receipts of whatever replicas answer.
    pub(super) fn seeking(self, seeker: impl Seeks + 'static) -> Self {
        Self { seeker: Some(Box::new(seeker)), ..self }
    }

    /// Whether all calls are made and over.
    pub fn is_done(&self) -> bool {
        self.made == self.workload.calls && self.open.is_empty()
    }

    /// The caller's counters.
    pub fn stats(&self) -> crate::caller::Stats {
        self.caller.stats()
    }

    fn wants_to_call(&self) -> bool {
        self.made < self.workload.calls && self.open.len() < self.workload.pipeline
    }

    fn call_if_due(&mut self, now: Instant, out: &mut Vec<Effect<Note>>) {
        while self.wants_to_call() && self.next_call.is_none_or(|at| now >= at) {
            self.made += 1;
            let token = Token(self.made);
            let count = self.dice.between(1, self.workload.commands.max(1));
            let reads = self.queries > 0 && self.dice.chance(self.queries);
            let commands: Vec<Command> = match reads {
                true => (0..count).map(|_| self.query()).collect(),
                false => (0..count).map(|_| self.command()).collect(),
            };
            out.push(Effect::Note(Note::Called(token.0, commands.clone())));
            self.open.insert(token);
            let coalesce = self.dice.chance(500);
            let call = match self.receipts {
                true => Input::CallForReceipt { token, commands },
                false => Input::Call { token, commands, coalesce },
            };
            self.input(now, call, out);
            let think = u64::try_from(self.workload.think.as_nanos()).unwrap_or(u64::MAX);
            self.next_call = Some(now + Duration::from_nanos(self.dice.between(0, think)));
        }
    }

    fn query(&mut self) -> Command {
        let key = format!("k{}", self.dice.below(self.workload.keys));
        let command = match self.dice.chance(900) {
            true => kv::Command::get(&key),
            false => kv::Command::scan("k", 3),
        };
        Command { kind: CommandKind::Query, bytes: command.encode().into() }
    }

    fn command(&mut self) -> Command {
        let key = format!("k{}", self.dice.below(self.workload.keys));
        let number = self.number();
        let expected = self.number();
        let command = match self.dice.below(10) {
            0..3 => kv::Command::get(&key),
            3..5 => kv::Command::put(&key, &number),
            5 => kv::Command::delete(&key),
            6 => {
                let old = self.dice.chance(700).then_some(expected.as_bytes());
                kv::Command::cas(&key, old, &number)
            }
            7 | 8 => kv::Command::incr(&key, 1),
            _ => kv::Command::scan("k", 3),
        };
        let query = command.is_read_only() && self.dice.chance(500);
        let kind = if query { CommandKind::Query } else { CommandKind::Execute };
        Command { kind, bytes: command.encode().into() }
    }

    // A number stays one with zeros in front of it.
    fn number(&mut self) -> String {
        let (number, width) = (self.dice.below(4), self.workload.value_bytes);
        format!("{number:0>width$}")
    }

    fn input(&mut self, now: Instant, input: Input, out: &mut Vec<Effect<Note>>) {
        let mut actions = Actions::new();
        self.caller.handle(now, input, &mut actions);
        for action in actions {
            match action {
                Action::Send { replica, frame } => {
                    for parsed in frames_of(&frame).unwrap_or_default() {
                        self.seeker.iter_mut().for_each(|s| s.sends(&parsed));
                        if let Some((digest, sent)) = name_of(&parsed, &self.context, &self.client)
                            && self.sent.insert(digest)
                        {
                            out.push(Effect::Note(Note::Sent(digest, sent)));
                        }
                    }
                    let (to, lane) = (NodeId::Replica(replica), Lane::Protocol);
                    out.push(Effect::Send { to, lane, frame });
                }
                Action::Numbered { .. } | Action::Over { .. } => {}
                Action::Close { replica, why } => {
                    let (peer, why) = (NodeId::Replica(replica), why.to_owned());
                    out.push(Effect::Note(Note::Closed(peer, why.clone())));
                    out.push(Effect::Close { peer, why });
                }
                Action::Receipt { token, result } => out.push(Effect::Note(match result {
                    Ok(proven) => Note::Receipt(Box::new(proven.judged)),
                    Err(why) => Note::NoReceipt(token.0, why.to_string()),
                })),
                Action::Done { token, result } => {
                    self.open.remove(&token);
                    out.push(Effect::Note(match result {
                        Ok(answer) => Note::Answered {
                            call: token.0,
                            request: answer.request,
                            position: answer.position,
                            index: answer.index,
                            outputs: answer.outputs,
                        },
                        Err(error) => Note::Failed(token.0, error.to_string()),
                    }));
                }
            }
        }
    }
}

impl Node for ClientNode {
    type Note = Note;

    fn handle(&mut self, now: Now, arrival: Arrival, out: &mut Vec<Effect<Note>>) {
        let now = now.monotonic;
        match arrival {
            Arrival::Up { peer: NodeId::Replica(replica), hello: Some(hello), .. } => {
                self.input(now, Input::Up { replica, hello }, out);
            }
            Arrival::Down { peer: NodeId::Replica(replica), .. } => {
                self.input(now, Input::Down { replica }, out);
            }
            Arrival::Frames { peer: NodeId::Replica(replica), frames, .. } => {
                let frames = match &mut self.seeker {
                    Some(seeker) => seeker.hears(&self.client, replica, frames, out),
                    None => frames,
                };
                self.input(now, Input::Frames { replica, frames }, out);
            }
            Arrival::Up { .. } | Arrival::Down { .. } => {}
            Arrival::Frames { .. } | Arrival::Synced { .. } | Arrival::Encoded { .. } => {}
            Arrival::Tick => self.input(now, Input::Tick, out),
            Arrival::Drained => {
                self.call_if_due(now, out);
                self.input(now, Input::Drained, out);
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let call = self.next_call.filter(|_| self.wants_to_call());
        [self.caller.next_wake(), call].into_iter().flatten().min()
    }

    fn hello(&self) -> Option<Hello> {
        None
    }
}
