//! The store: the catalog, the files, and the state of the one writer.
//!
//! Each module above this one ([`write`](crate::write), [`read`](crate::read),
//! [`space`](crate::space), …) adds its methods; [`LogStore`](crate::LogStore) gathers all of them.

pub(crate) mod files;
pub(crate) mod recent_heads;
pub(crate) mod spares;
pub(crate) mod sync;
pub(crate) mod writer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::{Identity, Options};
use crate::catalog::Catalog;
use crate::damage::DamageList;
use crate::disk::SegmentFile;
use crate::error::Error;
use crate::ids::SegmentId;
use crate::meta::DirectoryLock;
use crate::store::files::Files;
use crate::store::recent_heads::RecentHeads;
use crate::store::spares::Spares;
use crate::store::sync::Sealing;
use crate::store::writer::Writer;

/// The store; see the module.
#[derive(Debug)]
pub struct Store {
    pub(crate) options: Options,
    pub(crate) catalog: Catalog,
    pub(crate) files: Files,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) counters: Counters,
    /// Files with writes that no sync has covered.
    pub(crate) unsynced: Mutex<Vec<Arc<dyn SegmentFile>>>,
    pub(crate) sealing: Mutex<Vec<Sealing>>,
    pub(crate) spares: Mutex<Spares>,
    pub(crate) damage: Arc<DamageList>,
    pub(crate) recent_heads: RecentHeads,
    /// Segments in which a read contradicted the index: the scrub checks them first.
    pub(crate) suspects: Mutex<BTreeSet<SegmentId>>,
    /// The last active segment before this start, and its end then: everything before was on the
    /// device while no process ran.
    pub(crate) opened_at: Option<(SegmentId, u64)>,
    syncing: Mutex<()>,
    /// Held while segments are freed, by one thread at a time.
    pub(crate) freeing: Mutex<()>,
    poisoned: AtomicBool,
    identity: Identity,
    /// The folder of the views, on a real disk.
    views: Option<PathBuf>,
    /// Held for as long as the store is open.
    lock: Option<DirectoryLock>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub payload_bytes: AtomicU64,
    pub log_bytes: AtomicU64,
    pub cleaned_bytes: AtomicU64,
    pub syncs: AtomicU64,
    pub recycled: AtomicU64,
    /// Commits that reads found damaged and skipped.
    pub damaged: AtomicU64,
}

impl Store {
    pub(crate) fn assemble(
        options: Options,
        catalog: Catalog,
        files: Files,
        damage: Arc<DamageList>,
        writer: Writer,
    ) -> Self {
        let identity = Identity {
            cluster_id: options.cluster_id.clone().unwrap_or_default(),
            node_id: options.node_id,
        };
        Self {
            options,
            catalog,
            files,
            writer: Mutex::new(writer),
            counters: Counters::default(),
            unsynced: Mutex::default(),
            sealing: Mutex::default(),
            spares: Mutex::default(),
            damage,
            recent_heads: RecentHeads::default(),
            suspects: Mutex::default(),
            opened_at: None,
            syncing: Mutex::default(),
            freeing: Mutex::default(),
            poisoned: AtomicBool::new(false),
            identity,
            views: None,
            lock: None,
        }
    }

    /// Makes this the store of a data directory.
    pub(crate) fn hold(&mut self, identity: Identity, views: PathBuf, lock: DirectoryLock) {
        self.identity = identity;
        self.views = Some(views);
        self.lock = Some(lock);
    }

    /// Returns the folder of the views, on a real disk.
    pub(crate) fn views(&self) -> Option<&Path> {
        self.views.as_deref()
    }

    /// Returns the owner of the data.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn check_health(&self) -> Result<(), Error> {
        if self.poisoned.load(Ordering::Acquire) {
            Err(Error::Poisoned)
        } else {
            Ok(())
        }
    }

    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// Records that a read of the segment contradicted the index.
    pub(crate) fn suspect(&self, segment: SegmentId) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.insert(segment);
    }

    /// Counts bytes written to a cold segment.
    pub(crate) fn count_cleaned(&self, bytes: u64) {
        self.counters.log_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counters
            .cleaned_bytes
            .fetch_add(bytes, Ordering::Relaxed);
    }
}
