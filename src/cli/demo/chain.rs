//! `quorate demo --fault-model fail-stop`: head, middle and tail of a chain are killed in turn
//! while clients work, and every answer is checked.

use super::stage::{Plan, Stage};
use super::times::median;
use super::trick::Trick;
use super::{Demo, output};
use crate::cli::ask;
use crate::client::{Client, ClientOptions};
use crate::config::{Cluster, FaultModel, show_duration};
use crate::files::read_secret_key;
use crate::replica::{ChainRole, ChainStatus};
use crate::service::kv;
use crate::types::ReplicaId;
use anyhow::bail;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// No stop lasts so long; a call that does will never end.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long the chain may take to be whole again.
const WHOLE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// The clients are at work before something is killed, and after it has come back.
const WORK: Duration = Duration::from_millis(700);
/// What a stop may take beside the lease.
const SLACK: Duration = Duration::from_millis(100);

/// What was measured of one role.
struct Stops {
    role: ChainRole,
    stops: Vec<Duration>,
}

/// Shows it, so often as the demonstration asks for.
///
/// # Errors
/// If the cluster cannot be set up, a process cannot be signalled, or anything was wrong.
pub(super) async fn play(demo: &Demo) -> anyhow::Result<ExitCode> {
    let times = demo.times.unwrap_or(1);
    let t = demo.t();
    let (members, n) = (usize::from(t) + 1, 2 * usize::from(t) + 1);
    let roles = match members {
        2 => vec![ChainRole::Head, ChainRole::Tail],
        _ => vec![ChainRole::Head, ChainRole::Middle, ChainRole::Tail],
    };
    let plan = Plan { t, clients: demo.clients, trick: Trick::Crash, model: FaultModel::FailStop };
    let mut stage = Stage::set(&plan).await?;
    if demo.keep {
        stage.keep();
    }
    let lease = stage.cluster.chains.lease;
    if !demo.json {
        output::print(&format!(
            "{n} replicas, each a process: a chain of {members}, the others are spares; all {n} \
             are its master.\nA lease lasts {}. {} clients count up, each its own number, and \
             look at every answer.\n\n  killed        nothing answered for   then\n",
            show_duration(lease),
            demo.clients
        ))?;
    }
    let mut all: Vec<Stops> =
        roles.iter().map(|role| Stops { role: *role, stops: Vec::new() }).collect();
    let load = Load::start(&stage.cluster, &stage.client_keys)?;
    let mut problems = Vec::new();
    for _ in 0..times {
        for of in &mut all {
            match kill(&mut stage, &load, of.role).await {
                Ok(killed) => {
                    of.stops.push(killed.stop);
                    if !demo.json {
                        output::print(&killed.line(of.role))?;
                    }
                }
                Err(why) => problems.push(why.to_string()),
            }
            if !problems.is_empty() {
                break;
            }
        }
    }
    let checked = load.finish().await;
    problems.extend(checked.problems);
    match demo.json {
        true => output::print_json(&as_json(&all, lease, checked.answers, &problems))?,
        false => output::print(&as_text(&all, lease, checked.answers))?,
    }
    demo.conclude(&mut stage, &problems)
}

/// What came of a kill.
struct Killed {
    replica: ReplicaId,
    stop: Duration,
    chain: ChainStatus,
}

impl Killed {
    fn line(&self, role: ChainRole) -> String {
        let members = self.chain.members.iter().map(|m| format!("R{m}")).collect::<Vec<_>>();
        let (name, stop) = (format!("{} ({})", role.name(), self.replica), ms(self.stop));
        let (config, members) = (self.chain.config, members.join(" > "));
        format!("  {name:<13} {stop:<22} configuration {config}: {members}\n")
    }
}

/// Kills the replica of a role, waits until the chain has its length again, and starts the replica
/// anew, as a spare.
async fn kill(stage: &mut Stage, load: &Load, role: ChainRole) -> anyhow::Result<Killed> {
    let length = usize::from(stage.cluster.chains.length);
    all_are_members(stage).await?;
    let before = whole(stage, None, length).await?;
    tokio::time::sleep(WORK).await;
    let place = match role {
        ChainRole::Head => 0,
        ChainRole::Tail => length - 1,
        _ => length / 2,
    };
    let Some(replica) = before.members.get(place).and_then(|m| ReplicaId::new(*m)) else {
        bail!("the chain has no {}", role.name());
    };
    let at = Instant::now();
    stage.fell(replica, Trick::Crash)?;
    let chain = whole(stage, Some(replica), length).await?;
    tokio::time::sleep(WORK).await;
    let stop = load.longest_since(at);
    stage.rise(replica, Trick::Crash)?;
    Ok(Killed { replica, stop, chain })
}

/// Waits until all are members of the master's group. One that was started again is let in after a
/// while; if another one stopped before that, the master could stand still, and the chain with it.
async fn all_are_members(stage: &mut Stage) -> anyhow::Result<()> {
    let deadline = Instant::now() + WHOLE;
    let n = stage.cluster.ensemble.n();
    loop {
        let mut members = 0;
        for entry in &stage.cluster.replicas {
            if let Ok(status) = ask::status(entry.admin).await {
                let is_member = status.members.contains(&entry.id.number());
                members += usize::from(is_member && status.members.len() == n);
            }
        }
        if members == n {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("a replica that was started again was no member of the group after {WHOLE:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until a chain of so many members answers, without one replica.
async fn whole(
    stage: &mut Stage,
    without: Option<ReplicaId>,
    length: usize,
) -> anyhow::Result<ChainStatus> {
    let deadline = Instant::now() + WHOLE;
    loop {
        if let Some(id) = stage.ended() {
            bail!("{id} has ended although nobody asked it to");
        }
        let good = |c: &ChainStatus| {
            let has = |r: ReplicaId| c.members.contains(&r.number());
            c.members.len() == length && c.open && !without.is_some_and(has)
        };
        for entry in stage.cluster.replicas.iter().filter(|r| Some(r.id) != without) {
            if let Ok(status) = ask::status(entry.admin).await
                && let Some(chain) = status.chain.filter(good)
            {
                return Ok(chain);
            }
        }
        if Instant::now() > deadline {
            bail!("the chain was not whole again after {WHOLE:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Clients at work.
struct Load {
    stop: watch::Sender<bool>,
    workers: Vec<tokio::task::JoinHandle<Result<u64, String>>>,
    answers: Arc<Mutex<Vec<Instant>>>,
}

struct Checked {
    answers: u64,
    problems: Vec<String>,
}

impl Load {
    fn start(cluster: &Cluster, keys: &[PathBuf]) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let answers = Arc::new(Mutex::new(Vec::new()));
        let mut workers = Vec::new();
        for (number, key) in keys.iter().enumerate() {
            let options = ClientOptions { timeout: TIMEOUT, ..ClientOptions::default() };
            let client = Client::connect(cluster, read_secret_key(key)?, options)?;
            let name = format!("count-{number}");
            workers.push(tokio::spawn(count(client, name, stopped.clone(), answers.clone())));
        }
        Ok(Self { stop, workers, answers })
    }

    /// The longest time without an answer that had not ended before this instant.
    fn longest_since(&self, at: Instant) -> Duration {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        longest(&answers, at)
    }

    async fn finish(self) -> Checked {
        // Who has ended already no longer listens.
        let _ = self.stop.send(true);
        let mut checked = Checked { answers: 0, problems: Vec::new() };
        for worker in self.workers {
            match worker.await {
                Ok(Ok(count)) => checked.answers += count,
                Ok(Err(why)) => checked.problems.push(why),
                Err(why) => checked.problems.push(why.to_string()),
            }
        }
        checked
    }
}

fn longest(answers: &[Instant], at: Instant) -> Duration {
    let first = answers.partition_point(|answer| *answer <= at).saturating_sub(1);
    let gaps = answers[first.min(answers.len())..].windows(2).map(|w| w[1] - w[0]);
    gaps.max().unwrap_or_default()
}

/// Counts up until it is told to stop. Nobody else writes this number, so every answer must be one
/// more than the one before: what ran twice or was lost shows.
async fn count(
    client: Client,
    name: String,
    stopped: watch::Receiver<bool>,
    answers: Arc<Mutex<Vec<Instant>>>,
) -> Result<u64, String> {
    let command = kv::Command::incr(&name, 1).encode();
    let mut done = 0;
    while !*stopped.borrow() {
        let output = client.execute(command.clone()).await.map_err(|e| format!("{name}: {e}"))?;
        done += 1;
        answers.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        let expected = kv::Output::Number(i64::try_from(done).unwrap_or(i64::MAX));
        let given = kv::Output::parse(&output).map_err(|e| format!("{name}: {e}"))?;
        if given != expected {
            return Err(format!("{name}: the answer was {given:?} and not {expected:?}"));
        }
    }
    let read = client.query(kv::Command::get(&name).encode()).await;
    let read = read.map_err(|e| format!("{name}: {e}"))?;
    client.close().await;
    match kv::Output::parse(&read) {
        Ok(kv::Output::Value(value)) if *value == *done.to_string().as_bytes() => Ok(done),
        _ if done == 0 => Ok(0),
        other => Err(format!("{name}: it reads {other:?} after {done} answers")),
    }
}

fn ms(d: Duration) -> String {
    format!("{:.0} ms", d.as_secs_f64() * 1e3)
}

fn as_text(all: &[Stops], lease: Duration, answers: u64) -> String {
    let mut text = "\n".to_owned();
    for Stops { role, stops } in all.iter().filter(|s| s.stops.len() > 1) {
        let (Some(median), Some(min), Some(max)) =
            (median(stops), stops.iter().min(), stops.iter().max())
        else {
            continue;
        };
        text.push_str(&format!(
            "  {:<7} median {}, from {} to {}\n",
            role.name(),
            ms(median),
            ms(*min),
            ms(*max)
        ));
    }
    text.push_str(&format!(
        "  lease {} + {} = {}\n{answers} answers; every client counted without a gap and without \
         a number twice.\nThis mode believes one replica: it does not survive one that lies.\n",
        show_duration(lease),
        show_duration(SLACK),
        show_duration(lease + SLACK)
    ));
    text
}

fn as_json(all: &[Stops], lease: Duration, answers: u64, problems: &[String]) -> Value {
    let number = |d: Duration| json!(d.as_micros() as f64 / 1e3);
    let of = |s: &Stops| {
        json!({
            "role": s.role.name(),
            "stops_ms": s.stops.iter().map(|d| number(*d)).collect::<Vec<_>>(),
            "median_ms": median(&s.stops).map(number),
        })
    };
    json!({
        "fault_model": "fail-stop",
        "lease_ms": number(lease),
        "bound_ms": number(lease + SLACK),
        "killed": all.iter().map(of).collect::<Vec<_>>(),
        "answers": answers,
        "problems": problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_the_longest_time_without_an_answer_that_ends_after_the_kill() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let at = |n| start + ms(n);
        let answers = [at(0), at(900), at(1000), at(1500), at(1600)];
        assert_eq!(longest(&answers, at(1010)), ms(500));
        assert_eq!(longest(&answers, at(10)), ms(900), "it began before");
        assert_eq!(longest(&answers, at(2000)), ms(0), "none has come since");
        assert_eq!(longest(&[], at(0)), ms(0));
        assert_eq!(median(&[ms(5), ms(1), ms(3)]), Some(ms(3)));
        assert_eq!(median(&[ms(5), ms(1)]), Some(ms(3)));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn what_was_measured_is_compared_with_the_lease() {
        let (ms, role) = (Duration::from_millis, ChainRole::Tail);
        let all = [Stops { role, stops: vec![ms(1900), ms(2000), ms(2100)] }];
        let text = as_text(&all, ms(2000), 77);
        assert!(text.contains("tail    median 2000 ms, from 1900 ms to 2100 ms"), "{text}");
        assert!(text.contains("lease 2s + 100ms = 2100ms") && text.contains("77 answers"));
        assert_eq!(as_json(&all, ms(2000), 77, &[])["killed"][0]["median_ms"], json!(2000.0));
    }
}
