//! Fuzzes requests of clients: every advertised request, in every version.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_fuzz::messages;

fuzz_target!(|input: &[u8]| messages::choose(input, messages::request));
