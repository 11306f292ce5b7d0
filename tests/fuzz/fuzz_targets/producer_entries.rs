//! Fuzzes entries of the producers view, read back from a disk.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_core::log::derive::parse_producer_key;
use sedge_core::log::producers::ProducerEntry;
use sedge_fuzz::bounded;

fuzz_target!(|input: &[u8]| {
    bounded(input, 1, |input| {
        let _ = parse_producer_key(input);
        if let Some(entry) = ProducerEntry::decode(input) {
            assert_eq!(entry.encode(), input);
        }
    });
});
