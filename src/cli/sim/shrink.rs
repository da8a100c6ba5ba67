//! Makes a failure smaller: leaves out what is not needed for it, as long as the same promise is
//! broken. Each kind of fault and each client draws from a stream of the seed of its own, so that
//! what stays goes on as it was.

use super::cut::{Cut, Part};
use super::play::Broken;
use crate::simulator::{Fault, Options};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How long it may take, besides how many runs.
const LONGEST: Duration = Duration::from_secs(120);

/// What is left of a failure.
pub(super) struct Shrunk {
    pub(super) cut: Cut,
    pub(super) broken: Broken,
    runs: u32,
    faults: BTreeSet<usize>,
}

struct Search<'a> {
    now: Shrunk,
    tries: u32,
    until: Instant,
    fails: &'a dyn Fn(&Cut) -> Option<Broken>,
}

/// Leaves out what it can within so many runs. `fails` makes one.
pub(super) fn shrink(
    start: &Cut,
    broken: &Broken,
    (whole, plan): (&Options, &[(Duration, Fault)]),
    tries: u32,
    fails: &dyn Fn(&Cut) -> Option<Broken>,
) -> Shrunk {
    let mut options = whole.clone();
    start.apply(&mut options);
    let happens = |n: &usize| options.only_faults.as_ref().is_none_or(|only| only.contains(n));
    let all = (0..plan.len()).filter(happens);
    let now = Shrunk { faults: all.collect(), ..Shrunk::nothing(start.clone(), broken.clone()) };
    let mut search = Search { now, tries, until: Instant::now() + LONGEST, fails };
    loop {
        let before = search.now.cut.clone();
        search.faults();
        for part in Part::all(whole).collect::<Vec<_>>() {
            let cut = search.now.cut.and(part);
            let changes = |cut: &Cut| {
                let mut options = whole.clone();
                cut.apply(&mut options);
                format!("{options:?}")
            };
            // What was not there need not be left out.
            if changes(&cut) != changes(&search.now.cut) {
                search.attempt(cut);
            }
        }
        search.load(&options);
        let mut smaller = whole.clone();
        search.now.cut.apply(&mut smaller);
        options = smaller;
        if search.now.cut == before || search.is_over() {
            return search.now;
        }
    }
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.now.runs >= self.tries || Instant::now() >= self.until
    }

    // Takes a smaller run if it fails the same way.
    fn attempt(&mut self, cut: Cut) -> bool {
        if self.is_over() {
            return false;
        }
        self.now.runs += 1;
        match (self.fails)(&cut) {
            Some(broken) if broken.rule == self.now.broken.rule => {
                (self.now.cut, self.now.broken) = (cut, broken);
                true
            }
            _ => false,
        }
    }

    // Halves, quarters and so on of the faults, down to single ones.
    fn faults(&mut self) {
        let mut size = self.now.faults.len();
        while size > 0 {
            let places: Vec<usize> = self.now.faults.iter().copied().collect();
            for part in places.chunks(size) {
                let mut rest = self.now.faults.clone();
                part.iter().for_each(|n| {
                    rest.remove(n);
                });
                if self.attempt(self.now.cut.with_faults(rest.clone())) {
                    self.now.faults = rest;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    fn load(&mut self, options: &Options) {
        let (mut clients, mut calls) = (options.clients, options.workload.calls);
        while clients > 1 && self.attempt(self.now.cut.with_load(clients - 1, calls)) {
            clients -= 1;
        }
        let mut less = calls / 2;
        while less > 0 && calls > 1 {
            if self.attempt(self.now.cut.with_load(clients, calls - less)) {
                calls -= less;
            }
            less = (less / 2).min(calls - 1);
        }
    }
}

impl Shrunk {
    /// A failure as it was.
    pub(super) fn nothing(cut: Cut, broken: Broken) -> Self {
        Self { cut, broken, runs: 0, faults: BTreeSet::new() }
    }

    /// What goes wrong in what is left, for people.
    pub(super) fn what_is_left(&self, options: &Options, plan: &[(Duration, Fault)]) -> String {
        if self.runs == 0 {
            return String::new();
        }
        let mut out = format!("made smaller in {} runs; what goes wrong in it:\n", self.runs);
        for (place, lie) in &options.liars {
            let _ = writeln!(out, "  R{} lies: {lie:?}", place + 1);
        }
        for lie in &options.lying_clients {
            let _ = writeln!(out, "  a client lies: {lie:?}");
        }
        for number in &self.faults {
            if let Some((at, fault)) = plan.get(*number) {
                let at = at.as_secs_f64();
                let _ = writeln!(out, "  fault {number} at {at:.6} s: {fault:?}");
            }
        }
        out
    }
}
