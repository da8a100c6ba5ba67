//! Who attests something else than the others (docs/protocol.md §6, *Divergence*).
//!
//! A member attests in each proposal the last step that it executed, with the running root over all
//! outputs up to there, and its last checkpoint with the state's digest. Correct members attest the
//! same for the same *place*: a step, or a checkpoint. What is judged here are the committed
//! proposals of one epoch, and nothing else, so all who have committed the same come to the same
//! verdict:
//!
//! - `t + 1` attest the same, and one of them is correct: whoever attests something else for that
//!   place has a broken memory, disk or service, or lies.
//! - Nothing can have `t + 1` any more, not with those who have not spoken of that place either.
//!   Correct replicas with a deterministic service would be `t + 1` that agree, or could still
//!   become so many. So the service is not deterministic, or more than `t` are bad.
//!
//! So `t` liars can bring about neither verdict about a correct replica. What was executed before
//! the epoch began is not compared: an opening can give up or void some of it (O7), which a correct
//! member may have attested.

use crate::crypto::Verified;
use crate::types::plant::planted;
use crate::types::{Digest, Ensemble, Epoch, ReplicaId, Round};
use crate::wire::{Attestation, Header, Proposal, StepPosition};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Steps of each replica that are remembered; others may be so many of its proposals late.
const STEPS: usize = 64;
/// The same of checkpoints, which each proposal attests again.
const CHECKPOINTS: usize = 4;

/// What an attestation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A step: what is attested is the running root.
    Step(StepPosition),
    /// A checkpoint: what is attested is the state's digest.
    Checkpoint(Round),
}

impl Place {
    pub(super) fn round(self) -> Round {
        match self {
            Place::Step(position) => position.round,
            Place::Checkpoint(round) => round,
        }
    }

    /// What an attestation says, of both places that it speaks of.
    fn of(attestation: &Attestation) -> [(Place, Digest); 2] {
        [
            (Place::Step(attestation.position), attestation.running),
            (Place::Checkpoint(attestation.checkpoint), attestation.state),
        ]
    }
}

/// A statement of one replica, with the proposal that it stands in.
#[derive(Clone, Debug)]
struct Said {
    place: Place,
    value: Digest,
    proposal: Arc<Verified<Proposal>>,
    /// Whether it was found to be in the minority.
    told: bool,
}

/// What is certain.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// `t + 1` attest something else than this replica does.
    Minority {
        replica: ReplicaId,
        place: Place,
        /// What it signed, and then what `t + 1` others did.
        statements: Vec<Verified<Header>>,
    },
    /// Nothing can have `t + 1`.
    Split {
        place: Place,
        /// Who attests what.
        said: Vec<(ReplicaId, Digest)>,
        /// All that was signed.
        statements: Vec<Verified<Header>>,
    },
}

/// The attestations of the epoch that is committed.
#[derive(Debug)]
pub(super) struct Judge {
    ensemble: Ensemble,
    epoch: Option<Epoch>,
    /// The first round of it that was committed here.
    first: Round,
    steps: Vec<VecDeque<Said>>,
    checkpoints: Vec<VecDeque<Said>>,
    /// From which round on a replica's word counts: that of its state, if that was rebuilt.
    from: BTreeMap<ReplicaId, Round>,
}

impl Judge {
    pub(super) fn new(ensemble: Ensemble) -> Self {
        let none = vec![VecDeque::new(); ensemble.n()];
        let (steps, checkpoints) = (none.clone(), none);
        Self { ensemble, epoch: None, first: Round(0), steps, checkpoints, from: BTreeMap::new() }
    }

    /// This replica has another state now, that after this round: what it said of earlier ones, and
    /// what of that is still on its way, no longer stands for it.
    pub(super) fn rebuilt(&mut self, replica: ReplicaId, round: Round) {
        self.from.insert(replica, round);
        self.steps[replica.index()].clear();
        self.checkpoints[replica.index()].clear();
    }

    /// A vector is committed: what does it show?
    pub(super) fn hear(&mut self, vector: &[Arc<Verified<Proposal>>]) -> Vec<Verdict> {
        let Some(one) = vector.first() else { return Vec::new() };
        if self.epoch != Some(one.epoch) {
            (self.epoch, self.first) = (Some(one.epoch), one.round);
            self.steps.iter_mut().chain(&mut self.checkpoints).for_each(VecDeque::clear);
        }
        let mut verdicts = Vec::new();
        for proposal in vector {
            for (place, value) in Place::of(&proposal.attestation) {
                if self.is_new(proposal, place) {
                    self.add(proposal, place, value);
                    self.look_at(place, &mut verdicts);
                }
            }
        }
        verdicts
    }

    /// Whether something is said that counts, and that its signer has not said before. Nobody has
    /// executed what its own proposal belongs to.
    fn is_new(&self, proposal: &Proposal, place: Place) -> bool {
        let (replica, round) = (proposal.replica, place.round());
        let from = self.from.get(&replica).copied().unwrap_or_default().max(self.first);
        let counts = round >= from && round > Round(0) && round < proposal.round;
        counts && self.find(replica, place).is_none()
    }

    fn list(&mut self, replica: ReplicaId, place: Place) -> &mut VecDeque<Said> {
        match place {
            Place::Step(_) => &mut self.steps[replica.index()],
            Place::Checkpoint(_) => &mut self.checkpoints[replica.index()],
        }
    }

    fn find(&self, replica: ReplicaId, place: Place) -> Option<&Said> {
        let list = match place {
            Place::Step(_) => &self.steps[replica.index()],
            Place::Checkpoint(_) => &self.checkpoints[replica.index()],
        };
        list.iter().rev().find(|said| said.place == place)
    }

    fn add(&mut self, proposal: &Arc<Verified<Proposal>>, place: Place, value: Digest) {
        let most = match place {
            Place::Step(_) => STEPS,
            Place::Checkpoint(_) => CHECKPOINTS,
        };
        let list = self.list(proposal.replica, place);
        list.push_back(Said { place, value, proposal: Arc::clone(proposal), told: false });
        if list.len() > most {
            list.pop_front();
        }
    }

    fn look_at(&mut self, place: Place, verdicts: &mut Vec<Verdict>) {
        let replicas = self.ensemble.replicas();
        let all: Vec<Said> = replicas.filter_map(|r| self.find(r, place)).cloned().collect();
        let mut groups: BTreeMap<Digest, usize> = BTreeMap::new();
        all.iter().for_each(|said| *groups.entry(said.value).or_default() += 1);
        if groups.len() < 2 {
            return;
        }
        let Some((value, most)) = groups.into_iter().max_by_key(|(_, n)| *n) else { return };
        let majority = self.ensemble.majority() - usize::from(planted("s6-compares-with-t"));
        let silent = self.ensemble.n() - all.len();
        if most + silent < self.ensemble.majority() {
            let said = all.iter().map(|s| (s.proposal.replica, s.value)).collect();
            let statements = all.iter().map(|s| s.proposal.header()).collect();
            verdicts.push(Verdict::Split { place, said, statements });
            return;
        }
        if most < majority {
            return;
        }
        let agree = || all.iter().filter(|s| s.value == value).take(majority);
        for differs in all.iter().filter(|s| s.value != value && !s.told) {
            let replica = differs.proposal.replica;
            let statements = std::iter::once(differs).chain(agree());
            let statements = statements.map(|s| s.proposal.header()).collect();
            verdicts.push(Verdict::Minority { replica, place, statements });
            let list = self.list(replica, place);
            list.iter_mut().filter(|s| s.place == place).for_each(|s| s.told = true);
        }
    }
}

/// How far others' outputs are those of this replica.
#[derive(Clone, Debug, Default)]
pub(super) struct Compared {
    /// The last round after which one had the same running root, by roster place.
    agreed: Vec<Round>,
    /// The first after that for which it attests another one.
    differs: Vec<Option<(StepPosition, Digest)>>,
}

impl Compared {
    /// With so many replicas.
    pub(super) fn new(n: usize) -> Self {
        Self { agreed: vec![Round(0); n], differs: vec![None; n] }
    }

    /// One attests this, where the running root here is `ours`.
    pub(super) fn add(&mut self, replica: ReplicaId, attestation: &Attestation, ours: &Digest) {
        let (at, position) = (replica.index(), attestation.position);
        if attestation.running == *ours {
            self.agreed[at] = self.agreed[at].max(position.round);
            self.differs[at] = None;
        } else if self.differs[at].is_none() {
            self.differs[at] = Some((position, attestation.running));
        }
    }

    /// The state here is another one.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.agreed.len());
    }

    /// Where this one's outputs are not ours: the last round before, and what it attests.
    pub(super) fn differs(&self, replica: ReplicaId) -> Option<(Round, StepPosition, Digest)> {
        let (position, running) = self.differs[replica.index()]?;
        Some((self.agreed[replica.index()], position, running))
    }
}

#[cfg(test)]
#[path = "divergence_tests.rs"]
mod tests;
