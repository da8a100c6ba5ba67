//! The client of a fail-stop chain: a voting client of its master, and two that believe one reply.

use super::core::Caller;
use super::receipts::{ONLY_VOTES, refuse};
use super::setup::{Mode, Start};
use super::{Action, Actions, Input, Setup, Stats, Token};
use crate::crypto::Context;
use crate::master;
use crate::types::{Assurance, Digest, GroupId, Instant, ReplicaId, Round, SessionId};
use crate::voter::Explanation;
use crate::wire::{
    ChainAnswer, ChainAsked, ChainConfig, ChainRefusal, ChainSession, Command, CommandKind, Frame,
    Kind, Message, Reply, StepPosition,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything that the client of a chain needs to know.
#[derive(Clone, Debug)]
pub struct ChainSetup {
    /// As in the voting mode, with the chain's group. Times and limits are those of updates, of
    /// queries, and of what the master is asked.
    pub setup: Setup,
    /// The group of the master.
    pub master: GroupId,
    /// The chain's number at it.
    pub chain: u32,
    /// Whether every member answers queries (CH-Q2), or the tail only (CH-Q1).
    pub reads_any: bool,
    /// The master is asked again no sooner than this after it was asked last: half a lease is a
    /// good time.
    pub ask_every: Duration,
}

/// One client of a fail-stop chain (docs/chain.md), with the doors of [`Caller`].
///
/// It consists of three callers over the same links:
///
/// - one of the voting kind asks the master's group who is in the chain, by an ordered query that
///   `t + 1` replicas have to answer alike;
/// - one has the session, and sends updates to the head. The first reply is the answer, whoever
///   gives it (CH-U1);
/// - one sends queries without a session to the tail, or in turn to all members (CH-Q1, CH-Q2).
///
/// A call of queries only goes the last way, every other one is an update. The two ways are not in
/// order: **a query may overtake an update of the same client that is not answered yet.** Who
/// needs to see its update waits for its answer, or sends both in one call.
///
/// What it knows of the chain is the configuration with the highest number that anybody has named:
/// the master, or a replica that refused something (CH-F5). With a newer one all that was sent to
/// somebody who is not to be asked any more goes at once to who is, updates with the same numbers,
/// so that each runs once. The master is asked again when that does not help: there is no link to
/// the head or tail, a request is repeated of which nothing was heard, or a refusal had no news.
///
/// A request that is refused because somebody does not serve at present, or is busy, is sent again
/// after a sixteenth of the time after which a silent one is, then after twice that and so on.
#[derive(Debug)]
pub struct ChainCaller {
    setup: ChainSetup,
    // `None`: who holds several of these asks the master for all of them.
    master: Option<Caller>,
    updates: Caller,
    queries: Caller,
    // What the voting caller asks for, before it is looked at.
    from_master: Actions,
    now: Instant,
    // Whether the master's word is wanted, is under way, and when it may be asked for again.
    wanted: bool,
    asking: bool,
    ask_at: Instant,
    asked: u64,
    // Which session was said on the present link of each.
    announced: BTreeMap<ReplicaId, SessionId>,
    // Without a caller of the master: its word is to be asked for.
    pub(super) asks: bool,
}

impl ChainSetup {
    /// The setup of the voting client that asks the master.
    pub(super) fn of_master(&self) -> Setup {
        let context = Context { group: self.master, ..self.setup.context };
        let assurance = Assurance::Majority;
        Setup { context, pipeline: 1, mode: Mode::Vote, assurance, ..self.setup.clone() }
    }
}

impl ChainCaller {
    /// A client without links. It asks the master as soon as it has some, before there is a call.
    pub fn new(setup: ChainSetup, now: Instant) -> Self {
        let master = Caller::new(setup.of_master(), now);
        Self { master: Some(master), ..Self::without_master(setup, now) }
    }

    /// One that leaves it to others to ask the master: [`ChainCaller::asks`] says when, and
    /// [`ChainCaller::told`] takes the answer.
    pub(super) fn without_master(setup: ChainSetup, now: Instant) -> Self {
        let of = |mode| Setup { mode, ..setup.setup.clone() };
        Self {
            master: None,
            updates: Caller::new(of(Mode::Updates), now),
            queries: Caller::new(of(Mode::Queries { any: setup.reads_any }), now),
            from_master: Actions::new(),
            now,
            wanted: true,
            asking: false,
            ask_at: now,
            asked: 0,
            announced: BTreeMap::new(),
            asks: false,
            setup,
        }
    }

    /// The same, with a first session of updates that begins in another way.
    pub fn starting(mut self, start: Start) -> Self {
        self.updates = self.updates.starting(start);
        self
    }

    /// Takes one event and appends what is to be done about it. One [`Input::Drained`] may send up
    /// to four times to one replica.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Actions) {
        self.now = self.now.max(now);
        let now = self.now;
        match input {
            Input::Call { token, commands, coalesce } => {
                let reads = |c: &Command| c.kind != CommandKind::Execute;
                let queries = !commands.is_empty() && commands.iter().all(reads);
                let caller = if queries { &mut self.queries } else { &mut self.updates };
                caller.handle(now, Input::Call { token, commands, coalesce }, out);
            }
            Input::CallForReceipt { token, .. } => refuse(token, ONLY_VOTES, out),
            Input::Withdraw { token } => {
                self.updates.handle(now, Input::Withdraw { token }, out);
            }
            Input::Forget { token } => {
                self.updates.handle(now, Input::Forget { token }, out);
                self.queries.handle(now, Input::Forget { token }, out);
            }
            Input::Frames { replica, frames } => self.frames(replica, frames, out),
            Input::Drained => {
                let mut updates = Actions::new();
                self.updates.handle(now, Input::Drained, &mut updates);
                self.announce(out);
                out.append(&mut updates);
                self.queries.handle(now, Input::Drained, out);
                self.ask_master();
                self.pass_to_master(Input::Drained, out);
            }
            other @ (Input::Up { .. } | Input::Down { .. } | Input::Tick) => {
                if let Input::Up { replica, .. } | Input::Down { replica } = &other {
                    self.announced.remove(replica);
                }
                self.updates.handle(now, other.clone(), out);
                self.queries.handle(now, other.clone(), out);
                self.pass_to_master(other, out);
            }
        }
    }

    /// When to call again at the latest, as [`Caller::next_wake`].
    pub fn next_wake(&self) -> Option<Instant> {
        let ask = (self.wanted && !self.asking && self.is_busy()).then_some(self.ask_at);
        let callers = [&self.updates, &self.queries].into_iter().chain(&self.master);
        callers.filter_map(Caller::next_wake).chain(ask).min()
    }

    /// The newest configuration known; number 0 while none is.
    pub fn config(&self) -> &ChainConfig {
        self.updates.chain().expect("it is a caller of a chain")
    }

    /// As [`Caller::explain`].
    pub fn explain(&self, token: Token) -> Option<Explanation> {
        self.updates.explain(token).or_else(|| self.queries.explain(token))
    }

    /// Counters of updates and queries together. What is asked of the master is not in them, but
    /// for messages that no good replica could send.
    pub fn stats(&self) -> Stats {
        let stats = self.updates.stats().plus(self.queries.stats());
        match &self.master {
            Some(master) => stats.with_master(master.stats()),
            None => stats,
        }
    }

    fn is_busy(&self) -> bool {
        self.updates.is_busy() || self.queries.is_busy()
    }

    // Says on each link which session there is, once: before its first request leaves, so that
    // its reply finds the way. One that overtakes this goes to all links of the key.
    fn announce(&mut self, out: &mut Actions) {
        let Some(session) = self.updates.session.as_ref().map(|s| s.id) else { return };
        let context = &self.setup.setup.context;
        for replica in self.setup.setup.hosts().filter(|r| self.updates.links.is_up(*r)) {
            if self.announced.insert(replica, session) != Some(session) {
                let frame = ChainSession { session }.to_frame(context.group).into();
                out.push(Action::Send { replica, frame });
            }
        }
    }

    // --- the master ----------------------------------------------------------------------------

    // Asks who is in the chain, if that is wanted and not asked too often.
    fn ask_master(&mut self) {
        let now = self.now;
        self.wanted |= std::mem::take(&mut self.updates.unheard);
        self.wanted |= std::mem::take(&mut self.queries.unheard);
        for caller in [&self.updates, &self.queries] {
            self.wanted |= caller.is_busy() && !caller.links.can_send();
        }
        let first = self.asked == 0;
        self.wanted &= first || self.is_busy();
        if !self.wanted || self.asking || !first && now < self.ask_at {
            return;
        }
        (self.wanted, self.asking, self.ask_at) = (false, true, now + self.setup.ask_every);
        self.asked += 1;
        let Some(master) = &mut self.master else {
            self.asks = true;
            return;
        };
        let show = master::Command::Show { chain: self.setup.chain }.encode();
        let commands = vec![Command { kind: CommandKind::Query, bytes: show.into() }];
        let call = Input::Call { token: Token(self.asked), commands, coalesce: false };
        master.handle(now, call, &mut self.from_master);
    }

    /// Whether its link to a replica is up.
    pub(super) fn is_linked(&self, replica: ReplicaId) -> bool {
        self.updates.links.is_up(replica)
    }

    /// Counts a message that belongs to nothing.
    pub(super) fn stray(&mut self, replica: ReplicaId) {
        self.updates.links.count(replica).strays += 1;
    }

    /// Whether a replica's word counts among those of the master: not if it is of chains alone.
    pub(super) fn is_of_master(&self, replica: ReplicaId) -> bool {
        self.setup.setup.ensemble.contains(replica)
    }

    fn pass_to_master(&mut self, input: Input, out: &mut Actions) {
        if let Some(master) = &mut self.master {
            master.handle(self.now, input, &mut self.from_master);
            self.hear_master(out);
        }
    }

    fn hear_master(&mut self, out: &mut Actions) {
        for action in std::mem::take(&mut self.from_master) {
            match action {
                Action::Send { .. } | Action::Numbered { .. } | Action::Over { .. } => {
                    out.push(action);
                }
                Action::Close { replica, .. } => {
                    out.push(action);
                    self.lose_link(replica);
                }
                Action::Receipt { .. } => {}
                Action::Done { result, .. } => {
                    self.told(result.ok().and_then(|a| a.outputs.into_iter().next()));
                }
            }
        }
    }

    /// The master's answer, if there is one.
    pub(super) fn told(&mut self, output: Option<Bytes>) {
        self.asking = false;
        let said = output.and_then(|o| master::Answer::parse(&o).ok());
        let is_news = match said {
            Some(master::Answer::Chain { config, .. }) => self.learn(&config),
            _ => false,
        };
        // A stop is noticed when a lease is over: until then the master says the same.
        self.wanted |= !is_news && (self.updates.repeats() || self.queries.repeats());
    }

    // Whether it is news.
    fn learn(&mut self, config: &ChainConfig) -> bool {
        let is_news = config.number > self.config().number;
        if is_news {
            self.updates.learn(config);
            self.queries.learn(config);
        }
        is_news
    }

    // --- what comes ----------------------------------------------------------------------------

    fn frames(&mut self, replica: ReplicaId, frames: Vec<Frame>, out: &mut Actions) {
        let now = self.now;
        let chain = self.setup.setup.context.group;
        for frame in frames {
            if !self.updates.links.is_up(replica) {
                return;
            }
            let before = out.len();
            if frame.group == self.setup.master && self.is_of_master(replica) {
                self.pass_to_master(Input::Frames { replica, frames: vec![frame] }, out);
            } else if !self.setup.setup.hosts().any(|host| host == replica) {
                self.stray(replica);
            } else if frame.group == chain && frame.kind == Kind::ChainAnswer {
                match ChainAnswer::from_body(&frame.body) {
                    Ok(answer) => self.answer(replica, answer, out),
                    Err(e) => self.updates.fault(replica, e.what, now, out),
                }
            } else {
                self.updates.frames(replica, std::slice::from_ref(&frame), now, out);
            }
            if out[before..].iter().any(|a| matches!(a, Action::Close { .. })) {
                self.lose_link(replica);
            }
        }
    }

    pub(super) fn lose_link(&mut self, replica: ReplicaId) {
        self.announced.remove(&replica);
        let callers = [&mut self.updates, &mut self.queries];
        for caller in callers.into_iter().chain(&mut self.master) {
            caller.lose_link(replica, self.now);
        }
    }

    fn answer(&mut self, replica: ReplicaId, answer: ChainAnswer, out: &mut Actions) {
        let now = self.now;
        match answer {
            ChainAnswer::Answer { id, number, outcome } => {
                let position = StepPosition { round: Round(number), vector: Digest::ZERO };
                let reply = Reply { session: SessionId(0), number: id, index: 0, outcome };
                self.queries.links.count(replica).replies += 1;
                self.queries.reply(replica, (position, false), reply, now, out);
            }
            ChainAnswer::Config(config) => {
                self.learn(&config);
            }
            ChainAnswer::Refused { asked, why, config } => {
                let is_news = self.learn(&config);
                self.wanted |= !is_news && why_ask(why);
                match asked {
                    ChainAsked::Update { session, number } => {
                        self.updates.refused(replica, (session, number), why, now, out);
                    }
                    ChainAsked::Query { id } => {
                        self.queries.refused(replica, (SessionId(0), id), why, now, out);
                    }
                }
            }
        }
    }
}

// Whether a refusal without news says that the master may know more.
fn why_ask(why: ChainRefusal) -> bool {
    match why {
        ChainRefusal::NotHead | ChainRefusal::NotTail | ChainRefusal::NotServing => true,
        ChainRefusal::Busy | ChainRefusal::NumberTaken | ChainRefusal::Unacceptable => false,
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
