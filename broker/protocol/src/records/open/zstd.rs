//! Zstandard: one or more frames in sequence.

use std::ops::Range;

use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::{room, too_many, wrong};
use crate::error::{Error, Result};
use crate::limits::{DECOMPRESSED_BYTES_MAX, PIECE_BYTES, ZSTD_WINDOW_LOG_MAX};

const WHAT: &str = "the zstd frame";

pub(super) struct Zstd {
    context: DCtx<'static>,
    is_within_frame: bool,
    is_begun: bool,
}

impl std::fmt::Debug for Zstd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zstd").finish_non_exhaustive()
    }
}

impl Default for Zstd {
    fn default() -> Self {
        let mut context = DCtx::create();
        context
            .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
            .expect("the library takes windows of this size");
        Self {
            context,
            is_within_frame: false,
            is_begun: false,
        }
    }
}

impl Zstd {
    pub(super) fn begin(&mut self) {
        self.context
            .reset(ResetDirective::SessionOnly)
            .expect("a session can always be given up");
        self.is_within_frame = false;
        self.is_begun = false;
    }

    pub(super) fn bytes(&self) -> usize {
        self.context.sizeof()
    }

    pub(super) fn next(
        &mut self,
        input: &mut &[u8],
        piece: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<Option<Range<usize>>> {
        if input.is_empty() && self.is_begun && !self.is_within_frame {
            return Ok(None);
        }
        let is_first = !self.is_begun;
        self.is_begun = true;
        let mut from = InBuffer::around(input);
        let mut to = OutBuffer::around(room(piece, PIECE_BYTES));
        let step = self.context.decompress_stream(&mut to, &mut from);
        let (read, written) = (from.pos(), to.pos());
        match step {
            Ok(hint) => self.is_within_frame = hint != 0,
            // A frame with a wider window is decompressed at once, without a window.
            Err(_) if is_first && wants_wide_window(input) => {
                return self.whole(input, piece, bytes_max).map(Some);
            }
            Err(_) => return Err(wrong(WHAT)),
        }
        if read == 0 && written == 0 {
            return Err(Error::Truncated { what: WHAT });
        }
        *input = input.get(read..).unwrap_or_default();
        Ok(Some(0..written))
    }

    /// Decompresses all frames at once, into a buffer that serves as their window.
    fn whole(
        &mut self,
        input: &mut &[u8],
        piece: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<Range<usize>> {
        if bytes_max < DECOMPRESSED_BYTES_MAX {
            return Err(too_many(bytes_max));
        }
        let body = std::mem::take(input);
        self.begin();
        self.is_begun = true;
        let written = self
            .context
            .decompress(room(piece, DECOMPRESSED_BYTES_MAX), body)
            .map_err(|_| wrong(WHAT))?;
        Ok(0..written)
    }
}

/// RFC 8878, 3.1.1.1: reads the window size of a frame that has its own byte for it.
fn wants_wide_window(body: &[u8]) -> bool {
    const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
    const SINGLE_SEGMENT: u8 = 1 << 5;
    let Some([descriptor, window, ..]) = body.strip_prefix(&MAGIC) else {
        return false;
    };
    // A frame of a single segment is its own window: as large as its content.
    descriptor & SINGLE_SEGMENT != 0 || u32::from(window >> 3) + 10 >= ZSTD_WINDOW_LOG_MAX
}
