//! A segment as bytes in memory, for the fuzzer.

use std::io::{self, IoSlice};

use bytes::Bytes;

use super::listing::read_footer;
use super::scan::{Found, Scanner, read_header};
use crate::disk::SegmentFile;
use crate::format::{Footer, SEGMENT_HEADER_BYTES, SegmentHeader};

/// Scans the bytes of a segment, for the fuzzer. Returns `None` if the header is invalid.
#[must_use]
pub fn scan_segment(bytes: &[u8]) -> Option<(SegmentHeader, Vec<Found>, Option<Footer>)> {
    let file = BytesFile(Bytes::copy_from_slice(bytes));
    let header = read_header(&file).ok()??;
    let footer = read_footer(&file, header.id, header.generation).ok()?;
    let end = footer
        .as_ref()
        .map_or(bytes.len() as u64, |footer| footer.frames_end);
    let mut scanner = Scanner::new(&file, header.generation, SEGMENT_HEADER_BYTES, end);
    let mut found = Vec::new();
    loop {
        let next = scanner.next().ok()?;
        let last = matches!(next, Found::End { .. });
        found.push(next);
        if last {
            return Some((header, found, footer));
        }
    }
}

/// Bytes in memory as a read-only file.
#[derive(Debug)]
struct BytesFile(Bytes);

impl SegmentFile for BytesFile {
    fn write_at(&self, _position: u64, _parts: &[IoSlice<'_>]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_at(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        let from = self
            .0
            .len()
            .min(usize::try_from(position).unwrap_or(usize::MAX));
        let to = self.0.len().min(from.saturating_add(bytes));
        Ok(self.0.slice(from..to))
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}
