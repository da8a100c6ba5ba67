//! Every run with a deviation or two, walks with many, and executions that were found so or by
//! thinking, told by what goes wrong in them.

use quorate::simulator::explore::{Options, Searched, Told, Walked, search, story, walk};
use quorate::types::{Members, ReplicaId};

fn whole(searched: &Searched) {
    if let Some(found) = &searched.found {
        panic!("{}\n{}", found.trace, found.violation);
    }
    assert!(searched.whole, "cut off after {} states", searched.states);
    assert!(searched.counts["committed"] > 0 && searched.counts["opened"] > 0, "{searched:?}");
}

fn sound(walked: &Walked) {
    if let Some((number, found)) = &walked.found {
        panic!("walk {number}\n{}\n{}", found.trace, found.violation);
    }
    assert!(walked.counts["opened"] > 0, "{walked:?}");
}

/// Tells a story in which no promise may be broken, and in which all of this must happen.
fn told(options: &Options, script: &[(&str, &str)], happens: &[&str]) -> Told {
    let told = story(options, script).unwrap_or_else(|why| panic!("{why}"));
    if let Some(found) = &told.found {
        panic!("{}\n{}", found.trace, found.violation);
    }
    for what in happens {
        assert!(told.counts.contains_key(what), "nothing is {what}:\n{}", told.trace);
    }
    told
}

fn liars(t: u8) -> Options {
    let (t_places, n) = (usize::from(t), 2 * usize::from(t) + 1);
    let liars: Members = (n - t_places..n).map(ReplicaId::from_index).collect();
    Options { t, liars, ..Options::one_liar(9) }
}

fn leaves(options: Options) -> Options {
    Options { leaves: true, slow_disks: true, horizon: 40, ..options }
}

// --- all runs, and walks ------------------------------------------------------------------------

#[test]
fn one_lie_of_one_of_three_breaks_nothing() {
    whole(&search(&Options::one_liar(1), 100_000, 1));
}

#[test]
fn one_crash_of_one_of_three_and_its_return_break_nothing() {
    whole(&search(&Options::one_crash(1), 100_000, 1));
}

#[test]
fn one_slow_link_breaks_nothing_among_honest_ones() {
    let searched = search(&Options::no_delta(1), 100_000, 1);
    assert!(searched.found.is_none() && searched.whole, "{searched:?}");
}

#[test]
fn walks_with_liars() {
    sound(&walk(&Options { leaves: true, slow_disks: true, ..Options::one_liar(8) }, 3, 150));
    sound(&walk(&Options { deviations: 8, ..liars(2) }, 3, 40));
}

#[test]
fn walks_with_crashes() {
    sound(&walk(&leaves(Options::one_crash(8)), 3, 100));
    sound(&walk(&Options { t: 2, crashes: 2, horizon: 40, ..Options::one_crash(8) }, 3, 15));
}

#[test]
fn walks_without_delta() {
    sound(&walk(&leaves(Options::no_delta(10)), 3, 60));
}

// --- a liar in the report step ------------------------------------------------------------------

#[test]
fn a_liar_that_reports_but_then_withholds_is_out_next() {
    let script = [
        ("R5 tells R1: P5((0,0,0),2)", "R4 tells R2: [Restarted((0,0,0),R4)"),
        ("", "R5 withholds from R1"),
        ("", "R5 withholds from R2"),
        ("", "R5 withholds from R3"),
    ];
    let told = told(&liars(2), &script, &["blamed", "opened"]);
    assert!(told.trace.contains("R1 takes the call (0,0,2) of {R1,R2,R3,R4,R5} without {R4,R5}"));
}

/// The liar R5 signs P5(h3), shows it to nobody, and reports the vector with it; R4 says that it
/// restarted, so that there is a call.
fn hides_and_reports() -> Vec<(&'static str, &'static str)> {
    vec![
        ("R2 commits V(h1)", "R5 withholds from R1"),
        ("", "R5 withholds from R2"),
        ("", "R5 withholds from R3"),
        ("R4 tells R3: P4((0,0,0),3)", "R4 tells R2: [Restarted((0,0,0),R4)"),
        ("takes the call (0,0,1)", HIDDEN),
    ]
}

const HIDDEN: &str =
    "R5 tells R1: Report5 for (0,0,1) of {R1,R2,R3,R4,R5} without {R4}: entered (0,0,0), h3";

/// The same, and R2 and R3 get its Report from R1.
fn hides_and_reports_to_one() -> Vec<(&'static str, &'static str)> {
    let mut script = hides_and_reports();
    script.splice(0..0, [("", "R5 reports nothing to R2"), ("", "R5 reports nothing to R3")]);
    script
}

#[test]
fn a_liar_that_reports_what_it_shows_nobody_is_out_next() {
    let options = Options { deviations: 12, ..liars(2) };
    let script = hides_and_reports_to_one();
    let told = told(&options, &script, &["blamed", "opened"]);
    assert!(told.trace.contains("R1 takes the call (0,0,2) of {R1,R2,R3,R4,R5} without {R4,R5}"));
    assert!(!told.counts.contains_key("stalled"), "{}", told.trace);
}

#[test]
fn a_report_that_names_what_nobody_shows_and_another_one_for_others_convict() {
    let told = told(&liars(2), &hides_and_reports(), &["proven", "opened"]);
    assert!(told.trace.contains("R1 takes the call (0,0,2) of {R1,R2,R3,R4,R5} without {R4,R5}"));
    assert!(!told.counts.contains_key("blamed"), "{}", told.trace);
}

#[test]
fn two_reports_shown_to_two_replicas_convict_their_signer() {
    let other = "R5 tells R1: Report5 for (0,0,1) of {R1,R2,R3,R4,R5} without {R4}: \
                 entered (0,0,0), h0";
    let script = [
        ("R5 tells R1: P5((0,0,0),2)", "R4 tells R2: [Restarted((0,0,0),R4)"),
        ("R2 takes the call (0,0,1)", other),
    ];
    told(&liars(2), &script, &["proven", "opened"]);
}

/// R1 leaves, and is shown another Report of R5 than the members are. It goes on from theirs.
#[test]
fn a_follower_goes_on_from_the_report_that_the_members_chose() {
    let script = [
        ("R2 commits V(h1)", "R1 asks to leave"),
        (
            "R1 takes the call (1,0,0)",
            "R5 tells R1: Report5 for (1,0,0) of {R2,R3,R4,R5} without {}: entered (0,0,0), h0",
        ),
    ];
    let options = Options { deviations: 12, ..leaves(liars(2)) };
    told(&options, &script, &["proven", "opened"]);
}

#[test]
fn the_base_may_name_a_third_proposal_of_a_liar() {
    let script = [
        ("R3 tells R1: P3((0,0,0),1)", "R3 tells R1: P3((0,0,0),2) now 21"),
        ("R2 commits V(h1)", "R3 tells R1: P3((0,0,0),2) now 20 with 2"),
    ];
    told(&liars(1), &script, &["equivocation", "proven", "opened"]);
}

#[test]
fn reports_for_an_invented_call_stop_nobody() {
    let script = [
        ("R2 commits V(h1)", "R3 tells R1: Report3 for (0,0,1) of {R1,R2,R3} without {R2}"),
        ("", "R3 tells R2: Report3 for (0,0,1) of {R1,R2,R3} without {R1}"),
    ];
    let told = told(&liars(1), &script, &["committed"]);
    assert!(!told.counts.contains_key("called"), "{}", told.trace);
}

#[test]
fn a_liar_cannot_call_a_root_stalled_alone() {
    let script = [("", "R3 tells R1: [Stalled(0,0)"), ("", "R3 tells R2: [Stalled(0,0)")];
    let told = told(&liars(1), &script, &["committed"]);
    assert!(!told.counts.contains_key("called"), "{}", told.trace);
}

// --- blames -------------------------------------------------------------------------------------

#[test]
fn a_proposal_that_comes_late_to_one_accuses_nobody_good() {
    let script = [
        ("", "R3 withholds from R1"),
        ("", "R3 withholds from R2"),
        ("R1: Blamed", "R3 tells R2: P3((0,0,0),1) now 10"),
        ("", "R3 tells R1: [Blame((0,0,0),Round(h1),R2) by R3]"),
        ("", "R3 tells R2: [Blame((0,0,0),Round(h1),R1) by R3]"),
    ];
    told(&liars(1), &script, &["blamed", "waiting"]);
}

#[test]
fn a_restart_that_a_liar_tells_to_one_reaches_all() {
    let script = [("R2 commits V(h1)", "R3 tells R1: [Restarted"), ("", "R1 to R2 becomes slow")];
    let told = told(&liars(1), &script, &["opened"]);
    assert!(told.trace.contains("R2 takes the call (0,0,1)"), "{}", told.trace);
}

// --- status changes -----------------------------------------------------------------------------

#[test]
fn nobody_enters_with_a_proven_liar_when_that_leaves_no_call() {
    let report = "R3 tells R2: Report3 for (0,1,0) of {R1,R2,R3} without {}: entered (0,0,0), ";
    let (one, other) = (format!("{report}h3"), format!("{report}h0"));
    let script = [
        ("R2 commits V(h1)", "R2 asks to leave"),
        ("R3 tells R1: P3((0,0,0),4)", &one[..]),
        ("R1 takes the call (1,0,0)", &other[..]),
    ];
    let told = told(&leaves(liars(1)), &script, &["proven", "stalled"]);
    assert!(told.trace.contains("R1 takes the call (1,1,1) of {R1,R2,R3} without {R3}"));
    assert!(!told.trace.contains("members: {R1,R3}"), "{}", told.trace);
}

#[test]
fn a_cut_counts_that_shows_itself_after_the_next_epoch_was_entered() {
    let script =
        [("", "R1 asks to leave"), ("R2 commits V(h1)", "R3 tells R1: [Restarted((0,0,0),R3)]")];
    let told = told(&leaves(liars(1)), &script, &["opened"]);
    assert!(told.trace.contains("R2 takes the call (1,0,0)"), "{}", told.trace);
}

#[test]
fn two_leaves_at_once_leave_enough() {
    let script = [("", "R1 asks to leave"), ("R1 asks to leave", "R2 asks to leave")];
    told(&leaves(Options::one_crash(9)), &script, &["opened"]);
}

#[test]
fn a_crash_in_the_report_step_of_a_status_call() {
    let script = [("", "R3 asks to leave"), ("R1 takes the call (1,0,0)", "R1 crashes")];
    told(&leaves(Options::one_crash(9)), &script, &["blamed", "opened"]);
}

// --- crashes ------------------------------------------------------------------------------------

#[test]
fn who_crashes_is_out_and_comes_back() {
    let script = [("", "R3 crashes"), ("Entered", "R3 starts again")];
    let told = told(&leaves(Options::one_crash(9)), &script, &["installed", "joining"]);
    assert!(told.trace.contains("of (1,0,0) with {R1,R2,R3}"), "{}", told.trace);
}

#[test]
fn a_crash_between_promise_and_report() {
    let script = [
        ("", "R2's disk becomes slow"),
        ("", "R3 asks to leave"),
        ("R2 takes the call (1,0,0)", "R2 crashes"),
        ("R2 crashes", "R2 starts again"),
    ];
    told(&leaves(Options::one_crash(9)), &script, &["restarted", "opened"]);
}

#[test]
fn a_crash_after_the_own_report() {
    let script = [
        ("", "R3 asks to leave"),
        ("Report2 for (1,0,0)", "R2 crashes"),
        ("R2 crashes", "R2 starts again"),
    ];
    told(&leaves(Options::one_crash(9)), &script, &["restarted", "opened"]);
}

#[test]
fn a_restart_of_one_while_another_is_out() {
    let script =
        [("", "R1 asks to leave"), ("Entered", "R2 crashes"), ("R2 crashes", "R2 starts again")];
    told(&leaves(Options::one_crash(9)), &script, &["restarted", "stalled", "opened"]);
}

// --- Δ does not hold ----------------------------------------------------------------------------

#[test]
fn who_was_cut_off_is_out_and_comes_back() {
    let script = [
        ("", "R1 to R3 becomes slow"),
        ("", "R2 to R3 becomes slow"),
        ("takes the call", "R1 to R3 becomes fast"),
        ("Entered", "R2 to R3 becomes fast"),
    ];
    let options = Options { horizon: 60, ..Options::no_delta(9) };
    told(&options, &script, &["blamed", "opened", "joining"]);
}

#[test]
fn all_links_stop_one_way_and_a_reset_gets_everybody_going() {
    let script = [
        ("R2 commits V(h1)", "R1 to R2 becomes slow"),
        ("", "R2 to R3 becomes slow"),
        ("", "R3 to R1 becomes slow"),
        ("Stalled", "R1 to R2 becomes fast"),
        ("", "R2 to R3 becomes fast"),
        ("", "R3 to R1 becomes fast"),
    ];
    let options = Options { horizon: 60, ..Options::no_delta(9) };
    told(&options, &script, &["blamed", "stalled", "opened"]);
}

// --- what is planted is found -------------------------------------------------------------------

#[cfg(feature = "plant")]
#[test]
fn walks_find_what_is_planted() {
    use quorate::types::plant::plant;
    let cases: [(&str, Options); 5] = [
        ("e1-blame-early", Options::one_liar(8)),
        ("e2-t-blames", Options::one_liar(8)),
        ("e4-no-freeze", Options::one_liar(8)),
        ("e5-report-less", Options::one_liar(8)),
        ("r3-commit-early", leaves(Options::one_crash(8))),
    ];
    for (name, options) in cases {
        plant(Some(name));
        let walked = walk(&options, 1, 400);
        plant(None);
        assert!(walked.found.is_some(), "{name} is not noticed in {} walks", walked.walks);
    }
}

/// What is planted breaks a promise, or costs a reset that the story does not have otherwise.
#[cfg(feature = "plant")]
#[test]
fn stories_find_what_is_planted() {
    use quorate::types::plant::plant;
    let options = Options { deviations: 12, ..liars(2) };
    let cases = [
        ("e2-held-is-shown", hides_and_reports_to_one()),
        ("e6-other-reports-unasked", hides_and_reports()),
    ];
    for (name, script) in cases {
        plant(Some(name));
        let told = story(&options, &script);
        plant(None);
        let told = told.unwrap_or_else(|why| panic!("{name}: {why}"));
        let noticed = told.found.is_some() || told.counts.contains_key("stalled");
        assert!(noticed, "{name} is not noticed:\n{}", told.trace);
    }
}
