//! Commands and their outputs in words, for the services that are built in.

use super::super::votes;
use crate::service::counter::Counter;
use crate::service::kv;
use crate::wire::{Command, CommandKind, Look, Outcome, Receipt, RequestBody};
use bytes::Bytes;
use serde_json::{Value, json};

/// Characters of one command or output that are shown to people at most.
const SHOWN: usize = 400;

/// Whose commands these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Those of the key-value service.
    Kv,
    /// Those of the counter.
    Counter,
    /// Those of another one: bytes.
    Other,
}

impl Service {
    /// The service of a cluster file.
    pub(super) fn named(name: &str) -> Self {
        match name {
            kv::Kv::NAME => Self::Kv,
            Counter::NAME => Self::Counter,
            _ => Self::Other,
        }
    }

    /// The one of which everything in a receipt can be read. Commands of the counter are eight
    /// bytes of anything, so that one must be named.
    pub(super) fn seen(receipt: &Receipt) -> Self {
        let body = RequestBody::parse(&receipt.request.body);
        let is_kv = |body: RequestBody| {
            body.commands.iter().all(|c| kv::Command::parse(&c.bytes).is_ok())
                && outputs(&receipt.outcome).iter().all(|o| kv::Output::parse(o).is_ok())
        };
        match body.is_ok_and(is_kv) {
            true => Self::Kv,
            false => Self::Other,
        }
    }

    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Kv => Some(kv::Kv::NAME),
            Self::Counter => Some(Counter::NAME),
            Self::Other => None,
        }
    }

    fn command(self, command: &Command) -> String {
        let text = match self {
            Self::Kv => kv::Command::parse(&command.bytes).ok().map(kv_text),
            Self::Counter if command.bytes.is_empty() => Some("read".to_owned()),
            Self::Counter => Counter::parse(&command.bytes).map(|by| format!("add {by}")),
            Self::Other => None,
        };
        let text = text.unwrap_or_else(|| raw(&command.bytes));
        match command.kind {
            CommandKind::Execute => shorten(text),
            CommandKind::Query => format!("{} (as a query)", shorten(text)),
            CommandKind::Look => match Look::parse(&command.bytes) {
                Ok(Look { session, number }) => format!("look at {session}#{number}"),
                Err(_) => shorten(text),
            },
        }
    }

    fn output(self, output: &Bytes) -> String {
        let text = match self {
            Self::Kv => kv::Output::parse(output).ok().map(|o| votes::output_text(&o)),
            Self::Counter if output.is_empty() => Some("the counter did not take it".to_owned()),
            Self::Counter => Counter::parse(output).map(|n| n.to_string()),
            Self::Other => None,
        };
        shorten(text.unwrap_or_else(|| raw(output)))
    }

    /// What was asked for, and what came of it: one line a command.
    pub(super) fn lines(self, receipt: &Receipt) -> Vec<(String, String)> {
        let asked: Vec<String> = match RequestBody::parse(&receipt.request.body) {
            _ if receipt.request.number == 0 => vec!["open a session".to_owned()],
            _ if receipt.request.body.is_empty() => vec!["withdraw this number".to_owned()],
            Ok(body) => body.commands.iter().map(|c| self.command(c)).collect(),
            Err(_) => vec![format!("bytes that are no commands: {}", raw(&receipt.request.body))],
        };
        let answered = match Outcome::parse(&receipt.outcome) {
            Ok(Outcome::Opened) => vec!["it is open".to_owned()],
            Ok(Outcome::Refused(why)) => vec![format!("refused: {why}")],
            Ok(Outcome::Withdrawn) => vec!["withdrawn: it has not run and never will".to_owned()],
            Ok(Outcome::Executed(outputs)) => outputs.iter().map(|o| self.output(o)).collect(),
            Err(_) => vec![format!("bytes that are no outcome: {}", raw(&receipt.outcome))],
        };
        let lines = asked.len().max(answered.len());
        let at = |of: &[String], i: usize| of.get(i).cloned().unwrap_or_default();
        (0..lines).map(|i| (at(&asked, i), at(&answered, i))).collect()
    }

    /// The same for programs, nothing left out.
    pub(super) fn as_json(self, receipt: &Receipt) -> (Value, Value) {
        let body = RequestBody::parse(&receipt.request.body);
        let commands = body.map(|b| b.commands).unwrap_or_default();
        let commands: Vec<Value> = commands
            .iter()
            .map(|c| {
                let words = match self {
                    Self::Kv => kv::Command::parse(&c.bytes).ok().map(kv_json),
                    Self::Counter | Self::Other => None,
                };
                let is_query = c.kind == CommandKind::Query;
                json!({ "query": is_query, "words": words, "bytes": votes::bytes_json(&c.bytes) })
            })
            .collect();
        let output = |o: &Bytes| {
            let words = match self {
                Self::Kv => kv::Output::parse(o).ok().map(|o| votes::output_json(&o)),
                Self::Counter => {
                    Counter::parse(o).map(|n| json!({ "kind": "number", "number": n }))
                }
                Self::Other => None,
            };
            json!({ "words": words, "bytes": votes::bytes_json(o) })
        };
        let outcome = match Outcome::parse(&receipt.outcome) {
            Ok(Outcome::Opened) => json!({ "opened": true }),
            Ok(Outcome::Refused(why)) => json!({ "refused": why.to_string() }),
            Ok(Outcome::Withdrawn) => json!({ "withdrawn": true }),
            Ok(Outcome::Executed(outputs)) => {
                json!({ "outputs": outputs.iter().map(output).collect::<Vec<_>>() })
            }
            Err(_) => json!({ "unreadable": votes::bytes_json(&receipt.outcome) }),
        };
        (commands.into(), outcome)
    }
}

fn outputs(outcome: &Bytes) -> Vec<Bytes> {
    match Outcome::parse(outcome) {
        Ok(Outcome::Executed(outputs)) => outputs,
        _ => Vec::new(),
    }
}

/// As `quorate client` takes it.
fn kv_text(command: kv::Command<'_>) -> String {
    let quoted = |bytes: &[u8]| format!("\"{}\"", votes::escape(bytes));
    match command {
        kv::Command::Put { key, value } => format!("put {} {}", quoted(key), quoted(value)),
        kv::Command::Get { key } => format!("get {}", quoted(key)),
        kv::Command::Delete { key } => format!("delete {}", quoted(key)),
        kv::Command::Cas { key, old: Some(old), new } => {
            format!("cas {} {} {}", quoted(key), quoted(old), quoted(new))
        }
        kv::Command::Cas { key, old: None, new } => {
            format!("cas {} --absent {}", quoted(key), quoted(new))
        }
        kv::Command::Incr { key, by } => format!("incr {} {by}", quoted(key)),
        kv::Command::Scan { prefix, after: [], limit } => {
            format!("scan {} --limit {limit}", quoted(prefix))
        }
        kv::Command::Scan { prefix, after, limit } => {
            format!("scan {} --limit {limit}, after {}", quoted(prefix), quoted(after))
        }
        kv::Command::Ping { payload: [] } => "ping".to_owned(),
        kv::Command::Ping { payload } => format!("ping with {} bytes", payload.len()),
    }
}

fn kv_json(command: kv::Command<'_>) -> Value {
    let of = votes::bytes_json;
    match command {
        kv::Command::Put { key, value } => {
            json!({ "command": "put", "key": of(key), "value": of(value) })
        }
        kv::Command::Get { key } => json!({ "command": "get", "key": of(key) }),
        kv::Command::Delete { key } => json!({ "command": "delete", "key": of(key) }),
        kv::Command::Cas { key, old, new } => {
            json!({ "command": "cas", "key": of(key), "old": old.map(of), "new": of(new) })
        }
        kv::Command::Incr { key, by } => json!({ "command": "incr", "key": of(key), "by": by }),
        kv::Command::Scan { prefix, after, limit } => json!({
            "command": "scan", "prefix": of(prefix), "after": of(after), "limit": limit,
        }),
        kv::Command::Ping { payload } => json!({ "command": "ping", "payload": of(payload) }),
    }
}

/// Bytes that nobody can read, on one line.
fn raw(bytes: &[u8]) -> String {
    match bytes.is_empty() {
        true => "no bytes".to_owned(),
        false => bytes.iter().map(|b| format!("{b:02x}")).collect(),
    }
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}... (cut; --json has all)", &text[..at]),
        None => text,
    }
}
