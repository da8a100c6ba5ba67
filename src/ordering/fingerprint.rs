//! A core's state as one number, so that an explorer knows where it has been.

use super::Core;
use crate::crypto::Scheme;
use crate::types::Instant;
use std::fmt::{self, Debug, Write};

/// FNV-1a with 128 bits: two states of a search that holds millions do not meet by chance.
const START: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// Hashes what values print of themselves. Instants count by their distance from now: two states
/// that differ only in when they were reached behave alike.
#[derive(Clone, Debug)]
pub struct Fingerprint {
    hash: u128,
    now: Instant,
    /// Instants that are longer ago than this count alike, in nanoseconds: every timer that was
    /// started then is over.
    horizon: u64,
    /// An instant has begun to print itself.
    in_instant: bool,
}

impl Fingerprint {
    /// An empty one. What is longer ago than `horizon` nanoseconds is equally long ago.
    pub fn new(now: Instant, horizon: u64) -> Self {
        Self { hash: START, now, horizon, in_instant: false }
    }

    /// Adds a value by what it prints.
    pub fn add(&mut self, value: &dyn Debug) {
        write!(self, "{value:?};").expect("hashing does not fail");
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// The number.
    pub fn value(&self) -> u128 {
        self.hash
    }
}

impl Write for Fingerprint {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if s == "Instant" {
            self.in_instant = true;
        } else if self.in_instant
            && let Ok(at) = s.parse::<u64>()
        {
            self.in_instant = false;
            let oldest = self.now.0.saturating_sub(self.horizon);
            let distance = i128::from(at.max(oldest)) - i128::from(self.now.0);
            self.bytes(&distance.to_le_bytes());
            return Ok(());
        }
        self.bytes(s.as_bytes());
        Ok(())
    }
}

impl<S: Scheme> Core<S> {
    /// Adds all that decides what this core does from now on. Left out are counters, the history
    /// kept for others, which follows from what was committed, and the reading of the wall clock.
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Core {
            id,
            keyring: _,
            start_keys: _,
            noted_keys,
            signer: _,
            timing: _,
            limits: _,
            seed: _,
            incarnation,
            epoch,
            members,
            rounds,
            order,
            history: _,
            change,
            clock,
            wants,
            mine,
            changes,
            unsent,
            unsent_is_stale,
            sent,
            sent_at,
            committed,
            attestation,
            last_wall: _,
            started_at,
            ahead,
            passed_on,
            gather,
            waiting,
            lags,
            blocked,
            heard,
            doubters,
            doubt,
            vector_is_work,
            wanted,
            blank,
            resumed,
            found: _,
            abstains,
            replaced,
            unsigned,
            lost,
            astray,
            signed,
            logged: _,
            based: _,
            unplaced: _,
            legs: _,
            durable,
            leaving,
            key_news,
            stats: _,
        } = self;
        into.bytes(&order.encode());
        #[rustfmt::skip]
        let parts: [&dyn Debug; 40] = [
            id, incarnation, epoch, members, rounds, change, clock, wants, mine, changes,
            unsent, unsent_is_stale, sent, sent_at, committed, attestation, started_at, ahead,
            passed_on, gather, waiting, lags, blocked, heard, doubters, doubt, vector_is_work,
            wanted, blank, resumed, leaving, key_news,
            noted_keys, abstains, replaced, unsigned, lost, astray, durable, signed,
        ];
        parts.into_iter().for_each(|part| into.add(part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(now: u64, value: &dyn Debug) -> u128 {
        let mut f = Fingerprint::new(Instant(now), 1000);
        f.add(value);
        f.value()
    }

    #[test]
    fn instants_count_by_their_distance_and_only_so_far() {
        let pair = |at| (Some(Instant(at)), 7u64);
        assert_eq!(of(5000, &pair(4500)), of(6000, &pair(5500)));
        assert_ne!(of(5000, &pair(4500)), of(5000, &pair(4501)));
        assert_ne!(of(5000, &pair(4500)), of(5000, &pair(5500)));
        assert_eq!(of(5000, &pair(1)), of(5000, &pair(2)), "both are long ago");
        assert_ne!(of(5000, &(Instant(4500), 7u64)), of(5000, &(Instant(4500), 8u64)));
        assert_ne!(of(5000, &7u64), of(6000, &8u64));
        assert_eq!(of(5000, &7u64), of(6000, &7u64));
    }
}
