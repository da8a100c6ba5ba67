//! `snapshot` of the bodies, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_fuzz::bodies::{SNAPSHOT, bounded};

fuzz_target!(|data: &[u8]| {
    bounded(SNAPSHOT, data);
});
