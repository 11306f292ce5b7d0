//! The bytes of one file of the disk in memory, with the changes that a power cut may still undo.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::format::PAGE_BYTES;

/// Bytes that a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// The contents of a file; see the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub bytes: Vec<u8>,
    /// A sync of this use of the file has ended: the one of its header.
    pub is_begun: bool,
    /// Versions of each sector: at the last sync, and after each write since, except the newest.
    unsynced: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Versions of sectors that a failed sync gave up: a later sync succeeds without writing them,
    /// unless they were written again.
    given_up: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Bytes that were cut off the end since the last sync.
    cut: Vec<u8>,
    /// Pages that cannot be read until they are written again.
    unreadable: BTreeSet<usize>,
    /// Bytes that were lent to the kernel, and from which position. The kernel's queues outlive a
    /// process.
    loans: Vec<(usize, Weak<Mutex<Vec<u8>>>)>,
}

/// What a sync covers: of each sector, the versions that it replaces.
#[derive(Debug)]
pub(super) struct Covered {
    versions: BTreeMap<usize, usize>,
    cut: Vec<u8>,
}

/// Bytes of a file on their way to a peer: the file's own pages. Drop it when the peer has received
/// them.
#[derive(Debug)]
pub struct Loan(Arc<Mutex<Vec<u8>>>);

impl Loan {
    /// Returns the bytes that the peer would get now.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        lock(&self.0).clone()
    }
}

impl Contents {
    pub fn zeros(bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes],
            ..Self::default()
        }
    }

    pub fn write(&mut self, position: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len();
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        let pages = pages(position, end);
        self.unreadable.retain(|page| !pages.contains(page));
        for sector in position / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
            let from = sector * SECTOR_BYTES;
            let to = self.bytes.len().min(from + SECTOR_BYTES);
            let old = self.bytes[from..to].to_vec();
            self.unsynced.entry(sector).or_default().push(old);
        }
        self.bytes[position..end].copy_from_slice(bytes);
        for (from, loan) in self.lent() {
            let mut lent = lock(&loan);
            let (first, last) = (from.max(position), end.min(from + lent.len()));
            if first < last {
                let written = &bytes[first - position..last - position];
                lent[first - from..last - from].copy_from_slice(written);
            }
        }
    }

    pub fn lend(&mut self, position: usize, bytes: usize) -> Loan {
        let lent = Arc::new(Mutex::new(self.bytes[position..position + bytes].to_vec()));
        self.loans.retain(|(_, loan)| loan.strong_count() > 0);
        self.loans.push((position, Arc::downgrade(&lent)));
        Loan(lent)
    }

    pub fn is_evictable(&self) -> bool {
        self.lent().next().is_none()
    }

    fn lent(&self) -> impl Iterator<Item = (usize, Arc<Mutex<Vec<u8>>>)> {
        let loans = self.loans.iter();
        loans.filter_map(|(from, loan)| Some((*from, loan.upgrade()?)))
    }

    pub fn make_unreadable(&mut self, position: usize) {
        self.unreadable.extend(pages(position, position + 1));
    }

    pub fn is_readable(&self, from: usize, to: usize) -> bool {
        from >= to || self.unreadable.range(pages(from, to)).next().is_none()
    }

    pub fn truncate(&mut self, bytes: usize) {
        let cut = self.bytes.split_off(self.bytes.len().min(bytes));
        if !cut.is_empty() {
            self.cut = cut;
        }
        self.bytes.resize(bytes, 0);
        // Pages behind the new end no longer belong to the file.
        self.loans.retain(|(from, _)| *from < bytes);
    }

    /// Returns what a sync that begins now covers.
    pub fn begin_sync(&self) -> Covered {
        let versions = self.unsynced.iter();
        Covered {
            versions: versions.map(|(at, old)| (*at, old.len())).collect(),
            cut: self.cut.clone(),
        }
    }

    /// Ends a sync. Writes that came after its beginning stay unsynced.
    pub fn end_sync(&mut self, covered: Covered) {
        for (sector, count) in covered.versions {
            self.given_up.remove(&sector);
            if let Some(old) = self.unsynced.get_mut(&sector) {
                old.drain(..count.min(old.len()));
                if old.is_empty() {
                    self.unsynced.remove(&sector);
                }
            }
        }
        if self.cut == covered.cut {
            self.cut.clear();
        }
    }

    pub fn fail_sync(&mut self) {
        for (sector, versions) in std::mem::take(&mut self.unsynced) {
            self.given_up.entry(sector).or_insert(versions);
        }
    }

    /// Reduces the contents to what survives a power cut. `choose` picks one of the given number of
    /// states, the last of which is the newest: for the length, and for each sector separately, so
    /// that writes reach the disk in any order, in part, and possibly the older of two to one
    /// place.
    pub fn after_power_cut(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        self.loans.clear();
        let cut = std::mem::take(&mut self.cut);
        if !cut.is_empty() && choose(2) == 0 {
            self.bytes.extend(cut);
        }
        let given_up = std::mem::take(&mut self.given_up);
        for (sector, versions) in &given_up {
            self.put_back(*sector, versions, choose);
        }
        for (sector, versions) in std::mem::take(&mut self.unsynced) {
            self.put_back(sector, &versions, choose);
        }
    }

    fn put_back(
        &mut self,
        sector: usize,
        versions: &[Vec<u8>],
        choose: &mut dyn FnMut(usize) -> usize,
    ) {
        if let Some(old) = versions.get(choose(versions.len() + 1)) {
            let at = sector * SECTOR_BYTES;
            let end = self.bytes.len().min(at + old.len());
            if at < end {
                self.bytes[at..end].copy_from_slice(&old[..end - at]);
            }
        }
    }
}

fn lock(lent: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    lent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the pages of a stretch, which must not be empty.
fn pages(from: usize, to: usize) -> std::ops::RangeInclusive<usize> {
    let page = PAGE_BYTES as usize;
    from / page..=(to - 1) / page
}
