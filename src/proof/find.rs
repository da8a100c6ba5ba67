//! Looks for proofs in what was verified already. What is found always convicts.

use super::rules;
use crate::crypto::{Signable, Unverified, Verified};
use crate::types::Round;
use crate::wire::{Header, Proof, ReportHeader};

/// Two proposals of one replica, in any order: an equivocation, or one that goes back.
pub fn in_proposals(a: &Verified<Header>, b: &Verified<Header>) -> Option<Proof> {
    if rules::equivocation(a, b).is_ok() {
        return Some(Proof::Equivocation(give(a), give(b)));
    }
    let (a, b) = if a.round <= b.round { (a, b) } else { (b, a) };
    rules::backwards(a, b).is_ok().then(|| Proof::Backwards(give(a), give(b)))
}

/// One proposal by itself: invalid whatever the chain is.
pub fn in_proposal(a: &Verified<Header>, max_candidates: u32) -> Option<Proof> {
    rules::invalid(a, max_candidates).is_ok().then(|| Proof::Invalid(give(a)))
}

/// Two reports of one replica.
pub fn in_reports(a: &Verified<ReportHeader>, b: &Verified<ReportHeader>) -> Option<Proof> {
    rules::two_reports(a, b).is_ok().then(|| Proof::TwoReports(give(a), give(b)))
}

/// A report and a proposal of the same replica. `chosen` is any proposal of the round before
/// that the proposal chose: needed where the report claims no vector of the proposal's epoch.
pub fn in_report(
    report: &Verified<ReportHeader>,
    proposal: &Verified<Header>,
    chosen: Option<&Verified<Header>>,
) -> Option<Proof> {
    if rules::false_report(report, proposal).is_ok() {
        return Some(Proof::FalseReport(give(report), give(proposal)));
    }
    let chosen = chosen.filter(|_| report.round == Round(0))?;
    let false_claim = rules::empty_report(report, proposal, chosen).is_ok();
    false_claim.then(|| Proof::EmptyReport(give(report), give(proposal), Box::new(give(chosen))))
}

fn give<T: Signable + Clone>(statement: &Verified<T>) -> Unverified<T> {
    statement.clone().into()
}
