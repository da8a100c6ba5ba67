//! What the key-value service should do, written down a second time.
//!
//! Nothing here is shared with the service but the words of its answers: a mistake in the service
//! would have to be made twice to go unseen.

use crate::service::kv::{Command, Output};
use crate::wire::{self, CommandKind};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;

/// One thing that a client of the demonstration asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Put(String, String),
    Get(String),
    Delete(String),
    Cas(String, Option<String>, String),
    Incr(String, i64),
    Scan(String, u32),
}

impl Op {
    /// As it goes to the replicas.
    pub(super) fn encode(&self) -> wire::Command {
        let command = match self {
            Op::Put(key, value) => Command::put(key, value),
            Op::Get(key) => Command::get(key),
            Op::Delete(key) => Command::delete(key),
            Op::Cas(key, old, new) => Command::cas(key, old.as_ref().map(|o| o.as_bytes()), new),
            Op::Incr(key, by) => Command::incr(key, *by),
            Op::Scan(prefix, limit) => Command::scan(prefix, *limit),
        };
        let kind = match command.is_read_only() {
            true => CommandKind::Query,
            false => CommandKind::Execute,
        };
        wire::Command { kind, bytes: command.encode().into() }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Put(key, value) => write!(f, "put {key} {value}"),
            Op::Get(key) => write!(f, "get {key}"),
            Op::Delete(key) => write!(f, "delete {key}"),
            Op::Cas(key, Some(old), new) => write!(f, "cas {key} {old} {new}"),
            Op::Cas(key, None, new) => write!(f, "cas {key} (none) {new}"),
            Op::Incr(key, by) => write!(f, "incr {key} {by}"),
            Op::Scan(prefix, limit) => write!(f, "scan {prefix:?} --limit {limit}"),
        }
    }
}

/// All keys with their values.
#[derive(Default)]
pub(super) struct Model(BTreeMap<String, String>);

impl Model {
    /// Does it, and says what the answer must be.
    pub(super) fn apply(&mut self, op: &Op) -> Output {
        let bytes = |text: &String| Bytes::copy_from_slice(text.as_bytes());
        match op {
            Op::Put(key, value) => {
                self.0.insert(key.clone(), value.clone());
                Output::Done
            }
            Op::Get(key) => self.0.get(key).map_or(Output::Missing, |v| Output::Value(bytes(v))),
            Op::Delete(key) => self.0.remove(key).map_or(Output::Missing, |_| Output::Done),
            Op::Cas(key, old, new) => {
                if self.0.get(key) != old.as_ref() {
                    return Output::Mismatch { current: self.0.get(key).map(bytes) };
                }
                self.0.insert(key.clone(), new.clone());
                Output::Done
            }
            Op::Incr(key, by) => {
                let now = self.0.get(key).map_or(Ok(0), |text| text.parse::<i64>());
                match now.ok().and_then(|n| n.checked_add(*by)) {
                    Some(sum) => {
                        self.0.insert(key.clone(), sum.to_string());
                        Output::Number(sum)
                    }
                    None => Output::Error(String::new()),
                }
            }
            Op::Scan(prefix, limit) => {
                let mut all = self.0.iter().filter(|(key, _)| key.starts_with(prefix.as_str()));
                let first = all.by_ref().take(usize::try_from(*limit).unwrap_or(usize::MAX));
                let entries = first.map(|(key, value)| (bytes(key), bytes(value))).collect();
                Output::Entries { entries, more: all.next().is_some() }
            }
        }
    }
}

/// Whether an answer is the one expected. Errors are for people: their words do not count.
pub(super) fn is_same(expected: &Output, given: &Output) -> bool {
    match (expected, given) {
        (Output::Error(_), Output::Error(_)) => true,
        _ => expected == given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::workload::Writer;
    use crate::service::{Service, kv::Kv};
    use crate::types::{AgreedTime, ClientId};

    /// Thousands of operations of the very workload: the two must never differ.
    #[test]
    fn the_model_and_the_service_agree() {
        let (mut model, mut service) = (Model::default(), Kv::new());
        let (mut negative, mut errors) = (0, 0);
        for client in 0..4 {
            let mut writer = Writer::new(client);
            for _ in 0..1000 {
                for op in writer.next() {
                    let bytes = op.encode().bytes;
                    let given = service.execute(AgreedTime(0), &ClientId([0; 32]), &bytes);
                    let given = Output::parse(&given.into()).unwrap();
                    let expected = model.apply(&op);
                    assert!(is_same(&expected, &given), "{op}: {expected:?} {given:?}");
                    negative += u32::from(given.is_negative());
                    errors += u32::from(matches!(given, Output::Error(_)));
                }
            }
        }
        assert!(negative > 100 && errors > 0, "{negative} {errors}: the workload is too tame");
    }
}
