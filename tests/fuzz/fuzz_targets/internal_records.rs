//! Fuzzes records of `__consumer_offsets` and `__cluster_metadata`, read back from a disk or
//! written by another tool.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_fuzz::bounded;
use sedge_protocol::{coordinator::CoordinatorRecord, metadata_records::MetadataRecord};

fuzz_target!(|input: &[u8]| {
    bounded(input, 2, |input| {
        metadata(input);
        coordinator(input);
    });
});

fn metadata(input: &[u8]) {
    if let Ok(record) = MetadataRecord::decode(input) {
        assert_eq!(
            MetadataRecord::decode(&record.encode()).as_ref().ok(),
            Some(&record)
        );
    }
}

/// The first byte is the length of the key; there is no value if the second is zero.
fn coordinator(input: &[u8]) {
    let [key_bytes, has_value, rest @ ..] = input else {
        return;
    };
    let (key, value) = rest.split_at(usize::from(*key_bytes).min(rest.len()));
    let value = (*has_value != 0).then_some(value);
    let Ok(record) = CoordinatorRecord::decode(key, value) else {
        return;
    };
    // A version that is no longer written may lose fields that only it had.
    let Ok((key, value)) = record.encode() else {
        return;
    };
    let again = CoordinatorRecord::decode(&key, value.as_deref()).expect("encoded by us");
    let third = again.encode().expect("encoded before");
    assert_eq!((key, value), third);
}
