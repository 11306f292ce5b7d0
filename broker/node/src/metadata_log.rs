//! `__cluster_metadata`: the metadata machine's records as batches of partition 0, and back.

use sedge_core::machine::Machine as _;
use sedge_core::metadata::{Command, METADATA_PARTITION, MetadataMachine};
use sedge_protocol::batch::{Batch, HEADER_BYTES};
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::metadata_records::MetadataRecord;
use sedge_protocol::records::{BatchBuilder, Compression, Records};
use sedge_storage::LogStore;

use crate::limits::{METADATA_BATCH_RECORDS_MAX, REPLAY_READ_BYTES};

/// Bytes that one record takes at most, but for configuration values.
const RECORD_BYTES_GUESS: usize = 512;

/// Why `__cluster_metadata` cannot be replayed.
#[derive(Debug)]
pub enum ReplayError {
    Store(sedge_storage::Error),
    /// A record that this version does not understand, at this offset.
    Record {
        offset: Offset,
        reason: String,
    },
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Record { offset, reason } => write!(
                f,
                "__cluster_metadata cannot be read at offset {offset}: {reason}; \
                 start the version that wrote it, or restore a backup"
            ),
        }
    }
}

impl std::error::Error for ReplayError {}

impl From<sedge_storage::Error> for ReplayError {
    fn from(error: sedge_storage::Error) -> Self {
        Self::Store(error)
    }
}

/// The records as batches with base offset 0, which the writer patches.
pub fn batches(records: &[MetadataRecord], now_ms: i64) -> impl Iterator<Item = Batch> {
    records
        .chunks(METADATA_BATCH_RECORDS_MAX)
        .map(move |chunk| {
            let mut builder = BatchBuilder::new(Compression::None);
            for record in chunk {
                builder.push(now_ms, None, Some(&record.encode()), &[]);
            }
            builder
                .build()
                .expect("metadata records are far below the limits of a batch")
        })
}

/// Bytes that a command may write, from above.
pub fn bytes_guess(command: &Command) -> usize {
    let records = match command {
        Command::CreateTopic {
            partitions,
            configs,
            ..
        } => {
            let values: usize = configs
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum();
            return (usize::try_from(*partitions).unwrap_or(0) + configs.len() + 1)
                * RECORD_BYTES_GUESS
                + values;
        }
        Command::CreatePartitions { total, .. } => usize::try_from(*total).unwrap_or(0),
        Command::AlterTopicConfigs { changes, .. } | Command::AlterBrokerConfigs { changes } => {
            let values: usize = changes
                .iter()
                .map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len))
                .sum();
            return changes.len() * RECORD_BYTES_GUESS + values;
        }
        Command::DeleteTopic { .. }
        | Command::AllocateProducerIds { .. }
        | Command::BumpLeaderEpoch => 1,
    };
    (records + 1) * RECORD_BYTES_GUESS
}

/// Rebuilds the machine from the log.
///
/// # Errors
/// The log cannot be read, or holds what this version does not know.
pub fn replay(store: &dyn LogStore, machine: &mut MetadataMachine) -> Result<(), ReplayError> {
    for_each_record(
        store,
        METADATA_PARTITION,
        Offset::ZERO,
        |offset, _, value| {
            let value = value.unwrap_or_default();
            let record = MetadataRecord::decode(value).map_err(|error| ReplayError::Record {
                offset,
                reason: error.to_string(),
            })?;
            machine.apply(offset, &record);
            Ok::<_, ReplayError>(())
        },
    )
    .map(|_| ())
}

/// Reads an internal topic's partition from `from` to its end, record by record, uncompressed as
/// the broker wrote it. Gives the offset after the last.
///
/// # Errors
/// What reading gives, and what `each` gives.
pub fn for_each_record<E: From<sedge_storage::Error>>(
    store: &dyn LogStore,
    partition: PartitionId,
    from: Offset,
    mut each: impl FnMut(Offset, Option<&[u8]>, Option<&[u8]>) -> Result<(), E>,
) -> Result<Offset, E> {
    let bounds = store.bounds(partition)?;
    let mut next = from.max(bounds.log_start);
    while next < bounds.next_offset {
        let chunks = store.read(partition, next, bounds.next_offset, REPLAY_READ_BYTES)?;
        let before = next;
        for mut bytes in chunks {
            while let Some(batch) = Batch::split_from(&mut bytes) {
                let base = batch.header.base_offset();
                for record in Records::new(&batch.header, &batch.body) {
                    let Ok(record) = record else {
                        break;
                    };
                    let offset = base.plus(i64::from(record.offset_delta));
                    if offset >= next {
                        each(offset, record.key, record.value)?;
                    }
                }
                next = next.max(batch.header.next_offset());
            }
        }
        if next == before {
            // Nothing where the index has something: a hole that the store has reported.
            break;
        }
    }
    Ok(next.max(bounds.next_offset))
}

const _: () = assert!(
    RECORD_BYTES_GUESS > HEADER_BYTES,
    "room for a batch's header too"
);
