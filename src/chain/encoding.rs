//! States as bytes, made beside the replica.
//!
//! That takes as long as a state is large, so the driver does it on another thread, from the state
//! as it was frozen, and updates are executed meanwhile. One is made at a time. It is of the
//! history whatever happens until it is there: what is executed is never cut off (CH-F3). Only
//! when a state comes from the predecessor is one of before of no use any more.

use super::{Action, Actions, Chain};
use crate::service::Frozen;
use crate::service::sessions::FrozenSessions;
use crate::types::AgreedTime;
use crate::wire::{ChainPosition, Layout, Writer};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// The first bytes of a state.
pub(super) const MAGIC: &[u8; 8] = b"quoch/1\n";

/// A state of a chain's replica as it was at one moment, to be made into bytes on any thread.
/// A clone is the same one.
#[derive(Clone)]
pub struct Encoding(Arc<Parts>);

struct Parts {
    at: ChainPosition,
    time: AgreedTime,
    sessions: FrozenSessions,
    service: Box<dyn Frozen>,
}

impl Encoding {
    pub(super) fn new(
        at: ChainPosition,
        time: AgreedTime,
        sessions: FrozenSessions,
        service: Box<dyn Frozen>,
    ) -> Self {
        Self(Arc::new(Parts { at, time, sessions, service }))
    }

    /// The number after whose execution this was the state.
    pub fn number(&self) -> u64 {
        self.0.at.number
    }

    /// The one encoding: equal states give equal bytes. Takes as long as the state is large.
    pub fn run(&self) -> Bytes {
        let Parts { at, time, sessions, service } = &*self.0;
        let hint = sessions.size_hint().saturating_add(service.size_hint()).saturating_add(64);
        let mut out = Writer::with_capacity(hint);
        at.put(out.raw(MAGIC));
        let place = out.u64(time.0).len();
        sessions.write(out.u64(0));
        out.set_u64(place, (out.len() - place - 8) as u64);
        service.write(&mut out);
        out.into_bytes().into()
    }
}

/// Whether they are the same one.
impl PartialEq for Encoding {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Encoding {}

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoding").field("at", &self.0.at).finish_non_exhaustive()
    }
}

/// The state that is being made.
#[derive(Clone, Debug, Default)]
pub(super) struct Maker {
    /// Names the last one.
    asked: u64,
    /// Its number, and whether it is for the disk; `None`: none is made.
    making: Option<(u64, bool)>,
    /// Bytes of the last state that was saved or taken up.
    last: u64,
}

impl Maker {
    /// The number of the state that is being made.
    pub(super) fn number(&self) -> Option<u64> {
        self.making.map(|(number, _)| number)
    }

    /// A state of so many bytes is in place of everything: what is being made is not waited for.
    pub(super) fn begin_anew(&mut self, bytes: usize) {
        (self.making, self.last) = (None, bytes as u64);
    }
}

impl Chain {
    fn make(&mut self, saves: bool, out: &mut Actions) {
        let work = self.executor.freeze();
        self.maker.asked += 1;
        self.maker.making = Some((work.number(), saves));
        out.push(Action::Encode { id: self.maker.asked, work });
    }

    /// Has a state saved when the log has grown enough, and one made that a successor wants.
    pub(super) fn make_states(&mut self, out: &mut Actions) {
        if self.maker.number().is_some() {
            return;
        }
        let limit = self.setup.limits.log_bytes.max(self.maker.last).max(1);
        let saves = self.setup.durable && self.history.grown() >= limit;
        if saves {
            self.history.state_taken();
        }
        if saves || self.down.wants_state() {
            self.make(saves, out);
        }
    }

    /// What [`Action::Encode`] asked for is there.
    pub(super) fn encoded(&mut self, id: u64, state: Bytes, out: &mut Actions) {
        if id != self.maker.asked {
            return;
        }
        let Some((number, saves)) = self.maker.making.take() else { return };
        if saves {
            self.maker.last = state.len() as u64;
            self.log.save(number, state.clone(), out);
        }
        // It may have been begun for the disk, before the successor asked: then what follows it
        // may be gone, and the next one is made.
        if self.down.wants_state() && self.history.position_at(number).is_some() {
            self.give(number, state, out);
        }
    }
}
