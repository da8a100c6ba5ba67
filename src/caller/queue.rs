//! Calls that wait to be sent, and how they become requests.

use super::{Setup, Token};
use crate::types::{CallId, CallPart, Instant};
use crate::wire::{Command, RequestBody};
use std::collections::VecDeque;
use std::time::Duration;

/// Calls in the order in which they came. All have the same time to live, so their deadlines are
/// in the same order.
#[derive(Debug)]
pub(super) struct Queue {
    calls: VecDeque<Queued>,
    max_commands: usize,
    max_bytes: usize,
    timeout: Duration,
}

#[derive(Debug)]
struct Queued {
    token: Token,
    commands: Vec<Command>,
    bytes: usize,
    travel: Travel,
    since: Instant,
}

/// A call within a request.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Whom to tell; `None` once it was told or nobody wants to know.
    pub token: Option<Token>,
    /// How many of the request's commands are this call's.
    pub commands: usize,
    /// When the call came.
    pub since: Instant,
}

/// How a call travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Travel {
    /// With others, if they do too.
    Together,
    /// In a request of its own.
    Alone,
    /// In a request of its own, whose receipt is wanted.
    Proven,
}

/// The id of one of the calls in a request.
pub(super) fn id_of(request: Option<CallId>, parts: &[Part], place: usize) -> Option<CallId> {
    let whole = request?;
    if parts.len() < 2 {
        return Some(whole);
    }
    let places = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let first = places(parts[..place].iter().map(|part| part.commands).sum());
    let part = CallPart { first, count: places(parts[place].commands) };
    Some(CallId { part: Some(part), ..whole })
}

impl Queue {
    pub fn new(setup: &Setup) -> Self {
        Self {
            calls: VecDeque::new(),
            max_commands: setup.limits.max_commands as usize,
            max_bytes: setup.max_commands_bytes(),
            timeout: setup.timeout,
        }
    }

    pub fn len(&self) -> usize {
        self.calls.len()
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Takes a call, or says why it can never be sent.
    pub fn push(
        &mut self,
        token: Token,
        commands: Vec<Command>,
        travel: Travel,
        since: Instant,
    ) -> Result<(), String> {
        let bytes = commands.iter().map(|c| c.bytes.len() + RequestBody::COMMAND_OVERHEAD).sum();
        if commands.is_empty() {
            return Err("a call needs at least one command".into());
        }
        if commands.len() > self.max_commands {
            let (n, max) = (commands.len(), self.max_commands);
            let remedy = "split the call or raise max_commands";
            return Err(format!("{n} commands in one call, the cluster allows {max}; {remedy}"));
        }
        if bytes > self.max_bytes {
            let max = self.max_bytes;
            let remedy = "split the call or raise max_request";
            return Err(format!("a call of {bytes} bytes, the cluster allows {max}; {remedy}"));
        }
        self.insert(Queued { token, commands, bytes, travel, since });
        Ok(())
    }

    /// Takes a call without commands: its request withdraws its number.
    pub fn push_withdrawal(&mut self, token: Token, since: Instant) {
        self.insert(Queued { token, commands: Vec::new(), bytes: 0, travel: Travel::Alone, since });
    }

    fn insert(&mut self, queued: Queued) {
        // A query that has to be ordered came earlier than those that wait.
        let since = queued.since;
        let place = self.calls.iter().rposition(|c| c.since <= since).map_or(0, |at| at + 1);
        self.calls.insert(place, queued);
    }

    /// Takes out the commands of the next request: those of the first call, and if that may share
    /// a request those of the calls right behind it that may, too, and that fit. Calls never
    /// overtake each other. A withdrawal has no commands, and travels alone.
    pub fn take(&mut self) -> Option<(RequestBody, Vec<Part>, Travel)> {
        let first = self.calls.pop_front()?;
        let (mut commands, mut bytes) = (first.commands, first.bytes);
        let mut parts =
            vec![Part { token: Some(first.token), commands: commands.len(), since: first.since }];
        while first.travel == Travel::Together
            && let Some(next) = self.calls.front()
            && next.travel == Travel::Together
            && commands.len() + next.commands.len() <= self.max_commands
            && bytes + next.bytes <= self.max_bytes
        {
            let next = self.calls.pop_front().expect("the queue's front was just looked at");
            bytes += next.bytes;
            let (token, since) = (Some(next.token), next.since);
            parts.push(Part { token, commands: next.commands.len(), since });
            commands.extend(next.commands);
        }
        Some((RequestBody { commands }, parts, first.travel))
    }

    /// When the first call's time is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.calls.front().map(|c| c.since + self.timeout)
    }

    /// Takes out the first call if its time is over: its name and when it came.
    pub fn expired(&mut self, now: Instant) -> Option<(Token, Instant)> {
        self.deadline().filter(|d| *d <= now)?;
        self.drain_one()
    }

    /// Takes out the first call.
    pub fn drain_one(&mut self) -> Option<(Token, Instant)> {
        self.calls.pop_front().map(|c| (c.token, c.since))
    }

    /// Whether the call waits here.
    pub fn contains(&self, token: Token) -> bool {
        self.calls.iter().any(|c| c.token == token)
    }

    /// Drops a call; false if it is not here.
    pub fn forget(&mut self, token: Token) -> bool {
        let before = self.calls.len();
        self.calls.retain(|c| c.token != token);
        self.calls.len() < before
    }
}
