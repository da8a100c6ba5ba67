//! From the service's bytes to the model's words and back: the only place that knows both.

use super::linear::{Effected, Placed};
use super::model::{KvModel, KvOp, KvOut};
use crate::replica::TraceEntry;
use crate::service::kv::{Command as KvCommand, Output};
use crate::types::RequestId;
use crate::wire::{Command, CommandKind, Outcome, Refusal, RequestBody};
use bytes::Bytes;

/// What a command means.
pub fn op(command: &Command) -> KvOp {
    let Ok(parsed) = KvCommand::parse(&command.bytes) else { return KvOp::Nonsense };
    if command.kind == CommandKind::Query && !parsed.is_read_only() {
        return KvOp::Nonsense;
    }
    let own = <[u8]>::to_vec;
    match parsed {
        KvCommand::Put { key, value } => KvOp::Put(own(key), own(value)),
        KvCommand::Get { key } => KvOp::Get(own(key)),
        KvCommand::Delete { key } => KvOp::Delete(own(key)),
        KvCommand::Cas { key, old, new } => KvOp::Cas(own(key), old.map(own), own(new)),
        KvCommand::Incr { key, by } => KvOp::Incr(own(key), by),
        KvCommand::Scan { prefix, after, limit } => KvOp::Scan(own(prefix), own(after), limit),
        KvCommand::Ping { .. } => KvOp::Ping,
    }
}

/// What an output means.
///
/// # Errors
/// If it is none of the service.
pub fn out(bytes: &Bytes) -> Result<KvOut, String> {
    let output = Output::parse(bytes).map_err(|e| format!("an output that is none: {e}"))?;
    Ok(match output {
        Output::Done => KvOut::Done,
        Output::Value(value) => KvOut::Value(value.to_vec()),
        Output::Missing => KvOut::Missing,
        Output::Mismatch { current } => KvOut::Mismatch(current.map(|c| c.to_vec())),
        Output::Number(n) => KvOut::Number(n),
        Output::Entries { entries, more } => {
            let own = entries.iter().map(|(k, v)| (k.to_vec(), v.to_vec()));
            KvOut::Entries(own.collect(), more)
        }
        Output::Time(_) => KvOut::Pong,
        Output::Error(_) => KvOut::Error,
    })
}

/// What several outputs mean.
///
/// # Errors
/// As [`out`].
pub fn outs(all: &[Bytes]) -> Result<Vec<KvOut>, String> {
    all.iter().map(out).collect()
}

/// An executed request in the model's words.
///
/// # Errors
/// If its bytes cannot be read.
pub fn placed(entry: &TraceEntry) -> Result<Placed<RequestId, KvModel>, String> {
    let outcome = Outcome::parse(&entry.outcome).map_err(|e| e.to_string())?;
    let effect = match outcome {
        Outcome::Executed(outputs) => Effected::Answered(outs(&outputs)?),
        Outcome::Refused(Refusal::OutputTooLarge) => Effected::Ran,
        Outcome::Opened | Outcome::Withdrawn | Outcome::Refused(_) => Effected::Nothing,
    };
    let commands = match effect {
        Effected::Nothing => Vec::new(),
        _ => RequestBody::parse(&entry.body).map_err(|e| e.to_string())?.commands,
    };
    Ok(Placed { request: entry.request, ops: commands.iter().map(op).collect(), effect })
}
