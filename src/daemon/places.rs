//! How many links each key has, opening ones included (docs/protocol.md §10).
//!
//! The core counts clients' links once their greeting was read; what one key holds before that
//! is bounded here.

use crate::crypto::PublicKey;
use crate::transport::LinkClass;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Links of one replica: the one that is up, and its successor while that opens.
const REPLICA_LINKS: u32 = 2;

type Held = HashMap<(LinkClass, PublicKey), u32>;

/// Counts links and openings.
pub(super) struct Places {
    of_client: u32,
    held: Arc<Mutex<Held>>,
}

/// The place of one link. Dropping it frees it.
pub(super) struct Place {
    held: Arc<Mutex<Held>>,
    key: (LinkClass, PublicKey),
}

impl Places {
    /// With so many for each client key.
    pub(super) fn new(of_client: u32) -> Self {
        Self { of_client, held: Arc::default() }
    }

    /// A place for one more link of this key. An error is what the other side is told.
    pub(super) fn take(&self, key: PublicKey, class: LinkClass) -> Result<Place, String> {
        let limit = match class {
            LinkClass::Replica => REPLICA_LINKS,
            LinkClass::Client => self.of_client,
        };
        let key = (class, key);
        let mut held = lock(&self.held);
        let count = held.entry(key).or_insert(0);
        if *count >= limit {
            return Err(match class {
                LinkClass::Replica => format!(
                    "too many links of one replica: {limit} are up or opening; is it running twice?"
                ),
                LinkClass::Client => format!(
                    "too many links of one client key: links_per_client is {limit}; close some, \
                     or raise it under [quotas]"
                ),
            });
        }
        *count += 1;
        drop(held);
        Ok(Place { held: self.held.clone(), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        let count = held.get_mut(&self.key).expect("counted when the place was taken");
        *count -= 1;
        if *count == 0 {
            held.remove(&self.key);
        }
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_share_in_each_class_and_gets_it_back() {
        let places = Places::new(3);
        let take = |key, class| places.take(PublicKey([key; 32]), class);
        let mut held: Vec<_> = (0..3).map(|_| take(1, LinkClass::Client).unwrap()).collect();
        let refused = take(1, LinkClass::Client).err().unwrap();
        assert!(refused.contains("links_per_client is 3"), "{refused}");
        let others = [take(2, LinkClass::Client), take(1, LinkClass::Replica)];
        assert!(others.iter().all(Result::is_ok));
        held.pop();
        held.push(take(1, LinkClass::Client).unwrap());
        assert!(take(1, LinkClass::Client).is_err());
        drop((held, others));
        assert!(lock(&places.held).is_empty());
        let _two = [take(1, LinkClass::Replica).unwrap(), take(1, LinkClass::Replica).unwrap()];
        assert!(take(1, LinkClass::Replica).err().unwrap().contains("running twice"));
    }

    /// The reason must fit into a closing frame.
    #[test]
    fn reasons_are_short() {
        for class in [LinkClass::Client, LinkClass::Replica] {
            let places = Places::new(0);
            let mut held = Vec::new();
            let reason = loop {
                match places.take(PublicKey([1; 32]), class) {
                    Ok(place) => held.push(place),
                    Err(reason) => break reason,
                }
            };
            assert!(reason.len() <= crate::transport::MAX_REASON, "{reason}");
        }
    }
}
