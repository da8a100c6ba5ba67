//! Bytes made to hurt: claimed sizes, and noise.

use super::samples::{self, Sample};
use allocation_counter::measure;
use bytes::Bytes;
use proptest::prelude::*;
use quorate::wire::{FrameDecoder, MAX_FRAME};

/// What decoding may allocate: a few times what came, and the handful of bytes of an error.
fn allowance(bytes: &[u8]) -> u64 {
    16 * bytes.len() as u64 + 4096
}

#[test]
fn a_claimed_count_is_refused_and_costs_no_memory() {
    for sample in samples::all() {
        for &at in &sample.counts {
            for claim in [u32::MAX, u32::MAX / 2, MAX_FRAME as u32, 70_000] {
                let bytes = overwrite(&sample.bytes, at, claim);
                let verdict = bounded(&sample, &bytes);
                assert!(verdict.is_err(), "{}: count {claim} at byte {at}", sample.name);
            }
        }
    }
}

/// The same without knowing where counts stand: whatever four bytes claim, memory stays bounded.
#[test]
fn four_bytes_of_ones_anywhere_cost_no_memory() {
    for sample in samples::all() {
        for at in 0..sample.bytes.len().saturating_sub(3) {
            let bytes = overwrite(&sample.bytes, at, u32::MAX);
            if let Ok(again) = bounded(&sample, &bytes) {
                assert_eq!(again, bytes, "{} has two encodings: byte {at}", sample.name);
            }
        }
    }
}

/// A stream that announces the longest frame and never sends it holds what it sent, no more.
#[test]
fn a_frame_that_was_only_announced_costs_no_memory() {
    let info = measure(|| {
        let mut decoder = FrameDecoder::default();
        let header = u32::try_from(MAX_FRAME).expect("1 MiB").to_le_bytes();
        decoder.push(Bytes::copy_from_slice(&header));
        for _ in 0..100 {
            decoder.push(Bytes::from_static(&[1]));
            assert_eq!(decoder.next_frame(), Ok(None));
        }
    });
    assert!(info.bytes_max < 4096, "{} bytes held for 104 received", info.bytes_max);
}

/// The meter itself works: without this the tests above could pass by measuring nothing.
#[test]
fn the_meter_sees_an_allocation() {
    let info = measure(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20))));
    assert!(info.bytes_max >= 1 << 20);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_never_panics_in_any_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for sample in samples::all() {
            if let Ok(again) = bounded(&sample, &bytes) {
                prop_assert_eq!(again, bytes.clone(), "{} has two encodings", sample.name);
            }
            // Noise rarely has a header that fits: give it one, so that it reaches the message.
            if sample.framed {
                let framed = samples::refit([&sample.bytes[..9], &bytes[..]].concat());
                if let Ok(again) = bounded(&sample, &framed) {
                    prop_assert_eq!(again, framed, "{} has two encodings", sample.name);
                }
            }
        }
    }

    #[test]
    fn damaged_samples_never_panic(
        which in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9),
        cut in any::<prop::sample::Index>(),
    ) {
        let all = samples::all();
        let sample = which.get(&all);
        let mut bytes = sample.bytes.clone();
        for (at, byte) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if sample.framed && bytes.len() >= 9 {
            bytes = samples::refit(bytes);
        }
        if let Ok(again) = bounded(sample, &bytes) {
            prop_assert_eq!(again, bytes, "{} has two encodings", sample.name);
        }
    }

    #[test]
    fn noise_never_panics_in_the_frame_decoder(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
    ) {
        let mut decoder = FrameDecoder::default();
        'stream: for chunk in chunks {
            decoder.push(chunk.into());
            loop {
                match decoder.next_frame() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
    }
}

fn bounded(sample: &Sample, bytes: &[u8]) -> Result<Vec<u8>, quorate::wire::DecodeError> {
    let mut verdict = None;
    let info = measure(|| verdict = Some(sample.reencode(bytes)));
    assert!(
        info.bytes_max <= allowance(bytes),
        "{}: decoding {} bytes took {} bytes of memory",
        sample.name,
        bytes.len(),
        info.bytes_max
    );
    verdict.expect("it was measured")
}

fn overwrite(bytes: &[u8], at: usize, claim: u32) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at..at + 4].copy_from_slice(&claim.to_le_bytes());
    changed
}
