//! The cluster of the demonstration: a directory of its own, and processes that never outlive it.

use super::trick::Trick;
use crate::adversary::Lie;
use crate::cli::ask;
use crate::config::{Cluster, FaultModel};
use crate::files::free_base_port;
use crate::files::init::{InitOptions, NewCluster, write_cluster};
use crate::types::ReplicaId;
use anyhow::{Context, bail};
use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long all replicas may take to be linked: starting many on few cores is slow.
const START: Duration = Duration::from_secs(60);
/// How long a replica may take to stop by itself.
const STOP: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);
/// Somebody else may take a port between looking and binding: then everything again.
const ATTEMPTS: usize = 5;
/// Lines of a log that are shown when a replica does not start.
const LOG_LINES: usize = 10;

/// What to set up.
pub(super) struct Plan {
    pub(super) t: u8,
    pub(super) clients: u16,
    pub(super) trick: Trick,
    pub(super) model: FaultModel,
}

/// A running cluster. Dropping it stops the replicas, then removes the directory.
pub(super) struct Stage {
    replicas: Vec<Replica>,
    pub(super) cluster: Cluster,
    pub(super) config_file: PathBuf,
    pub(super) client_keys: Vec<PathBuf>,
    directory: Directory,
}

/// One replica process.
struct Replica {
    id: ReplicaId,
    key: PathBuf,
    process: Child,
    /// The script has it down just now.
    down: bool,
}

/// A directory that goes away when it is dropped.
struct Directory {
    path: PathBuf,
    keep: bool,
}

/// Whether this replica is one of the `t` bad ones: the last ones.
pub(super) fn lies(cluster: &Cluster, replica: ReplicaId) -> bool {
    replica.index() > cluster.ensemble.t()
}

impl Stage {
    /// Makes a cluster, starts its replicas and waits until all are linked.
    ///
    /// # Errors
    /// What is in the way; the ends of the logs if a replica does not start.
    pub(super) async fn set(plan: &Plan) -> anyhow::Result<Stage> {
        for attempt in 1.. {
            let mut stage = Self::launch(plan)?;
            match stage.all_linked().await {
                Ok(()) => return Ok(stage),
                Err(Waited::Ended(_)) if attempt < ATTEMPTS => continue,
                Err(Waited::Ended(id)) => bail!(
                    "{id} ended at its start, {ATTEMPTS} times in a row; the end of its log:\n{}",
                    stage.end_of_log(id)
                ),
                Err(Waited::TooLong(id)) => bail!(
                    "{id} was not linked with all others after {START:?}; the end of its log:\n{}",
                    stage.end_of_log(id)
                ),
            }
        }
        unreachable!("the loop has no end but its returns")
    }

    /// Where it keeps its files.
    pub(super) fn directory(&self) -> &Path {
        &self.directory.path
    }

    /// Leaves the directory where it is.
    pub(super) fn keep(&mut self) {
        self.directory.keep = true;
    }

    /// Those that misbehave.
    pub(super) fn bad(&self) -> Vec<ReplicaId> {
        self.cluster.ensemble.replicas().filter(|id| lies(&self.cluster, *id)).collect()
    }

    /// Where a replica keeps its files.
    pub(super) fn data(&self, id: ReplicaId) -> PathBuf {
        self.directory.path.join(format!("data-{}", id.number()))
    }

    /// Kills or stops a replica, as the trick says.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub(super) fn fell(&mut self, id: ReplicaId, trick: Trick) -> anyhow::Result<()> {
        let replica = &mut self.replicas[id.index()];
        replica.down = true;
        if trick == Trick::Stop {
            return signal(&replica.process, "-STOP");
        }
        replica.process.kill().context("cannot kill a replica")?;
        replica.process.wait().context("cannot wait for a replica's end")?;
        Ok(())
    }

    /// Starts it again, or lets it go on.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn rise(&mut self, id: ReplicaId, trick: Trick) -> anyhow::Result<()> {
        if trick == Trick::Stop {
            signal(&self.replicas[id.index()].process, "-CONT")?;
        } else {
            let key = self.replicas[id.index()].key.clone();
            self.replicas[id.index()].process = start(self, id, &key, None)?;
        }
        self.replicas[id.index()].down = false;
        Ok(())
    }

    /// The process id of a replica.
    pub(super) fn pid(&self, id: ReplicaId) -> u32 {
        self.replicas[id.index()].process.id()
    }

    /// Who has ended although nobody asked it to.
    pub(super) fn ended(&mut self) -> Option<ReplicaId> {
        let ended = |r: &mut Replica| !r.down && !matches!(r.process.try_wait(), Ok(None));
        self.replicas.iter_mut().find_map(|r| ended(r).then_some(r.id))
    }

    fn launch(plan: &Plan) -> anyhow::Result<Stage> {
        let directory = Directory::new()?;
        let NewCluster { cluster, config_file, replica_keys, client_keys, .. } =
            write_cluster(&InitOptions {
                t: plan.t,
                fault_model: plan.model,
                clients: plan.clients,
                base_port: free_base_port(plan.t.saturating_mul(2).saturating_add(1))?,
                allow_liars: plan.model == FaultModel::Byzantine,
                ..InitOptions::new(&directory.path)
            })?;
        let replicas = Vec::new();
        let mut stage = Stage { replicas, cluster, config_file, client_keys, directory };
        for (id, key) in stage.cluster.ensemble.replicas().zip(replica_keys) {
            let lie = plan.trick.lie().filter(|_| lies(&stage.cluster, id));
            let process = start(&stage, id, &key, lie)?;
            stage.replicas.push(Replica { id, key, process, down: false });
        }
        Ok(stage)
    }

    async fn all_linked(&mut self) -> Result<(), Waited> {
        let deadline = Instant::now() + START;
        for entry in &self.cluster.replicas.clone() {
            loop {
                if let Some(id) = self.ended() {
                    return Err(Waited::Ended(id));
                }
                let status = ask::status(entry.admin).await;
                // Whoever took the port may answer too.
                let ours = |s: &crate::replica::Status| s.cluster == self.cluster.id().to_hex();
                if status.is_ok_and(|s| ours(&s) && s.links.iter().all(|l| l.up)) {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(Waited::TooLong(entry.id));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    fn log_file(&self, id: ReplicaId) -> PathBuf {
        self.directory.path.join(format!("replica-{}.log", id.number()))
    }

    fn end_of_log(&self, id: ReplicaId) -> String {
        let log = fs::read_to_string(self.log_file(id)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

/// Why waiting for the replicas came to nothing.
enum Waited {
    Ended(ReplicaId),
    TooLong(ReplicaId),
}

fn start(stage: &Stage, id: ReplicaId, key: &Path, lie: Option<Lie>) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let log_file = stage.log_file(id);
    let log = OpenOptions::new().create(true).append(true).open(&log_file);
    let log = log.with_context(|| log_file.display().to_string())?;
    let data = stage.data(id);
    let mut command = Command::new(&program);
    command.arg("replica").arg("--config").arg(&stage.config_file);
    command.args(["--id", &id.number().to_string()]).arg("--key").arg(key);
    // Its standard input is a pipe from this process: it ends with it, however that ends.
    command.arg("--data").arg(data).arg("--stop-with-stdin").stdin(Stdio::piped());
    if let Some(lie) = lie {
        command.args(["--lie", lie.name()]);
    }
    command.stdout(Stdio::null()).stderr(log);
    command.spawn().with_context(|| format!("cannot run {}", program.display()))
}

fn signal(process: &Child, signal: &str) -> anyhow::Result<()> {
    let id = process.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status().context("cannot run kill")?;
    if !sent.success() {
        bail!("cannot send {signal} to process {id}");
    }
    Ok(())
}

impl Drop for Stage {
    fn drop(&mut self) {
        for replica in self.replicas.iter().filter(|r| r.down) {
            // One that is stopped does not see that it is told to end; one that is dead, never.
            let _ = signal(&replica.process, "-CONT");
        }
        // All are told first, then waited for.
        self.replicas.iter_mut().for_each(|r| drop(r.process.stdin.take()));
        let deadline = Instant::now() + STOP;
        for replica in &mut self.replicas {
            while matches!(replica.process.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    // It may have ended just now, which is as good.
                    let _ = replica.process.kill();
                    let _ = replica.process.wait();
                    break;
                }
                std::thread::sleep(POLL);
            }
        }
    }
}

impl Directory {
    fn new() -> anyhow::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).context("the system gives no random numbers")?;
        let name = format!("quorate-demo-{:016x}", u64::from_le_bytes(random));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, keep: false })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep
            && let Err(e) = fs::remove_dir_all(&self.path)
        {
            eprintln!("warning: cannot remove {}: {e}", self.path.display());
        }
    }
}
