//! What a cluster takes over from the one before it, when data moves to another fault model.
//!
//! | at | bytes | |
//! | --- | --- | --- |
//! | 0 | 8 | `QUORCARR` |
//! | 8 | 4 | version of the format, 1 |
//! | 12 | 32 | the cluster that it is of |
//! | 44 | 4 | how many starts follow |
//! | 48 | 9 each | a replica and how often it had been started on its disk |
//! | | 8 | agreed time of the last step |
//! | | 8 | length of the sessions |
//! | | | sessions, as [`SessionTable::snapshot`] gives them |
//! | | | state of the service, as [`super::Service::snapshot`] gives it |
//!
//! There is no checksum: whoever reads it knows its digest.

use super::RestoreError;
use super::sessions::{SessionLimits, SessionTable};
use crate::crypto::{Domain, hash};
use crate::types::{AgreedTime, Digest, MAX_T, OrderLimits, ReplicaId};
use crate::wire::{DecodeError, Reader, Writer};
use bytes::Bytes;

const MAGIC: &[u8; 8] = b"QUORCARR";
const VERSION: u32 = 1;
/// Bytes of a replica with its starts.
const START: usize = 9;

/// A whole state that goes over to another cluster: nothing of it runs twice there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The cluster that it is of.
    pub from: Digest,
    /// How often each replica had been started on the disk that it was taken from: who was started
    /// since may hold more.
    pub starts: Vec<(ReplicaId, u64)>,
    /// Agreed time of the last step. It does not go back in the new cluster.
    pub time: AgreedTime,
    /// The session table, with the stored replies.
    pub sessions: Bytes,
    /// The state of the service.
    pub service: Bytes,
}

/// What a replica of the new cluster begins with besides the state of its service.
#[derive(Clone, Debug)]
pub struct Inherited {
    /// Agreed time never is before this.
    pub time: AgreedTime,
    /// The sessions that are open at the beginning.
    pub sessions: SessionTable,
}

/// Why bytes are no carried state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarriedError {
    /// They do not begin like one.
    #[error("it is no carried state: give a file that `quorate convert` has made")]
    Other,
    /// They are of a version that this program does not know.
    #[error("it has version {0} of the format: use the program that wrote it")]
    Version(u32),
    /// Something is missing.
    #[error("it is damaged ({0}): take another copy of it")]
    Damaged(DecodeError),
}

impl Carried {
    /// What is carried over: `sessions` as they are in the old cluster. From which one it is is to
    /// be said yet.
    pub fn new(time: AgreedTime, sessions: &SessionTable, service: Bytes) -> Self {
        let sessions = sessions.carried_over().snapshot().into();
        Self { from: Digest::ZERO, starts: Vec::new(), time, sessions, service }
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = 64 + START * self.starts.len();
        let mut out = Writer::with_capacity(head + self.sessions.len() + self.service.len());
        out.raw(MAGIC).u32(VERSION).digest(&self.from).count(self.starts.len());
        for (replica, starts) in &self.starts {
            out.u8(replica.number()).u64(*starts);
        }
        out.u64(self.time.0);
        out.u64(self.sessions.len() as u64).raw(&self.sessions).raw(&self.service);
        out.into_bytes()
    }

    /// Reads a file; the parts share its memory.
    ///
    /// # Errors
    /// If it is none. Whether the parts are what they should be is not looked at.
    pub fn parse(bytes: &Bytes) -> Result<Self, CarriedError> {
        let mut r = Reader::new(bytes);
        if r.raw(MAGIC.len(), "magic") != Ok(MAGIC) {
            return Err(CarriedError::Other);
        }
        let version = r.u32("version").map_err(CarriedError::Damaged)?;
        if version != VERSION {
            return Err(CarriedError::Version(version));
        }
        let read = |r: &mut Reader<'_>| {
            let from = r.digest("cluster")?;
            let n = r.count(2 * usize::from(MAX_T) + 1, START, "starts")?;
            let mut starts = Vec::with_capacity(n);
            for _ in 0..n {
                let replica = ReplicaId::new(r.u8("replica")?);
                let replica = replica.ok_or_else(|| r.error("replica"))?;
                starts.push((replica, r.u64("starts of a replica")?));
            }
            let time = AgreedTime(r.u64("time")?);
            let length = usize::try_from(r.u64("length of the sessions")?).unwrap_or(usize::MAX);
            let at = r.place();
            r.raw(length, "sessions")?;
            let (sessions, service) = (bytes.slice(at..r.place()), bytes.slice(r.place()..));
            Ok(Self { from, starts, time, sessions, service })
        };
        read(&mut r).map_err(CarriedError::Damaged)
    }

    /// Its digest, as a cluster file names it. Never that of the bare state of a service.
    pub fn digest(bytes: &[u8]) -> Digest {
        hash(Domain::Carried, bytes)
    }

    /// What a replica begins with besides the state of its service.
    ///
    /// # Errors
    /// If the sessions are none, or more than these limits allow.
    pub fn inherited(&self, limits: &OrderLimits) -> Result<Inherited, RestoreError> {
        let mut sessions = SessionTable::new(SessionLimits::of(limits));
        sessions.restore(&self.sessions)?;
        Ok(Inherited { time: self.time, sessions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::sessions::{Admission, Lookup, StoredReply};
    use crate::types::{ClientId, Round, SessionId};
    use crate::wire::StepPosition;

    const CLIENT: ClientId = ClientId([1; 32]);
    const SESSION: SessionId = SessionId(7);

    fn reply(round: u64) -> StoredReply {
        let position = StepPosition { round: Round(round), vector: Digest([9; 32]) };
        StoredReply { position, index: 3, outcome: Bytes::from(format!("reply {round}")) }
    }

    fn table() -> SessionTable {
        let mut table = SessionTable::new(SessionLimits::of(&OrderLimits::default()));
        for number in [0, 1, 2] {
            table.admit(&CLIENT, SESSION, number, 1, &Digest([number as u8 + 1; 32]));
            let digest = Digest([number as u8 + 1; 32]);
            table.record(&CLIENT, SESSION, number, &digest, reply(number));
        }
        table
    }

    #[test]
    fn a_repeat_gets_the_former_reply_under_any_digest_and_what_is_new_runs() {
        let carried = Carried::new(AgreedTime(5), &table(), Bytes::from_static(b"state"));
        let starts = vec![(ReplicaId::new(2).unwrap(), 7), (ReplicaId::new(1).unwrap(), 1)];
        let carried = Carried { from: Digest([8; 32]), starts, ..carried };
        let bytes = Bytes::from(carried.to_bytes());
        let again = Carried::parse(&bytes).unwrap();
        assert_eq!(again, carried);
        let mut now = again.inherited(&OrderLimits::default()).unwrap().sessions;
        let other = Digest([77; 32]);
        let stored = StoredReply { position: StepPosition::default(), index: 0, ..reply(2) };
        assert_eq!(now.lookup(&CLIENT, SESSION, 2, &other), Lookup::Reply(&stored));
        assert_eq!(now.admit(&CLIENT, SESSION, 2, 1, &other), Admission::Repeat(&stored));
        let opened = StoredReply { position: StepPosition::default(), index: 0, ..reply(0) };
        assert_eq!(now.admit(&CLIENT, SESSION, 0, 1, &other), Admission::Repeat(&opened));
        assert_eq!(now.admit(&CLIENT, SESSION, 3, 1, &other), Admission::Fresh);
        // What runs from now on is told apart again.
        now.record(&CLIENT, SESSION, 3, &other, reply(3));
        assert_eq!(now.admit(&CLIENT, SESSION, 3, 1, &Digest([78; 32])), Admission::Nothing);
        // Twice carried is once carried, and digests follow what changed.
        let (mut once, mut twice) = (table().carried_over(), table().carried_over().carried_over());
        assert_eq!(once.digest(), twice.digest());
        assert_ne!(once.digest(), table().digest());
    }

    #[test]
    fn what_is_no_carried_state_is_refused() {
        let carried = Carried::new(AgreedTime(5), &table(), Bytes::from_static(b"state"));
        let bytes = carried.to_bytes();
        let parse = |bytes: &[u8]| Carried::parse(&Bytes::copy_from_slice(bytes));
        assert_eq!(parse(b"QUORBACK"), Err(CarriedError::Other));
        let mut newer = bytes.clone();
        newer[8] = 2;
        assert_eq!(parse(&newer), Err(CarriedError::Version(2)));
        for length in 8..64 + carried.sessions.len() {
            assert!(matches!(parse(&bytes[..length]), Err(CarriedError::Damaged(_))), "{length}");
        }
        // The sessions of a cluster with room for more.
        let less = OrderLimits { window: 1, ..OrderLimits::default() };
        assert!(carried.inherited(&less).is_err());
    }
}
