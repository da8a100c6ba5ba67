//! The driver: one task that owns everything of a client.

use super::links::{Attempt, LinkKey, Links, Meaning};
use super::state_file::StateFile;
use crate::caller::notebook::Entry;
use crate::caller::{
    Action, Actions, Answer, CallError, ChainCaller, ChainsCaller, Input, Proven, ReceiptTrouble,
    Stats, Token, VotingCaller,
};
use crate::transport::LinkEvent;
use crate::types::{CallId, CallPart, Instant};
use crate::voter::Explanation;
use crate::wire::Command;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinError;
use tokio::time::Sleep;

/// Calls and link events that are taken before the core may send.
const BATCH: usize = 1024;

/// What a call comes to.
pub(super) type Outcome = Result<Answer, CallError>;

/// A call on its way to the driver.
pub(super) struct Call {
    pub token: Token,
    pub what: What,
    pub reply: oneshot::Sender<Outcome>,
    /// Whom to tell its id before it leaves.
    pub number: Option<oneshot::Sender<CallId>>,
}

/// What a call is about.
pub(super) enum What {
    /// Commands, and whether they may travel with others.
    Commands(Vec<Command>, bool),
    /// Commands whose receipt is wanted, and where that goes.
    Proven(Vec<Command>, oneshot::Sender<ReceiptOutcome>),
    /// What became of the first request of the first session.
    Withdraw,
}

/// What a receipt comes to.
pub(super) type ReceiptOutcome = Result<Box<Proven>, ReceiptTrouble>;

/// What handles ask for besides calls.
pub(super) enum Order {
    /// Nobody waits for this call any more.
    Forget(Token),
    /// How things stand.
    Stats(oneshot::Sender<Stats>),
    /// Which requests are open, by the state file.
    Open(oneshot::Sender<Vec<CallId>>),
    /// It was found out what became of a request.
    Settle(CallId),
    /// End; the sender is dropped once everything has ended.
    Close(oneshot::Sender<()>),
}

/// What comes to the driver.
pub(super) struct Inbox {
    pub calls: mpsc::Receiver<Call>,
    pub orders: mpsc::UnboundedReceiver<Order>,
    pub events: mpsc::Receiver<(LinkKey, LinkEvent)>,
}

// What ended a wait, if that is not taken with the rest.
enum First {
    Order(Order),
    Attempt(Box<Result<Attempt, JoinError>>),
}

/// The core, by the cluster's fault model.
pub(super) enum Core {
    Vote(Box<VotingCaller>),
    Chain(Box<ChainCaller>),
    Chains(Box<ChainsCaller>),
}

impl Core {
    fn handle(&mut self, now: Instant, input: Input, out: &mut Actions) {
        match self {
            Core::Vote(caller) => caller.handle(now, input, out),
            Core::Chain(caller) => caller.handle(now, input, out),
            Core::Chains(caller) => caller.handle(now, input, out),
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        match self {
            Core::Vote(caller) => caller.next_wake(),
            Core::Chain(caller) => caller.next_wake(),
            Core::Chains(caller) => caller.next_wake(),
        }
    }

    fn stats(&self) -> Stats {
        match self {
            Core::Vote(caller) => caller.stats(),
            Core::Chain(caller) => caller.stats(),
            Core::Chains(caller) => caller.stats(),
        }
    }

    fn explain(&self, token: Token) -> Option<Explanation> {
        match self {
            Core::Vote(caller) => caller.explain(token),
            Core::Chain(caller) => caller.explain(token),
            Core::Chains(caller) => caller.explain(token),
        }
    }
}

pub(super) struct Driver {
    started: std::time::Instant,
    // Read once a batch.
    now: Instant,
    core: Core,
    links: Links,
    waiting: HashMap<Token, oneshot::Sender<Outcome>>,
    // Who waits for receipts.
    proving: HashMap<Token, oneshot::Sender<ReceiptOutcome>>,
    // Those who want to know the ids of their calls.
    numbers: HashMap<Token, oneshot::Sender<CallId>>,
    state: Option<StateFile>,
    max_calls: usize,
    actions: Actions,
    last: Arc<OnceLock<Stats>>,
    closing: Option<oneshot::Sender<()>>,
}

impl Driver {
    /// A driver of a core that was made at time 0; it leaves its last counters in `last`.
    pub fn new(
        core: Core,
        links: Links,
        max_calls: usize,
        last: Arc<OnceLock<Stats>>,
        state: Option<StateFile>,
    ) -> Self {
        Self {
            started: std::time::Instant::now(),
            now: Instant(0),
            core,
            links,
            waiting: HashMap::new(),
            proving: HashMap::new(),
            numbers: HashMap::new(),
            state,
            max_calls: max_calls.max(1),
            actions: Actions::new(),
            last,
            closing: None,
        }
    }

    /// Runs until it is told to close or no handle is left.
    pub async fn run(mut self, mut inbox: Inbox) {
        let (mut calls, mut events) = (Vec::new(), Vec::new());
        let mut timer = Timer::new();
        while self.closing.is_none() {
            let room = self.room();
            // Whatever comes first ends the wait; then all that has come is taken.
            let first = tokio::select! {
                biased;
                _ = inbox.events.recv_many(&mut events, BATCH) => None,
                taken = inbox.calls.recv_many(&mut calls, room), if room > 0 => {
                    if taken == 0 {
                        break;
                    }
                    None
                }
                Some(order) = inbox.orders.recv() => Some(First::Order(order)),
                attempt = self.links.attempted() => Some(First::Attempt(Box::new(attempt))),
                () = timer.wait() => None,
            };
            self.now = Instant(0) + self.started.elapsed();
            match first {
                Some(First::Order(order)) => self.order(order),
                Some(First::Attempt(attempt)) => self.attempted(*attempt),
                None => {}
            }
            self.take_all(&mut inbox, &mut calls, &mut events);
            self.handle(Input::Drained);
            if let Err(why) = self.perform().await {
                tracing::error!(error = why, "the client ends: it cannot write its state file");
                break;
            }
            timer.set(self.core.next_wake(), self.started);
        }
        self.end(inbox).await;
    }

    // How many calls may be taken now.
    fn room(&self) -> usize {
        self.max_calls.saturating_sub(self.waiting.len()).min(BATCH)
    }

    fn take_all(
        &mut self,
        inbox: &mut Inbox,
        calls: &mut Vec<Call>,
        events: &mut Vec<(LinkKey, LinkEvent)>,
    ) {
        while let Some(attempt) = self.links.try_attempted() {
            self.attempted(attempt);
        }
        while events.len() < BATCH
            && let Ok(event) = inbox.events.try_recv()
        {
            events.push(event);
        }
        let room = self.room();
        while calls.len() < room
            && let Ok(call) = inbox.calls.try_recv()
        {
            calls.push(call);
        }
        for (key, event) in events.drain(..) {
            match self.links.event(key, event) {
                Meaning::Frames(replica, frames) => self.handle(Input::Frames { replica, frames }),
                Meaning::Down(replica) => self.handle(Input::Down { replica }),
                Meaning::Nothing => {}
            }
        }
        for call in calls.drain(..) {
            let Call { token, what, reply, number } = call;
            self.waiting.insert(token, reply);
            number.into_iter().for_each(|number| drop(self.numbers.insert(token, number)));
            let input = match what {
                What::Commands(commands, coalesce) => Input::Call { token, commands, coalesce },
                What::Proven(commands, receipt) => {
                    self.proving.insert(token, receipt);
                    Input::CallForReceipt { token, commands }
                }
                What::Withdraw => Input::Withdraw { token },
            };
            self.handle(input);
        }
        // After the calls, so that one is forgotten that came just before.
        while let Ok(order) = inbox.orders.try_recv() {
            self.order(order);
        }
    }

    fn attempted(&mut self, attempt: Result<Attempt, JoinError>) {
        if let Some((replica, hello)) = self.links.take(attempt) {
            self.handle(Input::Up { replica, hello });
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Forget(token) => {
                self.proving.remove(&token);
                self.numbers.remove(&token);
                if self.waiting.remove(&token).is_some() {
                    self.handle(Input::Forget { token });
                }
            }
            Order::Stats(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.core.stats());
            }
            Order::Open(reply) => {
                let open = self.state.as_ref().map(|state| state.notebook().open());
                let mut open = open.unwrap_or_default();
                open.retain(|id| !self.actions.contains(&Action::Over { id: id.whole() }));
                // Whoever asked may have gone.
                let _ = reply.send(open);
            }
            Order::Settle(id) => self.actions.push(Action::Over { id }),
            Order::Close(done) => self.closing = Some(done),
        }
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(self.now, input, &mut self.actions);
    }

    // Does what the core asks for. What is to be written down is durable before anything is sent.
    async fn perform(&mut self) -> Result<(), String> {
        let mut actions = std::mem::take(&mut self.actions);
        let is_noted = |a: &Action| matches!(a, Action::Numbered { .. } | Action::Over { .. });
        if actions.iter().any(is_noted)
            && let Err(why) = self.write_down(&actions).await
        {
            self.unsent(actions, &why);
            return Err(why);
        }
        for action in actions.drain(..) {
            match action {
                Action::Send { replica, frame } => self.links.send(replica, &frame),
                Action::Close { replica, why } => self.links.close(replica, why),
                Action::Receipt { token, result } => {
                    if let Some(proving) = self.proving.remove(&token) {
                        // Whoever called may have gone.
                        let _ = proving.send(result);
                    }
                }
                Action::Done { token, result } => self.tell(token, result),
                Action::Numbered { .. } | Action::Over { .. } => {}
            }
        }
        self.actions = actions;
        Ok(())
    }

    async fn write_down(&mut self, actions: &Actions) -> Result<(), String> {
        if let Some(mut state) = self.state.take() {
            let entry = |action: &Action| match action {
                Action::Numbered { id, parts } => {
                    let parts = parts.iter().map(|(_, outputs)| *outputs).collect();
                    Some(Entry::Numbered { id: *id, parts })
                }
                Action::Over { id } => Some(Entry::Over { id: *id }),
                _ => None,
            };
            let entries: Vec<Entry> = actions.iter().filter_map(entry).collect();
            // That something is over costs a question after a crash if it is lost, and no more:
            // the next write that has to be durable will fail.
            let sync = entries.iter().any(|e| matches!(e, Entry::Numbered { .. }));
            let write = move || {
                let written = state.append(&entries, sync);
                (state, written)
            };
            let (state, written) = match sync {
                true => tokio::task::spawn_blocking(write).await.map_err(|e| e.to_string())?,
                false => write(),
            };
            self.state = Some(state);
            if sync {
                written.map_err(|e| e.to_string())?;
            }
        }
        if !self.numbers.is_empty() {
            actions.iter().for_each(|action| self.number(action));
        }
        Ok(())
    }

    // Tells the ids of calls to whom they matter.
    fn number(&mut self, action: &Action) {
        let Action::Numbered { id, parts } = action else { return };
        let mut first = 0;
        for (token, count) in parts {
            let part = CallPart { first, count: *count };
            first += count;
            if let Some(number) = self.numbers.remove(token) {
                // Whoever called may have gone.
                let _ = number.send(CallId { part: (parts.len() > 1).then_some(part), ..*id });
            }
        }
    }

    // What cannot be written down does not leave.
    fn unsent(&mut self, actions: Actions, why: &str) {
        for action in actions {
            match action {
                Action::Numbered { parts, .. } => {
                    for (token, _) in parts {
                        let why = format!("not sent: the state file cannot be written: {why}");
                        self.tell(token, Err(CallError::Unacceptable(why)));
                    }
                }
                Action::Done { token, result } => self.tell(token, result),
                _ => {}
            }
        }
    }

    fn tell(&mut self, token: Token, mut result: Outcome) {
        // Without an answer there is no receipt.
        self.proving.remove(&token);
        self.numbers.remove(&token);
        if let Some(reply) = self.waiting.remove(&token) {
            let explanation = match &mut result {
                Ok(answer) => Some(&mut answer.explanation),
                Err(error) => error.explanation_mut(),
            };
            explanation.into_iter().for_each(|e| self.links.annotate(e));
            // Whoever called may have gone.
            let _ = reply.send(result);
        }
    }

    async fn end(mut self, mut inbox: Inbox) {
        inbox.calls.close();
        while let Ok(call) = inbox.calls.try_recv() {
            self.waiting.insert(call.token, call.reply);
        }
        for token in self.waiting.keys().copied().collect::<Vec<_>>() {
            let explanation = self.core.explain(token).unwrap_or_default();
            self.tell(token, Err(CallError::Closed { explanation }));
        }
        let _ = self.last.set(self.core.stats());
        drop(inbox);
        self.links.end("the client was closed").await;
        // Dropping `closing` here tells who closed the client.
    }
}

/// Fires once when the core's next timer has run out; armed anew only for an earlier one.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    at: Option<std::time::Instant>,
}

impl Timer {
    fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), at: None }
    }

    async fn wait(&mut self) {
        match self.at {
            Some(_) => {
                self.sleep.as_mut().await;
                self.at = None;
            }
            None => std::future::pending().await,
        }
    }

    // Firing early is harmless and cheaper than being set back with every answer.
    fn set(&mut self, wake: Option<Instant>, started: std::time::Instant) {
        let at = wake.and_then(|w| started.checked_add(Duration::from_nanos(w.0)));
        let Some(at) = at else { return };
        if self.at.is_none_or(|armed| at < armed) {
            self.sleep.as_mut().reset(at.into());
            self.at = Some(at);
        }
    }
}
