//! One file of the disk in memory: what is durable, and what was written since.

use super::Dice;

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    durable: Vec<u8>,
    now: Vec<u8>,
    /// What happened since the last sync, in order.
    changes: Vec<Change>,
    stale: Option<(Vec<u8>, u64)>,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

impl Change {
    pub(super) fn write(offset: u64, bytes: &[u8]) -> Self {
        Self::Write(offset, bytes.to_vec())
    }

    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write(offset, bytes) => put(content, *offset, bytes),
            Change::Truncate(length) => content.truncate(index(*length)),
        }
    }

    // Applies a part of it, as the dice choose; none of it at a 0.
    fn apply_torn(&self, content: &mut Vec<u8>, dice: Dice<'_>) {
        let Change::Write(offset, bytes) = self else {
            if dice(2) == 1 {
                self.apply(content);
            }
            return;
        };
        match dice(4) {
            0 => {}
            1 => self.apply(content),
            2 => {
                let cut = index(dice(bytes.len() as u64 + 1));
                put(content, *offset, &bytes[..cut]);
            }
            _ => {
                // Sectors by their places on the disk, not in the write.
                let mut at = 0;
                while at < bytes.len() {
                    let end = SECTOR - (index(*offset) + at) % SECTOR;
                    let end = (at + end).min(bytes.len());
                    if dice(2) == 1 {
                        put(content, *offset + at as u64, &bytes[at..end]);
                    }
                    at = end;
                }
            }
        }
    }
}

impl File {
    pub(super) fn durable(bytes: &[u8]) -> Self {
        Self { durable: bytes.to_vec(), now: bytes.to_vec(), ..Self::default() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.now
    }

    pub(super) fn is_synced(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.changes.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.changes.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// What was written since the last sync stays readable and will never be durable.
    pub(super) fn forget_changes(&mut self) {
        self.changes.clear();
    }

    pub(super) fn lose_power(&mut self, dice: Dice<'_>) {
        for change in self.changes.drain(..) {
            change.apply_torn(&mut self.durable, dice);
        }
        self.now = self.durable.clone();
    }

    pub(super) fn flip(&mut self, offset: u64, bit: u8) -> bool {
        let mut flipped = false;
        for content in [&mut self.durable, &mut self.now] {
            if let Some(byte) = content.get_mut(index(offset)) {
                *byte ^= 1 << (bit % 8);
                flipped = true;
            }
        }
        flipped
    }

    /// Writes over what is there, durably.
    pub(super) fn overwrite(&mut self, offset: u64, bytes: &[u8]) {
        put(&mut self.durable, offset, bytes);
        put(&mut self.now, offset, bytes);
    }

    pub(super) fn serve_stale(&mut self, times: u64) {
        self.stale = Some((self.now.clone(), times));
    }

    pub(super) fn read(&mut self, offset: u64, into: &mut [u8]) -> usize {
        let stale = self.stale.take_if(|(_, times)| *times == 0).is_none();
        let content = match &mut self.stale {
            Some((old, times)) if stale => {
                *times -= 1;
                &*old
            }
            _ => &self.now,
        };
        let rest = content.get(index(offset)..).unwrap_or_default();
        // What was not there then reads as zeros, as far as the file is long now.
        let there = self.now.len().saturating_sub(index(offset)).min(into.len());
        let known = rest.len().min(there);
        into[..there].fill(0);
        into[..known].copy_from_slice(&rest[..known]);
        there
    }
}

fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (index(offset), index(offset) + bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
