//! `quorate bench`.
//!
//! | file | what lives there |
//! | --- | --- |
//! | `load.rs`, `preload.rs` | the commands that are sent, and those before |
//! | `workers.rs` | the sessions under load, and what is counted |
//! | `schedule.rs` | the times of the open loop |
//! | `replicas.rs`, `cpu.rs` | what replicas say of themselves, and what processes use |
//! | `report.rs` | the result, for people and for programs |

mod cpu;
mod load;
mod preload;
mod replicas;
mod report;
mod schedule;
mod workers;

use super::{Failure, Subcommand, USAGE, output};
use crate::client::{Client, ClientOptions, Command, CommandKind, Stats};
use crate::config::{Cluster, FaultModel, parse_duration};
use crate::files::{load_cluster, read_secret_key};
use crate::service::kv;
use crate::types::{Assurance, Role};
use crate::wire::RequestBody;
use clap::Args;
use cpu::Cpu;
use indicatif::ProgressBar;
use load::{Load, MAX_KEYS, Mix};
use replicas::{Reading, Watch};
use report::{Report, Settings};
use schedule::{Pacer, Schedule};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use workers::{Open, Shared};

/// The exit code if the cluster cannot be reached.
const UNREACHED: u8 = 3;
/// How long to wait for the links beyond a majority, so that all replicas take part.
const ALL_LINKS: Duration = Duration::from_secs(2);

/// Measure how fast the cluster's kv service answers
///
/// An op is a request. Without --rate the loop is closed: every session keeps as many requests
/// outstanding as it is told, so a slow cluster is asked less, and latency is that of a cluster
/// asked as fast as it answers. With --rate the loop is open: requests are due at even times
/// whatever the cluster does, and latency counts from the time at which a request was due, not
/// from when it could be sent, so waiting behind a stall is part of it (no coordinated omission).
/// CLIENTS times OUTSTANDING requests can be under way; those that were due in the measured time
/// and could not be sent in it are counted as not sent.
///
/// Speed counts the answers within the measured time; latency counts the requests sent (or due)
/// within it, however late they are answered. Failures count from the start of the warm-up.
///
/// Exit code: 0; 1 if a request failed; 2 if the command line is wrong; 3 if the cluster cannot be
/// reached.
#[derive(Args)]
pub(super) struct Bench {
    /// The cluster file; its service must be kv
    #[arg(long)]
    config: PathBuf,
    /// The private key of a client, for all sessions
    #[arg(long)]
    key: PathBuf,
    /// Sessions, each with a socket and links of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    clients: u32,
    /// Requests outstanding at most on each session
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    outstanding: u32,
    /// Bytes of a value
    #[arg(long, default_value_t = 128, value_name = "BYTES")]
    size: u32,
    /// How long to measure
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How long to send before that
    #[arg(long, default_value_t = 1, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(0..=86_400))]
    warmup: u64,
    /// What to send, with weights: put, get, incr, delete. Gets of keys that no put has written
    /// are answered "missing"
    #[arg(long, default_value = "put=1")]
    mix: Mix,
    /// Open loop: so many requests a second over all sessions
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// How many keys the commands are spread over
    #[arg(long, default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1..=MAX_KEYS))]
    keys: u64,
    /// Put every key once before the warm-up: then the state has its full size
    #[arg(long)]
    preload: bool,
    /// Commands in one request
    #[arg(long, default_value_t = 1, value_name = "COMMANDS",
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    commands_per_request: u32,
    /// How many replicas have to say the same: majority or strong
    #[arg(long, value_name = "HOW", value_parser = super::client::assurance)]
    assurance: Option<Assurance>,
    /// Order reads like writes, instead of asking the replicas for what they have executed
    #[arg(long)]
    ordered: bool,
    /// How long a request may take, and getting links
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
    /// Seed of the commands
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Subcommand for Bench {
    fn run(self) -> anyhow::Result<ExitCode> {
        let cluster = load_cluster(&self.config)?;
        let key = read_secret_key(&self.key)?;
        let role = cluster.client_with_key(&key.public()).map(|c| c.role);
        self.check(&cluster, role).map_err(|message| Failure { code: USAGE, message })?;
        let options = ClientOptions {
            timeout: self.timeout,
            pipeline: self.outstanding as usize,
            ordered: self.ordered,
            assurance: self.assurance,
            ..ClientOptions::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut clients = Vec::new();
            for _ in 0..self.clients {
                clients.push(Client::connect(&cluster, key.clone(), options.clone())?);
            }
            for client in &clients {
                self.reach(client).await.map_err(|message| Failure { code: UNREACHED, message })?;
            }
            if self.preload {
                let done = self.preload(&clients, &self.load(), &cluster).await;
                done.map_err(|message| Failure { code: UNREACHED, message })?;
            }
            let watch = Watch::new(&cluster).await;
            let report = self.measure(&clients, &watch).await;
            for client in &clients {
                client.close().await;
            }
            match self.json {
                true => output::print_json(&serde_json::to_value(&report)?)?,
                false => output::print(&report.to_string())?,
            }
            Ok(ExitCode::from(u8::from(report.errors.total > 0)))
        })
    }
}

impl Bench {
    /// What cannot work with this cluster file.
    fn check(&self, cluster: &Cluster, role: Option<Role>) -> Result<(), String> {
        let (limits, quotas) = (&cluster.limits, &cluster.quotas);
        let config = self.config.display();
        if cluster.service.name != "kv" {
            let name = &cluster.service.name;
            return Err(format!("{config} has the service {name}; bench speaks to kv only"));
        }
        if role == Some(Role::Read) && !self.mix.only_reads() {
            let remedy = "use another key, or --mix get=1";
            return Err(format!("in {config} this key has the role read: {remedy}"));
        }
        if self.clients > quotas.links_per_client {
            return Err(format!(
                "--clients {} need as many links of one key at each replica, and [quotas] \
                 links_per_client is {}; use fewer with more --outstanding, raise it in the \
                 cluster file of every replica, or run several at once with a key each",
                self.clients, quotas.links_per_client
            ));
        }
        if self.outstanding > limits.window {
            let (asked, window) = (self.outstanding, limits.window);
            let remedy = "use more --clients with fewer each";
            let limit = format!("[limits] window, {window}");
            return Err(format!("--outstanding {asked} is above {limit}; {remedy}"));
        }
        let total = u64::from(self.clients) * u64::from(self.outstanding);
        let most = quotas.per_client.min(quotas.global);
        if total > most.into() {
            return Err(format!(
                "{total} requests outstanding are more than replicas take of one key, {most}; use \
                 less, or raise [quotas] per_client and global in the cluster file of every replica"
            ));
        }
        if cluster.each_chain().len() > 1 && self.commands_per_request > 1 {
            let commands = self.commands_per_request;
            return Err(format!(
                "--commands-per-request {commands} would put keys of several chains into one \
                 request, which {config} lists; leave it out"
            ));
        }
        self.check_size(limits.max_request, limits.max_commands)
    }

    fn check_size(&self, max_request: u32, max_commands: u32) -> Result<(), String> {
        let size = self.size as usize;
        if size > kv::MAX_VALUE {
            return Err(format!("--size {size} is above the largest value, {}", kv::MAX_VALUE));
        }
        let commands = self.commands_per_request;
        if commands > max_commands {
            let limit = format!("[limits] max_commands, {max_commands}");
            return Err(format!("--commands-per-request {commands} is above {limit}"));
        }
        let key = [0; 9];
        let one = kv::Command::put(&key, &vec![0; size]).encode().len();
        let bytes = (one + RequestBody::COMMAND_OVERHEAD) * commands as usize;
        if bytes > max_request as usize {
            let limit = format!("[limits] max_request, {max_request}");
            return Err(format!("a request of {bytes} bytes is above {limit}"));
        }
        Ok(())
    }

    /// Waits until a session works, and a little for the links that it can do without.
    async fn reach(&self, client: &Client) -> Result<(), String> {
        client.ready(self.timeout).await.map_err(|e| e.to_string())?;
        let deadline = Instant::now() + ALL_LINKS.min(self.timeout);
        while Instant::now() < deadline && client.links().iter().any(|l| !l.up) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let bytes = kv::Command::ping(b"").encode().into();
        let ping = Command { kind: CommandKind::Query, bytes };
        client.call(vec![ping]).await.map(drop).map_err(|e| workers::describe(&e))
    }

    fn load(&self) -> Load {
        let (size, commands) = (self.size as usize, self.commands_per_request as usize);
        Load::new(self.mix.clone(), self.keys, size, commands, self.seed)
    }

    async fn measure(&self, clients: &[Client], watch: &Watch) -> Report {
        let load = self.load();
        let zero = Instant::now();
        let from = zero + Duration::from_secs(self.warmup);
        let until = from + Duration::from_secs(self.seconds);
        let shared = Shared::new(load, from, until);
        let open = self.rate.map(|rate| {
            let permits = Arc::new(Semaphore::new(0));
            Open { schedule: Schedule::new(rate), zero, permits }
        });
        let pacer = open.as_ref().map(|o| Pacer::start(o.schedule, o.zero, o.permits.clone()));
        let mut workers = shared.start(clients, self.outstanding as usize, open.as_ref());
        let bar = ProgressBar::new_spinner();
        let interrupted = show(&bar, &shared, zero, from, until).await;
        let before = Snapshot::take(watch, &shared).await;
        if !interrupted {
            show(&bar, &shared, zero, until, until).await;
        }
        let now = Instant::now();
        let unsent = shared.stop(now, open.as_ref());
        drop(pacer);
        let after = Snapshot::take(watch, &shared).await;
        bar.set_message("waiting for the last answers");
        while workers.join_next().await.is_some() {}
        bar.finish_and_clear();
        let mut stats = Vec::new();
        for client in clients {
            stats.push(client.stats().await);
        }
        let measured = until.min(now).saturating_duration_since(from);
        let not_sent = self.rate.map(|_| unsent);
        let settings = self.settings(watch.fault_model);
        Report::new(settings, measured, not_sent, &shared.tally(), (&before, &after), &stats)
    }

    fn settings(&self, fault_model: FaultModel) -> Settings {
        Settings {
            fault_model,
            clients: self.clients,
            outstanding: self.outstanding,
            value_bytes: self.size,
            mix: self.mix.to_string(),
            keys: self.keys,
            commands_per_request: self.commands_per_request,
            rate: self.rate,
            warmup_seconds: self.warmup,
            seed: self.seed,
        }
    }
}

/// Everything that is compared before and after.
struct Snapshot {
    answers: u64,
    client: Option<Cpu>,
    cpu: Vec<Option<Cpu>>,
    replicas: Vec<Reading>,
}

impl Snapshot {
    /// Times of processes are taken at once, together with the number of answers; what replicas
    /// say comes later, and with its own times.
    async fn take(watch: &Watch, shared: &Shared) -> Self {
        let answers = shared.tally().answers;
        let (client, cpu) = (Cpu::of(std::process::id()), watch.cpu());
        Self { answers, client, cpu, replicas: watch.statuses().await }
    }
}

/// Shows once a second how it goes, on a terminal, until a time. True after Ctrl-C.
async fn show(
    bar: &ProgressBar,
    shared: &Shared,
    zero: Instant,
    to: Instant,
    until: Instant,
) -> bool {
    let (mut last, mut at) = (shared.tally().answers, Instant::now());
    while Instant::now() < to {
        tokio::select! {
            () = tokio::time::sleep_until(to.min(at + Duration::from_secs(1)).into()) => {}
            _ = tokio::signal::ctrl_c() => return true,
        }
        let (tally, now) = (shared.tally(), Instant::now());
        let speed = (tally.answers - last) as f64 / (now - at).as_secs_f64();
        let failed: u64 = tally.errors.values().sum();
        let (passed, all) = (now - zero, until - zero);
        bar.set_message(format!(
            "{:.0} of {:.0} s: {speed:.0} ops/s, {failed} failed",
            passed.as_secs_f64(),
            all.as_secs_f64()
        ));
        bar.tick();
        (last, at) = (tally.answers, now);
    }
    false
}

/// The sums over all sessions of what they count of each replica.
fn sum(stats: &[Stats], index: usize, count: impl Fn(&crate::client::ReplicaStats) -> u64) -> u64 {
    stats.iter().filter_map(|s| s.replicas.get(index)).map(count).sum()
}

#[cfg(test)]
mod tests;
