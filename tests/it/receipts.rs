//! Receipts from running groups (docs/protocol.md §6): they are had in spite of liars, crashes and
//! changes of the epoch, and no two strong ones contradict each other.

use quorate::adversary::{Lie, ReceiptLie, Sides};
use quorate::simulator::{Fault, NodeId, Options, Receipts, Report, Workload, run};
use quorate::types::{Assurance, Durability, Members, ReplicaId};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A group whose clients want a receipt of every call.
fn group(name: &'static str, t: u8) -> Options {
    Options {
        t,
        clients: 2,
        workload: Workload { calls: 15, pipeline: 2, think: ms(40), ..Workload::default() },
        receipts: Receipts::OfCalls,
        bound: Some(ms(1000)),
        ..Options::named(name)
    }
}

fn go(seed: u64, options: &Options) -> Report {
    run(seed, options).unwrap_or_else(|failure| panic!("{failure}"))
}

fn count(report: &Report, what: &str) -> u64 {
    report.events.get(what).copied().unwrap_or(0)
}

/// All calls have receipts, as many strong ones as wanted.
fn all_proven(report: &Report, calls: u64, assurance: Assurance) {
    let (strong, majority) = (count(report, "strong receipt"), count(report, "majority receipt"));
    assert_eq!(count(report, "no receipt"), 0, "{:?}", report.events);
    assert_eq!(count(report, "receipts contradict"), 0);
    match assurance {
        Assurance::Strong => assert_eq!((strong, majority), (calls, 0)),
        Assurance::Majority => assert_eq!(strong + majority, calls),
    }
}

#[test]
fn every_call_of_a_calm_group_has_the_receipt_that_is_wanted() {
    let name = "every_call_of_a_calm_group_has_the_receipt_that_is_wanted";
    for (t, assurance) in [(1, Assurance::Majority), (1, Assurance::Strong), (2, Assurance::Strong)]
    {
        for durability in [Durability::None, Durability::Reply, Durability::Strict] {
            let options = Options { assurance, durability, ..group(name, t) };
            all_proven(&go(3, &options), 30, assurance);
        }
    }
}

/// A receipt of a read shows what was so at a position.
#[test]
fn reads_have_receipts_of_their_positions() {
    let name = "reads_have_receipts_of_their_positions";
    let options = Options { queries: 1000, ..group(name, 1) };
    all_proven(&go(5, &options), 30, Assurance::Majority);
}

/// Whatever t replicas do about proofs, every call has its receipt in time.
#[test]
fn liars_keep_nobody_from_a_receipt() {
    let name = "liars_keep_nobody_from_a_receipt";
    for lie in ReceiptLie::ALL {
        for t in [1u8, 2] {
            let liars = (0..usize::from(t)).map(|place| (2 * place, Lie::Receipt(lie))).collect();
            let report = go(7, &Options { liars, ..group(name, t) });
            all_proven(&report, 30, Assurance::Majority);
            assert!(report.told.get(lie.name()).is_some_and(|told| *told > 0), "{}", lie.name());
        }
    }
}

/// A replica is killed and comes back, with its log or without; another one is out for good. Who
/// waits for a receipt gets it from the others, over the change of the epoch.
#[test]
fn receipts_are_had_over_crashes_and_exclusions() {
    let name = "receipts_are_had_over_crashes_and_exclusions";
    let node = NodeId::replica;
    for durability in [Durability::None, Durability::Reply, Durability::Strict] {
        for seed in 0..4 {
            let (at, down) = (ms(100 + 30 * seed), ms(200));
            let faults = match seed % 2 {
                0 => vec![(at, Fault::Crash(node(0), down))],
                _ => vec![(at, Fault::Stop(node(1)))],
            };
            let bad = match seed % 2 {
                0 => Members::NONE,
                _ => [ReplicaId::from_index(1)].into_iter().collect(),
            };
            let options = Options {
                faults,
                durability,
                by_cell: true,
                bad,
                workload: Workload { think: ms(80), ..group(name, 1).workload },
                ..group(name, 1)
            };
            let report = go(seed, &options);
            assert!(report.finished, "seed {seed}");
            all_proven(&report, 30, Assurance::Majority);
            assert!(count(&report, "excluded") > 0, "seed {seed}: {:?}", report.events);
        }
    }
}

/// C4: with three replicas a strong receipt takes all of them. With one down there is no strong
/// answer, and so no word of a receipt either.
#[test]
fn with_one_of_three_down_there_is_nothing_strong() {
    let name = "with_one_of_three_down_there_is_nothing_strong";
    let options = Options {
        assurance: Assurance::Strong,
        faults: vec![(ms(150), Fault::Stop(NodeId::replica(2)))],
        bad: [ReplicaId::from_index(2)].into_iter().collect(),
        call_timeout: ms(1500),
        must_finish: false,
        bound: None,
        ..group(name, 1)
    };
    let report = go(1, &options);
    assert!(count(&report, "strong receipt") > 0, "before that: {:?}", report.events);
    assert_eq!(count(&report, "majority receipt"), 0);
    let why: Vec<&String> = report.failed.keys().collect();
    assert!(why.iter().all(|why| why.contains("no majority in time")), "{why:?}");
    assert!(!why.is_empty());
}

/// Two replicas that are cut off from each other, and a third that is two replicas with one key,
/// one for each of them; clients make receipts of whatever anybody answers.
fn forked(name: &'static str) -> Options {
    let node = NodeId::replica;
    let cut = |from, to| {
        (ms(150), Fault::Cut { from: node(from), to: node(to), lasts: ms(600), breaks_after: None })
    };
    let second = [ReplicaId::from_index(1)].into_iter().collect();
    Options {
        receipts: Receipts::OfReplies,
        doubled: vec![(2, Sides { second, deaf: true })],
        lies_from: ms(150),
        faults: vec![cut(0, 1), cut(1, 0)],
        heal_at: Some(ms(1000)),
        by_cell: true,
        must_finish: false,
        bound: None,
        settle: ms(600),
        time_limit: ms(4000),
        workload: Workload { calls: 20, pipeline: 3, think: ms(120), ..Workload::default() },
        ..group(name, 1)
    }
}

/// The negative control of C4: where Δ is broken and one lies as well, two majority receipts can
/// contradict each other. No two strong ones do; the run would fail.
#[test]
fn majority_receipts_can_contradict_each_other_and_strong_ones_never_do() {
    let name = "majority_receipts_can_contradict_each_other_and_strong_ones_never_do";
    let reports: Vec<Report> = (0..12).map(|seed| go(seed, &forked(name))).collect();
    let all = |what: &str| reports.iter().map(|r| count(r, what)).collect::<Vec<u64>>();
    let (contradict, strong) = (all("receipts contradict"), all("strong receipt"));
    assert!(contradict.iter().any(|n| *n > 0), "{contradict:?}");
    assert!(strong.iter().all(|n| *n > 0), "there are strong ones at all: {strong:?}");
}
