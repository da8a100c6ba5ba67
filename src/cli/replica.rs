//! `quorate replica`.

use super::{Failure, Subcommand, USAGE};
use crate::adversary::Lie;
use crate::daemon::{Daemon, DaemonError};
use crate::files::{load_cluster, load_settings, read_secret_key};
use crate::types::ReplicaId;
use clap::{Args, ValueEnum};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The exit code of a replica that ended by itself.
const ENDED: u8 = 1;

/// Run one replica
///
/// It runs until SIGTERM or Ctrl-C. RUST_LOG sets what is logged, `info` by default. Exit code: 0
/// if it was told to stop, 1 if it ended by itself, 2 for a wrong command line or file.
#[derive(Args)]
pub(super) struct Replica {
    /// The cluster file, the same on all hosts
    #[arg(long)]
    config: PathBuf,
    /// Which replica of the cluster file this is
    #[arg(long)]
    id: u8,
    /// The replica's private key [default: keys/replica-ID.pem beside the cluster file]
    #[arg(long)]
    key: Option<PathBuf>,
    /// A settings file for this process alone: its section [quotas] goes before the cluster file's
    #[arg(long)]
    settings: Option<PathBuf>,
    /// Where it keeps its files [default: data/replica-ID beside the cluster file]
    #[arg(long)]
    data: Option<PathBuf>,
    /// The data directory, which is empty, stands in for one that is lost (once)
    #[arg(long)]
    replace_disk: bool,
    /// Listen here instead of on the replica's address in the cluster file
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// How to write the log, which goes to standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
    /// Tell lies: for tests, where the cluster file allows it
    #[arg(long, hide = true, value_name = "LIE")]
    lie: Option<Lie>,
    /// Stop when standard input ends: for programs that must not leave replicas behind
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Subcommand for Replica {
    fn run(self) -> anyhow::Result<ExitCode> {
        start_log(self.log);
        let cluster = load_cluster(&self.config)?;
        let cluster = match &self.settings {
            Some(path) => load_settings(cluster, path)?,
            None => cluster,
        };
        let Some(id) = ReplicaId::new(self.id).filter(|id| cluster.replica(*id).is_some()) else {
            let n = cluster.replicas.len();
            let message = format!(
                "{} has no replica {}; give --id with a number from 1 to {n}",
                self.config.display(),
                self.id
            );
            return Err(Failure { code: USAGE, message }.into());
        };
        let beside = |name: String| self.config.with_file_name("").join(name);
        let key_path = self.key.unwrap_or_else(|| beside(format!("keys/replica-{}.pem", self.id)));
        let key = read_secret_key(&key_path)?;
        let data = self.data.unwrap_or_else(|| beside(format!("data/replica-{}", self.id)));
        let builder = |replace_disk| {
            let builder = Daemon::builder(cluster.clone(), id, key.clone()).data_dir(&data);
            let mut builder = builder.replace_disk(replace_disk);
            if let Some(address) = self.listen {
                builder = builder.listen(address);
            }
            if let Some(lie) = self.lie {
                builder = builder.lie(lie);
            }
            builder
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            // Before it starts: a signal that comes meanwhile stops it in good order too.
            let mut signals = Signals::new()?;
            let mut stdin = std::pin::pin!(stdin_ends());
            let mut replace_disk = self.replace_disk;
            loop {
                let replace = std::mem::take(&mut replace_disk);
                let mut daemon = builder(replace).start().await?;
                let ended = tokio::select! {
                    ended = daemon.wait() => ended,
                    () = signals.asked_to_stop() => break daemon.stop().await?,
                    () = &mut stdin, if self.stop_with_stdin => break daemon.stop().await?,
                };
                if !matches!(ended, DaemonError::StartAgain) {
                    let message = ended.to_string();
                    return Err(Failure { code: ENDED, message }.into());
                }
                // Its addresses are free after that.
                let _ = daemon.stop().await;
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// What tells a process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked_to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

// Reads on a thread that nobody waits for: tokio's would hold up the end of the process for as
// long as standard input stays open.
async fn stdin_ends() {
    let (ended, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // What is read does not matter, nor how the reading ends.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = wait.await;
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
}
