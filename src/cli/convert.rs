//! `quorate convert`.

use super::{Failure, Subcommand, USAGE, output};
use crate::chain::MakeService;
use crate::config::{Cluster, FaultModel, with_model_changed};
use crate::daemon::{FoundDisk, Installed, TakenOver, install, take_over};
use crate::files::{create_new, load_cluster, parse_cluster, read_configuration, shell_word};
use crate::offline::InitialState;
use crate::service::{BUILT_IN, Carried, built_in};
use crate::types::ReplicaId;
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The exit code if data cannot be taken over, or a directory not be given it.
const WRONG: u8 = 1;

/// Take the data of a cluster over to its other fault model, while no replica runs
///
/// Stop the clients, wait until `quorate status` shows the same executed round at all replicas,
/// and stop the replicas. Then take the latest state that t + 1 replicas agree on (voting mode), or
/// that of the whole chain (fail-stop mode), with sessions and stored replies: nothing that was
/// answered is lost, and nothing runs twice. It becomes a file beside the cluster file, with
/// another cluster file that names it. The data directories are only read.
///
/// Then give each replica a directory that begins with it (--install). The one that was there is
/// moved aside, whole: to go back, move it back.
///
/// Exit code: 0 if all is done, 1 if the data cannot be taken over or a directory not be given it,
/// 2 for a wrong command line or file.
///
/// Examples:
///   quorate convert --to fail-stop --config quorate.toml --data data/replica-1 \
///     --data data/replica-2 --data data/replica-3 --dry-run
///   quorate convert --install quorate.fail-stop.state --config quorate.fail-stop.toml \
///     --data data/replica-1
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Convert {
    /// The fault model to go to: byzantine or fail-stop
    #[arg(long, value_name = "MODEL", value_parser = super::init::fault_model)]
    #[arg(required_unless_present = "install")]
    to: Option<FaultModel>,
    /// Give replicas the state in this file, which `convert --to` has made
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "lost"])]
    install: Option<PathBuf>,
    /// The cluster file: the present one to take data over, the new one to install it
    #[arg(long)]
    config: PathBuf,
    /// The directory in which a replica keeps its files; once for each replica whose directory is
    /// here. To take data over, those of all replicas but the --lost ones
    #[arg(long, required = true)]
    data: Vec<PathBuf>,
    /// A replica whose disk is gone for good, or which lies; at most t
    #[arg(long, value_name = "REPLICA")]
    lost: Vec<u8>,
    /// Look at everything and say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Subcommand for Convert {
    fn run(self) -> anyhow::Result<ExitCode> {
        match (&self.install, self.to) {
            (Some(file), _) => self.install(file)?,
            (None, to) => self.take(to.expect("clap asks for it"))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is to be written.
struct Prepared {
    taken: TakenOver,
    state: InitialState,
    state_file: PathBuf,
    text: String,
    config_file: PathBuf,
    sessions: usize,
}

impl Convert {
    fn take(&self, to: FaultModel) -> anyhow::Result<()> {
        let cluster = load_cluster(&self.config)?;
        if cluster.fault_model == to {
            let file = self.config.display();
            let message = format!("{file} says fault_model = \"{}\" already", to.name());
            return Err(Failure { code: USAGE, message }.into());
        }
        let prepared = self.prepare(&cluster, to)?;
        if !self.dry_run {
            create_new(&prepared.state_file, prepared.state.bytes(), 0o600)?;
            create_new(&prepared.config_file, prepared.text.as_bytes(), 0o644)?;
        }
        match self.json {
            true => output::print_json(&as_json(&prepared, self.dry_run))?,
            false => output::print(&as_text(&prepared, to, self.dry_run))?,
        }
        Ok(())
    }

    fn prepare(&self, cluster: &Cluster, to: FaultModel) -> anyhow::Result<Prepared> {
        let config_file = beside(&self.config, to.name(), "toml");
        let state_file = beside(&self.config, to.name(), "state");
        for file in [&config_file, &state_file] {
            if file.exists() {
                let message = format!(
                    "{} is there already; move it away if it is of an earlier attempt",
                    file.display()
                );
                return Err(Failure { code: USAGE, message }.into());
            }
        }
        let (make, lost) = (maker(cluster)?, self.lost(cluster)?);
        let taken = take_over(cluster, &self.data, &lost, &make);
        let taken = taken.map_err(|e| Failure { code: WRONG, message: e.to_string() })?;
        let state = InitialState::Carried(taken.carried.to_bytes().into());
        let text = read_configuration(&self.config)?;
        let changed = with_model_changed(&text, to.name(), &state.digest().to_hex());
        let text = changed.ok_or_else(|| Failure {
            code: USAGE,
            message: format!(
                "{} has a section [service] without a name: write name = \"{}\" there",
                self.config.display(),
                cluster.service.name
            ),
        })?;
        // What is refused there should be refused before anything is changed.
        let other = parse_cluster(&text, &config_file)?;
        let inherited = taken.carried.inherited(&other.limits);
        let sessions = inherited.map_err(|e| Failure { code: WRONG, message: e.to_string() })?;
        let sessions = sessions.sessions.len();
        Ok(Prepared { taken, state, state_file, text, config_file, sessions })
    }

    fn lost(&self, cluster: &Cluster) -> Result<Vec<ReplicaId>, Failure> {
        let usage = |message: String| Failure { code: USAGE, message };
        let found = self.lost.iter().map(|number| {
            let id = ReplicaId::new(*number).filter(|id| cluster.replica(*id).is_some());
            let none = || usage(format!("--lost {number}: the cluster file has no such replica"));
            id.ok_or_else(none)
        });
        found.collect()
    }

    fn install(&self, file: &Path) -> anyhow::Result<()> {
        let cluster = load_cluster(&self.config)?;
        let bytes = std::fs::read(file).map_err(|e| {
            let message = format!("cannot read {}: {e}", file.display());
            Failure { code: USAGE, message }
        })?;
        let bytes = Bytes::from(bytes);
        let named = cluster.service.initial;
        let state = named.and_then(|named| InitialState::named(bytes.clone(), &named));
        let Some(state) = state else {
            let (config, file) = (self.config.display(), file.display());
            let what = named.map_or("no initial state".to_owned(), |d| format!("the state {d}"));
            let message = format!(
                "{config} names {what}, which {file} is not: give the two files that one \
                 `quorate convert --to` has made"
            );
            return Err(Failure { code: USAGE, message }.into());
        };
        if let InitialState::Carried(bytes) = &state {
            let carried = Carried::parse(bytes).map_err(|e| e.to_string());
            let limits = &cluster.limits;
            let fits = carried.and_then(|c| c.inherited(limits).map_err(|e| e.to_string()));
            fits.map_err(|why| {
                let message = format!("{}: {why}", file.display());
                Failure { code: WRONG, message }
            })?;
        }
        let mut done = Vec::new();
        for data in &self.data {
            let installed = install(data, &cluster, &state, self.dry_run);
            let installed = installed.map_err(|e| {
                let so_far = match done.len() {
                    0 => String::new(),
                    n => format!(" ({n} done before; repeat the same command when this is mended)"),
                };
                Failure { code: WRONG, message: format!("{e}{so_far}") }
            })?;
            done.push((data, installed));
        }
        match self.json {
            true => output::print_json(&installed_json(&done, self.dry_run))?,
            false => output::print(&installed_text(&done, &self.config, self.dry_run))?,
        }
        Ok(())
    }
}

/// `quorate.toml` with this word and another ending: one that an earlier conversion has put there
/// gives way.
fn beside(config: &Path, word: &str, ending: &str) -> PathBuf {
    let stem = config.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let stem = stem.unwrap_or_else(|| "quorate".to_owned());
    let words = [FaultModel::Byzantine, FaultModel::FailStop].map(|m| format!(".{}", m.name()));
    let plain = words.iter().find_map(|word| stem.strip_suffix(word.as_str())).unwrap_or(&stem);
    config.with_file_name(format!("{plain}.{word}.{ending}"))
}

fn maker(cluster: &Cluster) -> Result<MakeService, Failure> {
    let Some(name) = BUILT_IN.iter().find(|name| **name == cluster.service.name) else {
        let message = format!(
            "this program has no service `{}`: whoever has it calls quorate::daemon::take_over",
            cluster.service.name
        );
        return Err(Failure { code: USAGE, message });
    };
    Ok(MakeService(Arc::new(|| built_in(name).expect("it is in the list"))))
}

fn proofs(disks: &[FoundDisk]) -> usize {
    disks.iter().map(|disk| disk.proofs).sum()
}

fn as_text(p: &Prepared, to: FaultModel, dry_run: bool) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes all");
    for disk in &p.taken.disks {
        line(format!("{}  {}: {}", disk.replica, disk.path.display(), disk.what));
    }
    let (service, sessions) = (p.taken.carried.service.len(), p.sessions);
    line(format!("state      {}", p.taken.at));
    line(format!("           {service} bytes of the service, {sessions} sessions"));
    line(format!("digest     {}", p.state.digest().to_hex()));
    let proofs = proofs(&p.taken.disks);
    if proofs > 0 {
        let what = "of lying lie in evidence/ of these directories: whom they convict";
        line(format!("WARNING    {proofs} proof(s) {what}"));
        line("           is a member again in the new cluster (quorate evidence list)".to_owned());
    }
    if to == FaultModel::FailStop {
        line(
            "NOTE       in the fail-stop model one member that lies can make clients believe \
              anything"
                .to_owned(),
        );
    }
    let (state, config) = (shell_word(&p.state_file), shell_word(&p.config_file));
    if dry_run {
        line(format!("would write {state} and {config}; nothing was changed"));
        return out;
    }
    line(format!("wrote      {state}\n           {config}"));
    line(format!(
        "\nnext, for every replica, on its host with these two files:\n  \
         quorate convert --install {state} --config {config} --data DIR\n\
         then start replicas and clients with --config {config}"
    ));
    out
}

fn as_json(p: &Prepared, dry_run: bool) -> serde_json::Value {
    let disks = p.taken.disks.iter().map(|disk| {
        json!({
            "replica": disk.replica.number(),
            "data": disk.path.display().to_string(),
            "found": disk.what,
            "proofs": disk.proofs,
        })
    });
    json!({
        "disks": disks.collect::<Vec<_>>(),
        "at": p.taken.at,
        "agreed_time": p.taken.carried.time.0,
        "service_bytes": p.taken.carried.service.len(),
        "sessions": p.sessions,
        "initial_state": p.state.digest().to_hex(),
        "state_file": p.state_file.display().to_string(),
        "config_file": p.config_file.display().to_string(),
        "written": !dry_run,
    })
}

fn installed_text(done: &[(&PathBuf, Installed)], config: &Path, dry_run: bool) -> String {
    let mut out = String::new();
    let would = if dry_run { "would be " } else { "" };
    for (data, installed) in done {
        let data = data.display();
        let what = match installed {
            Installed::Aside(aside) => {
                format!("{would}begun anew; what was there {would}moved to {}", aside.display())
            }
            Installed::New => format!("{would}made"),
            Installed::Before => "has this state already: left as it is".to_owned(),
        };
        writeln!(out, "{data}: {what}").expect("a string takes all");
    }
    if !dry_run {
        let config = shell_word(config);
        writeln!(out, "start the replicas with --config {config}").expect("a string takes all");
    }
    out
}

fn installed_json(done: &[(&PathBuf, Installed)], dry_run: bool) -> serde_json::Value {
    let each = done.iter().map(|(data, installed)| {
        let (what, aside) = match installed {
            Installed::Aside(aside) => ("begun-anew", Some(aside.display().to_string())),
            Installed::New => ("made", None),
            Installed::Before => ("before", None),
        };
        json!({ "data": data.display().to_string(), "what": what, "aside": aside })
    });
    json!({ "installed": each.collect::<Vec<_>>(), "written": !dry_run })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_stand_beside_the_cluster_file_and_carry_the_model() {
        let name = |config: &str, word| beside(Path::new(config), word, "toml");
        assert_eq!(name("a/quorate.toml", "fail-stop"), Path::new("a/quorate.fail-stop.toml"));
        let again = name("a/quorate.fail-stop.toml", "byzantine");
        assert_eq!(again, Path::new("a/quorate.byzantine.toml"));
        assert_eq!(beside(Path::new("c"), "byzantine", "state"), Path::new("c.byzantine.state"));
    }
}
