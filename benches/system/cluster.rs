//! A cluster of processes in a directory of its own.

use crate::lab::Lab;
use anyhow::{Context, bail};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long all replicas may take to be linked.
const START: Duration = Duration::from_secs(60);
/// How long a replica may take to stop by itself.
const STOP: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// How long an admin address may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Bad replicas that are survived; there are `2t + 1` in all.
    pub t: u8,
    /// Whether it is a chain of `t + 1` with spares.
    pub chain: bool,
    /// What is on the disk before a reply.
    pub durability: &'static str,
    /// Δ.
    pub delta: &'static str,
    /// What the cluster file has besides.
    pub more: &'static str,
}

impl Default for Plan {
    fn default() -> Self {
        Self { t: 1, chain: false, durability: "reply", delta: "1s", more: "" }
    }
}

/// A running cluster. Dropping it stops the replicas, then removes the directory.
pub struct Cluster {
    pub directory: PathBuf,
    replicas: Vec<Option<Child>>,
    base_port: u16,
    quorate: PathBuf,
}

impl Cluster {
    /// Makes a cluster, starts it and waits until all its replicas are linked.
    ///
    /// # Errors
    /// What is in the way; the end of the log of a replica that does not start.
    pub fn start(lab: &Lab, plan: &Plan) -> anyhow::Result<Self> {
        let (number, base_port) = lab.next_cluster();
        let directory = lab.scratch.join(format!("cluster-{number}"));
        let mut init = Command::new(&lab.quorate);
        init.arg("init").args(["--t", &plan.t.to_string()]).arg("--dir").arg(&directory);
        init.args(["--clients", "1", "--delta", plan.delta]);
        init.args(["--base-port", &base_port.to_string()]);
        if plan.chain {
            init.args(["--fault-model", "fail-stop"]);
        }
        let made = init.output().with_context(|| format!("cannot run {init:?}"))?;
        if !made.status.success() {
            bail!("{init:?} failed: {}", String::from_utf8_lossy(&made.stderr).trim());
        }
        let replicas = (0..2 * plan.t + 1).map(|_| None).collect();
        let quorate = lab.quorate.clone();
        let mut cluster = Self { directory, replicas, base_port, quorate };
        cluster.edit(plan)?;
        (1..=cluster.n()).try_for_each(|id| cluster.start_replica(id, None))?;
        cluster.wait_for_links(lab)?;
        Ok(cluster)
    }

    fn edit(&self, plan: &Plan) -> anyhow::Result<()> {
        let file = self.config();
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let line = lines.iter_mut().find(|l| l.starts_with("durability = "));
        let line = line.context("the cluster file says nothing of durability")?;
        *line = format!("durability = \"{}\"", plan.durability);
        lines.push(plan.more.to_owned());
        fs::write(&file, lines.join("\n") + "\n").with_context(|| file.display().to_string())
    }

    /// The cluster file.
    pub fn config(&self) -> PathBuf {
        self.directory.join("quorate.toml")
    }

    /// The client's key.
    pub fn key(&self) -> PathBuf {
        self.directory.join("keys/client-1.pem")
    }

    /// How many replicas there are.
    pub fn n(&self) -> u8 {
        u8::try_from(self.replicas.len()).unwrap_or(u8::MAX)
    }

    /// The processes that run.
    pub fn pids(&self) -> Vec<u32> {
        self.replicas.iter().flatten().map(Child::id).collect()
    }

    /// Starts one replica, perhaps as a liar. It ends with this process, however that ends.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_replica(&mut self, id: u8, lie: Option<&str>) -> anyhow::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.log(id))?;
        let mut command = Command::new(&self.quorate);
        command.arg("replica").arg("--config").arg(self.config());
        command.args(["--id", &id.to_string(), "--stop-with-stdin"]);
        if let Some(lie) = lie {
            command.args(["--lie", lie]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        self.replicas[usize::from(id) - 1] = Some(child);
        Ok(())
    }

    /// Tells one replica to stop and waits for its end.
    pub fn stop_replica(&mut self, id: u8) {
        let mut stopped = self.replicas[usize::from(id) - 1].take();
        stop(stopped.iter_mut().collect());
    }

    /// What a replica says of itself.
    pub fn status(&self, id: u8) -> Option<Value> {
        let port = self.base_port + 100 + u16::from(id);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER).ok()?;
        stream.set_read_timeout(Some(ANSWER)).ok()?;
        let request =
            format!("GET /status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| serde_json::from_str(body).ok())?
    }

    fn wait_for_links(&mut self, lab: &Lab) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        for id in 1..=self.n() {
            while !self.status(id).is_some_and(|s| all_up(&s)) {
                lab.check()?;
                let ended = self.ended();
                if let Some(id) = ended.or((Instant::now() > deadline).then_some(id)) {
                    let what =
                        if ended.is_some() { "ended" } else { "is not linked after a minute" };
                    bail!("replica {id} {what}; the end of its log:\n{}", tail(&self.log(id)));
                }
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }

    /// A replica that has ended by itself.
    fn ended(&mut self) -> Option<u8> {
        let ended =
            |r: &mut Option<Child>| r.as_mut().is_some_and(|c| !matches!(c.try_wait(), Ok(None)));
        let at = self.replicas.iter_mut().position(ended)?;
        u8::try_from(at + 1).ok()
    }

    fn log(&self, id: u8) -> PathBuf {
        self.directory.join(format!("replica-{id}.log"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        stop(self.replicas.iter_mut().flatten().collect());
        if let Err(e) = fs::remove_dir_all(&self.directory) {
            eprintln!("warning: cannot remove {}: {e}", self.directory.display());
        }
    }
}

/// Tells all to stop, then waits for them; who does not stop is killed.
fn stop(mut children: Vec<&mut Child>) {
    // Their standard input ends.
    children.iter_mut().for_each(|child| drop(child.stdin.take()));
    let deadline = Instant::now() + STOP;
    for child in children {
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // It may have ended just now, which is as good.
                let _ = child.kill();
                let _ = child.wait();
                break;
            }
            std::thread::sleep(POLL);
        }
    }
}

fn all_up(status: &Value) -> bool {
    let links = status["links"].as_array();
    links.is_some_and(|links| links.iter().all(|link| link["up"] == true))
}

/// The last lines of a file.
pub fn tail(file: &Path) -> String {
    let mut text = String::new();
    let read = File::open(file).and_then(|mut f| f.read_to_string(&mut text));
    if let Err(e) = read {
        return format!("{}: {e}", file.display());
    }
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
