//! `quorate sim`.

mod coverage;
mod modes;

use super::{Failure, Subcommand, output};
use crate::crypto::Keyed;
use crate::simulator::{NodeId, Options, Report, run_watched};
use clap::Args;
use coverage::Coverage;
use modes::Mode;
use std::collections::VecDeque;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

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
    /// How many seeds; 20 unless --minutes says how long
    #[arg(long, conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Take one seed after the other for so many minutes
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: Option<u64>,
    /// What goes wrong
    #[arg(long, value_enum, default_value_t = Mode::Random)]
    mode: Mode,
    /// How many of the 2t + 1 replicas may be bad
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=15))]
    t: u8,
    /// How many replicas lie; more than t shows what is not promised. Each mode has its own choice
    #[arg(long)]
    liars: Option<u8>,
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

/// A run that broke a promise.
struct Broken {
    seed: u64,
    at: Option<Duration>,
    what: String,
}

impl Subcommand for Sim {
    fn run(self) -> anyhow::Result<ExitCode> {
        let n = 2 * self.t + 1;
        if self.liars.is_some_and(|liars| liars > n) {
            let message = format!("a cluster of {n} replicas has at most {n} liars");
            return Err(Failure { code: super::USAGE, message }.into());
        }
        let (coverage, broken) = self.cover();
        let told = broken.as_ref().map(|broken| self.tell(broken));
        if self.json {
            let failure = broken.as_ref().map(|broken| {
                let at = broken.at.map(|at| at.as_secs_f64());
                let (seed, what) = (broken.seed, &broken.what);
                serde_json::json!({ "seed": seed, "at_seconds": at, "what": what,
                    "again": self.again(seed) })
            });
            output::print_json(&coverage.json(failure))?;
            return Ok(ExitCode::from(u8::from(broken.is_some())));
        }
        output::print(&coverage.text())?;
        match told {
            None => Ok(ExitCode::SUCCESS),
            Some(message) => Err(Failure { code: 1, message }.into()),
        }
    }
}

impl Sim {
    /// Runs seeds until there are enough or one has broken a promise.
    fn cover(&self) -> (Coverage, Option<Broken>) {
        let mut coverage = Coverage::default();
        let end = self.minutes.map(|m| Instant::now() + Duration::from_secs(60 * m));
        let seeds = self.seeds.unwrap_or(if end.is_some() { u64::MAX } else { 20 });
        for seed in (self.seed..=u64::MAX).take(usize::try_from(seeds).unwrap_or(usize::MAX)) {
            if end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
            match self.once(seed) {
                Ok(report) => coverage.add(&report),
                Err(broken) => return (coverage, Some(broken)),
            }
        }
        (coverage, None)
    }

    fn once(&self, seed: u64) -> Result<Report, Broken> {
        let options = self.options(seed);
        let first = play(seed, &options, &mut |_, _, _| {})?;
        if self.check_determinism {
            let second = play(seed, &options, &mut |_, _, _| {})?;
            let hashes = [&first, &second].map(|r| (r.trace_hash, r.arrivals));
            if hashes[0] != hashes[1] {
                let what = "determinism: a second run of the same seed went another way";
                return Err(Broken { seed, at: None, what: what.to_owned() });
            }
        }
        Ok(first)
    }

    fn options(&self, seed: u64) -> Options {
        self.mode.options(seed, self.t, self.liars)
    }

    /// The failure in full: the run is made once more, watched this time.
    fn tell(&self, broken: &Broken) -> String {
        let mut ring: VecDeque<String> = VecDeque::new();
        let mut watch = |time: u64, node: NodeId, what: &dyn Display| {
            if ring.len() == SHOWN && !self.trace {
                ring.pop_front();
            }
            ring.push_back(format!("  {:>12.6} s  {node}: {what}", time as f64 / 1e9));
        };
        // It ends as it did before.
        let _ = play(broken.seed, &self.options(broken.seed), &mut watch);
        let at = broken.at.map_or(String::new(), |at| format!(" after {:.6} s", at.as_secs_f64()));
        let events: Vec<String> = ring.into();
        format!(
            "seed {}{at}: {}\nwhat was seen before:\n{}\nto see it again: {}",
            broken.seed,
            broken.what,
            events.join("\n"),
            self.again(broken.seed)
        )
    }

    /// The command that runs this seed again.
    fn again(&self, seed: u64) -> String {
        let liars = self.liars.map_or(String::new(), |liars| format!(" --liars {liars}"));
        let twice = if self.check_determinism { " --check-determinism" } else { "" };
        let (mode, t) = (self.mode, self.t);
        format!("quorate sim --seed {seed} --seeds 1 --mode {mode} --t {t}{liars}{twice}")
    }
}

/// One run; a panic in it is a failure like any other.
fn play(
    seed: u64,
    options: &Options,
    watch: &mut dyn FnMut(u64, NodeId, &dyn Display),
) -> Result<Report, Broken> {
    let run = AssertUnwindSafe(|| run_watched::<Keyed>(seed, options, watch));
    match catch_unwind(run) {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(failure)) => {
            let what = failure.violation.to_string();
            Err(Broken { seed, at: Some(failure.at), what })
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let what = format!("panic: {}", text.unwrap_or("without words"));
            Err(Broken { seed, at: None, what })
        }
    }
}

#[cfg(test)]
mod tests;
