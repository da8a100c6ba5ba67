//! Marks: how often the code came to a situation that is worth knowing about.
//!
//! A test that never gets into a situation says nothing about it, however green it is. So rare
//! branches of the protocol are marked, and who runs many simulations sees which marks were
//! reached. With the feature `plant` (on in tests only) each thread counts; without it a mark is
//! nothing at all.

use std::collections::BTreeMap;

/// Every mark: the rule, then what happened.
pub const MARKS: [&str; 80] = [
    "C3 a large result went out whole as it was asked for again",
    "E1 a follower blamed for a round",
    "E1 a follower passed on what started a round",
    "E1 a member blamed for a round",
    "E1 a member was blamed as its budget was spent",
    "E1 somebody was blamed for a Report",
    "E2 a Report made Blames count",
    "E2 what a Blame called missing was shown",
    "E3 a call was taken on Reports alone",
    "E3 a cut was seen in what may not be committed",
    "E3 a reset was taken",
    "E3 a status call was taken",
    "E4 a call was promised by one that is not to be a member",
    "E4 a call with more accused was taken",
    "E4 a root was taken only to be called stalled",
    "E4 known accusations left no call",
    "E5 a Report was marked restarted",
    "E5 a third proposal was kept as a Report names it",
    "E5 two Reports of one number were seen",
    "E6 a Report for another L was known",
    "E6 a first choice named another Report",
    "E6 an accusation beyond S kept from entering",
    "E6 another L kept from entering",
    "E6 entering asked for bodies",
    "E6 entering waited for a proposal that a Report names",
    "E6 entering waited for Δ after the own Report",
    "E7 a candidate was proposed again",
    "E7 a dropped candidate got a new id",
    "E7 an opening committed a vector",
    "E8 a root was called stalled",
    "E8 all was said again after patience",
    "F1 a Report did not speak of e*",
    "F1 entering waited for an opening that a Report names",
    "F2 Reports named different vectors of the highest round",
    "F2 the base is a vector",
    "F2 the base is an opening",
    "F3 one is out as it left",
    "F3 one is out as it lied",
    "F3 one is out as it restarted",
    "F3 one is out as silent",
    "M1 a change was accepted",
    "M1 a change was void",
    "M1 one asked to join",
    "M4 a restart was forgiven",
    "M4 a wait was doubled",
    "O1 an opening dropped a candidate",
    "O7 a body came from its client after its request was ordered",
    "O7 a void request was there again",
    "O7 an opening made a request void",
    "O7 a snapshot waited for the opening",
    "O7 execution waited for a body",
    "O7 what had run was made void",
    "O7 too much waited and was passed over",
    "Q1 a query waited for what was chosen",
    "Q1 a query was given up in a change of the epoch",
    "R7 history was asked for",
    "R7 history was gone",
    "R7 rounds were left for later as too much waited",
    "§6 a replica found itself in the minority",
    "§6 a replica has a state again after a quarantine",
    "§6 no t + 1 can agree",
    "§7 a Join from a replaced disk was accepted",
    "§7 a Report from the disk was sent again",
    "§7 a promise from the disk got its Report after a restart",
    "§7 a proposal left once it was durable",
    "§7 a snapshot was taken up",
    "§7 a snapshot was taken up from the disk",
    "§7 a snapshot's bytes were made beside the loop",
    "§7 an empty disk was refused",
    "§7 an opening from the disk waited for its first vector",
    "§7 one that stopped went on in its epoch",
    "§7 the source of a snapshot was put aside",
    "§7 what sources agreed on was not the attested state",
    "§7 what others had not gone on with was given up",
    "§6 a receipt was wanted for too long",
    "§6 a receipt waited for its step",
    "R6 rounds were run for a receipt",
    "§6 a replica gave a false proof for a receipt",
    "§7 it is not known what others had not gone on with",
    "§7 a state of another history took the place of what was executed",
];

/// Those of them that the modes of `quorate sim` do not come to in some hundred runs: they take
/// more than one rare thing at a time, a Leave, a wrong service or a budget, which no mode has, or
/// `--strict`.
pub const RARE: [&str; 27] = [
    "C3 a large result went out whole as it was asked for again",
    "E1 a member was blamed as its budget was spent",
    "E3 a cut was seen in what may not be committed",
    "E4 a root was taken only to be called stalled",
    "E5 two Reports of one number were seen",
    "E6 a Report for another L was known",
    "E6 another L kept from entering",
    "F3 one is out as it left",
    "M1 a change was void",
    "O7 an opening made a request void",
    "O7 what had run was made void",
    "O7 too much waited and was passed over",
    "R7 history was gone",
    "R7 rounds were left for later as too much waited",
    "§6 a replica found itself in the minority",
    "§6 a replica has a state again after a quarantine",
    "§6 no t + 1 can agree",
    "§7 a proposal left once it was durable",
    "§7 one that stopped went on in its epoch",
    "§7 what sources agreed on was not the attested state",
    "§7 what others had not gone on with was given up",
    "§6 a receipt was wanted for too long",
    "§6 a receipt waited for its step",
    "R6 rounds were run for a receipt",
    "§6 a replica gave a false proof for a receipt",
    "§7 it is not known what others had not gone on with",
    "§7 a state of another history took the place of what was executed",
];

#[cfg(feature = "plant")]
thread_local! {
    static REACHED: std::cell::RefCell<BTreeMap<&'static str, u64>> =
        const { std::cell::RefCell::new(BTreeMap::new()) };
}

/// Counts that this thread has come to the situation of this name: the rule, then what happened.
#[cfg(feature = "plant")]
pub fn mark(name: &'static str) {
    debug_assert!(MARKS.contains(&name), "{name} is not listed");
    REACHED.with_borrow_mut(|reached| *reached.entry(name).or_default() += 1);
}

/// Counts nothing, without the feature `plant`.
#[cfg(not(feature = "plant"))]
#[inline(always)]
pub const fn mark(_name: &'static str) {}

/// How often this thread has come to each mark since it was last asked, and starts over.
#[cfg(feature = "plant")]
pub fn take() -> BTreeMap<&'static str, u64> {
    REACHED.with_borrow_mut(std::mem::take)
}

/// Nothing, without the feature `plant`.
#[cfg(not(feature = "plant"))]
pub const fn take() -> BTreeMap<&'static str, u64> {
    BTreeMap::new()
}

#[cfg(all(test, feature = "plant"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_rare_is_a_mark() {
        assert!(RARE.iter().all(|mark| MARKS.contains(mark)));
    }

    #[test]
    fn marks_are_counted_and_taken_once() {
        take();
        let [a, b, ..] = MARKS;
        (0..3).for_each(|_| mark(a));
        mark(b);
        assert_eq!(take(), BTreeMap::from([(a, 3), (b, 1)]));
        assert!(take().is_empty());
    }
}
