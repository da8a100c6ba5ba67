//! Splits, suspended machines, and faults just when an epoch changes (docs/testing.md, D rows).

use quorate::crypto::Keyed;
use quorate::simulator::{CrashPoint, Fault, NodeId, Options, Report, Workload, run, run_watched};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A cluster with work for three seconds, judged by its cell; all faults are over after two, and
/// then every call is answered within one more.
fn cluster(name: &'static str, t: u8) -> Options {
    Options {
        t,
        workload: Workload { calls: 40, think: ms(70), ..Workload::default() },
        by_cell: true,
        heal_at: Some(ms(2000)),
        heal_bound: Some(ms(1000)),
        time_limit: Duration::from_secs(12),
        ..Options::named(name)
    }
}

/// One run; if it fails, all that happened in it is printed.
fn go(seed: u64, options: &Options) -> Report {
    run(seed, options).unwrap_or_else(|failure| {
        let _ = run_watched::<Keyed>(seed, options, &mut |time, node, what| {
            println!("{:.6} {node}: {what}", Duration::from_nanos(time).as_secs_f64());
        });
        panic!("{failure}\n{:?}", options.faults)
    })
}

/// Cuts everything between two sides, in both directions or in one.
fn split(at: u64, lasts: u64, side: &[usize], n: usize, both: bool) -> Vec<(Duration, Fault)> {
    let other = (0..n).filter(|p| !side.contains(p)).collect::<Vec<_>>();
    let mut out = Vec::new();
    for (a, b) in side.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
        let cut = |from, to| Fault::Cut {
            from: NodeId::replica(from),
            to: NodeId::replica(to),
            lasts: ms(lasts),
            breaks_after: None,
        };
        out.push((ms(at), cut(a, b)));
        if both {
            out.push((ms(at), cut(b, a)));
        }
    }
    out
}

/// D22: every split of three and of five. The side with `t + 1` goes on, without the others, and
/// when the split is over these come back.
#[test]
fn after_every_split_the_larger_side_goes_on_and_the_others_come_back() {
    let name = "after_every_split_the_larger_side_goes_on_and_the_others_come_back";
    for (t, most) in [(1u8, 2), (2, 1)] {
        let n = 2 * usize::from(t) + 1;
        for mask in 1u32..(1 << n) {
            let side = (0..n).filter(|p| mask & (1 << p) != 0).collect::<Vec<_>>();
            if side.len() > usize::from(t) {
                continue;
            }
            for seed in 0..most {
                let faults = split(300, 1200, &side, n, true);
                let report = go(seed, &Options { faults, settle: ms(3000), ..cluster(name, t) });
                assert!(report.events.contains_key("excluded"), "{side:?} {:?}", report.events);
                assert!(report.events.contains_key("joined"), "{side:?} {:?}", report.events);
                // Clients reach everybody, so that nobody waits for the end of the split.
                assert!(report.longest < ms(1000), "{side:?} {:?}", report.longest);
            }
        }
    }
}

/// D23: one that can only send or only receive, and a pair whose link works one way. A broken link
/// counts as a fault of one of its ends; nothing else is blamed for it, and nothing flaps.
#[test]
fn one_way_cuts_put_out_one_end_once() {
    let name = "one_way_cuts_put_out_one_end_once";
    let cut = |from: usize, to: usize| {
        let (from, to) = (NodeId::replica(from), NodeId::replica(to));
        (ms(300), Fault::Cut { from, to, lasts: ms(1500), breaks_after: None })
    };
    let deaf = vec![cut(0, 2), cut(1, 2)];
    let mute = vec![cut(2, 0), cut(2, 1)];
    for (what, faults) in [("deaf", deaf), ("mute", mute), ("one link", vec![cut(1, 2)])] {
        for seed in 0..6 {
            let options = Options { faults: faults.clone(), settle: ms(3000), ..cluster(name, 1) };
            let report = go(seed, &options);
            let times = report.fired.values().sum::<u64>();
            assert_eq!(times, faults.len() as u64, "{what}");
            // All good replicas report each exclusion; a flapping one would be out again and again.
            let excluded = report.events.get("excluded").copied().unwrap_or(0);
            assert!(excluded <= 2 * 3, "{what}: {:?}", report.events);
            assert!(report.longest < ms(1500), "{what}: {:?}", report.longest);
        }
    }
}

/// D16, D4: a machine that is suspended does not know that time has passed. What it does before it
/// finds out harms nobody, and it comes back.
#[test]
fn a_machine_that_was_suspended_finds_out_and_comes_back() {
    let name = "a_machine_that_was_suspended_finds_out_and_comes_back";
    for lasts in [15, 60, 150, 1200] {
        for seed in 0..4 {
            let faults = vec![(ms(400), Fault::Suspend(NodeId::replica(1), ms(lasts)))];
            let report = go(seed, &Options { faults, settle: ms(3000), ..cluster(name, 1) });
            assert_eq!(report.fired["node suspended"], 1);
            let is_out = report.events.contains_key("excluded");
            assert!(is_out || lasts < 1000, "{lasts} {:?}", report.events);
            assert_eq!(report.statuses[0].members, [1, 2, 3]);
        }
    }
}

/// D26: links break one after the other and come back in another order.
#[test]
fn clogs_that_come_and_go_in_another_order_pass() {
    let name = "clogs_that_come_and_go_in_another_order_pass";
    for t in [1u8, 2] {
        let n = 2 * usize::from(t) + 1;
        for seed in 0..4 {
            let faults = (0..n).map(|place| {
                let (from, lasts) = (200 + 90 * place as u64, 1500 - 250 * place as u64);
                (ms(from), Fault::Isolate(NodeId::replica(place), ms(lasts)))
            });
            let report = go(seed, &Options { faults: faults.collect(), ..cluster(name, t) });
            assert!(report.finished && report.longest_since < ms(1000));
        }
    }
}

/// D27, D1, B39: while the epoch changes, another one crashes at each of its writes, before and
/// after it is durable and before and after it has acted on it. Beyond t nobody is let down for
/// good: when both are back all goes on, or a fork would be seen.
#[test]
fn a_crash_at_each_write_of_a_change_is_survived() {
    let name = "a_crash_at_each_write_of_a_change_is_survived";
    let mut struck = 0;
    for node in 1..5 {
        for point in CrashPoint::ALL {
            for nth in 1..=3 {
                let node = NodeId::replica(node);
                let lay = Fault::CrashAt { node, point, nth, down_for: ms(100) };
                let stop = Fault::Isolate(NodeId::replica(0), ms(1000));
                let faults = vec![(ms(200), lay), (ms(300), stop)];
                let report = go(nth, &Options { faults, ..cluster(name, 2) });
                assert!(report.finished, "{node} {point:?} {nth}");
                struck += u64::from(report.fired.contains_key(point.name()));
            }
        }
    }
    assert!(struck >= 24, "{struck}");
}
