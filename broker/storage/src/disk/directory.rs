//! Segments as files of a directory.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Advice, FallocateFlags, OFlags, StatVfsMountFlags, fadvise, fcntl_setfl};
use rustix::io::{Errno, ReadWriteFlags};

use super::{Disk, SegmentFile, direct, page_cache};
use crate::error::{Error, io_error};
use crate::ids::SegmentId;

const SUFFIX: &str = ".seg";
/// The suffix of a segment file that waits for reuse.
const SPARE_SUFFIX: &str = ".spare";
/// The most parts that the kernel takes in one call.
const WRITE_PARTS_MAX: usize = 1024;

/// The real disk.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

#[derive(Debug)]
struct OpenFile(File);

impl Directory {
    /// Opens the directory, and creates it if it is missing.
    pub fn open(path: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(path)
            .map_err(|source| io_error("create the segments folder", source))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Opens a directory for inspection, without creating it.
    pub fn existing(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    fn file(&self, id: SegmentId) -> PathBuf {
        self.path.join(Self::name(id))
    }

    /// Returns the name of a segment's file.
    pub(crate) fn name(id: SegmentId) -> String {
        format!("{:010}{SUFFIX}", id.0)
    }

    /// Creates a file of `bytes` under a path that is not yet a segment's name.
    pub(crate) fn create_at(path: &Path, bytes: u64) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(OpenFile(Self::try_create(path, bytes)?)))
    }

    fn spare(&self, id: SegmentId) -> PathBuf {
        self.path.join(format!("{:010}{SPARE_SUFFIX}", id.0))
    }

    fn handle(file: File) -> Arc<dyn SegmentFile> {
        // Reads should not write an access time. Only the owner may set this flag.
        let _ = fcntl_setfl(&file, OFlags::NOATIME);
        Arc::new(OpenFile(file))
    }

    /// Returns numbers and sizes of the files with this suffix.
    fn list_files(&self, suffix: &str) -> Result<Vec<(SegmentId, u64)>, Error> {
        let failed = |source| io_error("list the segments", source);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let id = name
                .to_str()
                .and_then(|name| name.strip_suffix(suffix)?.parse().ok());
            let Some(id) = id else { continue };
            match entry.metadata() {
                Ok(metadata) => found.push((SegmentId(id), metadata.len())),
                // The segment was freed since the listing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(failed(source)),
            }
        }
        Ok(found)
    }

    fn try_reuse(&self, spare: SegmentId, id: SegmentId, bytes: u64) -> io::Result<Option<File>> {
        let path = self.spare(spare);
        let file = match File::options().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        // The file may have got another name (a backup's link) while it still had its segment's
        // name.
        if file.metadata()?.nlink() > 1 {
            return Ok(None);
        }
        allocate(&file, bytes)?;
        std::fs::rename(path, self.file(id))?;
        self.sync_names()?;
        Ok(Some(file))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn try_create(path: &Path, bytes: u64) -> io::Result<File> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        allocate(&file, bytes)?;
        Ok(file)
    }
}

impl Disk for Directory {
    fn list(&self) -> Result<Vec<(SegmentId, u64)>, Error> {
        self.list_files(SUFFIX)
    }

    fn create(&self, id: SegmentId, bytes: u64) -> Result<Arc<dyn SegmentFile>, Error> {
        let path = self.file(id);
        let made = Self::try_create(&path, bytes).and_then(|file| {
            self.sync_names()?;
            Ok(file)
        });
        match made {
            Ok(file) => Ok(Self::handle(file)),
            Err(source) => {
                // A partial file is worse than none. If this fails too, the scan finds an empty
                // segment.
                let _ = std::fs::remove_file(&path);
                Err(io_error("create a segment", source))
            }
        }
    }

    fn open(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        let path = self.file(id);
        let options = |write| File::options().read(true).write(write).open(&path);
        let opened = match options(true) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::ROFS) => options(false),
            opened => opened,
        };
        match opened {
            Ok(file) => Ok(Some(Self::handle(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io_error("open a segment", source)),
        }
    }

    fn open_direct(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        match direct::open(&self.file(id)) {
            Ok(Some(file)) => Ok(Some(Arc::new(file))),
            Ok(None) => self.open(id),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io_error("open a segment", source)),
        }
    }

    fn remove(&self, id: SegmentId) -> Result<(), Error> {
        match std::fs::remove_file(self.file(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove a segment", error))
            }
            _ => Ok(()),
        }
    }

    fn is_shared(&self, id: SegmentId) -> bool {
        // If the number of names is unknown, treat the file as shared.
        std::fs::metadata(self.file(id)).map_or(true, |of| of.nlink() > 1)
    }

    fn retire(&self, id: SegmentId) -> Result<(), Error> {
        std::fs::rename(self.file(id), self.spare(id))
            .map_err(|source| io_error("put a segment aside", source))
    }

    fn spares(&self) -> Result<Vec<(SegmentId, u64)>, Error> {
        self.list_files(SPARE_SUFFIX)
    }

    fn reuse(
        &self,
        spare: SegmentId,
        id: SegmentId,
        bytes: u64,
    ) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        self.try_reuse(spare, id, bytes)
            .map(|file| file.map(Self::handle))
            .map_err(|source| io_error("use a segment again", source))
    }

    fn evict_spare(&self, spare: SegmentId) -> Result<bool, Error> {
        let opened = File::options()
            .read(true)
            .write(true)
            .open(self.spare(spare));
        opened
            .and_then(|file| page_cache::evict(&file))
            .map_err(|source| io_error("see whether a segment is still being sent", source))
    }

    fn remove_spare(&self, spare: SegmentId) -> Result<(), Error> {
        match std::fs::remove_file(self.spare(spare)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove a segment", error))
            }
            _ => Ok(()),
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        let volume = rustix::fs::statvfs(&self.path).ok()?;
        Some(volume.f_bavail.saturating_mul(volume.f_frsize))
    }

    fn is_read_only(&self) -> bool {
        rustix::fs::statvfs(&self.path)
            .is_ok_and(|volume| volume.f_flag.contains(StatVfsMountFlags::RDONLY))
    }

    fn volume_bytes(&self) -> Option<u64> {
        let volume = rustix::fs::statvfs(&self.path).ok()?;
        Some(volume.f_blocks.saturating_mul(volume.f_frsize))
    }
}

impl SegmentFile for OpenFile {
    fn write_at(&self, mut position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        for group in parts.chunks(WRITE_PARTS_MAX) {
            let mut group = group.to_vec();
            let mut left = &mut group[..];
            IoSlice::advance_slices(&mut left, 0);
            while !left.is_empty() {
                match rustix::io::pwritev(&self.0, left, position) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        position += written as u64;
                        IoSlice::advance_slices(&mut left, written);
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn read_at(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        let mut buffer = Vec::with_capacity(bytes);
        while buffer.len() < bytes {
            let at = position + buffer.len() as u64;
            match rustix::io::pread(&self.0, rustix::buffer::spare_capacity(&mut buffer), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        buffer.truncate(bytes);
        Ok(Bytes::from(buffer))
    }

    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Data(from)) {
            Ok(at) => Ok(Some(at)),
            Err(Errno::NXIO) => Ok(None),
            // Not every file system reports holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok((from < self.bytes()?).then_some(from)),
            Err(error) => Err(error.into()),
        }
    }

    fn read_cached(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; bytes];
        let into = &mut [IoSliceMut::new(&mut buffer)];
        let read = match rustix::io::preadv2(&self.0, into, position, ReadWriteFlags::NOWAIT) {
            Ok(read) => read,
            Err(Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS) => 0,
            Err(error) => return Err(error.into()),
        };
        if read < bytes && position + (read as u64) < self.bytes()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer.truncate(read);
        Ok(Bytes::from(buffer))
    }

    fn is_cached(&self, position: u64, bytes: u64) -> bool {
        let mut last = [0];
        let at = position + bytes.saturating_sub(1);
        let into = &mut [IoSliceMut::new(&mut last)];
        // File systems without this flag answer with an error.
        rustix::io::preadv2(&self.0, into, at, ReadWriteFlags::NOWAIT) == Ok(1)
    }

    fn read_soon(&self, position: u64, bytes: u64) {
        // Best effort: without the advice the read itself waits.
        let _ = fadvise(&self.0, position, NonZeroU64::new(bytes), Advice::WillNeed);
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Allocates room on the volume. On file systems that cannot guarantee it (FAT, NFS), only the
/// length is set: a full disk then shows at the write, which ends the process.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return file.set_len(bytes),
            Err(error) => return Err(error.into()),
        }
    }
}
