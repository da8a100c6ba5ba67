//! The systems: how each is started, and how it is put under load.

use crate::READY;
use crate::processes::{Processes, local, output};
use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// What is started and how it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Three nodes; `Put` to the leader.
    Etcd,
    /// A primary and two replicas; SET and `WAIT 2`, a connection for each request under way.
    Redis,
    /// The same with a connection for each client: its requests go together, with one WAIT.
    RedisGrouped,
    /// The same with a connection for each client: its requests, each with a WAIT, stand in line.
    RedisPipelined,
    /// Three voting replicas, t = 1.
    Quorate,
    /// A fail-stop chain of two of three replicas.
    Chain,
    /// etcd with 16 puts in a `Txn`.
    #[value(name = "etcd-16")]
    #[serde(rename = "etcd-16")]
    Etcd16,
    /// Redis with 16 SETs for each `WAIT 2`.
    #[value(name = "redis-16")]
    #[serde(rename = "redis-16")]
    Redis16,
    /// Quorate with 16 commands in a request.
    #[value(name = "quorate-16")]
    #[serde(rename = "quorate-16")]
    Quorate16,
}

/// What is measured if nothing is chosen: all but what is only there to show why.
pub const DEFAULT: [System; 8] = [
    System::Etcd,
    System::Redis,
    System::RedisGrouped,
    System::Quorate,
    System::Chain,
    System::Etcd16,
    System::Redis16,
    System::Quorate16,
];

/// Which is set beside which: Quorate's first.
pub const PAIRS: [(System, System); 9] = [
    (System::Quorate, System::Etcd),
    (System::Quorate, System::Redis),
    (System::Quorate, System::RedisGrouped),
    (System::Quorate, System::RedisPipelined),
    (System::Chain, System::Etcd),
    (System::Chain, System::Redis),
    (System::Chain, System::RedisGrouped),
    (System::Quorate16, System::Etcd16),
    (System::Quorate16, System::Redis16),
];

/// Where a system's files are, and whether it makes sure that they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// Each answer's data is synced.
    Disk,
    /// Nothing reaches a disk.
    Memory,
}

/// The programs.
pub struct Programs {
    /// `quorate`
    pub quorate: PathBuf,
    /// `etcd`
    pub etcd: PathBuf,
    /// `redis-server`
    pub redis: PathBuf,
    /// This one, which puts etcd and Redis under load.
    pub own: PathBuf,
}

/// The load of one run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Clients.
    pub clients: u32,
    /// Requests outstanding of each.
    pub outstanding: u32,
    /// Bytes of a value.
    pub size: u32,
    /// Different keys.
    pub keys: u64,
    /// How long is measured.
    pub seconds: u64,
    /// How long is sent before.
    pub warmup: u64,
    /// Seed of the keys and values.
    pub seed: u64,
}

/// Where one run is: its directory and the first of its ports.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// An empty directory, on the disk or in memory as the storage says.
    pub directory: &'a Path,
    /// The first of the free ports.
    pub port: u16,
    /// On the disk or in memory.
    pub storage: Storage,
}

impl System {
    /// What it is called on the command line and in tables.
    pub fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |v| v.get_name().to_owned())
    }

    /// Commands in one request.
    pub fn commands(self) -> u32 {
        match self {
            System::Etcd16 | System::Redis16 | System::Quorate16 => 16,
            _ => 1,
        }
    }

    /// Starts the servers, and waits until they listen.
    ///
    /// # Errors
    /// If they do not in time.
    pub async fn start(
        self,
        programs: &Programs,
        place: Place<'_>,
        processes: &mut Processes,
    ) -> Result<()> {
        let addresses = match self {
            System::Etcd | System::Etcd16 => etcd(&programs.etcd, place, processes)?,
            System::Redis | System::RedisGrouped | System::RedisPipelined | System::Redis16 => {
                redis(&programs.redis, place, processes)?
            }
            System::Quorate | System::Quorate16 | System::Chain => {
                quorate(&programs.quorate, place, self == System::Chain, processes).await?
            }
        };
        processes.listen(&addresses, READY).await
    }

    /// Runs the load, and gives its JSON.
    ///
    /// # Errors
    /// If it does not end well in time. Requests that fail are no error; they are counted.
    pub async fn load(
        self,
        programs: &Programs,
        place: Place<'_>,
        run: Run,
        pids: &[u32],
    ) -> Result<Value> {
        let mut command = match self {
            System::Quorate | System::Quorate16 | System::Chain => {
                bench(&programs.quorate, place.directory)
            }
            System::Etcd | System::Etcd16 => own(&programs.own, "etcd", place.port, pids),
            System::Redis | System::Redis16 => own(&programs.own, "redis", place.port, pids),
            System::RedisGrouped | System::RedisPipelined => {
                let mut command = own(&programs.own, "redis", place.port, pids);
                let grouped = self == System::RedisGrouped;
                command.args(["--sharing", if grouped { "grouped" } else { "pipelined" }]);
                command
            }
        };
        let numbers = [
            ("--clients", run.clients.into()),
            ("--outstanding", run.outstanding.into()),
            ("--commands-per-request", self.commands().into()),
            ("--size", run.size.into()),
            ("--keys", run.keys),
            ("--seconds", run.seconds),
            ("--warmup", run.warmup),
            ("--seed", run.seed),
        ];
        for (name, number) in numbers {
            command.arg(name).arg(number.to_string());
        }
        let within = READY * 2 + Duration::from_secs(run.seconds + run.warmup);
        // `quorate bench` ends with 1 if a request failed, and prints all the same.
        let text = output(&mut command, 1, within).await?;
        serde_json::from_str(&text).with_context(|| format!("{} printed no JSON", self.name()))
    }
}

fn addresses(first: u16) -> Vec<SocketAddr> {
    (first..first + 3).map(local).collect()
}

/// Settings as they come, but for the addresses.
fn etcd(program: &Path, place: Place, processes: &mut Processes) -> Result<Vec<SocketAddr>> {
    let url = |port: u16| format!("http://{}", local(port));
    let peer = |i: u16| url(place.port + 3 + i);
    let cluster: Vec<String> = (0..3).map(|i| format!("n{i}={}", peer(i))).collect();
    for i in 0..3 {
        let mut command = Command::new(program);
        command
            .args(["--name", &format!("n{i}")])
            .arg("--data-dir")
            .arg(place.directory.join(format!("n{i}")))
            .args(["--listen-client-urls", &url(place.port + i)])
            .args(["--advertise-client-urls", &url(place.port + i)])
            .args(["--listen-peer-urls", &peer(i)])
            .args(["--initial-advertise-peer-urls", &peer(i)])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--initial-cluster-state", "new"])
            .args(["--logger", "zap", "--log-level", "warn"]);
        let log = place.directory.join(format!("n{i}.log"));
        processes.start(&format!("etcd n{i}"), &mut command, log)?;
    }
    Ok(addresses(place.port))
}

/// On the disk all three append and sync before they answer; in memory nothing is saved.
fn redis(program: &Path, place: Place, processes: &mut Processes) -> Result<Vec<SocketAddr>> {
    for i in 0..3 {
        let directory = place.directory.join(format!("r{i}"));
        fs::create_dir(&directory)?;
        let mut command = Command::new(program);
        command
            .args(["--port", &(place.port + i).to_string(), "--bind", "127.0.0.1"])
            .arg("--dir")
            .arg(&directory)
            // No waiting for more replicas before a first copy, which only delays the start.
            .args(["--save", "", "--repl-diskless-sync-delay", "0"])
            .args(["--daemonize", "no", "--loglevel", "notice"]);
        match place.storage {
            Storage::Disk => command.args(["--appendonly", "yes", "--appendfsync", "always"]),
            Storage::Memory => command.args(["--appendonly", "no"]),
        };
        if i > 0 {
            command.args(["--replicaof", "127.0.0.1", &place.port.to_string()]);
        }
        let log = place.directory.join(format!("r{i}.log"));
        processes.start(&format!("redis r{i}"), &mut command, log)?;
    }
    Ok(addresses(place.port))
}

/// Δ is a second: on a machine that is full with work, nobody is taken for one who stopped.
async fn quorate(
    program: &Path,
    place: Place<'_>,
    chain: bool,
    processes: &mut Processes,
) -> Result<Vec<SocketAddr>> {
    let mut init = Command::new(program);
    init.args(["init", "--t", "1", "--clients", "1", "--delta", "1s", "--dir"])
        .arg(place.directory)
        .args(["--base-port", &place.port.to_string()])
        .args(["--fault-model", if chain { "fail-stop" } else { "byzantine" }]);
    output(&mut init, 0, READY).await?;
    let file = config(place.directory);
    if place.storage == Storage::Memory {
        let text = fs::read_to_string(&file)?;
        let none = text.replacen("\ndurability = \"reply\"", "\ndurability = \"none\"", 1);
        anyhow::ensure!(none != text, "{} has no durability = \"reply\"", file.display());
        fs::write(&file, none)?;
    }
    for i in 1..=3 {
        let mut command = Command::new(program);
        command.args(["replica", "--id", &i.to_string(), "--config"]).arg(&file);
        let log = place.directory.join(format!("q{i}.log"));
        processes.start(&format!("quorate replica {i}"), &mut command, log)?;
    }
    // Their admin addresses.
    Ok(addresses(place.port + 101))
}

fn config(directory: &Path) -> PathBuf {
    directory.join("quorate.toml")
}

fn bench(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["bench", "--json", "--timeout", "20s", "--config"]).arg(config(directory));
    command.arg("--key").arg(directory.join("keys/client-1.pem"));
    command
}

fn own(program: &Path, which: &str, port: u16, pids: &[u32]) -> Command {
    let mut command = Command::new(program);
    command.arg(which);
    for address in addresses(port) {
        command.args(["--address", &address.to_string()]);
    }
    for pid in pids {
        command.args(["--pid", &pid.to_string()]);
    }
    command
}
