//! What the key-value service should do, told as simply as can be and without its code.

use super::linear::Model;
use std::collections::BTreeMap;

/// The model: a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvModel;

type Key = Vec<u8>;
type Value = Vec<u8>;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvOp {
    /// Sets a key.
    Put(Key, Value),
    /// Reads a key.
    Get(Key),
    /// Removes a key.
    Delete(Key),
    /// Sets a key to the last part if its value is the middle part.
    Cas(Key, Option<Value>, Value),
    /// Adds to a decimal number; a missing one counts as 0.
    Incr(Key, i64),
    /// Lists keys with a prefix that are above a given one (unless that is empty), so many.
    Scan(Key, Key, u32),
    /// Changes nothing.
    Ping,
    /// Anything that is no command, or that must not write and would.
    Nonsense,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvOut {
    /// It is done.
    Done,
    /// There is no such key.
    Missing,
    /// The key's value.
    Value(Value),
    /// The value was not the expected one but this.
    Mismatch(Option<Value>),
    /// The number now.
    Number(i64),
    /// The entries, and whether there are more.
    Entries(Vec<(Key, Value)>, bool),
    /// It cannot be done; the words are the service's own.
    Error,
    /// An answer to a ping; its time is no part of the state.
    Pong,
}

impl Model for KvModel {
    type Op = KvOp;
    type Out = KvOut;
    type State = BTreeMap<Key, Value>;

    fn apply(state: &mut Self::State, op: &KvOp) -> KvOut {
        match op {
            KvOp::Put(key, value) => {
                state.insert(key.clone(), value.clone());
                KvOut::Done
            }
            KvOp::Get(key) => state.get(key).cloned().map_or(KvOut::Missing, KvOut::Value),
            KvOp::Delete(key) => match state.remove(key) {
                Some(_) => KvOut::Done,
                None => KvOut::Missing,
            },
            KvOp::Cas(key, old, new) => {
                if state.get(key) != old.as_ref() {
                    return KvOut::Mismatch(state.get(key).cloned());
                }
                state.insert(key.clone(), new.clone());
                KvOut::Done
            }
            KvOp::Incr(key, by) => {
                let text = state.get(key).map_or(Ok("0"), |v| std::str::from_utf8(v));
                let number = text.ok().and_then(|t| t.parse::<i64>().ok());
                match number.and_then(|n| n.checked_add(*by)) {
                    Some(sum) => {
                        state.insert(key.clone(), sum.to_string().into_bytes());
                        KvOut::Number(sum)
                    }
                    None => KvOut::Error,
                }
            }
            KvOp::Scan(prefix, after, limit) => {
                let wanted = |k: &Key| k.starts_with(prefix) && (after.is_empty() || k > after);
                let mut fitting: Vec<(Key, Value)> = state
                    .iter()
                    .filter(|(k, _)| wanted(k))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                let more = fitting.len() > *limit as usize;
                fitting.truncate(*limit as usize);
                KvOut::Entries(fitting, more)
            }
            KvOp::Ping => KvOut::Pong,
            KvOp::Nonsense => KvOut::Error,
        }
    }

    fn keys(op: &KvOp) -> Option<Vec<Vec<u8>>> {
        match op {
            KvOp::Put(k, _) | KvOp::Get(k) | KvOp::Delete(k) => Some(vec![k.clone()]),
            KvOp::Cas(k, ..) | KvOp::Incr(k, _) => Some(vec![k.clone()]),
            KvOp::Scan(..) => None,
            KvOp::Ping | KvOp::Nonsense => Some(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(ops: &[KvOp]) -> Vec<KvOut> {
        let mut state = BTreeMap::new();
        ops.iter().map(|op| KvModel::apply(&mut state, op)).collect()
    }

    #[test]
    fn the_model_does_what_its_words_say() {
        let k = |s: &str| s.as_bytes().to_vec();
        let ops = [
            KvOp::Get(k("a")),
            KvOp::Put(k("a"), k("1")),
            KvOp::Incr(k("a"), 4),
            KvOp::Cas(k("a"), Some(k("5")), k("x")),
            KvOp::Cas(k("b"), Some(k("5")), k("x")),
            KvOp::Incr(k("a"), 1),
            KvOp::Incr(k("b"), -1),
            KvOp::Scan(k(""), k(""), 1),
            KvOp::Scan(k(""), k("a"), 9),
            KvOp::Delete(k("a")),
            KvOp::Delete(k("a")),
            KvOp::Incr(k("b"), i64::MIN),
        ];
        let expected = [
            KvOut::Missing,
            KvOut::Done,
            KvOut::Number(5),
            KvOut::Done,
            KvOut::Mismatch(None),
            KvOut::Error,
            KvOut::Number(-1),
            KvOut::Entries(vec![(k("a"), k("x"))], true),
            KvOut::Entries(vec![(k("b"), k("-1"))], false),
            KvOut::Done,
            KvOut::Missing,
            KvOut::Error,
        ];
        assert_eq!(run(&ops), expected);
    }
}
