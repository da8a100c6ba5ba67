//! What runs have covered.

use crate::simulator::{Cell, KINDS, Report};
use crate::types::marks::{MARKS, RARE};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Sums over runs.
#[derive(Default)]
pub(super) struct Coverage {
    runs: u64,
    simulated: Duration,
    arrivals: u64,
    executed: u64,
    answered: u64,
    unfinished: u64,
    forked: u64,
    longest: Duration,
    /// Processor time that it took.
    pub(super) cpu: Duration,
    cells: BTreeMap<&'static str, u64>,
    fired: BTreeMap<&'static str, u64>,
    told: BTreeMap<&'static str, u64>,
    events: BTreeMap<&'static str, u64>,
    marks: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// Counts a run that broke no promise.
    pub(super) fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.simulated += report.simulated;
        self.arrivals += report.arrivals;
        self.executed += report.executed as u64;
        self.answered += report.answered;
        self.unfinished += u64::from(!report.finished);
        self.forked += u64::from(report.forked);
        self.longest = self.longest.max(report.longest);
        *self.cells.entry(report.cell.name()).or_default() += 1;
        let sums = [
            (&mut self.fired, &report.fired),
            (&mut self.told, &report.told),
            (&mut self.events, &report.events),
            (&mut self.marks, &report.marks),
        ];
        for (sum, part) in sums {
            for (name, count) in part {
                *sum.entry(name).or_default() += count;
            }
        }
    }

    /// Adds the sums of others.
    pub(super) fn join(&mut self, other: &Coverage) {
        self.runs += other.runs;
        self.simulated += other.simulated;
        self.arrivals += other.arrivals;
        self.executed += other.executed;
        self.answered += other.answered;
        self.unfinished += other.unfinished;
        self.forked += other.forked;
        self.longest = self.longest.max(other.longest);
        self.cpu += other.cpu;
        let sums = [
            (&mut self.cells, &other.cells),
            (&mut self.fired, &other.fired),
            (&mut self.told, &other.told),
            (&mut self.events, &other.events),
            (&mut self.marks, &other.marks),
        ];
        for (sum, part) in sums {
            for (name, count) in part {
                *sum.entry(name).or_default() += count;
            }
        }
    }

    /// Kinds of faults that have never struck and marks that were never reached, but for rare ones.
    /// Marks count only in builds with the feature `plant`.
    pub(super) fn never(&self) -> Vec<&'static str> {
        let kinds = KINDS.iter().filter(|kind| !self.fired.contains_key(*kind));
        let marked = if cfg!(feature = "plant") { &MARKS[..] } else { &[] };
        let known = |mark: &&&str| self.marks.contains_key(**mark) || RARE.contains(*mark);
        let marks = marked.iter().filter(|mark| !known(mark));
        kinds.chain(marks).copied().collect()
    }

    // Simulated hours for each minute of processor time.
    fn rate(&self) -> f64 {
        let minutes = self.cpu.as_secs_f64() / 60.0;
        if minutes > 0.0 { self.simulated.as_secs_f64() / 3600.0 / minutes } else { 0.0 }
    }

    /// How often something of this name has happened: a cell, a fault, a lie, an event or a mark.
    pub(super) fn times(&self, name: &str) -> u64 {
        let all = [&self.cells, &self.fired, &self.told, &self.events, &self.marks];
        all.iter().filter_map(|counts| counts.get(name)).sum()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let hours = self.simulated.as_secs_f64() / 3600.0;
        let mut out = format!(
            "{} seeds, {hours:.3} simulated hours, {} arrivals, {} requests executed, \
             {} calls answered, longest wait {:.3} s\n",
            self.runs,
            self.arrivals,
            self.executed,
            self.answered,
            self.longest.as_secs_f64()
        );
        let cpu = self.cpu.as_secs_f64();
        let _ = writeln!(
            out,
            "{cpu:.1} CPU seconds, {:.2} ms for each seed, {:.1} simulated hours in a CPU minute",
            1000.0 * cpu / self.runs.max(1) as f64,
            self.rate()
        );
        if self.unfinished + self.forked > 0 {
            let (unfinished, forked) = (self.unfinished, self.forked);
            let _ = writeln!(
                out,
                "runs that did not finish where that is not promised: {unfinished}; runs in which \
                 replicas or answers differed where that is not ruled out: {forked}"
            );
        }
        let mut cells = self.cells.clone();
        for cell in Cell::ALL {
            cells.entry(cell.name()).or_default();
        }
        section(&mut out, "runs by what they turned out to be", &cells);
        section(&mut out, "faults that have struck", &with_zeros(&self.fired, &KINDS));
        section(&mut out, "lies that were told", &self.told);
        section(&mut out, "what good replicas reported", &self.events);
        let marks = match cfg!(feature = "plant") {
            true => with_zeros(&self.marks, &MARKS),
            false => BTreeMap::new(),
        };
        section(&mut out, "marks in the code that were reached", &marks);
        out
    }

    /// For programs.
    pub(super) fn json(&self, failure: Option<serde_json::Value>) -> serde_json::Value {
        serde_json::json!({
            "seeds": self.runs,
            "simulated_seconds": self.simulated.as_secs_f64(),
            "arrivals": self.arrivals,
            "executed": self.executed,
            "answered": self.answered,
            "unfinished": self.unfinished,
            "forked": self.forked,
            "cpu_seconds": self.cpu.as_secs_f64(),
            "hours_per_cpu_minute": self.rate(),
            "longest_wait_seconds": self.longest.as_secs_f64(),
            "cells": self.cells,
            "fired": self.fired,
            "told": self.told,
            "events": self.events,
            "marks": self.marks,
            "failure": failure,
        })
    }
}

// What has not happened is worth as much as what has.
fn with_zeros(
    counts: &BTreeMap<&'static str, u64>,
    all: &[&'static str],
) -> BTreeMap<&'static str, u64> {
    let mut out: BTreeMap<_, _> = all.iter().map(|name| (*name, 0)).collect();
    out.extend(counts);
    out
}

fn section(out: &mut String, title: &str, counts: &BTreeMap<&'static str, u64>) {
    if counts.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}:");
    for (name, count) in counts {
        let _ = writeln!(out, "  {count:>10}  {name}");
    }
}
