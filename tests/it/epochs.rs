//! Whole clusters in which members stop, lie and come back (docs/protocol.md §5).

use quorate::crypto::Keyed;
use quorate::simulator::{Fault, NodeId, Options, Report, Workload, run, run_watched};
use quorate::types::{OrderLimits, ReplicaId, Timing};
use std::fmt::Display;
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// These seeds, or the one that somebody wants to see again, with all that happens in it.
fn seeds(n: u64, options: &Options) -> Vec<Report> {
    let one = std::env::var("QUORATE_SEED").ok().map(|s| s.parse().expect("a number"));
    let range = one.map_or(0..n, |seed: u64| seed..seed + 1);
    let tell = |time: u64, node: NodeId, what: &dyn Display| {
        println!("{:.6} {node}: {what}", Duration::from_nanos(time).as_secs_f64());
    };
    let told = |seed| match one {
        Some(_) => run_watched::<Keyed>(seed, options, &mut |t, n, w| tell(t, n, w)),
        None => run(seed, options),
    };
    range.map(|seed| told(seed).unwrap_or_else(|failure| panic!("{failure}"))).collect()
}

/// E1 to E7: one of three stops; after one bounded stop the others go on without it.
#[test]
fn a_member_that_stops_is_out_and_the_others_go_on() {
    let name = "a_member_that_stops_is_out_and_the_others_go_on";
    let options = Options {
        faults: vec![(ms(30), Fault::Crash(NodeId::replica(2), Duration::from_secs(1000)))],
        workload: Workload { calls: 40, ..Workload::default() },
        call_timeout: Duration::from_secs(20),
        bad: [ReplicaId::from_index(2)].into_iter().collect(),
        ..Options::named(name)
    };
    for report in seeds(20, &options) {
        assert!(report.failed.is_empty(), "{report:?}");
        assert!(report.events.contains_key("excluded"), "{:?}", report.events);
        assert_eq!(report.statuses[0].members, [1, 2]);
        assert!(report.longest < ms(800), "{:?}", report.longest);
    }
}

/// §7, M1: one that restarts says so, is out at once, fetches the state and joins again.
#[test]
fn a_member_that_restarts_comes_back_by_itself() {
    let name = "a_member_that_restarts_comes_back_by_itself";
    let options = Options {
        faults: vec![(ms(30), Fault::Crash(NodeId::replica(2), ms(20)))],
        workload: Workload { calls: 400, ..Workload::default() },
        call_timeout: Duration::from_secs(20),
        settle: Duration::from_secs(20),
        ..Options::named(name)
    };
    for report in seeds(20, &options) {
        assert!(report.failed.is_empty(), "{report:?}");
        assert!(report.events.contains_key("joined"), "{:?}", report.events);
        for status in &report.statuses {
            assert_eq!(status.members, [1, 2, 3], "{:#?}", report.statuses);
        }
    }
}

/// R7: one that comes back to a group with little to do must not wait until that is far ahead.
#[test]
fn one_that_comes_back_to_a_quiet_group_catches_up() {
    let name = "one_that_comes_back_to_a_quiet_group_catches_up";
    let options = Options {
        clients: 1,
        faults: vec![
            (ms(300), Fault::Crash(NodeId::replica(2), ms(250))),
            (ms(1200), Fault::Crash(NodeId::replica(2), ms(250))),
        ],
        workload: Workload { calls: 12, pipeline: 1, think: ms(300), ..Workload::default() },
        call_timeout: Duration::from_secs(20),
        ..Options::named(name)
    };
    for report in seeds(20, &options) {
        assert!(report.failed.is_empty(), "{report:?}");
        let executed = report.statuses.iter().map(|s| s.executed).collect::<Vec<_>>();
        assert!(executed.iter().all(|e| *e == executed[0]), "{executed:?}");
    }
}

/// R7: the same when what it took up is of the epoch before the one that it had been in.
#[test]
fn one_that_takes_up_a_state_of_an_earlier_epoch_gets_to_the_present_one() {
    let name = "one_that_takes_up_a_state_of_an_earlier_epoch_gets_to_the_present_one";
    let crash = |at, lasts| (ms(at), Fault::Crash(NodeId::replica(2), ms(lasts)));
    let options = Options {
        clients: 1,
        faults: vec![crash(210, 222), crash(708, 9), crash(1447, 362)],
        workload: Workload { calls: 12, pipeline: 1, think: ms(300), ..Workload::default() },
        call_timeout: Duration::from_secs(20),
        ..Options::named(name)
    };
    for report in seeds(20, &options) {
        let executed = report.statuses.iter().map(|s| s.executed).collect::<Vec<_>>();
        assert!(executed.iter().all(|e| *e == executed[0]), "{executed:?}");
    }
}

/// R6, §7: nor does an idle group leave it to its heartbeats to show what its state is.
#[test]
fn one_that_comes_back_to_an_idle_group_joins_at_once() {
    let name = "one_that_comes_back_to_an_idle_group_joins_at_once";
    let timing = Timing { heartbeat: Duration::from_secs(100), ..Timing::from_delta(ms(20)) };
    let options = Options {
        timing,
        faults: vec![(ms(1500), Fault::Crash(NodeId::replica(2), ms(100)))],
        workload: Workload { calls: 4, think: ms(100), ..Workload::default() },
        settle: ms(2500),
        ..Options::named(name)
    };
    for report in seeds(10, &options) {
        assert_eq!(report.fired["node crashed"], 1);
        for status in &report.statuses {
            assert_eq!(status.members, [1, 2, 3], "{:#?}", report.statuses);
        }
    }
}

/// R7, M1: rounds may be far shorter than Δ and history be kept for few of them; one that comes
/// back gets there all the same, and joins while the load goes on.
#[test]
fn one_that_comes_back_catches_up_with_rounds_far_shorter_than_delta() {
    let name = "one_that_comes_back_catches_up_with_rounds_far_shorter_than_delta";
    let timing = Timing::from_delta(ms(300));
    let mut options = Options {
        timing,
        faults: vec![(ms(30), Fault::Crash(NodeId::replica(2), ms(20)))],
        limits: OrderLimits { checkpoint_every: 64, ..OrderLimits::default() },
        workload: Workload { calls: 1000, pipeline: 4, ..Workload::default() },
        call_timeout: Duration::from_secs(20),
        ..Options::named(name)
    };
    options.world.network.min_delay = Duration::from_micros(200);
    options.world.network.max_delay = Duration::from_micros(400);
    for report in seeds(6, &options) {
        assert!(report.failed.is_empty(), "{report:?}");
        assert_eq!(report.statuses[0].members, [1, 2, 3], "{:?}", report.statuses[2]);
    }
}
