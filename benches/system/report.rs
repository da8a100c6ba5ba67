//! A section of the document: what was measured, against which goal.

use crate::load::Outcome;
use crate::plot::Plot;
use crate::stats::{Spread, figure, spread};

/// What a section has found out.
pub struct Section {
    /// What was run, in a sentence or two.
    pub what: String,
    /// Tables and sentences, in order.
    pub parts: Vec<String>,
    /// What was to be reached.
    pub goals: Vec<Goal>,
    /// Files' names without their ending, and what is in them.
    pub plots: Vec<(&'static str, Plot)>,
}

impl Section {
    /// One without results yet.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), parts: Vec::new(), goals: Vec::new(), plots: Vec::new() }
    }

    /// What stands under the heading.
    pub fn to_markdown(&self, plots: &str) -> String {
        let mut parts = vec![self.what.clone()];
        parts.extend(self.parts.iter().cloned());
        if !self.goals.is_empty() {
            let rows: Vec<Vec<String>> = self.goals.iter().map(Goal::row).collect();
            parts.push(table(&["goal", "measured", ""], &rows));
        }
        let image = |(name, plot): &(&str, Plot)| format!("![{}]({plots}/{name}.svg)", plot.title);
        parts.extend(self.plots.iter().map(image));
        parts.join("\n\n")
    }
}

/// Something that is to be reached.
pub struct Goal {
    what: String,
    measured: f64,
    bound: f64,
    unit: &'static str,
    at_most: bool,
}

impl Goal {
    /// The less the better.
    pub fn at_most(what: impl Into<String>, measured: f64, bound: f64, unit: &'static str) -> Self {
        Self { what: what.into(), measured, bound, unit, at_most: true }
    }

    /// The more the better.
    pub fn at_least(
        what: impl Into<String>,
        measured: f64,
        bound: f64,
        unit: &'static str,
    ) -> Self {
        Self { what: what.into(), measured, bound, unit, at_most: false }
    }

    fn verdict(&self) -> String {
        let reached = match self.at_most {
            true => self.measured <= self.bound,
            false => self.measured >= self.bound,
        };
        match (reached, self.measured.is_finite()) {
            (_, false) => "not measured".to_owned(),
            (true, _) => "**reached**".to_owned(),
            (false, _) => {
                let by = 100.0 * (self.measured - self.bound).abs() / self.bound;
                format!("missed by {} %", figure(by))
            }
        }
    }

    fn row(&self) -> Vec<String> {
        let (word, unit) = (if self.at_most { "at most" } else { "at least" }, self.unit);
        let bound = format!("{}: {word} {} {unit}", self.what, figure(self.bound));
        let measured = match self.measured.is_finite() {
            true => format!("{} {unit}", figure(self.measured)),
            false => "–".to_owned(),
        };
        vec![bound.trim_end().to_owned(), measured.trim_end().to_owned(), self.verdict()]
    }
}

/// A table in Markdown.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    let rule = vec!["---".to_owned(); head.len()];
    let all = [line(&head), line(&rule)].into_iter().chain(rows.iter().map(|r| line(r)));
    all.collect::<Vec<_>>().join("\n")
}

/// One way of doing it, and what came of it each time.
pub struct Case {
    /// As in the table.
    pub name: String,
    /// One of each round.
    pub outcomes: Vec<Outcome>,
}

impl Case {
    /// Without outcomes yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), outcomes: Vec::new() }
    }

    /// A figure of all outcomes.
    pub fn spread(&self, of: impl Fn(&Outcome) -> f64) -> Option<Spread> {
        Spread::of(self.outcomes.iter().map(of))
    }

    /// Its median; not a number if there is none.
    pub fn median(&self, of: impl Fn(&Outcome) -> f64) -> f64 {
        self.spread(of).map_or(f64::NAN, |s| s.median)
    }

    /// Its lowest and highest.
    pub fn range(&self, of: impl Fn(&Outcome) -> f64) -> (f64, f64) {
        self.spread(of).map_or((f64::NAN, f64::NAN), |s| (s.low, s.high))
    }
}

/// The usual table of cases.
pub fn table_of(first: &str, cases: &[Case]) -> String {
    let head = [
        first,
        "operations/s",
        "p50, ms",
        "p99, ms",
        "processor time of an operation, all processes, µs",
        "of it: client",
        "each replica",
    ];
    let row = |case: &Case| {
        let figures = [
            case.spread(Outcome::rate),
            case.spread(|o| o.latency("p50")),
            case.spread(|o| o.latency("p99")),
            case.spread(Outcome::cpu),
            case.spread(Outcome::client_cpu),
            case.spread(Outcome::replica_cpu),
        ];
        std::iter::once(case.name.clone()).chain(figures.into_iter().map(spread)).collect()
    };
    table(&head, &cases.iter().map(row).collect::<Vec<Vec<String>>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_says_by_how_much_it_is_missed() {
        let most = |measured| Goal::at_most("time", measured, 16.0, "µs").verdict();
        assert_eq!(most(16.0), "**reached**");
        assert_eq!(most(20.0), "missed by 25.0 %");
        assert_eq!(most(f64::NAN), "not measured");
        let least = |measured| Goal::at_least("share", measured, 50.0, "%").verdict();
        assert_eq!(least(50.0), "**reached**");
        assert_eq!(least(40.0), "missed by 20.0 %");
        let row = Goal::at_most("time", 20.0, 16.0, "µs").row();
        assert_eq!(row, ["time: at most 16.0 µs", "20.0 µs", "missed by 25.0 %"]);
    }

    #[test]
    fn a_table_has_as_many_cells_in_each_line() {
        let table = table(&["a", "b"], &[vec!["1".into(), "2".into()]]);
        assert_eq!(table, "| a | b |\n| --- | --- |\n| 1 | 2 |");
        let of = table_of("how", &[Case::new("none")]);
        let cells: Vec<usize> = of.lines().map(|l| l.matches('|').count()).collect();
        assert_eq!(cells, [8, 8, 8]);
        assert!(of.ends_with("| none | – | – | – | – | – | – |"), "{of}");
    }
}
