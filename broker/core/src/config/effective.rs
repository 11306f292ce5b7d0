//! The effective configuration of one topic.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;

use sedge_protocol::records::Compression;

use super::ConfigType::List;
use super::filters::{Filters, OnPluginError, partitions};
use super::recompression::Recompression;
use super::topic::{
    DEAD_LETTER_KEY, FETCH_FILTER_KEY, FILTER_KEY, FILTER_ROUTES_KEY, MIRROR_SOURCE_KEY,
    PARTITIONER_KEY, PLUGIN_PREFIX,
};

/// The order in which topics lose records if all topics together exceed the disk cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetentionPriority {
    /// First.
    Low,
    /// `normal`: next, records that are already upstream before others.
    #[default]
    Unmarked,
    /// After the other topics, except for records that are already upstream.
    High,
    /// Never.
    Keep,
}

/// The durability that a topic requires before a batch is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    #[default]
    AsTheBroker,
    Sync,
    Interval,
}

/// The effective configuration of one topic. Small, because there may be a hundred thousand.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    retention_ms: i64,
    retention_bytes: i64,
    delete_retention_ms: i64,
    min_compaction_lag_ms: i64,
    max_compaction_lag_ms: i64,
    timestamp_before_max_ms: i64,
    timestamp_after_max_ms: i64,
    min_cleanable_ratio: f64,
    max_message_bytes: i32,
    flush_ms: i64,
    durability: Durability,
    is_flushed_each_message: bool,
    is_compacted: bool,
    is_deleted: bool,
    is_log_append_time: bool,
    trusts_compressed: bool,
    retention_priority: RetentionPriority,
    on_partitioner_error: OnPluginError,
    filters: Option<Box<Filters>>,
    fetch_filters: Option<Box<Filters>>,
    partitioner: Option<String>,
    is_mirrored: bool,
    min_insync_replicas: i32,
    recompression: Recompression,
    /// Keys of the form `NAME.KEY`, with their values.
    plugins: BTreeMap<String, String>,
}

impl TopicConfig {
    /// The configuration before any setting or default is applied.
    pub(super) const fn blank() -> Self {
        Self {
            retention_ms: 0,
            retention_bytes: 0,
            delete_retention_ms: 0,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: 0,
            timestamp_before_max_ms: 0,
            timestamp_after_max_ms: 0,
            min_cleanable_ratio: 0.0,
            max_message_bytes: 0,
            flush_ms: i64::MAX,
            durability: Durability::AsTheBroker,
            is_flushed_each_message: false,
            is_compacted: false,
            is_deleted: false,
            is_log_append_time: false,
            trusts_compressed: false,
            retention_priority: RetentionPriority::Unmarked,
            on_partitioner_error: OnPluginError::FailClosed,
            filters: None,
            fetch_filters: None,
            partitioner: None,
            is_mirrored: false,
            min_insync_replicas: 1,
            recompression: Recompression::NONE,
            plugins: BTreeMap::new(),
        }
    }

    /// Applies one setting. An invalid value is ignored: settings are checked when they are made,
    /// so another build must have written it.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        if let Some(setting) = name.strip_prefix(PLUGIN_PREFIX) {
            self.plugins.insert(setting.into(), value.into());
            return;
        }
        // The check of a value ignores the spaces around it.
        let value = value.trim();
        match name {
            "retention.ms" => number(&mut self.retention_ms, value),
            "retention.bytes" => number(&mut self.retention_bytes, value),
            "delete.retention.ms" => number(&mut self.delete_retention_ms, value),
            "min.compaction.lag.ms" => number(&mut self.min_compaction_lag_ms, value),
            "max.compaction.lag.ms" => number(&mut self.max_compaction_lag_ms, value),
            "message.timestamp.before.max.ms" => number(&mut self.timestamp_before_max_ms, value),
            "message.timestamp.after.max.ms" => number(&mut self.timestamp_after_max_ms, value),
            "min.cleanable.dirty.ratio" => number(&mut self.min_cleanable_ratio, value),
            "flush.ms" => number(&mut self.flush_ms, value),
            "max.message.bytes" => number(&mut self.max_message_bytes, value),
            "message.timestamp.type" => self.is_log_append_time = value == "LogAppendTime",
            "flush.messages" => self.is_flushed_each_message = value == "1",
            "cleanup.policy" => {
                self.is_compacted = super::parts(List, value).any(|part| part == "compact");
                self.is_deleted = super::parts(List, value).any(|part| part == "delete");
            }
            "sedge.durability" => {
                self.durability = match value {
                    "sync" => Durability::Sync,
                    "interval" => Durability::Interval,
                    _ => Durability::AsTheBroker,
                };
            }
            "sedge.produce.validation" => self.trusts_compressed = value == "relaxed",
            "sedge.retention.priority" => {
                self.retention_priority = match value {
                    "low" => RetentionPriority::Low,
                    "high" => RetentionPriority::High,
                    "keep" => RetentionPriority::Keep,
                    _ => RetentionPriority::Unmarked,
                };
            }
            FETCH_FILTER_KEY
            | "sedge.filter.fetch.on.error"
            | "sedge.filter.fetch.partitions"
            | "sedge.filter.fetch.principals" => set_filter(&mut self.fetch_filters, name, value),
            FILTER_KEY
            | FILTER_ROUTES_KEY
            | DEAD_LETTER_KEY
            | "sedge.filter.on.error"
            | "sedge.filter.partitions" => {
                set_filter(&mut self.filters, name, value);
            }
            "min.insync.replicas" => number(&mut self.min_insync_replicas, value),
            name if name.starts_with("compression.") => self.recompression.set(name, value),
            MIRROR_SOURCE_KEY => self.is_mirrored = !value.is_empty(),
            PARTITIONER_KEY => {
                self.partitioner = Some(value).filter(|name| !name.is_empty()).map(Into::into);
            }
            "sedge.partitioner.on.error" => {
                self.on_partitioner_error = OnPluginError::parse(value);
            }
            _ => {}
        }
    }

    /// Returns `retention.ms`; `None` means for ever.
    #[must_use]
    pub fn retention_ms(&self) -> Option<i64> {
        (self.retention_ms >= 0).then_some(self.retention_ms)
    }

    /// Returns `retention.bytes`; `None` means no limit.
    #[must_use]
    pub fn retention_bytes(&self) -> Option<i64> {
        (self.retention_bytes >= 0).then_some(self.retention_bytes)
    }

    #[must_use]
    pub const fn delete_retention_ms(&self) -> i64 {
        self.delete_retention_ms
    }

    #[must_use]
    pub const fn min_compaction_lag_ms(&self) -> i64 {
        self.min_compaction_lag_ms
    }

    #[must_use]
    pub const fn max_compaction_lag_ms(&self) -> i64 {
        self.max_compaction_lag_ms
    }

    #[must_use]
    pub const fn min_cleanable_ratio(&self) -> f64 {
        self.min_cleanable_ratio
    }

    #[must_use]
    pub const fn timestamp_before_max_ms(&self) -> i64 {
        self.timestamp_before_max_ms
    }

    #[must_use]
    pub const fn timestamp_after_max_ms(&self) -> i64 {
        self.timestamp_after_max_ms
    }

    /// Returns the longest time between two flushes of the topic, with interval durability.
    #[must_use]
    pub const fn flush_ms(&self) -> i64 {
        self.flush_ms
    }

    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        usize::try_from(self.max_message_bytes).unwrap_or(0)
    }

    #[must_use]
    pub const fn is_compacted(&self) -> bool {
        self.is_compacted
    }

    /// Returns whether retention deletes old records; a topic that is only compacted keeps them.
    #[must_use]
    pub const fn is_deleted_by_retention(&self) -> bool {
        self.is_deleted
    }

    #[must_use]
    pub const fn retention_priority(&self) -> RetentionPriority {
        self.retention_priority
    }

    #[must_use]
    pub const fn is_log_append_time(&self) -> bool {
        self.is_log_append_time
    }

    /// Returns whether a pull link writes the topic, and clients may not.
    #[must_use]
    pub const fn is_mirrored(&self) -> bool {
        self.is_mirrored
    }

    /// Returns the in-sync replicas below which Kafka would refuse a produce.
    #[must_use]
    pub const fn min_insync_replicas(&self) -> i32 {
        self.min_insync_replicas
    }

    /// Returns the codec of stored batches with its level; `None` if batches stay as the producer
    /// compressed them.
    #[must_use]
    pub const fn recompression(&self) -> Option<(Compression, Option<i32>)> {
        self.recompression.wanted()
    }

    /// Returns whether compressed batches are accepted without opening them.
    #[must_use]
    pub const fn trusts_compressed(&self) -> bool {
        self.trusts_compressed
    }

    /// Returns whether a batch must be on flash before it is acknowledged; `None` if the broker's
    /// setting applies.
    #[must_use]
    pub const fn is_sync(&self) -> Option<bool> {
        match self.durability {
            _ if self.is_flushed_each_message => Some(true),
            Durability::AsTheBroker => None,
            Durability::Sync => Some(true),
            Durability::Interval => Some(false),
        }
    }

    /// Returns whether batches that are produced to a partition are filtered.
    #[must_use]
    pub fn filters_writes_to(&self, partition: i32) -> bool {
        let filters = self.filters.as_ref();
        filters.is_some_and(|filters| filters.apply_to(partition))
    }

    /// Returns the names of the filter plugins, in the order in which they run.
    #[must_use]
    pub fn filters(&self) -> &[String] {
        let filters = self.filters.as_ref();
        filters.map_or(&[], |filters| &filters.names)
    }

    /// Returns the topic for batches that a filter failed on; `None` for the default.
    #[must_use]
    pub fn dead_letter_topic(&self) -> Option<&str> {
        let name = self
            .filters
            .as_ref()
            .map(|filters| &*filters.dead_letter_topic);
        name.filter(|name| !name.is_empty())
    }

    /// Returns the topics that the filters may route records to.
    #[must_use]
    pub fn filter_routes(&self) -> &[String] {
        let filters = self.filters.as_ref();
        filters.map_or(&[], |filters| &filters.routes)
    }

    #[must_use]
    pub fn on_filter_error(&self) -> OnPluginError {
        let filters = self.filters.as_ref();
        filters.map_or(OnPluginError::FailClosed, |filters| filters.on_error)
    }

    /// Returns the names of the filter plugins of what consumers read, in the order in which they
    /// run.
    #[must_use]
    pub fn fetch_filters(&self) -> &[String] {
        let filters = self.fetch_filters.as_ref();
        filters.map_or(&[], |filters| &filters.names)
    }

    /// Returns whether what this principal reads of a partition is filtered.
    #[must_use]
    pub fn filters_reads(&self, principal: &str, partition: i32) -> bool {
        self.fetch_filters.as_ref().is_some_and(|filters| {
            filters.apply_to(partition) && filters.apply_to_reads_of(principal)
        })
    }

    #[must_use]
    pub fn on_fetch_filter_error(&self) -> OnPluginError {
        let filters = self.fetch_filters.as_ref();
        filters.map_or(OnPluginError::FailClosed, |filters| filters.on_error)
    }

    /// Returns the names of all filter plugins, each once.
    pub fn all_filters(&self) -> impl Iterator<Item = &String> {
        let others = self.fetch_filters().iter();
        let others = others.filter(|name| !self.filters().contains(name));
        self.filters().iter().chain(others)
    }

    /// Returns the name of the partitioner.
    #[must_use]
    pub fn partitioner(&self) -> Option<&str> {
        self.partitioner.as_deref()
    }

    #[must_use]
    pub const fn on_partitioner_error(&self) -> OnPluginError {
        self.on_partitioner_error
    }

    /// Returns the settings of one plugin, from `sedge.plugin.NAME.KEY`, as key and value.
    pub fn plugin_settings<'a>(
        &'a self,
        plugin: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.plugins.iter().filter_map(move |(name, value)| {
            let key = name.strip_prefix(plugin)?.strip_prefix('.')?;
            Some((key, value.as_str()))
        })
    }
}

/// Applies a setting of the filters of a stage. Topics without any need no memory for them.
fn set_filter(all: &mut Option<Box<Filters>>, name: &str, value: &str) {
    let mut filters = all.take().unwrap_or_default();
    let list = || super::parts(List, value).map(Into::into).collect();
    if name == DEAD_LETTER_KEY {
        value.clone_into(&mut filters.dead_letter_topic);
    } else if name.ends_with(".on.error") {
        filters.on_error = OnPluginError::parse(value);
    } else if name.ends_with(".partitions") {
        filters.partitions = partitions(value).unwrap_or_default();
    } else if name.ends_with(".routes") {
        filters.routes = list();
    } else if name.ends_with(".principals") {
        filters.principals = list();
    } else {
        filters.names = list();
    }
    *all = (*filters != Filters::default()).then_some(filters);
}

fn number<T: core::str::FromStr>(field: &mut T, value: &str) {
    if let Ok(number) = value.parse() {
        *field = number;
    }
}
