//! `/metrics`: counters, and gauges of the current state.

use std::collections::BTreeMap;

use super::limits;
use super::status::{FilterStatus, Status, TopicStatus};
use crate::metrics::{Exposition, Metrics};

pub fn render(status: &Status, metrics: &Metrics) -> String {
    let mut out = Exposition::default();
    metrics.expose(&mut out);
    storage(status, &mut out);
    topics(status, &mut out);
    filters(status, &mut out);
    groups(status, &mut out);
    out.finish()
}

fn storage(status: &Status, out: &mut Exposition) {
    let storage = &status.storage;
    out.gauge(
        "sedge_storage_disk_bytes",
        "Bytes of the segment files.",
        storage.disk_bytes,
    );
    out.gauge(
        "sedge_storage_live_bytes",
        "Bytes of the segment files that are live.",
        storage.live_bytes,
    );
    out.gauge("sedge_storage_segments", "Segment files.", storage.segments);
    out.gauge(
        "sedge_storage_free_bytes",
        "Bytes free on the volume.",
        storage.free_bytes,
    );
    out.counter(
        "sedge_storage_written_bytes_total",
        "Bytes written to flash: payload, frames and views.",
        storage.written_bytes,
    );
    out.counter(
        "sedge_storage_payload_bytes_total",
        "Bytes of record batches written to flash.",
        storage.payload_bytes,
    );
    storage.disk.expose(out);
    out.gauge(
        "sedge_storage_damaged_places",
        "Damaged places of the log that reads pass over.",
        storage.damaged_places,
    );
    out.gauge(
        "sedge_storage_degraded",
        "1 while produce is refused or the views cannot be written.",
        u8::from(storage.degraded.is_some()),
    );
}

fn topics(status: &Status, out: &mut Exposition) {
    out.gauge("sedge_topics", "Topics.", status.topics.len());
    let partitions: u64 = status
        .topics
        .iter()
        .map(|topic| u64::from(topic.partitions))
        .sum();
    out.gauge("sedge_partitions", "Partitions.", partitions);
    // Each partition has one replica, which is in sync.
    let with_min_isr = |wanted: std::cmp::Ordering| -> u64 {
        let topics = status.topics.iter();
        let topics = topics.filter(|topic| topic.min_insync_replicas.cmp(&1) == wanted);
        topics.map(|topic| u64::from(topic.partitions)).sum()
    };
    out.gauge(
        "sedge_partitions_under_min_isr",
        "Partitions with fewer replicas than min.insync.replicas (Kafka: UnderMinIsrPartitionCount).",
        with_min_isr(std::cmp::Ordering::Greater),
    );
    out.gauge(
        "sedge_partitions_at_min_isr",
        "Partitions with as many replicas as min.insync.replicas (Kafka: AtMinIsrPartitionCount).",
        with_min_isr(std::cmp::Ordering::Equal),
    );
    let shown = || status.topics.iter().take(limits::METRIC_TOPICS_MAX);
    out.family(
        "sedge_topic_bytes",
        "gauge",
        "Bytes in the log by topic; the first 200 topics.",
    );
    for topic in shown() {
        out.sample("sedge_topic_bytes", &[("topic", &topic.name)], topic.bytes);
    }
    out.family(
        "sedge_topic_records",
        "gauge",
        "Offsets in the log by topic; the first 200 topics.",
    );
    for topic in shown() {
        out.sample(
            "sedge_topic_records",
            &[("topic", &topic.name)],
            topic.records,
        );
    }
}

/// Writes topics with filters; filters that cannot run come first, whatever their topic.
fn filters(status: &Status, out: &mut Exposition) {
    let all = || {
        let topics = status.topics.iter();
        topics.flat_map(|topic| topic.filters.iter().map(move |filter| (topic, filter)))
    };
    let is_ready = |(_, filter): &(&TopicStatus, &FilterStatus)| filter.unready.is_none();
    let unready = all().filter(|bound| !is_ready(bound));
    let shown = unready.chain(all().filter(is_ready));
    let family = "sedge_topic_filter_ready";
    let help = "1 if a filter of a topic can run, 0 if it cannot; the first 200 filters.";
    out.family(family, "gauge", help);
    for (topic, filter) in shown.take(limits::METRIC_TOPICS_MAX) {
        let labels = [("topic", &*topic.name), ("filter", &*filter.name)];
        out.sample(family, &labels, u8::from(filter.unready.is_none()));
    }
}

fn groups(status: &Status, out: &mut Exposition) {
    let mut kinds = BTreeMap::<(&str, &str), usize>::new();
    for group in &status.groups {
        *kinds.entry((group.kind, &group.state)).or_default() += 1;
    }
    out.family("sedge_groups", "gauge", "Groups by type and state.");
    for ((kind, state), groups) in &kinds {
        let labels = [("type", *kind), ("state", *state)];
        out.sample("sedge_groups", &labels, groups);
    }
    let members: usize = status.groups.iter().map(|group| group.members).sum();
    out.gauge("sedge_group_members", "Members of all groups.", members);
}
