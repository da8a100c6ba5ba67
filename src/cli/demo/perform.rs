//! One demonstration on a stage that is set: the votes, the work, the story, the verdict.

use super::check::{self, Findings};
use super::model::Op;
use super::output;
use super::show::{self, Ink, Scene};
use super::stage::{Stage, lies};
use super::story::{self, Story, What};
use super::trick::{Expect, Trick};
use super::workload::{self, Entry, Failed};
use crate::cli::ask;
use crate::client::{Client, ClientOptions, ReplicaStats};
use crate::config::Cluster;
use crate::files::read_secret_key;
use crate::replica::Status;
use crate::types::ReplicaId;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Nothing is lost on loopback; a call that takes so long will never end.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Single requests that are made until the liars answer in time to be seen in a vote.
const SHOWCASES: usize = 100;
/// Votes that are shown.
const VOTES: usize = 3;

/// What is to be shown.
pub(super) struct Performance {
    pub(super) trick: Trick,
    pub(super) requests: u32,
    /// How to print what happens; nothing is printed without.
    pub(super) ink: Option<Ink>,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Outcome {
    /// What is wrong; empty if all is well.
    pub(super) problems: Vec<String>,
    pub(super) story: Story,
    /// The longest time without an answer while the clients worked.
    pub(super) still: Duration,
    /// Wrong outputs that were accepted.
    pub(super) wrong: usize,
}

/// What the clients got.
#[derive(Default)]
struct Work {
    entries: Vec<Entry>,
    failed: Vec<Failed>,
    /// Those that were made at full speed.
    timed: std::ops::Range<usize>,
    took: Duration,
    still: Duration,
}

impl Performance {
    /// Shows some votes, runs the workload, checks and reports.
    ///
    /// # Errors
    /// If the clients cannot start, or a process cannot be signalled or started.
    pub(super) async fn run(&self, stage: &mut Stage) -> anyhow::Result<Outcome> {
        let clients = connect(stage)?;
        let mut work = Work::default();
        if self.has_votes() {
            (work.entries, work.failed) = self.showcase(&clients[0], stage.bad().len()).await;
        }
        if work.failed.is_empty() && self.has_votes() {
            self.print(|ink| votes(self.scene(stage), &work.entries, ink))?;
        }
        let mut story = Story::default();
        if work.failed.is_empty()
            && let Some(id) = self.work(stage, &clients, &mut story, &mut work).await?
        {
            let problems = vec![format!("{id} ended before its time")];
            return Ok(Outcome { problems, ..Outcome::default() });
        }
        // What is there in the end must be what the operations made.
        if work.failed.is_empty() {
            match workload::ask(&clients[0], 0, vec![Op::Scan(String::new(), 10_000)]).await {
                Ok(entry) => work.entries.push(entry),
                Err(without) => work.failed.push(without),
            }
        }
        let counts = counts(&clients).await;
        for client in &clients {
            client.close().await;
        }
        let figures = self.figures(&work);
        let findings = check::check(&mut work.entries);
        self.print(|ink| self.summary(stage, &work, &figures, &findings, &counts, ink))?;
        self.print(|ink| self.tale(stage, &story, work.still, ink))?;
        let mut problems = findings.told.clone();
        problems.extend(work.failed.iter().map(unanswered));
        problems.extend(stage.ended().map(|id| format!("{id} ended before its time")));
        problems.extend(dissenters(&stage.cluster, &counts));
        problems.extend(self.unseen(stage, &story, &counts).await);
        if problems.is_empty() {
            let verdict = "Nobody was fooled: every accepted output was right.";
            self.print(|ink| format!("{}\n", ink.good(verdict)))?;
        }
        Ok(Outcome { problems, story, still: work.still, wrong: findings.wrong_outputs })
    }

    fn print(&self, text: impl FnOnce(Ink) -> String) -> std::io::Result<()> {
        self.ink.map_or(Ok(()), |ink| output::print(&text(ink)))
    }

    fn scene<'a>(&self, stage: &'a Stage) -> Scene<'a> {
        Scene { cluster: &stage.cluster, trick: self.trick }
    }

    // Only lies about replies show in votes.
    fn has_votes(&self) -> bool {
        matches!(self.trick.expect(), Expect::Dissent | Expect::Silence)
    }

    /// Requests one at a time, until there are votes to show. A vote ends with the answer that
    /// makes the majority; what comes later is not in it, so the liars must have been quick.
    async fn showcase(&self, client: &Client, liars: usize) -> (Vec<Entry>, Vec<Failed>) {
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
            let enough = telling >= VOTES || self.trick.expect() != Expect::Dissent;
            if enough && entries.len() >= VOTES {
                break;
            }
        }
        (entries, Vec::new())
    }

    /// The clients work while the bad ones do what they do; gives who ended against the script.
    async fn work(
        &self,
        stage: &mut Stage,
        clients: &[Client],
        story: &mut Story,
        work: &mut Work,
    ) -> anyhow::Result<Option<ReplicaId>> {
        let bar = match self.ink {
            Some(_) => progress(self.requests),
            None => ProgressBar::hidden(),
        };
        let begun = Instant::now();
        let total = usize::try_from(self.requests)?;
        let over = Arc::new(AtomicBool::new(false));
        let (mut accepted, without) = tokio::select! {
            done = workload::run(clients, total, &over, &bar) => done,
            ended = story::direct(stage, self.trick, story, &over) => {
                bar.finish_and_clear();
                return ended.map(Some);
            }
        };
        bar.finish_and_clear();
        work.took = begun.elapsed();
        accepted.sort_by_key(|e| e.completed);
        work.still = longest_gap(begun, &accepted);
        work.timed = work.entries.len()..work.entries.len() + accepted.len();
        work.entries.extend(accepted);
        work.failed.extend(without);
        Ok(None)
    }

    fn figures(&self, work: &Work) -> String {
        let timed = &work.entries[work.timed.clone()];
        let rate = timed.len() as f64 / work.took.as_secs_f64().max(f64::EPSILON);
        // While a story goes on the clients take their time.
        let throughput = match self.trick.expect() {
            Expect::Away | Expect::Excluded | Expect::Expelled => String::new(),
            Expect::Dissent | Expect::Silence | Expect::Noticed(_) | Expect::Nothing => {
                format!("  throughput               {rate:.0} requests/s\n")
            }
        };
        format!("{throughput}  latency                  {}\n", show::latency(timed))
    }

    fn summary(
        &self,
        stage: &Stage,
        work: &Work,
        figures: &str,
        findings: &Findings,
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
            work.entries.len(),
            paint(&wrong.to_string(), wrong == 0),
            paint(&order, findings.disorder == 0),
            show::replicas(self.scene(stage), counts, ink),
        )
    }

    fn tale(&self, stage: &Stage, story: &Story, still: Duration, ink: Ink) -> String {
        if story.told.is_empty() {
            return String::new();
        }
        let mut text = format!("{}\n{}", ink.bold("What happened"), show::story(story, self.trick));
        let still = show::milliseconds(still);
        text.push_str(&format!("    the longest time without any answer was {still}\n"));
        let good = |id: &ReplicaId| !lies(&stage.cluster, *id);
        for name in proofs(stage) {
            text.push_str(&format!("    R1 keeps a proof for anybody who has the keys: {name}\n"));
        }
        let out = |t: &&story::Told| good(&t.replica) && matches!(t.what, What::Out { .. });
        for told in story.told.iter().filter(out) {
            let id = told.replica;
            text.push_str(&format!("    {id} is good: this machine was slower than delta\n"));
        }
        text + "\n"
    }

    /// Tricks that did not show: then nothing was demonstrated.
    async fn unseen(&self, stage: &Stage, story: &Story, counts: &[ReplicaStats]) -> Vec<String> {
        let first = match self.trick.expect() {
            Expect::Noticed(_) => ask::status(stage.cluster.replicas[0].admin).await.ok(),
            _ => None,
        };
        let noticed = |names: &[&str]| {
            let count = |s: &Status| names.iter().any(|n| s.counters.get(*n) > Some(&0));
            first.as_ref().is_some_and(count)
        };
        let mut problems = Vec::new();
        for id in stage.bad() {
            let (count, out) = (&counts[id.index()], story.out(id));
            let (seen, should) = match self.trick.expect() {
                Expect::Dissent => (count.dissent > 0, "have lied, and nobody noticed it"),
                Expect::Silence => (count.replies == 0, "have been silent, and was not"),
                Expect::Expelled => (
                    out.is_some_and(|(why, _)| why == crate::replica::Why::Lied)
                        && story.back(id).is_none()
                        && !proofs(stage).is_empty(),
                    "have been expelled for good with a proof",
                ),
                Expect::Excluded => (out.is_some(), "have been out"),
                Expect::Away => {
                    (out.is_some() && story.back(id).is_some(), "have been out, and back again")
                }
                Expect::Noticed(names) => (noticed(names), "have been noticed by R1"),
                Expect::Nothing => (true, ""),
            };
            if !seen {
                problems.push(format!("{id} should {should}"));
            }
        }
        problems
    }
}

/// The proofs that the first replica keeps, by name.
fn proofs(stage: &Stage) -> Vec<String> {
    let first = stage.cluster.replicas[0].id;
    let Ok(entries) = std::fs::read_dir(stage.data(first).join("evidence")) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|n| n.ends_with(".proof")).collect();
    names.sort_unstable();
    names
}

fn longest_gap(begun: Instant, by_completion: &[Entry]) -> Duration {
    let ends = by_completion.iter().map(|e| e.completed);
    let starts = std::iter::once(begun).chain(ends.clone());
    let gaps = starts.zip(ends).map(|(from, to)| to.saturating_duration_since(from));
    gaps.max().unwrap_or_default()
}

fn connect(stage: &Stage) -> anyhow::Result<Vec<Client>> {
    let one = |key| {
        // Everything is ordered, so that the whole order can be checked in the end.
        let ordered = true;
        let options = ClientOptions { timeout: TIMEOUT, ordered, ..ClientOptions::default() };
        Ok(Client::connect(&stage.cluster, read_secret_key(key)?, options)?)
    };
    stage.client_keys.iter().map(|key| one(key)).collect()
}

fn dissent(entry: &Entry) -> usize {
    entry.answer.explanation.dissenting().iter().count()
}

fn votes(scene: Scene<'_>, entries: &[Entry], ink: Ink) -> String {
    // Those in which the most lies were seen, in the order in which they were asked.
    let mut chosen: Vec<usize> = (0..entries.len()).collect();
    chosen.sort_by_key(|i| std::cmp::Reverse(dissent(&entries[*i])));
    chosen.truncate(VOTES);
    chosen.sort_unstable();
    let needed = scene.cluster.ensemble.majority();
    let title = format!("A few votes; {needed} equal answers are accepted at once");
    let votes = chosen.into_iter().map(|i| show::vote(scene, &entries[i], ink));
    format!("{}\n{}\n", ink.bold(&title), votes.collect::<Vec<_>>().join("\n"))
}

fn progress(requests: u32) -> ProgressBar {
    let style = ProgressStyle::with_template("  {bar:40} {pos}/{len} requests, {per_sec}")
        .expect("the template is well formed");
    // Draws on standard error, and only on a terminal.
    ProgressBar::new(u64::from(requests)).with_style(style)
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

/// Good replicas that differed from what was accepted.
fn dissenters(cluster: &Cluster, counts: &[ReplicaStats]) -> Vec<String> {
    let all = cluster.replicas.iter().zip(counts);
    let good = all.filter(|(r, c)| !lies(cluster, r.id) && c.dissent > 0);
    good.map(|(r, c)| format!("{} differed {} times, and is no liar", r.id, c.dissent)).collect()
}
