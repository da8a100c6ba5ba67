//! The updates of the history that are not executed, by name and by client.

use crate::types::{ClientId, RequestId};
use crate::wire::ChainEntry;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    names: BTreeSet<RequestId>,
    /// How many each client has, and of how many bytes.
    shares: BTreeMap<ClientId, (usize, usize)>,
}

impl Pending {
    pub(super) fn of<'a>(entries: impl Iterator<Item = &'a ChainEntry>) -> Self {
        let mut pending = Self::default();
        entries.for_each(|entry| pending.insert(entry));
        pending
    }

    pub(super) fn contains(&self, id: &RequestId) -> bool {
        self.names.contains(id)
    }

    /// How many a client has, and how many bytes their requests have.
    pub(super) fn share(&self, client: &ClientId) -> (usize, usize) {
        self.shares.get(client).copied().unwrap_or_default()
    }

    pub(super) fn insert(&mut self, entry: &ChainEntry) {
        if self.names.insert(entry.id()) {
            let (count, bytes) = self.shares.entry(entry.client).or_default();
            (*count, *bytes) = (*count + 1, *bytes + entry.request.body.len());
        }
    }

    pub(super) fn remove(&mut self, entry: &ChainEntry) {
        if !self.names.remove(&entry.id()) {
            return;
        }
        let Some((count, bytes)) = self.shares.get_mut(&entry.client) else { return };
        (*count, *bytes) = (*count - 1, bytes.saturating_sub(entry.request.body.len()));
        if *count == 0 {
            self.shares.remove(&entry.client);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
