//! The rounds: in each, every system runs every load once, and the order turns from round to round.

use crate::processes::{Directory, Ports, Processes, output};
use crate::systems::{DEFAULT, Place, Programs, Run, Storage, System};
use crate::table::{self, Measured};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// Between the time at which servers listen and the load, for those that still meet each other.
const SETTLE: Duration = Duration::from_secs(1);
/// What starting, settling and stopping take, about.
const AROUND: Duration = Duration::from_secs(4);

/// Run all systems in turns and print tables of medians and ratios
#[derive(Args)]
pub struct Compare {
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long each time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How long is sent before that
    #[arg(long, default_value_t = 1, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(0..=3600))]
    warmup: u64,
    /// Only these systems; without it all but redis-pipelined
    #[arg(long, value_delimiter = ',', value_name = "SYSTEM,...")]
    only: Vec<System>,
    /// Clients x requests outstanding of each
    #[arg(long, value_delimiter = ',', default_value = "1x1,4x64,16x64", value_name = "CxW,...")]
    loads: Vec<Outstanding>,
    /// Where the servers' files are
    #[arg(long, value_delimiter = ',', default_value = "disk,memory", value_name = "STORAGE,...")]
    storage: Vec<Storage>,
    /// Bytes of a value
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(0..=65_536))]
    size: u32,
    /// How many keys the puts are spread over
    #[arg(long, default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(128..=100_000_000))]
    keys: u64,
    /// Write all runs to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Ports from this one to 200 above it are used
    #[arg(long, env = "PORT", default_value_t = 8800)]
    port: u16,
    /// Where a directory for runs on the disk is made [default: TMPDIR, or /tmp]
    #[arg(long, value_name = "DIR")]
    disk: Option<PathBuf>,
    /// Where a directory for runs in memory is made
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    memory: PathBuf,
    /// The quorate binary
    #[arg(long, env = "QUORATE", default_value = "target/release/quorate")]
    quorate: PathBuf,
    /// The etcd binary
    #[arg(long, env = "ETCD", default_value = "etcd")]
    etcd: PathBuf,
    /// The redis-server binary
    #[arg(long, env = "REDIS_SERVER", default_value = "redis-server")]
    redis: PathBuf,
}

/// How many clients with how many requests outstanding each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Outstanding {
    /// Clients.
    pub clients: u32,
    /// Of each.
    pub outstanding: u32,
}

impl FromStr for Outstanding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |n: &str| n.parse().ok().filter(|n| (1..=1024).contains(n));
        let parsed = text
            .split_once('x')
            .and_then(|(c, w)| Some(Self { clients: number(c)?, outstanding: number(w)? }));
        parsed.ok_or_else(|| format!("`{text}` is no load; write it as 4x64, with 1 to 1024 each"))
    }
}

/// One run: what it was, and what came out or why nothing did.
#[derive(Serialize)]
struct Record {
    storage: Storage,
    #[serde(flatten)]
    load: Outstanding,
    system: System,
    round: u32,
    /// Which it was in its round, from 1 on.
    turn: usize,
    load_average: String,
    error: Option<String>,
    result: Option<Value>,
}

/// All that `--json` writes.
#[derive(Serialize)]
struct Document<'a> {
    machine: &'a [String],
    size: u32,
    keys: u64,
    seconds: u64,
    warmup: u64,
    runs: &'a [Record],
}

impl Compare {
    /// Measures, and prints tables also of what there is when it is ended early.
    ///
    /// # Errors
    /// If a program or a directory is missing, or the file cannot be written.
    pub async fn run(mut self) -> Result<ExitCode> {
        if self.only.is_empty() {
            self.only = DEFAULT.to_vec();
        }
        let programs = self.programs()?;
        let machine = self.machine(&programs).await?;
        let disk = self.disk.clone().unwrap_or_else(std::env::temp_dir);
        let disk = self.uses(Storage::Disk).then(|| on_disk(&disk)).transpose()?;
        let memory =
            self.uses(Storage::Memory).then(|| Directory::new(&self.memory)).transpose()?;
        let limit = self.announce(&machine);
        let mut session = Session {
            compare: &self,
            programs,
            directories: [disk, memory],
            ports: Ports::new(self.port)?,
            processes: Processes::default(),
            records: Vec::new(),
        };
        let ended = tokio::select! {
            result = tokio::time::timeout(limit, session.rounds()) => match result {
                Ok(result) => result,
                Err(_) => Err(anyhow::anyhow!("not done after {} min", minutes(limit))),
            },
            signal = ended_by_signal() => Err(signal?),
        };
        session.processes.stop().await;
        let records = std::mem::take(&mut session.records);
        drop(session);
        self.print(&machine, &records)?;
        let failed = records.iter().filter(|r| r.error.is_some()).count();
        if failed > 0 {
            eprintln!("{failed} of {} runs failed", records.len());
        }
        ended?;
        Ok(ExitCode::from(u8::from(failed > 0)))
    }

    fn uses(&self, storage: Storage) -> bool {
        self.storage.contains(&storage)
    }

    fn programs(&self) -> Result<Programs> {
        let find = |program: &Path, remedy: &str| {
            let found = which(program);
            found.with_context(|| format!("there is no program {}; {remedy}", program.display()))
        };
        let needs = |names: &[&str]| {
            self.only.iter().any(|s| names.iter().any(|name| s.name().starts_with(name)))
        };
        // One that is not needed need not be there.
        let find = |program: &Path, names: &[&str], remedy: &str| match needs(names) {
            true => find(program, remedy),
            false => Ok(program.to_owned()),
        };
        let package = |name: &str| format!("install {name}, or leave it out with --only");
        Ok(Programs {
            quorate: find(
                &self.quorate,
                &["quorate", "chain"],
                "build it with cargo build --release, or name one with --quorate or QUORATE",
            )?,
            etcd: find(&self.etcd, &["etcd"], &package("etcd-server"))?,
            redis: find(&self.redis, &["redis"], &package("redis-server"))?,
            own: std::env::current_exe()?,
        })
    }

    /// What runs on what.
    async fn machine(&self, programs: &Programs) -> Result<Vec<String>> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
        let model = model.map_or("processors of an unknown model", |(_, name)| name);
        let cores = std::thread::available_parallelism()?;
        let mut lines = vec![format!("{cores} x {model}, load average {}", load_average())];
        let of = [("quorate", &programs.quorate), ("etcd", &programs.etcd)];
        for (name, program) in of.into_iter().chain([("redis", &programs.redis)]) {
            let used = self
                .only
                .iter()
                .any(|s| s.name().starts_with(name) || name == "quorate" && *s == System::Chain);
            if used {
                let mut command = Command::new(program);
                let text = output(command.arg("--version"), 0, AROUND).await?;
                lines.push(text.lines().next().unwrap_or_default().to_owned());
            }
        }
        Ok(lines)
    }

    /// Says what is going to happen and how long it may take, which is given back.
    fn announce(&self, machine: &[String]) -> Duration {
        let runs = self.rounds as usize * self.only.len() * self.loads.len() * self.storage.len();
        let each = AROUND + Duration::from_secs(self.seconds + self.warmup);
        let about = each * u32::try_from(runs).unwrap_or(u32::MAX);
        let limit = about * 2 + Duration::from_secs(120);
        machine.iter().for_each(|line| eprintln!("{line}"));
        eprintln!(
            "{runs} runs of {} + {} s: about {} min, and never more than {} min",
            self.warmup,
            self.seconds,
            minutes(about),
            minutes(limit)
        );
        limit
    }

    fn print(&self, machine: &[String], records: &[Record]) -> Result<()> {
        if let Some(file) = &self.json {
            let (size, keys, seconds, warmup) = (self.size, self.keys, self.seconds, self.warmup);
            let document = Document { machine, size, keys, seconds, warmup, runs: records };
            fs::write(file, serde_json::to_string_pretty(&document)?)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        let measured: Vec<Measured> = records.iter().filter_map(Record::measured).collect();
        println!("{}", machine.join("; "));
        println!(
            "Puts of {} bytes over {} keys, {} s each after {} s, {} rounds.\n",
            self.size, self.keys, self.seconds, self.warmup, self.rounds
        );
        for storage in &self.storage {
            for load in &self.loads {
                let here = |m: &&Measured| m.storage == *storage && m.load == *load;
                let here: Vec<&Measured> = measured.iter().filter(here).collect();
                print!("{}", table::render(*storage, *load, &self.only, &here));
            }
        }
        println!("{}", table::NOTES);
        Ok(())
    }
}

impl Record {
    fn measured(&self) -> Option<Measured> {
        let result = self.result.as_ref()?;
        let number = |value: &Value| value.as_f64();
        let commands = f64::from(self.system.commands());
        Some(Measured {
            storage: self.storage,
            load: self.load,
            system: self.system,
            round: self.round,
            commands_per_second: number(&result["commands_per_second"])?,
            cpu_us: number(&result["cpu_us_per_op"]).map(|us| us / commands),
            client_cpu_us: number(&result["client_cpu_us_per_op"]).map(|us| us / commands),
            p50_us: number(&result["latency_us"]["p50"]),
            p99_us: number(&result["latency_us"]["p99"]),
            errors: result["errors"]["total"].as_u64().unwrap_or_default(),
        })
    }
}

struct Session<'a> {
    compare: &'a Compare,
    programs: Programs,
    directories: [Option<Directory>; 2],
    ports: Ports,
    processes: Processes,
    records: Vec<Record>,
}

impl Session<'_> {
    async fn rounds(&mut self) -> Result<()> {
        let compare = self.compare;
        for round in 0..compare.rounds {
            let mut order = compare.only.clone();
            order.rotate_left(round as usize % compare.only.len());
            for storage in &compare.storage {
                for load in &compare.loads {
                    for (turn, system) in order.iter().enumerate() {
                        self.one(*storage, *load, *system, (round + 1, turn + 1)).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A system that fails is told of and is no reason to end.
    async fn one(
        &mut self,
        storage: Storage,
        load: Outstanding,
        system: System,
        (round, turn): (u32, usize),
    ) -> Result<()> {
        let (Outstanding { clients, outstanding }, began) = (load, Instant::now());
        let load_average = load_average();
        let directory = self.directories[storage as usize].as_ref().context("no directory")?;
        let directory = directory.path().join("run");
        fs::create_dir(&directory)?;
        let place = Place { directory: &directory, port: self.ports.block()?, storage };
        let result = self.measure(system, place, load, round).await;
        self.processes.stop().await;
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
        let name = system.name();
        let said = match &result {
            Ok(json) => format!(
                "{:.0} commands/s, {} failed",
                json["commands_per_second"].as_f64().unwrap_or_default(),
                json["errors"]["total"]
            ),
            Err(error) => format!("FAILED: {error:#}"),
        };
        let took = began.elapsed().as_secs_f64();
        let kind = table::title(storage);
        eprintln!("round {round}, {kind}, {clients} x {outstanding}, {name}: {said} ({took:.1} s)");
        let (error, result) = match result {
            Ok(json) => (None, Some(json)),
            Err(error) => (Some(format!("{error:#}")), None),
        };
        let record = Record { storage, load, system, round, turn, load_average, error, result };
        self.records.push(record);
        Ok(())
    }

    async fn measure(
        &mut self,
        system: System,
        place: Place<'_>,
        load: Outstanding,
        round: u32,
    ) -> Result<Value> {
        let compare = self.compare;
        let run = Run {
            clients: load.clients,
            outstanding: load.outstanding,
            size: compare.size,
            keys: compare.keys,
            seconds: compare.seconds,
            warmup: compare.warmup,
            seed: round.into(),
        };
        system.start(&self.programs, place, &mut self.processes).await?;
        tokio::time::sleep(SETTLE).await;
        let pids = self.processes.pids();
        let result = system.load(&self.programs, place, run, &pids).await;
        // Who ended is a better reason than that the load could not go on.
        self.processes.all_run()?;
        result.with_context(|| format!("under load{}", self.processes.logs()))
    }
}

async fn ended_by_signal() -> Result<anyhow::Error> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let name = tokio::select! {
        _ = interrupt.recv() => "Ctrl-C",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    };
    Ok(anyhow::anyhow!("ended by {name}; the tables have what was measured before"))
}

/// A directory whose files reach a disk.
fn on_disk(parent: &Path) -> Result<Directory> {
    let parent = parent.canonicalize().with_context(|| format!("no {}", parent.display()))?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let kind = kind_of_mount(&mounts, &parent);
    if ["tmpfs", "ramfs"].contains(&kind) {
        let parent = parent.display();
        bail!("{parent} is in memory ({kind}); name a directory on a disk with --disk or TMPDIR");
    }
    Directory::new(&parent)
}

/// The file system that a path is on, from the lines of /proc/mounts.
fn kind_of_mount<'a>(mounts: &'a str, path: &Path) -> &'a str {
    let mount = |line: &'a str| {
        let mut words = line.split(' ').skip(1);
        Some((Path::new(words.next()?), words.next()?))
    };
    let over = mounts.lines().filter_map(mount).filter(|(at, _)| path.starts_with(at));
    over.max_by_key(|(at, _)| at.components().count()).map_or("unknown", |(_, kind)| kind)
}

/// A program by its path, or found where a shell finds it.
fn which(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.canonicalize().ok();
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn minutes(time: Duration) -> u64 {
    time.as_secs().div_ceil(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_read_and_mistakes_are_named() {
        assert_eq!("4x64".parse(), Ok(Outstanding { clients: 4, outstanding: 64 }));
        for text in ["", "4", "x", "0x1", "1x0", "4x64x2", "1x1025", "-1x1"] {
            let error = text.parse::<Outstanding>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn a_path_is_on_the_mount_nearest_to_it() {
        let mounts =
            "/dev/vda / ext4 rw 0 0\ntmpfs /ram tmpfs rw 0 0\n/dev/vdb /ram/disk xfs rw 0 0\n";
        assert_eq!(kind_of_mount(mounts, Path::new("/var/tmp")), "ext4");
        assert_eq!(kind_of_mount(mounts, Path::new("/ram/x")), "tmpfs");
        assert_eq!(kind_of_mount(mounts, Path::new("/ram/disk/x")), "xfs");
        assert_eq!(kind_of_mount(mounts, Path::new("/ram/disks")), "tmpfs");
        assert_eq!(kind_of_mount("", Path::new("/")), "unknown");
    }

    #[test]
    fn the_time_of_a_request_is_shared_by_its_commands() {
        let result = serde_json::json!({
            "commands_per_second": 1600.0, "cpu_us_per_op": 320.0, "client_cpu_us_per_op": 16.0,
            "latency_us": { "p50": 5.0, "p99": null }, "errors": { "total": 3 },
        });
        let load = Outstanding { clients: 1, outstanding: 1 };
        let record = Record {
            storage: Storage::Disk,
            load,
            system: System::Redis16,
            round: 1,
            turn: 1,
            load_average: String::new(),
            error: None,
            result: Some(result),
        };
        let measured = record.measured().unwrap();
        assert_eq!((measured.cpu_us, measured.client_cpu_us), (Some(20.0), Some(1.0)));
        assert_eq!((measured.commands_per_second, measured.errors), (1600.0, 3));
        assert_eq!((measured.p50_us, measured.p99_us), (Some(5.0), None));
    }
}
