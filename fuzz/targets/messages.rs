//! `messages` of the bodies, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_fuzz::bodies::{MESSAGES, bounded};

fuzz_target!(|data: &[u8]| {
    bounded(MESSAGES, data);
});
