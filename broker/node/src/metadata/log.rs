//! `__cluster_metadata`: converts the metadata machine's records to batches of partition 0, and
//! back.

use sedge_core::metadata::{Command, TokenCommand};
use sedge_core::security::limits::{
    ACLS_PER_REQUEST_MAX, SCRAM_SALT_BYTES_MAX, TOKEN_BYTES_MAX, TOKENS_MAX,
};
use sedge_protocol::batch::{Batch, HEADER_BYTES};
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::metadata_records::MetadataRecord;
use sedge_protocol::records::{BatchBuilder, Compression, Records};
use sedge_storage::LogStore;

use crate::limits::{LOST_RANGES_TOLD, METADATA_BATCH_RECORDS_MAX, REPLAY_READ_BYTES};
use sedge_core::limits::FEATURES_MAX;

/// Largest size of one record in bytes, without configuration values.
const RECORD_BYTES_GUESS: usize = 512;

/// Most bytes of a record that removes an access rule, with its share of the batch.
const REMOVAL_BYTES_GUESS: usize = 48;

/// The lost part of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Lost ranges of offsets, each from the first to before the second; only the first few.
    pub ranges: Vec<(Offset, Offset)>,
    /// Number of further ranges.
    pub more: u64,
    /// Segments that held them, as far as that is known.
    pub segments: Vec<u64>,
}

impl Lost {
    fn note(&mut self, from: Offset, to: Offset) {
        let told = self.ranges.len();
        match self.ranges.last_mut() {
            Some((_, until)) if *until == from => *until = to,
            _ if told < LOST_RANGES_TOLD => self.ranges.push((from, to)),
            _ => self.more += 1,
        }
    }

    /// Returns whether nothing is lost.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("offsets ")?;
        for (at, (from, to)) in self.ranges.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            match to.get() - from.get() {
                1 => write!(f, "{comma}{from}")?,
                _ => write!(f, "{comma}{from} to {}", to.plus(-1))?,
            }
        }
        if self.more > 0 {
            write!(f, " and {} more ranges", self.more)?;
        }
        for (at, segment) in self.segments.iter().enumerate() {
            let before = if at > 0 {
                ", "
            } else {
                ", which were in segment "
            };
            write!(f, "{before}{segment}")?;
        }
        Ok(())
    }
}

/// Returns the records as batches with base offset 0, which the writer patches.
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

/// Returns an upper bound on the bytes that a command writes.
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
        Command::AlterTopicConfigs { changes, .. }
        | Command::AlterGroupConfigs { changes, .. }
        | Command::AlterClientMetrics { changes, .. }
        | Command::AlterBrokerConfigs { changes, .. } => {
            let values: usize = changes
                .iter()
                .map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len))
                .sum();
            return changes.len() * RECORD_BYTES_GUESS + values;
        }
        Command::CreateAcls { rules } => {
            let texts = rules
                .iter()
                .map(|(_, rule)| rule.name.len() + rule.principal.len());
            return (rules.len() + 1) * RECORD_BYTES_GUESS + texts.sum::<usize>();
        }
        Command::AlterUserScramCredentials { changes } => {
            let names = changes.iter().map(|change| change.user.len());
            let each = RECORD_BYTES_GUESS + SCRAM_SALT_BYTES_MAX;
            return (changes.len() + 1) * each + names.sum::<usize>();
        }
        // An id of sixteen bytes and a record header for each.
        Command::DeleteAcls { .. } => return ACLS_PER_REQUEST_MAX * REMOVAL_BYTES_GUESS,
        Command::AlterQuotas { alterations, .. } => {
            let bytes = alterations.iter().map(|of| {
                let names = of.entity.values().flatten().map(String::len);
                of.changes.len() * (RECORD_BYTES_GUESS + names.sum::<usize>())
            });
            return RECORD_BYTES_GUESS + bytes.sum::<usize>();
        }
        Command::Token(TokenCommand::RemoveExpired) => return TOKENS_MAX * REMOVAL_BYTES_GUESS,
        Command::Token(_) => return TOKEN_BYTES_MAX + RECORD_BYTES_GUESS,
        Command::UpdateFeatures { .. } => FEATURES_MAX,
        Command::DeleteTopic { .. }
        | Command::AllocateProducerIds { .. }
        | Command::BumpLeaderEpoch => 1,
    };
    (records + 1) * RECORD_BYTES_GUESS
}

/// The result of [`for_each_batch`].
#[derive(Clone, Debug)]
pub struct Read {
    /// The offset after the last.
    pub next: Offset,
    /// Offsets that were missing or damaged. Records removed by compaction are among them.
    pub lost: Lost,
}

/// Reads an internal topic's partition from `from` to its end, record by record; the broker wrote
/// it uncompressed. Skips damaged parts and returns them.
///
/// # Errors
/// Errors of reading, and those of `each`.
pub fn for_each_record<E: From<sedge_storage::Error>>(
    store: &dyn LogStore,
    partition: PartitionId,
    from: Offset,
    mut each: impl FnMut(Offset, Option<&[u8]>, Option<&[u8]>) -> Result<(), E>,
) -> Result<Read, E> {
    for_each_batch(store, partition, from, |batch| {
        for record in Records::new(&batch.header, &batch.body).map_while(Result::ok) {
            let offset = batch.header.base_offset();
            let offset = offset.plus(i64::from(record.offset_delta));
            if offset >= from {
                each(offset, record.key, record.value)?;
            }
        }
        Ok(())
    })
}

/// Reads the partition batch by batch. The first batch may begin before `from`.
///
/// # Errors
/// Errors of reading, and those of `each`.
pub fn for_each_batch<E: From<sedge_storage::Error>>(
    store: &dyn LogStore,
    partition: PartitionId,
    from: Offset,
    mut each: impl FnMut(&Batch) -> Result<(), E>,
) -> Result<Read, E> {
    let bounds = store.bounds(partition)?;
    let mut lost = Lost::default();
    let mut next = from.max(bounds.log_start);
    while next < bounds.next_offset {
        let chunks = store.read(partition, next, bounds.next_offset, REPLAY_READ_BYTES)?;
        let before = next;
        for mut bytes in chunks {
            while let Some(batch) = Batch::split_from(&mut bytes) {
                let base = batch.header.base_offset();
                if base > next {
                    lost.note(next, base);
                }
                let from = next.max(base);
                next = next.max(batch.header.next_offset());
                if batch.header.computed_crc(&batch.body) != batch.header.crc() {
                    log::error!(
                        target: "sedge::log",
                        "partition {partition}: the batch at offset {base} has a wrong checksum \
                         and is skipped"
                    );
                    lost.note(from, next);
                    continue;
                }
                each(&batch)?;
            }
        }
        if next == before {
            // The read returned nothing although the index has a batch.
            next = slice_behind(store, partition, before)?
                .unwrap_or(bounds.next_offset)
                .min(bounds.next_offset);
            lost.note(before, next);
        }
    }
    if !lost.is_empty() {
        let damaged = store.damaged().into_iter();
        let of_this = damaged.filter(|of| of.lost.iter().any(|lost| lost.partition == partition));
        lost.segments = of_this.map(|of| of.segment.0).collect();
        lost.segments.dedup();
    }
    Ok(Read {
        next: next.max(bounds.next_offset),
        lost,
    })
}

/// Returns where the data begins that is in another segment than the record at `offset`.
fn slice_behind(
    store: &dyn LogStore,
    partition: PartitionId,
    offset: Offset,
) -> Result<Option<Offset>, sedge_storage::Error> {
    let slices = store.slices(partition)?;
    let first = slices.iter().find(|slice| slice.next_offset > offset);
    Ok(first.map(|slice| match slice.first_offset {
        first if first > offset => first,
        _ => slice.next_offset,
    }))
}

const _: () = assert!(
    RECORD_BYTES_GUESS > HEADER_BYTES,
    "room for a batch's header too"
);
