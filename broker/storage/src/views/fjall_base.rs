//! The base in fjall.
//!
//! Facts about fjall 3.1 that shape this: a write that fails poisons the database until it is
//! reopened, so it is reopened here. A full queue of memtables stalls the writer, for ever if its
//! workers have ended, so a flush does not begin then. `max_write_buffer_size` has no effect, so
//! each keyspace caps its memtable.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use fjall::compaction::Leveled;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::reserve::Reserve;
use super::{Base, Change, KeyValue, Space};
use crate::error::Error;
use crate::limits;

/// The base in fjall; see the module.
pub struct FjallBase {
    path: PathBuf,
    cache_bytes: u64,
    open: RwLock<Option<Open>>,
    /// `None` for views that are only inspected.
    reserve: Option<Reserve>,
    /// Consecutive flushes that found fjall busy.
    busy: AtomicU32,
}

struct Open {
    // Dropped before the database, which waits for its keyspaces.
    log: Keyspace,
    caller: Keyspace,
    database: Database,
}

impl fmt::Debug for FjallBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FjallBase")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl FjallBase {
    /// Opens or creates the database at `path`, and reserves bytes for it.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, Error> {
        let reserve = Reserve::of(path);
        let open = match Open::new(path, cache_bytes) {
            Err(_) if reserve.lend() => Open::new(path, cache_bytes),
            opened => opened,
        };
        reserve.take_back();
        Ok(Self::new(path, cache_bytes, open?, Some(reserve)))
    }

    /// Opens a database for inspection, without a reserve.
    pub fn open_copy(path: &Path, cache_bytes: u64) -> Result<Self, Error> {
        let open = Open::new(path, cache_bytes)?;
        Ok(Self::new(path, cache_bytes, open, None))
    }

    fn new(path: &Path, cache_bytes: u64, open: Open, reserve: Option<Reserve>) -> Self {
        Self {
            path: path.to_owned(),
            cache_bytes,
            open: RwLock::new(Some(open)),
            reserve,
            busy: AtomicU32::new(0),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&Open) -> Result<T, Error>) -> Result<T, Error> {
        let held: RwLockReadGuard<'_, _> = self.open.read().unwrap_or_else(PoisonError::into_inner);
        act(held
            .as_ref()
            .ok_or_else(|| Error::views(fjall::Error::Poisoned))?)
    }

    fn reopen(&self) -> Result<(), Error> {
        log::warn!("views: reopening after a failed write");
        let mut held = self.open.write().unwrap_or_else(PoisonError::into_inner);
        *held = None;
        *held = Some(Open::new(&self.path, self.cache_bytes)?);
        self.busy.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Reopens the database if a failure has closed it.
    fn ensure_open(&self) -> Result<(), Error> {
        let closed = self
            .open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none();
        if closed || self.busy.load(Ordering::Relaxed) > limits::BUSY_FLUSHES_MAX {
            self.reopen()?;
        }
        Ok(())
    }

    /// Returns false if a write now would stall.
    fn has_room(&self) -> Result<bool, Error> {
        self.with(|open| {
            Ok([&open.log, &open.caller].iter().all(|keyspace| {
                keyspace.sealed_memtable_count() <= limits::MEMTABLES_WAITING_MAX
                    && keyspace.l0_table_count() <= limits::LEVEL0_TABLES_MAX
            }))
        })
    }
}

impl Open {
    fn new(path: &Path, cache_bytes: u64) -> Result<Self, Error> {
        let database = Database::builder(path)
            .cache_size(cache_bytes)
            .worker_threads(limits::FJALL_WORKERS)
            .max_cached_files(Some(limits::FJALL_FILES_MAX))
            .max_journaling_size(limits::JOURNAL_BYTES)
            .open()
            .map_err(Error::views)?;
        let options = || {
            let levels = Leveled::default().with_table_target_size(limits::TABLE_BYTES);
            KeyspaceCreateOptions::default()
                .max_memtable_size(limits::MEMTABLE_BYTES)
                .compaction_strategy(Arc::new(levels))
        };
        let log = database.keyspace("log", options).map_err(Error::views)?;
        let caller = database.keyspace("caller", options).map_err(Error::views)?;
        Ok(Self {
            log,
            caller,
            database,
        })
    }

    fn keyspace(&self, space: Space) -> &Keyspace {
        match space {
            Space::Log => &self.log,
            Space::Caller => &self.caller,
        }
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), Error> {
        let mut batch = self.database.batch();
        for change in changes {
            let keyspace = self.keyspace(change.space);
            match change.value {
                Some(value) => batch.insert(keyspace, change.key, value),
                None => batch.remove(keyspace, change.key),
            }
        }
        batch.commit().map_err(Error::views)
    }
}

impl Base for FjallBase {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.with(|open| {
            let found = open.keyspace(space).get(key).map_err(Error::views)?;
            Ok(found.map(|value| value.to_vec()))
        })
    }

    fn last(&self, space: Space, low: &[u8], high: &[u8]) -> Result<Option<KeyValue>, Error> {
        self.with(|open| {
            let Some(found) = open.keyspace(space).range(low..=high).next_back() else {
                return Ok(None);
            };
            let (key, value) = found.into_inner().map_err(Error::views)?;
            Ok(Some((key.to_vec(), value.to_vec())))
        })
    }

    fn scan(
        &self,
        space: Space,
        low: &[u8],
        high: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.with(|open| {
            let keyspace = open.keyspace(space);
            let found = match high {
                Some(high) => keyspace.range(low..=high),
                None => keyspace.range(low..),
            };
            for item in found {
                let (key, value) = item.into_inner().map_err(Error::views)?;
                if !each(&key, &value) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), Error> {
        let bytes = changes.iter().map(Change::bytes).sum();
        let reserve = self.reserve.as_ref();
        if reserve.is_some_and(|reserve| !reserve.has_room_for(bytes)) {
            return Err(Error::Full);
        }
        self.ensure_open()?;
        if !self.has_room()? {
            self.busy.fetch_add(1, Ordering::Relaxed);
            return Err(Error::ViewsBusy);
        }
        self.busy.store(0, Ordering::Relaxed);
        let written = self.with(|open| open.write(changes));
        if written.is_err() {
            // The next write reopens the database: fjall accepts no writes after a failure.
            self.busy
                .store(limits::BUSY_FLUSHES_MAX + 1, Ordering::Relaxed);
        } else if let Some(reserve) = reserve {
            reserve.keep();
        }
        written
    }

    /// Also syncs what was written before a failure: segments that depend on it can then be freed,
    /// which on a full disk makes room for the write that failed.
    fn sync(&self) -> Result<(), Error> {
        self.ensure_open()?;
        self.with(|open| {
            let persisted = open.database.persist(PersistMode::SyncAll);
            persisted.map_err(Error::views)
        })
    }
    fn reserve(&self) -> Option<&Reserve> {
        self.reserve.as_ref()
    }
}
