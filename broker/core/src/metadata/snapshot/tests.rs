use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use sedge_protocol::metadata_records::FeatureLevelRecord;

use super::*;
use crate::metadata::tests::{machine, random, random_command, run, seen};

const TIMES: Times = Times {
    now_ms: 1_795_311_182_000,
    last_record_ms: 1_795_311_181_000,
};

/// Returns a machine after `commands` random commands.
fn grown(seed: u64, commands: u64) -> MetadataMachine {
    let mut next = random(seed);
    let mut grown = machine();
    for step in 0..commands {
        if let Some(command) = random_command(&mut next, &grown, step) {
            run(&mut grown, &mut Vec::new(), command);
        }
    }
    let level = FeatureLevelRecord {
        name: "metadata.version".into(),
        level: 29,
    };
    grown.apply(Offset::ZERO, &MetadataRecord::FeatureLevel(level));
    grown
}

/// Returns a snapshot's batches as they are in the log from `first` on. Each has only a few
/// records, so that there are many batches.
fn laid(machine: &MetadataMachine, end_offset: i64, first: i64) -> Vec<Batch> {
    let mut next = Offset(first);
    let mut batches = Vec::new();
    for batch in batches_of_few(machine, Offset(end_offset)) {
        let mut batch = batch;
        batch.header.set_base_offset(next);
        next = batch.header.next_offset();
        batches.push(batch);
    }
    batches
}

fn batches_of_few(machine: &MetadataMachine, end_offset: Offset) -> Vec<Batch> {
    let whole: Vec<Batch> = super::batches(machine, end_offset, TIMES).collect();
    let mut batches = Vec::new();
    for batch in whole {
        if batch.header.is_control() {
            batches.push(batch);
            continue;
        }
        let records: Vec<_> = Records::new(&batch.header, &batch.body)
            .map(|record| record.unwrap().value.unwrap().to_vec())
            .collect();
        for some in records.chunks(7) {
            let mut builder = BatchBuilder::new(Compression::None);
            for record in some {
                builder.push(TIMES.now_ms, None, Some(record), &[]);
            }
            batches.push(builder.build().unwrap());
        }
    }
    batches
}

/// Returns end offset and content of the snapshot that is found.
fn read(batches: &[Batch]) -> Option<(i64, String)> {
    let mut reader = Reader::new(machine());
    for batch in batches {
        reader.take(batch).unwrap();
    }
    let end_offset = reader.frames.whole().map(|place| place.end_offset.get());
    Some((end_offset?, seen(&reader.finish()?)))
}

#[test]
fn what_is_written_is_read() {
    for seed in 1..50 {
        let machine = grown(seed * 0x9e37_79b9, seed * 10);
        let expected = Some((77, seen(&machine)));
        assert_eq!(read(&laid(&machine, 77, 5)), expected, "seed {seed}");
        let mut next = Offset::ZERO;
        let mut whole: Vec<Batch> = super::batches(&machine, Offset(77), TIMES).collect();
        for batch in &mut whole {
            batch.header.set_base_offset(next);
            next = batch.header.next_offset();
        }
        assert_eq!(read(&whole), expected, "seed {seed}");
    }
}

#[test]
fn a_snapshot_that_lacks_a_batch_or_has_a_damaged_one_counts_for_nothing() {
    let (old, new) = (grown(3, 60), grown(4, 200));
    let first = laid(&old, 10, 0);
    let behind = first.last().unwrap().header.next_offset().get();
    let second = laid(&new, 90, behind);
    assert!(second.len() > 5, "{}", second.len());
    let whole = [&first[..], &second[..]].concat();
    assert_eq!(read(&whole), Some((90, seen(&new))));
    for at in first.len()..whole.len() {
        let mut without = whole.clone();
        without.remove(at);
        assert_eq!(read(&without), Some((10, seen(&old))), "without {at}");
        let mut damaged = whole.clone();
        let mut body = damaged[at].body.to_vec();
        *body.last_mut().unwrap() ^= 1;
        damaged[at].body = Bytes::from(body);
        assert_eq!(read(&damaged), Some((10, seen(&old))), "damage in {at}");
    }
    // The snapshot is torn at every place, with no other before it.
    for end in 0..second.len() {
        assert_eq!(read(&second[..end]), None, "torn at {end}");
    }
}

#[test]
fn a_snapshot_behind_a_torn_one_is_found() {
    let (torn, whole) = (grown(5, 100), grown(6, 100));
    let begun = laid(&torn, 50, 0);
    for end in 1..begun.len() {
        let (_, kept) = (&begun[end..], &begun[..end]);
        let behind = kept.last().unwrap().header.next_offset().get();
        let batches = [kept, &laid(&whole, 60, behind)[..]].concat();
        assert_eq!(read(&batches), Some((60, seen(&whole))), "torn at {end}");
    }
    // A footer belongs to the header before it.
    let mut mixed = laid(&torn, 50, 0);
    let other = laid(&torn, 51, 0);
    *mixed.last_mut().unwrap() = other.last().unwrap().clone();
    assert_eq!(read(&mixed), None);
}

#[test]
fn what_a_newer_version_wrote_is_an_error_and_no_damage() {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(0, None, Some(&[1, 99, 0]), &[]);
    let mut batches = laid(&machine(), 0, 0);
    let mut unknown = builder.build().unwrap();
    unknown
        .header
        .set_base_offset(batches[0].header.next_offset());
    batches.insert(1, unknown);
    let mut reader = Reader::new(machine());
    let taken: Result<Vec<()>, Error> = batches.iter().map(|batch| reader.take(batch)).collect();
    let error = taken.unwrap_err().to_string();
    assert_eq!(error, "metadata record 99 is unknown");
}

#[test]
fn a_snapshot_is_due_by_bytes_or_by_time_and_never_for_nothing() {
    let policy = |record_bytes_max, interval_ms| Policy {
        record_bytes_max,
        interval_ms,
    };
    let check = |policy: Policy, (record_bytes, snapshot_bytes, ms), expected| {
        let since = Since {
            record_bytes,
            snapshot_bytes,
            ms,
        };
        assert_eq!(policy.is_due(&since), expected, "{policy:?} {since:?}");
    };
    check(policy(1000, None), (999, 0, u64::MAX), false);
    check(policy(1000, None), (1000, 0, 0), true);
    // A large snapshot waits for as many bytes of records.
    check(policy(1000, None), (1000, 5000, 0), false);
    check(policy(1000, None), (5000, 5000, 0), true);
    check(policy(1000, Some(60)), (1, 5000, 60), true);
    check(policy(1000, Some(60)), (1, 5000, 59), false);
    check(policy(1000, Some(60)), (0, 0, u64::MAX), false);
    check(policy(0, Some(0)), (0, 0, 0), false);
}

#[test]
fn appends_are_of_about_the_bytes_that_were_asked_for() {
    let batches = laid(&grown(7, 300), 1, 0);
    let count = batches.len();
    let appends: Vec<Vec<Batch>> = in_appends(batches.into_iter(), 1000).collect();
    assert_eq!(appends.iter().map(Vec::len).sum::<usize>(), count);
    for append in &appends {
        let before: usize = append[..append.len() - 1].iter().map(Batch::bytes).sum();
        assert!(before < 1000, "{before}");
    }
    assert_eq!(in_appends(vec![].into_iter(), 10).count(), 0);
}
