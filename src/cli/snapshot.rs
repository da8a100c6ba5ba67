//! `quorate snapshot`.

use super::{Failure, Subcommand, USAGE, log, output};
use crate::config::{Cluster, FaultModel};
use crate::crypto::{Ed25519, Keyring};
use crate::daemon::{DataDirectory, prepare};
use crate::files::{create_new, load_cluster};
use crate::offline::{Backup, InitialState, Watch};
use crate::replica::OpenedSnapshot;
use crate::service::{BUILT_IN, Service, built_in, kv};
use crate::types::{Digest, GroupId, OrderLimits};
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The exit code if a backup is not what it should be.
const WRONG: u8 = 1;

/// Save the state of a cluster as a file, look at it, and begin a new cluster with it
///
/// Examples:
///   quorate snapshot save --data data/replica-1 --config quorate.toml --out monday.quorate
///   quorate snapshot inspect monday.quorate --config quorate.toml
///   quorate init --dir new --initial-state monday.quorate
///   quorate snapshot restore monday.quorate --config new/quorate.toml --data new/data/replica-1
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Snapshot {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Write the newest attested state on a replica's disk, with what attests it, into a file. With
    /// --config that is the last checkpoint in the log; without it, the last snapshot that the
    /// replica has saved, which is older. A replica may run on the directory meanwhile
    Save(Save),
    /// What is in such a file, who attests it, and whether it is what they attest. Exit code: 0 if
    /// nothing is wrong with it, 1 if something is, 2 for a wrong command line or file
    Inspect(Inspect),
    /// Give a replica of a new cluster the state that the cluster begins with: to be done once for
    /// each replica, before its first start
    Restore(Restore),
}

#[derive(Args)]
struct Save {
    /// The directory in which the replica keeps its files
    #[arg(long)]
    data: PathBuf,
    /// The cluster file: the log is executed again, and what attests the state is checked
    #[arg(long)]
    config: Option<PathBuf>,
    /// The file to make; nothing is overwritten
    #[arg(long)]
    out: PathBuf,
}

#[derive(Args)]
struct Inspect {
    /// A file that `save` has made
    file: PathBuf,
    /// The file of the cluster whose state it is: without it attestations cannot be checked
    #[arg(long)]
    config: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Restore {
    /// A file that `save` has made
    file: PathBuf,
    /// The file of the new cluster: it names the state under [service]
    #[arg(long)]
    config: PathBuf,
    /// The data directory of a replica of the new cluster, which has not been started on it
    #[arg(long)]
    data: PathBuf,
    /// The file of the old cluster: what attests the state is checked against its roster
    #[arg(long, value_name = "CONFIG")]
    old_config: Option<PathBuf>,
}

impl Subcommand for Snapshot {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Save(save) => save.run(),
            Action::Inspect(inspect) => inspect.run(),
            Action::Restore(restore) => restore.run(),
        }
    }
}

impl Save {
    fn run(self) -> anyhow::Result<ExitCode> {
        let data = DataDirectory::look(&self.data)?;
        let cluster = self.config.as_deref().map(load_cluster).transpose()?;
        if cluster.as_ref().is_some_and(|c| c.fault_model == FaultModel::FailStop) {
            let message = "in the fail-stop model this log is that of the chain's master; the \
                           service's state is in the chain's own files, which cannot be saved as \
                           a backup yet";
            return Err(Failure { code: USAGE, message: message.to_owned() }.into());
        }
        let (head, state) = match &cluster {
            Some(cluster) => newest(cluster, &data)?,
            None => data.stored(None)?.snapshot,
        }
        .ok_or_else(|| self.nothing(cluster.is_some()))?;
        let opened = OpenedSnapshot::parse(&head, &state);
        let opened = opened.map_err(|why| wrong(&self.data, &why))?;
        if let Some(cluster) = &cluster {
            let proven = opened.proven(&log::keyring(cluster, &data)?);
            proven.map_err(|why| wrong(&self.data, why))?;
        }
        let backup = Backup { cluster: data.mark().cluster, head, state };
        create_new(&self.out, &backup.to_bytes(), 0o600)?;
        let (round, bytes) = (opened.position().round, backup.state.len());
        let checked = match cluster {
            Some(_) => "attested by t + 1 replicas",
            None => "attestations not checked: give --config",
        };
        let out = self.out.display();
        output::print(&format!(
            "made {out}: the state of round {round}, {bytes} bytes, {checked}\n\
             what was executed after round {round} is not in it\n"
        ))?;
        Ok(ExitCode::SUCCESS)
    }

    fn nothing(&self, has_cluster: bool) -> Failure {
        let why = match has_cluster {
            true => {
                "holds no checkpoint that t + 1 replicas attest yet: there is one every \
                 checkpoint_every rounds, so try again later"
            }
            false => "holds no snapshot yet: give --config, so that one can be made from the log",
        };
        wrong(&self.data, why)
    }
}

// The newest state that is attested: that on the disk, or one that the log behind it leads to,
// where this program has the service.
fn newest(cluster: &Cluster, data: &DataDirectory) -> anyhow::Result<Option<(Bytes, Bytes)>> {
    let Some(service) = built_in(&cluster.service.name) else {
        data.belongs_to(cluster)?;
        return Ok(data.stored(Some(cluster.ensemble.n()))?.snapshot);
    };
    let mut player = data.player(cluster, service, (Watch::NOTHING, 1))?;
    player.keep_snapshots();
    while player.next().is_some() {}
    Ok(player.attested_snapshot())
}

fn wrong(path: &Path, why: &str) -> Failure {
    Failure { code: WRONG, message: format!("{}: {why}", path.display()) }
}

fn read(file: &Path) -> anyhow::Result<(Backup, OpenedSnapshot)> {
    let bytes = std::fs::read(file).map_err(|e| {
        let message = format!("cannot read {}: {e}", file.display());
        Failure { code: USAGE, message }
    })?;
    let backup = Backup::parse(&Bytes::from(bytes));
    let backup = backup.map_err(|e| wrong(file, &e.to_string()))?;
    let opened = OpenedSnapshot::parse(&backup.head, &backup.state);
    let opened = opened.map_err(|why| wrong(file, &why))?;
    Ok((backup, opened))
}

/// The state of the service in a file that `save` has made.
pub(super) fn initial_state(file: &Path) -> anyhow::Result<InitialState> {
    Ok(InitialState::Service(read(file)?.1.service().clone()))
}

/// What was found out about a backup.
struct Judged {
    backup: Backup,
    opened: OpenedSnapshot,
    initial: Digest,
    /// The service that can read the state, with the number of keys if that is known.
    service: Option<(&'static str, Option<usize>)>,
    sessions: Option<usize>,
    /// Whether `t + 1` attest it, and whether it is what they attest: with a cluster file.
    attested: Option<Result<Digest, &'static str>>,
    gives: Option<Result<(), &'static str>>,
}

impl Inspect {
    fn run(self) -> anyhow::Result<ExitCode> {
        let (backup, opened) = read(&self.file)?;
        let cluster = self.config.as_deref().map(load_cluster).transpose()?;
        let judged = judge(&self.file, backup, opened, cluster.as_ref())?;
        let good = judged.attested.as_ref().is_none_or(Result::is_ok)
            && judged.gives.is_none_or(|given| given.is_ok());
        match self.json {
            true => output::print_json(&as_json(&judged, good))?,
            false => output::print(&as_text(&judged))?,
        }
        Ok(ExitCode::from(if good { 0 } else { WRONG }))
    }
}

fn judge(
    file: &Path,
    backup: Backup,
    opened: OpenedSnapshot,
    cluster: Option<&Cluster>,
) -> anyhow::Result<Judged> {
    let limits = cluster.map_or(OrderLimits::default(), |c| c.limits);
    let name = cluster.map(|c| c.service.name.as_str());
    let service = of_service(opened.service(), name);
    let attested = match cluster {
        Some(cluster) => Some(opened.proven(&roster(file, &backup, cluster)?)),
        None => None,
    };
    let gives = attested.and_then(|attested| {
        let service = built_in(service.map_or("", |(name, _)| name))?;
        attested.ok().map(|state| opened.gives(&state, service, limits))
    });
    let initial = InitialState::Service(opened.service().clone()).digest();
    let sessions = opened.sessions(&limits);
    Ok(Judged { backup, opened, initial, service, sessions, attested, gives })
}

/// The keys of the cluster whose state it is.
fn roster(file: &Path, backup: &Backup, cluster: &Cluster) -> anyhow::Result<Keyring<Ed25519>> {
    if backup.cluster != cluster.id() {
        let message = format!(
            "{} is of cluster {}, and the cluster file is of {}; give the file of the cluster \
             whose state it is",
            file.display(),
            backup.cluster,
            cluster.id()
        );
        return Err(Failure { code: USAGE, message }.into());
    }
    let keyring = cluster.keyring::<Ed25519>(GroupId::MAIN);
    Ok(keyring.expect("the parser of the cluster file has accepted its keys"))
}

// The built-in service of this name, or the first, that can read the state.
fn of_service(state: &[u8], name: Option<&str>) -> Option<(&'static str, Option<usize>)> {
    for built_in_name in BUILT_IN.iter().filter(|b| name.is_none_or(|name| name == **b)) {
        if *built_in_name == kv::Kv::NAME {
            let mut store = kv::Kv::new();
            if store.restore(state).is_ok() {
                return Some((built_in_name, Some(store.len())));
            }
        } else if built_in(built_in_name).is_some_and(|mut s| s.restore(state).is_ok()) {
            return Some((built_in_name, None));
        }
    }
    None
}

fn as_text(j: &Judged) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        writeln!(out, "{name:<14} {value}").expect("a string takes all that is written");
    };
    let opened = &j.opened;
    let (ordering, sessions, service) = opened.sizes();
    line("cluster", j.backup.cluster.to_hex());
    line("round", opened.position().round.to_string());
    let since = Duration::from_micros(opened.time().0).as_secs();
    line("agreed time", format!("{} (seconds {since})", opened.time().0));
    line("executed", format!("{} requests", opened.executed()));
    line("running root", opened.running().to_hex());
    line("ordering", format!("{ordering} bytes"));
    let open = j.sessions.map_or(String::new(), |open| format!(", {open} open"));
    line("sessions", format!("{sessions} bytes{open}"));
    let of = match j.service {
        Some((name, Some(keys))) => format!(", {name} with {keys} keys"),
        Some((name, None)) => format!(", {name}"),
        None => ", of no service that this program has".to_owned(),
    };
    line("service", format!("{service} bytes{of}"));
    line("initial_state", j.initial.to_hex());
    for (replica, round, state) in &opened.attestations {
        line("attested by", format!("{replica}: round {round}, state {state}"));
    }
    line(
        "attestations",
        match &j.attested {
            None => "NOT CHECKED: give --config with the file of its cluster".to_owned(),
            Some(Ok(state)) => format!("good: t + 1 replicas have signed the state {state}"),
            Some(Err(why)) => format!("NOT GOOD: {why}"),
        },
    );
    line(
        "state",
        match (&j.gives, &j.attested) {
            (Some(Ok(())), _) => "is the one that they attest".to_owned(),
            (Some(Err(why)), _) => format!("IS NOT THE ONE THAT THEY ATTEST: {why}"),
            (None, Some(Ok(_))) => "not checked: only the program with the service can".to_owned(),
            (None, _) => "not checked".to_owned(),
        },
    );
    out
}

fn as_json(j: &Judged, good: bool) -> serde_json::Value {
    let opened = &j.opened;
    let (ordering, sessions, service) = opened.sizes();
    let attestations = opened.attestations.iter().map(|(replica, round, state)| {
        json!({ "replica": replica.number(), "round": round.0, "state": state.to_hex() })
    });
    json!({
        "good": good,
        "cluster": j.backup.cluster.to_hex(),
        "round": opened.position().round.0,
        "agreed_time": opened.time().0,
        "executed": opened.executed(),
        "running": opened.running().to_hex(),
        "ordering_bytes": ordering,
        "session_bytes": sessions,
        "sessions": j.sessions,
        "service_bytes": service,
        "service": j.service.map(|(name, _)| name),
        "keys": j.service.and_then(|(_, keys)| keys),
        "initial_state": j.initial.to_hex(),
        "attestations": attestations.collect::<Vec<_>>(),
        "attested": j.attested.as_ref().map(|a| a.is_ok()),
        "attested_error": j.attested.and_then(Result::err),
        "state_is_attested": j.gives.map(|g| g.is_ok()),
        "state_error": j.gives.and_then(Result::err),
    })
}

impl Restore {
    fn run(self) -> anyhow::Result<ExitCode> {
        let new = load_cluster(&self.config)?;
        let (backup, opened) = read(&self.file)?;
        if let Some(old) = &self.old_config {
            let old = load_cluster(old)?;
            let judged = judge(&self.file, backup.clone(), opened.clone(), Some(&old))?;
            if let Some(Err(why)) = judged.attested {
                return Err(wrong(&self.file, why).into());
            }
            if let Some(Err(why)) = judged.gives {
                return Err(wrong(&self.file, why).into());
            }
        }
        if backup.cluster == new.id() {
            let message = format!(
                "{} is of this very cluster: a replica of it takes the state of the others by \
                 itself; make a new cluster with `quorate init --initial-state`",
                self.file.display()
            );
            return Err(Failure { code: USAGE, message }.into());
        }
        let name = new.service.name.as_str();
        if BUILT_IN.contains(&name) && of_service(opened.service(), Some(name)).is_none() {
            let why = format!("the service `{name}` of the new cluster cannot read its state");
            return Err(wrong(&self.file, &why).into());
        }
        let contents = InitialState::Service(opened.service().clone());
        prepare(&self.data, &new, &contents)?;
        let (data, bytes) = (self.data.display(), contents.bytes().len());
        let checked = match self.old_config {
            Some(_) => "attested by a majority of the old cluster",
            None => "not checked against the old cluster: give --old-config",
        };
        output::print(&format!(
            "prepared {data}: {bytes} bytes of state ({}), {checked}\n",
            contents.digest()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
