//! The wire: golden bytes, and what every decoder owes to bytes from strangers.
//!
//! Every sample of [`samples`] goes through every test, so a new message kind needs one entry
//! there and one golden file. What is checked: the bytes are those of the tree, they survive a
//! round trip, no prefix of them is a message, no flipped bit gives a second encoding, no claimed
//! count makes a decoder allocate, a signed message that was changed never verifies.

mod chain;
mod epochs;
mod hostile;
mod limits;
mod receipts;
pub mod samples;
mod statements;

use quorate::types::GroupId;
use quorate::wire::{DecodeError, Frame, Kind, Message, Ping};
use samples::golden_path;
use std::collections::BTreeSet;

/// The variable that makes this test write golden files instead of comparing them.
const BLESS: &str = "QUORATE_BLESS";

#[test]
fn bytes_are_those_of_the_golden_files() {
    let mut known = BTreeSet::new();
    for sample in samples::all() {
        let path = golden_path(sample.name);
        known.insert(path.clone());
        if std::env::var_os(BLESS).is_some() {
            std::fs::write(&path, sample.to_text()).expect("the golden directory is writable");
        }
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| {
            panic!("{}: {e}; write it with {BLESS}=1, see CONTRIBUTING.md", path.display())
        });
        let golden = samples::from_text(&text)
            .unwrap_or_else(|line| panic!("{}: line {line} is not hexadecimal", path.display()));
        assert_eq!(
            samples::to_hex(&sample.bytes),
            samples::to_hex(&golden),
            "{}: the layout changed. That is a new version of the protocol; if it is meant, \
             raise PROTOCOL_VERSION and write the files again with {BLESS}=1",
            sample.name
        );
    }
    let files = std::fs::read_dir(samples::golden_dir()).expect("tests/golden is in the tree");
    for file in files.map(|f| f.expect("tests/golden can be listed").path()) {
        assert!(known.contains(&file), "{}: no sample has this name", file.display());
    }
}

#[test]
fn every_frame_kind_has_a_sample() {
    let framed = samples::all().into_iter().filter(|s| s.framed);
    let kinds: BTreeSet<u8> = framed.map(|s| s.bytes[4]).collect();
    assert_eq!(kinds, Kind::ALL.into_iter().map(|k| k as u8).collect());
}

#[test]
fn a_golden_file_that_is_not_hexadecimal_is_refused() {
    assert_eq!(samples::from_text("# words\n00ff\n"), Ok(vec![0, 255]));
    assert_eq!(samples::from_text("00ff\n0g\n"), Err(2));
    assert_eq!(samples::from_text("00f\n"), Err(1));
}

#[test]
fn every_sample_survives_a_round_trip() {
    for sample in samples::all() {
        assert_eq!(sample.reencode(&sample.bytes), Ok(sample.bytes.clone()), "{}", sample.name);
    }
}

#[test]
fn no_prefix_of_a_sample_decodes_and_nothing_may_follow_it() {
    for sample in samples::all() {
        for end in 0..sample.bytes.len() {
            let cut = sample.reencode(&sample.bytes[..end]);
            assert!(cut.is_err(), "{} cut to {end} bytes decodes", sample.name);
        }
        let longer = [&sample.bytes[..], &[0]].concat();
        assert!(sample.reencode(&longer).is_err(), "{} decodes with a tail", sample.name);
    }
}

/// Truncation inside of a frame whose length field fits: the frame is whole, its message is not.
#[test]
fn no_prefix_of_a_message_decodes_within_a_whole_frame() {
    for sample in samples::all().into_iter().filter(|s| s.framed && !s.open_ended) {
        for end in 9..sample.bytes.len() {
            let cut = samples::refit(sample.bytes[..end].to_vec());
            assert!(sample.reencode(&cut).is_err(), "{} cut to {end} bytes", sample.name);
        }
        let longer = samples::refit([&sample.bytes[..], &[0]].concat());
        assert!(sample.reencode(&longer).is_err(), "{} decodes with a tail", sample.name);
    }
}

#[test]
fn a_flipped_bit_is_refused_or_kept() {
    for sample in samples::all() {
        let mut kept = 0;
        for bit in 0..8 * sample.bytes.len() {
            let flipped = flip(&sample.bytes, bit);
            match sample.reencode(&flipped) {
                Err(DecodeError { .. }) => {}
                Ok(bytes) => {
                    assert_eq!(bytes, flipped, "{} has two encodings: bit {bit}", sample.name);
                    kept += 1;
                }
            }
        }
        assert!(kept == 0 || !sample.sealed, "{}: {kept} flips were accepted", sample.name);
    }
}

#[test]
fn a_flipped_bit_of_a_signed_message_never_verifies() {
    let keyring = samples::keyring();
    let mut signed = BTreeSet::new();
    for sample in samples::all() {
        let Some(verdict) = sample.verify(&sample.bytes, &keyring) else { continue };
        assert!(verdict, "{}", sample.name);
        signed.insert(sample.bytes[4]);
        // The frame's header is not signed; the group in it picks the keyring at the receiver.
        for bit in 9 * 8..8 * sample.bytes.len() {
            let verdict = sample.verify(&flip(&sample.bytes, bit), &keyring);
            assert!(verdict != Some(true), "{} verifies: bit {bit}", sample.name);
        }
    }
    assert_eq!(signed, BTreeSet::from([2, 8, 10, 11, 12, 13, 36]));
}

#[test]
fn a_signed_message_of_another_cluster_or_group_never_verifies() {
    for sample in samples::all() {
        for keyring in samples::foreign_keyrings() {
            let verdict = sample.verify(&sample.bytes, &keyring);
            assert!(verdict != Some(true), "{}", sample.name);
        }
    }
}

#[test]
fn frames_of_unknown_kind_are_refused() {
    let known: BTreeSet<u8> = Kind::ALL.into_iter().map(|k| k as u8).collect();
    for kind in (0..=u8::MAX).filter(|k| !known.contains(k)) {
        let mut bytes = Ping { sent: 1, wall: 2 }.to_frame(GroupId::MAIN);
        bytes[4] = kind;
        let error = Frame::parse(bytes.into()).expect_err("an unknown kind");
        assert_eq!(error.what, "unknown frame kind", "kind {kind}");
    }
}

fn flip(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    flipped
}
