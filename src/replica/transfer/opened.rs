//! A snapshot as tools look at it: what is in it, who attests it, and whether it is what they
//! attest.

use super::proof::{attested, check, parse_head};
use super::snapshot::Snapshot;
use crate::crypto::{Keyring, Scheme};
use crate::replica::executor::Executor;
use crate::service::Service;
use crate::service::sessions::{SessionLimits, SessionTable};
use crate::types::{AgreedTime, Digest, OrderLimits, ReplicaId, Round};
use crate::wire::StepPosition;
use bytes::Bytes;

/// A snapshot from a disk or a file, of which nothing is believed yet.
#[derive(Clone, Debug)]
pub struct OpenedSnapshot {
    head: Bytes,
    snapshot: Snapshot,
    /// Who attests which state of which round.
    pub attestations: Vec<(ReplicaId, Round, Digest)>,
}

impl OpenedSnapshot {
    /// Reads head and state of a snapshot, as [`crate::replica::Stored`] has them.
    ///
    /// # Errors
    /// Which of the two is none.
    pub fn parse(head: &Bytes, state: &Bytes) -> Result<Self, String> {
        let proof = parse_head(head).map_err(|e| format!("its attestations: {e}"))?;
        let snapshot = Snapshot::parse(state).map_err(|e| format!("its state: {e}"))?;
        let attestations = proof.iter().map(|statement| {
            let header = statement.peek();
            let (round, state) = attested(&header.attestation);
            (header.replica, round, state)
        });
        let attestations = attestations.collect();
        Ok(Self { head: head.clone(), snapshot, attestations })
    }

    /// The step that it is the state after.
    pub fn position(&self) -> StepPosition {
        self.snapshot.head.position
    }

    /// The agreed time of that step.
    pub fn time(&self) -> AgreedTime {
        self.snapshot.head.time
    }

    /// The running root after it.
    pub fn running(&self) -> Digest {
        self.snapshot.head.running
    }

    /// Requests executed up to there.
    pub fn executed(&self) -> u64 {
        self.snapshot.head.executed
    }

    /// The state of the service, as [`Service::snapshot`] gave it.
    pub fn service(&self) -> &Bytes {
        &self.snapshot.service
    }

    /// Bytes of the ordering state, the session table and the state of the service.
    pub fn sizes(&self) -> (usize, usize, usize) {
        let Snapshot { ordering, sessions, service, .. } = &self.snapshot;
        (ordering.len(), sessions.len(), service.len())
    }

    /// How many sessions are open in it; `None` if the table cannot be read within these limits.
    pub fn sessions(&self, limits: &OrderLimits) -> Option<usize> {
        let mut table = SessionTable::new(SessionLimits::of(limits));
        table.restore(&self.snapshot.sessions).ok()?;
        Some(table.len())
    }

    /// Checks that `t + 1` replicas of this roster attest one state of its round, and gives that
    /// state's digest.
    ///
    /// # Errors
    /// What the attestations lack.
    pub fn proven<S: Scheme>(&self, keyring: &Keyring<S>) -> Result<Digest, &'static str> {
        let proof = parse_head(&self.head).map_err(|_| "its attestations cannot be read")?;
        let (round, state) = check(&proof, keyring)?;
        match round == self.position().round {
            true => Ok(state),
            false => Err("what they attest is of another round"),
        }
    }

    /// Checks that its bytes give the state of this digest: whoever takes it in computes that
    /// anew, with the service.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn gives(
        &self,
        state: &Digest,
        service: Box<dyn Service>,
        limits: OrderLimits,
    ) -> Result<(), &'static str> {
        Executor::new(service, limits, 0, false).restore(&self.snapshot, state)
    }
}
