//! The driver: one task that owns everything of a client.

use super::links::{Attempt, LinkKey, Links, Meaning};
use crate::caller::{
    Action, Actions, Answer, CallError, ChainCaller, ChainsCaller, Input, Proven, ReceiptTrouble,
    Stats, Token, VotingCaller,
};
use crate::transport::LinkEvent;
use crate::types::Instant;
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
    pub commands: Vec<Command>,
    pub coalesce: bool,
    pub reply: oneshot::Sender<Outcome>,
    /// Where its receipt goes, if one is wanted.
    pub receipt: Option<oneshot::Sender<ReceiptOutcome>>,
}

/// What a receipt comes to.
pub(super) type ReceiptOutcome = Result<Box<Proven>, ReceiptTrouble>;

/// What handles ask for besides calls.
pub(super) enum Order {
    /// Nobody waits for this call any more.
    Forget(Token),
    /// How things stand.
    Stats(oneshot::Sender<Stats>),
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
    /// Who waits for receipts.
    proving: HashMap<Token, oneshot::Sender<ReceiptOutcome>>,
    max_calls: usize,
    actions: Actions,
    last: Arc<OnceLock<Stats>>,
    closing: Option<oneshot::Sender<()>>,
}

impl Driver {
    /// A driver of a core that was made at time 0; it leaves its last counters in `last`.
    pub fn new(core: Core, links: Links, max_calls: usize, last: Arc<OnceLock<Stats>>) -> Self {
        Self {
            started: std::time::Instant::now(),
            now: Instant(0),
            core,
            links,
            waiting: HashMap::new(),
            proving: HashMap::new(),
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
            self.perform();
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
            let Call { token, commands, coalesce, reply, receipt } = call;
            self.waiting.insert(token, reply);
            if let Some(receipt) = receipt {
                self.proving.insert(token, receipt);
                self.handle(Input::CallForReceipt { token, commands });
            } else {
                self.handle(Input::Call { token, commands, coalesce });
            }
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
                if self.waiting.remove(&token).is_some() {
                    self.handle(Input::Forget { token });
                }
            }
            Order::Stats(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.core.stats());
            }
            Order::Close(done) => self.closing = Some(done),
        }
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(self.now, input, &mut self.actions);
    }

    fn perform(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
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
            }
        }
        self.actions = actions;
    }

    fn tell(&mut self, token: Token, mut result: Outcome) {
        // Without an answer there is no receipt.
        self.proving.remove(&token);
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
