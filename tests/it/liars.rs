//! What becomes of each kind of liar, whole clusters around it (docs/testing.md, B rows): who is
//! out in the end, with which word, and that everybody else is served all the while.

use quorate::adversary::{EpochLie, Lie, OrderingLie, ReplyLie, Sides, WholeLie};
use quorate::simulator::{ClientLie, Fault, NodeId, Options, Report, Workload, WrongService, run};
use quorate::types::{Lag, Members, ReplicaId};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A cluster with a few seconds of work.
fn cluster(name: &'static str, t: u8) -> Options {
    Options {
        t,
        workload: Workload { calls: 60, think: ms(50), ..Workload::default() },
        call_timeout: Duration::from_secs(20),
        settle: Duration::from_secs(5),
        ..Options::named(name)
    }
}

fn seeds(n: u64, options: &Options) -> Vec<Report> {
    let told = |seed| run(seed, options).unwrap_or_else(|failure| panic!("{failure}"));
    let reports: Vec<Report> = (0..n).map(told).collect();
    for report in &reports {
        assert!(report.failed.is_empty(), "{:?}", report.failed);
    }
    reports
}

/// What the first replica says of another in the end: a member, or out with this word.
fn end(report: &Report, place: usize) -> String {
    let standing = &report.statuses[0].standings[place];
    match (standing.member, &standing.why) {
        (true, _) => "member".to_owned(),
        (false, Some(why)) => format!("{why:?}"),
        (false, None) => "out".to_owned(),
    }
}

fn liar(name: &'static str, lie: Lie) -> Options {
    Options { liars: vec![(2, lie)], ..cluster(name, 1) }
}

/// B1: whoever is seen to have signed two proposals for a round is out for good, with a proof.
#[test]
fn one_that_equivocates_is_expelled() {
    let lie = Lie::Ordering(OrderingLie::Equivocate);
    for report in seeds(10, &liar("one_that_equivocates_is_expelled", lie)) {
        assert!(report.events.contains_key("proven"), "{:?}", report.events);
        assert_eq!(end(&report, 2), "Lied");
        assert_eq!(report.statuses[0].members, [1, 2]);
    }
}

/// B6: whoever withholds its proposals is out as silent, each time after one stop, for longer
/// each time.
#[test]
fn one_that_withholds_is_out_as_silent_again_and_again() {
    let lie = Lie::Epoch(EpochLie::Withhold);
    let reports = seeds(10, &liar("one_that_withholds_is_out_as_silent_again_and_again", lie));
    let excluded: u64 = reports.iter().map(|r| r.events["excluded"]).sum();
    let joined: u64 = reports.iter().filter_map(|r| r.events.get("joined")).sum();
    assert!(excluded > 20 && joined > 0, "{excluded} out, {joined} back");
    assert!(reports.iter().all(|r| r.longest < ms(1000)), "{reports:?}");
}

/// B3: one that speaks to every second replica only loses nothing and stops nobody for long.
#[test]
fn one_that_is_selective_stops_nobody() {
    let lie = Lie::Epoch(EpochLie::Selective);
    for report in seeds(10, &liar("one_that_is_selective_stops_nobody", lie)) {
        assert!(report.longest < ms(1000), "{:?}", report.longest);
    }
}

/// B16: false blames, forged proofs and words of restarts put out nobody but their author.
#[test]
fn whoever_blames_or_forges_puts_nobody_out() {
    for lie in [EpochLie::FalseBlame, EpochLie::Forge] {
        for report in seeds(10, &liar("whoever_blames_or_forges_puts_nobody_out", Lie::Epoch(lie)))
        {
            assert!(!report.events.contains_key("proven"), "{lie:?}: {:?}", report.events);
            for place in 0..2 {
                assert_eq!(end(&report, place), "member", "{lie:?}");
            }
        }
    }
}

/// B24, B37: of one that says valid things without end only so much is checked.
#[test]
fn of_one_that_floods_only_so_much_is_checked() {
    let mut options =
        liar("of_one_that_floods_only_so_much_is_checked", Lie::Epoch(EpochLie::Flood));
    options.quotas.peer_signatures = 200;
    for report in seeds(3, &options) {
        let counters = &report.statuses[0].counters;
        assert!(counters["over_allowance"] > 10_000, "{counters:?}");
        assert!(counters["blames"] < 3000, "{counters:?}");
        assert!(report.longest < ms(1000), "{:?}", report.longest);
        assert_eq!((end(&report, 0), end(&report, 1)), ("member".to_owned(), "member".to_owned()));
    }
}

/// B8: one that always is just in time stays, and costs each call a few patiences at most.
#[test]
fn one_that_drips_stays_and_slows_each_call_by_a_bound() {
    let name = "one_that_drips_stays_and_slows_each_call_by_a_bound";
    let options = liar(name, Lie::Epoch(EpochLie::SlowDrip));
    let patience = options.timing.patience;
    for report in seeds(6, &options) {
        assert_eq!(end(&report, 2), "member");
        assert!(report.longest < 6 * patience, "{:?}", report.longest);
    }
}

/// What messages take in these runs, with a sync: good replicas never need their budget.
fn with_budget(mut options: Options, budget: Duration) -> Options {
    options.timing.lag = Some(Lag { delta: ms(6), budget });
    options
}

/// What comes of a liar where members have a budget: what it costs all clients together, beyond
/// what they take without one, is less than half of what it costs without budgets.
fn less_than_half_as_slow(name: &'static str, options: Options) -> Vec<Report> {
    let took = |reports: &[Report]| reports.iter().map(|r| r.took).sum::<Duration>();
    let calm = took(&seeds(6, &cluster(name, 1)));
    let slow = took(&seeds(6, &options)) - calm;
    let reports = seeds(6, &with_budget(options, ms(150)));
    let cost = took(&reports) - calm;
    assert!(cost < slow / 2, "{cost:?} and {slow:?} more than {calm:?}");
    reports
}

/// E1: where members have a budget, one that drips is out once it is spent, and again soon after it
/// has come back.
#[test]
fn one_that_drips_is_out_once_its_budget_is_spent() {
    let name = "one_that_drips_is_out_once_its_budget_is_spent";
    let options = liar(name, Lie::Epoch(EpochLie::SlowDrip));
    let patience = options.timing.patience;
    for report in &less_than_half_as_slow(name, options) {
        assert!(report.events["excluded"] > 0, "{:?}", report.events);
        assert!(report.longest < 6 * patience, "{:?}", report.longest);
        assert!(report.marks["E1 a member was blamed as its budget was spent"] > 0);
        assert_eq!((end(report, 0), end(report, 1)), ("member".to_owned(), "member".to_owned()));
    }
}

/// E1: what is usual costs nothing, so one that uses all of that stays. It slows rounds down to
/// that and not to patience.
#[test]
fn one_that_is_as_slow_as_usual_stays_and_costs_less() {
    let name = "one_that_is_as_slow_as_usual_stays_and_costs_less";
    let usual = liar(name, Lie::Epoch(EpochLie::SlowUsual));
    for report in &less_than_half_as_slow(name, usual) {
        assert!(!report.events.contains_key("excluded"), "{:?}", report.events);
    }
}

/// E1: two of five that drip are both out in the end, and nobody else is.
#[test]
fn two_that_drip_are_out_once_their_budgets_are_spent() {
    let name = "two_that_drip_are_out_once_their_budgets_are_spent";
    let lie = Lie::Epoch(EpochLie::SlowDrip);
    let options = Options { liars: vec![(1, lie), (3, lie)], ..cluster(name, 2) };
    for report in seeds(3, &with_budget(options, ms(150))) {
        let gone = |place: usize| report.statuses[0].standings[place].since > 0;
        assert!(gone(1) && gone(3), "{:?}", report.events);
        for good in [0, 2, 4] {
            assert!(end(&report, good) == "member" && !gone(good), "{:?}", report.events);
        }
    }
}

/// E1: who keeps to the usual bound is not put out, however small budgets are, and whatever others
/// do to make it late.
#[test]
fn nobody_who_is_as_fast_as_usual_is_put_out() {
    let name = "nobody_who_is_as_fast_as_usual_is_put_out";
    let lies = [
        Lie::Epoch(EpochLie::Selective),
        Lie::Epoch(EpochLie::Withhold),
        Lie::Epoch(EpochLie::SlowDrip),
        Lie::Epoch(EpochLie::FalseBlame),
        Lie::Ordering(OrderingLie::HalfSend),
        Lie::Ordering(OrderingLie::Equivocate),
    ];
    let both_stay = |options: &Options, lie: Lie| {
        for report in seeds(5, options) {
            for place in 0..2 {
                assert_eq!(report.statuses[place].standings[0].why, None, "{lie:?}");
                assert_eq!(report.statuses[place].standings[1].why, None, "{lie:?}");
            }
        }
    };
    for lie in lies {
        both_stay(&with_budget(liar(name, lie), ms(6)), lie);
    }
    for report in seeds(5, &with_budget(cluster(name, 1), ms(6))) {
        assert!(!report.events.contains_key("excluded"), "{:?}", report.events);
    }
    // A member that has no work, as clients send to one replica, joins rounds after `join_delay`,
    // and asks after that for what a liar withholds.
    for lie in [Lie::Epoch(EpochLie::Selective), Lie::Ordering(OrderingLie::HalfSend)] {
        let mut options = liar(name, lie);
        options.lying_clients = vec![ClientLie::OneReplica; 2];
        (options.timing.join_delay, options.timing.patience) = (ms(20), ms(120));
        options.workload.think = ms(400);
        both_stay(&with_budget(options, ms(6)), lie);
    }
}

/// B34, B39: honest for a second and more, then it lies; as if it had done so from the start.
#[test]
fn sleepers_are_found_when_they_wake() {
    let name = "sleepers_are_found_when_they_wake";
    let lies = [
        Lie::Ordering(OrderingLie::Equivocate),
        Lie::Ordering(OrderingLie::FallingCandidates),
        Lie::Epoch(EpochLie::Withhold),
        Lie::Epoch(EpochLie::FalseBlame),
        Lie::Reply(ReplyLie::WrongOutput),
    ];
    for lie in lies {
        let awake = |from| Options { lies_from: from, ..liar(name, lie) };
        for report in seeds(2, &awake(Duration::from_secs(1000))) {
            assert_eq!((report.lies(), end(&report, 2)), (0, "member".to_owned()), "{lie:?}");
        }
        let reports: Vec<Report> =
            [700, 1500].into_iter().flat_map(|from| seeds(3, &awake(ms(from)))).collect();
        assert!(reports.iter().any(|r| r.lies() > 0), "{lie:?}");
        if lie == Lie::Ordering(OrderingLie::Equivocate) {
            assert!(reports.iter().all(|r| end(r, 2) == "Lied"));
        }
    }
}

/// B35: two of five lie at once, each pair of kinds.
#[test]
fn two_liars_of_five_with_any_two_lies_stop_nobody() {
    let name = "two_liars_of_five_with_any_two_lies_stop_nobody";
    let all: Vec<Lie> = Lie::all().collect();
    for (nth, one) in all.iter().enumerate() {
        let other = all[(nth * 7 + 3) % all.len()];
        let workload = Workload { calls: 12, think: ms(100), ..Workload::default() };
        let liars = vec![(1, *one), (3, other)];
        let options = Options { liars, workload, settle: ms(1500), ..cluster(name, 2) };
        for report in seeds(2, &options) {
            for good in [0, 2, 4] {
                let is = &report.statuses[0].standings[good];
                assert_ne!(is.why.map(|why| format!("{why:?}")).as_deref(), Some("Lied"));
            }
        }
    }
}

/// B32, B23: one whose state is wrong attests checkpoints that nobody else has. It keeps nobody
/// from finding theirs stable, and so from dropping what is behind them.
#[test]
fn one_that_attests_otherwise_keeps_nobody_from_forgetting() {
    let name = "one_that_attests_otherwise_keeps_nobody_from_forgetting";
    let mut options = cluster(name, 1);
    options.wrong_services = vec![(2, WrongService::State)];
    options.limits.checkpoint_every = 16;
    for report in seeds(4, &options) {
        for status in &report.statuses[..2] {
            assert!(status.stable + 48 > status.executed_round, "{status:#?}");
            assert!(status.stable > 32, "{status:#?}");
            assert_eq!(status.outstanding, 0, "{status:#?}");
        }
    }
}

// --- one key, two replicas; old disks ------------------------------------------------------------

fn some(places: &[usize]) -> Members {
    places.iter().map(|p| ReplicaId::from_index(*p)).collect()
}

/// B33, all sides of a cluster of three: no fork, nobody good is harmed, every call is answered.
/// Two that both hear everything and speak to one each are found to equivocate.
#[test]
fn twins_of_three_harm_nobody_on_whichever_sides_the_others_are() {
    let name = "twins_of_three_harm_nobody_on_whichever_sides_the_others_are";
    for (second, deaf) in [
        (some(&[]), false),
        (some(&[0]), false),
        (some(&[1]), false),
        (some(&[0, 1]), false),
        (some(&[0]), true),
        (some(&[1]), true),
        (some(&[0, 1]), true),
    ] {
        let options = Options { doubled: vec![(2, Sides { second, deaf })], ..cluster(name, 1) };
        for report in seeds(4, &options) {
            let lied = end(&report, 2) == "Lied";
            match second.len() {
                1 if deaf => {} // Each misses half of every round: they may be out as silent first.
                1 => assert!(lied, "{second}"),
                _ => assert!(!lied, "{second} {deaf}"),
            }
        }
    }
}

/// B33 with five and seven, sides sampled.
#[test]
fn twins_of_five_and_seven_harm_nobody() {
    let name = "twins_of_five_and_seven_harm_nobody";
    let workload = Workload { calls: 15, think: ms(100), ..Workload::default() };
    for t in [2, 3] {
        let n = 2 * usize::from(t) + 1;
        for (nth, deaf) in [(0, false), (1, true), (2, false), (3, true)] {
            let side = |twin: usize| {
                let second =
                    (0..n).filter(|p| *p != twin && (p + nth) % 2 == 0).collect::<Vec<_>>();
                (twin, Sides { second: some(&second), deaf })
            };
            let doubled = vec![side(n - 1), side(0)];
            let workload = workload.clone();
            let options = Options { doubled, workload, settle: ms(1500), ..cluster(name, t) };
            seeds(2, &options);
        }
    }
}

/// B36: a replica that comes back with an older image of its disk has forgotten promises; it says
/// that it restarted like any other, signs nothing in the epoch that it knows, and joins.
#[test]
fn one_with_an_old_disk_harms_nobody() {
    let name = "one_with_an_old_disk_harms_nobody";
    let crash = |at, node| (ms(at), Fault::Crash(NodeId::replica(node), ms(40)));
    for lost in [1, 2, 3, 1000] {
        let options = Options {
            old_disks: vec![(2, lost)],
            faults: vec![crash(200, 2), crash(1400, 2), crash(2400, 2)],
            ..cluster(name, 1)
        };
        let reports = seeds(6, &options);
        assert!(reports.iter().all(|r| r.fired["node crashed"] == 3), "{reports:?}");
        assert!(reports.iter().any(|r| r.events.contains_key("joined")), "{lost}");
    }
}

// --- large results ------------------------------------------------------------------------------

/// As [`cluster`], with values that are told by digests.
fn with_large_values(name: &'static str, t: u8) -> Options {
    let workload = Workload { calls: 40, value_bytes: 5000, ..cluster(name, t).workload };
    Options { workload, queries: 300, search: true, ..cluster(name, t) }
}

fn sum(report: &Report, counter: &str) -> u64 {
    report.statuses.iter().map(|status| status.counters[counter]).sum()
}

/// C3: where nobody is bad one copy of a large result is sent, and nothing is asked twice.
#[test]
fn a_large_result_is_sent_whole_once() {
    for report in seeds(4, &with_large_values("a_large_result_is_sent_whole_once", 1)) {
        assert!(sum(&report, "replies_digested") > 50, "{:?}", report.statuses[0].counters);
        assert_eq!(sum(&report, "repeats"), 0);
        assert_eq!(report.dissent, [0, 0, 0]);
    }
}

/// B41: of those who agree on a digest somebody gives the whole, however the others lie about it.
#[test]
fn liars_keep_nobody_from_a_large_result() {
    let name = "liars_keep_nobody_from_a_large_result";
    for lie in WholeLie::ALL {
        for places in [vec![1], vec![0, 3]] {
            let t = u8::try_from(places.len()).unwrap();
            let liars = places.iter().map(|place| (*place, Lie::Whole(lie))).collect();
            let options = Options { liars, ..with_large_values(name, t) };
            let patience = options.timing.patience;
            for report in seeds(3, &options) {
                assert!(report.lies() > 0 && sum(&report, "repeats") > 0, "{lie:?}");
                assert!(report.longest < 6 * patience, "{lie:?}: {:?}", report.longest);
                for (place, dissent) in report.dissent.iter().enumerate() {
                    let spoils = lie == WholeLie::UnfittingWhole && places.contains(&place);
                    assert_eq!(*dissent > 0, spoils, "{lie:?}: {:?}", report.dissent);
                }
            }
        }
    }
}

/// C3: whose turn it is dies in the middle of it, and others are asked.
#[test]
fn large_results_come_when_the_one_whose_turn_it_is_dies() {
    let name = "large_results_come_when_the_one_whose_turn_it_is_dies";
    let node = NodeId::Replica(ReplicaId::from_index(1));
    let faults = vec![(ms(700), Fault::Crash(node, ms(1500)))];
    let options = Options { faults, ..with_large_values(name, 1) };
    for report in seeds(4, &options) {
        assert!(sum(&report, "replies_digested") > 50);
    }
}
