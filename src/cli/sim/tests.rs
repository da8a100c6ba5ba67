use super::*;

fn sim(mode: Mode) -> Sim {
    Sim {
        seed: 0,
        seeds: Some(3),
        minutes: None,
        mode: vec![mode],
        t: vec![1],
        liars: None,
        strict: false,
        threads: 1,
        keep_going: false,
        shrink: 100,
        cut: Cut::default(),
        all_struck: false,
        rows: false,
        #[cfg(feature = "plant")]
        plants: false,
        #[cfg(feature = "plant")]
        plant: None,
        check_determinism: false,
        trace: false,
        json: false,
    }
}

#[test]
fn every_mode_runs_and_says_what_it_covered() {
    for mode in <Mode as clap::ValueEnum>::value_variants() {
        let sim = Sim { check_determinism: true, ..sim(*mode) };
        let covered = sim.cover();
        if let Some((case, broken)) = covered.broken.first() {
            panic!("{}", sim.tell(case, broken));
        }
        let (text, json) = (covered.coverage.text(), covered.coverage.json(None));
        assert!(text.contains("3 seeds") && text.contains("C0 in the model"), "{text}");
        assert_eq!(json["seeds"], 3);
        assert!(json["answered"].as_u64().unwrap() > 0, "{mode}");
        let fired = json["fired"].as_object().unwrap();
        let expected = match mode {
            Mode::Network => "link broken",
            Mode::Clocks => "wall clock stepped",
            Mode::Pause => "node paused",
            Mode::Crash => "node crashed",
            Mode::Power | Mode::Outages | Mode::SlowOutages => "power cut",
            Mode::Random | Mode::Calm | Mode::Liars | Mode::Fair => continue,
            Mode::Reads | Mode::Receipts | Mode::Large => continue,
        };
        assert!(fired.contains_key(expected), "{mode}: {fired:?}");
    }
}

#[test]
fn too_many_liars_are_told_and_are_no_failure() {
    let sim = Sim { liars: Some(Liars::OneMore), seeds: Some(12), ..sim(Mode::Liars) };
    let covered = sim.cover();
    assert!(covered.broken.is_empty());
    let json = covered.coverage.json(None);
    assert_eq!(json["cells"]["C4 too many liars"], 12);
    assert!(json["forked"].as_u64().unwrap() > 0, "the checkers see it: {json}");
}

/// C4: with a broken Δ and t liars no two strong receipts contradict each other, which would fail
/// these runs. Those of a majority do: the negative control.
#[test]
fn receipts_of_a_majority_contradict_each_other_and_strong_ones_do_not() {
    let sim = Sim { seeds: Some(30), t: vec![1, 2], ..sim(Mode::Receipts) };
    let covered = sim.cover();
    if let Some((case, broken)) = covered.broken.first() {
        panic!("{}", sim.tell(case, broken));
    }
    let events = covered.coverage.json(None)["events"].clone();
    for kind in ["strong receipt", "majority receipt", "receipts contradict"] {
        assert!(events[kind].as_u64().unwrap_or(0) > 0, "{kind}: {events}");
    }
}

#[test]
fn threads_change_nothing_but_the_time() {
    let sim = Sim { mode: vec![Mode::Random, Mode::Crash], t: vec![1, 2], ..sim(Mode::Random) };
    let one = sim.cover();
    let four = Sim { threads: 4, ..sim }.cover();
    let json = |covered: &pool::Covered| {
        let mut json = covered.coverage.json(None);
        (json["cpu_seconds"], json["hours_per_cpu_minute"]) = Default::default();
        json
    };
    assert!(one.broken.is_empty() && four.broken.is_empty());
    assert_eq!(json(&one), json(&four));
    assert_eq!(json(&one)["seeds"], 12);
}

#[test]
fn modes_and_sizes_take_turns() {
    let mode = vec![Mode::Calm, Mode::Crash];
    let sim = Sim { seed: 7, mode, t: vec![1, 3], ..sim(Mode::Calm) };
    let cases: Vec<Case> = (0..5).map(|n| sim.case(n)).collect();
    let case = |seed, mode, t| Case { seed, mode, t };
    assert_eq!(cases[..2], [case(7, Mode::Calm, 1), case(7, Mode::Crash, 1)]);
    assert_eq!(
        cases[2..],
        [case(7, Mode::Calm, 3), case(7, Mode::Crash, 3), case(8, Mode::Calm, 1)]
    );
}

#[test]
fn what_is_left_out_is_written_as_it_is_read() {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        cut: Cut,
    }
    let text = "quorate --without loss,R2,lying-clients --only-faults 3,17 --clients 1 --calls 2";
    let parse = |text: &str| <Line as clap::Parser>::try_parse_from(text.split(' '));
    let cut = parse(text).unwrap().cut;
    assert_eq!(format!("quorate{cut}"), text);
    let mut options = Mode::Random.options(3, 1, Some(2));
    options.liars = vec![(0, options.liars[0].1), (1, options.liars[0].1)];
    cut.apply(&mut options);
    assert_eq!((options.clients, options.workload.calls, options.liars.len()), (1, 2, 1));
    assert!(options.lying_clients.is_empty() && options.liars[0].0 == 0);
    assert_eq!(options.only_faults, Some([3, 17].into_iter().collect()));
    let none = parse("quorate --only-faults none").unwrap().cut;
    assert_eq!(format!("quorate{none}"), "quorate --only-faults none");
    assert!(parse("quorate --without rain").is_err() && parse("quorate --only-faults x").is_err());
}

#[cfg(feature = "plant")]
#[test]
fn the_modes_find_what_is_planted_in_changes_of_the_epoch() {
    use crate::types::plant::plant;
    let cases = [
        ("r1-any-choice", Mode::Random, 1),
        ("r7-gap-not-asked", Mode::Network, 1),
        ("e6-propose-before-sync", Mode::Network, 1),
        ("e7-clock-not-raised", Mode::Random, 1),
        ("e7-old-ids", Mode::Random, 1),
        ("s7-signs-on", Mode::Crash, 1),
        ("s7-promise-forgotten", Mode::Crash, 1),
        ("s7-report-anew", Mode::Crash, 1),
    ];
    let mut missed = Vec::new();
    for (name, mode, t) in cases {
        plant(Some(name));
        let covered = Sim { t: vec![t], seeds: Some(80), ..sim(mode) }.cover();
        plant(None);
        match covered.broken.first() {
            Some((case, broken)) => println!("{name}: seed {}: {}", case.seed, broken.what),
            None => missed.push(name),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}

/// Everything that can go wrong by chance has gone wrong in these runs, and nearly every rare
/// branch of the protocol was taken. `cargo test -- --nocapture` shows the table.
#[cfg(feature = "plant")]
#[test]
fn a_mixed_bag_of_runs_strikes_and_reaches_everything() {
    use Mode::{Clocks, Crash, Liars as Lying, Network, Pause, Power, Random};
    let mode = vec![Random, Crash, Lying, Network, Power, Pause, Clocks];
    let reads = Sim { seeds: Some(60), ..sim(Mode::Reads) }.cover();
    let sim = Sim { mode, seed: 280, seeds: Some(60), ..sim(Random) };
    let covered = sim.cover();
    if let Some((case, broken)) = covered.broken.first() {
        panic!("{}", sim.tell(case, broken));
    }
    println!("{}", covered.coverage.text());
    // Reads have a mode of their own; disks are lost, and no bytes of states are made at once, in
    // `tests/it/power.rs`.
    let elsewhere = [
        "Q1 a query waited for what was chosen",
        "Q1 a query was given up in a change of the epoch",
        "§7 a Join from a replaced disk was accepted",
        "§7 a snapshot's bytes were made beside the loop",
        "§7 an empty disk was refused",
    ];
    assert_eq!(covered.coverage.never(), elsewhere);
    assert!(reads.broken.is_empty());
    assert!(reads.coverage.never().iter().all(|never| !never.starts_with("Q1")));
}

#[cfg(feature = "plant")]
#[test]
fn a_failure_is_told_with_what_came_before_and_how_to_see_it_again() {
    use crate::types::plant::plant;
    let sim = Sim { liars: Some(Liars::Count(0)), seeds: Some(20), ..sim(Mode::Calm) };
    plant(Some("o3-order-by-digest"));
    let covered = sim.cover();
    let (case, broken) = covered.broken.first().expect("a planted bug is found");
    let (told, again) = (sim.tell(case, broken), sim.tell(case, broken));
    plant(None);
    assert_eq!(told, again, "it is the same each time");
    assert!(told.contains("uid order: "), "{told}");
    assert!(told.contains("R1: received ") && told.lines().count() > 10, "{told}");
    let seed = case.seed;
    let command = format!("quorate sim --seed {seed} --seeds 1 --mode calm --t 1 --liars 0");
    assert!(told.contains(&format!("the whole of it: {command}\n")), "{told}");
    let last = told.lines().last().unwrap();
    assert!(last.starts_with(&format!("to see it again: {command} --")), "{told}");
    assert!(last.contains(" --clients ") && last.contains(" --calls "), "{told}");
}

#[cfg(feature = "plant")]
#[test]
fn what_a_failure_needs_stays_in_it() {
    use crate::types::plant::plant;
    // Two good replicas disagree only if a member equivocates.
    let sim = Sim { liars: Some(Liars::T), seeds: Some(60), ..sim(Mode::Liars) };
    plant(Some("r3-commit-early"));
    let covered = sim.cover();
    let (case, broken) = covered.broken.first().expect("a planted bug is found");
    let told = sim.tell(case, broken);
    plant(None);
    assert!(told.contains("made smaller in ") && told.contains(" lies: "), "{told}");
    assert!(!told.contains("a client lies"), "{told}");
}

#[test]
fn a_panic_in_a_run_is_a_failure_with_a_seed() {
    let options = Options { t: 0, ..Options::named("sim") };
    let Err(broken) = play(7, &options, &mut |_, _, _| {}) else { panic!("t = 0 is no cluster") };
    assert!(broken.rule == "panic" && broken.what.starts_with("panic: "), "{}", broken.what);
}

// What was played when a seed failed.
#[cfg(feature = "plant")]
fn as_they_were(name: &str, mode: Mode, options: Options) -> Options {
    use crate::types::{Durability, OrderLimits};
    match mode {
        // An exclusion under the logical clock lasted for the whole run.
        _ if name == "c2-restarted-is-dumb" => {
            Options { limits: OrderLimits::default(), ..options }
        }
        _ if ["s7-reports-what-is-past", "m1-waits-for-its-call"].contains(&name) => options,
        Mode::Power | Mode::Outages | Mode::Receipts => options,
        // There was no log.
        _ => Options { durability: Durability::None, ..options },
    }
}

/// Seeds that once failed, with the mistake that made them fail: without it they pass, and with it
/// they fail again.
#[cfg(feature = "plant")]
#[test]
fn seeds_that_once_failed_pass_and_fail_with_the_old_mistake_only() {
    use crate::types::plant::plant;
    // More names than one: it came to the first mistake by the others, which are none alone.
    const SLOW: &str = "s7-last-not-kept+m1-join-behind+r7-short-sight+r7-newest-only";
    // What others had not gone on with was once made good by fetching their state alone.
    const FETCH: &str = "s7-never-undone+s7-legs-forgotten";
    // What a call rested on was once forgotten with a start.
    const BARE: &str = "e4-evidence-forgotten";
    // Openings on the way to one that was entered were once not in the log.
    const LEGS: &str = "s7-legs-forgotten";
    const BARE_LEGS: &str = "e4-evidence-forgotten+s7-legs-forgotten";
    let cases = [
        ("s7-state-unheard", SLOW, Mode::Crash, 1, 291, "R3 has executed 4 steps of 14"),
        ("q1-chosen-not-awaited", "", Mode::Reads, 1, 1476, "fits no place"),
        ("r5-ask-at-once", "", Mode::Crash, 1, 347, "livelock"),
        ("r5-ask-at-once", "", Mode::Fair, 3, 5, "livelock"),
        ("r7-near-gap", "", Mode::Network, 1, 719, "R2 has executed 3 steps of 6"),
        ("e8-own-root-only", "", Mode::Network, 1, 1_016_821, "R1 has executed 8 steps of 22"),
        ("r7-one-epoch-only", SLOW, Mode::Crash, 2, 1_005_636, "R5 has executed 2"),
        ("s7-reply-before-sync", "", Mode::Power, 1, 122, "agreement: step 56"),
        ("s7-never-rolled-back", "", Mode::Power, 1, 293, "R3 has executed 8 steps of 16"),
        ("o7-committed-only", "", Mode::Power, 1, 40, "9 calls wait"),
        ("o7-void-stays-executed", "", Mode::Power, 1, 29, "2 calls wait"),
        ("r7-not-passed-over", "", Mode::Power, 1, 1193, "R3 has executed 7 steps"),
        ("s7-attests-undone", "", Mode::Outages, 1, 2448, "Diverged"),
        ("s7-one-leg-only", "", Mode::Outages, 1, 219, "calls wait"),
        ("s7-opening-forgotten", LEGS, Mode::Outages, 1, 1251, "calls wait"),
        ("s7-reports-what-is-past", "", Mode::Crash, 1, 684, "R2 has executed"),
        ("r5-past-openings-gone", FETCH, Mode::Outages, 1, 15_300, "calls wait"),
        ("r7-promise-first", "", Mode::Outages, 1, 257, "R2 has executed 9 steps"),
        ("o7-only-its-epoch", "", Mode::Outages, 1, 96, ""),
        ("s7-never-undone", BARE_LEGS, Mode::Outages, 1, 310_451, "calls wait"),
        ("s7-rolled-unsaid", "", Mode::Outages, 1, 310_451, "does not say that it has"),
        ("o7-runs-before-opening", "", Mode::Outages, 1, 601_626, "R3 has executed 6 steps"),
        ("o7-restarted-has-none", "", Mode::Power, 1, 122, "calls wait"),
        ("o7-base-not-counted", BARE, Mode::Outages, 1, 15_571, "calls wait"),
        ("o7-checkpoint-before-void", "", Mode::Outages, 1, 1162, "calls wait"),
        ("o7-runs-too-early", "", Mode::Outages, 1, 2259, "calls wait"),
        ("o7-void-in-need", "", Mode::Outages, 1, 905_608, "calls wait"),
        ("c2-restarted-is-dumb", "", Mode::Outages, 1, 11_969, "calls wait"),
        ("o7-waits-without-a-state", "", Mode::Crash, 1, 66_000_397, "R3 has executed 0 steps"),
        ("s7-forward-unsaid", "", Mode::Receipts, 2, 2_000_120, "strong receipts"),
        ("m1-waits-for-its-call", "", Mode::Network, 2, 140_001_912, "R1 has executed"),
    ];
    let mut wrong = Vec::new();
    for (name, others, mode, t, seed, expected) in cases {
        let options = as_they_were(name, mode, mode.options(seed, t, None));
        let run = || play(seed, &options, &mut |_, _, _| {}).err().map(|broken| broken.what);
        let both: &str = format!("{name}+{others}").leak();
        plant((!others.is_empty()).then_some(others));
        let without = run();
        plant(Some(both.trim_end_matches('+')));
        let with = run();
        plant(None);
        if without.is_some() || !with.as_ref().is_some_and(|b| b.contains(expected)) {
            wrong.push(format!("{name} at {seed}: without it {without:?}, with it {with:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A link of a liar breaks before that has said how far it is. A good replica waits for it with its
/// first proposal of all, and is out for it: nobody is to blame but the liar.
#[test]
fn who_waits_for_a_liar_at_the_first_start_is_not_excluded_by_mistake() {
    for seed in [3_005_634, 4_000_746, 5_002_759, 9_014_281] {
        let broken = play(seed, &Mode::Receipts.options(seed, 1, None), &mut |_, _, _| {}).err();
        assert!(broken.is_none(), "{seed}: {:?}", broken.map(|b| b.what));
    }
}

/// A replica that was cut off and started anew is cut off once more, and says that the other end of
/// its link is late: it cannot know which end it is.
#[test]
fn the_word_of_who_stopped_does_not_show_that_others_are_late() {
    let options = Mode::Network.options(700_093_916, 1, None);
    let broken = play(700_093_916, &options, &mut |_, _, _| {}).err();
    assert!(broken.is_none(), "{:?}", broken.map(|b| b.what));
}

/// A void request comes again, and for the last time, between the entry into an epoch and its first
/// vector.
#[cfg(feature = "plant")]
#[test]
fn what_came_again_since_it_was_void_is_not_forgotten() {
    assert_fails_with("o7-forgets-what-came-since", 1192, "calls wait");
}

/// One replica enters an epoch, and executes what clients hear of; the others have lost its
/// opening and go over to a later one from the epoch before it, without what was executed.
#[cfg(feature = "plant")]
#[test]
fn who_entered_what_others_passed_over_knows_what_came_before() {
    assert_fails_with("o7-dead-branch-is-dumb", 850, "agreement");
}

/// A snapshot is complete when its replica has told which bodies it lacks, and what these are for
/// has run in it.
#[cfg(feature = "plant")]
#[test]
fn a_snapshot_waits_for_the_opening_after_a_report() {
    assert_fails_with("o7-takes-up-between", 1216, "agreement");
}

/// One enters an epoch whose opening it has come to by another, and stops before the first vector.
#[cfg(feature = "plant")]
#[test]
fn openings_on_the_way_are_in_the_log() {
    assert_fails_with("s7-legs-forgotten", 711_721, "calls wait");
}

/// A replica has a void request in its log that its client sent again: it must not put that forward
/// before it has said that it restarted.
#[cfg(feature = "plant")]
#[test]
fn nothing_is_seen_while_the_log_is_read() {
    assert_fails_with("o7-seen-while-read", 951_076, "R1 has executed");
}

/// One that waits before it enters an epoch goes over to another, and writes that down for a while.
#[cfg(feature = "plant")]
#[test]
fn a_wait_that_is_given_up_is_over() {
    let options = Mode::Outages.options(970_329, 2, Some(2));
    let strict = Options { durability: Durability::Strict, ..options };
    assert_fails("e6-wait-stays", (970_329, &strict), "livelock");
}

/// With `durability = "strict"`, when the power is gone again and again.
#[cfg(feature = "plant")]
#[test]
fn what_was_written_before_it_left_is_gone_on_from() {
    for (bug, mode, seed, what) in [
        ("s7-strict-sends-first", Mode::SlowOutages, 1, "Equivocation"),
        ("s7-strict-shown-if-asked", Mode::SlowOutages, 500_149, "Equivocation"),
        ("s7-strict-forgets-own", Mode::SlowOutages, 0, "false accusation"),
        ("s7-strict-without-bodies", Mode::SlowOutages, 3, "calls wait"),
        ("s7-strict-bodies-go", Mode::SlowOutages, 14, "agreement"),
        ("o7-spent-goes", Mode::SlowOutages, 511_466, "calls wait"),
        ("e4-evidence-forgotten", Mode::Outages, 500_790, "R1 has executed 9 steps"),
        ("e4-evidence-forgotten", Mode::SlowOutages, 500_820, "R1 has executed"),
    ] {
        let options = mode.options(seed, 1, None);
        let strict = Options { durability: Durability::Strict, ..options };
        assert_fails(bug, (seed, &strict), what);
    }
}

#[cfg(feature = "plant")]
fn assert_fails_with(bug: &'static str, seed: u64, what: &str) {
    assert_fails(bug, (seed, &Mode::SlowOutages.options(seed, 1, None)), what);
}

#[cfg(feature = "plant")]
fn assert_fails(bug: &'static str, (seed, options): (u64, &Options), what: &str) {
    use crate::types::plant::plant;
    let run = || play(seed, options, &mut |_, _, _| {}).err().map(|broken| broken.what);
    assert_eq!(run(), None, "{bug} {seed}");
    plant(Some(bug));
    let planted = run();
    plant(None);
    assert!(planted.as_ref().is_some_and(|told| told.contains(what)), "{bug} {seed}: {planted:?}");
}
