//! The store under a data directory. For this commit the records live in memory behind the final interface;
//! segments on disk follow.

use std::path::Path;

use bytes::Bytes;
use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{
    Commit, Freed, Identity, LogBounds, LogStore, OpenReport, Options, Recovery, Sequence, Slice,
    Usage, View, ViewReader,
};
use crate::error::Error;
use crate::memory::MemoryStore;

/// See the module.
#[derive(Debug)]
pub struct Store {
    log: MemoryStore,
    identity: Identity,
}

/// Opens the data directory, makes it where it is missing, and brings the views up to date.
pub fn open(
    directory: &Path,
    options: Options,
    recovery: &mut dyn Recovery,
) -> Result<(Store, OpenReport), Error> {
    let _ = recovery;
    std::fs::create_dir_all(directory).map_err(|source| Error::Io {
        doing: "create the data directory",
        source,
    })?;
    let identity = Identity {
        cluster_id: options
            .cluster_id
            .unwrap_or_else(|| "AAAAAAAAAAAAAAAAAAAAAA".to_owned()),
        node_id: options.node_id,
    };
    Ok((
        Store {
            log: MemoryStore::new(),
            identity,
        },
        OpenReport::default(),
    ))
}

impl Store {
    /// Whose data this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl ViewReader for Store {
    fn view_get(&self, view: View, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.log.view_get(view, key)
    }

    fn view_scan(
        &self,
        view: View,
        prefix: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), Error> {
        self.log.view_scan(view, prefix, each)
    }
}

impl LogStore for Store {
    fn reserve(&self, bytes: usize) -> Result<(), Error> {
        self.log.reserve(bytes)
    }

    fn append(&self, commit: Commit) -> Result<Sequence, Error> {
        self.log.append(commit)
    }

    fn sync(&self) -> Result<(), Error> {
        self.log.sync()
    }

    fn bounds(&self, partition: PartitionId) -> Result<LogBounds, Error> {
        self.log.bounds(partition)
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        until: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, Error> {
        self.log.read(partition, from, until, bytes_max)
    }

    fn first_batch_at(
        &self,
        partition: PartitionId,
        timestamp: i64,
        until: Offset,
    ) -> Result<Option<Bytes>, Error> {
        self.log.first_batch_at(partition, timestamp, until)
    }

    fn max_timestamp_batch(
        &self,
        partition: PartitionId,
        until: Offset,
    ) -> Result<Option<Bytes>, Error> {
        self.log.max_timestamp_batch(partition, until)
    }

    fn slices(&self, partition: PartitionId) -> Result<Vec<Slice>, Error> {
        self.log.slices(partition)
    }

    fn partition_bytes(&self, partition: PartitionId) -> Result<u64, Error> {
        self.log.partition_bytes(partition)
    }

    fn free_segments(&self) -> Result<Freed, Error> {
        self.log.free_segments()
    }

    fn flush_views(&self) -> Result<(), Error> {
        self.log.flush_views()
    }

    fn usage(&self) -> Usage {
        self.log.usage()
    }

    fn close(&self) -> Result<(), Error> {
        self.log.close()
    }
}
