//! Fail-stop chains in the fake world (docs/chain.md): seeds with faults of every kind, and all
//! orders of delivery of small chains.

use quorate::chain::Stats;
use quorate::simulator::chain::{ChainOptions, ChainReport, run};

/// Seeds of each kind of run; `CHAIN_SEEDS` asks for another number of them.
fn seeds(usual: u64) -> u64 {
    let asked = std::env::var("CHAIN_SEEDS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(usual)
}

#[track_caller]
fn all(usual: u64, options: &ChainOptions) -> Vec<ChainReport> {
    let play = |seed| run(seed, options).unwrap_or_else(|what| panic!("{what}"));
    (0..seeds(usual)).map(play).collect()
}

fn sum(reports: &[ChainReport], of: impl Fn(&Stats) -> u64) -> u64 {
    reports.iter().map(|r| of(&r.stats)).sum()
}

/// CH-U1 to CH-U4, CH-Q2.
#[test]
fn chains_of_one_two_and_three_answer_all_their_clients() {
    for length in 1..=3 {
        let reports = all(10, &ChainOptions::quiet(length));
        assert!(reports.iter().all(|r| r.configs == 1), "nobody was taken out");
        assert!(sum(&reports, |s| s.answered) > 0);
        assert!(length == 1 || sum(&reports, |s| s.asked) > 0, "some had to ask the tail");
    }
}

#[test]
fn chains_stay_right_whatever_goes_wrong() {
    for length in 1..=3 {
        for reads_any in [false, true] {
            let options = ChainOptions { reads_any, ..ChainOptions::rough(length) };
            let reports = all(20, &options);
            println!(
                "{length} members: {} events, {} updates, {} queries, {} configurations, \
                 {} repeats, {:?}",
                reports.iter().map(|r| r.events).sum::<u64>(),
                reports.iter().map(|r| r.updates).sum::<u64>(),
                reports.iter().map(|r| r.queries).sum::<u64>(),
                reports.iter().map(|r| r.configs).sum::<u64>(),
                reports.iter().map(|r| r.repeats).sum::<u64>(),
                reports.last().map(|r| r.stats),
            );
        }
    }
}
