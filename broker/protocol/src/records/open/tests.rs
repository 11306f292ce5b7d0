//! Tests with bodies as clients send them: each codec's oddities and broken forms.

use std::io::Write as _;

use zstd_safe::{CCtx, CParameter};

use super::*;
use crate::batch::Batch;
use crate::records::{BatchBuilder, check_records, decompress};

const CODECS: [Compression; 4] = [
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

const BYTES_MAX: usize = DECOMPRESSED_BYTES_MAX;

/// Builds forty records of 5,000 bytes: more than one piece, and more than one block of most
/// codecs.
fn batch(codec: Compression) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for n in 0..40_u8 {
        let value: Vec<u8> = (0..5000_u32).map(|m| (m * m / 7) as u8 ^ n).collect();
        builder.push(i64::from(n), Some(b"key"), Some(&value), &[]);
    }
    builder.build().unwrap()
}

/// Checks that the check and the readers accept `body` and see the same records.
fn taken(codec: Compression, body: &[u8], what: &str) {
    let header = batch(codec).header;
    let plain = batch(Compression::None).body;
    let mut records = 0;
    check_records(&header, body, &mut Opener::new(), BYTES_MAX, |_| {
        records += 1;
    })
    .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(records, 40, "{what}");
    let read = decompress(&header, body, BYTES_MAX);
    assert!(*read.unwrap() == *plain, "{what}");
}

fn refused(codec: Compression, body: &[u8], what: &str) {
    let header = batch(codec).header;
    let checked = check_records(&header, body, &mut Opener::new(), BYTES_MAX, |_| ());
    assert!(checked.is_err(), "{what}");
    assert!(decompress(&header, body, BYTES_MAX).is_err(), "{what}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_gzip_body_may_have_several_members() {
    let plain = batch(Compression::None).body;
    for cuts in [
        &[][..],
        &[1][..],
        &[100_000][..],
        &[0, 70_000, 140_000, 140_001],
    ] {
        let mut body = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([plain.len()]) {
            body.extend(gzip(&plain[from..to]));
            from = to;
        }
        taken(Compression::Gzip, &body, "members");
        body.push(0);
        refused(Compression::Gzip, &body, "a byte behind the last member");
    }
}

#[test]
fn a_gzip_member_may_have_all_that_its_header_can() {
    let plain = gzip(&batch(Compression::None).body);
    let mut body = vec![0x1f, 0x8b, 8, 0b1_1111, 0, 0, 0, 0, 0, 3];
    body.extend([3, 0, b'e', b'x', b't']);
    body.extend(b"name\0comment\0");
    body.extend([0xab, 0xcd]);
    body.extend(&plain[10..]);
    taken(Compression::Gzip, &body, "extra, name, comment, checksum");
    body[3] |= 0x20;
    refused(Compression::Gzip, &body, "a reserved flag");
}

#[test]
fn gzip_checksums_are_checked() {
    let body = gzip(&batch(Compression::None).body);
    for at in [body.len() - 8, body.len() - 4] {
        let mut wrong = body.clone();
        wrong[at] ^= 1;
        refused(Compression::Gzip, &wrong, "a checksum or a size");
    }
}

#[test]
fn snappy_comes_raw_and_in_blocks() {
    let plain = batch(Compression::None).body;
    let raw = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    taken(Compression::Snappy, &raw(&plain), "raw");
    for block_bytes in [1 << 10, 32 << 10, 1 << 20] {
        let mut body = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        for block in plain.chunks(block_bytes) {
            let block = raw(block);
            body.extend((block.len() as u32).to_be_bytes());
            body.extend(block);
        }
        taken(Compression::Snappy, &body, "blocks");
    }
}

#[test]
fn a_snappy_block_gets_no_room_by_its_own_word() {
    // Claims 4 GiB - 1, in five bytes.
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    refused(Compression::Snappy, &claim, "a claim");
    let mut opener = Opener::new();
    let header = batch(Compression::Snappy).header;
    let checked = check_records(&header, &claim, &mut opener, usize::MAX, |_| ());
    assert!(checked.is_err());
    assert_eq!(opener.piece.capacity(), 0);
}

#[test]
fn zstd_comes_in_several_frames_and_with_wide_windows() {
    let plain = batch(Compression::None).body;
    let frame = |bytes: &[u8], window: u32, has_size: bool| {
        let mut context = CCtx::create();
        let set = [
            CParameter::WindowLog(window),
            CParameter::ContentSizeFlag(has_size),
            CParameter::ChecksumFlag(true),
        ];
        for parameter in set {
            context.set_parameter(parameter).unwrap();
        }
        if !has_size {
            // A streaming encoder does not know the size when it begins.
            let mut out = Vec::with_capacity(2 * bytes.len() + 1000);
            let mut to = zstd_safe::OutBuffer::around(&mut out);
            for half in bytes.chunks(bytes.len() / 2 + 1) {
                let mut from = zstd_safe::InBuffer::around(half);
                while from.pos() < half.len() {
                    context.compress_stream(&mut to, &mut from).unwrap();
                }
            }
            while context.end_stream(&mut to).unwrap() > 0 {}
            return out;
        }
        let mut out = Vec::with_capacity(2 * bytes.len() + 1000);
        context.compress2(&mut out, bytes).unwrap();
        out
    };
    let (one, other) = plain.split_at(77_777);
    for has_size in [true, false] {
        for window in [10, 17, ZSTD_WINDOW, 27] {
            let what = format!("window {window}, size {has_size}");
            let whole = frame(&plain, window, has_size);
            taken(Compression::Zstd, &whole, &what);
            let halves = [frame(one, window, has_size), frame(other, window, has_size)];
            taken(Compression::Zstd, &halves.concat(), &what);
            let mut wrong = whole.clone();
            *wrong.last_mut().unwrap() ^= 1;
            refused(Compression::Zstd, &wrong, "a checksum");
            refused(
                Compression::Zstd,
                &[&whole[..], b"x"].concat(),
                "a byte behind it",
            );
        }
    }
    // A skippable frame, which some libraries put in front.
    let skipped = [
        &[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..],
        &frame(&plain, 17, true),
    ];
    taken(Compression::Zstd, &skipped.concat(), "a skippable frame");
}

const ZSTD_WINDOW: u32 = crate::limits::ZSTD_WINDOW_LOG_MAX;

#[test]
fn lz4_blocks_are_linked_checked_and_of_all_sizes() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let plain = batch(Compression::None).body;
    let sizes = [
        BlockSize::Max64KB,
        BlockSize::Max256KB,
        BlockSize::Max1MB,
        BlockSize::Max4MB,
    ];
    for size in sizes {
        for mode in [BlockMode::Linked, BlockMode::Independent] {
            for checksum in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .content_checksum(checksum)
                    .block_checksums(checksum)
                    .content_size(checksum.then_some(plain.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                // Parts of an odd size: the encoder ends a block with each flush.
                for part in plain.chunks(33_333) {
                    encoder.write_all(part).unwrap();
                    encoder.flush().unwrap();
                }
                let mut body = encoder.finish().unwrap();
                taken(
                    Compression::Lz4,
                    &body,
                    &format!("{mode:?} {size:?} {checksum}"),
                );
                if checksum {
                    *body.last_mut().unwrap() ^= 1;
                    refused(Compression::Lz4, &body, "a checksum");
                }
            }
        }
    }
}

/// A body that is cut short is never accepted, not even if the cut is at the end of a block.
#[test]
fn what_is_cut_short_is_refused() {
    let plain = batch(Compression::None).body;
    for codec in CODECS {
        let whole = batch(codec);
        for length in 0..whole.body.len() {
            let is_near_an_end = length < 50 || whole.body.len() - length < 50;
            if is_near_an_end || length % 499 == 0 {
                let cut = &whole.body[..length];
                let checked =
                    check_records(&whole.header, cut, &mut Opener::new(), BYTES_MAX, |_| ());
                assert!(checked.is_err(), "{codec:?} cut to {length}");
                match decompress(&whole.header, cut, BYTES_MAX) {
                    Err(_) => {}
                    // Snappy has no end mark: the missing records show the cut.
                    Ok(read) => assert!(
                        codec == Compression::Snappy && read.len() < plain.len(),
                        "{codec:?} cut to {length}"
                    ),
                }
            }
        }
    }
    // An lz4 frame without its end mark consists of whole blocks.
    let whole = batch(Compression::Lz4).body;
    refused(Compression::Lz4, &whole[..whole.len() - 4], "no end mark");
}

#[test]
fn an_opener_keeps_little_of_an_unusual_body() {
    let mut opener = Opener::new();
    let value = vec![7; 3 << 20];
    for codec in CODECS {
        let mut builder = BatchBuilder::new(codec);
        builder.push(0, None, Some(&value), &[]);
        let large = builder.build().unwrap();
        check_records(&large.header, &large.body, &mut opener, 1 << 30, |_| ()).unwrap();
        opener.trim();
        assert!(opener.piece.capacity() <= OPENER_BYTES_KEPT, "{codec:?}");
        // An ordinary body right after it is read.
        let usual = batch(codec);
        check_records(&usual.header, &usual.body, &mut opener, BYTES_MAX, |_| ()).unwrap();
    }
}
