//! Gzip: one or more members that together are one stream.

use std::ops::Range;

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{room, take, take_array, wrong};
use crate::error::{Error, Result};
use crate::limits::PIECE_BYTES;

const WHAT: &str = "the gzip stream";
const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;

const HAS_HEADER_CRC: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

#[derive(Debug)]
pub(super) struct Gzip {
    inflate: Decompress,
    crc: Crc,
    is_within_member: bool,
    members: u64,
}

impl Default for Gzip {
    fn default() -> Self {
        Self {
            inflate: Decompress::new(false),
            crc: Crc::new(),
            is_within_member: false,
            members: 0,
        }
    }
}

impl Gzip {
    pub(super) fn begin(&mut self) {
        self.is_within_member = false;
        self.members = 0;
    }

    pub(super) fn next(
        &mut self,
        input: &mut &[u8],
        piece: &mut Vec<u8>,
    ) -> Result<Option<Range<usize>>> {
        if !self.is_within_member {
            if input.is_empty() && self.members > 0 {
                return Ok(None);
            }
            skip_header(input)?;
            self.inflate.reset(false);
            self.crc.reset();
            self.is_within_member = true;
            self.members += 1;
        }
        let out = room(piece, PIECE_BYTES);
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(input, out, FlushDecompress::None)
            .map_err(|_| wrong(WHAT))?;
        let read = (self.inflate.total_in() - before_in) as usize;
        let written = (self.inflate.total_out() - before_out) as usize;
        take(input, read, WHAT)?;
        self.crc.update(out.get(..written).unwrap_or_default());
        match status {
            Status::StreamEnd => {
                self.is_within_member = false;
                let crc = u32::from_le_bytes(take_array(input, WHAT)?);
                let length = u32::from_le_bytes(take_array(input, WHAT)?);
                // RFC 1952: the size is modulo 2^32.
                if crc != self.crc.sum() || length != self.inflate.total_out() as u32 {
                    return Err(wrong("the checksum of the gzip stream"));
                }
            }
            Status::Ok | Status::BufError if read == 0 && written == 0 => {
                return Err(Error::Truncated { what: WHAT });
            }
            Status::Ok | Status::BufError => {}
        }
        Ok(Some(0..written))
    }
}

/// RFC 1952, 2.3: ten bytes, then the optional fields that the flags announce.
fn skip_header(input: &mut &[u8]) -> Result<()> {
    let [magic_0, magic_1, method, flags, ..] = take_array::<10>(input, WHAT)?;
    if [magic_0, magic_1] != MAGIC || method != DEFLATE || flags & RESERVED != 0 {
        return Err(wrong(WHAT));
    }
    if flags & HAS_EXTRA != 0 {
        let length = u16::from_le_bytes(take_array(input, WHAT)?);
        take(input, usize::from(length), WHAT)?;
    }
    for flag in [HAS_NAME, HAS_COMMENT] {
        if flags & flag != 0 {
            let end = input.iter().position(|byte| *byte == 0);
            take(input, end.ok_or(Error::Truncated { what: WHAT })? + 1, WHAT)?;
        }
    }
    if flags & HAS_HEADER_CRC != 0 {
        take(input, 2, WHAT)?;
    }
    Ok(())
}
