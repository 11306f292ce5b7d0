//! The background scrub: paces [`LogStore::scrub`](sedge_storage::LogStore::scrub) and reports what
//! it finds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_io::Timer;
use log::{error, info, warn};
use sedge_core::metadata::snapshot::SNAPSHOT_PARTITIONS;
use sedge_core::metadata::{Facts, Image, METADATA_PARTITION, Salvage, Topic};
use sedge_protocol::ids::{NodeId, Offset, PartitionId};
use sedge_protocol::metadata_records::MetadataRecord;
use sedge_storage::{Damaged, LostRange, ScrubCursor, Scrubbed};

use crate::config::Scrub;
use crate::limits::{ORPHANS_TOLD, SCRUB_REST_CHECK, SCRUB_STEP_BYTES};
use crate::log::Log;
use crate::metadata::log as metadata_log;
use crate::process::random::random_uuid;

/// Runs until the task is dropped.
pub async fn run(log: Arc<Log>, settings: Scrub, node_id: NodeId) {
    if settings.bytes_per_second == 0 {
        return;
    }
    tell_known(&log);
    let mut cursor = ScrubCursor::somewhere(fastrand::u64(..));
    // The first round begins at a random segment, so only the second one reads all of the log.
    let mut is_first_round = true;
    let every = Duration::from_millis(settings.interval_ms);
    let mut round_began = Instant::now();
    let mut is_failing = false;
    loop {
        let step = SCRUB_STEP_BYTES.min(settings.bytes_per_second);
        let store = Arc::clone(&log.store);
        let (back, result) = blocking::unblock(move || {
            let result = store.scrub(&mut cursor, step);
            (cursor, result)
        })
        .await;
        cursor = back;
        let mut pause = pause_after(step, settings.bytes_per_second);
        match result {
            Ok(done) => {
                is_failing = false;
                tell(&log, node_id, &done);
                pause = pause_after(done.bytes, settings.bytes_per_second);
                if done.is_done && !cursor.is_resting {
                    if is_first_round {
                        round_began = Instant::now();
                    } else {
                        log.metrics.scrub_rounds.increment();
                        cursor.is_resting = true;
                    }
                    is_first_round = false;
                }
            }
            Err(failure) => {
                log.metrics.scrub_failures.increment();
                if !is_failing {
                    error!(target: "sedge::scrub", "a segment cannot be read: {failure}");
                }
                is_failing = true;
                cursor.skip_segment();
            }
        }
        if cursor.is_resting {
            if round_began.elapsed() >= every {
                cursor.is_resting = false;
                round_began = Instant::now();
            } else {
                pause = pause.max(SCRUB_REST_CHECK.min(every));
            }
        }
        Timer::after(pause).await;
    }
}

fn pause_after(bytes: u64, bytes_per_second: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64)
}

/// Reports damage that was found before this start.
fn tell_known(log: &Log) {
    let known = log.store.damaged();
    if !known.is_empty() {
        warn!(
            target: "sedge::scrub",
            "the log has {} places that are known to be damaged: reads pass over them; \
             `sedge doctor` names them",
            known.len()
        );
    }
}

fn tell(log: &Log, node_id: NodeId, done: &Scrubbed) {
    log.metrics.scrub_bytes.add(done.bytes);
    for damaged in &done.damaged {
        tell_damaged(log, node_id, damaged);
    }
}

fn tell_damaged(log: &Log, node_id: NodeId, damaged: &Damaged) {
    let (segment, at) = (damaged.segment.0, damaged.position);
    let bytes = damaged.bytes();
    if damaged.lost.is_empty() {
        error!(
            target: "sedge::scrub",
            "segment {segment} is damaged at {at}, {bytes} bytes that belong to no partition; \
             `sedge doctor` says what can be repaired"
        );
    }
    for lost in &damaged.lost {
        log.metrics.scrub_lost_ranges.increment();
        if lost.partition == METADATA_PARTITION {
            tell_metadata(log, node_id, lost, (segment, at));
            continue;
        }
        if SNAPSHOT_PARTITIONS.contains(&lost.partition) {
            tell_snapshot(log, lost, (segment, at));
            continue;
        }
        let last = lost.next_offset.plus(-1);
        error!(
            target: "sedge::scrub",
            "{}: offsets {} to {last} are damaged on disk ({}): reads pass over them",
            name(log, lost.partition),
            lost.base_offset,
            match segment {
                0 => "their segment is missing".to_owned(),
                _ => format!("segment {segment} at {at}, {bytes} bytes"),
            }
        );
    }
    info!(target: "sedge::scrub", "the rest of segment {segment} is still served");
}

/// Reports damage to a snapshot: the next start uses the other copy, and soon there are two again.
fn tell_snapshot(log: &Log, lost: &LostRange, (segment, at): (u64, u64)) {
    log.metrics.metadata_damaged.add(1);
    error!(
        target: "sedge::scrub",
        "{} is damaged on disk (segment {segment} at {at}): a new snapshot is being written",
        name(log, lost.partition)
    );
    log.metadata_growth.damaged();
}

/// Reports damage to the metadata. The broker continues from memory and writes all of it again;
/// until then the next start would fail.
fn tell_metadata(log: &Log, node_id: NodeId, lost: &LostRange, (segment, at): (u64, u64)) {
    log.metrics.metadata_damaged.add(1);
    let what = match only_in_memory(log, node_id) {
        Ok(topics) if topics.is_empty() => "no topic is lost with them".to_owned(),
        Ok(topics) => {
            let more = topics.len().saturating_sub(ORPHANS_TOLD);
            let first: Vec<String> = topics.into_iter().take(ORPHANS_TOLD).collect();
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("only in memory now: {}{more}", first.join(", "))
        }
        Err(failure) => format!("which topics are lost is unknown: {failure}"),
    };
    error!(
        target: "sedge::scrub",
        "__cluster_metadata: offsets {} to {} are damaged on disk (segment {segment} at {at}): \
         {what}; the broker continues from memory and writes a new snapshot: if it stops before \
         that, the next start needs `sedge doctor --repair metadata`",
        lost.base_offset,
        lost.next_offset.plus(-1)
    );
    log.metadata_growth.damaged();
}

/// Returns topics that the metadata on disk lacks or has in another form.
fn only_in_memory(log: &Log, node_id: NodeId) -> Result<Vec<String>, sedge_storage::Error> {
    let mut salvage = Salvage::new(node_id);
    let store = &*log.store;
    for id in SNAPSHOT_PARTITIONS.into_iter().chain([METADATA_PARTITION]) {
        metadata_log::for_each_record(store, id, Offset::ZERO, |_, key, value| {
            let record = value.filter(|_| key.is_none()).map(MetadataRecord::decode);
            if let Some(Ok(record)) = record {
                salvage.take(&record);
            }
            Ok::<_, sedge_storage::Error>(())
        })?;
    }
    let image = log.metadata.load();
    let defaults = image.defaults().clone();
    let left = salvage.finish(&Facts::default(), defaults, random_uuid);
    let is_there = |topic: &Topic| {
        let left = left.machine.image().topic_by_id(topic.id);
        left.is_some_and(|left| {
            left.name == topic.name
                && left.overrides == topic.overrides
                && left.partitions().eq(topic.partitions())
        })
    };
    let topics = image.topics().filter(|topic| !is_there(topic));
    Ok(topics.map(|topic| topic.name.clone()).collect())
}

fn name(log: &Log, id: PartitionId) -> String {
    name_in(&log.metadata.load(), id)
}

/// Returns `TOPIC-INDEX`, or the partition's number if no topic has it.
pub fn name_in(image: &Image, id: PartitionId) -> String {
    if id == METADATA_PARTITION {
        return "__cluster_metadata".to_owned();
    }
    if let Some(copy) = SNAPSHOT_PARTITIONS.iter().position(|of| *of == id) {
        return format!("copy {} of the snapshot of __cluster_metadata", copy + 1);
    }
    let found = image.topics().find_map(|topic| {
        let index = topic.partitions().position(|of| of == id)?;
        Some(format!("{}-{index}", topic.name))
    });
    found.unwrap_or_else(|| format!("partition {id}"))
}
