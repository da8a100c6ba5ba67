//! Decoders and whatever reads bytes from a disk or a peer, on a corpus and on changes of it that a
//! seed chooses.

mod bodies;

use super::offline;
use super::wire::samples;
use bodies::{LOG, MESSAGES, SNAPSHOT, bounded};
use quorate::wire::{Kind, LogEntry};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The variable that makes this test write the corpus instead of reading it.
const BLESS: &str = "QUORATE_BLESS";
/// Changed inputs for each target.
const CHANGED: u64 = 4000;

/// What has a corpus.
const TARGETS: [bodies::Target; 3] = [LOG, SNAPSHOT, MESSAGES];

fn directory(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// What the corpus is made of: golden bytes, and what a simulated group has written.
fn made() -> BTreeMap<(&'static str, String), Vec<u8>> {
    let mut made = BTreeMap::new();
    let mut add = |target, name: &str, parts: &[&[u8]]| {
        made.insert((target, name.to_owned()), parts.concat());
    };
    let mut all = vec![3];
    for sample in samples::all() {
        let (target, mode) = match sample.name {
            // No target reads these: the tests of the wire do.
            name if name.starts_with("master") => continue,
            "chain-record" | "looked" => continue,
            name if name.starts_with("record") => ("log", 1),
            "mark" => ("log", 2),
            name if name.starts_with("outcome") => ("messages", 1),
            "request-body" | "request-body-look" => ("messages", 0),
            "receipt" => ("messages", 4),
            "receipt-file" => ("messages", 5),
            _ => ("messages", 2),
        };
        add(target, sample.name, &[&[mode], &sample.bytes]);
        if sample.framed {
            all.extend_from_slice(&sample.bytes);
        }
    }
    add("messages", "stream", &[&all]);
    let (entries, head, state) = offline::written();
    let mut kinds = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.len() < 2000) {
        kinds.insert(entry[0], entry);
    }
    for (kind, entry) in kinds {
        assert!(LogEntry::parse(entry).is_ok());
        add("log", &format!("entry-{kind}"), &[&[0], entry]);
    }
    add("log", "damage-none", &[&[4]]);
    add("log", "damage-bits", &[&[4], &[0, 200, 0, 1], &[1, 100, 4, 255]]);
    add("log", "damage-cut", &[&[4], &[7 * 32, 44, 1, 0]]);
    add("log", "damage-tail", &[&[4], &[6 * 32 + 1, 90, 2, 7]]);
    // More than fits the allowance of memory, if all of them were made.
    add("log", "damage-much", &[&[4], &[6 * 32, 187, 2, 7].repeat(1800)]);
    add("log", "file-empty", &[&[3]]);
    add("log", "file-header", &[&[3], b"QUORLOG\0", &[1, 0, 0, 0], &[7; 32], &[0; 52]]);
    add("log", "snapshot-good", &[&[5]]);
    add("log", "snapshot-damage", &[&[5], &[70, 1, 100, 2]]);
    add("log", "snapshot-header", &[&[5], b"QUORSNAP", &[1, 0, 0, 0], &[7; 32], &[3; 12]]);
    let length = u16::try_from(head.len()).expect("three headers").to_le_bytes();
    add("snapshot", "whole", &[&length, &head, &state]);
    add("snapshot", "state-only", &[&[0, 0], &state]);
    let order = u64::from_le_bytes(*state[96..].first_chunk().expect("a length")) as usize;
    add("snapshot", "order-only", &[&[0, 0], &state[104..104 + order]]);
    made
}

fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let mut corpus = BTreeMap::new();
    let entries = std::fs::read_dir(directory(target)).expect("the corpus is in the tree");
    for entry in entries.map(|entry| entry.expect("it can be listed")) {
        let name = entry.file_name().into_string().expect("a plain name");
        corpus.insert(name, std::fs::read(entry.path()).expect("it can be read"));
    }
    corpus
}

#[test]
fn the_corpus_holds_what_it_is_made_of_and_is_understood() {
    let made = made();
    if std::env::var_os(BLESS).is_some() {
        for ((target, name), bytes) in &made {
            std::fs::create_dir_all(directory(target)).expect("the tree is writable");
            std::fs::write(directory(target).join(name), bytes).expect("the tree is writable");
        }
    }
    for target in TARGETS {
        let corpus = corpus(target.0);
        for ((_, name), bytes) in made.iter().filter(|((of, _), _)| *of == target.0) {
            let same = corpus.get(name) == Some(bytes);
            assert!(same, "fuzz/corpus/{}/{name} is old; write it with {BLESS}=1", target.0);
        }
        let understood = corpus.values().filter(|input| bounded(target, input) > 0).count();
        println!("{}: {understood} of {} inputs are understood", target.0, corpus.len());
        assert!(understood * 2 > corpus.len(), "{}: few inputs are understood", target.0);
    }
    let whole = &made[&("snapshot", "whole".to_owned())];
    assert_eq!(bodies::snapshot(whole), 5, "parsed, sessions, proven, given and its order");
}

#[test]
fn every_kind_of_frame_is_read() {
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Open) {
        let is_read = bodies::KINDS.contains(&kind);
        assert!(is_read, "add the message of {kind:?} to `messages!` in tests/it/fuzz/bodies.rs");
    }
}

/// One of some small changes, or a mixture of two inputs.
fn change(input: &mut Vec<u8>, other: &[u8], dice: &mut dyn FnMut(usize) -> usize) {
    let place = dice(input.len() + 1);
    match dice(8) {
        0 => input.truncate(place),
        1 => input.insert(place, dice(256) as u8),
        2 => drop(input.drain(place..(place + 1 + dice(8)).min(input.len()).max(place))),
        3 => input.truncate(place.max(1)),
        4 => {
            let from = dice(other.len() + 1);
            let part = &other[from..(from + dice(64)).min(other.len())];
            drop(input.splice(place..place, part.iter().copied()));
        }
        5 => {
            let value = [0, 1, 0xff, 0x7f, 0x80][dice(5)];
            input.iter_mut().skip(place).take(1 + dice(8)).for_each(|byte| *byte = value);
        }
        _ => {
            if let Some(byte) = input.get_mut(place) {
                *byte ^= 1 << dice(8);
            }
        }
    }
}

#[test]
fn changes_of_the_corpus_are_read_without_harm() {
    for (target, stream) in TARGETS.into_iter().zip(0..) {
        let inputs: Vec<Vec<u8>> = corpus(target.0).into_values().collect();
        let mut rng = ChaCha8Rng::seed_from_u64(2026);
        rng.set_stream(stream);
        let mut dice = |n: usize| (rng.next_u64() % n as u64) as usize;
        let mut understood = 0;
        for _ in 0..CHANGED {
            let mut input = inputs[dice(inputs.len())].clone();
            let other = inputs[dice(inputs.len())].clone();
            (0..1 + dice(4)).for_each(|_| change(&mut input, &other, &mut dice));
            understood += u64::from(bounded(target, &input) > 0);
        }
        println!("{}: {understood} of {CHANGED} changed inputs are understood", target.0);
        assert!(understood > CHANGED / 50, "{}: {understood} of {CHANGED}", target.0);
    }
}
