//! The checks are worth what they catch: each planted bug must be noticed by a simulated run.

use bytes::Bytes;
use quorate::adversary::{EpochLie, Lie, OrderingLie, ReplyLie, WholeLie};
use quorate::crypto::Unverified;
use quorate::simulator::{
    ClientLie, Fault, NetworkOptions, NodeId, Options, RandomFaults, Workload, new_key, run,
};
use quorate::types::plant::{PLANTS, plant};
use quorate::types::{ClockKind, Quotas, ReplicaId};
use quorate::wire::{self, Frame, Kind, Message, Record};
use std::time::Duration;

const SEEDS: u64 = 12;

/// Bugs that no run here hunts. Those of the chain are hunted in `tests/it/chain.rs`. The next are
/// shown by step tables beside the code that has them (`src/ordering`, `src/replica/transfer`,
/// `src/proof/receipt`), those of divergence in `tests/it/divergence.rs`, the others by crashes at
/// every call of the disk (`src/daemon/disk/tests/crash/mod.rs`), by stories
/// (`tests/it/explore.rs`) and by the modes of `quorate sim` (`src/cli/sim/tests.rs`).
const ELSEWHERE: [&str; 143] = [
    "r5-lies-hide",
    "r6-late-twice",
    "r6-gather-first",
    "e1-lag-unbudgeted",
    "e1-lag-uncounted",
    "e1-lag-asleep",
    "e1-lag-unsettled",
    "e1-blames-stay",
    "e2-charges-go",
    "e2-reports-hide-rounds",
    "e1-blames-again",
    "e4-one-report-each",
    "e4-evidence-cut",
    "e4-evidence-unbounded",
    "delta-offset-stays",
    "delta-late-untold",
    "s6-signer-counts-twice",
    "s6-list-believed",
    "s6-index-unbound",
    "s6-rounds-apart",
    "s6-rolled-is-strong",
    "s6-any-key-counts",
    "s6-receipt-before-sync",
    "s6-receipt-of-others",
    "s6-weak-receipt",
    "r6-receipts-wait",
    "s7-unknown-is-none",
    "s7-forward-unsaid",
    "o6-name-used-again",
    "s6-attests-garbage",
    "s6-compares-with-t",
    "s6-quarantine-answers",
    "q1-chosen-not-awaited",
    "q1-follower-answers",
    "q1-entering-answers",
    "q1-frozen-answers",
    "q1-unsynced-answers",
    "q1-openings-mixed",
    "master-takes-unwitnessed",
    "master-lost-reports",
    "e6-wait-stays",
    "e3-cut-takes-later",
    "m2-leaves-too-few",
    "e6-enters-at-once",
    "e6-any-list",
    "o7-seen-while-read",
    "ch-repeats-run",
    "ch-ack-before-commit",
    "ch-commit-before-durable",
    "ch-reads-uncommitted-keys",
    "ch-lease-from-answer",
    "ch-serves-after-lease",
    "ch-master-takes-early",
    "ch-head-forgets-sent",
    "ch-opens-at-once",
    "ch-resume-ignored",
    "ch-resumes-before-ready",
    "ch-append-unpaired",
    "ch-window-by-count",
    "ch-fresh-is-sure",
    "r7-no-bound",
    "o7-spent-goes",
    "s7-legs-forgotten",
    "s7-strict-sends-first",
    "s7-strict-shown-if-asked",
    "s7-strict-forgets-own",
    "s7-strict-without-bodies",
    "s7-strict-bodies-go",
    "e4-evidence-forgotten",
    "s7-empty-disk-starts",
    "s7-replaced-disk-reports",
    "s7-rounds-unsynced",
    "s7-log-cut-early",
    "s7-epochs-unsynced",
    "s7-epochs-not-renewed",
    "s7-attests-undone",
    "s7-one-leg-only",
    "s7-opening-forgotten",
    "s7-reports-what-is-past",
    "s7-members-have-a-state",
    "r5-past-openings-gone",
    "r7-promise-first",
    "r7-one-history-only",
    "o3-lost-gives-none",
    "o7-only-its-epoch",
    "o7-base-not-counted",
    "o7-checkpoint-before-void",
    "o7-takes-up-between",
    "o7-dead-branch-is-dumb",
    "o7-void-in-need",
    "o7-waits-without-a-state",
    "o7-runs-too-early",
    "o7-forgets-what-came-since",
    "c2-restarted-is-dumb",
    "s7-frozen-follows",
    "s7-reply-before-sync",
    "s7-never-rolled-back",
    "s7-never-undone",
    "s7-rolled-unsaid",
    "o7-restarted-has-none",
    "s7-undone-is-read",
    "o7-runs-before-opening",
    "o7-committed-only",
    "o7-void-stays-executed",
    "r7-not-passed-over",
    "o1-late-candidate-counts",
    "f1-lowest-entered",
    "f2-smallest-hash",
    "f2-liars-count",
    "f3-liar-is-silent",
    "m1-join-at-once",
    "m4-leaving-is-free",
    "m4-no-doubling",
    "m1-waits-for-its-call",
    "m1-join-behind",
    "r7-short-sight",
    "r7-newest-only",
    "o1-keep-dropped",
    "o7-nothing-is-void",
    "s7-snapshot-of-t",
    "s7-chunk-unchecked",
    "s7-liar-asked-again",
    "s7-link-takes-all",
    "s7-one-claimant-named",
    "r1-any-choice",
    "r5-never-ask",
    "e2-held-is-shown",
    "e6-other-reports-unasked",
    "r7-gap-not-asked",
    "e6-propose-before-sync",
    "e7-clock-not-raised",
    "e7-old-ids",
    "e8-own-root-only",
    "r5-ask-at-once",
    "r7-near-gap",
    "r7-one-epoch-only",
    "s7-last-not-kept",
    "s7-opening-stays",
    "s7-signs-again",
    "s7-state-unheard",
    "s7-signs-on",
    "s7-promise-forgotten",
    "s7-report-anew",
];

/// The run that should notice a bug.
fn hunt(name: &str) -> Options {
    let ms = Duration::from_millis;
    let options = Options { time_limit: Duration::from_secs(5), ..Options::named("planted") };
    let order = |place, lie| vec![(place, Lie::Ordering(lie))];
    let fair = Options {
        fairness: true,
        clock_spread: Duration::from_micros(500),
        clock: ClockKind::RealTime,
        workload: Workload { calls: 60, think: ms(12), ..Workload::default() },
        ..options.clone()
    };
    match name {
        "o1-t-candidates-accept" => {
            // Both liars invent the same requests.
            let fakes = |place| (place, Lie::Ordering(OrderingLie::FakeCandidates));
            Options { t: 2, liars: vec![fakes(2), fakes(4)], ..options }
        }
        "o2-smallest-candidate" => Options { liars: order(2, OrderingLie::AlwaysLowest), ..fair },
        "o2-largest-candidate" => Options { liars: order(2, OrderingLie::ClockLate), ..fair },
        "o3-no-stability" => {
            // Good replicas must be far apart in a round: one sends before, one after both came.
            let mut options = Options { liars: order(2, OrderingLie::Favour), ..fair };
            options.world.network = NetworkOptions { max_delay: ms(8), ..Default::default() };
            options
        }
        "o3-order-by-digest" => options,
        "o3-never-overdue" => Options { liars: order(2, OrderingLie::LowFakes), ..options },
        "o5-clock-of-first-member" => {
            Options { liars: order(0, OrderingLie::ClockHuge), ..options }
        }
        "o6-no-duplicate-check" => {
            let lying_clients = vec![ClientLie::ReuseNumbers, ClientLie::Equivocate];
            Options { lying_clients, ..options }
        }
        "c2-withdrawal-spends-nothing" | "c2-withdrawn-runs" => {
            Options { lying_clients: vec![ClientLie::Withdraw], ..options }
        }
        "r2-sign-twice" => {
            let within = Duration::from_millis(300);
            let random_faults =
                RandomFaults { breaks: 40, within, lasts: ms(20), ..RandomFaults::NONE };
            Options { random_faults, workload: Workload { calls: 80, ..fair.workload }, ..options }
        }
        "r3-commit-early" => {
            let must_finish = false;
            Options { liars: order(0, OrderingLie::Equivocate), must_finish, ..options }
        }
        "r4-accept-low-candidate" => {
            let must_finish = false;
            Options { liars: order(1, OrderingLie::FallingCandidates), must_finish, ..options }
        }
        "c3-whole-unfitting" | "c3-repeat-digested" => {
            // Every result is told by digests, and the whole of every third is wrong or not given.
            let lie = match name {
                "c3-whole-unfitting" => WholeLie::UnfittingWhole,
                _ => WholeLie::NoWhole,
            };
            let quotas = Quotas { whole_bytes: 0, ..Quotas::default() };
            Options { liars: vec![(0, Lie::Whole(lie))], quotas, ..options }
        }
        "c1-accept-t-replies" | "c1-count-replica-twice" => {
            let mut options = options;
            options.liars = vec![(0, Lie::Reply(ReplyLie::WrongOutput))];
            options.world.network = NetworkOptions { max_delay: ms(8), ..Default::default() };
            options
        }
        other => hunt_in_epochs(other, options, fair),
    }
}

/// The run that should notice a bug in the change of the epoch.
fn hunt_in_epochs(name: &str, options: Options, fair: Options) -> Options {
    let ms = Duration::from_millis;
    match name {
        "e1-blame-early" => {
            let mut options = options;
            options.world.network = NetworkOptions { max_delay: ms(18), ..Default::default() };
            options
        }
        "e2-t-blames" => Options {
            liars: vec![(0, Lie::Epoch(EpochLie::FalseBlame))],
            must_finish: false,
            ..options
        },
        "e2-restarted-counts-nowhere" => Options { bound: Some(ms(150)), ..restart(options) },
        "e5-send-before-sync" => {
            Options { persist_rule: Some(reports_are_durable), ..restart(options) }
        }
        "e4-no-freeze" => {
            let (within, lasts) = (ms(1000), ms(300));
            let random_faults = RandomFaults { pauses: 12, within, lasts, ..RandomFaults::NONE };
            let heal_at = Some(ms(1500));
            let workload = Workload { calls: 150, ..fair.workload };
            Options { random_faults, heal_at, by_cell: true, workload, ..options }
        }
        "e5-report-less" => {
            let faults = vec![(ms(100), Fault::Crash(NodeId::replica(2), ms(100_000)))];
            let bad = [ReplicaId::from_index(2)].into_iter().collect();
            Options { faults, bad, workload: fair.workload, ..options }
        }
        "e8-never-stalled" => {
            // Nobody hears anybody for a while: all accuse each other, and only a reset helps.
            let cut = |r| (ms(100), Fault::Isolate(NodeId::replica(r), ms(400)));
            Options { faults: vec![cut(0), cut(1)], workload: fair.workload, ..options }
        }
        "m3-no-second-change" => {
            // Without the new key the last one that stops leaves too few.
            let replica = ReplicaId::from_index(2);
            let crash = |at, place, down| (ms(at), Fault::Crash(NodeId::replica(place), ms(down)));
            let faults = vec![crash(600, 2, 50), crash(1800, 1, 100_000)];
            let commands =
                vec![(ms(100), wire::Change::ReplaceKey { replica, key: new_key(replica) })];
            let bad = [ReplicaId::from_index(1)].into_iter().collect();
            let workload = Workload { calls: 250, think: ms(20), ..Workload::default() };
            Options { commands, faults, bad, workload, ..options }
        }
        other => panic!("no run hunts {other}"),
    }
}

/// One of three restarts, early under load.
fn restart(options: Options) -> Options {
    let ms = Duration::from_millis;
    let faults = vec![(ms(100), Fault::Crash(NodeId::replica(2), ms(20)))];
    let workload = Workload { calls: 100, think: ms(10), ..Workload::default() };
    Options { faults, workload, settle: ms(2000), ..options }
}

/// E5: when a Report leaves, its number is promised on the sender's disk.
fn reports_are_durable(frame: &Frame, durable: &[Bytes]) -> Result<(), String> {
    if frame.kind != Kind::Report {
        return Ok(());
    }
    let sent = Unverified::<wire::Report>::from_body(&frame.body).map_err(|e| e.to_string())?;
    let number = sent.peek().header.call.number();
    let promised = durable.iter().filter_map(|r| Record::parse(r).ok()).any(|r| match r {
        Record::Promise { call, .. } => call.number() >= number,
        Record::Entered { epoch, .. } => epoch >= number,
        Record::Report { .. } | Record::Keys(_) | Record::Rolled { .. } => false,
    });
    if promised {
        Ok(())
    } else {
        Err(format!("a Report for {number} that is not promised on disk"))
    }
}

/// What a run notices: a broken rule, or that a proof of lying was not found.
fn noticed(name: &str, seed: u64, options: &Options) -> Option<String> {
    match run(seed, options) {
        Err(failure) => Some(failure.to_string()),
        Ok(report) => {
            let proof = "invalid proposal";
            let blind = name == "r4-accept-low-candidate" && !report.events.contains_key(proof);
            blind.then(|| format!("no good replica found an {proof}"))
        }
    }
}

/// Some bugs show only in rare orders of arrival.
fn seeds_for(name: &str) -> u64 {
    if name == "o3-no-stability" { 20 * SEEDS } else { SEEDS }
}

fn hunted() -> impl Iterator<Item = (&'static str, &'static str)> {
    PLANTS.iter().copied().filter(|(name, _)| !ELSEWHERE.contains(name))
}

#[test]
fn every_planted_bug_is_noticed() {
    let mut missed = Vec::new();
    for (name, rule) in hunted() {
        let options = hunt(name);
        plant(Some(name));
        let found = (0..seeds_for(name)).find_map(|seed| noticed(name, seed, &options));
        plant(None);
        match found {
            Some(what) => println!("{name}: {what}"),
            None => missed.push(rule),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:#?}");
}

#[test]
fn the_hunts_notice_nothing_without_a_bug() {
    for (name, _) in hunted() {
        for seed in 0..SEEDS {
            let noticed = noticed(name, seed, &hunt(name));
            assert_eq!(noticed, None, "{name}");
        }
    }
}
