//! What was heard of accusations, Reports and stalls, within bounds for each signer (§10).
//!
//! A signer's things are kept for two roots at most: the one that this replica is in, and the
//! highest other one that the signer speaks of. A liar that names a root which does not exist
//! only loses what it said before of another one.

use super::report::Checked;
use crate::crypto::Verified;
use crate::types::plant::planted;
use crate::types::{Call, Epoch, Members, ReplicaId, Root};
use crate::wire::{Blame, BlameStep, Proof, Restarted, Stalled};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Blames kept of one signer in one root, the highest; and beside these what calls may rest on,
/// which takes a good replica's Blame each: the highest charge of each [`Kind`] that a quorum
/// makes, so many at most.
const MAX_BLAMES: usize = 64;
const MAX_CHARGES: usize = 512;
/// When so many have come beyond those that stay, it is time to look which do.
const MORE_BLAMES: usize = MAX_BLAMES;
/// Numbers of one root for which a signer's Reports are kept.
const MAX_NUMBERS: usize = 16;

/// What is blamed on whom: the epoch, its members, the step, the replica.
pub(super) type Charge = (Epoch, Members, BlameStep, ReplicaId);

/// What a Blame says but for who says it.
pub(super) fn charge_of(blame: &Blame) -> Charge {
    (blame.epoch, blame.members, blame.step, blame.accused)
}

/// Statements of several signers.
type Signed<T> = Vec<Arc<Verified<T>>>;

/// A proof and whom it convicts.
#[derive(Clone, Debug)]
pub(in crate::ordering) struct Convicted {
    pub(in crate::ordering) proof: Arc<Proof>,
    /// The generation of the epoch in which it lied.
    pub(in crate::ordering) generation: u32,
}

/// All that is kept.
#[derive(Clone, Debug, Default)]
pub(in crate::ordering) struct Store {
    signers: BTreeMap<(ReplicaId, Root), Said>,
    /// The highest of each signer.
    stalled: BTreeMap<ReplicaId, Arc<Verified<Stalled>>>,
    /// The latest of each convict.
    pub(in crate::ordering) proofs: BTreeMap<ReplicaId, Convicted>,
}

/// Charges of which the highest one says all that lower ones say: those of one accused for rounds
/// of one epoch, or for the report step before it.
type Kind = (Epoch, Members, ReplicaId, bool);

fn kind_of((epoch, members, step, accused): &Charge) -> Kind {
    let of_report = *step == BlameStep::Report && !planted("e2-reports-hide-rounds");
    (*epoch, *members, *accused, of_report)
}

/// What one signer said in one root.
#[derive(Clone, Debug, Default)]
struct Said {
    blames: BTreeMap<Charge, Arc<Verified<Blame>>>,
    /// How many of them stayed when that was looked at.
    stayed: usize,
    restarted: Option<Arc<Verified<Restarted>>>,
    /// At most two for a number; the second proves that it lied.
    reports: BTreeMap<Epoch, Vec<Arc<Checked>>>,
}

impl Store {
    /// Keeps Blames that came together, of a call or a single one. Gives what is new of them, and
    /// whether it is to be considered: a signer that has said much is heard only where `quorum`
    /// replicas make a charge, or else answered only for what is among its highest. What makes a
    /// charge only all together is looked at after all are here, so that nobody who filled its room
    /// before keeps a replica from what convinced another one (E2).
    pub(super) fn blames(
        &mut self,
        blames: &[Arc<Verified<Blame>>],
        here: Root,
        quorum: usize,
    ) -> Vec<(Arc<Verified<Blame>>, bool)> {
        let new: Vec<_> = blames.iter().filter(|blame| self.add(blame, here)).cloned().collect();
        let of_interest = |blame: &Arc<Verified<Blame>>| {
            let (charge, root) = (charge_of(blame), blame.epoch.root());
            let said = &self.signers.get(&(blame.by, root))?.blames;
            let makes = said.len() <= MAX_BLAMES || self.makers(&charge).count() >= quorum;
            let high = said.range(charge..).take(MAX_BLAMES + 1).count() <= MAX_BLAMES;
            (makes || high).then(|| (blame.clone(), makes))
        };
        let heard: Vec<_> = new.iter().filter_map(of_interest).collect();
        let signers: BTreeSet<_> = new.iter().map(|b| (b.by, b.epoch.root())).collect();
        for of in signers {
            self.trim(of, quorum);
        }
        heard
    }

    fn add(&mut self, blame: &Arc<Verified<Blame>>, here: Root) -> bool {
        let Some(said) = self.of(blame.by, blame.epoch.root(), here) else { return false };
        let known = said.blames.contains_key(&charge_of(blame));
        let full = planted("e1-blames-stay") && said.blames.len() >= MAX_BLAMES;
        if !known && !full {
            said.blames.insert(charge_of(blame), blame.clone());
        }
        !known && !full
    }

    /// What stays of a signer's Blames in a root, if enough came since that was looked at.
    fn trim(&mut self, of: (ReplicaId, Root), quorum: usize) {
        let Some(said) = self.signers.get(&of) else { return };
        if said.blames.len() <= said.stayed.max(MAX_BLAMES) + MORE_BLAMES {
            return;
        }
        let (mut rests, mut others) = (BTreeSet::new(), 0);
        let stays = |charge: &&Charge| {
            let highest = rests.len() < MAX_CHARGES
                && self.makers(charge).count() >= quorum
                && !planted("e2-charges-go")
                && rests.insert(kind_of(charge));
            others += usize::from(!highest);
            highest || others <= MAX_BLAMES
        };
        let kept: BTreeSet<Charge> = said.blames.keys().rev().filter(stays).copied().collect();
        if let Some(said) = self.signers.get_mut(&of) {
            said.blames.retain(|charge, _| kept.contains(charge));
            said.stayed = kept.len();
        }
    }

    /// Keeps a Restarted; the first of each signer in a root.
    pub(super) fn restarted(&mut self, one: Arc<Verified<Restarted>>, here: Root) -> bool {
        let Some(said) = self.of(one.replica, one.epoch.root(), here) else { return false };
        if said.restarted.is_some() {
            return false;
        }
        said.restarted = Some(one);
        true
    }

    /// Keeps a Stalled, if it is the signer's highest.
    pub(super) fn stalled(&mut self, one: Arc<Verified<Stalled>>) -> bool {
        if self.stalled.get(&one.replica).is_some_and(|before| before.root >= one.root) {
            return false;
        }
        self.stalled.insert(one.replica, one);
        true
    }

    /// Keeps a Report. Gives whether it is new, and an earlier one that it contradicts.
    pub(super) fn report(&mut self, new: Arc<Checked>, here: Root) -> (bool, Option<Arc<Checked>>) {
        let number = new.header.call.number();
        let Some(said) = self.of(new.header.replica, new.header.call.root, here) else {
            return (false, None);
        };
        if !said.reports.contains_key(&number) && said.reports.len() >= MAX_NUMBERS {
            return (false, None);
        }
        let same = said.reports.entry(number).or_default();
        if same.len() >= 2 || same.iter().any(|r| r.digest() == new.digest()) {
            return (false, None);
        }
        let first = same.first().cloned();
        same.push(new);
        (true, first)
    }

    /// Keeps a proof, if none as late is known against this replica.
    pub(super) fn proof(&mut self, replica: ReplicaId, new: Convicted) -> bool {
        if self.proofs.get(&replica).is_some_and(|old| old.generation >= new.generation) {
            return false;
        }
        self.proofs.insert(replica, new);
        true
    }

    /// Where to keep something, if it is to be kept at all.
    fn of(&mut self, signer: ReplicaId, root: Root, here: Root) -> Option<&mut Said> {
        if root < here {
            return None;
        }
        if root > here {
            let others = self.signers.range((signer, here)..);
            let others = others.take_while(|((s, _), _)| *s == signer).map(|((_, r), _)| *r);
            let other = others.filter(|r| *r > here).max();
            match other {
                Some(known) if known > root => return None,
                Some(known) if known < root => {
                    self.signers.remove(&(signer, known));
                }
                _ => {}
            }
        }
        Some(self.signers.entry((signer, root)).or_default())
    }

    /// This replica has come to a root: what belongs to lower ones is of no use any more.
    pub(super) fn forget_below(&mut self, here: Root) {
        self.signers.retain(|(_, root), _| *root >= here);
    }

    // --- what is known ------------------------------------------------------------------------

    /// All charges of a root with those who make them, nobody against itself (E1).
    pub(super) fn charges(&self, root: Root) -> BTreeMap<Charge, Members> {
        let mut charges: BTreeMap<Charge, Members> = BTreeMap::new();
        for ((signer, _), said) in self.signers.iter().filter(|((_, r), _)| *r == root) {
            for charge in said.blames.keys().filter(|c| c.3 != *signer) {
                charges.entry(*charge).or_default().insert(*signer);
            }
        }
        charges
    }

    /// Who has said in this root that it restarted.
    pub(super) fn who_restarted(&self, root: Root) -> Members {
        let said = self.signers.iter().filter(|((_, r), s)| *r == root && s.restarted.is_some());
        said.map(|((signer, _), _)| *signer).collect()
    }

    /// Whether a replica has said that it restarted in this very epoch.
    pub(super) fn restarted_in(&self, replica: ReplicaId, epoch: Epoch) -> bool {
        let said = self.signers.get(&(replica, epoch.root()));
        said.and_then(|s| s.restarted.as_ref()).is_some_and(|r| r.epoch == epoch)
    }

    /// The highest charge of each kind that `quorum` replicas make, the highest first: what a call
    /// may rest on.
    pub(super) fn quorum_charges(&self, root: Root, quorum: usize) -> Vec<Charge> {
        let mut seen = BTreeSet::new();
        let all = self.charges(root).into_iter().rev();
        let made = all.filter(|(_, by)| by.len() >= quorum).map(|(charge, _)| charge);
        made.filter(|charge| seen.insert(kind_of(charge))).collect()
    }

    /// The Blames that make a charge, in the order of their signers; none of the accused itself.
    pub(super) fn makers(&self, charge: &Charge) -> impl Iterator<Item = &Arc<Verified<Blame>>> {
        let (root, accused) = (charge.0.root(), charge.3);
        let others = self.signers.iter().filter(move |((by, r), _)| *r == root && *by != accused);
        others.filter_map(|(_, said)| said.blames.get(charge))
    }

    /// Everything of a root that accuses somebody or says that it restarted, to be sent on.
    pub(super) fn evidence(&self, root: Root) -> (Signed<Blame>, Signed<Restarted>) {
        let said: Vec<&Said> =
            self.signers.iter().filter(|((_, r), _)| *r == root).map(|(_, said)| said).collect();
        let blames = said.iter().flat_map(|s| s.blames.values().cloned()).collect();
        (blames, said.iter().filter_map(|s| s.restarted.clone()).collect())
    }

    /// Reports of all numbers of a root.
    pub(super) fn reports(&self, root: Root) -> impl Iterator<Item = &Arc<Checked>> {
        let of_root = self.signers.iter().filter(move |((_, r), _)| *r == root);
        of_root.flat_map(|(_, said)| said.reports.values().flatten())
    }

    /// Reports of every root kept.
    pub(in crate::ordering) fn all_reports(&self) -> impl Iterator<Item = &Arc<Checked>> {
        self.signers.values().flat_map(|said| said.reports.values().flatten())
    }

    /// A replica's Report for exactly this call.
    pub(super) fn report_of(&self, replica: ReplicaId, call: &Call) -> Option<&Arc<Checked>> {
        let said = self.signers.get(&(replica, call.root))?;
        said.reports.get(&call.number())?.iter().find(|r| r.header.call == *call)
    }

    /// The Reports of all members of a call in order, if they are all there.
    pub(super) fn all_of(&self, call: &Call) -> Option<Vec<Arc<Checked>>> {
        call.members().iter().map(|m| self.report_of(m, call).cloned()).collect()
    }

    /// The highest root of which `quorum` replicas say that it is stalled.
    pub(super) fn stalled_root(&self, quorum: usize) -> Option<Root> {
        let roots = self.stalled.values().map(|s| s.root);
        roots.filter(|root| self.stalled_from(*root).count() >= quorum).max()
    }

    /// Who says that this root is stalled. Whoever has come to a later reset of its generation said
    /// so of this one first, and only the last word of each is kept.
    pub(super) fn stalled_from(&self, root: Root) -> impl Iterator<Item = &Arc<Verified<Stalled>>> {
        let spoken = move |s: &&Arc<Verified<Stalled>>| {
            let same = s.root == root;
            let later = s.root.generation == root.generation && s.root.resets > root.resets;
            same || later && !planted("e8-own-root-only")
        };
        self.stalled.values().filter(spoken)
    }

    /// How many things are kept, for people.
    pub(in crate::ordering) fn len(&self) -> usize {
        let said = self.signers.values();
        let each = said.map(|s| {
            s.blames.len()
                + usize::from(s.restarted.is_some())
                + s.reports.values().map(Vec::len).sum::<usize>()
        });
        each.sum::<usize>() + self.stalled.len() + self.proofs.len()
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
