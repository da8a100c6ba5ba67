//! The simulator's own faults: that each strikes, that a run with all of them is a function of its
//! seed, and that runs are judged by what they turned out to be.

use bytes::Bytes;
use quorate::adversary::{Lie, OrderingLie, ReplyLie};
use quorate::crypto::Keyed;
use quorate::simulator::{
    Cell, CrashPoint, Fault, NodeId, Options, RandomFaults, Workload, run, run_watched,
};
use quorate::wire::{Frame, Kind};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A cluster with work for three seconds, judged by its cell.
fn busy(name: &'static str) -> Options {
    let workload = Workload { calls: 80, think: ms(80), ..Workload::default() };
    let time_limit = Duration::from_secs(10);
    Options { workload, time_limit, by_cell: true, ..Options::named(name) }
}

/// Every kind of fault that there is.
fn everything(name: &'static str) -> Options {
    let random_faults = RandomFaults {
        breaks: 3,
        pauses: 3,
        slows: 3,
        steps: 3,
        crashes: 3,
        crash_points: 3,
        power_cuts: 1,
        slow_disks: 3,
        cuts: 6,
        edges: 6,
        isolations: 1,
        drifts: 3,
        rates: 3,
        within: ms(2000),
        lasts: ms(300),
    };
    let mut options =
        Options { random_faults, heal_at: Some(ms(2500)), must_finish: false, ..busy(name) };
    let network = &mut options.world.network;
    (network.drop_per_mille, network.duplicate_per_mille, network.reorder) = (10, 10, true);
    (network.unruly_bulk, network.bulk_jitter) = (true, ms(5));
    (network.resend_per_mille, network.break_per_mille) = (20, 5);
    options.rate_ppm = 5_000;
    options.drift_ppm = 100_000;
    options
}

#[test]
fn with_every_fault_a_run_is_a_function_of_its_seed() {
    let liars = vec![(1, Lie::Ordering(OrderingLie::FakeCandidates))];
    let name = "with_every_fault_a_run_is_a_function_of_its_seed";
    let options = Options { t: 2, liars, ..everything(name) };
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..6 {
        let told = || {
            let mut told = Vec::new();
            let report = run_watched::<Keyed>(seed, &options, &mut |time, node, what| {
                told.push(format!("{time} {node}: {what}"));
            });
            (report.unwrap_or_else(|failure| panic!("{failure}")), told)
        };
        let ((first, seen), (second, again)) = (told(), told());
        assert_eq!((first.trace_hash, first.arrivals), (second.trace_hash, second.arrivals));
        assert_eq!(first.fired, second.fired);
        assert_eq!(seen, again);
        hashes.insert(first.trace_hash);
    }
    assert_eq!(hashes.len(), 6);
}

#[test]
fn every_kind_of_fault_strikes() {
    let mut fired = std::collections::BTreeMap::new();
    for seed in 0..12 {
        let report = run(seed, &everything("every_kind_of_fault_strikes"));
        for (fault, count) in report.unwrap_or_else(|failure| panic!("{failure}")).fired {
            *fired.entry(fault).or_insert(0) += count;
        }
    }
    let expected = [
        "crash laid at a sync",
        "delay just above the bound",
        "delay just below the bound",
        "direction cut",
        "direction cut until the link breaks",
        "disk slowed",
        "frame doubled",
        "frame dropped",
        "frame reordered",
        "frame sent again",
        "link broken",
        "link broken by loss",
        "link slowed",
        "monotonic clock drifts",
        "node crashed",
        "node paused",
        "power cut",
        "wall clock drifts",
        "wall clock stepped",
    ];
    for fault in expected {
        assert!(fired.contains_key(fault), "{fault}: {fired:?}");
    }
}

/// D2, D17: nothing that was answered before is contradicted afterwards, whoever starts again.
#[test]
fn crashes_and_power_cuts_are_safe() {
    let (mut crashed, mut honest, mut answered) = (0, 0, 0);
    for seed in 0..20 {
        let power = u32::from(seed % 4 == 0);
        let random_faults = RandomFaults {
            crashes: 2,
            power_cuts: power,
            within: ms(1000),
            lasts: ms(300),
            ..RandomFaults::NONE
        };
        let must_finish = false;
        let name = "crashes_and_power_cuts_are_safe";
        let options = Options { random_faults, must_finish, t: 2, ..busy(name) };
        let report = run(seed, &options).unwrap_or_else(|failure| panic!("{failure}"));
        crashed += report.fired["node crashed"];
        assert!(!report.forked);
        answered += report.answered;
        let cell = if power > 0 { Cell::Honest } else { Cell::InModel };
        assert_eq!(report.cell, cell, "two crashes are within t, five are not");
        honest += u64::from(cell == Cell::Honest);
        // Everybody is there again, with a higher incarnation.
        assert_eq!(report.statuses.len(), 5);
    }
    assert!(crashed > 20 && honest > 0 && answered > 200, "{crashed} {honest} {answered}");
}

/// D22 to D26 without lies: safe throughout, and once it is over every call is answered within a
/// second.
#[test]
fn when_the_network_is_whole_again_everything_goes_on_within_a_bound() {
    for t in 1..=2 {
        let random_faults = RandomFaults {
            breaks: 4,
            pauses: 3,
            slows: 4,
            cuts: 4,
            edges: 4,
            drifts: 2,
            rates: 2,
            within: ms(1500),
            // Some would last far beyond the end of all faults.
            lasts: ms(3000),
            ..RandomFaults::NONE
        };
        let name = "when_the_network_is_whole_again_everything_goes_on_within_a_bound";
        let options = Options {
            t,
            random_faults,
            heal_at: Some(ms(1500)),
            heal_bound: Some(ms(1000)),
            ..busy(name)
        };
        for seed in 0..20 {
            let report = run(seed, &options).unwrap_or_else(|failure| panic!("{failure}"));
            assert!(report.finished && report.longest_since > Duration::ZERO);
            assert!(report.took < ms(9000) && report.simulated > report.took);
        }
    }
}

#[test]
fn a_bound_that_is_too_tight_is_noticed() {
    let options = Options {
        faults: vec![(ms(500), Fault::Pause(NodeId::replica(0), Duration::from_secs(9)))],
        heal_at: Some(ms(1500)),
        heal_bound: Some(ms(1)),
        ..busy("a_bound_that_is_too_tight_is_noticed")
    };
    let failure = run(0, &options).expect_err("nobody answers within a millisecond");
    assert_eq!(failure.violation.rule, "liveness");
    assert!(failure.violation.what.contains("faults were over"), "{failure}");
}

#[test]
fn each_run_is_in_the_cell_that_the_world_knows() {
    let (a, b) = (NodeId::replica(0), NodeId::replica(1));
    let cell = |liars: &[usize], faults: Vec<Fault>| {
        let faults = faults.into_iter().map(|fault| (ms(300), fault)).collect();
        let lie = |place: &usize| (*place, Lie::Ordering(OrderingLie::AlwaysLowest));
        let options = Options {
            liars: liars.iter().map(lie).collect(),
            faults,
            must_finish: false,
            ..busy("each_run_is_in_the_cell_that_the_world_knows")
        };
        run(1, &options).unwrap_or_else(|failure| panic!("{failure}")).cell
    };
    let crash = |node| Fault::Crash(node, ms(100));
    let slow = |from, to, by| Fault::Slow { from, to, extra: ms(by), lasts: ms(500) };
    assert_eq!(cell(&[], vec![]), Cell::InModel);
    assert_eq!(cell(&[], vec![slow(a, b, 10)]), Cell::InModel, "within the bound");
    assert_eq!(cell(&[0], vec![slow(a, b, 100)]), Cell::InModel, "a liar is late");
    assert_eq!(cell(&[], vec![crash(a)]), Cell::InModel);
    assert_eq!(cell(&[], vec![slow(a, b, 100)]), Cell::Budget);
    assert_eq!(cell(&[], vec![crash(a), crash(b)]), Cell::Honest);
    assert_eq!(cell(&[], vec![crash(NodeId::replica(2)), slow(a, b, 100)]), Cell::Honest);
    assert_eq!(cell(&[2], vec![slow(a, b, 100)]), Cell::Anarchy);
    assert_eq!(cell(&[2], vec![Fault::Pause(a, ms(50))]), Cell::Anarchy);
    assert_eq!(cell(&[1, 2], vec![]), Cell::Lost);
}

/// C4: the checkers see that clients are deceived, and that it was to be expected.
#[test]
fn more_liars_than_allowed_fork_a_run_without_failing_it() {
    let name = "more_liars_than_allowed_fork_a_run_without_failing_it";
    let lie = Lie::Reply(ReplyLie::WrongOutput);
    let options = Options { liars: vec![(0, lie), (1, lie)], ..busy(name) };
    let report = run(0, &options).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.forked && report.cell == Cell::Lost);
    let strict = Options { by_cell: false, ..options };
    assert_eq!(run(0, &strict).expect_err("as ever").violation.rule, "acceptance");
}

/// A member that is silent stops the rounds: within the model that is a failure, unless nobody
/// asks for an end.
#[test]
fn liveness_is_asked_for_where_it_is_promised() {
    let name = "liveness_is_asked_for_where_it_is_promised";
    let lie = |place| (place, Lie::Ordering(OrderingLie::SilentProposals));
    let stuck = Options { liars: vec![lie(0)], time_limit: ms(3000), ..busy(name) };
    let slow = Fault::Pause(NodeId::replica(1), ms(100));
    let beyond = Options { faults: vec![(ms(100), slow)], ..stuck.clone() };
    let report = run(0, &beyond).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.cell == Cell::Anarchy && !report.finished);
    let unasked = Options { must_finish: false, ..stuck };
    let report = run(0, &unasked).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.cell == Cell::InModel && !report.finished);
}

/// The hook sees every frame with what is durable at that moment.
#[test]
fn what_is_sent_before_it_is_durable_is_noticed() {
    fn never(frame: &Frame, durable: &[Bytes]) -> Result<(), String> {
        let is_proposal = frame.kind == Kind::Proposal && durable.is_empty();
        if is_proposal { Err("a proposal without a record".to_owned()) } else { Ok(()) }
    }
    fn always(_: &Frame, _: &[Bytes]) -> Result<(), String> {
        Ok(())
    }
    let name = "what_is_sent_before_it_is_durable_is_noticed";
    let options = Options { persist_rule: Some(never), ..busy(name) };
    let failure = run(0, &options).expect_err("no record is written for a proposal");
    assert_eq!(failure.violation.rule, "durability");
    let options = Options { persist_rule: Some(always), ..options };
    assert!(run(0, &options).is_ok());
}

/// Traps at writes that never come harm nobody.
#[test]
fn a_crash_laid_at_a_write_waits_for_it() {
    let node = NodeId::replica(2);
    let lay = |point| Fault::CrashAt { node, point, nth: 1_000_000, down_for: ms(50) };
    let faults = CrashPoint::ALL.map(|point| (ms(10), lay(point))).to_vec();
    let options = Options { faults, ..busy("a_crash_laid_at_a_write_waits_for_it") };
    let report = run(0, &options).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((report.fired["crash laid at a sync"], report.cell), (3, Cell::InModel));
    assert!(report.finished);
}

/// Situations that are marked in the code are counted for each run.
#[cfg(feature = "plant")]
#[test]
fn marks_that_were_reached_are_reported() {
    let cut = |client| Fault::Break(NodeId::Client(client), NodeId::replica(1), ms(600_000));
    let options = Options {
        faults: (0..2).map(|client| (Duration::ZERO, cut(client))).collect(),
        settle: ms(5000),
        ..busy("marks_that_were_reached_are_reported")
    };
    for seed in 0..2 {
        let report = run(seed, &options).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.marks["O7 execution waited for a body"] > 0, "{:?}", report.marks);
    }
    let calm = run(0, &busy("marks_that_were_reached_are_reported"));
    let calm = calm.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(calm.marks.is_empty(), "another run's marks are not counted: {:?}", calm.marks);
}
