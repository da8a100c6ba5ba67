//! `quorate doctor`.

mod examine;

use super::ask::{self, Answer};
use super::{Subcommand, delta, output, votes};
use crate::client::any_address;
use crate::config::Cluster;
use crate::crypto::PublicKey;
use crate::files::{load_cluster, read_secret_key};
use crate::transport::{Endpoint, Settings};
use crate::types::ReplicaId;
use clap::Args;
use examine::{Examined, Plan, examine};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Dial every replica as a client and say what is wrong with each link
///
/// Exit code: 0 if all is well, 1 if something is not, 2 for a wrong command line or file.
#[derive(Args)]
pub(super) struct Doctor {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
    /// A client's private key file
    #[arg(long)]
    key: PathBuf,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// What the replicas say of themselves, as far as their admin addresses can be reached from here.
struct Measured<'a> {
    cluster: &'a Cluster,
    answers: &'a [Answer],
}

/// Something that is not well, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    what: String,
    remedy: String,
}

impl Problem {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl Subcommand for Doctor {
    fn run(self) -> anyhow::Result<ExitCode> {
        let cluster = load_cluster(&self.config)?;
        let key = read_secret_key(&self.key)?;
        let about_key = judge_key(&cluster, &key.public());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (examined, answers) = runtime.block_on(async {
            let settings = Settings::default().on_paths_of(cluster.mtu);
            let endpoint = Endpoint::bind(any_address(&cluster), &key, None, settings)?;
            let endpoint = Arc::new(endpoint);
            let mut patients = Vec::new();
            for replica in &cluster.replicas {
                let plan = Plan::new(&cluster, replica);
                patients.push(tokio::spawn(examine(endpoint.clone(), plan)));
            }
            let mut examined = Vec::new();
            for patient in patients {
                examined.push(patient.await?);
            }
            endpoint.close("examined").await;
            anyhow::Ok((examined, ask::all(&cluster, ask::PATIENCE).await))
        })?;
        let measured = Measured { cluster: &cluster, answers: &answers };
        let about_delta = delta::findings(&cluster, &answers);
        let links = about_key.is_none() && examined.iter().all(|e| e.problems.is_empty());
        let well = links && about_delta.is_empty();
        match self.json {
            true => output::print_json(&as_json(well, &about_key, &examined, &measured))?,
            false => output::print(&as_text(well, &about_key, &examined, &measured))?,
        }
        Ok(ExitCode::from(u8::from(!well)))
    }
}

// Whether the file gives this key a client's rights; the replicas' files may differ.
fn judge_key(cluster: &Cluster, key: &PublicKey) -> Option<Problem> {
    if let Some(replica) = cluster.replica_with_key(key) {
        let what = format!("the key is that of {}", replica.id);
        return Some(Problem::new(what, "give --key the file of a client's key"));
    }
    cluster.client_with_key(key).is_none().then(|| {
        Problem::new(
            format!("the key {} is not in the cluster file", key.fingerprint()),
            "add a [[client]] section with its public key on all hosts before the replicas start",
        )
    })
}

fn as_text(
    well: bool,
    about_key: &Option<Problem>,
    examined: &[Examined],
    measured: &Measured<'_>,
) -> String {
    let width = examined.iter().map(|e| e.address.len()).max().unwrap_or(0).max(7);
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes all");
    line(format!(
        "{:<8} {:<width$} {:<9} {:<8} {:<7} {:>5} {:>9} {:>9} {:>9}",
        "replica", "address", "link", "cluster", "config", "start", "rtt min", "rtt mid", "clock"
    ));
    let dash = || "-".to_owned();
    let time = |d: Option<Duration>| d.map_or_else(dash, |d| format!("{d:.0?}"));
    for e in examined {
        let same = |b: Option<bool>| match b {
            Some(true) => "same",
            Some(false) => "differs",
            None => "-",
        };
        let link = match () {
            () if e.admitted == Some(true) => "up",
            () if e.admitted == Some(false) => "refused",
            () if e.right_key == Some(false) => "wrong key",
            () if e.reachable => "failed",
            () => "no answer",
        };
        let fields = e.fields_differ.as_ref().map(Vec::is_empty);
        line(format!(
            "{:<8} {:<width$} {link:<9} {:<8} {:<7} {:>5} {:>9} {:>9} {:>9}",
            e.replica.to_string(),
            e.address,
            same(e.same_cluster),
            same(fields),
            e.incarnation.map_or_else(dash, |i| i.to_string()),
            time(e.rtt.map(|r| r.least)),
            time(e.rtt.map(|r| r.median)),
            e.offset_us.map_or_else(dash, offset_text),
        ));
    }
    let Measured { cluster, answers } = measured;
    let table = delta::table(cluster, answers);
    if !table.is_empty() {
        line(table);
    }
    delta::advice(cluster, answers).into_iter().for_each(&mut line);
    let mut problem = |whose: &str, p: &Problem| {
        line(format!("{whose}: {}\n  {}", p.what, p.remedy));
    };
    about_key.iter().for_each(|p| problem("key", p));
    for e in examined {
        e.problems.iter().for_each(|p| problem(&e.replica.to_string(), p));
    }
    for (what, remedy) in delta::findings(cluster, answers) {
        problem("delta", &Problem::new(what, remedy));
    }
    if well {
        line("all is well".to_owned());
    }
    out
}

fn offset_text(us: i64) -> String {
    let d = Duration::from_micros(us.unsigned_abs());
    format!("{}{d:.0?}", if us < 0 { '-' } else { '+' })
}

fn as_json(
    well: bool,
    about_key: &Option<Problem>,
    examined: &[Examined],
    measured: &Measured<'_>,
) -> Value {
    let problem = |p: &Problem| json!({ "problem": p.what, "remedy": p.remedy });
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let replica = |e: &Examined| {
        json!({
            "replica": e.replica.number(),
            "address": e.address,
            "reachable": e.reachable,
            "right_key": e.right_key,
            "admitted": e.admitted,
            "same_cluster": e.same_cluster,
            "fields_differ": e.fields_differ,
            "incarnation": e.incarnation,
            "restarted": e.restarted,
            "round": e.round,
            "rtt_min_us": e.rtt.map(|r| micros(r.least)),
            "rtt_median_us": e.rtt.map(|r| micros(r.median)),
            "clock_offset_us": e.offset_us,
            "problems": e.problems.iter().map(problem).collect::<Vec<_>>(),
        })
    };
    json!({
        "well": well,
        "key": about_key.as_ref().map(problem),
        "replicas": examined.iter().map(replica).collect::<Vec<_>>(),
        "delta": delta::as_json(measured.cluster, measured.answers),
    })
}

/// Names of configuration fields for a line of text.
fn names(fields: &[String]) -> String {
    fields.iter().map(|f| votes::escape(f.as_bytes())).collect::<Vec<_>>().join(", ")
}

/// How a replica is called in texts.
fn called(replica: ReplicaId, address: &str) -> String {
    format!("{replica} at {address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_have_a_sign() {
        assert_eq!((offset_text(-1500), offset_text(20)), ("-2ms".into(), "+20µs".into()));
        assert_eq!(offset_text(i64::MIN).chars().next(), Some('-'));
    }
}
