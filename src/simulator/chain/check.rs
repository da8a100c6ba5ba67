//! What must be so in every run, looked at after every event.
//!
//! - What is executed under a number is the same everywhere and for ever, and so is the state.
//! - No update runs twice; what a client was told is what was executed.
//! - What is executed is on the disk of every member of the configuration in which it was
//!   committed (CH-U4).
//! - Update Propagation Invariant: of two members of one configuration that has come down to both,
//!   the one nearer to the tail has a prefix of the other's history.
//! - In-process Requests Invariant: what a member has and has not executed is what the tail may not
//!   have executed, and nothing else: once the tail is open, executed there ≤ executed at the tail
//!   ≤ the member's last.
//! - At most one replica would answer as the tail.
//! - The history of all clients, queries too, is linearizable.

use crate::chain::Chain;
use crate::simulator::linear::{Operation, Verdict, search};
use crate::simulator::model::KvModel;
use crate::types::{Digest, RequestId};
use crate::wire::ChainEntry;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Steps of the search for an order of a history, at most.
const STEPS: u64 = 2_000_000;

/// What is known to have happened.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// The record and outcome of each executed number, from 1.
    order: Vec<(Bytes, Bytes)>,
    fresh: BTreeMap<RequestId, u64>,
    states: BTreeMap<u64, Digest>,
    /// Comparisons of states that were reached before.
    pub compared: u64,
    /// The largest number of which a client was told.
    pub told: u64,
    /// What the clients saw.
    pub history: Vec<Operation<KvModel>>,
}

impl Truth {
    /// How many updates are executed.
    pub fn len(&self) -> u64 {
        self.order.len() as u64
    }

    /// Whether nothing is executed.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The record of an executed number.
    pub fn record(&self, number: u64) -> Option<&Bytes> {
        let place = usize::try_from(number.checked_sub(1)?).ok()?;
        self.order.get(place).map(|(record, _)| record)
    }

    /// A replica has executed an update. Gives whether it is the first to do so.
    ///
    /// # Errors
    /// If another was executed under this number, it had another outcome, or it ran before.
    pub fn executed(
        &mut self,
        entry: &ChainEntry,
        outcome: &Bytes,
        fresh: bool,
    ) -> Result<bool, String> {
        let number = entry.position.number;
        let now = (entry.to_record(), outcome.clone());
        let place = usize::try_from(number - 1).expect("few updates");
        if let Some(before) = self.order.get(place) {
            return match *before == now {
                true => Ok(false),
                false => Err(format!("number {number} is {:?} here, and was another", entry.id())),
            };
        }
        if place != self.order.len() {
            return Err(format!("number {number} is executed before those below it"));
        }
        if fresh && let Some(before) = self.fresh.insert(entry.id(), number) {
            return Err(format!("{:?} ran as {before} and as {number}", entry.id()));
        }
        self.order.push(now);
        Ok(true)
    }

    /// A client was told an outcome.
    ///
    /// # Errors
    /// If it is not that of the number.
    pub fn told(&mut self, number: u64, outcome: &Bytes) -> Result<(), String> {
        let place = usize::try_from(number.saturating_sub(1)).expect("few updates");
        self.told = self.told.max(number);
        match self.order.get(place) {
            Some((_, of)) if of == outcome => Ok(()),
            Some(_) => Err(format!("the reply to {number} is not what was executed")),
            None => Err(format!("number {number} was answered and not executed")),
        }
    }

    /// Compares the state of a replica with that of whoever was there before it.
    ///
    /// # Errors
    /// If they differ.
    pub fn state(&mut self, chain: &mut Chain) -> Result<(), String> {
        let (number, state) = (chain.executed().number, chain.state_digest());
        match self.states.insert(number, state) {
            Some(before) if before != state => Err(format!("two states after number {number}")),
            Some(_) => {
                self.compared += 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether an order explains everything that clients saw.
    ///
    /// # Errors
    /// If none does, or none was found in reasonable time.
    pub fn linearizable(&self) -> Result<(), String> {
        match search(&self.history, STEPS) {
            Verdict::Linearizable => Ok(()),
            Verdict::Unknown => Err("the history is too hard to judge".to_owned()),
            Verdict::NotLinearizable(part) => {
                let part: Vec<_> = part.iter().map(|i| format!("{:?}", self.history[*i])).collect();
                Err(format!("no order explains these answers:\n{}", part.join("\n")))
            }
        }
    }
}

/// The two invariants, for all members of one configuration that it has come down to.
///
/// # Errors
/// Says which is broken, and by whom.
pub fn invariants(chains: &[&Chain]) -> Result<(), String> {
    let configs: BTreeSet<u64> = chains.iter().map(|c| c.config().number).collect();
    for config in configs {
        let of_it = || chains.iter().filter(|c| c.config().number == config && c.is_ready());
        let Some(first) = of_it().next() else { continue };
        let place = |c: &&&Chain| first.config().members.iter().position(|m| *m == c.member());
        let mut line: Vec<(usize, &Chain)> =
            of_it().filter_map(|c| place(&c).map(|p| (p, *c))).collect();
        line.sort_by_key(|(place, _)| *place);
        for (i, (_, upper)) in line.iter().enumerate() {
            for (at, lower) in &line[i + 1..] {
                prefix(lower, upper)?;
                let is_tail = *at + 1 == first.config().members.len() && lower.is_open();
                let (here, tail) = (upper.executed().number, lower.executed().number);
                if is_tail && here > tail {
                    return Err(format!(
                        "{} has executed {here}, the tail {tail}",
                        upper.member().replica
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Whether a history is a prefix of another's.
fn prefix(lower: &Chain, upper: &Chain) -> Result<(), String> {
    let (end, names) = (lower.last().number, (lower.member().replica, upper.member().replica));
    if end > upper.last().number {
        return Err(format!("{} has more than {}, which is nearer to the head", names.0, names.1));
    }
    let differs = |n: &u64| {
        let both = (lower.position_at(*n), upper.position_at(*n));
        matches!(both, (Some(a), Some(b)) if a != b)
    };
    // What both have executed is compared when it is executed.
    let from = lower.executed().number.min(upper.executed().number);
    match (from..=end).find(differs) {
        Some(n) => Err(format!("{} and {} have different entries {n}", names.0, names.1)),
        None => Ok(()),
    }
}
