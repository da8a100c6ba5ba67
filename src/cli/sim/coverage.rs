//! What runs have covered.

use crate::simulator::{Cell, Report};
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
    lies: u64,
    longest: Duration,
    cells: BTreeMap<&'static str, u64>,
    fired: BTreeMap<&'static str, u64>,
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
        self.lies += report.lies;
        self.longest = self.longest.max(report.longest);
        *self.cells.entry(report.cell.name()).or_default() += 1;
        let sums = [
            (&mut self.fired, &report.fired),
            (&mut self.events, &report.events),
            (&mut self.marks, &report.marks),
        ];
        for (sum, part) in sums {
            for (name, count) in part {
                *sum.entry(name).or_default() += count;
            }
        }
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
        section(&mut out, "faults that have struck", &self.fired);
        section(&mut out, "what good replicas reported", &self.events);
        section(&mut out, "marks in the code that were reached", &self.marks);
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
            "lies": self.lies,
            "longest_wait_seconds": self.longest.as_secs_f64(),
            "cells": self.cells,
            "fired": self.fired,
            "events": self.events,
            "marks": self.marks,
            "failure": failure,
        })
    }
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
