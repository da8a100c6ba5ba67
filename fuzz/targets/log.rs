//! `log` of the bodies, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_fuzz::bodies::{LOG, bounded};

fuzz_target!(|data: &[u8]| {
    bounded(LOG, data);
});
