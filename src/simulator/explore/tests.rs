//! The explorer itself: it finds what is planted, and nothing else.

use super::*;

#[test]
fn nothing_goes_wrong_in_a_friendly_world() {
    for options in [Options::one_liar(0), Options::one_crash(0), Options::no_delta(0)] {
        let searched = search(&options, 10_000, 1);
        assert!(searched.found.is_none(), "{}", searched.found.unwrap().trace);
        assert!(searched.whole && searched.probes == 1, "{searched:?}");
    }
}

#[test]
fn the_same_state_reached_in_two_ways_is_one_and_time_counts_by_distance() {
    let mut world = World::new(&Options::one_liar(1));
    let start = world.fingerprint();
    assert_eq!(start, World::new(&Options::one_liar(1)).fingerprint());
    let step = world.next().unwrap();
    world.apply(&step).unwrap();
    assert_ne!(start, world.fingerprint());
}

#[test]
fn a_story_that_cannot_be_told_says_where() {
    let script = [("", "R1 crashes"), ("R1 crashes", "R2 crashes")];
    let error = story(&Options::one_crash(2), &script).unwrap_err();
    assert!(error.contains("\"R2 crashes\""), "only one may crash: {error}");
}
