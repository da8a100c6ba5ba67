//! `quorate status`.

pub(super) mod trouble;

use super::ask::{self, Answer};
use super::votes::escape;
use super::{Subcommand, delta, output};
use crate::config::{ChainEntry, Cluster, FaultModel, ReplicaEntry};
use crate::files::load_cluster;
use crate::replica::{ChainStatus, LinkStatus, Standing, Status as Condition};
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use trouble::{duration, trouble};

/// Show how each replica is, as it says itself on its admin address
///
/// Exit code: 0 if all replicas take part and none waits, 1 otherwise.
#[derive(Args)]
pub(super) struct Status {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// Print again every so many seconds until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1")]
    watch: Option<u64>,
}

impl Subcommand for Status {
    fn run(self) -> anyhow::Result<ExitCode> {
        let cluster = load_cluster(&self.config)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            loop {
                let answers = ask::all(&cluster, ask::PATIENCE).await;
                if self.watch.is_some() && std::io::stdout().is_terminal() && !self.json {
                    // Clears the screen and goes to its upper left corner.
                    output::print("\x1b[2J\x1b[H")?;
                }
                if self.json {
                    output::print_json(&as_json(&cluster, &answers))?;
                } else {
                    output::print(&as_text(&cluster, &answers))?;
                }
                let Some(seconds) = self.watch else {
                    let well = answers.iter().all(is_well);
                    return Ok(ExitCode::from(u8::from(!well)));
                };
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(seconds.max(1))) => {}
                    _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
                }
            }
        })
    }
}

fn is_well(answer: &Answer) -> bool {
    let chain_is = |s: &Condition| s.each_chain().all(|c| c.halted.is_none() && !c.lost);
    let takes_part = |s: &Condition| matches!(s.standing, Standing::Member | Standing::Host);
    let is = |s: &Condition| takes_part(s) && s.waiting.is_none() && chain_is(s);
    answer.as_ref().is_ok_and(is)
}

fn as_json(cluster: &Cluster, answers: &[Answer]) -> Value {
    let one = |(entry, answer): (&ReplicaEntry, &Answer)| match answer {
        Ok(status) => json!({"replica": entry.id.number(), "reached": true, "status": status}),
        Err(why) => json!({"replica": entry.id.number(), "reached": false, "error": why}),
    };
    let replicas: Vec<Value> = cluster.replicas.iter().zip(answers).map(one).collect();
    json!({ "cluster": cluster.id().to_hex(), "replicas": replicas })
}

fn as_text(cluster: &Cluster, answers: &[Answer]) -> String {
    let mut text = format!("cluster {}\n\n", cluster.id());
    let head = "replica  standing   epoch    members  round     executed  requests    \
                state@round          links";
    let _ = writeln!(text, "{head}");
    for (entry, answer) in cluster.replicas.iter().zip(answers) {
        match answer {
            Ok(s) if s.standing == Standing::Host => {
                let links: Vec<String> = s.links.iter().map(link).collect();
                let (id, standing) = (entry.id.to_string(), s.standing.name());
                let _ = writeln!(
                    text,
                    "{id:<8} {standing:<10} {:<8} {:<8} {:<9} {:<9} {:<11} {:<20} {}",
                    "-",
                    "-",
                    "-",
                    "-",
                    "-",
                    "-",
                    links.join("  ")
                );
            }
            Ok(s) => {
                // Before the first checkpoint the chain over all outputs shows as much.
                let state = match (s.checkpoint, s.executed_round) {
                    (0, 0) => "-".to_owned(),
                    (0, round) => format!("{:.10}@{round}", s.running),
                    (round, _) => format!("{:.10}@{round}", s.state),
                };
                let links: Vec<String> = s.links.iter().map(link).collect();
                let _ = writeln!(
                    text,
                    "{:<8} {:<10} {:<8} {:<8} {:<9} {:<9} {:<11} {:<20} {}",
                    entry.id.to_string(),
                    s.standing.name(),
                    escape(s.epoch.as_bytes()),
                    members(&s.members),
                    s.round,
                    s.executed_round,
                    s.executed,
                    escape(state.as_bytes()),
                    links.join("  ")
                );
            }
            Err(why) => {
                // It may hold words of whoever answers at the address.
                let why = escape(why.as_bytes());
                let _ = writeln!(text, "{:<8} not reached: {why}", entry.id.to_string());
            }
        }
    }
    if cluster.fault_model == FaultModel::FailStop {
        if !cluster.chain.is_empty() {
            text.push_str("\nthe chains (above: the group of their master)\n");
        }
        for chain in cluster.each_chain() {
            text.push_str(&chain_text(cluster, &chain, answers));
        }
    }
    text.push_str(&delta::table(cluster, answers));
    text.push_str(&trouble(cluster, answers));
    text
}

/// A chain, in the fail-stop model.
fn chain_text(cluster: &Cluster, chain: &ChainEntry, answers: &[Answer]) -> String {
    let head = "replica  chain    configuration      executed  has       durable   lease";
    let mut text = match cluster.chain.len() {
        0 => format!("\nthe chain (above: the group of its master)\n\n{head}\n"),
        _ => format!("\nchain {} ({})\n\n{head}\n", chain.number, chain.share),
    };
    for (entry, answer) in cluster.replicas.iter().zip(answers) {
        let status = answer.as_ref().ok();
        let of_chain = |s: &&ChainStatus| s.number == chain.number;
        let Some(c) = status.and_then(|s| s.each_chain().find(of_chain)) else { continue };
        let members = c.members.iter().map(|m| format!("R{m}")).collect::<Vec<_>>().join(">");
        let _ = writeln!(
            text,
            "{:<8} {:<8} {:<18} {:<9} {:<9} {:<9} {}",
            entry.id.to_string(),
            c.role.name(),
            format!("{} {members}", c.config),
            c.executed,
            c.last,
            c.durable,
            match c.lease_ms {
                0 => "none".to_owned(),
                left => format!("{left} ms"),
            }
        );
    }
    text
}

/// Numbers as ranges, as in `1-3,5`.
fn members(numbers: &[u8]) -> String {
    let mut ranges: Vec<(u8, u8)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let range = |(first, last): &(u8, u8)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    match ranges.is_empty() {
        true => "-".to_owned(),
        false => ranges.iter().map(range).collect::<Vec<_>>().join(","),
    }
}

fn link(l: &LinkStatus) -> String {
    match (l.up, l.rtt_us) {
        (true, Some(rtt)) => format!("R{} {:.1} ms", l.replica, rtt as f64 / 1000.0),
        (true, None) => format!("R{} up", l.replica),
        (false, _) => format!("R{} DOWN {}", l.replica, duration(l.since_ms * 1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::init::{InitOptions, write_cluster};

    #[test]
    fn members_are_written_as_ranges() {
        let rows: [(&[u8], &str); 5] =
            [(&[], "-"), (&[2], "2"), (&[1, 2, 3], "1-3"), (&[1, 3], "1,3"), (&[1, 2, 5], "1-2,5")];
        for (numbers, text) in rows {
            assert_eq!(members(numbers), text);
        }
    }

    #[test]
    fn people_see_who_is_in_what_was_executed_and_no_control_characters() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = write_cluster(&InitOptions::new(dir.path().join("c"))).unwrap().cluster;
        let fresh = Condition {
            members: vec![1, 2, 3],
            executed_round: 7,
            running: "0123456789abcdef".to_owned(),
            ..Condition::default()
        };
        let later =
            Condition { checkpoint: 256, state: "fedcba9876543210".to_owned(), ..fresh.clone() };
        let text = as_text(&cluster, &[Ok(fresh.clone()), Ok(later), Err("\x1b[2J".to_owned())]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[3].contains(" 1-3 ") && lines[3].contains("0123456789@7"), "{text}");
        assert!(lines[4].contains("fedcba9876@256"), "{text}");
        let evil = Condition { epoch: "\x1b]0;x".into(), running: "\x07".into(), ..fresh };
        let text = text + &as_text(&cluster, &[Ok(evil)]);
        assert!(!text.replace('\n', "").contains(char::is_control), "{text:?}");
    }
}
