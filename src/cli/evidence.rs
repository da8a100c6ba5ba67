//! `quorate evidence`.

mod show;

use super::{Failure, Subcommand, USAGE, output};
use crate::config::Cluster;
use crate::crypto::Ed25519;
use crate::crypto::Keyring;
use crate::files::load_cluster;
use crate::proof::{
    Conviction, DIVERGENCE_SUFFIX, Divergence, DivergenceFile, MAX_DIVERGENCE_FILE, PROOF_SUFFIX,
    ProofFile, convict,
};
use clap::Args;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The directory of proofs within a replica's.
const DIRECTORY: &str = "evidence";

/// Judge the proofs of lying that replicas keep, without asking anybody
///
/// Besides these there is evidence of divergence: replicas that signed different results. It shows
/// that one is broken, or that the service is not deterministic, and convicts nobody of a lie.
///
/// All that it takes is the cluster file. Exit code: 0 if all proofs are valid, 1 if one is not, 2
/// for a wrong command line or file.
#[derive(Args)]
pub(super) struct Evidence {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// One line a proof: who lied, when, how, and whether it is proven
    List(Which),
    /// All that each proof says
    Show(Which),
    /// Whether each proof is valid, and why not
    Verify(Which),
}

#[derive(Args)]
struct Which {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
    /// The directory of one replica [default: all of data/replica-* beside the cluster file]
    #[arg(long, conflicts_with = "files")]
    data: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// Files of proofs, instead of those that replicas keep
    files: Vec<PathBuf>,
}

/// A file with the verdict on it.
struct Judged {
    path: PathBuf,
    /// What it holds, if that can be read.
    file: Option<Contents>,
    /// What it proves, or why nothing.
    verdict: Result<Shown, String>,
}

/// What a file holds.
enum Contents {
    Proof(Box<ProofFile>),
    Divergence(DivergenceFile),
}

/// What a file proves.
#[derive(Debug)]
enum Shown {
    Lie(Conviction),
    Divergence(Divergence),
}

impl Contents {
    /// # Errors
    /// Why it is neither.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        match DivergenceFile::is_one(bytes) {
            true => DivergenceFile::parse(bytes).map(Self::Divergence),
            false => ProofFile::parse(bytes).map(Box::new).map(Self::Proof),
        }
        .map_err(|e| e.to_string())
    }

    fn judge(&self, cluster: &Cluster) -> Result<Shown, String> {
        let group = match self {
            Contents::Proof(file) => file.group,
            Contents::Divergence(file) => file.group,
        };
        let keyring: Keyring<Ed25519> =
            cluster.keyring(group).expect("the parser of the cluster file has accepted its keys");
        match self {
            Contents::Proof(file) => {
                file.fits(&keyring).map_err(|e| e.to_string())?;
                let limit = cluster.limits.max_candidates;
                let convicted = convict(&file.proof, &keyring, limit);
                convicted.map(Shown::Lie).map_err(|e| e.to_string())
            }
            Contents::Divergence(file) => {
                file.fits(&keyring).map_err(|e| e.to_string())?;
                file.judge(&keyring).map(Shown::Divergence).map_err(|e| e.to_string())
            }
        }
    }
}

impl Subcommand for Evidence {
    fn run(self) -> anyhow::Result<ExitCode> {
        let (Action::List(which) | Action::Show(which) | Action::Verify(which)) = &self.action;
        let cluster = load_cluster(&which.config)?;
        let places = which.directories()?;
        let paths = match which.files.is_empty() {
            true => proofs_in(&places)?,
            false => which.files.clone(),
        };
        let mut judged = Vec::new();
        for path in paths {
            judged.push(judge(&cluster, path)?);
        }
        let valid = judged.iter().all(|j| j.verdict.is_ok());
        match (&self.action, which.json) {
            (_, true) => output::print_json(&show::as_json(valid, &judged))?,
            _ if judged.is_empty() => output::print(&show::nothing(&places))?,
            (Action::List(_), _) => output::print(&show::list(&judged))?,
            (Action::Show(_), _) => output::print(&show::whole(&judged))?,
            (Action::Verify(_), _) => output::print(&show::verdicts(&judged))?,
        }
        Ok(ExitCode::from(u8::from(!valid)))
    }
}

impl Which {
    /// Where to look for proofs if no files are given. A replica that found none has no directory
    /// for them, but the one that is asked for by name must be there.
    fn directories(&self) -> anyhow::Result<Vec<PathBuf>> {
        if let Some(data) = &self.data {
            if !data.is_dir() {
                let message = format!(
                    "{} is no directory; give --data the directory in which a replica keeps its \
                     files",
                    data.display()
                );
                return Err(Failure { code: USAGE, message }.into());
            }
            return Ok(vec![data.join(DIRECTORY)]);
        }
        let all = self.config.with_file_name("data");
        let is_replica = |name: &str| name.starts_with("replica-");
        Ok(entries(&all, is_replica)?.into_iter().map(|data| data.join(DIRECTORY)).collect())
    }
}

fn proofs_in(directories: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    // Names with a dot in front are files that are being written.
    let is_proof = |name: &str| {
        (name.ends_with(PROOF_SUFFIX) || name.ends_with(DIVERGENCE_SUFFIX))
            && !name.starts_with('.')
    };
    let mut paths = Vec::new();
    for directory in directories {
        paths.extend(entries(directory, is_proof)?);
    }
    Ok(paths)
}

/// What is in a directory under such names, in order; nothing if there is no such directory.
fn entries(directory: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = |e: std::io::Error| {
        let message = format!("cannot list {}: {e}; run it as who can", directory.display());
        Failure { code: USAGE, message }
    };
    let listed = match fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(cannot(e).into()),
    };
    let mut paths = Vec::new();
    for entry in listed {
        let entry = entry.map_err(cannot)?;
        if entry.file_name().to_str().is_some_and(&wanted) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Judges one file. An error if it cannot be read at all: that is no verdict.
fn judge(cluster: &Cluster, path: PathBuf) -> anyhow::Result<Judged> {
    let mut bytes = Vec::new();
    let most = MAX_DIVERGENCE_FILE as u64 + 1;
    File::open(&path).and_then(|f| f.take(most).read_to_end(&mut bytes)).map_err(|e| {
        let message = format!("cannot read {}: {e}; give the files of proofs", path.display());
        Failure { code: USAGE, message }
    })?;
    let file = match Contents::parse(&bytes) {
        Ok(file) => file,
        Err(why) => return Ok(Judged { path, file: None, verdict: Err(why) }),
    };
    let verdict = file.judge(cluster);
    Ok(Judged { path, file: Some(file), verdict })
}

#[cfg(test)]
mod tests;
