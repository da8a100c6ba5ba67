//! A client: one request after the other, each repeated until it is answered.

use super::world::{Event, Told, World};
use crate::chain::Input;
use crate::service::kv::Command as KvCommand;
use crate::simulator::linear::Operation;
use crate::simulator::{Dice, kv};
use crate::types::{ClientId, LinkId, ReplicaId, SessionId};
use crate::wire::{
    ChainAnswer, ChainAsked, ChainConfig, ChainQuery, ChainRefusal, Command, CommandKind, Outcome,
    Request, RequestBody,
};
use bytes::Bytes;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Update(Request),
    Query(ChainQuery),
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: ClientId,
    session: SessionId,
    /// Requests that it still makes, besides the present one.
    pub(super) left: u32,
    number: u64,
    query: u64,
    /// What it waits for, and what it asked.
    pub(super) waits: Option<(Sent, Command)>,
    /// Where the present one stands in the history.
    pub(super) asked: usize,
    /// What it knows of the chain.
    pub(super) config: ChainConfig,
    /// Counts attempts: timers of earlier ones do nothing.
    pub(super) attempt: u64,
    reads_any: bool,
    /// When it ends, if it is of a burst: it thinks of its next request in no time.
    pub(super) until: Option<u64>,
}

impl Client {
    pub(super) fn new(index: u8, calls: u32, config: ChainConfig, reads_any: bool) -> Self {
        Self {
            id: ClientId([index + 1; 32]),
            session: SessionId(u64::from(index) + 100),
            left: calls,
            number: 0,
            query: 0,
            waits: None,
            asked: 0,
            config,
            attempt: 0,
            reads_any,
            until: None,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.left == 0 && self.waits.is_none()
    }

    /// Its next request, which opens its session first. Gives its command.
    pub(super) fn next(&mut self, (time, keys): (u64, u64), dice: &mut Dice) -> Option<&Command> {
        if self.until.is_some_and(|until| time >= until) {
            self.left = 0;
        }
        self.left = self.left.checked_sub(1)?;
        let (session, number) = (self.session, self.number);
        self.number += 1;
        if number == 0 {
            let request = Request { session, number, low: 0, body: Bytes::new() };
            let nothing = Command { kind: CommandKind::Execute, bytes: Bytes::new() };
            self.waits = Some((Sent::Update(request), nothing));
            return self.waits.as_ref().map(|(_, command)| command);
        }
        let command = command(keys, dice);
        let body = RequestBody { commands: vec![command.clone()] }.to_bytes();
        let sent = if command.kind == CommandKind::Query {
            self.number -= 1;
            self.query += 1;
            Sent::Query(ChainQuery { id: self.query, body })
        } else {
            Sent::Update(Request { session, number, low: number, body })
        };
        self.waits = Some((sent, command));
        self.waits.as_ref().map(|(_, command)| command)
    }

    /// Whom it asks: who should answer, and now and then anybody.
    pub(super) fn target(&self, dice: &mut Dice, all: u8) -> ReplicaId {
        let members = &self.config.members;
        let any = ReplicaId::from_index(usize::try_from(dice.below(u64::from(all))).expect("few"));
        if members.is_empty() || dice.chance(100) {
            return any;
        }
        match self.waits {
            Some((Sent::Query(_), _)) if self.reads_any => dice.pick(members).replica,
            Some((Sent::Query(_), _)) => members[members.len() - 1].replica,
            _ => members[0].replica,
        }
    }
}

impl World<'_> {
    /// A replica tells a client something: one of the first kind, or behind these a caller.
    pub(super) fn tell(&mut self, from: usize, client: usize, what: Told) {
        if let Some(caller) = client.checked_sub(self.clients.len()) {
            return self.tell_caller(from, caller, what);
        }
        let delay = self.delay();
        if !self.lost() {
            self.after(delay, Event::Told { client, what });
        }
    }

    /// Asks, for the first time or again.
    pub(super) fn ask(&mut self, index: usize) {
        let (config, all) = (self.config(), self.options.replicas);
        let time = self.time;
        let client = &mut self.clients[index];
        if client.waits.is_none() {
            let now = (time, self.options.keys);
            let Some(command) = client.next(now, &mut self.dice) else { return };
            if !command.bytes.is_empty() {
                let op = kv::op(command);
                self.truth.history.push(Operation { invoked: time, answered: None, op });
                client.asked = self.truth.history.len() - 1;
            }
        } else {
            self.report.repeats += 1;
            // CH-F5.
            if self.dice.chance(500) && config.number > client.config.number {
                client.config = config;
            }
        }
        client.attempt += 1;
        let (attempt, id, to) = (client.attempt, client.id, client.target(&mut self.dice, all));
        let link = LinkId(index as u64);
        let input = match client.waits.as_ref().expect("it asks something").0.clone() {
            Sent::Update(request) => Input::Update { link, client: id, request },
            Sent::Query(query) => Input::Query { link, client: id, query },
        };
        let (to, delay) = (to.index(), self.delay());
        let life = self.sites[to].life;
        if !self.lost() {
            self.after(delay, Event::Site { to, life, input });
        }
        let patience = self.dice.between(30_000, 200_000);
        self.after(patience, Event::Timer { client: index, attempt });
    }

    pub(super) fn told(&mut self, index: usize, what: Told) -> Result<(), String> {
        let client = &mut self.clients[index];
        let Some((sent, _)) = &client.waits else { return Ok(()) };
        let outcome = match (what, sent) {
            (Told::Reply(number, reply), Sent::Update(request)) => {
                if (reply.session, reply.number) != (request.session, request.number) {
                    return Ok(());
                }
                self.truth.told(number, &reply.outcome)?;
                reply.outcome
            }
            (Told::Answer(ChainAnswer::Answer { id, outcome, .. }), Sent::Query(query))
                if id == query.id =>
            {
                self.report.queries += 1;
                outcome
            }
            (Told::Answer(ChainAnswer::Refused { asked, why, config }), sent) => {
                let about = match sent {
                    Sent::Query(query) => asked == ChainAsked::Query { id: query.id },
                    Sent::Update(r) => {
                        asked == ChainAsked::Update { session: r.session, number: r.number }
                    }
                };
                if about && matches!(why, ChainRefusal::NumberTaken | ChainRefusal::Unacceptable) {
                    return Err(format!("{sent:?} was refused: {why}"));
                }
                if about {
                    if config.number > client.config.number {
                        client.config = config;
                    }
                    let (attempt, delay) = (client.attempt, self.dice.between(500, 20_000));
                    self.after(delay, Event::Timer { client: index, attempt });
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.answered(index, &outcome)
    }

    fn answered(&mut self, index: usize, outcome: &Bytes) -> Result<(), String> {
        let client = &mut self.clients[index];
        let (_, command) = client.waits.take().expect("it waited");
        if !command.bytes.is_empty() {
            let outputs = match Outcome::parse(outcome).map_err(|e| e.to_string())? {
                Outcome::Executed(outputs) => kv::outs(&outputs)?,
                other => return Err(format!("{command:?} had the outcome {other:?}")),
            };
            let [out] = <[_; 1]>::try_from(outputs).map_err(|o| format!("{o:?} for one"))?;
            self.truth.history[client.asked].answered = Some((self.time, out));
        }
        client.attempt += 1;
        let longest = if client.until.is_some() { 200 } else { 60_000 };
        let (attempt, think) = (client.attempt, self.dice.between(100, longest));
        if client.until.is_none() {
            self.report.answers.push(self.time);
        }
        self.after(think, Event::Timer { client: index, attempt });
        Ok(())
    }
}

/// Something to ask, about one of so many keys.
pub(super) fn command(keys: u64, dice: &mut Dice) -> Command {
    let key = format!("k{}", dice.below(keys));
    let value = format!("v{}", dice.below(1000));
    let command = match dice.below(10) {
        0..=3 => KvCommand::get(&key),
        4..=6 => KvCommand::incr(&key, 1),
        7 => KvCommand::put(&key, &value),
        8 => KvCommand::cas(&key, None, &value),
        _ => KvCommand::delete(&key),
    };
    let reads = command.is_read_only();
    let kind = if reads { CommandKind::Query } else { CommandKind::Execute };
    Command { kind, bytes: command.encode().into() }
}
