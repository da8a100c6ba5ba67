//! `kv`: keys and values, both bytes, with the few commands that make them useful.
//!
//! [`Command`] and [`Output`] say what can be asked and what comes back, byte for byte. The state
//! is an ordered map, so scans and snapshots have one order everywhere. Every command works out
//! its answer first and then makes at most one change, so one that failed has changed nothing.
//! The map's copies share what was not written since (`pages.rs`), so a snapshot is taken in
//! microseconds and its bytes are made later, beside the service.

mod command;
mod list;
mod output;
mod pages;

pub use command::{Command, MAX_KEY, MAX_SCAN, MAX_VALUE};
pub use output::{MAX_SCAN_BYTES, Output};

use super::{Frozen, RestoreError, Service, Touches};
use crate::crypto::{Domain, Hasher, MultisetHash};
use crate::types::{AgreedTime, ClientId, Digest};
use crate::wire::{DecodeError, Reader, Writer};
use bytes::Bytes;
use pages::{Pages, Spot};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Bound;

/// Keys that may wait for their part in the state digest: a write beyond that settles one. A key
/// that is written often is settled once for many writes. To settle so many at once takes some 10
/// milliseconds, which is why most are before a checkpoint comes ([`Service::settle`]).
const MAX_DIRTY: usize = if cfg!(test) { 4 } else { 8192 };

/// First bytes of a snapshot.
const MAGIC: &[u8; 8] = b"quokv/1\n";

/// The key-value service.
///
/// Keys and values are copied into the map, so that it never keeps a whole network buffer alive
/// for the sake of a few bytes.
#[derive(Clone, Default)]
pub struct Kv {
    /// Each with the digest under which `set` has it; zero if it has it not.
    entries: Pages,
    /// The keys of all entries that are dirty, which `set` has as they were, in the order in which
    /// they became it, and where they were then; and of some that are not, or are gone. At most
    /// [`MAX_DIRTY`].
    dirty: VecDeque<(Spot, Vec<u8>)>,
    /// The entries, dirty ones as they were when they became dirty.
    set: MultisetHash,
    /// Whether the state digest was ever asked for. Until then `dirty` and `set` are empty: who
    /// never asks, as a chain does, does not pay for it.
    digests: bool,
}

/// What a command will do to the state.
enum Change<'a> {
    Set(&'a [u8], Cow<'a, [u8]>),
    Remove(&'a [u8]),
}

impl Kv {
    /// The service's name in configurations.
    pub const NAME: &'static str = "kv";

    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries.get(key).map(|e| e.value())
    }

    /// The answer to a command, and the change that it makes. Touches nothing.
    fn plan<'a>(&self, time: AgreedTime, command: Command<'a>) -> (Output, Option<Change<'a>>) {
        match command {
            Command::Put { key, value } => {
                (Output::Done, Some(Change::Set(key, Cow::Borrowed(value))))
            }
            Command::Get { key } => {
                (self.current(key).map_or(Output::Missing, Output::Value), None)
            }
            Command::Delete { key } if self.entries.get(key).is_some() => {
                (Output::Done, Some(Change::Remove(key)))
            }
            Command::Delete { .. } => (Output::Missing, None),
            Command::Cas { key, old, new } => {
                let current = self.current(key);
                if current.as_deref() == old {
                    (Output::Done, Some(Change::Set(key, Cow::Borrowed(new))))
                } else {
                    (Output::Mismatch { current }, None)
                }
            }
            Command::Incr { key, by } => match self.sum(key, by) {
                Ok(n) => {
                    let text = Cow::Owned(n.to_string().into_bytes());
                    (Output::Number(n), Some(Change::Set(key, text)))
                }
                Err(why) => (Output::Error(why.into()), None),
            },
            Command::Scan { prefix, after, limit } => (self.scan(prefix, after, limit), None),
            Command::Ping { .. } => (Output::Time(time), None),
        }
    }

    fn current(&self, key: &[u8]) -> Option<Bytes> {
        self.entries.get(key).map(|e| Bytes::copy_from_slice(e.value()))
    }

    /// The number at `key`, 0 if there is none, plus `by`.
    fn sum(&self, key: &[u8], by: i64) -> Result<i64, &'static str> {
        let Some(entry) = self.entries.get(key) else { return Ok(by) };
        let number = std::str::from_utf8(entry.value()).ok().and_then(|text| text.parse().ok());
        let number: i64 = number.ok_or("the value is not a whole number of 64 bits in decimal")?;
        number.checked_add(by).ok_or("the sum does not fit into a whole number of 64 bits")
    }

    fn scan(&self, prefix: &[u8], after: &[u8], limit: u32) -> Output {
        // A key below the prefix as `after` would start the walk among keys that do not fit.
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let mut entries = Vec::new();
        let mut bytes = 0;
        for entry in self.entries.range(from) {
            let (key, value) = (entry.key(), entry.value());
            if !key.starts_with(prefix) {
                break;
            }
            bytes += Output::ENTRY_OVERHEAD + key.len() + value.len();
            if entries.len() == limit as usize || bytes > MAX_SCAN_BYTES {
                return Output::Entries { entries, more: true };
            }
            entries.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        }
        Output::Entries { entries, more: false }
    }

    /// Brings `set` up to date for an entry, if it is dirty.
    fn settle_key(&mut self, spot: Spot, key: &[u8]) {
        let entry = self.entries.get_mut_near(spot, key).filter(|e| e.dirty);
        let Some(entry) = entry else { return };
        let new = digest_of(key, entry.value());
        entry.dirty = false;
        let old = std::mem::replace(&mut entry.digest, new);
        if old != new {
            if old != Digest::ZERO {
                self.set.remove(&old);
            }
            self.set.add(&new);
        }
    }

    /// A key became dirty. The one that has been it longest is settled if there are too many.
    fn soil(&mut self, spot: Spot, key: &[u8]) {
        let mut room = Vec::new();
        if self.dirty.len() >= MAX_DIRTY
            && let Some((spot, first)) = self.dirty.pop_front()
        {
            self.settle_key(spot, &first);
            room = first;
        }
        room.clear();
        room.extend_from_slice(key);
        self.dirty.push_back((spot, room));
    }

    fn apply(&mut self, change: Change<'_>) {
        match change {
            Change::Set(key, value) => {
                let spot = self.entries.set(key, &value).filter(|_| self.digests);
                if let Some(spot) = spot {
                    self.soil(spot, key);
                }
            }
            Change::Remove(key) => {
                let old = self.entries.remove(key).filter(|old| *old != Digest::ZERO);
                old.iter().for_each(|old| self.set.remove(old));
            }
        }
    }

    /// Looks whether bytes are a snapshot.
    fn check(snapshot: &[u8]) -> Result<(), DecodeError> {
        for_each(snapshot, |_, _| {})
    }
}

/// Goes through the entries of a snapshot in their order.
fn for_each(snapshot: &[u8], mut take: impl FnMut(&[u8], &[u8])) -> Result<(), DecodeError> {
    let mut r = Reader::new(snapshot);
    if r.raw(MAGIC.len(), "magic")? != MAGIC {
        return Err(DecodeError { what: "not a kv snapshot of this version", at: 0 });
    }
    // The shortest entry is a key of one byte, an empty value and the two lengths.
    let n = r.count(u32::MAX as usize, Output::ENTRY_OVERHEAD + 1, "entries")?;
    let mut last: &[u8] = b"";
    for _ in 0..n {
        let key = r.var(MAX_KEY, "key")?;
        // Also refuses the empty key, since `last` starts there.
        if key <= last {
            return Err(r.error("keys out of order"));
        }
        take(key, r.var(MAX_VALUE, "value")?);
        last = key;
    }
    r.finish()
}

impl Frozen for Pages {
    fn size_hint(&self) -> usize {
        MAGIC.len() + 4 + self.len() * Output::ENTRY_OVERHEAD + self.bytes()
    }

    fn write(&self, out: &mut Writer) {
        out.raw(MAGIC).count(self.len());
        for entry in self.range(Bound::Unbounded) {
            out.var(entry.key()).var(entry.value());
        }
    }
}

impl Service for Kv {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn execute(&mut self, time: AgreedTime, _: &ClientId, command: &[u8]) -> Vec<u8> {
        let (output, change) = match Command::parse(command) {
            Ok(command) => self.plan(time, command),
            Err(e) => return Output::malformed(&e).encode(),
        };
        // All that could fail comes before the change: see `unchanged_after_panic`.
        let bytes = output.encode();
        if let Some(change) = change {
            self.apply(change);
        }
        bytes
    }

    fn query(&self, time: AgreedTime, _: &ClientId, command: &[u8]) -> Vec<u8> {
        match Command::parse(command) {
            Ok(command) if command.is_read_only() => self.plan(time, command).0.encode(),
            Ok(_) => Output::Error("a query cannot write; send it as a command".into()).encode(),
            Err(e) => Output::malformed(&e).encode(),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(self.entries.size_hint());
        self.entries.write(&mut out);
        out.into_bytes()
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.entries.clone())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        Self::check(snapshot).map_err(|e| RestoreError(e.to_string()))?;
        // The old state goes before the new one is made: two large ones need not fit.
        *self = Self::new();
        let read = for_each(snapshot, |key, value| self.entries.add_last(key, value));
        read.map_err(|e| RestoreError(e.to_string()))
    }

    fn digest(&mut self) -> Digest {
        if !std::mem::replace(&mut self.digests, true) {
            self.entries.each_mut(|entry| {
                (entry.digest, entry.dirty) = (digest_of(entry.key(), entry.value()), false);
                self.set.add(&entry.digest);
            });
        }
        self.settle(1);
        self.set.digest()
    }

    fn settle(&mut self, left: u64) {
        let due = self.dirty.len().div_ceil(usize::try_from(left.max(1)).unwrap_or(usize::MAX));
        for _ in 0..due {
            let Some((spot, key)) = self.dirty.pop_front() else { return };
            self.settle_key(spot, &key);
        }
    }

    fn touches(&self, command: &[u8]) -> Touches {
        touches(command)
    }

    fn unchanged_after_panic(&self) -> bool {
        true
    }
}

/// What a command of this service touches.
pub fn touches(command: &[u8]) -> Touches {
    match Command::parse(command) {
        Ok(
            Command::Put { key, .. }
            | Command::Get { key }
            | Command::Delete { key }
            | Command::Cas { key, .. }
            | Command::Incr { key, .. },
        ) => Touches::Keys(vec![Bytes::copy_from_slice(key)]),
        Ok(Command::Scan { prefix: b"", .. }) => Touches::All,
        Ok(Command::Scan { prefix, .. }) => Touches::Prefix(Bytes::copy_from_slice(prefix)),
        // Neither looks at the state.
        Ok(Command::Ping { .. }) | Err(_) => Touches::Keys(Vec::new()),
    }
}

fn digest_of(key: &[u8], value: &[u8]) -> Digest {
    let mut h = Hasher::new(Domain::Entry);
    h.put_var(key).put_var(value);
    h.finish()
}

#[cfg(test)]
mod tests;
