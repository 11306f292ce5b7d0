//! Snappy: xerial's length-prefixed blocks, or one raw block.

use std::ops::Range;

use snap::raw::{Decoder, decompress_len};

use super::{room, take, take_array, too_many, wrong};
use crate::error::{Error, Result};
use crate::limits::DECOMPRESSED_BYTES_MAX;

const WHAT: &str = "the snappy block";

/// xerial's `SnappyCodec.MAGIC_HEADER`; two version numbers follow.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_VERSIONS_BYTES: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Snappy {
    decoder: Decoder,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Begin,
    Blocks,
    End,
}

impl Snappy {
    pub(super) fn begin(&mut self) {
        self.state = State::Begin;
    }

    pub(super) fn next(
        &mut self,
        input: &mut &[u8],
        piece: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<Option<Range<usize>>> {
        if self.state == State::Begin {
            if let Some(blocks) = input.strip_prefix(&XERIAL_MAGIC) {
                *input = blocks;
                take(input, XERIAL_VERSIONS_BYTES, WHAT)?;
                self.state = State::Blocks;
            } else {
                self.state = State::End;
                let block = std::mem::take(input);
                return self.block(block, piece, bytes_max).map(Some);
            }
        }
        if input.is_empty() {
            return Ok(None);
        }
        if self.state == State::End {
            return Err(Error::Trailing { bytes: input.len() });
        }
        let length = u32::from_be_bytes(take_array(input, WHAT)?);
        let block = take(input, length as usize, WHAT)?;
        self.block(block, piece, bytes_max).map(Some)
    }

    /// Decompresses one whole block. The length that it claims is bounded before memory is
    /// allocated for it.
    fn block(
        &mut self,
        block: &[u8],
        piece: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<Range<usize>> {
        let bytes = decompress_len(block).map_err(|_| wrong(WHAT))?;
        let bytes_max = bytes_max.min(DECOMPRESSED_BYTES_MAX);
        if bytes > bytes_max {
            return Err(too_many(bytes_max));
        }
        let written = self
            .decoder
            .decompress(block, room(piece, bytes))
            .map_err(|_| wrong(WHAT))?;
        Ok(0..written)
    }
}
