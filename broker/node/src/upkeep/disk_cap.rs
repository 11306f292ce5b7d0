//! The device-wide disk cap: `sedge.disk.max.bytes` over all topics, and the room that the volume
//! has left, which others use too.
//!
//! Checked every second while something is written, when a segment is begun and when a request
//! finds no room, so that the cap holds between two rounds of retention. While no room is needed,
//! other users of the volume cause no deletion. [`sedge_core::disk_cap`] decides what is deleted
//! first; this module provides the figures, and the offsets that links have already copied. Every
//! deletion is logged and counted.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use async_io::Timer;
use event_listener::EventListener;
use futures_lite::future;
use log::{info, warn};
use sedge_core::disk_cap::{Cap, CapPlan, CapSlice, Class, Dropped, Limit, Room};
use sedge_core::metadata::Topic;
use sedge_core::offsets::Offsets;
use sedge_protocol::ids::{Offset, PartitionId, PartitionIndex};
use sedge_storage::Usage;

use crate::config::{Disk, LinkConfig};
use crate::coordinator::Groups;
use crate::limits::{
    DISK_CAP_CHECK_EVERY, DISK_CAP_DEFAULT_PERCENT, DISK_CAP_IDLE_CHECKS, DISK_CAP_KEPT_SHARE,
    DISK_CAP_PAUSE, DISK_CAP_SEGMENTS_MIN, DISK_CAP_VOLUME_SEGMENTS_MIN,
};
use crate::log::Log;
use crate::mirror::{LinkTopics, Origin};
use crate::writer::Writer;

/// The inputs of the cap's decisions.
pub struct DiskCap {
    log: Arc<Log>,
    groups: Arc<Groups>,
    disk: Disk,
    in_file: Vec<LinkConfig>,
}

impl fmt::Debug for DiskCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskCap").finish_non_exhaustive()
    }
}

impl DiskCap {
    pub fn new(log: Arc<Log>, groups: Arc<Groups>, disk: &Disk, links: &[LinkConfig]) -> Self {
        Self {
            log,
            groups,
            disk: disk.clone(),
            in_file: links.to_vec(),
        }
    }
}

/// Runs until the task is dropped.
pub async fn run(cap: DiskCap, writer: Writer) {
    let cap = Arc::new(cap);
    let log = &cap.log;
    let (mut commits, mut idle) = (0, 0);
    let mut wanted = log.storage.wanted.listen();
    loop {
        let is_wanted = wait(wanted).await;
        wanted = log.storage.wanted.listen();
        let written = log.metrics.commits.get();
        let is_idle = written == commits && !is_wanted;
        idle = if is_idle { idle + 1 } else { 0 };
        commits = written;
        if idle % DISK_CAP_IDLE_CHECKS != 0 {
            continue;
        }
        let planning = Arc::clone(&cap);
        let (dropped, limit) = blocking::unblock(move || plan(&planning, is_idle)).await;
        if dropped.is_empty() {
            continue;
        }
        let log_starts = dropped.iter().map(|of| (of.partition, of.next_offset));
        match writer.retain(log, log_starts.collect()).await {
            Ok(count) => tell(log, dropped.get(..count).unwrap_or_default(), limit),
            Err(_) => return,
        }
    }
}

/// Waits until the next check, which is soon if room is wanted. Returns whether it is.
async fn wait(wanted: EventListener) -> bool {
    Timer::after(DISK_CAP_PAUSE).await;
    let wanted = async {
        wanted.await;
        true
    };
    let over = async {
        Timer::after(DISK_CAP_CHECK_EVERY).await;
        false
    };
    future::or(wanted, over).await
}

/// Returns the bytes that the data directory may use now; `None` without a cap.
pub fn cap_bytes(usage: &Usage, disk: &Disk) -> Option<u64> {
    Some(room(usage, disk)?.cap_bytes())
}

/// Returns the bytes that the data directory uses.
pub const fn used_bytes(usage: &Usage) -> u64 {
    usage.disk_bytes + usage.spare_bytes + usage.view_disk_bytes
}

/// Returns whether the next segment would exceed the cap, or hardly fits the volume, unless space
/// is freed.
pub fn is_room_short(usage: &Usage, disk: &Disk) -> bool {
    let is_volume_full = usage
        .volume_free_bytes
        .is_some_and(|free| free < usage.segment_bytes * DISK_CAP_SEGMENTS_MIN);
    is_volume_full || room(usage, disk).is_some_and(|room| room.is_short())
}

/// Returns `None` without a cap.
fn room(usage: &Usage, disk: &Disk) -> Option<Room> {
    let cap_bytes = match disk.max_bytes {
        Some(max) => u64::try_from(max).ok()?,
        None => usage.volume_bytes? / 100 * DISK_CAP_DEFAULT_PERCENT,
    };
    let segments = |count| usage.view_disk_bytes + count * usage.segment_bytes;
    Some(Room {
        // Spare files give way to records.
        used_bytes: usage.disk_bytes + usage.view_disk_bytes,
        cap: Cap {
            bytes: cap_bytes,
            floor_bytes: segments(DISK_CAP_SEGMENTS_MIN),
        },
        volume: volume_bytes(usage).map(|bytes| Cap {
            bytes,
            floor_bytes: segments(DISK_CAP_VOLUME_SEGMENTS_MIN),
        }),
        next_bytes: usage.segment_bytes,
        reclaimable_bytes: usage.reclaimable_bytes,
    })
}

/// Returns the bytes that the data directory can use of the volume, leaving some to others.
fn volume_bytes(usage: &Usage) -> Option<u64> {
    let most = DISK_CAP_SEGMENTS_MIN * usage.segment_bytes;
    let kept = most.min(usage.volume_bytes? / DISK_CAP_KEPT_SHARE);
    Some((used_bytes(usage) + usage.volume_free_bytes?).saturating_sub(kept))
}

/// Returns what to delete, and the bound that requires it. The volume's bound counts only while
/// room is wanted.
fn plan(cap: &DiskCap, is_idle: bool) -> (Vec<Dropped>, Limit) {
    let log = &cap.log;
    let usage = log.store.usage();
    let Some(mut room) = room(&usage, &cap.disk) else {
        return (Vec::new(), Limit::Cap);
    };
    if is_idle {
        room.volume = None;
    }
    let spare_bytes_max = room.cap_bytes().saturating_sub(room.used_bytes);
    if let Err(failure) = log.store.limit_spares(spare_bytes_max) {
        warn!(target: "sedge::retention", "spare segment files cannot be removed: {failure}");
    }
    let (excess, limit) = room.excess_bytes();
    if excess == 0 {
        return (Vec::new(), limit);
    }
    let image = log.metadata.load();
    let all = LinkTopics::all(&cap.in_file, image.group_configs());
    let mut plan = CapPlan::new(excess);
    for topic in image.topics().filter(|topic| may_go(topic)) {
        let links: Vec<&LinkTopics> = all.iter().filter(|link| link.takes(&topic.name)).collect();
        for (index, id) in topic.partitions().enumerate() {
            let Ok(slices) = log.store.slices(id) else {
                continue;
            };
            let slices = slices
                .iter()
                // The space of the active segment is not freed yet.
                .filter(|slice| Some(slice.segment) != usage.active_segment)
                .map(|slice| CapSlice {
                    first_offset: slice.first_offset,
                    next_offset: slice.next_offset,
                    bytes: slice.bytes,
                    append_ms: slice.append_ms,
                });
            let copied = cap
                .groups
                .with(|groups| copied(&links, groups.offsets(), topic, index as i32));
            plan.add(id, topic.config.retention_priority(), copied, slices);
        }
    }
    (plan.finish(), limit)
}

fn may_go(topic: &Topic) -> bool {
    !topic.is_internal && topic.config.is_deleted_by_retention()
}

/// Returns the offset up to which every link that copies the topic has it upstream, by its
/// committed cursor.
fn copied(links: &[&LinkTopics], offsets: &Offsets, topic: &Topic, index: i32) -> Option<Offset> {
    let cursor = |link: &&LinkTopics| {
        let saved = offsets.get(&link.group, &topic.name, topic.id, PartitionIndex(index))?;
        // The cursor may belong to an earlier topic of the same name.
        let is_same = Origin::read(&saved.metadata).is_of(topic.id);
        is_same.then_some(saved.offset)
    };
    let all: Option<Vec<Offset>> = links.iter().map(cursor).collect();
    all?.into_iter().min()
}

fn tell(log: &Log, dropped: &[Dropped], limit: Limit) {
    let why = match limit {
        Limit::Cap => "the disk cap is reached",
        Limit::Volume => "the volume is short of room",
    };
    let image = log.metadata.load();
    let ids: HashSet<PartitionId> = dropped.iter().map(|of| of.partition).collect();
    let mut names = HashMap::new();
    for topic in image.topics() {
        let of_topic = topic.partitions().enumerate();
        let wanted = of_topic.filter(|(_, id)| ids.contains(id));
        names.extend(wanted.map(|(index, id)| (id, format!("{}-{index}", topic.name))));
    }
    for of in dropped {
        let name = names.get(&of.partition).map_or("?", String::as_str);
        let (first, next, bytes) = (of.first_offset, of.next_offset, of.bytes);
        let what = format!("{name}: offsets {first} to {next} are deleted, {bytes} bytes: {why}");
        match of.class {
            Class::Copied => info!(target: "sedge::retention", "{what}; the upstream has them"),
            _ => warn!(target: "sedge::retention", "{what}"),
        }
        log.metrics.retention.cap(of);
    }
}
