//! Reads a segment past the page cache: data that is read once does not evict what readers use, and
//! what is read is what the device has.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::SegmentFile;

/// Alignment of positions, lengths and buffers of direct reads. Few devices have larger blocks;
/// there the first read fails, and the page cache is used.
const ALIGNMENT: usize = 4096;

#[derive(Debug)]
pub(super) struct DirectFile(File);

/// Opens a file for direct reads. Returns `None` if the file system does not support them.
pub(super) fn open(path: &Path) -> io::Result<Option<DirectFile>> {
    let opened = File::options()
        .read(true)
        .custom_flags(OFlags::DIRECT.bits().cast_signed())
        .open(path);
    let file = match opened {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => return Ok(None),
        opened => DirectFile(opened?),
    };
    match file.read_at(0, 1) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(None),
        // Any other failure is reported by the read itself.
        _ => Ok(Some(file)),
    }
}

impl SegmentFile for DirectFile {
    fn write_at(&self, _position: u64, _parts: &[IoSlice<'_>]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_at(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        let skew = (position % ALIGNMENT as u64) as usize;
        let from = position - skew as u64;
        let length = (skew + bytes).next_multiple_of(ALIGNMENT);
        let mut buffer = vec![0; length + ALIGNMENT];
        // The first aligned position in the buffer.
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        let mut filled = 0;
        while filled < length {
            let into = &mut buffer[start + filled..start + length];
            match rustix::io::pread(&self.0, into, from + filled as u64) {
                Ok(read) => {
                    filled += read;
                    // A read that ends within a block is the end of the file.
                    if read == 0 || !filled.is_multiple_of(ALIGNMENT) {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let end = filled.min(skew + bytes).max(skew);
        Ok(Bytes::from(buffer).slice(start + skew..start + end))
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stretch_is_read() {
        let path = std::env::temp_dir().join(format!("sedge-direct-{}", std::process::id()));
        let all: Vec<u8> = (0..10_000u32).map(|at| (at * 7) as u8).collect();
        std::fs::write(&path, &all).unwrap();
        let opened = open(&path);
        std::fs::remove_file(&path).unwrap();
        // A file system in memory has no direct reads.
        let Some(file) = opened.unwrap() else { return };
        for from in [0, 1, 4095, 4096, 5000, 9999, 10_000, 20_000] {
            for bytes in [0, 1, 4096, 5000, 12_000] {
                let to = all.len().min(from + bytes);
                let want = all.get(from..to).unwrap_or_default();
                assert_eq!(&file.read_at(from as u64, bytes).unwrap()[..], want);
            }
        }
    }
}
