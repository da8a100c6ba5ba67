//! Keys that are replaced, at a replica (M3): which key each link has to show, and what a signature
//! that does not fit means.

use super::replica::Replica;
use super::{Action, Actions, CloseReason};
use crate::crypto::{KeyChange, Keyring, PublicKey, Scheme, Signable};
use crate::types::ReplicaId;
use crate::wire::Record;
use bytes::Bytes;

/// The changes of keys that a replica has written down.
pub fn recorded_keys(records: &[Bytes]) -> Vec<KeyChange> {
    let keys = |record: &Bytes| match Record::parse(record) {
        Ok(Record::Keys(changes)) => Some(changes),
        _ => None,
    };
    records.iter().rev().find_map(keys).unwrap_or_default()
}

/// What is known at the start goes for the links at once: a link is trusted for nothing.
pub(super) fn first_pins<S: Scheme>(keyring: &Keyring<S>) -> Vec<Option<PublicKey>> {
    keyring.ensemble().replicas().map(|r| keyring.key(r).copied()).collect()
}

impl<S: Scheme> Replica<S> {
    /// The keys of all replicas, as far as they are known here.
    pub fn keyring(&self) -> &Keyring<S> {
        &self.keyring
    }

    /// The key that the link to each replica has to show, by roster place; none while it is being
    /// replaced.
    pub fn pins(&self) -> &[Option<PublicKey>] {
        &self.pins
    }

    /// Takes over what the order has made of keys.
    pub(super) fn follow_keys(&mut self) {
        if self.core.key_news() != self.key_news {
            self.key_news = self.core.key_news();
            self.keyring = self.core.keyring().clone();
            self.heard.forget();
        }
    }

    /// An opening is committed, or a state was taken over: from the first change on the old key
    /// opens no link any more, from the second on the new one does.
    pub(super) fn pin(&mut self, out: &mut Actions) {
        let changes = self.core.key_changes();
        let generation = self.core.committed_epoch().generation;
        let mut pins = self.pins.clone();
        for change in changes {
            let pin = &mut pins[change.replica.index()];
            let last = changes.iter().rfind(|c| c.replica == change.replica) == Some(change);
            match generation > change.out {
                _ if !last || *pin == Some(change.key) => {}
                true => *pin = Some(change.key),
                false => *pin = None,
            }
        }
        for (place, key) in pins.iter().enumerate().filter(|(i, key)| self.pins[*i] != **key) {
            let replica = ReplicaId::from_index(place);
            out.push(Action::Pin { replica, key: *key });
        }
        self.pins = pins;
    }

    /// A signature does not fit. Who passed it on is at fault only if it could know that: while a
    /// key is being replaced, replicas know it at different times.
    pub(super) fn bad_signature<T: Signable>(
        &mut self,
        peer: ReplicaId,
        statement: &T,
        out: &mut Actions,
    ) {
        self.counters.bad_signatures += 1;
        if self.core.knows_keys_of(statement.epoch().generation) {
            self.close_peer(peer, CloseReason::BadSignature, out);
        }
    }
}
