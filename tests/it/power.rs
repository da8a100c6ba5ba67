//! Power cuts of all replicas at once, with disks so slow that much is under way to them: what a
//! client has accepted is there afterwards (§7, D2, D17).

use quorate::adversary::{Lie, OrderingLie};
use quorate::simulator::{Cell, Fault, NodeId, Options, RandomFaults, Report, Workload, run};
use quorate::types::Durability;
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Clients under a steady load, and two power cuts.
fn power(t: u8) -> Options {
    let mut options = Options {
        t,
        durability: Durability::Reply,
        by_cell: true,
        heal_at: Some(ms(2500)),
        heal_bound: Some(ms(2500)),
        time_limit: ms(40_000),
        workload: Workload { calls: 40, think: ms(180), ..Workload::default() },
        ..Options::named("power")
    };
    options.world.disk.max_delay = ms(20);
    options.random_faults =
        RandomFaults { power_cuts: 2, within: ms(2000), lasts: ms(400), ..RandomFaults::NONE };
    options
}

fn all(options: &Options, seeds: std::ops::Range<u64>) -> Vec<Report> {
    let report = |seed| {
        let report = run(seed, options).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(!report.forked && report.finished && report.cell == Cell::Honest, "{report:?}");
        assert!(report.failed.is_empty(), "{report:?}");
        report
    };
    seeds.map(report).collect()
}

fn marked(reports: &[Report], mark: &str) -> u64 {
    reports.iter().filter_map(|r| r.marks.get(mark)).sum()
}

#[test]
fn nothing_accepted_is_lost_when_the_power_is_gone_everywhere() {
    for (t, seeds) in [(1, 0..40), (2, 0..10), (3, 0..4)] {
        let reports = all(&power(t), seeds);
        let n = 2 * u64::from(t) + 1;
        let recovered: u64 = reports.iter().filter_map(|r| r.events.get("recovered")).sum();
        // A second cut may find some down still.
        assert!(recovered > n * reports.len() as u64, "{recovered}");
        let lost: u64 = reports.iter().filter_map(|r| r.fired.get("unsynced record lost")).sum();
        assert!(lost > 0, "a power cut that costs nothing shows nothing");
    }
}

/// With snapshots every few rounds: a state is taken up, and the log from there on.
#[test]
fn a_state_is_taken_up_from_the_disk_and_the_log_behind_it_is_executed() {
    let mut options = power(1);
    options.limits.checkpoint_every = 4;
    options.quotas.log_bytes = 4000;
    let reports = all(&options, 0..40);
    assert!(marked(&reports, "§7 a snapshot was taken up from the disk") > 40);
}

/// Bytes of states are made beside the replicas and come several checkpoints later: what is saved
/// is the state of its checkpoint, and the log goes on where it should.
#[test]
fn a_state_whose_bytes_come_late_is_the_one_that_was_attested() {
    let mut options = power(1);
    options.limits.checkpoint_every = 4;
    options.quotas.log_bytes = 4000;
    options.encode_at_once = 0;
    let reports = all(&options, 0..40);
    assert!(marked(&reports, "§7 a snapshot's bytes were made beside the loop") > 100);
    assert!(marked(&reports, "§7 a snapshot was taken up from the disk") > 20);
}

/// The same for those who fetch one from another, with an empty disk.
#[test]
fn a_state_whose_bytes_come_late_is_fetched() {
    let mut options = Options {
        durability: Durability::None,
        faults: vec![(ms(700), crash(ms(900)))],
        time_limit: ms(20_000),
        workload: Workload { calls: 60, think: ms(80), ..Workload::default() },
        encode_at_once: 0,
        ..Options::named("late bytes")
    };
    options.limits.checkpoint_every = 8;
    let reports: Vec<Report> = (0..10)
        .map(|seed| run(seed, &options).unwrap_or_else(|failure| panic!("{failure}")))
        .collect();
    assert!(marked(&reports, "§7 a snapshot's bytes were made beside the loop") >= 10);
    assert!(marked(&reports, "§7 a snapshot was taken up") >= 10);
}

fn crash(down_for: Duration) -> Fault {
    Fault::Crash(NodeId::replica(2), down_for)
}

/// One disk, or several, are lost while clients work; the replicas start again on empty ones.
fn lost_disks(t: u8, whose: &[usize]) -> Options {
    let lose = |i: &usize| (ms(900), Fault::LoseDisk(NodeId::replica(*i), ms(200)));
    let mut options = Options {
        t,
        durability: Durability::Reply,
        faults: whose.iter().map(lose).collect(),
        by_cell: true,
        time_limit: ms(30_000),
        workload: Workload { calls: 40, think: ms(120), ..Workload::default() },
        ..Options::named("lost disks")
    };
    options.limits.checkpoint_every = 8;
    options
}

/// D18. Each refuses its empty disk, its operator says that it stands in for the lost one, and it
/// is a member again.
#[test]
fn a_lost_disk_is_refused_replaced_and_costs_nothing() {
    for (t, whose, liars) in [(1, &[2][..], 0), (2, &[1, 3], 0), (2, &[1], 1)] {
        let mut options = lost_disks(t, whose);
        let lies = [OrderingLie::Equivocate, OrderingLie::HalfSend];
        for (seed, lie) in (0..10).zip(lies.into_iter().cycle()) {
            options.liars = (0..liars).map(|_| (4, Lie::Ordering(lie))).collect();
            let report = run(seed, &options).unwrap_or_else(|failure| panic!("{failure}"));
            assert!(report.finished && !report.forked, "{report:?}");
            let refused = report.events.get("disk lost").copied().unwrap_or_default();
            assert_eq!(refused as usize, whose.len(), "{report:?}");
            let joined = report.marks.get("§7 a Join from a replaced disk was accepted");
            assert!(joined.is_some_and(|n| *n as usize >= whose.len()), "{report:?}");
            assert!(whose.iter().all(|i| !report.statuses[*i].disk_replaced), "{report:?}");
        }
    }
}

/// D18. More than t: what is left of the group makes no new history, and says why.
#[test]
fn more_lost_disks_than_t_are_the_end_and_not_a_new_beginning() {
    for seed in 0..5 {
        let options = Options {
            must_finish: false,
            time_limit: ms(12_000),
            call_timeout: ms(6_000),
            ..lost_disks(1, &[1, 2])
        };
        let report = run(seed, &options).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(!report.forked && !report.failed.is_empty(), "{report:?}");
        let lost = |i: usize| report.statuses[i].disk_replaced;
        assert!(!lost(0) && lost(1) && lost(2), "{report:?}");
        assert_eq!(report.events.get("joined"), None, "{report:?}");
    }
}
