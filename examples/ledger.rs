//! A small bank as an own service, with its own binary.
//!
//! ```console
//! $ quorate init --dir bank --service ledger
//! $ cargo run --example ledger -- replica --config bank/quorate.toml --id 1
//! $ cargo run --example ledger -- replica --config bank/quorate.toml --id 2
//! $ cargo run --example ledger -- replica --config bank/quorate.toml --id 3
//! ```
//!
//! and in another terminal
//!
//! ```console
//! $ alias bank='cargo run --example ledger -- client --config bank/quorate.toml \
//!       --key bank/keys/client-1.pem'
//! $ bank open ann
//! $ bank open bob
//! $ bank deposit ann 500
//! $ bank transfer ann bob 120
//! $ bank total
//! ```
//!
//! The service is in `ledger/bank.rs`; this file starts a replica with it, and asks.

#[path = "ledger/bank.rs"]
mod bank;

use bank::Bank;
use clap::Parser;
use quorate::daemon::DaemonError;
use quorate::files::{load_cluster, read_secret_key};
use quorate::types::ReplicaId;
use quorate::{Client, Daemon};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// A small bank, replicated
#[derive(Parser)]
enum Ledger {
    /// Run one replica of the bank
    Replica {
        /// The cluster file, made by `quorate init --service ledger`
        #[arg(long)]
        config: PathBuf,
        /// Which replica of the cluster file this is
        #[arg(long)]
        id: u8,
        /// The data directory, which is empty, stands in for one that is lost (once)
        #[arg(long)]
        replace_disk: bool,
        /// Stop when standard input ends: for programs that must not leave replicas behind
        #[arg(long, hide = true)]
        stop_with_stdin: bool,
    },
    /// Ask the bank
    Client {
        /// The cluster file
        #[arg(long)]
        config: PathBuf,
        /// The client's private key file
        #[arg(long)]
        key: PathBuf,
        /// open NAME, deposit NAME CENTS, transfer FROM TO CENTS, balance NAME, or total
        #[arg(required = true)]
        command: Vec<String>,
    },
}

// A replica is quickest on one thread, and a client has little to do.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    match Ledger::parse() {
        Ledger::Replica { config, id, replace_disk, stop_with_stdin } => {
            tracing_subscriber::fmt().with_writer(std::io::stderr).init();
            replica(config, id, replace_disk, stop_with_stdin).await
        }
        Ledger::Client { config, key, command } => client(config, key, &command).await,
    }
}

async fn replica(
    config: PathBuf,
    id: u8,
    mut replace_disk: bool,
    stop_with_stdin: bool,
) -> anyhow::Result<ExitCode> {
    let cluster = load_cluster(&config)?;
    let replica = ReplicaId::new(id).ok_or_else(|| anyhow::anyhow!("--id {id} is no replica"))?;
    let key = read_secret_key(&config.with_file_name(format!("keys/replica-{id}.pem")))?;
    // Before it starts: a signal that comes meanwhile stops it in good order too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut stdin = std::pin::pin!(stdin_ends());
    loop {
        let mut daemon = Daemon::builder(cluster.clone(), replica, key.clone())
            .data_dir(config.with_file_name(format!("data/replica-{id}")))
            .service(Box::new(Bank::default()))
            .replace_disk(std::mem::take(&mut replace_disk))
            .start()
            .await?;
        let ended = tokio::select! {
            ended = daemon.wait() => ended,
            _ = terminate.recv() => break daemon.stop().await?,
            _ = interrupt.recv() => break daemon.stop().await?,
            () = &mut stdin, if stop_with_stdin => break daemon.stop().await?,
        };
        // After a power cut it may have to execute its log again, from an empty bank.
        if !matches!(ended, DaemonError::StartAgain) {
            return Err(ended.into());
        }
        let _ = daemon.stop().await;
    }
    Ok(ExitCode::SUCCESS)
}

async fn client(config: PathBuf, key: PathBuf, words: &[String]) -> anyhow::Result<ExitCode> {
    let cluster = load_cluster(&config)?;
    let client = Client::connect(&cluster, read_secret_key(&key)?, Default::default())?;
    let reads = ["balance", "total"].contains(&words[0].as_str());
    let command = words.join(" ");
    let output = match reads {
        true => client.query(command).await,
        false => client.execute(command).await,
    };
    client.close().await;
    // What `t + 1` replicas agree on is what a correct bank says.
    let text = String::from_utf8(output?.to_vec())?;
    println!("{text}");
    Ok(ExitCode::from(u8::from(text.starts_with("refused"))))
}

// On a thread that nobody waits for, so that it does not hold up the end of the process.
async fn stdin_ends() {
    let (ended, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = wait.await;
}
