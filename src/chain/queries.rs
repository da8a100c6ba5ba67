//! Queries that wait for the tail's word (CH-Q2).

use crate::types::{ClientId, Instant, LinkId};
use crate::wire::RequestBody;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Questions to the tail at the same time, at most; queries that come meanwhile share the next.
const ASKING: usize = 4;

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) link: LinkId,
    pub(super) client: ClientId,
    pub(super) id: u64,
    pub(super) body: RequestBody,
    /// When it came.
    pub(super) at: Instant,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queries {
    /// Came after the last question was sent.
    unasked: VecDeque<Waiting>,
    /// By the question that they wait for.
    asked: BTreeMap<u64, Vec<Waiting>>,
    /// Wait until this much is executed.
    told: VecDeque<(u64, Waiting)>,
    /// How many each client has.
    shares: BTreeMap<ClientId, usize>,
    /// Names the last question.
    id: u64,
}

impl Queries {
    pub(super) fn len(&self) -> usize {
        let asked: usize = self.asked.values().map(Vec::len).sum();
        self.unasked.len() + asked + self.told.len()
    }

    /// How many of a client wait.
    pub(super) fn of(&self, client: &ClientId) -> usize {
        self.shares.get(client).copied().unwrap_or_default()
    }

    fn gone(&mut self, queries: Vec<Waiting>) -> Vec<Waiting> {
        for Waiting { client, .. } in &queries {
            let Some(count) = self.shares.get_mut(client) else { continue };
            *count -= 1;
            if *count == 0 {
                self.shares.remove(client);
            }
        }
        queries
    }

    pub(super) fn push(&mut self, query: Waiting) {
        *self.shares.entry(query.client).or_default() += 1;
        self.unasked.push_back(query);
    }

    /// The next question, for all that came before it is sent. One that came later must not share
    /// it: the tail's word could be older than what its client has seen.
    pub(super) fn ask(&mut self) -> Option<u64> {
        if self.unasked.is_empty() || self.asked.len() >= ASKING {
            return None;
        }
        self.id += 1;
        self.asked.insert(self.id, self.unasked.drain(..).collect());
        Some(self.id)
    }

    /// The tail has said how far it had committed.
    pub(super) fn answered(&mut self, id: u64, number: u64) {
        let of = self.asked.remove(&id).unwrap_or_default();
        self.told.extend(of.into_iter().map(|query| (number, query)));
    }

    /// Those that can be answered when so much is executed.
    pub(super) fn ready(&mut self, executed: u64) -> Vec<Waiting> {
        let (ready, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.told).into_iter().partition(|(at, _)| *at <= executed);
        self.told = rest;
        self.gone(ready.into_iter().map(|(_, query)| query).collect())
    }

    /// All of them: nothing will come of what was asked.
    pub(super) fn give_up(&mut self) -> Vec<Waiting> {
        let asked = std::mem::take(&mut self.asked).into_values().flatten();
        let told = std::mem::take(&mut self.told).into_iter().map(|(_, query)| query);
        let rest = std::mem::take(&mut self.unasked);
        let all = asked.chain(told).chain(rest).collect();
        self.gone(all)
    }

    /// When the one came that has waited longest.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let told = self.told.iter().map(|(_, query)| query);
        let all = self.asked.values().flatten().chain(&self.unasked).chain(told);
        all.map(|query| query.at).min()
    }

    /// Those that have waited for so long.
    pub(super) fn late(&mut self, now: Instant, after: Duration) -> Vec<Waiting> {
        let is_late = |q: &Waiting| now.since(q.at) >= after;
        if self.oldest().is_none_or(|at| now.since(at) < after) {
            return Vec::new();
        }
        let mut late = Vec::new();
        let mut keep = |q: Waiting| {
            if is_late(&q) {
                late.push(q);
                None
            } else {
                Some(q)
            }
        };
        self.unasked =
            std::mem::take(&mut self.unasked).into_iter().filter_map(&mut keep).collect();
        for queries in self.asked.values_mut() {
            *queries = std::mem::take(queries).into_iter().filter_map(&mut keep).collect();
        }
        let told = std::mem::take(&mut self.told).into_iter();
        self.told = told.filter_map(|(n, q)| keep(q).map(|q| (n, q))).collect();
        self.asked.retain(|_, queries| !queries.is_empty());
        self.gone(late)
    }
}
