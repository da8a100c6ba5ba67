//! The second kind of client: the core that programs use, with several requests at a time.

use super::client::command;
use super::faults::setup;
use super::world::{CHAIN, Event, Told, World, micros};
use crate::caller::{self, Action, Actions, ChainCaller, ChainSetup, Mode, Setup, Token};
use crate::chain;
use crate::crypto::Context;
use crate::service::Service;
use crate::simulator::kv;
use crate::simulator::linear::Operation;
use crate::types::{
    Assurance, ClientId, Digest, Ensemble, GroupId, Instant, LinkId, ReplicaId, Round, SessionId,
};
use crate::wire::{
    ChainQuery, Command, CommandKind, Frame, FrameDecoder, Hello, Kind, Message, Outcome,
    PROTOCOL_VERSION, Replies, Reply, Request, RequestBody, StepPosition,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// Calls that one has under way at most.
const AT_A_TIME: usize = 3;

/// A client's core with what it waits for.
pub(super) struct Caller {
    pub(super) id: ClientId,
    pub(super) core: ChainCaller,
    left: u32,
    tokens: u64,
    /// The calls under way, and where they stand in the history.
    pub(super) waits: BTreeMap<Token, (Command, usize)>,
    /// What the master's group has answered: all its replicas say the same.
    shown: BTreeMap<(SessionId, u64), Bytes>,
    /// When its next wake is due; 0: none is.
    wake: u64,
}

impl Caller {
    pub(super) fn is_done(&self) -> bool {
        self.left == 0 && self.waits.is_empty()
    }
}

/// As many replicas vote as there are in the chain, or one more: their number is odd.
fn ensemble(replicas: u8) -> Ensemble {
    Ensemble::new((replicas / 2).max(1)).expect("few replicas")
}

impl World<'_> {
    pub(super) fn start_callers(&mut self) {
        let options = self.options;
        let of_chain = setup(0, options);
        for index in 0..options.callers {
            let id = ClientId([index + 101; 32]);
            let setup = Setup {
                ordered: false,
                assurance: Assurance::Majority,
                mode: Mode::Vote,
                ensemble: ensemble(options.replicas),
                roster: ensemble(options.replicas).n(),
                context: Context { group: GroupId(CHAIN), ..of_chain.context },
                client: id,
                session: SessionId(u64::from(index) + 1000),
                limits: of_chain.order,
                repeat_after: Duration::from_millis(100),
                repeat_cap: Duration::from_millis(400),
                timeout: options.time_limit,
                receipts: None,
                pipeline: 2,
                gather: Duration::ZERO,
            };
            let (master, reads_any) = (GroupId::MAIN, options.reads_any);
            let ask_every = options.lease / 2;
            let setup = ChainSetup { setup, master, chain: CHAIN, reads_any, ask_every };
            self.callers.push(Caller {
                id,
                core: ChainCaller::new(setup, Instant(0)),
                left: options.calls,
                tokens: 0,
                waits: BTreeMap::new(),
                shown: BTreeMap::new(),
                wake: 0,
            });
            let caller = usize::from(index);
            for replica in ensemble(options.replicas).replicas() {
                self.caller_link(caller, replica, true);
            }
            (0..AT_A_TIME).for_each(|_| self.after(1000, Event::Call { caller }));
        }
    }

    /// A replica's links to all callers go, or come.
    pub(super) fn caller_links(&mut self, site: usize, up: bool) {
        for caller in 0..self.callers.len() {
            self.caller_link(caller, ReplicaId::from_index(site), up);
        }
    }

    fn caller_link(&mut self, caller: usize, replica: ReplicaId, up: bool) {
        let input = if up {
            let hello = Hello {
                version: PROTOCOL_VERSION,
                cluster: Digest::ZERO,
                replica,
                incarnation: 1,
                restarted: false,
                fields: Vec::new(),
                groups: Vec::new(),
            };
            caller::Input::Up { replica, hello }
        } else {
            caller::Input::Down { replica }
        };
        let delay = if up { self.delay() } else { 1 };
        let life = self.sites.get(replica.index()).map_or(0, |s| s.life);
        self.after(delay, Event::Caller { caller, replica, life, input });
    }

    /// Something comes to a caller; what an earlier life of a replica sent is lost with its link.
    pub(super) fn reach_caller(
        &mut self,
        index: usize,
        (replica, life): (ReplicaId, u64),
        input: caller::Input,
    ) -> Result<(), String> {
        let is_down = matches!(input, caller::Input::Down { .. });
        match self.sites.get(replica.index()) {
            Some(site) if !is_down && (site.life != life || site.chain.is_none()) => Ok(()),
            _ => self.turn(index, Some(input)),
        }
    }

    /// A caller's next call, if it has one.
    pub(super) fn call(&mut self, index: usize) -> Result<(), String> {
        let asked = self.truth.history.len();
        let caller = &mut self.callers[index];
        if caller.left == 0 {
            return Ok(());
        }
        caller.left -= 1;
        caller.tokens += 1;
        let (token, command) = (Token(caller.tokens), command(self.options.keys, &mut self.dice));
        caller.waits.insert(token, (command.clone(), asked));
        let op = kv::op(&command);
        self.truth.history.push(Operation { invoked: self.time, answered: None, op });
        let (commands, coalesce) = (vec![command], self.dice.chance(500));
        self.turn(index, Some(caller::Input::Call { token, commands, coalesce }))
    }

    pub(super) fn caller_woken(&mut self, index: usize) -> Result<(), String> {
        // Another one may have taken the place of this one, and is still to come.
        if self.callers[index].wake > self.time {
            return Ok(());
        }
        self.callers[index].wake = 0;
        self.turn(index, None)
    }

    /// Hands in what happened, does what is asked, and sees to the next wake.
    fn turn(&mut self, index: usize, input: Option<caller::Input>) -> Result<(), String> {
        let now = Instant(self.time * 1000);
        let mut out = Actions::new();
        let core = &mut self.callers[index].core;
        core.handle(now, input.unwrap_or(caller::Input::Tick), &mut out);
        core.handle(now, caller::Input::Drained, &mut out);
        for action in out {
            match action {
                Action::Send { replica, frame } => self.send_of_caller(index, replica, frame)?,
                Action::Numbered { .. } | Action::Over { .. } => {}
                Action::Close { replica, why } => {
                    return Err(format!("a client closes its link to {replica}: {why}"));
                }
                Action::Receipt { .. } => {
                    return Err("a receipt that nobody has asked for".to_owned());
                }
                Action::Done { token, result } => self.is_over(index, token, result)?,
            }
        }
        let caller = &mut self.callers[index];
        if let Some(wake) = caller.core.next_wake() {
            let due = wake.0.div_ceil(1000).max(self.time + 1);
            if caller.wake == 0 || due < caller.wake {
                caller.wake = due;
                self.after(due - self.time, Event::CallerWake { caller: index });
            }
        }
        Ok(())
    }

    fn send_of_caller(&mut self, index: usize, to: ReplicaId, bytes: Bytes) -> Result<(), String> {
        let (client, no_message) = (self.callers[index].id, |e: crate::wire::DecodeError| e.what);
        let link = LinkId((self.clients.len() + index) as u64);
        let mut decoder = FrameDecoder::default();
        decoder.push(bytes);
        while let Some(frame) = decoder.next_frame().map_err(no_message)? {
            let input = match (frame.group, frame.kind) {
                (GroupId::MAIN, Kind::Request) => {
                    let request = Request::from_body(&frame.body).map_err(no_message)?;
                    self.voted(index, to, &request);
                    continue;
                }
                (_, Kind::Request) => {
                    let request = Request::from_body(&frame.body).map_err(no_message)?;
                    chain::Input::Update { link, client, request }
                }
                // Clients have one link each here.
                (_, Kind::ChainSession) => continue,
                (_, Kind::ChainQuery) => {
                    let query = ChainQuery::from_body(&frame.body).map_err(no_message)?;
                    chain::Input::Query { link, client, query }
                }
                other => return Err(format!("a client sends {other:?}")),
            };
            let delay = self.delay();
            let Some(life) = self.sites.get(to.index()).map(|site| site.life) else {
                return Err(format!("a client asks {to} for what is the chain's"));
            };
            if !self.lost() {
                self.after(delay, Event::Site { to: to.index(), life, input });
            }
        }
        Ok(())
    }

    /// The master's group has ordered and answered this; one of its replicas says so.
    fn voted(&mut self, index: usize, from: ReplicaId, request: &Request) {
        let delay = self.dice.between(200, micros(self.options.master_delay));
        if self.time < self.master_stops || self.lost() {
            return;
        }
        let key = (request.session, request.number);
        let fresh = || match RequestBody::parse(&request.body) {
            Ok(RequestBody { commands }) if request.number > 0 => {
                let answer = |c: &Command| -> Bytes {
                    self.master.query(self.agreed(), &ClientId([0; 32]), &c.bytes).into()
                };
                Outcome::Executed(commands.iter().map(answer).collect()).to_bytes()
            }
            _ => Outcome::Opened.to_bytes(),
        };
        let outcome = match self.callers[index].shown.get(&key) {
            Some(outcome) => outcome.clone(),
            None => fresh(),
        };
        self.callers[index].shown.insert(key, outcome.clone());
        let reply = Reply { session: key.0, number: key.1, index: 0, outcome };
        let position = StepPosition { round: Round(key.1 + 1), vector: Digest::ZERO };
        let replies = Replies { position, rolled: false, replies: vec![reply] };
        self.frame_to_caller(index, from, delay, replies.to_frame(GroupId::MAIN));
    }

    /// What a replica of the chain tells a caller.
    pub(super) fn tell_caller(&mut self, from: usize, index: usize, what: Told) {
        let bytes = match what {
            Told::Reply(number, reply) => {
                let position = StepPosition { round: Round(number), vector: Digest::ZERO };
                let replies = Replies { position, rolled: false, replies: vec![reply] };
                replies.to_frame(GroupId(CHAIN))
            }
            Told::Answer(answer) => answer.to_frame(GroupId(CHAIN)),
        };
        let delay = self.delay();
        if !self.lost() {
            self.frame_to_caller(index, ReplicaId::from_index(from), delay, bytes);
        }
    }

    fn frame_to_caller(&mut self, caller: usize, from: ReplicaId, delay: u64, bytes: Vec<u8>) {
        let frame = Frame::parse(bytes.into()).expect("a frame that was just made");
        let input = caller::Input::Frames { replica: from, frames: vec![frame] };
        let life = self.sites.get(from.index()).map_or(0, |s| s.life);
        self.after(delay, Event::Caller { caller, replica: from, life, input });
    }

    fn is_over(
        &mut self,
        index: usize,
        token: Token,
        result: Result<caller::Answer, caller::CallError>,
    ) -> Result<(), String> {
        let (command, asked) = self.callers[index].waits.remove(&token).expect("it waited");
        let answer = result.map_err(|e| format!("{command:?} failed: {e}"))?;
        if command.kind == CommandKind::Query {
            self.report.queries += 1;
        } else {
            self.report.answered += 1;
            if self.truth.len() < answer.position.round.0 {
                return Err(format!("{} was answered and not executed", answer.position.round));
            }
        }
        let [out] =
            <[_; 1]>::try_from(kv::outs(&answer.outputs)?).map_err(|o| format!("{o:?} for one"))?;
        self.truth.history[asked].answered = Some((self.time, out));
        let think = self.dice.between(100, 60_000);
        self.after(think, Event::Call { caller: index });
        Ok(())
    }
}
