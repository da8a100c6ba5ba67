//! What is sent: the mix of commands and the bytes of each.

use crate::service::kv;
use crate::wire::{Command, CommandKind};
use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::fmt;
use std::str::FromStr;

/// Keys are numbered with so many digits.
const DIGITS: usize = 8;
/// So that every number has its digits.
pub(super) const MAX_KEYS: u64 = 100_000_000;
/// In front of the digits: one command byte, four bytes of the key's length and a letter.
const DIGITS_AT: usize = 6;
/// A put's value stands behind its key and the four bytes of its own length.
const VALUE_AT: usize = DIGITS_AT + DIGITS + 4;

/// One kind of command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Put,
    Get,
    Incr,
    Delete,
}

impl Op {
    const ALL: [(Op, &str); 4] =
        [(Op::Put, "put"), (Op::Get, "get"), (Op::Incr, "incr"), (Op::Delete, "delete")];

    fn name(self) -> &'static str {
        match self {
            Op::Put => "put",
            Op::Get => "get",
            Op::Incr => "incr",
            Op::Delete => "delete",
        }
    }
}

/// Kinds of commands with their weights; at least one, each once, none of weight 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mix(Vec<(Op, u32)>);

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').ok_or_else(|| {
                format!("`{part}` is no part of a mix; write it as put=90,get=10")
            })?;
            let op = Op::ALL.iter().find(|(_, n)| *n == name).map(|(op, _)| *op);
            let op = op.ok_or_else(|| {
                format!("`{name}` is no command of a mix; there are put, get, incr and delete")
            })?;
            let weight = weight.parse().ok().filter(|w| (1..=1_000_000).contains(w));
            let weight = weight.ok_or_else(|| {
                format!("the weight of {name} is a whole number from 1 to 1000000")
            })?;
            if parts.iter().any(|(other, _)| *other == op) {
                return Err(format!("{name} stands twice in the mix"));
            }
            parts.push((op, weight));
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (op, weight)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{}={weight}", op.name())?;
        }
        Ok(())
    }
}

impl Mix {
    /// Whether a key that may only read can send it.
    pub(super) fn only_reads(&self) -> bool {
        self.0.iter().all(|(op, _)| *op == Op::Get)
    }

    fn total(&self) -> u32 {
        self.0.iter().map(|(_, weight)| weight).sum()
    }

    // Which kind has the point `at`, below the total, on the line of the weights.
    fn at(&self, mut at: u32) -> Op {
        for (op, weight) in &self.0 {
            if at < *weight {
                return *op;
            }
            at -= weight;
        }
        unreachable!("points lie below the total")
    }
}

/// Makes commands without end, the same for the same seed. A command is a copy of a prepared one
/// with the key's digits written over, and for a put some bytes of the value.
pub(super) struct Load {
    random: ChaCha8Rng,
    mix: Mix,
    total: u32,
    keys: u64,
    commands: usize,
    put: Vec<u8>,
    get: Vec<u8>,
    incr: Vec<u8>,
    delete: Vec<u8>,
}

impl Load {
    /// Requests of `commands` commands over `keys` keys, values of `size` bytes.
    pub(super) fn new(mix: Mix, keys: u64, size: usize, commands: usize, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut value = vec![0; size];
        random.fill_bytes(&mut value);
        // Counters are keys of their own: a put's value is no number.
        let (k, n) = (key('k', 0), key('n', 0));
        Self {
            total: mix.total(),
            put: kv::Command::put(&k, &value).encode(),
            get: kv::Command::get(&k).encode(),
            incr: kv::Command::incr(&n, 1).encode(),
            delete: kv::Command::delete(&k).encode(),
            random,
            mix,
            keys,
            commands,
        }
    }

    /// A put of the key of this number, as the load's own are.
    pub(super) fn first_put(&self, number: u64) -> Command {
        let mut bytes = self.put.clone();
        write_digits(&mut bytes[DIGITS_AT..][..DIGITS], number);
        Command { kind: CommandKind::Execute, bytes: Bytes::from(bytes) }
    }

    /// The commands of the next request.
    pub(super) fn next_request(&mut self) -> Vec<Command> {
        (0..self.commands).map(|_| self.next_command()).collect()
    }

    fn next_command(&mut self) -> Command {
        let op = self.mix.at(below(&mut self.random, self.total.into()) as u32);
        let number = below(&mut self.random, self.keys);
        let template = match op {
            Op::Put => &self.put,
            Op::Get => &self.get,
            Op::Incr => &self.incr,
            Op::Delete => &self.delete,
        };
        let mut bytes = template.clone();
        write_digits(&mut bytes[DIGITS_AT..][..DIGITS], number);
        if op == Op::Put {
            // Values differ, or overwriting one would change nothing.
            let value = &mut bytes[VALUE_AT..];
            let fresh = self.random.next_u64().to_le_bytes();
            let n = value.len().min(fresh.len());
            value[..n].copy_from_slice(&fresh[..n]);
        }
        let kind = if op == Op::Get { CommandKind::Query } else { CommandKind::Execute };
        Command { kind, bytes: Bytes::from(bytes) }
    }
}

fn key(letter: char, number: u64) -> String {
    format!("{letter}{number:0DIGITS$}")
}

fn write_digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

// A number below `bound`; the bias is below bound / 2^64, which no measurement sees.
fn below(random: &mut ChaCha8Rng, bound: u64) -> u64 {
    ((u128::from(random.next_u64()) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_read_and_mistakes_are_named() {
        let mix: Mix = "put=90,get=10".parse().unwrap();
        assert_eq!(mix, Mix(vec![(Op::Put, 90), (Op::Get, 10)]));
        assert_eq!(mix.to_string(), "put=90,get=10");
        assert!(!mix.only_reads() && "get=1".parse::<Mix>().unwrap().only_reads());
        for (op, name) in Op::ALL {
            assert_eq!(op.name(), name);
        }
        let rows = [
            ("", "`` is no part"),
            ("put", "`put` is no part"),
            ("put=1,", "`` is no part"),
            ("dance=1", "`dance` is no command"),
            ("put=0", "the weight of put"),
            ("put=-1", "the weight of put"),
            ("get=1000001", "the weight of get"),
            ("put=1,put=2", "put stands twice"),
        ];
        for (text, part) in rows {
            let error = text.parse::<Mix>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_weight_is_the_share_of_the_line() {
        let mix: Mix = "put=2,get=1,delete=3".parse().unwrap();
        let ops: Vec<&str> = (0..mix.total()).map(|at| mix.at(at).name()).collect();
        assert_eq!(ops, ["put", "put", "get", "delete", "delete", "delete"]);
    }

    #[test]
    fn commands_are_well_formed_of_the_size_and_over_all_keys() {
        let mix: Mix = "put=1,get=1,incr=1,delete=1".parse().unwrap();
        let mut load = Load::new(mix, 3, 20, 2, 7);
        let (mut names, mut values) = (std::collections::BTreeSet::new(), Vec::new());
        for command in (0..100).flat_map(|_| load.next_request()) {
            let parsed = kv::Command::parse(&command.bytes).unwrap();
            assert_eq!(parsed.is_read_only(), command.kind == CommandKind::Query);
            let key = match parsed {
                kv::Command::Put { key, value } => {
                    assert_eq!(value.len(), 20);
                    values.push(value.to_vec());
                    key
                }
                kv::Command::Get { key } | kv::Command::Delete { key } => key,
                kv::Command::Incr { key, by: 1 } => key,
                other => panic!("{other:?}"),
            };
            names.insert(String::from_utf8(key.to_vec()).unwrap());
        }
        let all = ["k00000000", "k00000001", "k00000002", "n00000000", "n00000001", "n00000002"];
        assert!(names.iter().eq(all), "{names:?}");
        assert!(values.len() > 1 && values.windows(2).all(|w| w[0] != w[1]));
    }

    #[test]
    fn a_first_put_is_of_the_key_that_the_load_uses() {
        let load = Load::new("put=1".parse().unwrap(), 10, 20, 1, 7);
        let command = load.first_put(7);
        let kv::Command::Put { key, value } = kv::Command::parse(&command.bytes).unwrap() else {
            panic!("{command:?}");
        };
        assert_eq!((key, value.len()), (&b"k00000007"[..], 20));
    }

    #[test]
    fn a_seed_gives_the_same_load_again_and_another_seed_another() {
        let requests = |seed, size| {
            let mut load = Load::new("put=1,get=1".parse().unwrap(), 1000, size, 1, seed);
            (0..50).flat_map(|_| load.next_request()).collect::<Vec<_>>()
        };
        assert_eq!(requests(1, 16), requests(1, 16));
        assert_ne!(requests(1, 16), requests(2, 16));
        assert_eq!(requests(1, 0).len(), 50);
    }
}
