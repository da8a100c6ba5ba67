//! What convicts, kind by kind. Everything here is about statements whose signatures were checked.

use super::{Conviction, Kind};
use crate::crypto::{Signable, Verified};
use crate::types::{Epoch, Round};
use crate::wire::{Header, ReportHeader};

/// A conviction, or why an honest replica may have signed this.
pub(super) type Verdict = Result<Conviction, &'static str>;

/// R2: one proposal for each epoch and round, ever.
pub(super) fn equivocation(a: &Verified<Header>, b: &Verified<Header>) -> Verdict {
    same_chain(a, b)?;
    innocent_if(a.round != b.round, "the proposals are of different rounds")?;
    innocent_if(a.digest() == b.digest(), "it is one proposal twice")?;
    guilty(a, Kind::Equivocation, "signed two proposals for one round")
}

/// R4: in one epoch the own earlier proposal is in the chain that the later one chose.
pub(super) fn backwards(a: &Verified<Header>, b: &Verified<Header>) -> Verdict {
    same_chain(a, b)?;
    innocent_if(a.round >= b.round, "the second proposal is of no later round")?;
    if b.now < a.now {
        return guilty(b, Kind::Backwards, "signed a proposal with a clock that went back");
    }
    let (earlier, later) = (a.candidates, b.candidates);
    let both = earlier.count > 0 && later.count > 0;
    innocent_if(!both || later.first > earlier.last, "candidates and clock only rise")?;
    guilty(b, Kind::Backwards, "signed a candidate id that is not above its earlier ones")
}

/// R4: what needs no chain. How long a choice must be is not judged: in an epoch's first round it
/// names something else, and which round that is does not stand in the proposal.
pub(super) fn invalid(a: &Verified<Header>, max_candidates: u32) -> Verdict {
    if !a.members.contains(a.replica) {
        return guilty(a, Kind::Invalid, "signed a proposal for an epoch that it is no member of");
    }
    if a.candidates.count > max_candidates {
        return guilty(a, Kind::Invalid, "signed more candidates than the opening's limit");
    }
    let above = a.candidates.count > 0 && a.candidates.last > a.now;
    innocent_if(!above, "there is a chain in which this proposal is valid")?;
    guilty(a, Kind::Invalid, "signed a candidate id above its own clock")
}

/// E5: one report for each number, ever; the call is part of it.
pub(super) fn two_reports(a: &Verified<ReportHeader>, b: &Verified<ReportHeader>) -> Verdict {
    innocent_if(a.replica != b.replica, "the reports are of different replicas")?;
    innocent_if(a.call.number() != b.call.number(), "the reports are for different numbers")?;
    innocent_if(a.digest() == b.digest(), "it is one report twice")?;
    guilty(a, Kind::TwoReports, "signed two reports for one number")
}

/// E5: the report claims an epoch or a vector below what its signer held when it signed the
/// proposal, which was before (E4).
pub(super) fn false_report(report: &Verified<ReportHeader>, p: &Verified<Header>) -> Verdict {
    comparable(report, p)?;
    if report.entered < p.epoch {
        // An opening is on disk before anything is signed in its epoch (E6).
        return guilty(report, Kind::FalseReport, "reported an epoch below one that it signed in");
    }
    same_epoch(report, p)?;
    // The proposal of an epoch's first round, h0, chose no vector of it. For all later ones the
    // signer held V(h - 1). h0 is known of the first epoch only; but who reports a round of this
    // epoch reports h0 at least, so whenever h - 1 is above what is reported, h is above h0.
    let known = report.round > Round(0) || p.epoch == Epoch::GENESIS;
    innocent_if(!known, "the proposal may be of the first round of its epoch")?;
    innocent_if(p.round.previous() <= report.round, "the report claims what was chosen")?;
    guilty(report, Kind::FalseReport, "reported a vector below one that it chose")
}

/// The same where nothing is claimed of the proposal's epoch: that the proposal chose a vector and
/// not an opening is shown by a proposal that is in that vector.
pub(super) fn empty_report(
    report: &Verified<ReportHeader>,
    p: &Verified<Header>,
    chosen: &Verified<Header>,
) -> Verdict {
    comparable(report, p)?;
    same_epoch(report, p)?;
    innocent_if(report.round > Round(0), "the report claims a vector")?;
    let before = (chosen.epoch, chosen.members) == (p.epoch, p.members)
        && chosen.round.next() == p.round
        && p.choice.contains(&chosen.digest());
    innocent_if(!before, "the third part is not what the proposal chose")?;
    guilty(report, Kind::FalseReport, "reported no vector in an epoch where it chose one")
}

/// Whether the proposal was signed before the report, with nothing lost in between.
fn comparable(report: &ReportHeader, p: &Header) -> Result<(), &'static str> {
    innocent_if(report.replica != p.replica, "report and proposal are of different replicas")?;
    innocent_if(report.restarted, "the report says that its signer restarted")?;
    innocent_if(p.epoch >= report.call.number(), "the proposal may be later than the report")
}

// Numbers are those of one epoch only if its members are the same. Should ever two epochs of one
// number come about, a replica may have signed in one and followed into the other.
fn same_epoch(report: &ReportHeader, p: &Header) -> Result<(), &'static str> {
    let same = (report.entered, report.entered_members) == (p.epoch, p.members);
    innocent_if(!same, "the report is of an epoch of its own")
}

fn same_chain(a: &Header, b: &Header) -> Result<(), &'static str> {
    innocent_if(a.replica != b.replica, "the proposals are of different replicas")?;
    let same = (a.epoch, a.members) == (b.epoch, b.members);
    innocent_if(!same, "the proposals are of different epochs")
}

fn innocent_if(condition: bool, why: &'static str) -> Result<(), &'static str> {
    if condition { Err(why) } else { Ok(()) }
}

fn guilty<T: Signable>(by: &Verified<T>, kind: Kind, what: &'static str) -> Verdict {
    Ok(Conviction { replica: by.signer(), epoch: by.epoch(), kind, what })
}
