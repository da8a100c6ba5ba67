//! Keys that are replaced (M3): which key of whom counts in which generation.

use super::Core;
use crate::crypto::{KeyChange, Keyring, Scheme};
use crate::types::{Members, ReplicaId};

impl<S: Scheme> Core<S> {
    /// The keys that are known here: those from the start, and what the order has changed since.
    pub fn keyring(&self) -> &Keyring<S> {
        &self.keyring
    }

    /// How often the keyring has changed since the start.
    pub fn key_news(&self) -> u32 {
        self.key_news
    }

    /// Changes of keys that openings committed here have brought.
    pub fn key_changes(&self) -> &[KeyChange] {
        &self.order.roster.keys
    }

    /// The epoch of the last committed vector or opening.
    pub fn committed_epoch(&self) -> crate::types::Epoch {
        self.order.epoch().0
    }

    /// Whether all keys of a generation are known here: the order has come to it.
    pub fn knows_keys_of(&self, generation: u32) -> bool {
        generation <= self.order.epoch().0.generation && self.keyring.keyless(generation).is_empty()
    }

    /// Whether what this replica signs counts in the epochs of a generation. Its key may be one
    /// that came later, or one that has been replaced.
    pub(super) fn may_sign(&self, generation: u32) -> bool {
        self.keyring.key_at(self.id, generation) == Some(&S::public(&self.signer))
    }

    /// Takes over what the committed order says of keys. What the cut asks for may still turn out
    /// to be void, if an epoch with fewer members comes between: then it is as if never known.
    pub(super) fn note_keys(&mut self) {
        let roster = &self.order.roster;
        if roster.keys.is_empty() && roster.cut == 0 && self.noted_keys.is_empty() {
            return;
        }
        let changes: Vec<KeyChange> = roster.key_changes().collect();
        if changes == self.noted_keys {
            return;
        }
        self.keyring = self.keyring_after(&changes);
        self.noted_keys = changes;
        self.key_news += 1;
    }

    /// The keys from the start with these changes.
    pub(super) fn keyring_after(&self, changes: &[KeyChange]) -> Keyring<S> {
        let mut keyring = self.start_keys.as_ref().clone();
        for change in changes {
            // Good replicas give an unusable key no candidate, so it is never accepted.
            let _ = keyring.replace(*change);
        }
        keyring
    }

    /// E3, *reset*: L is all replicas, less one that has no key in this generation.
    pub(super) fn reset_list(&self, generation: u32) -> Members {
        let all = self.keyring.ensemble().all();
        let keyless = self.keyring.keyless(generation);
        if !keyless.is_empty() {
            return all.minus(keyless);
        }
        // Whoever lacks the history believes t + 1 Reports for an earlier reset of the generation.
        let majority = self.keyring.ensemble().majority();
        let reported = self.reported_calls();
        let reset = reported.iter().find(|((root, _), reporters)| {
            (root.generation, root.resets > 0) == (generation, true) && **reporters >= majority
        });
        reset.map_or(all, |((_, list), _)| *list)
    }

    /// M3: why a key cannot become a replica's, if not for what the order says.
    pub(super) fn refuses_key(&self, change: &crate::wire::Change) -> bool {
        let crate::wire::Change::ReplaceKey { key, .. } = change else { return false };
        let taken = |r: ReplicaId| self.keyring.had(r, key);
        S::verifier(key).is_err() || self.keyring.ensemble().replicas().any(taken)
    }
}
