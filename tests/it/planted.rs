//! The checks are worth what they catch: each planted bug must be noticed by a simulated run.

use quorate::adversary::{Lie, OrderingLie, ReplyLie};
use quorate::simulator::{ClientLie, NetworkOptions, Options, RandomFaults, Workload, run};
use quorate::types::ClockKind;
use quorate::types::plant::{PLANTS, plant};
use std::time::Duration;

const SEEDS: u64 = 12;

/// Bugs that no simulated run can show yet; tests of the ordering core do.
const ELSEWHERE: [&str; 1] = ["o1-late-candidate-counts"];

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
        "c1-accept-t-replies" | "c1-count-replica-twice" => {
            let mut options = options;
            options.liars = vec![(0, Lie::Reply(ReplyLie::WrongOutput))];
            options.world.network = NetworkOptions { max_delay: ms(8), ..Default::default() };
            options
        }
        other => panic!("no run hunts {other}"),
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
    PLANTS.into_iter().filter(|(name, _)| !ELSEWHERE.contains(name))
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
