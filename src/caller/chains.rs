//! The client of several chains under one master: one core for each, which share the links and the
//! client of the master.

use super::chain::{ChainCaller, ChainSetup};
use super::core::Caller;
use super::receipts::{ONLY_VOTES, refuse};
use super::shares::chain_for;
use super::{Action, Actions, CallError, Input, Start, Stats, Token};
use crate::config::KeyMap;
use crate::master;
use crate::service::TouchesOf;
use crate::types::{GroupId, Instant, ReplicaId};
use crate::voter::Explanation;
use crate::wire::{Command, CommandKind, Frame};
use std::collections::{BTreeMap, BTreeSet};

/// Chains that the master is asked about in one request at most: its answer has to fit.
const ASKED: usize = 8;

/// Everything that the client of several chains needs to know.
#[derive(Clone, Debug)]
pub struct ChainsSetup {
    /// One for each chain, all with the same master. Each should have a session of its own number.
    pub chains: Vec<ChainSetup>,
    /// Which chain has which keys.
    pub map: KeyMap,
    /// What commands touch.
    pub touches: TouchesOf,
}

/// One client of several chains under one master (docs/chain.md), with the doors of
/// [`super::Caller`].
///
/// A call goes to the chain whose keys it touches (CH-K1), each chain with its own session, window
/// and repeats: what one chain does not answer holds up no call to another. Calls to different
/// chains are in no order. A call that touches keys of two chains ends at once with
/// [`CallError::Unacceptable`], unsent (CH-K2). All chains go by one client of the master's group.
#[derive(Debug)]
pub struct ChainsCaller {
    chains: BTreeMap<u32, ChainCaller>,
    groups: BTreeMap<GroupId, u32>,
    map: KeyMap,
    touches: TouchesOf,
    master: Caller,
    master_group: GroupId,
    from_master: Actions,
    // Chains that the master is to be asked about, and those of the question under way.
    wanted: BTreeSet<u32>,
    asking: Vec<u32>,
    asked: u64,
    at_once: usize,
    now: Instant,
}

impl ChainsCaller {
    /// A client without links. It asks the master as soon as it has some.
    ///
    /// # Panics
    /// If there is no chain.
    pub fn new(setup: ChainsSetup, now: Instant) -> Self {
        let ChainsSetup { chains, map, touches } = setup;
        let first = chains.first().expect("a cluster has one chain at least");
        let at_once = ASKED.min(first.setup.limits.max_commands as usize).max(1);
        let (master, master_group) = (Caller::new(first.of_master(), now), first.master);
        let groups = chains.iter().map(|c| (c.setup.context.group, c.chain)).collect();
        let caller = |setup: ChainSetup| (setup.chain, ChainCaller::without_master(setup, now));
        Self {
            chains: chains.into_iter().map(caller).collect(),
            groups,
            map,
            touches,
            master,
            master_group,
            from_master: Actions::new(),
            wanted: BTreeSet::new(),
            asking: Vec::new(),
            asked: 0,
            at_once,
            now,
        }
    }

    /// The same, with a first session of each chain that begins in another way: `start` says how,
    /// by the chain's number.
    pub fn starting(mut self, start: impl Fn(u32) -> Start) -> Self {
        let chains = std::mem::take(&mut self.chains).into_iter();
        self.chains = chains.map(|(n, caller)| (n, caller.starting(start(n)))).collect();
        self
    }

    /// Takes one event and appends what is to be done about it. One [`Input::Drained`] may send up
    /// to twice for each chain, and once for the master, to one replica.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Actions) {
        self.now = self.now.max(now);
        match input {
            Input::Call { token, commands, coalesce } => {
                let touched = commands.iter().map(|c| self.touches.command(&c.bytes));
                match chain_for(&self.map, touched) {
                    Ok(chain) => self.pass(chain, Input::Call { token, commands, coalesce }, out),
                    Err(why) => {
                        let result = Err(CallError::Unacceptable(why));
                        out.push(Action::Done { token, result });
                    }
                }
            }
            Input::CallForReceipt { token, .. } => refuse(token, ONLY_VOTES, out),
            Input::Frames { replica, frames } => self.frames(replica, frames, out),
            // It does not say of which chain.
            Input::Withdraw { token } => {
                let why = "a number is withdrawn by a client of its chain alone".to_owned();
                out.push(Action::Done { token, result: Err(CallError::Unacceptable(why)) });
            }
            other => {
                let chains: Vec<u32> = self.chains.keys().copied().collect();
                chains.into_iter().for_each(|chain| self.pass(chain, other.clone(), out));
                if matches!(other, Input::Forget { .. }) {
                    return;
                }
                self.ask_master();
                self.master.handle(self.now, other, &mut self.from_master);
                self.hear_master(out);
            }
        }
    }

    /// When to call again at the latest, as [`Caller::next_wake`].
    pub fn next_wake(&self) -> Option<Instant> {
        let chains = self.chains.values().filter_map(ChainCaller::next_wake);
        chains.chain(self.master.next_wake()).min()
    }

    /// As [`Caller::explain`].
    pub fn explain(&self, token: Token) -> Option<Explanation> {
        let mut chains = self.chains.iter();
        chains.find_map(|(chain, caller)| {
            let explanation = caller.explain(token)?;
            Some(Explanation { of_chain: Some(*chain), ..explanation })
        })
    }

    /// As [`ChainCaller::stats`], over all chains.
    pub fn stats(&self) -> Stats {
        let all = self.chains.values().map(ChainCaller::stats).reduce(Stats::plus);
        all.unwrap_or_default().with_master(self.master.stats())
    }

    // --- chains --------------------------------------------------------------------------------

    // An event for one chain; what it tells callers names the chain.
    fn pass(&mut self, number: u32, input: Input, out: &mut Actions) {
        let Some(chain) = self.chains.get_mut(&number) else { return };
        let before = out.len();
        chain.handle(self.now, input, out);
        if std::mem::take(&mut chain.asks) {
            self.wanted.insert(number);
        }
        for action in &mut out[before..] {
            let Action::Done { result, .. } = action else { continue };
            let explanation = match result {
                Ok(answer) => Some(&mut answer.explanation),
                Err(error) => error.explanation_mut(),
            };
            explanation.into_iter().for_each(|e| e.of_chain = Some(number));
        }
    }

    fn frames(&mut self, replica: ReplicaId, frames: Vec<Frame>, out: &mut Actions) {
        for frame in frames {
            // All of them have the same links.
            let Some(any) = self.chains.values_mut().next() else { return };
            if !any.is_linked(replica) {
                return;
            }
            let of_master = frame.group == self.master_group && any.is_of_master(replica);
            let before = out.len();
            let input = |frame| Input::Frames { replica, frames: vec![frame] };
            match self.groups.get(&frame.group).copied() {
                Some(chain) => self.pass(chain, input(frame), out),
                None if of_master => {
                    self.master.handle(self.now, input(frame), &mut self.from_master);
                    self.hear_master(out);
                }
                None => any.stray(replica),
            }
            if out[before..].iter().any(|a| matches!(a, Action::Close { .. })) {
                self.lose_link(replica);
            }
        }
    }

    fn lose_link(&mut self, replica: ReplicaId) {
        self.master.lose_link(replica, self.now);
        self.chains.values_mut().for_each(|chain| chain.lose_link(replica));
    }

    // --- the master ----------------------------------------------------------------------------

    // One question at a time, about all chains that want it by then.
    fn ask_master(&mut self) {
        if !self.asking.is_empty() || self.wanted.is_empty() {
            return;
        }
        while let Some(chain) = self.wanted.pop_first() {
            self.asking.push(chain);
            if self.asking.len() == self.at_once {
                break;
            }
        }
        self.asked += 1;
        let show = |chain: &u32| Command {
            kind: CommandKind::Query,
            bytes: master::Command::Show { chain: *chain }.encode().into(),
        };
        let commands = self.asking.iter().map(show).collect();
        let call = Input::Call { token: Token(self.asked), commands, coalesce: false };
        self.master.handle(self.now, call, &mut self.from_master);
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
                    let mut outputs = result.map(|a| a.outputs).unwrap_or_default().into_iter();
                    for chain in std::mem::take(&mut self.asking) {
                        let output = outputs.next();
                        if let Some(caller) = self.chains.get_mut(&chain) {
                            caller.told(output);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "chains_tests.rs"]
mod tests;
