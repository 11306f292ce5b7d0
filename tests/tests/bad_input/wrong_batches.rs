//! Tests record batches whose header does not match their contents.

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::plugin;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Codec, error, seal, zstd_bomb};

use crate::support::Target;

const REFUSED: &[i16] = &[
    error::CORRUPT_MESSAGE,
    error::INVALID_RECORD,
    error::UNSUPPORTED_FOR_MESSAGE_FORMAT,
];

/// Produces `bytes` and checks that the answer is one of `codes` and nothing was written.
fn refuse(target: &mut Target, what: &str, bytes: &[u8], codes: &[i16]) {
    let mut connection = target.connect();
    let before = wire::fetch(&mut connection, "t", 0, 0).high_watermark;
    let produced = wire::produce(&mut connection, "t", 0, bytes);
    // Kafka fails internally on a batch length near the largest number; its answer says no more.
    let tripped = produced.error == -1 && target.broker.is_kafka();
    assert!(
        tripped || codes.contains(&produced.error),
        "{what}: {produced:?}, wanted one of {codes:?}"
    );
    let after = wire::fetch(&mut connection, "t", 0, 0).high_watermark;
    assert_eq!(before, after, "{what} leaves nothing in the log");
    target.assert_serves(what);
}

#[test]
fn wrong_crc() {
    let mut target = Target::start("crc");
    for at in [17, 22, 60, 70] {
        let mut batch = Batch::filled(3, 100).encode();
        batch[at] ^= 1;
        refuse(
            &mut target,
            "a flipped bit",
            &batch,
            &[error::CORRUPT_MESSAGE],
        );
    }
}

#[test]
fn old_magic() {
    let mut target = Target::start("magic");
    for magic in [0, 1, 3, 255] {
        let mut batch = Batch::filled(3, 100);
        batch.magic = magic;
        refuse(
            &mut target,
            &format!("magic {magic}"),
            &batch.encode(),
            REFUSED,
        );
    }
}

#[test]
fn batch_lengths_that_lie() {
    // A batch that claims more than `max.message.bytes` may be refused for that alone.
    let codes = [REFUSED, &[error::MESSAGE_TOO_LARGE]].concat();
    let mut target = Target::start("batch-length");
    let good = Batch::filled(3, 100).encode();
    for length in [
        -1,
        0,
        13,
        48,
        i32::MAX,
        good.len() as i32 - 13,
        good.len() as i32 - 11,
    ] {
        let mut batch = good.clone();
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        refuse(
            &mut target,
            &format!("a batch length of {length}"),
            &batch,
            &codes,
        );
    }
    for keep in [0, 1, 12, 60, 61] {
        refuse(
            &mut target,
            &format!("{keep} bytes of a batch"),
            &good[..keep],
            REFUSED,
        );
    }
}

#[test]
fn two_batches_for_one_partition() {
    let mut target = Target::start("two-batches");
    let two = [Batch::filled(1, 10).encode(), Batch::filled(1, 10).encode()].concat();
    refuse(&mut target, "two batches", &two, REFUSED);
}

#[test]
fn counts_that_lie() {
    let mut target = Target::start("counts");
    let cases: [(Option<i32>, Option<i32>); 7] = [
        (Some(5), None),
        (None, Some(7)),
        (Some(-1), Some(-2)),
        (Some(0), Some(-1)),
        (Some(i32::MAX), Some(i32::MAX - 1)),
        // The header is consistent in itself and contradicts the records.
        (Some(4), Some(3)),
        (Some(2), Some(1)),
    ];
    for (count, last_offset_delta) in cases {
        let batch = Batch {
            count,
            last_offset_delta,
            ..Batch::filled(3, 100)
        };
        let what = format!("count {count:?}, last offset delta {last_offset_delta:?}");
        refuse(&mut target, &what, &batch.encode(), REFUSED);
    }
}

#[test]
fn records_that_are_noise() {
    let mut target = Target::start("noise");
    let mut batch = Batch::filled(3, 100).encode();
    batch[61..].fill(0xff);
    seal(&mut batch);
    refuse(&mut target, "records that are noise", &batch, REFUSED);
}

/// A batch above the `max.message.bytes` of its topic.
#[test]
fn too_large() {
    let mut target = Target::start("too-large");
    let batch = Batch::filled(1, 2 << 20).encode();
    refuse(
        &mut target,
        "a batch of 2 MiB",
        &batch,
        &[error::MESSAGE_TOO_LARGE],
    );
}

/// Compressed bytes are opened, and nothing may break by that.
#[test]
fn compressed_noise() {
    let mut target = Target::start("compressed-noise");
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let batch = Batch::filled(3, 100)
            .compressed(codec, vec![0x5a; 500])
            .encode();
        refuse(&mut target, &format!("noise as {codec:?}"), &batch, REFUSED);
    }
}

/// 33 KB that would have to be decompressed to a gigabyte for checking.
#[test]
fn a_decompression_bomb() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut target = Target::start("bomb-checked");
    let bomb = Batch::filled(3, 100)
        .compressed(Codec::Zstd, zstd_bomb(1 << 30))
        .encode();
    for _ in 0..3 {
        refuse(
            &mut target,
            "a decompression bomb",
            &bomb,
            &[error::INVALID_RECORD],
        );
    }
}

/// 33 KB that a filter would have to decompress to a gigabyte.
#[test]
fn a_decompression_bomb_for_a_filter() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut target = Target::start("bomb");
    let directory = TempDir::new("bomb-plugin");
    let component = plugin::build("drop-out-of-range", directory.path());
    plugin::deploy(&target.broker.bootstrap(), "plausible", &component);
    let mut connection = target.connect();
    wire::create_topic(
        &mut connection,
        "filtered",
        1,
        &[("sedge.filter", "plausible")],
    );
    plugin::wait_filtered(&mut connection, "filtered");
    let good = wire::produce(&mut connection, "filtered", 0, &reading().encode());
    assert_eq!(good.error, error::NONE, "{good:?}");
    target.settle();
    let bomb = Batch::filled(3, 100)
        .compressed(Codec::Zstd, zstd_bomb(1 << 30))
        .encode();
    for _ in 0..3 {
        let produced = wire::produce(&mut connection, "filtered", 0, &bomb);
        assert_ne!(produced.error, error::NONE, "a bomb is not written");
        target.assert_serves("a decompression bomb");
    }
    let good = wire::produce(&mut connection, "filtered", 0, &reading().encode());
    assert_eq!(
        (good.error, good.base_offset),
        (error::NONE, 1),
        "the topic goes on"
    );
}

fn reading() -> Batch {
    Batch::of(&[br#"{"sensor":"s1","celsius":21.4}"#.to_vec()])
}
