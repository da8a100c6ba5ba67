//! `quorate demo`.

mod check;
mod model;
mod show;
mod stage;
mod workload;

use super::{Failure, Subcommand, output};
use crate::adversary::ReplyLie;
use crate::client::{Client, ClientOptions, ReplicaStats};
use crate::config::Cluster;
use crate::files::read_secret_key;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use model::Op;
use show::Ink;
use stage::{Plan, Stage, lies};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use workload::{Entry, Failed};

/// Nothing is lost on loopback; a call that takes so long will never end.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Single requests that are made until the liars answer in time to be seen in a vote.
const SHOWCASES: usize = 100;
/// Votes that are shown.
const VOTES: usize = 3;

/// Show it all: start a cluster with liars, use it, check every answer, stop it
///
/// Needs no preparation and leaves nothing behind. Exit code: 0 if every accepted output was
/// right, 1 if not; what went wrong is said, and the logs are kept.
#[derive(Args)]
pub(super) struct Demo {
    /// How many of the 2t + 1 replicas lie
    #[arg(long, default_value_t = 1)]
    t: u8,
    /// How they lie: wrong-output, corrupt-digest, silent-reply, stale-reply or random
    #[arg(long, default_value = "wrong-output")]
    lie: ReplyLie,
    /// How many requests the clients make together
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
            let code = tokio::select! {
                code = self.play() => return code,
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            };
            Err(Failure { code, message: "interrupted; all replicas are stopped".into() }.into())
        })
    }
}

impl Demo {
    async fn play(self) -> anyhow::Result<ExitCode> {
        let ink = Ink::for_stdout();
        let (n, t) = (2 * usize::from(self.t) + 1, self.t);
        let liars = if t == 1 { "1 lies".to_owned() } else { format!("{t} lie") };
        output::print(&format!(
            "{n} replicas, each a process, of which {liars} ({}); {} clients, {} requests\n\n",
            self.lie.name(),
            self.clients,
            self.requests
        ))?;
        let started = Instant::now();
        let plan = Plan { t: self.t, clients: self.clients, lie: self.lie };
        let mut stage = Stage::set(&plan).await?;
        if self.keep {
            stage.keep();
        }
        output::print(&cast(&stage, self.lie, started.elapsed()))?;
        let problems = self.perform(&mut stage, ink).await?;
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

    /// Shows some votes, runs the workload, checks and reports. Gives what is wrong.
    async fn perform(&self, stage: &mut Stage, ink: Ink) -> anyhow::Result<Vec<String>> {
        let clients = connect(stage)?;
        let liars = stage.cluster.ensemble.t();
        let (mut entries, mut failed) = showcase(&clients[0], self.lie, liars).await;
        if failed.is_empty() {
            output::print(&votes(&stage.cluster, &entries, ink))?;
        }
        let (mut took, mut timed) = (Duration::ZERO, 0..0);
        if failed.is_empty() {
            let bar = progress(self.requests);
            let begun = Instant::now();
            let total = usize::try_from(self.requests)?;
            let (accepted, without) = tokio::select! {
                done = workload::run(&clients, total, &bar) => done,
                id = stage.first_to_end() => {
                    bar.finish_and_clear();
                    return Ok(vec![format!("{id} ended before its time")]);
                }
            };
            took = begun.elapsed();
            bar.finish_and_clear();
            timed = entries.len()..entries.len() + accepted.len();
            entries.extend(accepted);
            failed.extend(without);
        }
        // What is there in the end must be what the operations made.
        if failed.is_empty() {
            match workload::ask(&clients[0], 0, vec![Op::Scan(String::new(), 10_000)]).await {
                Ok(entry) => entries.push(entry),
                Err(without) => failed.push(without),
            }
        }
        let counts = counts(&clients).await;
        for client in &clients {
            client.close().await;
        }
        let figures = figures(&entries[timed.clone()], took);
        let findings = check::check(&mut entries);
        output::print(&self.summary(&stage.cluster, &entries, &figures, &findings, &counts, ink))?;
        let mut problems = findings.told.clone();
        problems.extend(failed.iter().map(unanswered));
        problems.extend(stage.ended().map(|id| format!("{id} ended before its time")));
        problems.extend(blamed(&stage.cluster, &counts));
        problems.extend(self.unseen(&stage.cluster, &counts));
        if problems.is_empty() {
            let verdict = ink.good("Nobody was fooled: every accepted output was right.");
            output::print(&format!("{verdict}\n"))?;
        }
        Ok(problems)
    }

    fn summary(
        &self,
        cluster: &Cluster,
        entries: &[Entry],
        figures: &str,
        findings: &check::Findings,
        counts: &[ReplicaStats],
        ink: Ink,
    ) -> String {
        let wrong = findings.wrong_outputs;
        let paint = |text: &str, fine| if fine { ink.good(text) } else { ink.bad(text) };
        let order = match findings.disorder {
            0 => "no place given twice, one vector a round, none against real time".to_owned(),
            many => format!("{many} breaches"),
        };
        format!(
            "{}\n  accepted                 {} requests\n  wrong outputs accepted   {} (each \
             compared with a sequential model)\n  order                    {}\n{figures}\n{}\n",
            ink.bold("Summary"),
            entries.len(),
            paint(&wrong.to_string(), wrong == 0),
            paint(&order, findings.disorder == 0),
            show::replicas(cluster, counts, ink),
        )
    }

    /// Liars whose lies did not show: then nothing was demonstrated.
    fn unseen(&self, cluster: &Cluster, counts: &[ReplicaStats]) -> Vec<String> {
        let seen = |c: &ReplicaStats| match self.lie {
            ReplyLie::SilentReply => c.replies == 0,
            ReplyLie::WrongOutput
            | ReplyLie::CorruptDigest
            | ReplyLie::StaleReply
            | ReplyLie::Random => c.dissent > 0,
        };
        let all = cluster.replicas.iter().zip(counts);
        let unseen = all.filter(|(r, c)| lies(cluster, r.id) && !seen(c));
        unseen.map(|(r, _)| format!("{} should have lied, and nobody noticed it", r.id)).collect()
    }
}

fn cast(stage: &Stage, lie: ReplyLie, took: Duration) -> String {
    let mut text = String::new();
    for replica in &stage.cluster.replicas {
        let what = match lies(&stage.cluster, replica.id) {
            true => format!("   lies: {}", lie.name()),
            false => String::new(),
        };
        let (id, pid) = (replica.id, stage.pid(replica.id));
        writeln!(text, "  {id:<4} {:<16} pid {pid}{what}", replica.address, id = id.to_string())
            .expect("a string takes all");
    }
    format!("{text}  all linked after {:.1} s\n\n", took.as_secs_f64())
}

fn connect(stage: &Stage) -> anyhow::Result<Vec<Client>> {
    let one = |key| {
        let options = ClientOptions { timeout: TIMEOUT, ..ClientOptions::default() };
        Ok(Client::connect(&stage.cluster, read_secret_key(key)?, options)?)
    };
    stage.client_keys.iter().map(|key| one(key)).collect()
}

/// Requests one at a time, until there are votes to show. A vote ends with the answer that makes
/// the majority; what comes later is not in it, so the liars must have been quick.
async fn showcase(client: &Client, lie: ReplyLie, liars: usize) -> (Vec<Entry>, Vec<Failed>) {
    let (key, value) = ("demo/colour".to_owned(), "blue".to_owned());
    let mut entries = Vec::new();
    for number in 0..SHOWCASES {
        let op = match number % 2 {
            0 => Op::Put(key.clone(), value.clone()),
            _ => Op::Get(key.clone()),
        };
        match workload::ask(client, 0, vec![op]).await {
            Ok(entry) => entries.push(entry),
            Err(failed) => return (entries, vec![failed]),
        }
        let telling = entries.iter().filter(|e| dissent(e) == liars).count();
        let silent = lie == ReplyLie::SilentReply;
        if (telling >= VOTES || silent) && entries.len() >= VOTES {
            break;
        }
    }
    (entries, Vec::new())
}

fn dissent(entry: &Entry) -> usize {
    entry.answer.explanation.dissenting().iter().count()
}

fn votes(cluster: &Cluster, entries: &[Entry], ink: Ink) -> String {
    // Those in which the most lies were seen, in the order in which they were asked.
    let mut chosen: Vec<usize> = (0..entries.len()).collect();
    chosen.sort_by_key(|i| std::cmp::Reverse(dissent(&entries[*i])));
    chosen.truncate(VOTES);
    chosen.sort_unstable();
    let needed = cluster.ensemble.majority();
    let title = format!("A few votes; {needed} equal answers are accepted at once");
    let votes = chosen.into_iter().map(|i| show::vote(cluster, &entries[i], ink));
    format!("{}\n{}\n", ink.bold(&title), votes.collect::<Vec<_>>().join("\n"))
}

fn progress(requests: u32) -> ProgressBar {
    let style = ProgressStyle::with_template("  {bar:40} {pos}/{len} requests, {per_sec}")
        .expect("the template is well formed");
    // Draws on standard error, and only on a terminal.
    ProgressBar::new(u64::from(requests)).with_style(style)
}

fn figures(timed: &[Entry], took: Duration) -> String {
    let rate = timed.len() as f64 / took.as_secs_f64().max(f64::EPSILON);
    format!(
        "  throughput               {rate:.0} requests/s\n  latency                  {}\n",
        show::latency(timed)
    )
}

/// The counters of all clients together.
async fn counts(clients: &[Client]) -> Vec<ReplicaStats> {
    let mut sums: Vec<ReplicaStats> = Vec::new();
    for client in clients {
        let replicas = client.stats().await.replicas;
        sums.resize(replicas.len().max(sums.len()), ReplicaStats::default());
        for (sum, one) in sums.iter_mut().zip(&replicas) {
            sum.replies += one.replies;
            sum.dissent += one.dissent;
        }
    }
    sums
}

fn unanswered(failed: &Failed) -> String {
    let ops: Vec<String> = failed.ops.iter().map(Op::to_string).collect();
    let (ops, client) = (ops.join("; "), failed.client + 1);
    let mut text = format!("`{ops}` of client {client}: {}", failed.error);
    if let Some(explanation) = failed.error.explanation() {
        explanation.to_string().lines().for_each(|l| text.push_str(&format!("\n    {l}")));
    }
    text
}

/// Honest replicas that differed from what was accepted.
fn blamed(cluster: &Cluster, counts: &[ReplicaStats]) -> Vec<String> {
    let all = cluster.replicas.iter().zip(counts);
    let honest = all.filter(|(r, c)| !lies(cluster, r.id) && c.dissent > 0);
    honest.map(|(r, c)| format!("{} differed {} times, and is no liar", r.id, c.dissent)).collect()
}
