//! Execution: the session table and the kv service, as a replica runs them for each request.

use crate::samples::{CLIENT, SESSION, body, digest};
use bytes::Bytes;
use quorate::service::kv::Kv;
use quorate::service::sessions::{Admission, SessionLimits, SessionTable, StoredReply};
use quorate::service::{Service, run_commands};
use quorate::types::{AgreedTime, Digest, OrderLimits};
use quorate::wire::{Outcome, Request, StepPosition};

/// How many numbers stay unanswered by the client's mark.
const BEHIND: u64 = 256;

/// A key-value store with its sessions.
pub struct Execution {
    service: Kv,
    sessions: SessionTable,
    limits: OrderLimits,
    number: u64,
}

impl Default for Execution {
    fn default() -> Self {
        Self::new()
    }
}

impl Execution {
    /// One open session, and all keys in the store.
    pub fn new() -> Self {
        let limits = OrderLimits::default();
        let sessions = SessionTable::new(SessionLimits::of(&limits));
        let mut execution = Self { service: Kv::new(), sessions, limits, number: 0 };
        execution.run(&Bytes::new());
        for first in (0..8 * crate::samples::KEYS).step_by(1000) {
            execution.run(&body(first, 1000));
        }
        execution.digest();
        execution
    }

    /// Runs the session's next request and gives its outcome's bytes.
    ///
    /// # Panics
    /// If it is not executed.
    pub fn run(&mut self, body: &Bytes) -> Bytes {
        let number = self.number;
        self.number += 1;
        let low = number.saturating_sub(BEHIND);
        let request = Request { session: SESSION, number, low, body: body.clone() };
        let name = digest(number);
        let outcome = match self.sessions.take(&CLIENT, &request, &name) {
            Admission::Open => Outcome::Opened,
            Admission::Fresh => {
                let (time, service) = (AgreedTime(number), &mut self.service);
                run_commands(service, &self.sessions, &self.limits, time, &CLIENT, body)
                    .expect("the service does not panic")
            }
            other => panic!("request {number} is {other:?}"),
        };
        assert!(matches!(outcome, Outcome::Opened | Outcome::Executed(_)), "{outcome:?}");
        let outcome = outcome.to_bytes();
        let position = StepPosition::default();
        let reply = StoredReply { position, index: 0, outcome: outcome.clone() };
        self.sessions.record(&CLIENT, SESSION, number, &name, reply);
        outcome
    }

    /// The digests of the store and of the sessions, as at a checkpoint.
    pub fn digest(&mut self) -> (Digest, Digest) {
        (self.service.digest(), self.sessions.digest())
    }
}
