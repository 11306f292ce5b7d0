//! Fuzzes answers of an upstream Kafka to the mirror and the command line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_fuzz::messages;

fuzz_target!(|input: &[u8]| messages::choose(input, messages::response));
