//! `quorate receipt`.

mod show;
mod words;

use super::client::assurance;
use super::{Failure, Subcommand, USAGE, output};
use crate::config::{Cluster, FaultModel};
use crate::crypto::{Ed25519, pem};
use crate::files::load_cluster;
use crate::proof::receipt::{
    Judged, MAX_RECEIPT_FILE, ReceiptError, ReceiptFile, ReceiptFileError,
};
use crate::types::{Assurance, Digest};
use clap::Args;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use words::Service;

/// Judge receipts, which show what a service answered, without asking anybody
///
/// Exit code: 0 if all receipts are valid, 1 if one is not, 2 for a wrong command line or file.
#[derive(Args)]
pub(super) struct Receipt {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Whether each receipt is valid, and why not
    Verify(Verify),
    /// All that each receipt says: who asked what, the answer, and who attests it
    ///
    /// It is judged by the keys that stand in it, or with --config by those of the cluster file.
    Show(Show),
}

#[derive(Args)]
struct Verify {
    #[command(flatten)]
    by: By,
    /// How much it must show: majority (t + 1 replicas), or strong (3 of 3, 4 of 5, 6 of 7), which
    /// no timing can contradict
    #[arg(long, value_name = "HOW", value_parser = assurance, default_value = "majority")]
    assurance: Assurance,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// Files of receipts
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct By {
    /// The cluster file
    #[arg(long)]
    config: Option<PathBuf>,
    /// The hash of the roster's keys, which `quorate check` prints; of when the receipt was made,
    /// or of before
    #[arg(long, value_name = "HASH", value_parser = roster_hash)]
    roster_hash: Option<Digest>,
}

#[derive(Args)]
struct Show {
    /// The cluster file: to judge by its keys, and for the names of clients and of the service
    #[arg(long)]
    config: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// Files of receipts
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

fn roster_hash(text: &str) -> Result<Digest, String> {
    let hash = pem::from_hex(text).map(Digest);
    hash.ok_or_else(|| "write the 64 hexadecimal digits that `quorate check` prints".to_owned())
}

/// What receipts are judged by.
enum Anchor {
    /// All that a cluster file says.
    Cluster(Box<Cluster>),
    /// A hash of the keys.
    Roster(Digest),
    /// The keys in the receipt itself.
    Itself,
}

/// A file with the verdict on it.
struct Opened {
    path: PathBuf,
    /// What it holds, if that can be read.
    file: Option<ReceiptFile>,
    /// What it proves, or why nothing.
    verdict: Result<Judged, ReceiptFileError>,
}

impl Subcommand for Receipt {
    fn run(self) -> anyhow::Result<ExitCode> {
        let (anchor, wanted, json, files) = match &self.action {
            Action::Verify(v) => (Anchor::of(&v.by)?, v.assurance, v.json, &v.files),
            Action::Show(s) => {
                let anchor = s.config.as_deref().map(Anchor::load).transpose()?;
                let anchor = anchor.unwrap_or(Anchor::Itself);
                (anchor, Assurance::Majority, s.json, &s.files)
            }
        };
        let mut opened = Vec::new();
        for path in files {
            opened.push(open(&anchor, wanted, path)?);
        }
        let valid = opened.iter().all(|o| o.verdict.is_ok());
        match (&self.action, json) {
            (_, true) => output::print_json(&show::as_json(valid, &opened, &anchor))?,
            (Action::Verify(_), _) => output::print(&show::verdicts(&opened))?,
            (Action::Show(_), _) => output::print(&show::whole(&opened, &anchor))?,
        }
        Ok(ExitCode::from(u8::from(!valid)))
    }
}

impl Anchor {
    fn of(by: &By) -> anyhow::Result<Self> {
        match (&by.config, by.roster_hash) {
            (Some(config), _) => Self::load(config),
            (None, Some(hash)) => Ok(Self::Roster(hash)),
            (None, None) => Ok(Self::Itself),
        }
    }

    fn load(config: &Path) -> anyhow::Result<Self> {
        let cluster = load_cluster(config)?;
        if cluster.fault_model == FaultModel::FailStop {
            let message = format!(
                "{} has fault_model = \"fail-stop\": nobody signs answers there, so there are no \
                 receipts",
                config.display()
            );
            return Err(Failure { code: USAGE, message }.into());
        }
        Ok(Self::Cluster(Box::new(cluster)))
    }

    fn judge(&self, file: &ReceiptFile) -> Result<Judged, ReceiptFileError> {
        match self {
            Anchor::Cluster(cluster) => {
                let keyring = cluster.keyring::<Ed25519>(file.group);
                let keyring =
                    keyring.expect("the parser of the cluster file has accepted its keys");
                file.judge(&keyring)
            }
            Anchor::Roster(hash) => file.judge_by_hash::<Ed25519>(hash),
            Anchor::Itself => file.judge_by_hash::<Ed25519>(&file.roster::<Ed25519>()?),
        }
    }

    /// The service whose commands a receipt holds: known, or seen by what they are.
    fn service(&self, file: &ReceiptFile) -> Service {
        match self {
            Anchor::Cluster(cluster) => Service::named(&cluster.service.name),
            Anchor::Roster(_) | Anchor::Itself => Service::seen(&file.receipt),
        }
    }

    /// The name of a client in the cluster file.
    fn client(&self, file: &ReceiptFile) -> Option<&str> {
        let Anchor::Cluster(cluster) = self else { return None };
        let is_it = |c: &&crate::config::ClientEntry| c.public_key.0 == file.receipt.client.0;
        cluster.clients.iter().find(is_it).map(|c| c.name.as_str())
    }
}

/// Reads and judges one file. An error if it cannot be read at all: that is no verdict.
fn open(anchor: &Anchor, wanted: Assurance, path: &Path) -> anyhow::Result<Opened> {
    let mut bytes = Vec::new();
    let most = MAX_RECEIPT_FILE as u64 + 1;
    File::open(path).and_then(|f| f.take(most).read_to_end(&mut bytes)).map_err(|e| {
        let message = format!("cannot read {}: {e}; give the files of receipts", path.display());
        Failure { code: USAGE, message }
    })?;
    let path = path.to_owned();
    let file = match ReceiptFile::parse(&bytes) {
        Ok(file) => file,
        Err(e) => return Ok(Opened { path, file: None, verdict: Err(e) }),
    };
    let verdict = anchor.judge(&file).and_then(|judged| match enough(&judged, wanted, &file) {
        Ok(()) => Ok(judged),
        Err(e) => Err(e.into()),
    });
    Ok(Opened { path, file: Some(file), verdict })
}

fn enough(judged: &Judged, wanted: Assurance, file: &ReceiptFile) -> Result<(), ReceiptError> {
    match file.ensemble() {
        Some(ensemble) => judged.at_least(wanted, ensemble),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
