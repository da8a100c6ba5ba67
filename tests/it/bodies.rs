//! Every good replica gets the body of everything that is ordered (O4, O7), whatever clients and
//! liars do to keep it from some.

use quorate::adversary::{Lie, OrderingLie, ReplyLie};
use quorate::simulator::{ClientLie, Fault, Given, NodeId, Options, Report, Workload, run};
use quorate::types::OrderLimits;
use std::ops::Range;
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs these seeds and tells of all that fail, with the first failure in full.
fn seeds(range: Range<u64>, options: &Options) -> Vec<Report> {
    let chosen = std::env::var("QUORATE_SEED").ok().map(|s| s.parse().expect("a number"));
    let range = chosen.map_or(range, |seed: u64| seed..seed + 1);
    let many = range.clone().count();
    let (mut reports, mut failed, mut first) = (Vec::new(), Vec::new(), None);
    for seed in range {
        match run(seed, options) {
            Ok(report) => reports.push(report),
            Err(failure) => {
                failed.push(seed);
                first.get_or_insert(failure);
            }
        }
    }
    if let Some(first) = first {
        panic!("{} of {many} seeds fail: {failed:?}\n{first}", failed.len());
    }
    reports
}

/// O7: some clients cannot reach one good replica, while the others make a checkpoint stable every
/// few rounds. It must still get what they sent, from those that have it.
#[test]
fn who_is_cut_off_from_clients_gets_all_bodies() {
    for place in 0..3 {
        let cut =
            |client| Fault::Break(NodeId::Client(client), NodeId::replica(place), ms(600_000));
        let options = Options {
            limits: OrderLimits { checkpoint_every: 4, ..OrderLimits::default() },
            faults: (0..2).map(|client| (Duration::ZERO, cut(client))).collect(),
            settle: ms(5000),
            ..Options::named("who_is_cut_off_from_clients_gets_all_bodies")
        };
        let reports = seeds(0..8, &options);
        let received = |r: &Report| r.statuses[place].counters["bodies_received"];
        assert!(reports.iter().all(|r| received(r) > 0), "it was cut off");
        assert!(reports.iter().all(|r| r.events.contains_key("stable")), "checkpoints pass");
    }
}

/// O7: the same where liars vouch, attest and keep the bodies to themselves: of `t + 1` that have a
/// request and of `t + 1` that attest a checkpoint a single one is good.
#[test]
fn what_one_good_replica_and_the_liars_have_reaches_everybody() {
    for lie in [Lie::Ordering(OrderingLie::LowFakes), Lie::Reply(ReplyLie::WrongOutput)] {
        for places in [vec![2], vec![0, 3]] {
            let options = Options {
                t: places.len() as u8,
                liars: places.iter().map(|p| (*p, lie)).collect(),
                bodies: Some(Given::Nothing),
                lying_clients: vec![ClientLie::ColludeAndOne],
                limits: OrderLimits { checkpoint_every: 4, ..OrderLimits::default() },
                settle: ms(5000),
                ..Options::named("what_one_good_replica_and_the_liars_have_reaches_everybody")
            };
            seeds(0..6, &options);
        }
    }
}

/// O4, O7: a client sends its requests to a liar only, which gives lone candidates. About when
/// they are forgotten it sends them to one good replica, and to the liar again. What is accepted
/// by that has a good holder, and it must not forget the body for the older candidate's sake.
#[test]
fn a_liar_and_a_partial_client_cannot_stop_execution() {
    for lie in [ReplyLie::WrongOutput, ReplyLie::SilentReply].map(Lie::Reply) {
        let options = Options {
            liars: vec![(2, lie)],
            bodies: Some(Given::Nothing),
            lying_clients: vec![ClientLie::ColludeLate; 2],
            client_acts: 250,
            limits: OrderLimits { forget_after: 6, forget_time: 1000, ..OrderLimits::default() },
            workload: Workload { calls: 60, ..Workload::default() },
            settle: ms(5000),
            ..Options::named("a_liar_and_a_partial_client_cannot_stop_execution")
        };
        let reports = seeds(0..10, &options);
        let forgotten = |r: &Report| r.statuses[0].counters["forgotten"];
        assert!(reports.iter().all(|r| forgotten(r) > 0), "liars' candidates are forgotten");
    }
}

/// O7: who fetches asks around; a liar that does not answer costs little, step after step.
#[test]
fn bodies_that_a_liar_withholds_slow_nobody_down() {
    for place in 0..3 {
        let options = Options {
            liars: vec![(place, Lie::Reply(ReplyLie::WrongOutput))],
            bodies: Some(Given::Nothing),
            lying_clients: vec![ClientLie::ColludeAndOne],
            bound: Some(ms(300)),
            ..Options::named("bodies_that_a_liar_withholds_slow_nobody_down")
        };
        seeds(0..6, &options);
    }
}

/// B2: a body that is not the one that was ordered is nobody's body; another holder is asked.
#[test]
fn a_false_body_is_dropped_and_another_holder_asked() {
    for place in 0..3 {
        let options = Options {
            liars: vec![(place, Lie::Reply(ReplyLie::WrongOutput))],
            bodies: Some(Given::False),
            lying_clients: vec![ClientLie::ColludeAndOne],
            bound: Some(ms(300)),
            ..Options::named("a_false_body_is_dropped_and_another_holder_asked")
        };
        seeds(0..6, &options);
    }
}
