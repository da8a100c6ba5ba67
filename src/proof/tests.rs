use super::history::{Flaw, History, blank_report, empty, keyring, sign};
use super::*;
use crate::crypto::{Context, KeyChange, Keyed, SecretKey, Signature};
use crate::types::{Call, Digest, GroupId, Members, Root, Round};
use crate::wire::{Candidate, Header, Proposal, ReportHeader};
use proptest::prelude::*;

const LIMIT: u32 = 3;
const E1: Epoch = Epoch { generation: 0, resets: 0, accused: 1 };

fn r(index: usize) -> ReplicaId {
    ReplicaId::from_index(index)
}

fn all() -> Members {
    keyring().ensemble().all()
}

fn judge(proof: &Proof) -> Result<Conviction, ProofError> {
    convict(proof, &keyring(), LIMIT)
}

fn kind(proof: &Proof) -> Option<Kind> {
    judge(proof).ok().map(|c| c.kind)
}

/// A proposal of R2 in `E1` with candidates at these clocks.
fn proposal(round: u64, now: u64, clocks: &[u64]) -> Proposal {
    let candidate = |clock: &u64| Candidate { clock: *clock, request: Digest([4; 32]) };
    let candidates = clocks.iter().map(candidate).collect();
    Proposal { now, candidates, ..empty(E1, all(), Round(round), r(1)) }
}

fn header(p: Proposal) -> Unverified<Header> {
    sign(p.header()).into()
}

/// A call with so many accused in the first root.
fn call(accused: usize) -> Call {
    let accused = all().iter().skip(2).take(accused).collect();
    Call { root: Root::GENESIS, list: all(), accused }
}

/// R2's report for a call: it entered `E1` and holds V(round) of it.
fn report(call: Call, round: u64) -> ReportHeader {
    let vector = if round == 0 { Digest::ZERO } else { Digest([6; 32]) };
    ReportHeader { round: Round(round), vector, ..blank_report(call, r(1), E1, all()) }
}

fn reported(r: ReportHeader) -> Unverified<ReportHeader> {
    sign(r).into()
}

// --- kind by kind -----------------------------------------------------------------------------

#[test]
fn r5_two_proposals_for_one_round_convict() {
    let one = proposal(5, 100, &[]);
    let judged = |other: Proposal| kind(&Proof::Equivocation(header(one.clone()), header(other)));
    let two = proposal(5, 101, &[]);
    let verdict = judge(&Proof::Equivocation(header(one.clone()), header(two.clone()))).unwrap();
    assert_eq!((verdict.replica, verdict.epoch, verdict.kind), (r(1), E1, Kind::Equivocation));
    assert_eq!(judged(one.clone()), None, "the same twice");
    assert_eq!(judged(proposal(6, 101, &[])), None, "another round");
    assert_eq!(judged(Proposal { epoch: Epoch::GENESIS, ..two.clone() }), None, "another epoch");
    let fewer = all().minus([r(4)].into_iter().collect());
    assert_eq!(judged(Proposal { members: fewer, ..two.clone() }), None, "other members");
    assert_eq!(judged(Proposal { replica: r(2), ..two }), None, "another replica");
}

/// Two signatures over one content are one proposal.
#[test]
fn r5_a_second_signature_is_no_second_proposal() {
    let one = header(proposal(5, 100, &[]));
    let mut other = *one.signature();
    other.0[63] ^= 1;
    let malleated = Proof::Equivocation(one.clone(), Unverified::new(one.peek().clone(), other));
    assert!(matches!(judge(&malleated), Err(ProofError::Signature(_))));
}

#[test]
fn r4_going_back_within_an_epoch_convicts() {
    let judged = |a: Proposal, b: Proposal| kind(&Proof::Backwards(header(a), header(b)));
    let (back, fine) = (Some(Kind::Backwards), None);
    let p = proposal;
    assert_eq!(judged(p(5, 100, &[]), p(6, 99, &[])), back, "now");
    assert_eq!(judged(p(5, 100, &[]), p(6, 100, &[])), fine, "now may stand still");
    assert_eq!(judged(p(5, 100, &[90, 95]), p(6, 100, &[95])), back, "an equal candidate");
    assert_eq!(judged(p(5, 100, &[90, 95]), p(9, 200, &[94, 120])), back, "a lower one");
    assert_eq!(judged(p(5, 100, &[90, 95]), p(9, 200, &[96])), fine);
    assert_eq!(judged(p(5, 100, &[90]), p(9, 200, &[])), fine);
    assert_eq!(judged(p(5, 100, &[]), p(9, 200, &[1])), fine, "nothing to be above of");
    assert_eq!(judged(p(6, 99, &[]), p(5, 100, &[])), fine, "the later one comes second");
    assert_eq!(judged(p(5, 100, &[]), p(5, 99, &[])), fine, "that is an equivocation");
    // E7: discarded candidates come again in the next epoch with their old ids.
    let next = Proposal { epoch: Epoch { accused: 2, ..E1 }, ..p(6, 99, &[90]) };
    assert_eq!(judged(p(5, 100, &[90, 95]), next), fine);
    let others = Proposal { replica: r(3), ..p(6, 99, &[]) };
    assert_eq!(judged(p(5, 100, &[]), others), fine);
}

#[test]
fn r4_what_no_chain_makes_valid_convicts() {
    let judged = |p: Proposal| kind(&Proof::Invalid(header(p)));
    assert_eq!(judged(proposal(5, 100, &[98, 101])), Some(Kind::Invalid), "above its clock");
    assert_eq!(judged(proposal(5, 100, &[98, 100])), None);
    assert_eq!(judged(proposal(5, 0, &[])), None);
    assert_eq!(judged(proposal(5, 100, &[1, 2, 3, 4])), Some(Kind::Invalid), "above the limit");
    assert_eq!(judged(proposal(5, 100, &[1, 2, 3])), None);
    let members = all().minus([r(1)].into_iter().collect());
    let stranger = Proposal { members, ..proposal(5, 100, &[]) };
    assert_eq!(judged(stranger), Some(Kind::Invalid), "no member");
    // How long a choice must be depends on what opened the epoch.
    let choice = vec![Digest([1; 32]); 31];
    assert_eq!(judged(Proposal { choice, ..proposal(5, 100, &[]) }), None);
}

#[test]
fn e5_two_reports_for_one_number_convict() {
    let one = report(call(2), 5);
    let judged = |other| kind(&Proof::TwoReports(reported(one), reported(other)));
    let guilty = Some(Kind::TwoReports);
    assert_eq!(judged(one), None, "the same twice");
    assert_eq!(judged(report(call(2), 6)), guilty);
    assert_eq!(judged(ReportHeader { restarted: true, ..one }), guilty);
    assert_eq!(judged(report(call(3), 6)), None, "another number");
    assert_eq!(judged(ReportHeader { replica: r(0), ..report(call(2), 6) }), None);
    // Another call of the same number.
    let accused = [r(0), r(4)].into_iter().collect();
    assert_eq!(judged(report(Call { accused, ..call(2) }, 5)), guilty);
    let proof = Proof::TwoReports(reported(one), reported(report(call(2), 6)));
    assert_eq!(judge(&proof).unwrap().epoch, call(2).number());
}

#[test]
fn e5_a_report_below_what_was_chosen_convicts() {
    let judged = |r, p| kind(&Proof::FalseReport(reported(r), header(p)));
    let (guilty, innocent) = (Some(Kind::FalseReport), None);
    let x = |round| report(call(2), round);
    let p = |round| proposal(round, 100, &[]);
    assert_eq!(judged(x(5), p(7)), guilty, "it held V(6)");
    assert_eq!(judged(x(5), p(6)), innocent, "it held V(5)");
    assert_eq!(judged(x(5), p(1)), innocent);
    assert_eq!(judged(ReportHeader { restarted: true, ..x(5) }, p(7)), innocent, "it lost that");
    // Of an epoch whose first round is not known it may have held no vector.
    assert_eq!(judged(x(0), p(7)), innocent);
    // The first round of the first epoch is 1.
    let genesis = |round| ReportHeader { entered: Epoch::GENESIS, ..x(round) };
    let first = |round| Proposal { epoch: Epoch::GENESIS, ..p(round) };
    assert_eq!(judged(genesis(0), first(2)), guilty);
    assert_eq!(judged(genesis(0), first(1)), innocent);
    // It signed in an epoch above the one that it reports.
    assert_eq!(judged(genesis(9), p(1)), guilty);
    assert_eq!(judged(x(1), first(9)), innocent, "it has entered a later one since");
    // A proposal that may be later than the report says nothing.
    assert_eq!(judged(report(call(1), 5), p(7)), innocent);
    assert_eq!(judged(ReportHeader { replica: r(0), ..x(5) }, p(7)), innocent);
    let entered_members = all().minus([r(4)].into_iter().collect());
    assert_eq!(judged(ReportHeader { entered_members, ..x(5) }, p(7)), innocent);
}

#[test]
fn e5_a_report_of_nothing_convicts_whoever_chose_a_vector() {
    let chosen = Proposal { replica: r(3), ..proposal(6, 50, &[]) };
    let choice = vec![Digest([3; 32]), sign(chosen.header()).digest()];
    let p = Proposal { choice, ..proposal(7, 100, &[]) };
    let judged = |r, p: &Proposal, c: &Proposal| {
        kind(&Proof::EmptyReport(reported(r), header(p.clone()), header(c.clone()).into()))
    };
    let x = report(call(2), 0);
    assert_eq!(judged(x, &p, &chosen), Some(Kind::FalseReport));
    assert_eq!(judged(report(call(2), 1), &p, &chosen), None, "it claims a vector");
    assert_eq!(judged(ReportHeader { restarted: true, ..x }, &p, &chosen), None);
    assert_eq!(judged(report(call(1), 0), &p, &chosen), None, "the proposal may be later");
    let of_another = ReportHeader { entered: Epoch { accused: 2, ..E1 }, ..report(call(3), 0) };
    assert_eq!(judged(of_another, &p, &chosen), None);
    // Not chosen, of another round, of another epoch.
    assert_eq!(judged(x, &proposal(7, 100, &[]), &chosen), None);
    assert_eq!(judged(x, &Proposal { round: Round(8), ..p.clone() }, &chosen), None);
    let foreign = Proposal { epoch: Epoch::GENESIS, ..chosen.clone() };
    let choice = vec![sign(foreign.header()).digest()];
    assert_eq!(judged(x, &Proposal { choice, ..p.clone() }, &foreign), None);
}

/// One part that is not signed by whom it names, and all is worth nothing.
#[test]
fn every_part_must_be_signed() {
    let bad = |h: &Unverified<Header>| Unverified::new(h.peek().clone(), Signature([0; 64]));
    let bad_report = |h: &Unverified<ReportHeader>| Unverified::new(*h.peek(), Signature([0; 64]));
    let (a, b) = (header(proposal(5, 100, &[])), header(proposal(5, 101, &[])));
    let (c, d) = (header(proposal(6, 99, &[])), header(proposal(7, 1, &[9])));
    let (x, y) = (reported(report(call(2), 1)), reported(report(call(2), 2)));
    let proofs = [
        Proof::Equivocation(bad(&a), b.clone()),
        Proof::Equivocation(a.clone(), bad(&b)),
        Proof::Backwards(bad(&a), c.clone()),
        Proof::Backwards(a.clone(), bad(&c)),
        Proof::Invalid(bad(&d)),
        Proof::TwoReports(bad_report(&x), y.clone()),
        Proof::TwoReports(x.clone(), bad_report(&y)),
        Proof::FalseReport(bad_report(&x), d.clone()),
        Proof::FalseReport(x.clone(), bad(&d)),
        Proof::EmptyReport(bad_report(&x), d.clone(), a.clone().into()),
        Proof::EmptyReport(x.clone(), bad(&d), a.clone().into()),
        Proof::EmptyReport(x.clone(), d.clone(), bad(&a).into()),
    ];
    for proof in &proofs {
        assert!(matches!(judge(proof), Err(ProofError::Signature(_))), "{proof:?}");
    }
    let whole = [
        Proof::Equivocation(a.clone(), b),
        Proof::Backwards(a, c),
        Proof::Invalid(d.clone()),
        Proof::TwoReports(x.clone(), y),
        Proof::FalseReport(x, d),
    ];
    assert!(whole.iter().all(|p| judge(p).is_ok()));
}

// --- honest replicas --------------------------------------------------------------------------

/// Every proof that could be put together from what this replica signed.
fn accusations(h: &History) -> Vec<Proof> {
    let give = |p: &Verified<Header>| Unverified::from(p.clone());
    let give_report = |x: &Verified<ReportHeader>| Unverified::from(x.clone());
    let mut proofs = Vec::new();
    for (i, a) in h.proposals.iter().enumerate() {
        proofs.push(Proof::Invalid(give(a)));
        for b in &h.proposals[i..] {
            proofs.push(Proof::Equivocation(give(a), give(b)));
            proofs.push(Proof::Backwards(give(a), give(b)));
            proofs.push(Proof::Backwards(give(b), give(a)));
        }
    }
    for (i, x) in h.reports.iter().enumerate() {
        let rest = h.reports[i..].iter();
        proofs.extend(rest.map(|y| Proof::TwoReports(give_report(x), give_report(y))));
        for p in &h.proposals {
            proofs.push(Proof::FalseReport(give_report(x), give(p)));
            let before = h.others.iter().filter(|o| o.round.next() == p.round);
            for o in before.chain(h.proposals.iter().filter(|o| o.round.next() == p.round)) {
                proofs.push(Proof::EmptyReport(give_report(x), give(p), give(o).into()));
            }
        }
    }
    proofs
}

fn convictions(flaw: Flaw, acts: &[(u8, u8)]) -> Vec<Kind> {
    let mut history = History::new(flaw);
    acts.iter().for_each(|(what, how)| history.act(*what, *how));
    accusations(&history).iter().filter_map(kind).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 300,
        ..ProptestConfig::default()
    })]

    /// Nothing that an honest replica signs convicts it, over any restarts.
    #[test]
    fn nobody_convicts_an_honest_replica(
        acts in proptest::collection::vec(any::<(u8, u8)>(), 0..80),
    ) {
        prop_assert_eq!(convictions(Flaw::None, &acts), vec![]);
    }

    /// What is found convicts, and what convicts is found.
    #[test]
    fn whatever_is_found_convicts(
        acts in proptest::collection::vec(any::<(u8, u8)>(), 0..60),
        flaw in prop_oneof![
            Just(Flaw::SignsAfterRestart), Just(Flaw::ReportsAnew), Just(Flaw::HidesRestart)
        ],
    ) {
        let mut h = History::new(flaw);
        acts.iter().for_each(|(what, how)| h.act(*what, *how));
        let mut found = Vec::new();
        for (i, a) in h.proposals.iter().enumerate() {
            found.extend(find::in_proposal(a, LIMIT));
            found.extend(h.proposals[i + 1..].iter().filter_map(|b| find::in_proposals(b, a)));
        }
        for (i, x) in h.reports.iter().enumerate() {
            found.extend(h.reports[i + 1..].iter().filter_map(|y| find::in_reports(x, y)));
            for p in &h.proposals {
                let chosen = h.others.iter().find(|o| p.choice.contains(&o.digest()));
                found.extend(find::in_report(x, p, chosen));
            }
        }
        for proof in &found {
            prop_assert!(judge(proof).is_ok(), "{:?}", proof);
        }
        let guilty = accusations(&h).iter().any(|p| judge(p).is_ok());
        prop_assert_eq!(guilty, !found.is_empty());
    }
}

/// The histories above are rich enough: each breach of a rule gets its replica convicted in some.
#[test]
fn every_flaw_is_found_in_some_history() {
    let mut state = 1u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_le_bytes()[7]
    };
    let mut histories = Vec::new();
    for _ in 0..400 {
        histories.push((0..60).map(|_| (byte(), byte())).collect::<Vec<_>>());
    }
    let found = |flaw| histories.iter().flat_map(|acts| convictions(flaw, acts)).collect();
    let rows: [(Flaw, &[Kind]); 5] = [
        (Flaw::SignsAfterRestart, &[Kind::Equivocation]),
        (Flaw::ClockGoesBack, &[Kind::Backwards]),
        (Flaw::ReportsAnew, &[Kind::TwoReports]),
        (Flaw::HidesRestart, &[Kind::FalseReport]),
        (Flaw::ForgetsPromise, &[Kind::FalseReport]),
    ];
    for (flaw, kinds) in rows {
        let found: std::collections::BTreeSet<Kind> = found(flaw);
        assert!(kinds.iter().all(|k| found.contains(k)), "{flaw:?}: {found:?}");
    }
}

// --- files ------------------------------------------------------------------------------------

fn file() -> (ProofFile, Conviction) {
    let proof = Proof::Equivocation(header(proposal(5, 100, &[])), header(proposal(5, 101, &[])));
    let conviction = judge(&proof).unwrap();
    (ProofFile::new(proof, &keyring()), conviction)
}

#[test]
fn a_file_says_what_it_is_and_any_damage_shows() {
    let (file, conviction) = file();
    let bytes = file.to_bytes();
    assert_eq!(ProofFile::parse(&bytes), Ok(file.clone()));
    assert_eq!(file.fits(&keyring()), Ok(()));
    for bit in 0..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let refused = ProofFile::parse(&damaged);
        assert!(matches!(refused, Err(ProofFileError::Damaged(_))), "bit {bit}");
    }
    for end in 0..bytes.len() {
        assert!(ProofFile::parse(&bytes[..end]).is_err(), "cut to {end}");
    }
    let long = [&bytes[..], &[0]].concat();
    assert!(ProofFile::parse(&long).is_err());
    assert!(ProofFile::parse(&vec![0; MAX_PROOF_FILE + 1]).is_err());
    let name = file.name(&conviction);
    assert!(name.starts_with("0.0.1-R2-equivocation-") && name.ends_with(".proof"), "{name}");
    assert_eq!(name.len(), "0.0.1-R2-equivocation-.proof".len() + 16);
}

#[test]
fn a_file_of_another_cluster_or_roster_says_so() {
    let (file, _) = file();
    let keys = |swap: bool| {
        let mut keys: Vec<_> = all().iter().map(|m| *keyring().key(m).unwrap()).collect();
        if swap {
            keys.swap(3, 4);
        }
        keys
    };
    let keyring = |cluster, keys| {
        let context = Context { cluster, group: GroupId(3) };
        Keyring::<Keyed>::new(context, keyring().ensemble(), keys).unwrap()
    };
    let other = file.fits(&keyring(Digest([8; 32]), keys(false))).unwrap_err();
    assert!(matches!(other, ProofFileError::Cluster { .. }), "{other}");
    let other = file.fits(&keyring(Digest([7; 32]), keys(true))).unwrap_err();
    assert!(matches!(other, ProofFileError::Roster { .. }), "{other}");
}

/// M3: a proof stands under the keys of its time, with any keyring that has them.
#[test]
fn a_key_that_is_replaced_changes_no_verdict() {
    let (file, conviction) = file();
    let new = Keyed::public(&Keyed::signer(&SecretKey::from_seed([99; 32])));
    let after = |out| {
        let mut keyring = keyring();
        keyring.replace(KeyChange { out, replica: conviction.replica, key: new }).unwrap();
        keyring
    };
    let later = after(3);
    assert_eq!(file.fits(&later), Ok(()));
    assert_eq!(convict(&file.proof, &later, LIMIT), Ok(conviction));
    // The same statements in an epoch in which another key counts, or none, prove nothing.
    for (out, generation) in [(1, 1), (1, 2)] {
        let epoch = Epoch { generation, ..E1 };
        let of = |now| header(Proposal { epoch, ..proposal(5, now, &[]) });
        let proof = Proof::Equivocation(of(100), of(101));
        assert!(convict(&proof, &keyring(), LIMIT).is_ok());
        assert!(matches!(convict(&proof, &after(out), LIMIT), Err(ProofError::Signature(_))));
    }
}

/// The largest kind, in the largest group, with room to spare.
#[test]
fn every_proof_fits_its_file() {
    let h = || {
        let choice = vec![Digest([1; 32]); 31];
        header(Proposal { choice, ..proposal(5, 100, &[1, 2]) })
    };
    let proof = Proof::EmptyReport(reported(report(call(2), 0)), h(), h().into());
    let file = ProofFile::new(proof, &keyring());
    assert!(file.to_bytes().len() < MAX_PROOF_FILE / 4, "{}", file.to_bytes().len());
}
