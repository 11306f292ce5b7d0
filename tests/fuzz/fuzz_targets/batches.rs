//! Record batches as they come in a Produce request or back from an upstream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_fuzz::bounded;
use sedge_protocol::{
    Bytes,
    batch::{BatchHeader, HEADER_BYTES},
    ids::{LeaderEpoch, Offset},
};

fuzz_target!(|input: &[u8]| {
    bounded(input, 1, |input| {
        let mut rest = Bytes::copy_from_slice(input);
        let before = rest.len();
        if let Some(mut header) = BatchHeader::read(&rest) {
            let _ = (
                header.last_offset(),
                header.next_offset(),
                header.compression(),
            );
            header.set_base_offset(Offset(7));
            header.set_leader_epoch(LeaderEpoch(1));
            assert_eq!(header.base_offset(), Offset(7));
            let _ = header.computed_crc(&input[HEADER_BYTES..]);
        }
        while let Some(batch) = sedge_protocol::batch::Batch::split_from(&mut rest) {
            assert!(batch.bytes() >= HEADER_BYTES);
        }
        assert!(rest.len() <= before);
    });
});
