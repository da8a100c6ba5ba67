//! How executions are shown.

use super::{Compared, Played};
use crate::daemon::Runs;
use crate::offline::{Difference, in_words};
use serde_json::{Value, json};
use std::fmt::Write as _;

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    writeln!(out, "{name:<16} {value}").expect("a string takes all that is written");
}

/// An execution for people.
pub(super) fn played(p: &Played) -> String {
    let (player, mut out) = (&p.player, String::new());
    let (steps, commands) = player.executed_again();
    let out = &mut out;
    match player.began().0 {
        0 => line(out, "began with", "the beginning of the cluster"),
        round => line(out, "began with", format!("the snapshot of round {round}")),
    }
    line(out, "executed again", format!("{steps} steps, {commands} commands"));
    line(out, "last step", format!("round {}", player.position().round));
    let (epoch, complete) = player.complete();
    line(out, "last vector", format!("round {complete}, epoch {epoch}"));
    line(out, "requests", format!("{} since the beginning of the cluster", player.executed()));
    line(out, "running root", player.running().to_hex());
    line(out, "service digest", player.service_digest().to_hex());
    let (checkpoint, state) = player.checkpoint();
    line(out, "last checkpoint", format!("round {checkpoint}, state {}", state.to_hex()));
    let attested = player.attested();
    match attested.roots {
        Some(round) => {
            let rounds = attested.rounds;
            let what = format!("t + 1 replicas attest the same roots, in {rounds} rounds");
            line(out, "attested", format!("{what} up to {round}"));
        }
        None => line(out, "attested", "no round of what was executed again, in this log"),
    }
    if let Some(round) = attested.checkpoint {
        line(out, "", format!("and the same state at the checkpoint {round}"));
    }
    for (replica, round) in &attested.dissenters {
        line(out, "DIFFERS", format!("{replica} has attested something else, from {round} on"));
    }
    if let Some((round, theirs, ours)) = &attested.refuted {
        let what = format!("t + 1 replicas attest {theirs} at round {round}");
        line(out, "REFUTED", format!("{what}, and this disk leads to {ours}"));
    }
    if player.lacking() > 0 && p.is_whole {
        let what = "requests are ordered whose bodies are not in the log (yet)";
        line(out, "waiting", format!("{} {what}", player.lacking()));
    }
    if let Some(why) = player.failed() {
        line(out, "STOPPED", why);
    }
    if let Some(damage) = p.damage.as_ref().filter(|_| p.is_whole) {
        line(out, "DAMAGED", damage);
    }
    if !p.is_whole {
        line(out, "ended", "before the end of the log");
    }
    line(out, "verdict", if p.is_good() { "good" } else { "NOT GOOD" });
    std::mem::take(out)
}

/// The same for programs.
pub(super) fn played_json(p: &Played) -> Value {
    let player = &p.player;
    let (steps, commands) = player.executed_again();
    let (checkpoint, state) = player.checkpoint();
    let attested = player.attested();
    let dissenters = attested
        .dissenters
        .iter()
        .map(|(replica, round)| json!({ "replica": replica.number(), "round": round.0 }));
    let refuted = attested.refuted.as_ref().map(|(round, theirs, ours)| {
        json!({ "round": round.0, "attested": theirs.to_hex(), "here": ours.to_hex() })
    });
    json!({
        "good": p.is_good(),
        "began": player.began().0,
        "steps": steps,
        "commands": commands,
        "round": player.position().round.0,
        "complete": player.complete().1.0,
        "requests": player.executed(),
        "running": player.running().to_hex(),
        "service_digest": player.service_digest().to_hex(),
        "checkpoint": checkpoint.0,
        "state": state.to_hex(),
        "attested_round": attested.roots.map(|round| round.0),
        "attested_rounds": attested.rounds,
        "attested_checkpoint": attested.checkpoint.map(|round| round.0),
        "dissenters": dissenters.collect::<Vec<_>>(),
        "refuted": refuted,
        "lacking": player.lacking(),
        "failed": player.failed(),
        "damage": p.damage,
        "whole": p.is_whole,
    })
}

fn differs(out: &mut String, d: &Difference, names: [&str; 2], service: &str) {
    line(out, "DIFFERS", format!("{}, in round {}", d.what, d.round));
    if let (Some(index), Some(request)) = (d.index, &d.request) {
        line(out, "request", format!("{request}, at place {index} of the step"));
    }
    if let Some((number, command)) = &d.command {
        let words = in_words(service, command);
        line(out, "command", format!("{words} (number {number} of the request)"));
    }
    for (name, value) in names.iter().zip(&d.values) {
        line(out, name, value);
    }
}

fn difference_json(d: &Difference, service: &str) -> Value {
    let request = d.request.map(|r| {
        json!({
            "client": crate::types::Digest(r.client.0).to_hex(),
            "session": r.session.0,
            "number": r.number,
        })
    });
    json!({
        "round": d.round.0,
        "what": d.what,
        "index": d.index,
        "request": request,
        "command": d.command.as_ref().map(|(_, bytes)| in_words(service, bytes)),
        "command_number": d.command.as_ref().map(|(number, _)| number),
        "values": d.values,
    })
}

/// Two executions side by side.
pub(super) struct Beside<'a> {
    pub(super) played: &'a [Played; 2],
    pub(super) difference: Option<Difference>,
    pub(super) compared: Compared,
    pub(super) service: &'a str,
}

impl Beside<'_> {
    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for (name, p) in ["--data", "--against"].iter().zip(self.played) {
            writeln!(out, "{name}").expect("a string takes all that is written");
            for text in played(p).lines() {
                writeln!(out, "  {text}").expect("a string takes all that is written");
            }
        }
        match self.compared {
            (steps, Some(last)) => {
                line(&mut out, "compared", format!("{steps} steps, up to round {last}"));
            }
            (_, None) => line(&mut out, "compared", "nothing: the two have no round in common"),
        }
        match &self.difference {
            Some(d) => differs(&mut out, d, ["--data", "--against"], self.service),
            None => line(&mut out, "difference", "none"),
        }
        out
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "data": played_json(&self.played[0]),
            "against": played_json(&self.played[1]),
            "compared": self.compared.0,
            "last_round": self.compared.1.map(|round| round.0),
            "difference": self.difference.as_ref().map(|d| difference_json(d, self.service)),
        })
    }
}

/// Two executions of the same disk, for people.
pub(super) fn runs(runs: &Runs, service: &str) -> String {
    let mut out = String::new();
    let (steps, commands) = runs.compared;
    line(&mut out, "executed twice", format!("{steps} steps, {commands} commands"));
    match &runs.difference {
        Some(d) => differs(&mut out, d, ["first time", "second time"], service),
        None => line(&mut out, "difference", "none"),
    }
    if let Some(why) = &runs.failed {
        line(&mut out, "STOPPED", why);
    }
    out
}

/// The same for programs.
pub(super) fn runs_json(runs: &Runs, service: &str) -> Value {
    json!({
        "steps": runs.compared.0,
        "commands": runs.compared.1,
        "difference": runs.difference.as_ref().map(|d| difference_json(d, service)),
        "failed": runs.failed,
    })
}
