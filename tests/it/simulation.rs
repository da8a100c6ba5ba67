//! Whole clusters in the simulator, over many seeds. `QUORATE_SEED` runs one seed again.

use quorate::simulator::{Options, Report, run};
use std::ops::Range;

/// Runs a scenario for each seed and gives what the runs report.
fn seeds(range: Range<u64>, options: &Options) -> Vec<Report> {
    let chosen = std::env::var("QUORATE_SEED").ok().map(|s| s.parse().expect("a number"));
    let range = chosen.map_or(range, |seed: u64| seed..seed + 1);
    let report = |seed| run(seed, options).unwrap_or_else(|failure| panic!("{failure}"));
    range.map(report).collect()
}

#[test]
fn three_replicas_serve_their_clients() {
    for report in seeds(0..10, &Options::named("three_replicas_serve_their_clients")) {
        println!("{:?} {:?} {} {:?}", report.longest, report.took, report.arrivals, report.events);
        assert_eq!(report.answered, 90);
    }
}
