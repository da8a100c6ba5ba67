//! What a committed vector says besides the order: what others have executed, which checkpoints
//! are stable, and which replicas have come to another state.

use super::replica::Replica;
use super::{Action, Actions, Event};
use crate::crypto::Scheme;
use crate::ordering::{self, Step};
use crate::types::{Now, ReplicaId};
use crate::wire::Attestation;

impl<S: Scheme> Replica<S> {
    /// Tells the core what has been executed, for its next proposal.
    pub(super) fn attest(&mut self) {
        if self.executor.is_lost() {
            // It is of no history any more.
            let delta_held = self.meter.holds();
            let rolled = self.rolled.is_on();
            return self.core.attest(Attestation { delta_held, rolled, ..Default::default() });
        }
        let (checkpoint, state) = self.executor.checkpoint();
        let attestation = Attestation {
            position: self.executor.position(),
            running: self.executor.attested(),
            checkpoint,
            state,
            rolled: self.rolled.is_on(),
            delta_held: self.meter.holds(),
        };
        self.core.attest(attestation);
    }

    /// A vector is committed: its step waits for its turn from now on.
    pub(super) fn committed(&mut self, now: Now, step: Box<Step>, out: &mut Actions) {
        self.counters.forgotten += step.forgotten.len() as u64;
        for (digest, _) in step.forgotten.iter().filter(|(_, had)| had.contains(self.id)) {
            self.bodies.forget(digest);
        }
        for (replica, digest) in &step.over_quota {
            self.counters.over_quota += 1;
            if *replica == self.id {
                self.bodies.forget(digest);
            }
        }
        for proposal in &step.proposals {
            self.rolled.hear(proposal);
            self.compare(proposal.replica, &proposal.attestation, out);
        }
        self.receipts.committed(&step);
        self.look_for_divergence(now, &step, out);
        self.changed(step.position.round, &step.changes, out);
        self.collect_proofs(&step, out);
        self.follows_again();
        // Another may lack a body until it has executed it.
        if !self.journal.is_replaying() {
            self.bodies.executed_by_all(self.unneeded_until(step.position.round));
        }
        let round = step.position.round;
        if !self.executor.push(step) {
            self.counters.passed_over += 1;
            self.attest();
            self.behind(out);
        }
        if round.0.is_multiple_of(16)
            && !self.journal.is_replaying()
            && self.snapshots_are_needed()
            && self.shelf.oldest().is_some()
        {
            let kept = ordering::Input::Kept(self.shelf.oldest());
            self.core(now, kept, out);
        }
    }

    /// Looks at what another has executed: checkpoints that become stable, outputs that differ.
    fn compare(&mut self, replica: ReplicaId, attestation: &Attestation, out: &mut Actions) {
        let round = attestation.position.round;
        self.executed_by[replica.index()] = round;
        let ours = self.executor.running_at(round);
        let (checkpoint, state) = self.executor.checkpoint();
        let other_state = attestation.checkpoint == checkpoint && attestation.state != state;
        let differs = other_state || ours.is_some_and(|o| o != attestation.running);
        // What is of another history, and to be replaced, says nothing of the others.
        let is_ours = !self.executor.is_lost() && !self.core.is_astray();
        let differs = differs && is_ours;
        if let Some(ours) = ours.filter(|_| is_ours && !self.journal.is_replaying()) {
            self.quarantine.compared.add(replica, attestation, &ours);
            if !differs {
                self.quarantine.diverged.remove(replica);
            }
        }
        if differs && !self.quarantine.diverged.contains(replica) {
            self.quarantine.diverged.insert(replica);
            out.push(Action::Event(Event::Diverged { replica, round }));
        }
        let latest = (attestation.checkpoint, attestation.state);
        if std::mem::replace(&mut self.attested[replica.index()], latest) == latest {
            return;
        }
        let agreeing = self.attested.iter().filter(|a| **a == latest).count();
        if latest.0 > self.stable && agreeing >= self.keyring.ensemble().majority() {
            self.stable = latest.0;
            let (round, state) = latest;
            out.push(Action::Event(Event::Stable { round, state }));
        }
    }
}
