//! `quorate sim`.

mod coverage;
mod cut;
mod modes;
#[cfg(feature = "plant")]
mod plants;
mod play;
mod pool;
mod rows;
mod shrink;

use super::{Failure, Subcommand, output};
use crate::simulator::{NodeId, Options, Report};
use crate::types::Durability;
use clap::Args;
use coverage::Coverage;
use cut::Cut;
use modes::{Liars, Mode};
use play::{Broken, play, quiet};
use std::collections::VecDeque;
use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

/// Events before the end of a failed run that are shown.
const SHOWN: usize = 60;

/// Run whole simulated clusters, with faults and liars, and judge what they did
///
/// Everything that happens follows from the seed: the time, the network, the disks, the faults.
/// Exit code: 0 if nothing that is promised was broken, 1 if something was; then the seed, what
/// was broken, what happened before and the command that shows it again are printed.
#[derive(Args)]
pub(super) struct Sim {
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds for each mode and each t; 20 unless --minutes says how long
    #[arg(long, conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Take one seed after the other for so many minutes
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: Option<u64>,
    /// What goes wrong; several take turns
    #[arg(long, value_enum, value_delimiter = ',', default_value = "random")]
    mode: Vec<Mode>,
    /// How many of the 2t + 1 replicas may be bad; several take turns
    #[arg(long, value_delimiter = ',', default_value = "1",
        value_parser = clap::value_parser!(u8).range(1..=15))]
    t: Vec<u8>,
    /// How many replicas lie, a number, t or t+1; more than t shows what is not promised. Each mode
    /// has its own choice
    #[arg(long)]
    liars: Option<Liars>,
    /// Where there is a log, own proposals are in it before they leave (`durability = "strict"`)
    #[arg(long)]
    strict: bool,
    /// How many seeds run at the same time; what each does stays the same
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Go on after a failure, and tell of each in a line
    #[arg(long)]
    keep_going: bool,
    /// How many runs are made at most to make the first failure smaller
    #[arg(long, default_value_t = 400)]
    shrink: u32,
    #[command(flatten)]
    cut: Cut,
    /// Fail if some kind of fault has never struck or some mark in the code was never reached
    #[arg(long)]
    all_struck: bool,
    /// Print how often what each label of docs/testing.md names has happened; with --all-struck
    /// fail if one never has that the modes can bring
    #[arg(long)]
    rows: bool,
    /// Plant one known bug after the other and tell how soon a checker objects to each
    #[cfg(feature = "plant")]
    #[arg(long, conflicts_with_all = ["mode", "t", "liars", "minutes", "keep_going"])]
    plants: bool,
    /// Plant a known bug in all runs, or several with a + between their names
    #[cfg(feature = "plant")]
    #[arg(long, conflicts_with = "plants", value_parser = plants::known)]
    plant: Option<String>,
    /// Run each seed twice and compare everything that happened
    #[arg(long)]
    check_determinism: bool,
    /// Print all that happened before a failure, not the last of it only
    #[arg(long)]
    trace: bool,
    /// Print what was covered as JSON
    #[arg(long)]
    json: bool,
}

/// One run to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    seed: u64,
    mode: Mode,
    t: u8,
}

impl Subcommand for Sim {
    fn run(self) -> anyhow::Result<ExitCode> {
        for t in &self.t {
            let n = 2 * t + 1;
            if self.liars.is_some_and(|liars| liars.count(*t) > n) {
                let message = format!("a cluster of {n} replicas has at most {n} liars");
                return Err(Failure { code: super::USAGE, message }.into());
            }
        }
        // Panics are failures of a seed, and are told with it.
        quiet();
        #[cfg(feature = "plant")]
        plants::plant_in_all(self.plant.clone());
        #[cfg(feature = "plant")]
        if self.plants {
            return plants::hunt(self.seed, self.seeds);
        }
        let covered = self.cover();
        let mut missing = Vec::new();
        if self.all_struck {
            missing = covered.coverage.never();
            missing.extend(self.rows.then(|| rows::never(&covered.coverage)).into_iter().flatten());
        }
        let failed = covered.broken.first().map(|(case, broken)| self.tell(case, broken));
        let bad = failed.is_some() || !missing.is_empty();
        if self.json {
            let failure = covered.broken.first().map(|(case, broken)| {
                let at = broken.at.map(|at| at.as_secs_f64());
                serde_json::json!({ "seed": case.seed, "at_seconds": at, "what": broken.what,
                    "again": self.again(case, &self.cut) })
            });
            let mut json = covered.coverage.json(failure);
            json["failures"] = covered.broken.len().into();
            json["never"] = serde_json::json!(missing);
            output::print_json(&json)?;
            return Ok(ExitCode::from(u8::from(bad)));
        }
        output::print(&covered.coverage.text())?;
        if self.rows {
            output::print(&format!("\n{}", rows::text(&covered.coverage)))?;
        }
        let mut message = String::new();
        if self.keep_going && !covered.broken.is_empty() {
            message = format!("{} runs have failed; the first:\n", covered.broken.len());
        }
        message.extend(failed);
        if !missing.is_empty() {
            message = format!("{message}\nnever struck or reached: {}", missing.join(", "));
        }
        match bad {
            false => Ok(ExitCode::SUCCESS),
            true => Err(Failure { code: 1, message: message.trim_start().to_owned() }.into()),
        }
    }
}

impl Sim {
    /// Runs seeds until there are enough or one has broken a promise.
    fn cover(&self) -> pool::Covered {
        let combinations = (self.mode.len() * self.t.len()) as u64;
        let time = self.minutes.map(|m| Duration::from_secs(60 * m));
        let seeds = self.seeds.unwrap_or(if time.is_some() { u64::MAX } else { 20 });
        let pool = pool::Pool {
            threads: usize::from(self.threads),
            count: seeds.saturating_mul(combinations),
            time,
            keep_going: self.keep_going,
        };
        let tell = |case: &Case, broken: &Broken| {
            if self.keep_going {
                eprintln!("{}: {}", self.again(case, &self.cut), broken.what);
            }
        };
        pool.run(&|number| self.case(number), &|case| self.once(case), &tell)
    }

    /// Case number so and so: modes and sizes take turns.
    fn case(&self, number: u64) -> Case {
        let (modes, sizes) = (self.mode.len() as u64, self.t.len() as u64);
        let place = |n: u64| usize::try_from(n).unwrap_or(0);
        Case {
            seed: self.seed.wrapping_add(number / (modes * sizes)),
            mode: self.mode[place(number % modes)],
            t: self.t[place(number / modes % sizes)],
        }
    }

    fn once(&self, case: &Case) -> Result<Report, Broken> {
        let options = self.options(case, &self.cut);
        let first = play(case.seed, &options, &mut |_, _, _| {})?;
        if self.check_determinism {
            let second = play(case.seed, &options, &mut |_, _, _| {})?;
            let hashes = [&first, &second].map(|r| (r.trace_hash, r.arrivals));
            if hashes[0] != hashes[1] {
                let what = "a second run of the same seed went another way";
                return Err(Broken::of("determinism", what));
            }
        }
        Ok(first)
    }

    fn options(&self, case: &Case, cut: &Cut) -> Options {
        let liars = self.liars.map(|liars| liars.count(case.t));
        let mut options = case.mode.options(case.seed, case.t, liars);
        if self.strict && options.durability == Durability::Reply {
            options.durability = Durability::Strict;
        }
        cut.apply(&mut options);
        options
    }

    /// The failure in full: made smaller first, then run once more, watched this time.
    fn tell(&self, case: &Case, broken: &Broken) -> String {
        let fails = |cut: &Cut| play(case.seed, &self.options(case, cut), &mut |_, _, _| {}).err();
        let whole = self.options(case, &Cut::default());
        let plan = crate::simulator::plan(case.seed, &whole);
        let small = match self.check_determinism {
            true => shrink::Shrunk::nothing(self.cut.clone(), broken.clone()),
            false => shrink::shrink(&self.cut, broken, (&whole, &plan), self.shrink, &fails),
        };
        let mut ring: VecDeque<String> = VecDeque::new();
        let mut watch = |time: u64, node: NodeId, what: &dyn Display| {
            if ring.len() == SHOWN && !self.trace {
                ring.pop_front();
            }
            ring.push_back(format!("  {:>12.6} s  {node}: {what}", time as f64 / 1e9));
        };
        // It ends as it did before.
        let _ = play(case.seed, &self.options(case, &small.cut), &mut watch);
        let broken = &small.broken;
        let at = broken.at.map_or(String::new(), |at| format!(" after {:.6} s", at.as_secs_f64()));
        let events: Vec<String> = ring.into();
        let mut out = format!(
            "seed {}{at}: {}\nwhat was seen before:\n{}\n{}",
            case.seed,
            broken.what,
            events.join("\n"),
            small.what_is_left(&self.options(case, &small.cut), &plan)
        );
        if small.cut != self.cut {
            out = format!("{out}the whole of it: {}\n", self.again(case, &self.cut));
        }
        format!("{out}to see it again: {}", self.again(case, &small.cut))
    }

    /// The command that runs this seed again.
    fn again(&self, case: &Case, cut: &Cut) -> String {
        let liars = self.liars.map_or(String::new(), |liars| format!(" --liars {liars}"));
        let twice = if self.check_determinism { " --check-determinism" } else { "" };
        let strict = if self.strict { " --strict" } else { "" };
        let Case { seed, mode, t } = case;
        let run = format!("quorate sim --seed {seed} --seeds 1 --mode {mode} --t {t}");
        format!("{run}{liars}{strict}{cut}{twice}")
    }
}

#[cfg(test)]
mod tests;
