//! Records of `__sedge_mirror_offsets`, a compacted topic of one partition: which offset upstream a
//! link gave to a record.
//!
//! | part | bytes |
//! | --- | --- |
//! | key: version | int16, 0 |
//! | key: link | int16 length, name |
//! | key: topic id | 16 |
//! | key: partition of the topic | int32 |
//! | key: first offset of the block | int64 |
//! | value: the topic upstream | int32, a hash of its id |
//! | value: first offset upstream | varlong |
//! | value: of each run, offsets that are passed by here and upstream, and records | varlongs |
//! | value: offsets here behind the last run | varlong |
//!
//! A *block* says of each offset from its first to its last whether the link sent a record of that
//! offset, and to which offset upstream: what is passed by here was compacted or filtered, and what
//! is passed by there is another producer's or the end of a transaction. A run of records without a
//! hole takes three bytes or little more. A block cuts off those of the same partition that were
//! written before it and begin behind it; no value removes a block.

use bytes::BufMut as _;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::kafka::KafkaUuid;
use crate::limits::DECOMPRESSED_BYTES_MAX;
use crate::records::{AlikeBuilder, Records, decompress};
use crate::wire::{Reader, Write as _};

const VERSION: i16 = 0;

/// Records without a hole between them, here or upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The offset of the first record here.
    pub here: Offset,
    /// Its offset upstream.
    pub there: Offset,
    /// The number of records.
    pub count: i64,
}

impl Run {
    /// Returns the offset here behind the run.
    #[must_use]
    pub const fn next_here(&self) -> Offset {
        Offset(self.here.get() + self.count)
    }

    /// Returns the offset upstream behind the run.
    #[must_use]
    pub const fn next_there(&self) -> Offset {
        Offset(self.there.get() + self.count)
    }
}

/// The partition whose offsets a block maps, and the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped<'a> {
    pub link: &'a str,
    pub topic: KafkaUuid,
    pub partition: i32,
}

/// The offsets of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// A hash of the topic's id upstream.
    pub upstream: u32,
    pub from: Offset,
    pub until: Offset,
    /// Rising.
    pub runs: Vec<Run>,
}

/// Returns the key of a block.
///
/// # Errors
/// The link's name is too long.
pub fn key_of(of: &Mapped<'_>, from: Offset) -> Result<Vec<u8>> {
    let mut key = Vec::new();
    key.put_i16(VERSION);
    key.put_string(of.link)?;
    key.put_uuid(of.topic);
    key.put_i32(of.partition);
    key.put_i64(from.get());
    Ok(key)
}

fn value_of(block: &Block) -> Vec<u8> {
    let mut value = Vec::new();
    value.put_u32(block.upstream);
    let mut here = block.from.get();
    let mut there = block.runs.first().map_or(0, |run| run.there.get());
    value.put_varlong(there);
    for run in &block.runs {
        value.put_varlong(run.here.get() - here);
        value.put_varlong(run.there.get() - there);
        value.put_varlong(run.count);
        (here, there) = (run.next_here().get(), run.next_there().get());
    }
    value.put_varlong(block.until.get() - here);
    value
}

fn read_block(from: Offset, value: &[u8]) -> Result<Block> {
    let invalid = || Error::Unknown {
        what: "run of a block of mirrored offsets",
        number: 0,
    };
    let mut reader = Reader::new(value);
    let upstream = reader.i32("a block of mirrored offsets")?.cast_unsigned();
    let (mut here, mut there) = (from.get(), reader.varlong()?);
    let mut runs = Vec::new();
    loop {
        let passed = reader.varlong()?;
        here = here
            .checked_add(passed)
            .filter(|_| passed >= 0)
            .ok_or_else(invalid)?;
        if reader.is_empty() {
            let until = Offset(here);
            return Ok(Block {
                upstream,
                from,
                until,
                runs,
            });
        }
        let (passed, count) = (reader.varlong()?, reader.varlong()?);
        there = there
            .checked_add(passed)
            .filter(|_| passed >= 0 && count > 0)
            .ok_or_else(invalid)?;
        runs.push(Run {
            here: Offset(here),
            there: Offset(there),
            count,
        });
        here = here.checked_add(count).ok_or_else(invalid)?;
        there = there.checked_add(count).ok_or_else(invalid)?;
    }
}

/// Builds batches of blocks, and of keys whose blocks are removed. All are a link's.
///
/// # Errors
/// A block is larger than a batch can be.
pub fn batches_of<'a>(
    blocks: impl Iterator<Item = (Mapped<'a>, Offset, Option<&'a Block>)>,
    timestamp_ms: i64,
) -> Result<Vec<Batch>> {
    let mut batches = Vec::new();
    let mut builder = AlikeBuilder::new(timestamp_ms, &[]);
    for (of, from, block) in blocks {
        let key = key_of(&of, from)?;
        let value = block.map(value_of);
        if builder.push(&key, value.as_deref()) {
            continue;
        }
        if !builder.is_empty() {
            let full = std::mem::replace(&mut builder, AlikeBuilder::new(timestamp_ms, &[]));
            batches.push(full.build()?);
        }
        if !builder.push(&key, value.as_deref()) {
            return Err(Error::TooMany {
                what: "bytes of a block of mirrored offsets",
                limit: DECOMPRESSED_BYTES_MAX,
            });
        }
    }
    if !builder.is_empty() {
        batches.push(builder.build()?);
    }
    Ok(batches)
}

/// Calls `each` with the blocks in a batch, in order; without a block if it is removed.
///
/// # Errors
/// The batch cannot be read, or has a key of an unknown version.
pub fn each_block(
    batch: &Batch,
    mut each: impl FnMut(&Mapped<'_>, Offset, Option<Block>),
) -> Result<()> {
    if batch.header.is_control() {
        return Ok(());
    }
    let body = decompress(&batch.header, &batch.body, DECOMPRESSED_BYTES_MAX)?;
    for record in Records::new(&batch.header, &body) {
        let record = record?;
        let mut reader = Reader::new(record.key.unwrap_or_default());
        let what = "a key of mirrored offsets";
        let version = reader.i16(what)?;
        if version != VERSION {
            return Err(Error::Unknown {
                what: "version of a key of mirrored offsets",
                number: i64::from(version),
            });
        }
        let mapped = Mapped {
            link: reader.string(what)?,
            topic: reader.uuid(what)?,
            partition: reader.i32(what)?,
        };
        let from = Offset(reader.i64(what)?);
        let block = record
            .value
            .map(|value| read_block(from, value))
            .transpose()?;
        each(&mapped, from, block);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(here: i64, there: i64, count: i64) -> Run {
        Run {
            here: Offset(here),
            there: Offset(there),
            count,
        }
    }

    #[test]
    fn blocks_are_read_as_they_were_written() {
        let of = |link| Mapped {
            link,
            topic: KafkaUuid::from_parts(7, 9),
            partition: 3,
        };
        let block = |from: i64, until: i64, runs: &[Run]| Block {
            upstream: 0xDEAD_BEEF,
            from: Offset(from),
            until: Offset(until),
            runs: runs.to_vec(),
        };
        let blocks = [
            block(0, 10, &[run(0, 0, 10)]),
            block(
                10,
                500,
                &[run(12, 11, 100), run(112, 200, 1), run(400, 201, 50)],
            ),
            block(
                i64::MAX - 1,
                i64::MAX,
                &[run(i64::MAX - 1, i64::MAX - 1, 1)],
            ),
            block(5, 5, &[]),
        ];
        let written = blocks.iter().map(|it| (of("hq"), it.from, Some(it)));
        let removed = [(of("other"), Offset(7), None)];
        let batches = batches_of(written.chain(removed), 1_795_311_182_000).unwrap();
        let mut read = Vec::new();
        for batch in &batches {
            each_block(batch, |mapped, from, block| {
                assert_eq!((mapped.topic, mapped.partition), (of("hq").topic, 3));
                read.push((mapped.link.to_owned(), from, block));
            })
            .unwrap();
        }
        let last = read.pop().unwrap();
        assert_eq!(last, ("other".to_owned(), Offset(7), None));
        let read: Vec<Block> = read.into_iter().filter_map(|(_, _, block)| block).collect();
        assert_eq!(read, blocks);
    }

    #[test]
    fn a_run_takes_few_bytes() {
        // Each transaction upstream ends in a record of its own.
        let runs: Vec<Run> = (0..1000).map(|n| run(n * 10, n * 11, 10)).collect();
        let block = Block {
            upstream: 1,
            from: Offset(0),
            until: Offset(10_000),
            runs,
        };
        assert_eq!(value_of(&block).len(), 4 + 1 + 1000 * 3 + 1);
    }

    #[test]
    fn garbage_is_an_error() {
        for value in [
            &[][..],
            &[0; 4],
            &[0, 0, 0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 0, 0],
        ] {
            let read = read_block(Offset(3), value);
            assert!(read.is_err(), "{value:?}: {read:?}");
        }
    }
}
