//! Fuzzes the first bytes of a connection: detecting the protocol, and the header of a request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_fuzz::bounded;
use sedge_protocol::{
    Bytes,
    frame::{RequestHeader, check_produce, other_protocol},
};

fuzz_target!(|input: &[u8]| {
    bounded(input, 1, |input| {
        let _ = other_protocol(input);
        let mut frame = Bytes::copy_from_slice(input);
        if let Ok(header) = RequestHeader::decode(&mut frame) {
            assert!(frame.len() < input.len());
            assert!(input.ends_with(&frame));
            let _ = check_produce(&frame, header.api_version);
        }
    });
});
