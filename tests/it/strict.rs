//! Power cuts and crashes with `durability = "strict"` (§7): nothing that was chosen is given up,
//! and who stopped goes on where it was.

use quorate::adversary::{Lie, OrderingLie};
use quorate::simulator::{Fault, NodeId, Options, RandomFaults, Report, Workload, run};
use quorate::types::{Durability, Timing};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Clients under a steady load; what goes wrong is up to the test.
fn strict(name: &'static str, t: u8) -> Options {
    let mut options = Options {
        t,
        durability: Durability::Strict,
        by_cell: true,
        heal_at: Some(ms(2500)),
        heal_bound: Some(ms(2500)),
        time_limit: ms(40_000),
        workload: Workload { calls: 40, think: ms(180), ..Workload::default() },
        ..Options::named(name)
    };
    options.world.disk.max_delay = ms(20);
    // Patience is 300 ms and more, so a short stop is over before anybody blames.
    options.timing = Timing::from_delta(ms(60));
    options
}

fn all(options: &Options, seeds: std::ops::Range<u64>) -> Vec<Report> {
    let report = |seed| {
        let report = run(seed, options).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(!report.forked && report.finished && report.failed.is_empty(), "{report:?}");
        report
    };
    seeds.map(report).collect()
}

fn marked(reports: &[Report], mark: &str) -> u64 {
    reports.iter().filter_map(|r| r.marks.get(mark)).sum()
}

fn events(reports: &[Report], event: &str) -> u64 {
    reports.iter().filter_map(|r| r.events.get(event)).sum()
}

const WENT_ON: &str = "§7 one that stopped went on in its epoch";

/// With boots well within patience nobody is left out and no epoch changes, whoever stops.
#[test]
fn who_stops_goes_on_in_its_epoch() {
    for (t, seeds) in [(1, 0..30), (2, 0..8), (3, 0..3)] {
        let mut options = strict("strict restarts", t);
        // All four in a row are still less.
        options.random_faults = RandomFaults {
            crashes: 2,
            power_cuts: 2,
            within: ms(2000),
            lasts: ms(60),
            ..RandomFaults::NONE
        };
        let mut reports = all(&options, seeds);
        let runs = reports.len();
        // Who stops before its first proposal is on its disk cannot know that there was none.
        reports.retain(|report| !report.events.contains_key("restarted"));
        assert!(4 * reports.len() >= 3 * runs, "{} of {runs}", reports.len());
        let n = 2 * u64::from(t) + 1;
        assert!(marked(&reports, WENT_ON) > n * reports.len() as u64, "{reports:?}");
        assert_eq!(events(&reports, "excluded"), 0, "{reports:?}");
        assert_eq!(events(&reports, "entered"), 0, "{reports:?}");
    }
}

/// Boots that take longer than patience cost what they cost everybody; nothing is lost.
#[test]
fn nothing_accepted_is_lost_when_the_power_is_gone_for_long() {
    for (t, seeds) in [(1, 0..40), (2, 0..10), (3, 0..4)] {
        let mut options = strict("strict power", t);
        options.random_faults =
            RandomFaults { power_cuts: 2, within: ms(2000), lasts: ms(400), ..RandomFaults::NONE };
        let reports = all(&options, seeds);
        assert!(marked(&reports, WENT_ON) > 0);
        let lost: u64 = reports.iter().filter_map(|r| r.fired.get("unsynced record lost")).sum();
        assert!(lost > 0, "a power cut that costs nothing shows nothing");
    }
}

/// The log begins behind a snapshot: what has a candidate and has not run stands there again.
#[test]
fn requests_that_have_not_run_outlive_snapshots_and_power_cuts() {
    let mut options = strict("strict snapshots", 1);
    options.limits.checkpoint_every = 2;
    options.quotas.log_bytes = 3000;
    options.workload = Workload { calls: 60, pipeline: 6, think: ms(60), ..Workload::default() };
    options.random_faults =
        RandomFaults { power_cuts: 3, within: ms(2000), lasts: ms(200), ..RandomFaults::NONE };
    let reports = all(&options, 0..40);
    assert!(marked(&reports, "§7 a snapshot was taken up from the disk") > 40);
    assert!(marked(&reports, WENT_ON) > 40);
}

/// One lies while all lose their power.
#[test]
fn a_liar_and_a_power_cut_of_all_cost_nothing_that_was_accepted() {
    let lies = [OrderingLie::Equivocate, OrderingLie::HalfSend, OrderingLie::SilentProposals];
    for (seed, lie) in (0..24).zip(lies.into_iter().cycle()) {
        for t in [1, 2] {
            let mut options = strict("strict liar", t);
            // All of it is promised, whatever the run would be with another durability.
            options.by_cell = false;
            options.heal_bound = None;
            options.liars = vec![(usize::from(2 * t), Lie::Ordering(lie))];
            options.random_faults = RandomFaults {
                power_cuts: 2,
                within: ms(2000),
                lasts: ms(200),
                ..RandomFaults::NONE
            };
            let report = run(seed, &options).unwrap_or_else(|failure| panic!("{failure}"));
            assert!(report.finished && !report.forked, "{report:?}");
        }
    }
}

/// Nobody waits for patience, as with `reply`.
#[test]
fn a_crash_of_one_costs_as_long_as_it_lasts() {
    let mut options = strict("strict crash", 1);
    options.faults = vec![(ms(700), Fault::Crash(NodeId::replica(1), ms(100)))];
    let reports = all(&options, 0..20);
    assert_eq!(events(&reports, "excluded"), 0);
    assert_eq!(marked(&reports, WENT_ON), 20);
}
