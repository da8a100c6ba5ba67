//! How a log is shown.

use super::Found;
use crate::crypto::Unverified;
use crate::offline::{Kind, Listed, Tally, in_words};
use crate::storage::Damage;
use crate::types::{Digest, Epoch, Members};
use crate::wire::{Body, CommandKind, LogEntry, Look, Proposal, Request, RequestBody};
use serde_json::{Value, json};
use std::fmt::Write as _;

struct Lines(String);

impl Lines {
    fn put(&mut self, name: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "{name:<18} {value}").expect("a string takes all that is written");
    }
}

/// What is wrong, one a line, with what kind of thing it is.
fn wrong(found: &Found) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    out.extend(found.survey.found.damages.iter().map(|d| ("damaged", d.to_string())));
    for snapshot in &found.snapshots {
        out.extend(snapshot.whole.as_ref().err().map(|e| ("damaged", e.to_string())));
    }
    let problems = found.survey.problems.iter();
    out.extend(problems.map(|(place, problem)| ("wrong", format!("entry {}: {problem}", place.0))));
    let told = found.survey.problems.len() as u64;
    if found.survey.problem_count > told {
        out.push(("wrong", format!("and {} more", found.survey.problem_count - told)));
    }
    if let Some((round, _, Some(why))) = &found.newest {
        out.push(("wrong", format!("the snapshot of round {round}: {why}")));
    }
    out.extend(found.lost.iter().map(|why| ("lost", why.clone())));
    out
}

fn torn(found: &Found) -> Option<String> {
    let cut = found.survey.found.cut.as_ref()?;
    Some(format!(
        "{} bytes at byte {} of {}, from record {} on",
        cut.bytes, cut.offset, cut.file, cut.first.0
    ))
}

/// Whether it is sound, and why not.
pub(super) fn verdict(found: &Found) -> String {
    let survey = &found.survey;
    let mut out = Lines(String::new());
    let (first, next) = (survey.found.first.0, survey.found.next.0);
    let files = survey.segments.len();
    let bytes: u64 = survey.segments.iter().map(|(_, bytes)| bytes).sum();
    let segments = if files == 1 { "file" } else { "files" };
    let records = survey.found.records;
    out.put("log", format!("{records} records in {files} {segments}, {bytes} bytes"));
    out.put("places", format!("{first} up to, not including, {next}"));
    match survey.rounds {
        Some((first, last)) => out.put("rounds", format!("{first} to {last}")),
        None => out.put("rounds", "none"),
    }
    match &survey.chain {
        Some(chain) => out.put("chain", format!("ends with {chain}")),
        None => out.put("chain", "its end is damaged"),
    }
    if let Some(torn) = torn(found) {
        out.put("unfinished write", format!("{torn}: never acknowledged, cut off at a start"));
    }
    for snapshot in &found.snapshots {
        if let Ok(bytes) = &snapshot.whole {
            out.put("snapshot", format!("round {}, {bytes} bytes", snapshot.round));
        }
    }
    if let Some((round, first, None)) = &found.newest {
        let attested = if found.judged { "attested; " } else { "" };
        out.put("goes on from", format!("round {round}: {attested}the log from entry {first} on"));
    }
    match found.judged {
        true => out.put("signatures", format!("{} checked", survey.signatures)),
        false => out.put("signatures", "not checked: give --config"),
    }
    for (name, what) in wrong(found) {
        out.put(name, what);
    }
    if !survey.found.damages.is_empty() {
        out.put("remedy", "`quorate log repair` puts back what other replicas' logs have");
    }
    out.put("verdict", if found.is_sound() { "sound" } else { "NOT SOUND" });
    out.0
}

/// A damaged place for programs.
pub(super) fn damage_json(damage: &Damage) -> Value {
    json!({
        "file": damage.file,
        "offset": damage.offset,
        "first": damage.first.0,
        "next": damage.next.map(|next| next.0),
        "what": damage.what.to_string(),
    })
}

/// The same for programs.
pub(super) fn verdict_json(found: &Found) -> Value {
    let survey = &found.survey;
    let damages: Vec<Value> = survey.found.damages.iter().map(damage_json).collect();
    let cut = survey.found.cut.as_ref().map(|cut| {
        json!({
            "file": cut.file, "offset": cut.offset, "bytes": cut.bytes, "first": cut.first.0,
        })
    });
    let problems: Vec<Value> = survey
        .problems
        .iter()
        .map(|(place, problem)| json!({ "place": place.0, "what": problem.to_string() }))
        .collect();
    json!({
        "sound": found.is_sound(),
        "records": survey.found.records,
        "first": survey.found.first.0,
        "next": survey.found.next.0,
        "segments": survey.segments.len(),
        "bytes": survey.segments.iter().map(|(_, bytes)| bytes).sum::<u64>(),
        "first_round": survey.rounds.map(|(first, _)| first.0),
        "last_round": survey.rounds.map(|(_, last)| last.0),
        "chain": survey.chain.map(|chain| chain.to_hex()),
        "unfinished": cut,
        "damages": damages,
        "problems": problems,
        "problem_count": survey.problem_count,
        "signatures": found.judged.then_some(survey.signatures),
        "snapshots": snapshots_json(found),
        "goes_on_from": found.newest.as_ref().map(|(round, first, wrong)| {
            json!({ "round": round, "first": first, "error": wrong })
        }),
        "lost": found.lost,
    })
}

fn snapshots_json(found: &Found) -> Vec<Value> {
    let one = found.snapshots.iter().map(|snapshot| {
        let error = snapshot.whole.as_ref().err().map(ToString::to_string);
        json!({
            "round": snapshot.round,
            "bytes": snapshot.whole.as_ref().ok(),
            "error": error,
        })
    });
    one.collect()
}

const KINDS: [Kind; 8] = [
    Kind::Vector,
    Kind::Base,
    Kind::Opening,
    Kind::Bodies,
    Kind::Undone,
    Kind::Own,
    Kind::Leg,
    Kind::Unknown,
];

/// How much of what.
pub(super) fn stats(found: &Found) -> String {
    let survey = &found.survey;
    let mut out = Lines(String::new());
    let mut entries = |name: &str, tally: Tally| {
        let each = tally.bytes.checked_div(tally.entries).unwrap_or(0);
        let Tally { entries, bytes } = tally;
        out.put(name, format!("{entries:>9}   {bytes:>12} bytes, {each} each"));
    };
    for kind in KINDS {
        if let Some(tally) = survey.kinds.get(&kind) {
            entries(kind.name(), *tally);
        }
    }
    entries("requests", survey.requests);
    out.put("commands", format!("{:>9}", survey.commands));
    let all: u64 = survey.kinds.values().map(|tally| tally.bytes).sum();
    if let Some(each) = all.checked_div(survey.requests.entries) {
        out.put("log per request", format!("{each:>9} bytes"));
    }
    match survey.rounds {
        Some((first, last)) => {
            let epochs = survey.epochs;
            out.put("rounds", format!("{first} to {last}, in {epochs} runs of an epoch"));
        }
        None => out.put("rounds", "none"),
    }
    for (file, bytes) in &survey.segments {
        out.put("segment", format!("{file}  {bytes} bytes"));
    }
    for snapshot in &found.snapshots {
        match &snapshot.whole {
            Ok(bytes) => out.put("snapshot", format!("round {}, {bytes} bytes", snapshot.round)),
            Err(e) => out.put("snapshot", format!("round {}, DAMAGED: {e}", snapshot.round)),
        }
    }
    if !found.is_sound() {
        out.put("note", "it is not sound: `quorate log verify` says why");
    }
    out.0
}

/// The same for programs.
pub(super) fn stats_json(found: &Found) -> Value {
    let survey = &found.survey;
    let kinds: serde_json::Map<String, Value> = survey
        .kinds
        .iter()
        .map(|(kind, t)| {
            (kind.name().to_owned(), json!({ "entries": t.entries, "bytes": t.bytes }))
        })
        .collect();
    let segments: Vec<Value> = survey
        .segments
        .iter()
        .map(|(file, bytes)| json!({ "file": file, "bytes": bytes }))
        .collect();
    json!({
        "sound": found.is_sound(),
        "kinds": kinds,
        "requests": survey.requests.entries,
        "request_bytes": survey.requests.bytes,
        "commands": survey.commands,
        "first_round": survey.rounds.map(|(first, _)| first.0),
        "last_round": survey.rounds.map(|(_, last)| last.0),
        "segments": segments,
        "snapshots": snapshots_json(found),
    })
}

/// An entry for people: a line, and one for each request and for each problem.
pub(super) fn entry(listed: &Listed, service: &str) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        writeln!(out, "{}", text.trim_end()).expect("a string takes all that is written");
    };
    let round = listed.round.map_or("-".to_owned(), |round| round.to_string());
    let epoch = listed.epoch.map_or("-".to_owned(), |epoch| epoch.to_string());
    let what = match &listed.entry {
        Some(LogEntry::Vector(vector) | LogEntry::Base(vector)) => candidates(vector),
        Some(LogEntry::Opening(reports) | LogEntry::Leg(reports)) => {
            format!("{} Reports", reports.len())
        }
        Some(LogEntry::Bodies { .. }) => format!("{} requests", listed.requests.len()),
        Some(LogEntry::Own(own)) => candidates(std::slice::from_ref(own)),
        Some(LogEntry::Undone { from, .. }) => format!("gives up history from entry {from} on"),
        None => format!("{} bytes", listed.bytes),
    };
    let (place, kind) = (listed.place.0, listed.kind.name());
    let members = match listed.kind {
        Kind::Vector | Kind::Base | Kind::Opening | Kind::Leg => format!(" of {}", listed.members),
        Kind::Bodies | Kind::Undone | Kind::Own | Kind::Unknown => String::new(),
    };
    line(format!("{place:>8} {kind:<8} round {round:<8} epoch {epoch:<9}{members} {what}"));
    for (digest, body, request) in &listed.requests {
        match request {
            Some(request) => {
                let Request { session, number, .. } = request;
                let client = body.client;
                let of = format!("client {client} session {session} number {number}");
                line(format!("         {digest} {of}"));
                for command in commands(request, service) {
                    line(format!("           {command}"));
                }
            }
            None => line(format!("         {} bytes that are no request", body.request.len())),
        }
    }
    for problem in &listed.problems {
        line(format!("         WRONG: {problem}"));
    }
    out
}

fn candidates(vector: &[Unverified<Proposal>]) -> String {
    let counts: Vec<String> = vector
        .iter()
        .map(|p| format!("{}:{}", p.peek().replica, p.peek().candidates.len()))
        .collect();
    format!("candidates {}", counts.join(" "))
}

// What a request asks for, in words.
fn commands(request: &Request, service: &str) -> Vec<String> {
    if request.number == 0 {
        return vec!["opens the session".to_owned()];
    }
    if request.withdraws() {
        return vec!["withdraws the number".to_owned()];
    }
    match RequestBody::parse(&request.body) {
        Ok(body) => body
            .commands
            .iter()
            .map(|c| match c.kind {
                CommandKind::Execute => in_words(service, &c.bytes),
                CommandKind::Query => format!("{} (query)", in_words(service, &c.bytes)),
                CommandKind::Look => match Look::parse(&c.bytes) {
                    Ok(look) => format!("looks at {}#{}", look.session, look.number),
                    Err(e) => format!("malformed: {e}"),
                },
            })
            .collect(),
        Err(e) => vec![format!("malformed: {e}")],
    }
}

/// An entry for programs.
pub(super) fn entry_json(listed: &Listed, service: &str) -> Value {
    let mut out = json!({
        "place": listed.place.0,
        "kind": listed.kind.name(),
        "bytes": listed.bytes,
        "epoch": listed.epoch.map(epoch_json),
        "members": members_json(listed.members),
        "round": listed.round.map(|round| round.0),
    });
    match &listed.entry {
        Some(LogEntry::Vector(vector) | LogEntry::Base(vector)) => {
            let proposals = vector.iter().map(|p| proposal_json(p.peek()));
            out["proposals"] = proposals.collect();
        }
        Some(LogEntry::Opening(reports) | LogEntry::Leg(reports)) => {
            let report = reports.iter().map(|r| {
                let h = &r.peek().header;
                json!({
                    "replica": h.replica.number(),
                    "entered": epoch_json(h.entered),
                    "round": h.round.0,
                    "vector": h.vector.to_hex(),
                    "restarted": h.restarted,
                })
            });
            out["reports"] = report.collect();
        }
        Some(LogEntry::Bodies { .. }) => {
            let requests = listed.requests.iter();
            out["requests"] = requests.map(|one| request_json(one, service)).collect();
        }
        Some(LogEntry::Own(own)) => out["proposal"] = proposal_json(own.peek()),
        Some(LogEntry::Undone { from, .. }) => out["from"] = (*from).into(),
        None => {}
    }
    if !listed.problems.is_empty() {
        let problems = listed.problems.iter().map(ToString::to_string);
        out["problems"] = problems.collect();
    }
    out
}

fn proposal_json(p: &Proposal) -> Value {
    let requests = p.candidates.iter().map(|c| c.request.to_hex());
    json!({
        "replica": p.replica.number(),
        "candidates": requests.collect::<Vec<_>>(),
        "changes": p.changes.len(),
        "now": p.now,
        "executed": p.attestation.position.round.0,
        "running": p.attestation.running.to_hex(),
        "checkpoint": p.attestation.checkpoint.0,
        "state": p.attestation.state.to_hex(),
    })
}

fn request_json((digest, body, request): &(Digest, Body, Option<Request>), service: &str) -> Value {
    let Some(request) = request else {
        return json!({ "error": "no request", "bytes": body.request.len() });
    };
    json!({
        "digest": digest.to_hex(),
        "client": Digest(body.client.0).to_hex(),
        "session": request.session.0,
        "number": request.number,
        "low": request.low,
        "commands": commands(request, service),
    })
}

fn epoch_json(e: Epoch) -> Value {
    json!({ "generation": e.generation, "resets": e.resets, "accused": e.accused })
}

fn members_json(members: Members) -> Value {
    members.iter().map(|r| r.number()).collect()
}
