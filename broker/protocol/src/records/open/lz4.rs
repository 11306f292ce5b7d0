//! The whole LZ4 frame format: clients differ in block sizes, linked blocks and checksums.
//!
//! The legacy format (another magic, blocks of 8 MiB, no checksum over its header) is refused, as
//! in Kafka. Bytes behind the frame's end are refused too; Kafka skips them, and other clients do
//! not agree on them.

use std::ops::Range;

use lz4_flex::block::{decompress_into, decompress_into_with_dict};
use xxhash_rust::xxh32::{Xxh32, xxh32};

use super::{room, take, take_array, wrong};
use crate::error::{Error, Result};
use crate::limits::{LZ4_BLOCK_BYTES_MAX, OPENER_BYTES_KEPT};

const WHAT: &str = "the lz4 frame";
const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();

/// How far back a linked block may refer.
const HISTORY_BYTES: usize = 64 << 10;

const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const IS_INDEPENDENT: u8 = 1 << 5;
const HAS_BLOCK_CHECKSUM: u8 = 1 << 4;
const HAS_CONTENT_SIZE: u8 = 1 << 3;
const HAS_CONTENT_CHECKSUM: u8 = 1 << 2;
const RESERVED_FLAG: u8 = 1 << 1;
const HAS_DICTIONARY: u8 = 1;

/// Flag in a block's length: the block is not compressed.
const IS_STORED: u32 = 1 << 31;

#[derive(Debug, Default)]
pub(super) struct Lz4 {
    frame: Option<Frame>,
    is_over: bool,
    /// The last decompressed bytes, for linked blocks.
    history: Vec<u8>,
}

struct Frame {
    flags: u8,
    block_bytes_max: usize,
    content_bytes: Option<u64>,
    came_out: u64,
    checksum: Xxh32,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame")
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

impl Lz4 {
    pub(super) fn begin(&mut self) {
        self.frame = None;
        self.is_over = false;
        self.history.clear();
    }

    pub(super) fn trim(&mut self) {
        if self.history.capacity() > OPENER_BYTES_KEPT {
            self.history = Vec::new();
        }
    }

    pub(super) fn next(
        &mut self,
        input: &mut &[u8],
        piece: &mut Vec<u8>,
    ) -> Result<Option<Range<usize>>> {
        if self.is_over {
            return match input.len() {
                0 => Ok(None),
                bytes => Err(Error::Trailing { bytes }),
            };
        }
        let frame = match &mut self.frame {
            Some(frame) => frame,
            none => none.insert(Frame::read(input)?),
        };
        let word = u32::from_le_bytes(take_array(input, WHAT)?);
        if word == 0 {
            frame.finish(input)?;
            self.is_over = true;
            return Ok(Some(0..0));
        }
        let length = (word & !IS_STORED) as usize;
        if length > frame.block_bytes_max {
            return Err(wrong("the length of an lz4 block"));
        }
        let block = take(input, length, WHAT)?;
        if frame.has(HAS_BLOCK_CHECKSUM)
            && u32::from_le_bytes(take_array(input, WHAT)?) != xxh32(block, 0)
        {
            return Err(wrong("the checksum of an lz4 block"));
        }
        let out = room(piece, frame.block_bytes_max);
        let written = if word & IS_STORED != 0 {
            out.get_mut(..length)
                .unwrap_or_default()
                .copy_from_slice(block);
            length
        } else if self.history.is_empty() {
            decompress_into(block, out).map_err(|_| wrong("an lz4 block"))?
        } else {
            decompress_into_with_dict(block, out, &self.history)
                .map_err(|_| wrong("an lz4 block"))?
        };
        let out = out.get(..written).unwrap_or_default();
        frame.came_out += written as u64;
        if frame.has(HAS_CONTENT_CHECKSUM) {
            frame.checksum.update(out);
        }
        if !frame.has(IS_INDEPENDENT) {
            remember(&mut self.history, out);
        }
        Ok(Some(0..written))
    }
}

/// Keeps the newest `HISTORY_BYTES` of the decompressed bytes.
fn remember(history: &mut Vec<u8>, out: &[u8]) {
    let newest = out.get(out.len().saturating_sub(HISTORY_BYTES)..);
    let newest = newest.unwrap_or_default();
    let kept = (HISTORY_BYTES - newest.len()).min(history.len());
    history.drain(..history.len() - kept);
    history.extend_from_slice(newest);
}

impl Frame {
    fn read(input: &mut &[u8]) -> Result<Self> {
        if take_array(input, WHAT)? != MAGIC {
            return Err(wrong(WHAT));
        }
        let descriptor = *input;
        let [flags, block] = take_array(input, WHAT)?;
        let block_bytes_max = match block {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => LZ4_BLOCK_BYTES_MAX,
            _ => return Err(wrong(WHAT)),
        };
        if flags & VERSION_MASK != VERSION || flags & (RESERVED_FLAG | HAS_DICTIONARY) != 0 {
            return Err(wrong(WHAT));
        }
        let content_bytes = if flags & HAS_CONTENT_SIZE != 0 {
            Some(u64::from_le_bytes(take_array(input, WHAT)?))
        } else {
            None
        };
        let described = descriptor.len() - input.len();
        let described = descriptor.get(..described).unwrap_or_default();
        let [checksum] = take_array(input, WHAT)?;
        if checksum != (xxh32(described, 0) >> 8) as u8 {
            return Err(wrong("the checksum of the lz4 frame's header"));
        }
        Ok(Self {
            flags,
            block_bytes_max,
            content_bytes,
            came_out: 0,
            checksum: Xxh32::new(0),
        })
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn finish(&self, input: &mut &[u8]) -> Result<()> {
        if self
            .content_bytes
            .is_some_and(|bytes| bytes != self.came_out)
        {
            return Err(wrong("the content size of the lz4 frame"));
        }
        if self.has(HAS_CONTENT_CHECKSUM)
            && u32::from_le_bytes(take_array(input, WHAT)?) != self.checksum.digest()
        {
            return Err(wrong("the checksum of the lz4 frame"));
        }
        Ok(())
    }
}
