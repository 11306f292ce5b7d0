//! Fuzzes record batches, as they come in a Produce request, back from an upstream, or off the
//! disk: splits, decompresses, checks and reads them, and rebuilds them as a filter does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_fuzz::bounded;
use sedge_protocol::{
    Bytes,
    batch::{Batch, BatchHeader, HEADER_BYTES},
    ids::{LeaderEpoch, Offset},
    records::{Kept, Opener, Records, check_records, decompress, rebuild},
};

/// Bytes that a body may decompress to; more counts as a bomb.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 10;

fuzz_target!(|input: &[u8]| {
    bounded(input, 2, |input| {
        split(input);
        if let Some(header) = BatchHeader::read(input) {
            read(header, &input[HEADER_BYTES..]);
        }
    });
});

/// Splits batches off the front one by one, and patches each as the log does.
fn split(input: &[u8]) {
    let mut rest = Bytes::copy_from_slice(input);
    let mut bytes = 0;
    while let Some(mut batch) = Batch::split_from(&mut rest) {
        bytes += batch.bytes();
        let crc = batch.header.computed_crc(&batch.body);
        batch.header.set_base_offset(Offset(7));
        batch.header.set_leader_epoch(LeaderEpoch(1));
        assert_eq!(
            batch.header.computed_crc(&batch.body),
            crc,
            "outside of the CRC"
        );
    }
    assert_eq!(bytes + rest.len(), input.len());
}

/// Reads a body that passed the check to its end, and compares it after rebuilding.
fn read(header: BatchHeader, body: &[u8]) {
    let mut opener = Opener::new();
    let mut facts = Vec::new();
    let checked = check_records(
        &header,
        body,
        &mut opener,
        DECOMPRESSED_BYTES_MAX,
        |record| {
            facts.push((record.timestamp_delta, record.has_key));
        },
    );
    let Ok(body) = decompress(&header, body, DECOMPRESSED_BYTES_MAX) else {
        assert!(checked.is_err(), "what is taken can be decompressed");
        return;
    };
    assert!(body.len() <= DECOMPRESSED_BYTES_MAX || header.compression() == 0);
    if checked.is_err() {
        // Errors are found in reading too, and end it.
        let _ = Records::new(&header, &body).count();
        return;
    }
    let records: Vec<_> = Records::new(&header, &body)
        .collect::<Result<_, _>>()
        .expect("checked");
    assert_eq!(
        records.len(),
        usize::try_from(header.record_count()).expect("checked")
    );
    let read = records
        .iter()
        .map(|record| (record.timestamp_delta, record.key.is_some()));
    assert!(read.eq(facts), "the check has seen what is read");
    let kept = records.iter().map(|record| Kept {
        timestamp_delta: record.timestamp_delta,
        key: record.key,
        value: record.value,
        headers: record.headers,
    });
    let Ok(Some(again)) = rebuild(&header, kept) else {
        return;
    };
    let body = decompress(&again.header, &again.body, usize::MAX >> 1).expect("built by us");
    for (before, after) in records.iter().zip(Records::new(&again.header, &body)) {
        let after = after.expect("built by us");
        assert_eq!((before.key, before.value), (after.key, after.value));
        assert_eq!(before.headers.raw(), after.headers.raw());
    }
}
