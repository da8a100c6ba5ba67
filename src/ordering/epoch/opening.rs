//! What follows from the Reports of a call: the opening of its epoch (F1 to F3).
//!
//! A pure function: whoever has the same Reports has the same opening.

use super::report::{Checked, NamedVector};
use crate::crypto::{Context, Domain, Hasher};
use crate::ordering::roster::Verdict;
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Call, Digest, Epoch, Members, ReplicaId, Round};
use crate::wire::{Lacks, ReportHeader};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What an epoch starts from (§5): its base, its members, who is out and why.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Whose Reports these are.
    pub call: Call,
    /// Its hash: what later Reports name, and queries answer with.
    pub digest: Digest,
    /// The Reports in member order.
    pub(in crate::ordering) sources: Vec<Arc<Checked>>,
    /// Their hashes: the choice of the first round.
    pub(in crate::ordering) reports: Vec<Digest>,
    /// e*, the epoch that the base belongs to (F1), and its members.
    pub(in crate::ordering) from: (Epoch, Members),
    /// The vector that is the base, or `None`: the opening of e* itself (F2).
    pub(in crate::ordering) base: Option<NamedVector>,
    /// The hash of the opening of e*.
    pub(in crate::ordering) origin: Digest,
    /// The hashes of the Reports that opened e*; none for the first epoch.
    pub(in crate::ordering) origin_reports: Vec<Digest>,
    /// Accused replicas that have restarted, as every Report says (F3).
    pub(in crate::ordering) restarted: Members,
    /// Accused replicas against whom a Report carries a proof (F3).
    pub(in crate::ordering) liars: Members,
    /// Members whose Reports are marked restarted: their candidates are dropped like those of
    /// replicas that join (O1).
    pub(in crate::ordering) returned: Members,
    /// What each Report says of the bodies that it lacks (O7).
    holdings: Vec<Holding>,
}

#[derive(Clone, Debug)]
struct Holding {
    replica: ReplicaId,
    restarted: bool,
    /// The epoch that it entered, by its opening, and the vector of it that its Report names.
    entered: (Epoch, Digest),
    named: Round,
    /// Where the history of that epoch comes from: the epoch before, and its last vector.
    origin: Option<((Epoch, Digest), Round)>,
    lacks: Option<BTreeSet<Digest>>,
}

impl Opening {
    /// F: the opening that follows from the Reports of all members of a call, in member order.
    pub(in crate::ordering) fn of(call: Call, reports: &[Arc<Checked>], context: &Context) -> Self {
        debug_assert_eq!(reports.len(), call.members().len());
        let hashes: Vec<Digest> = reports.iter().map(|r| r.digest()).collect();
        let convicted: Members = reports.iter().flat_map(|r| r.convicted.iter()).collect();
        let entered = highest_entered(reports.iter().map(|r| &r.header));
        let (from, origin) = entered.expect("every Report names an epoch that it entered");
        let speaks = |r: &&Arc<Checked>| r.entered() == from && r.header.opening == origin;
        let mut spoken: Vec<&Arc<Checked>> = reports.iter().filter(speaks).collect();
        let origin_reports = spoken.first().map(|r| r.certified.clone()).unwrap_or_default();
        if spoken.len() < reports.len() {
            mark("F1 a Report did not speak of e*");
        }
        if !planted("f2-liars-count") {
            spoken.retain(|r| !convicted.contains(r.header.replica));
        }
        let base = base_of(&spoken, from.1);
        mark(if base.is_some() { "F2 the base is a vector" } else { "F2 the base is an opening" });
        let all_say = |x: &ReplicaId| reports.iter().all(|r| r.header.restarts.contains(*x));
        let restarted = call.accused.iter().filter(all_say).collect();
        let known = |x: &ReplicaId| convicted.contains(*x) && !planted("f3-liar-is-silent");
        let liars = call.accused.iter().filter(known).collect();
        let returned = reports.iter().filter(|r| r.header.restarted).map(|r| r.header.replica);
        let holdings = reports.iter().map(|r| holding(r)).collect();
        let digest = opening_hash(context, &call, &hashes);
        Self {
            call,
            digest,
            sources: reports.to_vec(),
            reports: hashes,
            from,
            base,
            origin,
            origin_reports,
            restarted,
            liars,
            returned: returned.collect(),
            holdings,
        }
    }

    /// Who is a member from here on, and why others are not (F3).
    pub(in crate::ordering) fn verdict(&self) -> Verdict {
        Verdict { call: self.call, liars: self.liars, restarted: self.restarted }
    }

    /// O1: whose candidates for requests not yet accepted are kept.
    pub(in crate::ordering) fn keeps(&self) -> Members {
        self.from.1.both(self.call.members()).minus(self.returned)
    }

    /// Whether bodies may have been lost, so that requests may be void (O7).
    pub(in crate::ordering) fn may_void(&self) -> bool {
        !self.returned.is_empty() || !self.call.members().includes(self.from.1)
    }

    /// Requests that some Report says it lacks the body of.
    pub(in crate::ordering) fn lacked(&self) -> BTreeSet<Digest> {
        self.holdings.iter().filter_map(|h| h.lacks.as_ref()).flatten().copied().collect()
    }

    /// O7: whether no member of the new epoch has the body of a request that was accepted in
    /// `since` on candidates of `holders`; one that is executed is known to all but those who
    /// restarted, whose logs may not reach so far. `knows` says up to which round of the history
    /// here one knows what was accepted, by the epoch that it entered and the vector it names. If
    /// the history has passed that epoch over, up to where it does so is known; and if that cannot
    /// be told either, nothing is lost for certain.
    pub(in crate::ordering) fn is_lost(
        &self,
        request: &Digest,
        (since, executed): (Round, bool),
        holders: Members,
        knows: impl Fn((Epoch, Digest), Round) -> Option<Round>,
    ) -> bool {
        self.holdings.iter().all(|h| {
            let Some(lacks) = &h.lacks else { return true };
            let held = !h.restarted && (executed || holders.contains(h.replica));
            let parted = || h.origin.and_then(|(epoch, last)| knows(epoch, last));
            let knows = match planted("o7-only-its-epoch") {
                true if h.entered == (self.from.0, self.origin) => h.named,
                true => Round(0),
                false => knows(h.entered, h.named).or_else(parted).unwrap_or(Round(u64::MAX)),
            };
            lacks.contains(request) || !(held || since <= knows)
        })
    }

    /// Members that may have this body: they do not say that they lack it.
    pub(in crate::ordering) fn may_hold(&self, request: &Digest) -> Members {
        let may = |h: &&Holding| h.lacks.as_ref().is_some_and(|lacks| !lacks.contains(request));
        self.holdings.iter().filter(may).map(|h| h.replica).collect()
    }

    /// Members that say they have this body, or do not say that they lack it. What one had that
    /// restarted nobody knows for certain.
    pub(in crate::ordering) fn who_holds(&self, request: &Digest) -> Members {
        let has = |h: &&Holding| {
            !h.restarted && h.lacks.as_ref().is_some_and(|lacks| !lacks.contains(request))
        };
        self.holdings.iter().filter(has).map(|h| h.replica).collect()
    }
}

fn holding(report: &Checked) -> Holding {
    let entered = (report.header.entered, report.header.opening);
    let lacks = match &report.message().lacks {
        Lacks::All => None,
        Lacks::Some(list) => Some(list.iter().copied().collect()),
    };
    let (replica, restarted, named) =
        (report.header.replica, report.header.restarted, report.header.round);
    Holding { replica, restarted, entered, named, origin: origin_of(report), lacks }
}

/// The base of the epoch that a Report says was entered, from what certifies that (F1, F2). Headers
/// carry no proofs, so that a convicted liar counts here, too.
fn origin_of(report: &Checked) -> Option<((Epoch, Digest), Round)> {
    let headers = || report.message().certificate.iter().map(|h| h.peek());
    let ((epoch, _), opening) = highest_entered(headers())?;
    let speaks = |h: &&ReportHeader| (h.entered, h.opening) == (epoch, opening);
    let last = headers().filter(speaks).map(|h| h.round).max()?;
    Some(((epoch, opening), last))
}

/// F1: the highest entered epoch and its opening. If several are named, the one that most members
/// of its epoch name; then the smallest hash. `None` if there is no Report.
fn highest_entered<'a>(
    reports: impl Iterator<Item = &'a ReportHeader> + Clone,
) -> Option<((Epoch, Members), Digest)> {
    let entered = reports.clone().map(|r| r.entered);
    let highest = match planted("f1-lowest-entered") {
        true => entered.min(),
        false => entered.max(),
    };
    let highest = highest?;
    let mut votes: BTreeMap<(Digest, Members), usize> = BTreeMap::new();
    for r in reports.filter(|r| r.entered == highest) {
        let count = votes.entry((r.opening, r.entered_members)).or_default();
        *count += usize::from(r.entered_members.contains(r.replica));
    }
    let best = votes.into_iter().min_by_key(|((hash, _), count)| (usize::MAX - count, *hash));
    best.map(|((opening, members), _)| ((highest, members), opening))
}

/// F2: of the complete vectors of the highest round the one that most members of e* chose.
fn base_of(spoken: &[&Arc<Checked>], of: Members) -> Option<NamedVector> {
    let highest = spoken.iter().filter_map(|r| r.vector.as_ref()).map(|v| v.round).max()?;
    let mut votes: BTreeMap<Digest, (usize, &NamedVector)> = BTreeMap::new();
    for r in spoken {
        let Some(vector) = r.vector.as_ref().filter(|v| v.round == highest) else { continue };
        let (count, _) = votes.entry(vector.digest).or_insert((0, vector));
        *count += usize::from(of.contains(r.header.replica) && !planted("f2-smallest-hash"));
    }
    if votes.len() > 1 {
        mark("F2 Reports named different vectors of the highest round");
    }
    let best = votes.into_iter().min_by_key(|(hash, (count, _))| (usize::MAX - count, *hash));
    best.map(|(_, (_, vector))| vector.clone())
}

/// The hash of the opening that follows from these Reports: they are named by their hashes.
pub(super) fn opening_hash(context: &Context, call: &Call, reports: &[Digest]) -> Digest {
    let mut h = Hasher::new(Domain::Opening);
    h.put(&context.cluster.0).put(&context.group.0.to_le_bytes());
    h.put(&call.root.generation.to_le_bytes()).put(&call.root.resets.to_le_bytes());
    h.put(&call.list.bits().to_le_bytes()).put(&call.accused.bits().to_le_bytes());
    reports.iter().for_each(|r| {
        h.put(&r.0);
    });
    h.finish()
}

#[cfg(test)]
#[path = "opening_tests.rs"]
mod tests;
