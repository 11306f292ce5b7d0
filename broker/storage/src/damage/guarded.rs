//! The disk, guarded by the list of damage.
//!
//! The log is read through it. If a page cannot be read and every byte of it is on the list of
//! damage, the reader gets filler bytes that are neither a frame nor a batch, so that the data
//! around the page can be read. Any other read failure stays an error.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use bytes::Bytes;

use super::DamageList;
use crate::disk::unreadable::{new_filling, read_pages};
use crate::disk::{Disk, SegmentFile};
use crate::error::{Error, is_unreadable};
use crate::format::PAGE_BYTES;
use crate::ids::SegmentId;

/// The disk, guarded by the list of damage; see the module.
#[derive(Debug)]
pub(crate) struct Guarded {
    disk: Arc<dyn Disk>,
    damage: Arc<DamageList>,
    filling: [u8; 8],
}

#[derive(Debug)]
struct GuardedFile {
    file: Arc<dyn SegmentFile>,
    id: SegmentId,
    damage: Arc<DamageList>,
    filling: [u8; 8],
}

impl Guarded {
    pub fn new(disk: Arc<dyn Disk>, damage: Arc<DamageList>) -> Self {
        Self {
            disk,
            damage,
            filling: new_filling(),
        }
    }

    fn guard(&self, id: SegmentId, file: Arc<dyn SegmentFile>) -> Arc<dyn SegmentFile> {
        Arc::new(GuardedFile {
            file,
            id,
            damage: Arc::clone(&self.damage),
            filling: self.filling,
        })
    }
}

impl Disk for Guarded {
    fn list(&self) -> Result<Vec<(SegmentId, u64)>, Error> {
        self.disk.list()
    }

    fn create(&self, id: SegmentId, bytes: u64) -> Result<Arc<dyn SegmentFile>, Error> {
        Ok(self.guard(id, self.disk.create(id, bytes)?))
    }

    fn open(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        Ok(self.disk.open(id)?.map(|file| self.guard(id, file)))
    }

    /// Opens the file past the page cache.
    fn open_direct(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        self.disk.open_direct(id)
    }

    fn remove(&self, id: SegmentId) -> Result<(), Error> {
        self.disk.remove(id)
    }

    fn is_shared(&self, id: SegmentId) -> bool {
        self.disk.is_shared(id)
    }

    fn retire(&self, id: SegmentId) -> Result<(), Error> {
        self.disk.retire(id)
    }

    fn spares(&self) -> Result<Vec<(SegmentId, u64)>, Error> {
        self.disk.spares()
    }

    fn reuse(
        &self,
        spare: SegmentId,
        id: SegmentId,
        bytes: u64,
    ) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        let file = self.disk.reuse(spare, id, bytes)?;
        Ok(file.map(|file| self.guard(id, file)))
    }

    fn evict_spare(&self, spare: SegmentId) -> Result<bool, Error> {
        self.disk.evict_spare(spare)
    }

    fn remove_spare(&self, spare: SegmentId) -> Result<(), Error> {
        self.disk.remove_spare(spare)
    }

    fn free_bytes(&self) -> Option<u64> {
        self.disk.free_bytes()
    }

    fn is_read_only(&self) -> bool {
        self.disk.is_read_only()
    }

    fn volume_bytes(&self) -> Option<u64> {
        self.disk.volume_bytes()
    }
}

impl SegmentFile for GuardedFile {
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.file.write_at(position, parts)
    }

    fn read_at(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        match self.file.read_at(position, bytes) {
            Err(error) if is_unreadable(&error) && self.damage.is_any() => {
                let end = self.file.bytes()?;
                // Sound bytes in such a page must not be replaced by filler.
                read_pages(&*self.file, position, bytes, self.filling, &mut |page| {
                    let to = end.min(page + PAGE_BYTES);
                    self.damage.covers(self.id, page, to)
                })
            }
            read => read,
        }
    }

    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        self.file.next_data(from)
    }

    fn read_cached(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        self.file.read_cached(position, bytes)
    }

    fn is_cached(&self, position: u64, bytes: u64) -> bool {
        self.file.is_cached(position, bytes)
    }

    fn read_soon(&self, position: u64, bytes: u64) {
        self.file.read_soon(position, bytes);
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.descriptor()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }
}

#[cfg(test)]
mod tests {
    use sedge_protocol::batch::Batch;
    use sedge_protocol::ids::{Offset, PartitionId};
    use sedge_protocol::records::{BatchBuilder, Compression};

    use super::*;
    use crate::api::{Commit, Damaged, Entry, LogStore, NoViews, Options, ScrubCursor};
    use crate::disk::memory::MemoryDisk;
    use crate::doctor::{Doctor, Inspect, Repair};
    use crate::recover;
    use crate::store::Store;
    use crate::views::memory_base::MemoryBase;

    const P: PartitionId = PartitionId(3);

    /// Opens a store without views, so that all of the log is read.
    fn open(disk: &MemoryDisk, damaged: Vec<Damaged>) -> Result<Store, Error> {
        let damage = DamageList::default();
        damage.add(damaged).unwrap();
        let options = Options {
            segment_bytes: 32 << 10,
            ..Options::default()
        };
        let mut views = |_| Ok(Box::new(MemoryBase::new()) as Box<dyn crate::views::Base>);
        let disk = Arc::new(disk.clone());
        recover::open(disk, damage, &mut views, options, &mut NoViews).map(|(store, _)| store)
    }

    fn batch(offset: i64) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(offset, None, Some(&[offset as u8; 700]), &[]);
        let mut batch = builder.build().unwrap();
        batch.header.set_base_offset(Offset(offset));
        batch
    }

    fn offsets(store: &Store) -> Vec<i64> {
        let read = store.read(P, Offset(0), Offset(i64::MAX), usize::MAX >> 1);
        let mut bytes = Bytes::from(read.unwrap().concat());
        let batches = std::iter::from_fn(|| Batch::split_from(&mut bytes));
        batches.map(|batch| batch.header.base_offset().0).collect()
    }

    /// Builds 200 batches in segments of which four have an unreadable page.
    fn spoiled() -> (MemoryDisk, Store) {
        let disk = MemoryDisk::new();
        let store = open(&disk, Vec::new()).unwrap();
        for offset in 0..200 {
            let batches = vec![batch(offset)];
            let entries = vec![Entry::Append {
                partition: P,
                batches,
            }];
            let commit = Commit {
                entries,
                ..Commit::default()
            };
            store.append(commit).unwrap();
        }
        store.close().unwrap();
        for (segment, position) in [(1, 10), (2, 9_000), (3, 32 << 10), (4, 5_000)] {
            let id = SegmentId(segment);
            let last = disk.contents(id).unwrap().len() as u64 - 1;
            disk.make_unreadable(id, last.min(position));
        }
        (disk, store)
    }

    #[test]
    fn a_start_reads_around_what_is_known_and_makes_nothing_up() {
        let (disk, store) = spoiled();
        let mut cursor = ScrubCursor::default();
        while !store.scrub(&mut cursor, 1 << 20).unwrap().is_done {}
        let damaged = store.damaged();
        let there = offsets(&store);
        assert!((170..190).contains(&there.len()), "{there:?}");
        drop(store);

        assert!(open(&disk, Vec::new()).is_err_and(|error| error.is_unreadable()));
        let started = open(&disk, damaged).unwrap();
        assert_eq!(offsets(&started), there);
    }
    struct Everything;

    impl Inspect for Everything {
        fn batch(&mut self, _: PartitionId, _: &Batch) -> Result<(), String> {
            Ok(())
        }

        fn is_compacted(&self, _: PartitionId) -> bool {
            false
        }
    }

    #[test]
    fn what_the_doctor_is_told_to_accept_is_what_the_scrub_would_find() {
        let (disk, store) = spoiled();
        let mut cursor = ScrubCursor::default();
        while !store.scrub(&mut cursor, 1 << 20).unwrap().is_done {}
        let there = offsets(&store);
        drop(store);
        let name = format!("sedge-unreadable-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let doctor = Doctor::over(&directory, Arc::new(disk.clone()));
        let report = doctor.examine(&mut Everything).unwrap();
        let lost = report.findings.iter().flat_map(|of| &of.lost);
        let lost: Vec<i64> = lost
            .flat_map(|lost| lost.base_offset.0..lost.next_offset.0)
            .collect();
        let expected: Vec<i64> = (0..200).filter(|n| !there.contains(n)).collect();
        assert_eq!(lost, expected, "{:?}", report.findings);
        doctor.repair(Repair::Damage, &report).unwrap();
        let accepted = DamageList::load(&directory).unwrap().all();
        std::fs::remove_dir_all(&directory).unwrap();
        let started = open(&disk, accepted).unwrap();
        assert_eq!(offsets(&started), there);
    }
}
