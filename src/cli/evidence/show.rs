//! How proofs are shown.

use super::{Contents, Judged, Shown};
use crate::crypto::Unverified;
use crate::proof::Divergence;
use crate::types::{Digest, Epoch, Members};
use crate::wire::{Header, Proof, ReportHeader};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// When there is nothing to judge.
pub(super) fn nothing(places: &[PathBuf]) -> String {
    match places {
        [] => "no replica keeps files here; give --data the directory of one\n".to_owned(),
        _ => {
            let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
            format!("no proof of a lie in {}\n", places.join(", "))
        }
    }
}

/// One line a proof.
pub(super) fn list(judged: &[Judged]) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        writeln!(out, "{}", text.trim_end()).expect("a string takes all that is written");
    };
    line(format!("{:<8} {:<10} {:<13} {:<8} file", "replica", "epoch", "kind", "proven"));
    for j in judged {
        let file = j.path.display();
        line(match &j.verdict {
            Ok(shown) => {
                let (replica, epoch, kind) = in_short(shown, j.file.as_ref());
                format!("{replica:<8} {epoch:<10} {kind:<13} {:<8} {file}", "yes")
            }
            Err(why) => format!("{:<8} {:<10} {:<13} {:<8} {file}: {why}", "-", "-", "-", "NO"),
        });
    }
    out
}

/// Whom it is about, in which epoch it was signed, and its kind.
fn in_short(shown: &Shown, file: Option<&Contents>) -> (String, String, &'static str) {
    match shown {
        Shown::Lie(c) => (c.replica.to_string(), c.epoch.to_string(), c.kind.name()),
        Shown::Divergence(what) => {
            let statement = file.and_then(|f| parts(f).0.first().map(|h| h.peek().epoch));
            let epoch = statement.map_or("-".to_owned(), |epoch| epoch.to_string());
            match what {
                Divergence::Minority { differ, .. } => {
                    let names: Vec<String> = differ.iter().map(|r| r.to_string()).collect();
                    (names.join(","), epoch, "divergence")
                }
                Divergence::Split { .. } => ("all".to_owned(), epoch, "divergence"),
            }
        }
    }
}

/// The verdict on each.
pub(super) fn verdicts(judged: &[Judged]) -> String {
    let mut out: String =
        judged.iter().map(|j| format!("{}: {}\n", j.path.display(), verdict(j))).collect();
    let (valid, all) = (judged.iter().filter(|j| j.verdict.is_ok()).count(), judged.len());
    writeln!(out, "{valid} of {all} valid").expect("a string takes all that is written");
    out
}

/// Everything that each says.
pub(super) fn whole(judged: &[Judged]) -> String {
    let blocks: Vec<String> = judged.iter().map(block).collect();
    blocks.join("\n")
}

fn block(j: &Judged) -> String {
    let mut out = format!("{}\n  verdict   {}\n", j.path.display(), verdict(j));
    let Some(file) = &j.file else { return out };
    let mut line = |text: String| {
        writeln!(out, "  {text}").expect("a string takes all that is written");
    };
    let (cluster, group, roster) = place(file);
    line(format!("cluster   {cluster}, group {group}"));
    line(format!("roster    {roster}"));
    let (headers, reports) = parts(file);
    for part in reports {
        let r = part.peek();
        let restarted = if r.restarted { ", restarted since" } else { "" };
        line(format!("report    of {} for {}", r.replica, r.call));
        line(format!(
            "          entered {} of {}, opening {}, round {}, vector {}{restarted}",
            r.entered, r.entered_members, r.opening, r.round, r.vector
        ));
    }
    for part in headers {
        let (h, c) = (part.peek(), part.peek().candidates);
        line(format!(
            "proposal  of {} for round {}, epoch {} of {}",
            h.replica, h.round, h.epoch, h.members
        ));
        let candidates = match c.count {
            0 => "no candidates".to_owned(),
            n => format!("{n} candidates from {} to {} (list {})", c.first, c.last, c.digest),
        };
        line(format!("          clock {}, {candidates}", h.now));
        let choice: Vec<String> = h.choice.iter().map(|d| d.to_string()).collect();
        line(format!("          chose {}", choice.join(" ")));
        if matches!(file, Contents::Divergence(_)) {
            let a = h.attestation;
            let (round, at) = (a.position.round.0, a.checkpoint.0);
            line(format!("          attests outputs {} up to round {round}", a.running));
            line(format!("          attests state {} at round {at}", a.state));
        }
    }
    out
}

fn verdict(j: &Judged) -> String {
    match &j.verdict {
        Ok(Shown::Lie(c)) => format!("proves that {} {}, in epoch {}", c.replica, c.what, c.epoch),
        Ok(Shown::Divergence(what)) => {
            let about = match &j.file {
                Some(Contents::Divergence(file)) => file.about.to_string(),
                _ => String::new(),
            };
            format!("shows different {about}: {what}; it convicts nobody of a lie")
        }
        Err(why) => format!("NOT VALID: {why}"),
    }
}

/// Its cluster, group and roster.
fn place(file: &Contents) -> (Digest, u32, Digest) {
    match file {
        Contents::Proof(file) => (file.cluster, file.group.0, file.roster),
        Contents::Divergence(file) => (file.cluster, file.group.0, file.roster),
    }
}

fn parts(file: &Contents) -> (Vec<&Unverified<Header>>, Vec<&Unverified<ReportHeader>>) {
    let proof = match file {
        Contents::Proof(file) => &file.proof,
        Contents::Divergence(file) => return (file.statements.iter().collect(), vec![]),
    };
    match proof {
        Proof::Equivocation(a, b) | Proof::Backwards(a, b) => (vec![a, b], vec![]),
        Proof::Invalid(a) => (vec![a], vec![]),
        Proof::TwoReports(a, b) => (vec![], vec![a, b]),
        Proof::FalseReport(r, a) => (vec![a], vec![r]),
        Proof::EmptyReport(r, a, b) => (vec![a, b], vec![r]),
    }
}

/// All of it for programs.
pub(super) fn as_json(valid: bool, judged: &[Judged]) -> Value {
    let proofs: Vec<Value> = judged.iter().map(one_json).collect();
    json!({ "valid": valid, "proofs": proofs })
}

fn one_json(j: &Judged) -> Value {
    let conviction = match &j.verdict {
        Ok(Shown::Lie(c)) => Some(json!({
            "replica": c.replica.number(),
            "epoch": epoch_json(c.epoch),
            "kind": c.kind.name(),
            "what": c.what,
        })),
        _ => None,
    };
    let divergence = match &j.verdict {
        Ok(Shown::Divergence(Divergence::Minority { differ, agree })) => {
            Some(json!({ "differ": members_json(*differ), "agree": members_json(*agree) }))
        }
        Ok(Shown::Divergence(Divergence::Split { said })) => {
            Some(json!({ "differ": members_json(*said), "agree": [] }))
        }
        _ => None,
    };
    json!({
        "file": j.path.display().to_string(),
        "valid": j.verdict.is_ok(),
        "error": j.verdict.as_ref().err(),
        "conviction": conviction,
        "divergence": divergence,
        "contents": j.file.as_ref().map(contents_json),
    })
}

fn contents_json(file: &Contents) -> Value {
    let (headers, reports) = parts(file);
    let (cluster, group, roster) = place(file);
    let header = |h: &&Unverified<Header>| {
        let h = h.peek();
        json!({
            "replica": h.replica.number(),
            "epoch": epoch_json(h.epoch),
            "members": members_json(h.members),
            "round": h.round.0,
            "choice": h.choice.iter().map(|d| d.to_hex()).collect::<Vec<_>>(),
            "candidates": h.candidates.count,
            "first_candidate": h.candidates.first,
            "last_candidate": h.candidates.last,
            "candidates_digest": h.candidates.digest.to_hex(),
            "now": h.now,
            "executed_round": h.attestation.position.round.0,
            "running": h.attestation.running.to_hex(),
            "checkpoint": h.attestation.checkpoint.0,
            "state": h.attestation.state.to_hex(),
        })
    };
    let report = |r: &&Unverified<ReportHeader>| {
        let r = r.peek();
        json!({
            "replica": r.replica.number(),
            "number": epoch_json(r.call.number()),
            "list": members_json(r.call.list),
            "accused": members_json(r.call.accused),
            "entered": epoch_json(r.entered),
            "entered_members": members_json(r.entered_members),
            "opening": r.opening.to_hex(),
            "round": r.round.0,
            "vector": r.vector.to_hex(),
            "restarted": r.restarted,
        })
    };
    json!({
        "cluster": cluster.to_hex(),
        "group": group,
        "roster": roster.to_hex(),
        "proposals": headers.iter().map(header).collect::<Vec<_>>(),
        "reports": reports.iter().map(report).collect::<Vec<_>>(),
    })
}

fn epoch_json(e: Epoch) -> Value {
    json!({ "generation": e.generation, "resets": e.resets, "accused": e.accused })
}

fn members_json(members: Members) -> Value {
    members.iter().map(|r| r.number()).collect()
}
