//! Executing a log again, one entry at a time and for nobody: for tools that look at a disk
//! (`recover.rs` does the same in one go when a replica starts).

use super::replica::Replica;
use super::transfer::head_of;
use super::{Setup, StepTrace};
use crate::crypto::Scheme;
use crate::service::{Carried, Service};
use crate::types::{AgreedTime, Digest, DiskState, Durability, Epoch, Now, Round};
use crate::wire::StepPosition;
use bytes::Bytes;
use std::mem::take;

/// A replica that takes up a snapshot and then entries of the log, and says nothing to anybody.
pub struct Replay<S: Scheme> {
    replica: Replica<S>,
    now: Now,
}

impl<S: Scheme> Replay<S> {
    /// Takes up the snapshot in `setup.stored`, if there is one, and looks through the entries
    /// there, which are then to be given to [`Replay::next`]. The key that signs is never used.
    ///
    /// # Errors
    /// Why the snapshot cannot be used: it is not attested, or the service does not come to the
    /// attested state from it. If the log does not begin where the state ends.
    pub fn new(mut setup: Setup<S>, service: Box<dyn Service>, now: Now) -> Result<Self, String> {
        let stored = take(&mut setup.stored);
        (setup.disk, setup.trace) = (DiskState::New, true);
        setup.durability = Durability::Reply;
        // None is taken but where a replica that is no member would need one.
        setup.quotas.log_bytes = u64::MAX;
        let mut replica = Replica::new(setup, service, now);
        match stored.snapshot {
            Some((head, state)) => {
                replica.journal.replay(stored.first);
                let taken = replica.take_up(now, &head, state);
                taken.map_err(|why| format!("the snapshot cannot be used: {why}"))?;
            }
            None if stored.first == 0 => replica.journal.replay(0),
            None => return Err(format!("the log begins with entry {}", stored.first)),
        }
        replica.read_ahead(stored.first, &stored.log);
        Ok(Self { replica, now })
    }

    /// Takes up the next entry, and gives the steps that it led to: none for a while before an
    /// opening, and then all that waited for it.
    ///
    /// # Errors
    /// If it does not follow, or what it carries is not signed as it should be.
    pub fn next(&mut self, entry: &Bytes) -> (Vec<StepTrace>, Result<(), &'static str>) {
        let mut steps = Vec::new();
        let taken = self.replica.replay(self.now, entry, &mut steps);
        (steps, taken)
    }

    /// From now on a snapshot is taken at each checkpoint, and held on to until a later one is
    /// attested, as a replica does for others.
    pub fn keep_snapshots(&mut self) {
        self.replica.shelf.always = true;
    }

    /// The newest state that `t + 1` replicas attest: what attests it and its bytes, as they lie
    /// on a disk.
    pub fn attested_snapshot(&self) -> Option<(Bytes, Bytes)> {
        let (state, proof, _) = self.replica.shelf.attested()?;
        Some((head_of(proof), state.to_bytes()))
    }

    /// The last executed step.
    pub fn position(&self) -> StepPosition {
        self.replica.executor.position()
    }

    /// The running root after the step of this round, if that was one of the last hundred or so.
    pub fn running_at(&self, round: Round) -> Option<Digest> {
        self.replica.executor.running_at(round)
    }

    /// The running root after the last executed step.
    pub fn running(&self) -> Digest {
        self.replica.executor.running()
    }

    /// The last checkpoint: its round, and the digest of the whole state there.
    pub fn checkpoint(&self) -> (Round, Digest) {
        self.replica.executor.checkpoint()
    }

    /// Requests executed so far, since the beginning of the cluster.
    pub fn executed(&self) -> u64 {
        self.replica.executor.executed()
    }

    /// The agreed time.
    pub fn time(&self) -> AgreedTime {
        AgreedTime(self.replica.core.agreed())
    }

    /// The last complete vector, which commits the one before it.
    pub fn complete(&self) -> Round {
        self.replica.core.complete()
    }

    /// The epoch of that.
    pub fn epoch(&self) -> Epoch {
        self.replica.core.epoch()
    }

    /// Whether nothing was under way at the end of what was taken up: no request is complete or
    /// accepted that has not run.
    pub fn is_settled(&self) -> bool {
        self.replica.core.is_settled() && self.replica.executor.backlog() == 0
    }

    /// What another cluster goes on from: what is executed so far. `None` if there is no state.
    pub fn carried(&self) -> Option<Carried> {
        self.replica.executor.carried()
    }

    /// Requests that are ordered and whose bodies are not there (yet).
    pub fn lacking(&self) -> usize {
        self.replica.executor.backlog()
    }

    /// Why execution has stopped, if it has.
    pub fn halted(&self) -> Option<&str> {
        self.replica.executor.halted()
    }
}
