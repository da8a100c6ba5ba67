//! What the members of a chain have on their disks, taken to what the chain would go on from.

use crate::chain::Recovered;
use crate::wire::ChainPosition;

/// The state of a whole chain.
#[derive(Debug)]
pub struct WholeChain {
    /// Whose history it is: the one with the highest last position (CH-F6).
    pub of: usize,
    /// The state after all of that history.
    pub state: Recovered,
    /// The last number that each disk has alike with it.
    pub shared: Vec<u64>,
    /// Updates that each has beyond that: they were never committed.
    pub dropped: Vec<u64>,
}

/// Why disks are not those of one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlike {
    /// Which disk is in doubt.
    pub of: usize,
    /// Beside which one.
    pub beside: usize,
    /// What does not fit.
    pub why: String,
}

/// Puts together what the members of one configuration have.
///
/// All that was ever committed is in each of these histories (CH-U4). So they are alike up to
/// there, and so are the states that come of it; beyond, the longest one is as good as any.
///
/// # Errors
/// Which disk cannot be one of them.
///
/// # Panics
/// If there is none.
pub fn whole_chain(mut disks: Vec<Recovered>) -> Result<WholeChain, Unlike> {
    let lasts: Vec<ChainPosition> = disks.iter().map(Recovered::last).collect();
    let longest = lasts.iter().max().expect("a chain has members");
    let first = lasts.iter().position(|last| last == longest).expect("it is one of them");
    let mut state = disks.remove(first);
    let name = |other: usize| other + usize::from(other >= first);
    let mut order = Vec::new();
    for (i, disk) in disks.iter().enumerate() {
        let unlike = |why| Unlike { of: name(i), beside: first, why };
        let shared = state.common(disk).ok_or_else(|| unlike(apart(disk, &state)))?;
        if shared < disk.executed().number.max(state.executed().number) {
            return Err(unlike(apart(disk, &state)));
        }
        order.push((shared, i));
    }
    let (mut shared, mut dropped) = (vec![longest.number; lasts.len()], vec![0; lasts.len()]);
    order.sort_unstable();
    for (number, i) in order {
        let disk = &mut disks[i];
        let unlike = |of: usize, why: String| Unlike { of, beside: first, why };
        disk.run_to(number).map_err(|why| unlike(name(i), why))?;
        state.run_to(number).map_err(|why| unlike(first, why))?;
        if disk.digest() != state.digest() {
            let why = format!("has another state after update {number}, of equal updates");
            return Err(unlike(name(i), why));
        }
        shared[name(i)] = number;
        dropped[name(i)] = disk.last().number - number;
    }
    let ran = state.run_to(longest.number);
    ran.map_err(|why| Unlike { of: first, beside: first, why })?;
    Ok(WholeChain { of: first, state, shared, dropped })
}

fn apart(disk: &Recovered, longest: &Recovered) -> String {
    let (last, first) = (disk.last().number, longest.executed().number);
    format!(
        "has updates up to {last}, which do not go together with the other's state after {first}: \
         it lacks what was committed"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{Found, MakeService};
    use crate::crypto::{Context, Domain, hash};
    use crate::service::kv::{Command as Kvs, Kv};
    use crate::service::{Carried, Service};
    use crate::types::{AgreedTime, ClientId, GroupId, OrderLimits, SessionId};
    use crate::wire::{ChainEntry, Command, CommandKind, Request, RequestBody};
    use bytes::Bytes;
    use std::sync::Arc;

    fn open(found: &Found) -> Recovered {
        let make = || -> Box<dyn Service> { Box::new(Kv::new()) };
        let context = Context { cluster: hash(Domain::Cluster, b"c"), group: GroupId::CHAIN };
        let begins = (MakeService(Arc::new(make)), None);
        Recovered::new(begins, (OrderLimits::default(), context), found).unwrap()
    }

    // Number 1 opens a session, the others put; `value` tells histories apart.
    fn entry(config: u64, number: u64, value: &str) -> Bytes {
        let body = match number {
            1 => Bytes::new(),
            _ => {
                let (kind, bytes) = (CommandKind::Execute, Kvs::put("k", value).encode().into());
                RequestBody { commands: vec![Command { kind, bytes }] }.to_bytes()
            }
        };
        let request = Request { session: SessionId(1), number: number - 1, low: 0, body };
        let position = ChainPosition { config, number };
        let entry =
            ChainEntry { position, time: AgreedTime(number), client: ClientId([1; 32]), request };
        entry.to_record()
    }

    fn log(entries: &[(u64, u64, &str)]) -> Found {
        let log = entries.iter().map(|(c, n, value)| entry(*c, *n, value)).collect();
        Found { state: None, log }
    }

    fn value(carried: &Carried) -> Option<Vec<u8>> {
        let mut kv = Kv::new();
        kv.restore(&carried.service).unwrap();
        kv.get(b"k").map(<[u8]>::to_vec)
    }

    #[test]
    fn the_history_with_the_highest_position_is_taken_and_what_was_cut_off_elsewhere_is_told() {
        let head = log(&[(1, 1, ""), (1, 2, "a"), (2, 3, "c"), (2, 4, "d")]);
        let old = log(&[(1, 1, ""), (1, 2, "a"), (1, 3, "never"), (1, 4, "never"), (1, 5, "n")]);
        let tail = log(&[(1, 1, ""), (1, 2, "a"), (2, 3, "c")]);
        let whole = whole_chain(vec![open(&old), open(&head), open(&tail)]).unwrap();
        assert_eq!(whole.of, 1);
        assert_eq!((whole.shared, whole.dropped), (vec![2, 4, 3], vec![3, 0, 0]));
        assert_eq!(value(&whole.state.carried()), Some(b"d".to_vec()));
    }

    #[test]
    fn one_alone_gives_all_that_it_has() {
        let whole = whole_chain(vec![open(&log(&[(1, 1, ""), (1, 2, "a")]))]).unwrap();
        assert_eq!(value(&whole.state.carried()), Some(b"a".to_vec()));
        let nothing = whole_chain(vec![open(&Found::default())]).unwrap();
        assert_eq!(value(&nothing.state.carried()), None);
    }

    #[test]
    fn a_disk_that_lacks_what_was_committed_is_refused() {
        // The state of the longest is of what was committed.
        let mut long = open(&log(&[(1, 1, ""), (1, 2, "a"), (1, 3, "b")]));
        long.run_to(3).unwrap();
        let state = Some(long.state());
        let long = open(&Found { state, log: vec![entry(1, 4, "c")] });
        let refused = whole_chain(vec![open(&log(&[(1, 1, ""), (1, 2, "a")])), long]).unwrap_err();
        assert_eq!((refused.of, refused.beside), (0, 1));
        assert!(refused.why.contains("lacks what was committed"), "{}", refused.why);
    }
}
