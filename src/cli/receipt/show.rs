//! How receipts are shown.

use super::{Anchor, Opened};
use crate::crypto::{Ed25519, KeyChange, PublicKey, Unverified};
use crate::proof::receipt::{Judged, ReceiptFile};
use crate::types::{Epoch, Members};
use crate::wire::Header;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The verdict on each.
pub(super) fn verdicts(opened: &[Opened]) -> String {
    let line = |o: &Opened| format!("{}: {}\n", o.path.display(), verdict(o));
    let mut out: String = opened.iter().map(line).collect();
    let (valid, all) = (opened.iter().filter(|o| o.verdict.is_ok()).count(), opened.len());
    writeln!(out, "{valid} of {all} valid").expect("a string takes all that is written");
    out
}

/// Everything that each says.
pub(super) fn whole(opened: &[Opened], anchor: &Anchor) -> String {
    let blocks: Vec<String> = opened.iter().map(|o| block(o, anchor)).collect();
    blocks.join("\n")
}

fn block(o: &Opened, anchor: &Anchor) -> String {
    let mut out = format!("{}\n", o.path.display());
    let mut line = |name: &str, text: String| {
        let text = format!("  {name:<10} {text}");
        writeln!(out, "{}", text.trim_end()).expect("a string takes all that is written");
    };
    line("verdict", verdict(o));
    if let (Anchor::Itself, Ok(_)) = (anchor, &o.verdict) {
        let remedy = "judged by the keys that stand in it: whether they are the right ones says";
        line("", format!("{remedy} `quorate receipt verify`"));
    }
    let Some(file) = &o.file else { return out };
    let receipt = &file.receipt;
    line("cluster", format!("{}, group {}", file.cluster.to_hex(), file.group.0));
    line("roster", roster(file));
    let key = PublicKey(receipt.client.0).to_inline();
    let name = anchor.client(file).map_or(String::new(), |name| format!(", {name:?}"));
    line("client", format!("{}{name}, key {key}", receipt.client));
    let request = &receipt.request;
    line("request", format!("{}.{}#{}", receipt.client, request.session, request.number));
    let service = anchor.service(file);
    if let (Some(name), false) = (service.name(), matches!(anchor, Anchor::Cluster(_))) {
        line("", format!("read as commands of {name}; which service it was it does not say"));
    }
    for (asked, answered) in service.lines(receipt) {
        line("asked", asked);
        line("answered", answered);
    }
    let (position, index) = (receipt.proof.position, receipt.proof.index);
    line("position", format!("round {}, index {index}", position.round));
    line("", format!("vector {}", position.vector.to_hex()));
    for signed in &receipt.proof.signed {
        line("attested", attested(signed, o.verdict.as_ref().ok()));
    }
    out
}

fn roster(file: &ReceiptFile) -> String {
    let changes = match file.changes.len() {
        0 => "no key replaced".to_owned(),
        1 => "1 key replaced".to_owned(),
        n => format!("{n} keys replaced"),
    };
    match file.roster::<Ed25519>() {
        Ok(hash) => format!("{} ({} replicas, {changes})", hash.to_hex(), file.keys.len()),
        Err(why) => why.to_string(),
    }
}

fn attested(signed: &Unverified<Header>, judged: Option<&Judged>) -> String {
    let h = signed.peek();
    let position = h.attestation.position;
    let mut text = format!(
        "by {} at round {}, in epoch {} of {}",
        h.replica, position.round, h.epoch, h.members
    );
    text.push_str(match h.attestation.delta_held {
        true => "; saw delta hold",
        false => "; did not see delta hold",
    });
    if h.attestation.rolled {
        text.push_str("; had given up something");
    }
    if judged.is_some_and(|j| j.unknown.contains(h.replica)) {
        text.push_str("; does not count, since its key is not known");
    }
    text
}

fn verdict(o: &Opened) -> String {
    let (judged, file) = match (&o.verdict, &o.file) {
        (Err(why), _) => return format!("NOT VALID: {why}"),
        (Ok(_), None) => return "valid".to_owned(),
        (Ok(judged), Some(file)) => (judged, file),
    };
    let (who, n) = (judged.signers, file.keys.len());
    let mut text = format!("valid, {} ({} of {n}): {who}", judged.assurance.name(), who.len());
    text.push_str(&match who.minus(judged.delta_held) {
        late if late.is_empty() => "; all saw delta hold".to_owned(),
        late => format!("; {late} did not see delta hold"),
    });
    if !judged.rolled.is_empty() {
        let _ = write!(text, "; {} had given up something", judged.rolled);
    }
    if !judged.unknown.is_empty() {
        let _ = write!(text, "; {} not counted, since their keys are not known", judged.unknown);
    }
    text
}

/// All of it for programs.
pub(super) fn as_json(valid: bool, opened: &[Opened], anchor: &Anchor) -> Value {
    let receipts: Vec<Value> = opened.iter().map(|o| one_json(o, anchor)).collect();
    json!({ "valid": valid, "receipts": receipts })
}

fn one_json(o: &Opened, anchor: &Anchor) -> Value {
    let judged = o.verdict.as_ref().ok().map(|j| {
        json!({
            "assurance": j.assurance.name(),
            "signers": members_json(j.signers),
            "delta_held": members_json(j.delta_held),
            "rolled": members_json(j.rolled),
            "unknown": members_json(j.unknown),
        })
    });
    let by = match anchor {
        Anchor::Cluster(_) => "config",
        Anchor::Roster(_) => "roster-hash",
        Anchor::Itself => "itself",
    };
    json!({
        "file": o.path.display().to_string(),
        "valid": o.verdict.is_ok(),
        "judged_by": by,
        "error": o.verdict.as_ref().err().map(ToString::to_string),
        "verdict": judged,
        "contents": o.file.as_ref().map(|file| contents_json(file, anchor)),
    })
}

fn contents_json(file: &ReceiptFile, anchor: &Anchor) -> Value {
    let receipt = &file.receipt;
    let (request, proof) = (&receipt.request, &receipt.proof);
    let service = anchor.service(file);
    let (commands, outcome) = service.as_json(receipt);
    let header = |h: &Unverified<Header>| {
        let h = h.peek();
        json!({
            "replica": h.replica.number(),
            "epoch": epoch_json(h.epoch),
            "members": members_json(h.members),
            "round": h.attestation.position.round.0,
            "vector": h.attestation.position.vector.to_hex(),
            "running": h.attestation.running.to_hex(),
            "rolled": h.attestation.rolled,
            "delta_held": h.attestation.delta_held,
        })
    };
    let change = |c: &KeyChange| {
        let key = c.key.to_inline();
        json!({ "replica": c.replica.number(), "out": c.out, "key": key })
    };
    json!({
        "cluster": file.cluster.to_hex(),
        "group": file.group.0,
        "roster": file.roster::<Ed25519>().ok().map(|hash| hash.to_hex()),
        "keys": file.keys.iter().map(PublicKey::to_inline).collect::<Vec<_>>(),
        "key_changes": file.changes.iter().map(change).collect::<Vec<_>>(),
        "client": PublicKey(receipt.client.0).to_inline(),
        "client_name": anchor.client(file),
        "session": format!("{:x}", request.session.0),
        "number": request.number,
        "service": service.name(),
        "commands": commands,
        "outcome": outcome,
        "round": proof.position.round.0,
        "vector": proof.position.vector.to_hex(),
        "index": proof.index,
        "later_steps": proof.later.len(),
        "attested": proof.signed.iter().map(header).collect::<Vec<_>>(),
    })
}

fn epoch_json(e: Epoch) -> Value {
    json!({ "generation": e.generation, "resets": e.resets, "accused": e.accused })
}

fn members_json(members: Members) -> Value {
    members.iter().map(|r| r.number()).collect()
}
