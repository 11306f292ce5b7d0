//! Fuzzes records of `__cluster_metadata`, `__consumer_offsets`, `__transaction_state` and of
//! snapshots, read back from a disk or written by another tool.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use sedge_fuzz::bounded;
use sedge_protocol::{
    coordinator::CoordinatorRecord, metadata_records::MetadataRecord,
    snapshot_records::SnapshotRecord, transaction_records::TransactionRecord,
};

fuzz_target!(|input: &[u8]| {
    bounded(input, 2, |input| {
        metadata(input);
        keyed(input);
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
fn keyed(input: &[u8]) {
    let [key_bytes, has_value, rest @ ..] = input else {
        return;
    };
    let (key, value) = rest.split_at(usize::from(*key_bytes).min(rest.len()));
    let value = (*has_value != 0).then_some(value);
    stays(
        key,
        value,
        |key, value| CoordinatorRecord::decode(key, value).ok(),
        |record| record.encode().ok(),
    );
    stays(
        key,
        value,
        |key, value| TransactionRecord::decode(key, value).ok(),
        |record| record.encode().ok(),
    );
    stays(
        key,
        value,
        |key, value| SnapshotRecord::decode(key, value?).ok().flatten(),
        |record| {
            let (key, value) = record.encode();
            Some((key, Some(value)))
        },
    );
}

type Encoded = (Vec<u8>, Option<Vec<u8>>);

/// What was decoded once is written, and read again as the same.
fn stays<R: Debug>(
    key: &[u8],
    value: Option<&[u8]>,
    decode: impl Fn(&[u8], Option<&[u8]>) -> Option<R>,
    encode: impl Fn(&R) -> Option<Encoded>,
) {
    let Some(record) = decode(key, value) else {
        return;
    };
    // A version that is no longer written may lose fields that only it had.
    let Some((key, value)) = encode(&record) else {
        return;
    };
    let again = decode(&key, value.as_deref()).expect("encoded by us");
    assert_eq!(Some((key, value)), encode(&again), "{record:?}");
}
