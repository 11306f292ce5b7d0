//! Collects the broker's state for the console.

use std::net::UdpSocket;

use sedge_core::metadata::Topic;
use sedge_plugin::World;
use sedge_storage::Usage;

use crate::broker::Broker;
use crate::config::ListenerConfig;
use crate::console::{
    DiskStatus, FilterStatus, GroupStatus, Source, Status, StorageStatus, TopicStatus,
};
use crate::limits::UNREADY_NAMED_MAX;
use crate::upkeep::disk_cap;

/// Partitions whose sizes are looked up for one answer: a page is not worth more reads.
const PARTITIONS_MEASURED_MAX: u32 = 2_000;

impl Source for Broker {
    fn status(&self) -> Status {
        let usage = self.log.store.usage();
        self.net.measure(&self.metrics);
        self.metrics.fsyncs.set(usage.syncs);
        self.metrics.view_flushes.set(usage.view_flushes);
        let mut measured = 0;
        let image = self.log.metadata.load();
        let topics = image.topics().map(|topic| {
            measured += topic.partition_count() as u32;
            self.topic_status(topic, measured <= PARTITIONS_MEASURED_MAX)
        });
        Status {
            node_id: self.config.node_id,
            cluster_id: self.cluster_id.clone(),
            listeners: self.config.listeners.iter().map(reachable).collect(),
            data: self.config.data.display().to_string(),
            topics: topics.collect(),
            groups: self.group_statuses(),
            storage: StorageStatus {
                disk_bytes: usage.disk_bytes,
                live_bytes: usage.live_bytes,
                segments: usage.segments,
                free_bytes: usage.volume_free_bytes.unwrap_or(0),
                written_bytes: usage.log_bytes_written + usage.view_bytes_written,
                payload_bytes: usage.payload_bytes_written,
                disk: self.disk_status(&usage),
                damaged_places: self.log.store.damaged().len() as u64,
                degraded: self.degraded(usage.degraded),
            },
        }
    }

    fn ready(&self) -> Result<(), String> {
        // The console only answers once the log is open and the listeners are bound.
        match self.log.storage.refusing() {
            Some(what) => Err(format!("{what}: produce is refused, reads continue")),
            None => Ok(()),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::from_iter(self.config.notice.clone());
        if self.metrics.metadata_damaged.get() > 0 {
            let what = "__cluster_metadata is damaged on disk, and a new snapshot is being \
                        written: if the broker stops before that, the next start needs \
                        `sedge doctor --repair metadata`";
            warnings.push(what.to_owned());
        }
        let unready = self.plugins.unready(&self.log.metadata.load());
        let more = unready.len().saturating_sub(UNREADY_NAMED_MAX);
        let named = unready.iter().take(UNREADY_NAMED_MAX);
        warnings.extend(named.map(ToString::to_string));
        if more > 0 {
            warnings.push(format!("and {more} more"));
        }
        warnings
    }
}

/// Returns an address that clients can use, replacing a wildcard. The network's own address is
/// found from the route that a packet would take; none is sent.
fn reachable(listener: &ListenerConfig) -> String {
    if let Some(advertised) = &listener.advertised {
        return advertised.to_string();
    }
    if !listener.address.is_wildcard() {
        return listener.address.to_string();
    }
    let port = listener.address.port;
    let outward = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        // RFC 5737: an address that is never assigned.
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    };
    match outward() {
        Ok(address) => format!(
            "{}:{port}, or any other address of this machine",
            address.ip()
        ),
        Err(_) => format!("any address of this machine, port {port}"),
    }
}

impl Broker {
    fn disk_status(&self, usage: &Usage) -> DiskStatus {
        let books = self.logbook.enter(&self.log.clock, &*self.log.store);
        let produced = usage.payload_bytes_written;
        DiskStatus {
            used_bytes: disk_cap::used_bytes(usage),
            cap_bytes: disk_cap::cap_bytes(usage, &self.config.disk),
            segments_recycled: usage.segments_recycled,
            written_bytes: books.wear.written_bytes,
            day_bytes: books.wear.day_bytes,
            budget_bytes: books.budget_bytes,
            years_left: books.years_left,
            written_per_produced: (produced > 0)
                .then(|| books.written_here_bytes as f64 / produced as f64),
        }
    }

    fn topic_status(&self, topic: &Topic, measure: bool) -> TopicStatus {
        let mut status = TopicStatus {
            name: topic.name.clone(),
            internal: topic.is_internal,
            partitions: topic.partition_count() as u32,
            min_insync_replicas: topic.config.min_insync_replicas(),
            filters: self.filter_statuses(topic),
            ..TopicStatus::default()
        };
        // Asks the store, so that showing partitions does not add them to the table of those in
        // use.
        for partition in topic.partitions().filter(|_| measure) {
            if let Ok(bounds) = self.log.store.bounds(partition) {
                let records = bounds.next_offset.get() - bounds.log_start.get();
                status.records += records.max(0) as u64;
            }
            status.bytes += self.log.store.partition_bytes(partition).unwrap_or(0);
        }
        status
    }

    fn filter_statuses(&self, topic: &Topic) -> Vec<FilterStatus> {
        let filters = topic.config.all_filters();
        let status = filters.map(|name| {
            let standing = self.plugins.standing(name, World::RecordFilter);
            FilterStatus {
                name: name.clone(),
                unready: (!standing.is_ready()).then(|| standing.to_string()),
            }
        });
        status.collect()
    }

    fn group_statuses(&self) -> Vec<GroupStatus> {
        let listed = self.groups.with(|machine| machine.list(&[], &[]));
        let status = listed.into_iter().map(|group| GroupStatus {
            name: group.group_id,
            kind: group.group_type,
            state: group.state.to_owned(),
            members: group.members,
        });
        status.collect()
    }

    fn degraded(&self, views: bool) -> Option<String> {
        if let Some(what) = self.log.storage.refusing() {
            return Some(format!("{what}: produce is refused, reads continue"));
        }
        let what = "the views cannot be written; nothing is lost, and the broker's log says why";
        views.then(|| what.to_owned())
    }
}
