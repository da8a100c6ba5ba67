//! Sources that lie to one who fetches a state, in whole clusters (docs/testing.md, B21).

use quorate::adversary::{Lie, SourceLie};
use quorate::simulator::{Fault, NodeId, Options, Report, Workload, run};
use quorate::types::Durability;
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// One of five loses its memory under load; the one that it asks first lies.
fn loss(lie: SourceLie) -> Options {
    let mut options = Options {
        t: 2,
        liars: vec![(0, Lie::Source(lie))],
        durability: Durability::None,
        faults: vec![(ms(700), Fault::Crash(NodeId::replica(4), ms(900)))],
        time_limit: ms(60_000),
        workload: Workload { calls: 60, think: ms(80), ..Workload::default() },
        settle: ms(15_000),
        ..Options::named("whoever_lies_about_a_state_is_named_and_the_state_comes_from_others")
    };
    options.limits.checkpoint_every = 8;
    options
}

fn report(seed: u64, lie: SourceLie) -> Report {
    run(seed, &loss(lie)).unwrap_or_else(|failure| panic!("{lie:?}: {failure}"))
}

#[test]
fn whoever_lies_about_a_state_is_named_and_the_state_comes_from_others() {
    for lie in SourceLie::ALL {
        let why: &[&str] = match lie {
            SourceLie::ForgeChunk => &["it gave a chunk that does not match its own list"],
            SourceLie::ForgeList => &[
                "its bytes are no snapshot",
                "its list of chunks is not that of the attested state",
            ],
            SourceLie::OtherRound => &["another checkpoint is attested"],
            // Being slow is no lie.
            SourceLie::Stall | SourceLie::DripChunks | SourceLie::NeverReady => &[],
        };
        let (mut named, mut told, mut installed) = (0, 0, 0);
        for seed in 0..6 {
            let report = report(seed, lie);
            assert!(report.failed.is_empty() && report.finished, "{lie:?}: {report:?}");
            let status = &report.statuses[4];
            told += report.lies();
            installed += status.counters["snapshots_installed"];
            assert!(status.standings.iter().all(|s| s.member), "{lie:?} {seed}: {status:#?}");
            // The status says it for some time only.
            named += status.counters["transfer_lies"];
            for lied in &status.transfer_lies {
                assert!(lied.replica == 1 && why.contains(&&*lied.why), "{lie:?}: {lied:?}");
            }
        }
        assert!(told > 0 && installed > 0, "{lie:?}: {told} lies, {installed} states");
        assert!(why.is_empty() == (named == 0), "{lie:?} was named in {named} of 6 runs");
    }
}

#[test]
fn a_transfer_with_a_liar_is_a_function_of_the_seed() {
    for lie in [SourceLie::ForgeChunk, SourceLie::DripChunks] {
        let (one, other) = (report(3, lie), report(3, lie));
        assert_eq!((one.trace_hash, one.arrivals), (other.trace_hash, other.arrivals));
        assert_ne!(one.trace_hash, report(4, lie).trace_hash);
    }
}
