//! The table as bytes.
//!
//! Sessions stand in the order of their last use, longest ago first; there is one encoding of each
//! table, and reading refuses everything else.

use super::{Evicted, Key, SessionTable, Slot, Stored, StoredReply};
use crate::service::sessions::session::Session;
use crate::service::{Frozen, RestoreError};
use crate::types::SessionId;
use crate::wire::{DecodeError, MAX_FRAME, Reader, StepPosition, Writer};
use bytes::Bytes;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"quose/2\n";
/// The shortest session: client, nonce, last use, mark, flag of the opening, count of slots.
const MIN_SESSION: usize = 32 + 8 + 8 + 8 + 1 + 4;

/// The reply to an opening, about.
const OPENING: usize = 128;

const FREE: u8 = 0;
const SPENT: u8 = 1;
const STORED: u8 = 2;

/// A table as it was at one moment, to be made into bytes later.
#[derive(Clone, Debug)]
pub struct FrozenSessions {
    uses: u64,
    /// What the stored replies count for.
    held: u64,
    sessions: Vec<(Key, Arc<Session>)>,
    evicted: Evicted,
}

impl Frozen for FrozenSessions {
    fn size_hint(&self) -> usize {
        let held = usize::try_from(self.held).unwrap_or(usize::MAX);
        let sessions = self.sessions.len() * (MIN_SESSION + OPENING);
        let before = MAGIC.len() + 12 + self.evicted.size();
        before.saturating_add(sessions).saturating_add(held)
    }

    fn write(&self, out: &mut Writer) {
        out.raw(MAGIC).u64(self.uses);
        self.evicted.write(out);
        out.count(self.sessions.len());
        let mut by_use: Vec<&(Key, Arc<Session>)> = self.sessions.iter().collect();
        by_use.sort_unstable_by_key(|(_, session)| session.last_used);
        for ((client, id), session) in by_use {
            out.raw(&client.0).u64(id.0).u64(session.last_used).u64(session.low);
            out.bool(session.opened.is_some());
            if let Some(opened) = &session.opened {
                write_stored(out, opened);
            }
            out.count(session.slots.len());
            for slot in &session.slots {
                match slot {
                    Slot::Free => {
                        out.u8(FREE);
                    }
                    Slot::Spent => {
                        out.u8(SPENT);
                    }
                    Slot::Stored(stored) => {
                        out.u8(STORED);
                        write_stored(out, stored);
                    }
                }
            }
        }
    }
}

impl SessionTable {
    /// The table as it is now. Costs a pointer for each session; what they hold is shared.
    pub fn freeze(&self) -> FrozenSessions {
        let sessions = self.sessions.iter().map(|(key, session)| (*key, session.clone())).collect();
        let evicted = self.evicted.clone();
        FrozenSessions { uses: self.uses, held: self.held, sessions, evicted }
    }

    /// The whole table as bytes: equal tables give equal bytes. Limits are not in it.
    pub fn snapshot(&self) -> Vec<u8> {
        let frozen = self.freeze();
        let mut out = Writer::with_capacity(frozen.size_hint());
        frozen.write(&mut out);
        out.into_bytes()
    }

    /// Replaces the table by one that [`SessionTable::snapshot`] gave; the limits stay.
    ///
    /// # Errors
    /// If the bytes are no snapshot, or of a table above these limits; nothing is changed then.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let mut table = Self::new(self.limits);
        table.read(snapshot).map_err(|e| RestoreError(format!("session table: {e}")))?;
        *self = table;
        Ok(())
    }

    fn read(&mut self, snapshot: &[u8]) -> Result<(), DecodeError> {
        let mut r = Reader::new(snapshot);
        if r.raw(MAGIC.len(), "magic")? != MAGIC {
            return Err(DecodeError { what: "not a session table of this version", at: 0 });
        }
        self.uses = r.u64("uses")?;
        // No group executes so many requests; it keeps the next use from overflowing.
        if self.uses > u64::MAX / 2 {
            return Err(r.error("uses"));
        }
        self.evicted = Evicted::read(&mut r)?;
        let n = r.count(self.limits.max_sessions as usize, MIN_SESSION, "sessions")?;
        let mut used_before = 0;
        for _ in 0..n {
            let key = (r.client("client")?, SessionId(r.u64("session")?));
            let mut session = self.read_session(&mut r)?;
            if session.last_used <= used_before || session.last_used > self.uses {
                return Err(r.error("sessions not in the order of their use"));
            }
            self.held = self.held.saturating_add(session.held);
            if self.held > self.limits.reply_bytes {
                return Err(r.error("more bytes of replies than the limit"));
            }
            used_before = session.last_used;
            self.by_use.insert((key.0, session.last_used), key.1);
            self.count(&key.0, 1);
            session.is_dirty = true;
            self.dirty.insert(key);
            if self.sessions.insert(key, Arc::new(session)).is_some() {
                return Err(r.error("a session twice"));
            }
        }
        r.finish()
    }

    fn read_session(&self, r: &mut Reader<'_>) -> Result<Session, DecodeError> {
        let mut session = Session::new();
        session.last_used = r.u64("last use")?;
        session.low = r.u64("low-water mark")?;
        if session.low == 0 {
            return Err(r.error("low-water mark"));
        }
        if r.bool("flag of the opening")? {
            session.opened = Some(read_stored(r)?);
        }
        let n = r.count(self.limits.window as usize, 1, "numbers above the low-water mark")?;
        if n > 0 && u64::MAX - session.low < n as u64 - 1 {
            return Err(r.error("numbers above the largest number"));
        }
        session.slots.reserve(n);
        for _ in 0..n {
            session.slots.push_back(match r.u8("kind of slot")? {
                FREE => Slot::Free,
                SPENT => Slot::Spent,
                STORED => {
                    let stored = read_stored(r)?;
                    session.held = session.held.saturating_add(stored.weight());
                    Slot::Stored(stored)
                }
                _ => return Err(r.error("kind of slot")),
            });
        }
        if matches!(session.slots.back(), Some(Slot::Free)) {
            return Err(r.error("free numbers after the last executed one"));
        }
        Ok(session)
    }
}

fn write_stored(out: &mut Writer, stored: &Stored) {
    let StoredReply { position, index, outcome } = &stored.reply;
    out.digest(&stored.request).round(position.round).digest(&position.vector);
    out.u32(*index).var(outcome);
}

fn read_stored(r: &mut Reader<'_>) -> Result<Arc<Stored>, DecodeError> {
    let request = r.digest("digest of a request")?;
    let round = r.round("round of a reply")?;
    let position = StepPosition { round, vector: r.digest("vector of a reply")? };
    let index = r.u32("index of a reply")?;
    let outcome = Bytes::copy_from_slice(r.var(MAX_FRAME, "outcome")?);
    Ok(Arc::new(Stored::new(request, StoredReply { position, index, outcome })))
}
