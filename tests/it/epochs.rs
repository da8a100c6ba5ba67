//! Whole clusters in which members stop, lie and come back (docs/protocol.md §5).

use quorate::crypto::Keyed;
use quorate::simulator::{Fault, NodeId, Options, Report, Workload, new_key, run, run_watched};
use quorate::types::plant::plant;
use quorate::types::{OrderLimits, ReplicaId, Timing};
use quorate::wire::Change;
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

/// R7, M1: under load, with history that comes slowly, one that restarts catches up and asks to
/// join when it has. Who asks before is let in, cannot build the opening in time, and is out again
/// after one more stop.
#[test]
fn one_that_restarts_under_load_joins_when_it_has_caught_up() {
    let name = "one_that_restarts_under_load_joins_when_it_has_caught_up";
    let replica = ReplicaId::from_index(2);
    let mut options = Options {
        clients: 3,
        commands: vec![(ms(400), Change::Leave { replica, stays: true })],
        faults: vec![(ms(600), Fault::Crash(NodeId::Replica(replica), ms(300)))],
        workload: Workload { calls: 1500, pipeline: 4, ..Workload::default() },
        call_timeout: Duration::from_secs(20),
        settle: Duration::from_secs(20),
        ..Options::named(name)
    };
    // Rounds are fast, and history is slow.
    options.world.network.max_delay = ms(1);
    options.world.network.bulk_jitter = ms(40);
    let count = |report: &Report, what| report.events.get(what).copied().unwrap_or_default();
    // Each replica sees it leave, and sees nobody go after that.
    let goes_again = |report: &Report| count(report, "excluded") > 3;
    // One state is enough to go on from.
    let lags = |report: &Report| count(report, "snapshot wanted") > 1;
    for report in seeds(3, &options) {
        assert!(report.failed.is_empty(), "{report:?}");
        assert!(report.statuses.iter().all(|s| s.members == [1, 2, 3]), "{:#?}", report.statuses);
        assert!(!goes_again(&report) && !lags(&report), "{:?}", report.events);
    }
    plant(Some("m1-join-behind"));
    let early = seeds(3, &options);
    plant(Some("r7-short-sight"));
    let short = seeds(3, &options);
    plant(Some("r7-newest-only"));
    let newest = seeds(3, &options);
    plant(None);
    assert!(early.iter().any(goes_again), "the load is too small to show it");
    assert!(short.iter().any(lags), "history is too fast to show it");
    assert!(newest.iter().any(lags), "bodies come too fast to show it");
}

/// R7, O7: what waits for bodies is bounded. Who follows leaves rounds for later, and catches up
/// when the bodies have come. Otherwise it passes steps over and takes up a later state, which may
/// be long in coming once the group is idle.
#[test]
fn one_for_whom_too_much_waits_catches_up() {
    let mut options = Options {
        clients: 3,
        faults: vec![(ms(600), Fault::Crash(NodeId::replica(2), ms(300)))],
        workload: Workload { calls: 1500, pipeline: 4, ..Workload::default() },
        call_timeout: Duration::from_secs(20),
        settle: Duration::from_secs(20),
        ..Options::named("one_for_whom_too_much_waits_catches_up")
    };
    // Rounds are fast, and bodies are slow.
    options.world.network.max_delay = ms(1);
    options.world.network.bulk_jitter = ms(60);
    options.limits.max_unexecuted = 24;
    let reports = seeds(3, &options);
    for report in &reports {
        assert!(report.failed.is_empty(), "{report:?}");
        assert!(report.statuses.iter().all(|s| s.members == [1, 2, 3]), "{:#?}", report.statuses);
    }
    for mark in [
        "R7 rounds were left for later as too much waited",
        "O7 too much waited and was passed over",
    ] {
        let reached: u64 = reports.iter().filter_map(|r| r.marks.get(mark)).sum();
        assert!(reached > 0, "bodies come too fast for: {mark}");
    }
    plant(Some("r7-no-bound"));
    let unbound = (0..3).any(|seed| run(seed, &options).is_err());
    plant(None);
    assert!(unbound, "it needs no bound");
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

/// M2: an operator's Leave lasts until the replica is recalled, or until its process is started
/// again.
#[test]
fn one_that_an_operator_took_out_stays_out_until_it_is_recalled_or_started_again() {
    let name = "one_that_an_operator_took_out_stays_out_until_it_is_recalled_or_started_again";
    let replica = ReplicaId::from_index(2);
    let leave = (ms(100), Change::Leave { replica, stays: true });
    let base = Options {
        workload: Workload { calls: 200, ..Workload::default() },
        call_timeout: Duration::from_secs(20),
        settle: Duration::from_secs(6),
        ..Options::named(name)
    };
    let out = Options { commands: vec![leave], ..base.clone() };
    let (recall, crash) = (
        (ms(2_000), Change::Recall { replica }),
        (ms(2_000), Fault::Crash(NodeId::replica(2), ms(20))),
    );
    let recalled = Options { commands: vec![leave, recall], ..base.clone() };
    let started = Options { commands: vec![leave], faults: vec![crash], ..base };
    for (options, members) in [(out, 2), (recalled, 3), (started, 3)] {
        for report in seeds(4, &options) {
            assert!(report.failed.is_empty(), "{report:?}");
            assert!(report.events.contains_key("excluded"), "{:?}", report.events);
            for status in &report.statuses {
                assert_eq!(status.members.len(), members, "{:#?}", report.statuses);
                assert_eq!(status.standings[2].kept_out, members == 2);
            }
            // It follows as far as anybody.
            let [a, _, c] = [0, 1, 2].map(|i| report.statuses[i].executed_round);
            assert!(c + 2 >= a, "{a} {c}");
        }
    }
}

/// M3: a key is replaced, with and without load. The others go on, the old process has nothing to
/// say any more, and a new one with the new key takes up the state and joins.
#[test]
fn a_replica_gets_another_key_and_joins_with_it() {
    let name = "a_replica_gets_another_key_and_joins_with_it";
    let replica = ReplicaId::from_index(2);
    let replace = Change::ReplaceKey { replica, key: new_key(replica) };
    for (calls, think) in [(500, ms(20)), (12, ms(300))] {
        let options = Options {
            workload: Workload { calls, think, ..Workload::default() },
            commands: vec![(ms(200), replace)],
            faults: vec![(ms(1500), Fault::Crash(NodeId::replica(2), ms(50)))],
            call_timeout: Duration::from_secs(20),
            settle: Duration::from_secs(6),
            ..Options::named(name)
        };
        for report in seeds(4, &options) {
            assert!(report.failed.is_empty(), "{report:?}");
            assert!(report.longest < ms(400), "{:?}", report.longest);
            for status in &report.statuses {
                assert_eq!(status.members, [1, 2, 3], "{:#?}", report.statuses);
                let place = &status.standings[2];
                assert_eq!(place.key, Some(new_key(replica).to_inline()));
                assert_eq!((place.former_keys.len(), place.former_keys[0].until), (1, 0));
            }
            let [a, _, c] = [0, 1, 2].map(|i| report.statuses[i].executed_round);
            assert!(c + 2 >= a, "{a} {c}");
        }
    }
}

/// M3: the others keep what they know of keys on their disks: they come back after restarts of
/// their own, with the file of before.
#[test]
fn a_replaced_key_outlives_restarts_of_the_others() {
    let name = "a_replaced_key_outlives_restarts_of_the_others";
    let replica = ReplicaId::from_index(4);
    let replace = Change::ReplaceKey { replica, key: new_key(replica) };
    let crash = |at, place, down| (ms(at), Fault::Crash(NodeId::replica(place), ms(down)));
    let options = Options {
        t: 2,
        workload: Workload { calls: 900, ..Workload::default() },
        commands: vec![(ms(200), replace)],
        faults: vec![crash(1000, 4, 50), crash(3000, 0, 50), crash(5500, 1, 50)],
        call_timeout: Duration::from_secs(20),
        settle: Duration::from_secs(6),
        ..Options::named(name)
    };
    all_are_members_with_the_new_key(replica, &options);
}

fn all_are_members_with_the_new_key(replica: ReplicaId, options: &Options) {
    for report in seeds(4, options) {
        assert!(report.failed.is_empty(), "{report:?}");
        for status in &report.statuses {
            assert_eq!(status.members, [1, 2, 3, 4, 5], "{:#?}", report.statuses);
            let key = status.standings[replica.index()].key.clone();
            assert_eq!(key, Some(new_key(replica).to_inline()));
        }
    }
}

/// M3: one that was down all the while comes back with the cluster file of the time.
#[test]
fn one_that_was_down_while_a_key_was_replaced_comes_back_with_the_new_file() {
    let name = "one_that_was_down_while_a_key_was_replaced_comes_back_with_the_new_file";
    let replica = ReplicaId::from_index(4);
    let replace = Change::ReplaceKey { replica, key: new_key(replica) };
    let crash = |at, place, down| (ms(at), Fault::Crash(NodeId::replica(place), ms(down)));
    let options = Options {
        t: 2,
        workload: Workload { calls: 300, think: ms(20), ..Workload::default() },
        commands: vec![(ms(600), replace)],
        faults: vec![crash(100, 0, 2400), crash(1200, 4, 50)],
        new_files: true,
        call_timeout: Duration::from_secs(20),
        settle: Duration::from_secs(6),
        ..Options::named(name)
    };
    all_are_members_with_the_new_key(replica, &options);
}

/// E3, M3: when nothing gets on in the generation without the key, the reset leaves that replica
/// out as well.
#[test]
fn a_reset_while_a_key_is_replaced_is_of_all_others() {
    let name = "a_reset_while_a_key_is_replaced_is_of_all_others";
    let replica = ReplicaId::from_index(2);
    let replace = Change::ReplaceKey { replica, key: new_key(replica) };
    let mut resets = 0;
    for at in 4..10 {
        // One of the two members hears nobody from somewhere in the two changes of the epoch on.
        let cut = Fault::Isolate(NodeId::replica(0), ms(700));
        let options = Options {
            workload: Workload { calls: 200, ..Workload::default() },
            commands: vec![(ms(200), replace)],
            faults: vec![
                (ms(200 + 2 * at), cut),
                (ms(2000), Fault::Crash(NodeId::replica(2), ms(50))),
            ],
            call_timeout: Duration::from_secs(20),
            settle: Duration::from_secs(6),
            by_cell: true,
            ..Options::named(name)
        };
        let mut calls = Vec::new();
        let report = run_watched::<Keyed>(at, &options, &mut |_, _, what| {
            let text = what.to_string();
            let reset = text.contains("generation: 1, resets: ") && !text.contains("resets: 0");
            if text.starts_with("Called") && reset {
                calls.push(text);
            }
        });
        let report = report.unwrap_or_else(|failure| panic!("{failure}"));
        resets += calls.len();
        assert!(calls.iter().all(|call| call.contains("members: {R1,R2}")), "{calls:?}");
        let status = &report.statuses[0];
        assert_eq!(status.members, [1, 2, 3], "{at}: {:#?}", report.statuses);
        assert_eq!(status.standings[2].key, Some(new_key(replica).to_inline()));
    }
    assert!(resets > 0, "no reset fell into that generation");
}

/// M1: who takes up an old checkpoint in an idle group is behind and does not know it: it joins,
/// cannot build what the opening names, and is out as silent (docs/protocol.md §5, *Known to be
/// open*). Its next Join is a new one, so that it is in again after one wait.
#[test]
fn one_that_comes_back_to_an_idle_group_joins_in_the_end() {
    let name = "one_that_comes_back_to_an_idle_group_joins_in_the_end";
    let replica = ReplicaId::from_index(2);
    let options = Options {
        workload: Workload { calls: 400, ..Workload::default() },
        commands: vec![(ms(100), Change::Leave { replica, stays: true })],
        faults: vec![(ms(6_000), Fault::Crash(NodeId::replica(2), ms(20)))],
        call_timeout: Duration::from_secs(20),
        settle: Duration::from_secs(10),
        ..Options::named(name)
    };
    for report in seeds(6, &options) {
        assert_eq!(report.statuses[0].members, [1, 2, 3], "{:?}", report.statuses[0]);
    }
}
