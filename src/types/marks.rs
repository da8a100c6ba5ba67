//! Marks: how often the code came to a situation that is worth knowing about.
//!
//! A test that never gets into a situation says nothing about it, however green it is. So rare
//! branches of the protocol are marked, and who runs many simulations sees which marks were
//! reached. With the feature `plant` (on in tests only) each thread counts; without it a mark is
//! nothing at all.

use std::collections::BTreeMap;

#[cfg(feature = "plant")]
thread_local! {
    static REACHED: std::cell::RefCell<BTreeMap<&'static str, u64>> =
        const { std::cell::RefCell::new(BTreeMap::new()) };
}

/// Counts that this thread has come to the situation of this name: the rule, then what happened.
#[cfg(feature = "plant")]
pub fn mark(name: &'static str) {
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
    fn marks_are_counted_and_taken_once() {
        take();
        (0..3).for_each(|_| mark("a"));
        mark("b");
        assert_eq!(take(), BTreeMap::from([("a", 3), ("b", 1)]));
        assert!(take().is_empty());
    }
}
