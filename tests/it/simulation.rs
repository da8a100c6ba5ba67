//! Whole clusters in the simulator, over many seeds. `QUORATE_SEED` runs one seed again.

use quorate::adversary::{Lie, OrderingLie, ReplyLie};
use quorate::crypto::Ed25519;
use quorate::simulator::{
    ClientLie, Failure, NetworkOptions, Options, RandomFaults, Report, Workload, WrongService, run,
    run_with,
};
use quorate::types::{ClockKind, OrderLimits};
use std::ops::Range;
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// These seeds, or the one that somebody wants to see again.
fn chosen(range: Range<u64>) -> Range<u64> {
    let chosen = std::env::var("QUORATE_SEED").ok().map(|s| s.parse().expect("a number"));
    chosen.map_or(range, |seed: u64| seed..seed + 1)
}

/// Runs a scenario for each seed and gives what the runs report.
fn seeds(range: Range<u64>, options: &Options) -> Vec<Report> {
    let report = |seed| run(seed, options).unwrap_or_else(|failure| panic!("{failure}"));
    chosen(range).map(report).collect()
}

/// The first failure among these seeds.
fn failure(range: Range<u64>, options: &Options) -> Option<Failure> {
    range.into_iter().find_map(|seed| run(seed, options).err())
}

fn fired(reports: &[Report], fault: &str) -> u64 {
    reports.iter().filter_map(|r| r.fired.get(fault)).sum()
}

// --- nobody lies, nothing breaks ------------------------------------------------------------

/// Delays are up to 4 ms. A call waits for a session, a round under way and its own rounds.
#[test]
fn clusters_of_every_size_serve_their_clients_within_a_bound() {
    for t in 1..=3 {
        let name = "clusters_of_every_size_serve_their_clients_within_a_bound";
        let options = Options { t, bound: Some(ms(60)), ..Options::named(name) };
        for report in seeds(0..16, &options) {
            assert_eq!(report.answered, 90);
            assert!(report.failed.is_empty() && report.events.is_empty(), "{report:?}");
        }
    }
}

#[test]
fn every_kind_of_clock_gives_one_order() {
    for clock in [ClockKind::RealTime, ClockKind::Hybrid, ClockKind::Logical] {
        let name = "every_kind_of_clock_gives_one_order";
        let options = Options { clock, clock_spread: ms(300), ..Options::named(name) };
        seeds(0..16, &options);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let options = Options {
        liars: vec![(1, Lie::Ordering(OrderingLie::FakeCandidates))],
        lying_clients: vec![ClientLie::GarbageFrames],
        random_faults: broken_links(),
        ..lossy("the_same_seed_gives_the_same_run")
    };
    for seed in 0..3 {
        let (first, second) = (run(seed, &options).unwrap(), run(seed, &options).unwrap());
        assert_eq!((first.trace_hash, first.arrivals), (second.trace_hash, second.arrivals));
    }
    assert_ne!(run(0, &options).unwrap().trace_hash, run(1, &options).unwrap().trace_hash);
}

/// Apart from the order that replicas tell, clients' histories alone have an explanation.
#[test]
fn what_clients_see_is_linearizable() {
    let workload = Workload { commands: 1, keys: 3, pipeline: 2, calls: 40, ..Workload::default() };
    let name = "what_clients_see_is_linearizable";
    let liars = vec![(2, Lie::Reply(ReplyLie::StaleReply))];
    let options = Options { workload, search: true, liars, ..Options::named(name) };
    seeds(0..20, &options);
}

/// Most runs use a keyed hash in place of signatures; these the real ones.
#[test]
fn real_signatures_make_no_difference() {
    let liars = vec![(1, Lie::Ordering(OrderingLie::FakeCandidates))];
    let workload = Workload { calls: 10, ..Workload::default() };
    let options = Options { liars, workload, ..lossy("real_signatures_make_no_difference") };
    for seed in 0..2 {
        let real = run_with::<Ed25519>(seed, &options).unwrap_or_else(|f| panic!("{f}"));
        let cheap = run(seed, &options).unwrap_or_else(|f| panic!("{f}"));
        assert_eq!((real.answered, real.executed), (cheap.answered, cheap.executed));
    }
}

// --- bad networks ---------------------------------------------------------------------------

fn lossy(name: &'static str) -> Options {
    let network = NetworkOptions {
        drop_per_mille: 30,
        duplicate_per_mille: 30,
        reorder: true,
        ..NetworkOptions::default()
    };
    let mut options = Options::named(name);
    options.world.network = network;
    options
}

fn broken_links() -> RandomFaults {
    RandomFaults { breaks: 12, within: ms(400), lasts: ms(60), ..RandomFaults::NONE }
}

/// R5: what is lost is asked for.
#[test]
fn lost_doubled_and_reordered_frames_change_nothing() {
    let reports = seeds(0..45, &lossy("lost_doubled_and_reordered_frames_change_nothing"));
    for fault in ["frame dropped", "frame doubled", "frame reordered"] {
        assert!(fired(&reports, fault) > 0, "{fault}");
    }
}

#[test]
fn links_that_break_and_come_back_change_nothing() {
    for t in 1..=2 {
        let name = "links_that_break_and_come_back_change_nothing";
        let random_faults = broken_links();
        let workload = Workload { calls: 80, ..Workload::default() };
        let options = Options { t, random_faults, workload, ..Options::named(name) };
        assert!(fired(&seeds(0..30, &options), "link broken") > 0);
    }
}

/// Nobody lies, so no timing can make replicas differ (§1, safety).
#[test]
fn pauses_slow_links_and_jumping_clocks_are_safe_and_pass() {
    let random_faults = RandomFaults {
        breaks: 4,
        pauses: 6,
        slows: 10,
        steps: 6,
        within: ms(400),
        lasts: ms(250),
        ..RandomFaults::NONE
    };
    for clock in [ClockKind::RealTime, ClockKind::Hybrid, ClockKind::Logical] {
        let random_faults = random_faults.clone();
        let name = "pauses_slow_links_and_jumping_clocks_are_safe_and_pass";
        let workload = Workload { calls: 60, ..Workload::default() };
        let options = Options { clock, random_faults, workload, ..Options::named(name) };
        let reports = seeds(0..20, &options);
        for fault in ["node paused", "link slowed", "wall clock stepped"] {
            assert!(fired(&reports, fault) > 0, "{fault}");
        }
    }
}

// --- lying replicas -------------------------------------------------------------------------

/// B18, B19: t liars tell the same lie; no client believes it, and all see who differed.
#[test]
fn clients_see_through_every_lie_about_replies() {
    for lie in ReplyLie::ALL {
        for liars in [vec![0], vec![1, 4]] {
            let name = "clients_see_through_every_lie_about_replies";
            let t = liars.len() as u8;
            let lying = liars.iter().map(|&l| (l, Lie::Reply(lie))).collect();
            let options = Options { t, liars: lying, bound: Some(ms(60)), ..Options::named(name) };
            for report in seeds(0..8, &options) {
                assert!(report.lies() > 0);
                for (place, dissent) in report.dissent.iter().enumerate() {
                    let expected = liars.contains(&place) && lie != ReplyLie::SilentReply;
                    assert_eq!(*dissent > 0, expected, "{lie:?}: {:?}", report.dissent);
                }
            }
        }
    }
}

/// B3, B9, B10, B31: what R4 cannot forbid slows nobody down by more than a few rounds.
#[test]
fn ordering_lies_that_nobody_can_prove_stop_nobody() {
    for lie in OrderingLie::ALL.into_iter().filter(|l| l.keeps_pace()) {
        for places in [vec![2], vec![0, 3]] {
            let name = "ordering_lies_that_nobody_can_prove_stop_nobody";
            let t = places.len() as u8;
            let liars = places.into_iter().map(|p| (p, Lie::Ordering(lie))).collect();
            let bound = if lie == OrderingLie::HalfSend { ms(20_000) } else { ms(120) };
            let options = Options { t, liars, bound: Some(bound), ..Options::named(name) };
            seeds(0..8, &options);
        }
    }
}

/// B1, B6: where a round stops for ever, nothing that was answered is wrong, and no good replica
/// is accused.
#[test]
fn ordering_lies_that_stop_the_rounds_are_safe() {
    for lie in OrderingLie::ALL.into_iter().filter(|l| !l.keeps_pace()) {
        let name = "ordering_lies_that_stop_the_rounds_are_safe";
        let liars = vec![(1, Lie::Ordering(lie))];
        let time_limit = Duration::from_secs(3);
        let options = Options { liars, must_finish: false, time_limit, ..Options::named(name) };
        for report in seeds(0..8, &options) {
            let seen = match lie {
                OrderingLie::Equivocate => "equivocation",
                OrderingLie::InvalidCandidates | OrderingLie::FallingCandidates => {
                    "invalid proposal"
                }
                _ => "waiting",
            };
            assert!(report.events.get(seen).is_some_and(|n| *n > 0), "{lie:?}: {report:?}");
        }
    }
}

/// With every wrong thing at once: t = 2 liars of any two kinds, bad links, lying clients.
/// `QUORATE_SEEDS` says how many, for a longer night.
#[test]
fn random_mixtures_are_safe_and_finish() {
    let lies: Vec<Lie> =
        Lie::all().filter(|l| !matches!(l, Lie::Ordering(o) if !o.keeps_pace())).collect();
    let many = std::env::var("QUORATE_SEEDS").map_or(40, |n| n.parse().expect("a number"));
    for seed in chosen(0..many) {
        let pick = |k: u64| (seed * 7 + k * 5) as usize;
        let random_faults = RandomFaults { steps: 2, ..broken_links() };
        let options = Options {
            t: 2,
            liars: vec![
                (pick(0) % 5, lies[pick(1) % lies.len()]),
                ((pick(0) + 1 + pick(2) % 4) % 5, lies[pick(3) % lies.len()]),
            ],
            lying_clients: vec![ClientLie::ALL[pick(4) % ClientLie::ALL.len()]],
            random_faults,
            ..lossy("random_mixtures_are_safe_and_finish")
        };
        run(seed, &options).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

/// B23: a replica whose service computes wrongly deceives nobody, and the others notice it: at
/// once by its outputs; where only its state is wrong, when an output shows that.
#[test]
fn a_service_that_computes_wrongly_is_noticed() {
    for kind in [WrongService::Outputs, WrongService::State] {
        for places in [vec![1], vec![0, 4]] {
            let options = Options {
                t: places.len() as u8,
                wrong_services: places.iter().map(|p| (*p, kind)).collect(),
                limits: OrderLimits { checkpoint_every: 8, ..OrderLimits::default() },
                bound: Some(ms(60)),
                ..Options::named("a_service_that_computes_wrongly_is_noticed")
            };
            for report in seeds(0..12, &options) {
                let count = |event| report.events.get(event).copied().unwrap_or(0);
                // Every good replica reports each bad one, again if it has come back and differs
                // again, and none reports a good one.
                let good = 2 * places.len() as u64 + 1 - places.len() as u64;
                assert!(count("diverged") >= good * places.len() as u64, "{kind:?}: {report:?}");
                assert_eq!((count("quarantined"), count("halted")), (0, 0), "{report:?}");
                assert!(count("stable") > 0, "good replicas alone make checkpoints stable");
                assert!(places.iter().all(|p| report.dissent[*p] > 0), "{:?}", report.dissent);
            }
        }
    }
}

/// B23: a value changes in a replica's memory, in the middle of everything else that goes wrong. It
/// finds that out, gives up its state, and comes back with the others'.
#[test]
fn one_whose_memory_flips_is_right_again() {
    let name = "one_whose_memory_flips_is_right_again";
    let mut healed = 0;
    for (t, broken) in [(1, 2), (2, 0)] {
        let mut options = Options {
            t,
            wrong_services: vec![(broken, WrongService::Flip)],
            workload: Workload { calls: 60, think: ms(40), ..Workload::default() },
            random_faults: broken_links(),
            settle: ms(4000),
            ..lossy(name)
        };
        options.limits.checkpoint_every = 8;
        for report in seeds(0..10, &options) {
            assert!(!report.events.contains_key("quarantined"), "no good one is: {report:?}");
            let (good, bad) = (&report.statuses[1], &report.statuses[broken]);
            if bad.counters["quarantines"] > 0 && bad.quarantined.is_none() {
                healed += 1;
                assert!(bad.executed_round != good.executed_round || bad.running == good.running);
                assert!(bad.standings[broken].rolled, "it says that it gave something up");
            }
        }
    }
    assert!(healed >= 15, "{healed} of 20");
}

// --- order fairness -------------------------------------------------------------------------

/// §1: who came clearly first at every good replica is executed first, whatever t liars do to
/// their clocks.
#[test]
fn who_came_clearly_first_is_executed_first() {
    let network = NetworkOptions {
        min_delay: Duration::from_micros(50),
        max_delay: ms(1),
        jitter: ms(1),
        ..NetworkOptions::default()
    };
    let honest = [None];
    let lies = OrderingLie::ALL.into_iter().filter(|l| l.keeps_pace()).map(Some);
    for lie in honest.into_iter().chain(lies) {
        for clock in [ClockKind::RealTime, ClockKind::Hybrid] {
            let workload = Workload { calls: 40, think: ms(12), ..Workload::default() };
            let liars = lie.map(|l| (2, Lie::Ordering(l))).into_iter().collect();
            let name = "who_came_clearly_first_is_executed_first";
            let clock_spread = Duration::from_micros(500);
            let fairness = true;
            let mut options =
                Options { clock, workload, liars, clock_spread, fairness, ..Options::named(name) };
            options.world.network = network.clone();
            seeds(0..8, &options);
        }
    }
}

// --- lying clients --------------------------------------------------------------------------

#[test]
fn lying_clients_harm_nobody_else() {
    for lie in ClientLie::ALL {
        let name = "lying_clients_harm_nobody_else";
        let options =
            Options { lying_clients: vec![lie], bound: Some(ms(300)), ..Options::named(name) };
        for report in seeds(0..8, &options) {
            assert_eq!(report.answered, 90, "{lie:?}");
        }
    }
}

// --- the checkers themselves ----------------------------------------------------------------

/// B40: above t liars clients are deceived, and the checkers must say so.
#[test]
fn more_liars_than_allowed_are_noticed() {
    let lie = Lie::Reply(ReplyLie::WrongOutput);
    let options = Options {
        liars: vec![(0, lie), (1, lie)],
        must_finish: false,
        ..Options::named("more_liars_than_allowed_are_noticed")
    };
    let failure = failure(0..5, &options).expect("two liars of three deceive");
    assert_eq!(failure.violation.rule, "acceptance");
    let told = failure.to_string();
    assert!(told.contains("QUORATE_SEED=0 cargo test --test it more_liars"), "{told}");
}
