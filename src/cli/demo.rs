//! `quorate demo`.

mod all;
mod chain;
mod check;
mod model;
mod perform;
mod show;
mod stage;
mod story;
mod times;
mod trick;
mod workload;

use super::{Failure, Subcommand, USAGE, output};
use crate::config::FaultModel;
use clap::Args;
use perform::{Outcome, Performance};
use show::Ink;
use stage::{Plan, Stage};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use trick::Trick;

/// What is shown if nothing else is asked for.
const WRONG_OUTPUT: &str = "wrong-output";

/// Show it all: start a cluster with liars, use it, check every answer, stop it
///
/// Needs no preparation and leaves nothing behind. Exit code: 0 if every accepted output was
/// right, 1 if not; what went wrong is said, and the logs are kept.
#[derive(Args)]
pub(super) struct Demo {
    /// How many of the 2t + 1 replicas lie; 1 if not given. In the fail-stop model: how many may
    /// stop, for a chain of t + 1; 2 if not given
    #[arg(long)]
    t: Option<u8>,
    /// byzantine, or fail-stop: head, middle and tail of a chain are killed in turn
    #[arg(long, default_value = "byzantine", value_parser = super::init::fault_model)]
    fault_model: FaultModel,
    /// What they do: a lie such as wrong-output, random, equivocate, withhold, selective,
    /// false-blame, forge, slow-drip; or crash, or stop. A wrong name lists all
    #[arg(long, default_value = WRONG_OUTPUT)]
    lie: Trick,
    /// Show each of them in turn, and print a table of what came of it
    #[arg(long, conflicts_with = "lie")]
    all: bool,
    /// Show it so often, each time with a new cluster, and measure how long nothing is answered
    #[arg(long, conflicts_with = "all", value_parser = clap::value_parser!(u16).range(1..=1000))]
    times: Option<u16>,
    /// Print what --times measured as JSON
    #[arg(long, requires = "times")]
    json: bool,
    /// How many requests the clients make together, at least
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// How many clients there are
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=100))]
    clients: u16,
    /// Keep the directory with the cluster file, keys and logs
    #[arg(long)]
    keep: bool,
}

impl Subcommand for Demo {
    fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            // Dropping the run drops the stage, which stops the replicas.
            let play = async {
                if self.fault_model == FaultModel::FailStop {
                    return self.play_chain().await;
                }
                match (self.all, self.times) {
                    (true, _) => all::play(&self).await,
                    (false, Some(times)) => times::play(&self, times).await,
                    (false, None) => self.play().await,
                }
            };
            let code = tokio::select! {
                code = play => return code,
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            };
            Err(Failure { code, message: "interrupted; all replicas are stopped".into() }.into())
        })
    }
}

impl Demo {
    fn plan(&self, trick: Trick) -> Plan {
        Plan { t: self.t(), clients: self.clients, trick, model: self.fault_model }
    }

    fn t(&self) -> u8 {
        self.t.unwrap_or(match self.fault_model {
            FaultModel::Byzantine => 1,
            FaultModel::FailStop => 2,
        })
    }

    async fn play_chain(&self) -> anyhow::Result<ExitCode> {
        if self.all || self.lie.name() != WRONG_OUTPUT {
            let message = "in the fail-stop model nobody lies: leave --lie and --all out; it kills \
                           head, middle and tail by itself";
            return Err(Failure { code: USAGE, message: message.to_owned() }.into());
        }
        chain::play(self).await
    }

    async fn play(&self) -> anyhow::Result<ExitCode> {
        let (n, t) = (2 * usize::from(self.t()) + 1, self.t());
        let verb = match (self.lie, t) {
            (Trick::Lie(_), 1) => "1 lies".to_owned(),
            (Trick::Lie(_), _) => format!("{t} lie"),
            (Trick::Crash | Trick::Stop, 1) => "1 fails".to_owned(),
            (Trick::Crash | Trick::Stop, _) => format!("{t} fail"),
        };
        output::print(&format!(
            "{n} replicas, each a process, of which {verb} ({}); {} clients, {} requests\n\n",
            self.lie, self.clients, self.requests
        ))?;
        let started = Instant::now();
        let mut stage = Stage::set(&self.plan(self.lie)).await?;
        if self.keep {
            stage.keep();
        }
        output::print(&cast(&stage, self.lie, started.elapsed()))?;
        let performance =
            Performance { trick: self.lie, requests: self.requests, ink: Some(Ink::for_stdout()) };
        let problems = performance.run(&mut stage).await?.problems;
        self.conclude(&mut stage, &problems)
    }

    /// Says where the files are, if they are kept; they are if anything is wrong.
    fn conclude(&self, stage: &mut Stage, problems: &[String]) -> anyhow::Result<ExitCode> {
        let directory = stage.directory().display().to_string();
        if !problems.is_empty() {
            stage.keep();
            let told = problems.join("\n  ");
            let message = format!("the demonstration failed:\n  {told}\nlogs: {directory}");
            return Err(Failure { code: 1, message }.into());
        }
        if self.keep {
            output::print(&format!("Cluster file, keys and logs are in {directory}\n"))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Gives a demonstration without a word. Its directory is kept if anything is wrong.
    ///
    /// # Errors
    /// If the cluster cannot be set up, or a process cannot be signalled or started.
    async fn perform_silently(&self, trick: Trick) -> anyhow::Result<(Stage, Outcome)> {
        let mut stage = Stage::set(&self.plan(trick)).await?;
        let performance = Performance { trick, requests: self.requests, ink: None };
        let outcome = performance.run(&mut stage).await?;
        if self.keep || !outcome.problems.is_empty() {
            stage.keep();
        }
        Ok((stage, outcome))
    }
}

fn cast(stage: &Stage, trick: Trick, took: Duration) -> String {
    let mut text = String::new();
    let bad = stage.bad();
    for replica in &stage.cluster.replicas {
        let what = match (bad.contains(&replica.id), trick) {
            (true, Trick::Lie(lie)) => format!("   lies: {}", lie.name()),
            (true, Trick::Crash | Trick::Stop) => format!("   will {trick}"),
            (false, _) => String::new(),
        };
        let (id, pid) = (replica.id, stage.pid(replica.id));
        writeln!(text, "  {id:<4} {:<16} pid {pid}{what}", replica.address, id = id.to_string())
            .expect("a string takes all");
    }
    format!("{text}  all linked after {:.1} s\n\n", took.as_secs_f64())
}
