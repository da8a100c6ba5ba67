//! etcd, Redis and Quorate in turns under the same load, on this machine.
//!
//! | file | what lives there |
//! | --- | --- |
//! | `compare.rs` | the rounds: who runs when, and how long all of it may take |
//! | `systems.rs` | how each system is started and put under load |
//! | `processes.rs` | directories, ports and processes, and their end |
//! | `stats.rs`, `table.rs` | medians and ratios, and what is printed |
//! | `redis.rs`, `resp.rs`, `etcd.rs` | the loads on the other systems |
//! | `keys.rs`, `tally.rs`, `cpu.rs` | what is sent and counted, as `quorate bench` does |

mod compare;
mod cpu;
mod etcd;
mod keys;
mod processes;
mod redis;
mod resp;
mod stats;
mod systems;
mod table;
mod tally;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tally::Shared;
use tokio::task::LocalSet;

/// How long a load waits for the servers.
const READY: Duration = Duration::from_secs(20);

/// etcd, Redis and Quorate under the same load
#[derive(Parser)]
#[command(name = "side-by-side")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all systems in turns and print tables of medians and ratios
    Compare(compare::Compare),
    /// Put a running etcd under load and print JSON
    Etcd {
        #[command(flatten)]
        load: LoadArgs,
        /// Which nodes the connections go to
        #[arg(long, default_value = "leader")]
        spread: etcd::Spread,
    },
    /// Put a running Redis under load, the first address being the primary's, and print JSON
    Redis {
        #[command(flatten)]
        load: LoadArgs,
        /// How requests share connections
        #[arg(long, default_value = "none")]
        sharing: redis::Sharing,
    },
}

/// A closed loop, with the words of `quorate bench`.
#[derive(Args)]
struct LoadArgs {
    /// A server
    #[arg(long, required = true)]
    address: Vec<SocketAddr>,
    /// The number of a server's process, whose processor time is counted
    #[arg(long)]
    pid: Vec<u32>,
    /// Connections, see --outstanding
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    clients: u32,
    /// Requests outstanding for each client
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    outstanding: u32,
    /// Bytes of a value
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// How many keys the puts are spread over
    #[arg(long, default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(128..=100_000_000))]
    keys: u64,
    /// Puts in one request
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=128))]
    commands_per_request: u32,
    /// How long to measure
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How long to send before that
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    warmup: u64,
    /// Seed of the puts
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl LoadArgs {
    /// A tally of the measured time, which begins after a warm-up from now on.
    fn window(&self) -> Shared {
        let from = Instant::now() + Duration::from_secs(self.warmup);
        Shared::new(from, from + Duration::from_secs(self.seconds))
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("side-by-side: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = match command {
        Command::Compare(compare) => return runtime.block_on(compare.run()),
        Command::Etcd { load, spread } => {
            runtime.block_on(LocalSet::new().run_until(async { etcd::run(&load, spread).await }))?
        }
        Command::Redis { load, sharing } => {
            let run = async { redis::run(&load, sharing).await };
            runtime.block_on(LocalSet::new().run_until(run))?
        }
    };
    println!("{}", serde_json::to_string_pretty(&result)?);
    Ok(ExitCode::SUCCESS)
}
