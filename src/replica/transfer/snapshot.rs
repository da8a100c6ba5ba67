//! A snapshot: the whole state of a group after the step of a checkpoint, as one byte string.
//!
//! Equal states give equal bytes at every replica. The bytes carry no digest of themselves: what
//! is attested is a digest of the state, which whoever takes it in computes anew (§7).

use crate::crypto::{Domain, Hasher};
use crate::service::Frozen;
use crate::service::sessions::FrozenSessions;
use crate::types::{AgreedTime, Digest, Round};
use crate::wire::{DecodeError, Reader, StepPosition, Writer};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"quosn/1\n";

/// What is known of a state besides its three parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) struct Head {
    /// The last executed step: that of the checkpoint.
    pub(in crate::replica) position: StepPosition,
    /// The running root after it.
    pub(in crate::replica) running: Digest,
    /// Its agreed time.
    pub(in crate::replica) time: AgreedTime,
    /// Requests executed so far.
    pub(in crate::replica) executed: u64,
}

impl Head {
    /// The state digest that replicas attest at a checkpoint (§3, attestation). It covers all that
    /// a snapshot holds.
    pub(in crate::replica) fn digest(
        &self,
        ordering: &Digest,
        sessions: &Digest,
        service: &Digest,
    ) -> Digest {
        let mut h = Hasher::new(Domain::State);
        h.put_u64(self.position.round.0).put(&self.position.vector.0).put(&self.running.0);
        h.put_u64(self.time.0).put_u64(self.executed);
        h.put(&ordering.0).put(&sessions.0).put(&service.0);
        h.finish()
    }
}

/// The whole state after the step of a checkpoint, as it was then, whatever was executed since.
/// Its bytes are made when somebody wants them, on any thread. A clone is the same one.
#[derive(Clone)]
pub struct FrozenState(Arc<Parts>);

struct Parts {
    head: Head,
    ordering: Bytes,
    sessions: FrozenSessions,
    service: Box<dyn Frozen>,
}

/// Bytes of a snapshot besides its three parts.
const OVERHEAD: usize = 8 + 8 + 32 + 32 + 8 + 8 + 3 * 8;

impl FrozenState {
    pub(in crate::replica) fn new(
        head: Head,
        ordering: Bytes,
        sessions: FrozenSessions,
        service: Box<dyn Frozen>,
    ) -> Self {
        Self(Arc::new(Parts { head, ordering, sessions, service }))
    }

    /// The same with another state of the service: no state that there ever was.
    pub(in crate::replica) fn with_service(&self, service: Box<dyn Frozen>) -> Self {
        let Parts { head, ordering, sessions, .. } = &*self.0;
        Self::new(*head, ordering.clone(), sessions.clone(), service)
    }

    /// The round of its checkpoint.
    pub fn round(&self) -> Round {
        self.0.head.position.round
    }

    /// About how many bytes [`FrozenState::to_bytes`] gives, rather more than fewer.
    pub fn size_hint(&self) -> usize {
        let Parts { ordering, sessions, service, .. } = &*self.0;
        let parts = sessions.size_hint().saturating_add(service.size_hint());
        parts.saturating_add(ordering.len()).saturating_add(OVERHEAD)
    }

    /// The one encoding, in one allocation. Takes as long as the state is large.
    pub fn to_bytes(&self) -> Bytes {
        let Parts { head, ordering, sessions, service } = &*self.0;
        let mut out = Writer::with_capacity(self.size_hint());
        let Head { position, running, time, executed } = head;
        out.raw(MAGIC).round(position.round).digest(&position.vector).digest(running);
        out.u64(time.0).u64(*executed);
        // A state may be larger than the four bytes of a usual length can say.
        out.u64(ordering.len() as u64).raw(ordering);
        for part in [sessions as &dyn Frozen, &**service] {
            let at = out.len();
            part.write(out.u64(0));
            out.set_u64(at, (out.len() - at - 8) as u64);
        }
        out.into_bytes().into()
    }
}

/// Whether they are the same one.
impl PartialEq for FrozenState {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for FrozenState {}

impl fmt::Debug for FrozenState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrozenState").field("head", &self.0.head).finish_non_exhaustive()
    }
}

/// A snapshot that was read: the whole state after the step of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::replica) struct Snapshot {
    pub(in crate::replica) head: Head,
    /// The ordering core's part.
    pub(in crate::replica) ordering: Bytes,
    /// The session table's part.
    pub(in crate::replica) sessions: Bytes,
    /// The service's part.
    pub(in crate::replica) service: Bytes,
}

impl Snapshot {
    /// Reads what [`FrozenState::to_bytes`] gave; its parts are not looked at.
    ///
    /// # Errors
    /// If it is anything else.
    pub(in crate::replica) fn parse(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.raw(MAGIC.len(), "magic")? != MAGIC {
            return Err(DecodeError { what: "not a snapshot of this version", at: 0 });
        }
        let round = r.round("round of the snapshot")?;
        let position = StepPosition { round, vector: r.digest("vector of the snapshot")? };
        let running = r.digest("running root of the snapshot")?;
        let time = AgreedTime(r.u64("time of the snapshot")?);
        let executed = r.u64("executed requests of the snapshot")?;
        let head = Head { position, running, time, executed };
        let ordering = read_part(&mut r, bytes, "ordering state")?;
        let sessions = read_part(&mut r, bytes, "session table")?;
        let service = read_part(&mut r, bytes, "state of the service")?;
        r.finish()?;
        Ok(Self { head, ordering, sessions, service })
    }
}

/// A part, which shares the memory of the whole.
fn read_part(r: &mut Reader<'_>, bytes: &Bytes, what: &'static str) -> Result<Bytes, DecodeError> {
    let length = usize::try_from(r.u64(what)?).map_err(|_| r.error(what))?;
    let start = r.place();
    r.raw(length, what)?;
    Ok(bytes.slice(start..start + length))
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
