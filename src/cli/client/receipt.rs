//! `--receipt`: what shows the answer to others, gathered after it and written to a file.

use super::super::{Failure, USAGE, output};
use super::ask::Asked;
use super::words::{Ask, page};
use crate::client::{CallError, Client, Proven, ReceiptTrouble, Receipted};
use crate::config::{Cluster, FaultModel};
use crate::crypto::{Ed25519, Keyring};
use crate::files::write_atomically;
use crate::proof::receipt::ReceiptFile;
use crate::service::kv;
use crate::types::{GroupId, Members, ReplicaId, RequestId};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The command is done, and there is no receipt of it.
pub(super) const NO_RECEIPT: u8 = 7;

/// Where receipts go, and the keys that they are judged by.
pub(super) struct Receipts {
    file: PathBuf,
    force: bool,
    keyring: Keyring<Ed25519>,
}

/// A receipt or why there is none.
pub(super) type Outcome = Result<Proven, ReceiptTrouble>;

impl Receipts {
    /// Receipts into this file; of many commands into files of that name with the line behind it.
    ///
    /// # Errors
    /// If there can be none, or something is there already: before anything is sent.
    pub fn new(cluster: &Cluster, file: PathBuf, force: bool) -> anyhow::Result<Self> {
        if cluster.fault_model == FaultModel::FailStop {
            let message = "--receipt: there are no receipts in a fail-stop cluster, where nobody \
                           attests what was answered; nothing was sent"
                .to_owned();
            return Err(Failure { code: USAGE, message }.into());
        }
        let keyring = cluster.keyring(GroupId::MAIN).map_err(|(replica, why)| {
            anyhow::anyhow!("the key of {replica} in the cluster file is not usable: {why}")
        })?;
        let receipts = Self { file, force, keyring };
        receipts.is_free(&receipts.file)?;
        Ok(receipts)
    }

    fn is_free(&self, file: &Path) -> anyhow::Result<()> {
        if self.force || !file.exists() {
            return Ok(());
        }
        let message = format!(
            "{} exists already; name another file for --receipt, or give --force to replace it; \
             nothing was sent",
            file.display()
        );
        Err(Failure { code: USAGE, message }.into())
    }

    /// Where the receipt of a line of a batch goes.
    pub fn of_line(&self, line: u64) -> PathBuf {
        let mut name = OsString::from(&self.file);
        name.push(format!(".{line}"));
        name.into()
    }

    /// The file for a single command.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether the receipt of this line may be written.
    ///
    /// # Errors
    /// If something is there already, in words.
    pub fn may_write(&self, line: u64) -> Result<(), String> {
        self.is_free(&self.of_line(line)).map_err(|e| e.to_string())
    }

    /// Writes a receipt so that it is there whole or not at all; gives what is said of it.
    pub fn write(&self, file: &Path, outcome: &Outcome) -> Written {
        let proven = match outcome {
            Ok(proven) => proven,
            Err(why) => return Written::failed(why.to_string()),
        };
        let bytes = ReceiptFile::new(proven.receipt.clone(), &self.keyring).to_bytes();
        if let Err(why) = write_atomically(file, &bytes, 0o644) {
            return Written::failed(format!("it cannot be written: {why}"));
        }
        let judged = &proven.judged;
        let numbers =
            |members: Members| -> Vec<u8> { members.iter().map(ReplicaId::number).collect() };
        let json = json!({
            "file": file.display().to_string(),
            "assurance": judged.assurance.name(),
            "signers": numbers(judged.signers),
            "rolled": numbers(judged.rolled),
            "delta_held": numbers(judged.delta_held),
        });
        let name = judged.assurance.name();
        let delta = match judged.delta_held == judged.signers {
            true => "all of them saw delta hold".to_owned(),
            false => format!("delta was seen to hold by {} only", judged.delta_held),
        };
        let said =
            format!("receipt {}: {name}, signed by {}; {delta}", file.display(), judged.signers);
        Written { json, said: Ok(said) }
    }
}

/// What became of a receipt.
pub(super) struct Written {
    /// For programs.
    pub json: Value,
    /// For people: where it is and what it shows, or why there is none.
    pub said: Result<String, String>,
}

impl Written {
    fn failed(why: String) -> Self {
        Self { json: json!({ "error": why }), said: Err(why) }
    }

    /// Says it on standard error: what went wrong always, the rest if that is wanted.
    pub fn tell(&self, request: Option<RequestId>, explain: bool) {
        let request = request.map_or(String::new(), |request| format!(" as {request}"));
        match &self.said {
            Ok(said) if explain => eprintln!("{said}"),
            Ok(_) => {}
            Err(why) => {
                eprintln!("error: the command is done{request}, but it has no receipt: {why}");
            }
        }
    }
}

/// Asks with a receipt, in one request. Of a scan this is the first page.
pub(super) async fn ask_for_receipt(
    client: &Client,
    what: &Ask,
) -> (Result<Asked, CallError>, Outcome) {
    let command = match what {
        Ask::Scan { prefix, limit } => kv::Command::scan_after(prefix, b"", page(*limit)),
        _ => what.command(),
    };
    let command = super::ask::command(&command);
    let Receipted { result, receipt } = client.call_for_receipt(vec![command]).await;
    (result.and_then(super::ask::read), receipt)
}

/// Prints a document for programs with what became of the receipt in it.
pub(super) fn print_json(mut document: Value, written: Option<&Written>) -> std::io::Result<()> {
    if let Some(written) = written {
        document["receipt"] = written.json.clone();
    }
    output::print_json(&document)
}
