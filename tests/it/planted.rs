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
            Options { liars: order(2, OrderingLie::FakeCandidates), ..options }
        }
        "o2-smallest-candidate" => Options { liars: order(2, OrderingLie::AlwaysLowest), ..fair },
        "o2-largest-candidate" => Options { liars: order(2, OrderingLie::ClockLate), ..fair },
        "o3-no-stability" => fair,
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
            Options { liars: order(1, OrderingLie::FallingCandidates), ..options }
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

#[test]
fn every_planted_bug_is_noticed() {
    let mut missed = Vec::new();
    for (name, rule) in PLANTS.into_iter().filter(|(n, _)| !ELSEWHERE.contains(n)) {
        let options = hunt(name);
        plant(Some(name));
        let found = (0..SEEDS).find_map(|seed| run(seed, &options).err());
        plant(None);
        match found {
            Some(failure) => println!("{name}: {failure}"),
            None => missed.push(rule),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:#?}");
}

/// Without a planted bug the same runs find nothing, but where their liars stop the rounds.
#[test]
fn the_hunts_find_nothing_without_a_bug() {
    for (name, _) in PLANTS.into_iter().filter(|(n, _)| !ELSEWHERE.contains(n)) {
        let mut options = hunt(name);
        options.must_finish &= name != "r4-accept-low-candidate";
        for seed in 0..SEEDS {
            run(seed, &options).unwrap_or_else(|failure| panic!("{name}: {failure}"));
        }
    }
}
