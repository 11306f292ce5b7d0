//! Rewrites `__cluster_metadata` from what is left of it, while no broker runs.

use std::collections::{BTreeMap, BTreeSet};

use sedge_core::config::BrokerDefaults;
use sedge_core::metadata::snapshot::{Frames, Place, SNAPSHOT_PARTITIONS};
use sedge_core::metadata::{Change, Facts, METADATA_PARTITION, Salvage};
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{LeaderEpoch, NodeId, Offset, PartitionId, ProducerId};
use sedge_protocol::metadata_records::MetadataRecord;
use sedge_protocol::records::Records;
use sedge_storage::doctor::Report;
use sedge_storage::{Commit, Entry, Error, LogStore, Room, Store, Urgency};

use crate::config::Config;
use crate::log::clock::Clock;
use crate::log::views::HeaderReplay;
use crate::metadata::snapshot::{self as metadata_snapshot, Snapshot, SnapshotError, SnapshotLog};
use crate::process::random::random_uuid;
use crate::serve::start;

/// Facts from undamaged batches that a repair needs.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Batches of the log of `__cluster_metadata`, by offset.
    log: BTreeMap<Offset, Batch>,
    /// Batches of the two copies of its snapshots.
    copies: [BTreeMap<Offset, Batch>; 2],
    leader_epoch: LeaderEpoch,
    producer: Option<ProducerId>,
}

/// The log starts of `__cluster_metadata` and of the copies of its snapshots.
#[derive(Clone, Copy, Debug, Default)]
pub struct Starts {
    pub log: Offset,
    pub copies: [Offset; 2],
}

impl Seen {
    /// Takes a batch of any partition.
    pub fn batch(&mut self, partition: PartitionId, batch: &Batch) {
        let header = &batch.header;
        self.leader_epoch = self.leader_epoch.max(header.leader_epoch());
        self.producer = self.producer.max(header.producer_id());
        let of_metadata = if partition == METADATA_PARTITION {
            Some(&mut self.log)
        } else {
            let copy = SNAPSHOT_PARTITIONS.iter().position(|id| *id == partition);
            copy.map(|copy| &mut self.copies[copy])
        };
        if let Some(batches) = of_metadata {
            batches.insert(header.base_offset(), batch.clone());
        }
    }

    /// Returns the newest whole snapshot from which the log continues, with its batches.
    fn snapshot(&self, starts: &Starts) -> Option<(Place, Vec<&Batch>)> {
        let copies = self.copies.iter().zip(starts.copies);
        let whole = copies.filter_map(|(batches, start)| {
            let mut frames = Frames::default();
            for batch in batches.range(start..).map(|(_, batch)| batch) {
                // Errors are reported when the batch itself is examined.
                let _ = frames.take(batch);
            }
            let place = frames.whole().filter(|of| of.end_offset >= starts.log)?;
            let batches = batches.range(place.first..place.next);
            Some((place, batches.map(|(_, batch)| batch).collect()))
        });
        whole.max_by_key(|(place, _)| place.end_offset)
    }

    /// Returns whether the log continues from a snapshot of which no copy is whole.
    pub fn lacks_snapshot(&self, starts: &Starts) -> bool {
        let were_written =
            self.copies.iter().any(|copy| !copy.is_empty()) || starts.copies != [Offset::ZERO; 2];
        starts.log > Offset::ZERO && were_written && self.snapshot(starts).is_none()
    }

    /// Returns the ranges of the log that are needed, up to `end`, and missing.
    pub fn missing(&self, starts: &Starts, end: Offset) -> Vec<(Offset, Offset)> {
        let mut missing = Vec::new();
        let snapshot = self.snapshot(starts);
        let mut next = snapshot.map_or(starts.log, |(place, _)| place.end_offset);
        for batch in self.log.values() {
            let base = batch.header.base_offset().min(end);
            if base > next {
                missing.push((next, base));
            }
            next = next.max(batch.header.next_offset());
        }
        if end > next {
            missing.push((next, end));
        }
        missing
    }

    /// Collects the records that still exist: those of the newest whole snapshot, or of what is
    /// left of both copies, and those of the log behind.
    pub fn salvage(&self, node: NodeId, starts: &Starts) -> Salvage {
        let mut salvage = Salvage::new(node);
        let log_start = if let Some((place, batches)) = self.snapshot(starts) {
            take_all(&mut salvage, batches.into_iter());
            place.end_offset
        } else {
            // Settings are accepted only for known topics. Each copy is read twice, so that
            // settings in one copy are applied to topics that only the other still has.
            for _ in 0..2 {
                for (batches, start) in self.copies.iter().zip(starts.copies) {
                    let batches = batches.range(start..);
                    take_all(&mut salvage, batches.map(|(_, batch)| batch));
                }
            }
            starts.log
        };
        let batches = self.log.values();
        let batches = batches.filter(|of| of.header.next_offset() > log_start);
        take_all(&mut salvage, batches);
        salvage
    }
}

fn take_all<'a>(salvage: &mut Salvage, batches: impl Iterator<Item = &'a Batch>) {
    for batch in batches.filter(|batch| !batch.header.is_control()) {
        for record in Records::new(&batch.header, &batch.body).map_while(Result::ok) {
            // Errors are reported when the batch itself is examined.
            if let Ok(record) = MetadataRecord::decode(record.value.unwrap_or_default()) {
                salvage.take(&record);
            }
        }
    }
}

/// Writes the topics, as far as `seen` and the log tell, as a snapshot from which the log of
/// `__cluster_metadata` continues. Returns the differences from the state before the loss.
///
/// # Errors
/// The store cannot be opened or written.
pub fn repair(config: &Config, seen: &Seen, report: &Report) -> Result<Vec<Change>, SnapshotError> {
    let mut replay = HeaderReplay::default();
    let (store, opened) = sedge_storage::open(&config.data, start::options(config), &mut replay)?;
    let facts = Facts {
        dropped: report.dropped.clone(),
        held: held(&store)?,
        newest: store.newest_partition()?.max(report.newest_partition),
        leader_epoch: seen.leader_epoch,
        producer: seen.producer,
    };
    let [first, second] = SNAPSHOT_PARTITIONS;
    let bounds = store.bounds(METADATA_PARTITION)?;
    let starts = Starts {
        log: bounds.log_start,
        copies: [
            store.bounds(first)?.log_start,
            store.bounds(second)?.log_start,
        ],
    };
    let salvage = seen.salvage(NodeId(config.node_id), &starts);
    let defaults = BrokerDefaults::new(&config.broker);
    let salvaged = salvage.finish(&facts, defaults, random_uuid);
    let clock = Clock::start(None, opened.newest_append_ms);
    let (end_offset, now_ms) = (bounds.next_offset, clock.now().wall_ms);
    let mut snapshot = Snapshot::new(salvaged.machine, end_offset, now_ms);
    let mut log = Direct {
        store: &store,
        append_ms: opened.newest_append_ms.unwrap_or_default(),
        // May take the room reserved for freeing space: without the topics the broker cannot start.
        urgency: Urgency::Command,
    };
    // On a full disk both copies may be in one segment. The next start writes them again when there
    // is room.
    snapshot.write(&mut log, false)?;
    store.close()?;
    Ok(salvaged.changes)
}

/// Writes directly to the store, while no broker runs.
#[derive(Debug)]
pub struct Direct<'a> {
    pub store: &'a Store,
    pub append_ms: i64,
    pub urgency: Urgency,
}

impl Direct<'_> {
    /// Writes one commit and flushes it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn commit(&self, entries: Vec<Entry>) -> Result<(), Error> {
        let bytes_of = |entry: &Entry| match entry {
            Entry::Append { batches, .. } => batches.iter().map(Batch::bytes).sum(),
            _ => 0,
        };
        let bytes: usize = entries.iter().map(bytes_of).sum();
        self.store.reserve(Room {
            batch_bytes: bytes as u64,
            rows: entries.len() as u64,
            urgency: self.urgency,
        })?;
        self.store.append(Commit {
            entries,
            updates: Vec::new(),
            append_ms: self.append_ms,
        })?;
        self.store.sync()
    }
}

impl SnapshotLog for Direct<'_> {
    fn store(&self) -> &dyn LogStore {
        self.store
    }

    fn append(
        &mut self,
        partition: PartitionId,
        batches: Vec<Batch>,
    ) -> Result<Offset, SnapshotError> {
        let base = self.store.bounds(partition)?.next_offset;
        let batches = metadata_snapshot::patched(batches, base);
        self.commit(vec![Entry::Append { partition, batches }])?;
        Ok(base)
    }

    fn end_segment(&mut self) -> Result<(), SnapshotError> {
        match self.store.roll() {
            Err(refusal) if refusal.is_refusal() => Ok(()),
            rolled => Ok(rolled?),
        }
    }

    fn move_log_starts(&mut self, to: Vec<(PartitionId, Offset)>) -> Result<(), SnapshotError> {
        let moved = to.into_iter();
        let entries = moved.map(|(partition, offset)| Entry::LogStart { partition, offset });
        Ok(self.commit(entries.collect())?)
    }
}

fn held(store: &Store) -> Result<BTreeSet<PartitionId>, Error> {
    let mut held = BTreeSet::new();
    for partition in store.partitions()? {
        if store.partition_bytes(partition)? > 0 {
            held.insert(partition);
        }
    }
    Ok(held)
}

/// Describes a change for the report.
pub fn told(change: &Change) -> String {
    match change {
        Change::Recovered { topic, partition } => format!(
            "{topic}: the records of partition {partition}, whose topic is unknown; retention \
             deletes none of them, and `sedge topic delete {topic}` frees their space"
        ),
        Change::Renamed { topic, .. } => {
            format!("{topic}: a topic whose name and settings are unknown")
        }
        Change::Deleted { topic } => {
            format!("{topic}: deleted; the record of its deletion was lost, and its data is gone")
        }
        Change::Superseded { topic } => {
            format!(
                "{topic}: an older topic of this name is deleted, because another one was created \
                 later"
            )
        }
        Change::NewPartition { topic, index } => format!(
            "{topic}-{index}: empty, because the records of this partition are unknown; a \
             recovered topic may hold them"
        ),
    }
}
