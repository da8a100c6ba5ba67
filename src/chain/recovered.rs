//! What a disk has of a chain: what a start takes up, and what tools look at.

use super::executor::Executor;
use super::history::History;
use super::{Found, MakeService};
use crate::crypto::Context;
use crate::service::{Carried, Inherited};
use crate::types::{Digest, OrderLimits};
use crate::wire::{ChainEntry, ChainPosition};
use bytes::Bytes;

/// The state and the history that a disk has.
#[derive(Debug)]
pub struct Recovered {
    pub(super) executor: Executor,
    pub(super) history: History,
}

impl Recovered {
    /// Takes up the state, and puts the log behind it.
    ///
    /// # Errors
    /// If what was found cannot be read or does not fit together.
    pub fn new(
        (service, inherited): (MakeService, Option<Inherited>),
        (order, context): (OrderLimits, Context),
        found: &Found,
    ) -> Result<Self, String> {
        let mut executor = Executor::new(service, order, context).inheriting(inherited);
        if let Some(state) = &found.state {
            executor.restore(state).map_err(|e| format!("the saved state: {e}"))?;
        }
        let mut history = History::new(executor.at());
        for record in &found.log {
            let entry = ChainEntry::parse_record(record).map_err(|e| format!("the log: {e}"))?;
            let number = entry.position.number;
            if number <= history.executed() {
                continue;
            }
            history.cut(number - 1);
            if number != history.last().number + 1 {
                return Err(format!("the log: number {number} follows {}", history.last().number));
            }
            history.push(entry);
        }
        Ok(Self { executor, history })
    }

    /// The last update of the history.
    pub fn last(&self) -> ChainPosition {
        self.history.last()
    }

    /// The last update that is executed in the state.
    pub fn executed(&self) -> ChainPosition {
        self.executor.at()
    }

    /// The last number that both histories have alike, as far as can be told (CH-F3).
    pub fn common(&self, other: &Self) -> Option<u64> {
        self.history.common(&other.history.runs())
    }

    /// Executes up to this number.
    ///
    /// # Errors
    /// If the service panics.
    pub fn run_to(&mut self, number: u64) -> Result<(), String> {
        while self.history.executed() < number.min(self.history.last().number) {
            let next = self.history.get(self.history.executed() + 1);
            self.executor.execute(next.expect("it is below the last one"))?;
            self.history.executed_next();
        }
        Ok(())
    }

    /// A digest of sessions and service: equal exactly if they are.
    pub fn digest(&mut self) -> Digest {
        self.executor.digest()
    }

    /// The state, as it is saved.
    pub fn state(&self) -> Bytes {
        self.executor.freeze().run()
    }

    /// What another cluster goes on from: what is executed.
    pub fn carried(&self) -> Carried {
        self.executor.carried()
    }
}
