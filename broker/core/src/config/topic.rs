//! The configuration keys of topics, and the effective configuration of one topic.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;

use super::ConfigType::{Boolean, Double, Int, List, Long, String as Text};
use super::Takes::{Anything, AtLeast, Between, OneOf, Partitions, Principals};
use super::filters::{Filters, OnPluginError, partitions};
use super::{ConfigKey, ConfigType, Takes};

/// Prefix of the keys that only a plugin understands: `sedge.plugin.NAME.KEY`.
pub const PLUGIN_PREFIX: &str = "sedge.plugin.";

/// The key that names the filters of a topic.
pub const FILTER_KEY: &str = "sedge.filter";

/// The key that names the filters of what consumers of a topic read.
pub const FETCH_FILTER_KEY: &str = "sedge.filter.fetch";

/// The key that says which pull link writes a topic, and from where.
pub const MIRROR_SOURCE_KEY: &str = "sedge.mirror.source";

/// The key with what a pull link has copied of the configuration upstream, as hashes.
pub const MIRROR_CONFIGS_KEY: &str = "sedge.mirror.configs";

/// The key that names the partitioner of a topic.
pub const PARTITIONER_KEY: &str = "sedge.partitioner";

/// The key that names the topics to which the filters of a topic may route records.
pub const FILTER_ROUTES_KEY: &str = "sedge.filter.routes";

/// The key that names the topic for batches that a filter of a topic failed on.
pub const DEAD_LETTER_KEY: &str = "sedge.filter.errors.deadletterqueue.topic.name";

/// The key that names the clusters from which a topic has records, by their ids.
pub const ORIGINS_KEY: &str = "sedge.mirror.origins";

/// Returns the clusters from which a topic with these settings has records.
pub fn origins(settings: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    let value = settings.get(ORIGINS_KEY).map_or("", String::as_str);
    super::parts(List, value)
}

/// Returns the names in a value of [`FILTER_KEY`], [`FETCH_FILTER_KEY`] or [`FILTER_ROUTES_KEY`].
pub fn filter_names(value: &str) -> impl Iterator<Item = &str> {
    super::parts(List, value)
}

const LONG_MAX: Option<&str> = Some("9223372036854775807");

const fn key(
    name: &'static str,
    kind: ConfigType,
    default: Option<&'static str>,
    takes: Takes,
    synonyms: &'static [&'static str],
    doc: &'static str,
) -> ConfigKey {
    ConfigKey {
        name,
        kind,
        default,
        takes,
        synonyms,
        is_dynamic: true,
        has_effect: true,
        doc,
    }
}

/// A key that is known, checked and shown, but has no effect here.
const fn idle(
    name: &'static str,
    kind: ConfigType,
    default: Option<&'static str>,
    takes: Takes,
    synonyms: &'static [&'static str],
    doc: &'static str,
) -> ConfigKey {
    let key = key(name, kind, default, takes, synonyms, doc);
    ConfigKey {
        has_effect: false,
        ..key
    }
}

/// All keys of topics, in the order of their names.
#[rustfmt::skip]
pub const TOPIC_KEYS: &[ConfigKey] = &[
    key("cleanup.policy", List, Some("delete"), OneOf(&["delete", "compact"]),
        &["log.cleanup.policy"],
        "delete: retention deletes old records; compact: the newest record of each key is kept"),
    idle("compression.gzip.level", Int, Some("-1"), Between(-1, 9), &["compression.gzip.level"],
        "Batches are stored as the producer compressed them"),
    idle("compression.lz4.level", Int, Some("9"), Between(1, 17), &["compression.lz4.level"],
        "Batches are stored as the producer compressed them"),
    idle("compression.type", Text, Some("producer"),
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        &["compression.type"],
        "Batches are stored as the producer compressed them"),
    idle("compression.zstd.level", Int, Some("3"), Between(-131_072, 22),
        &["compression.zstd.level"],
        "Batches are stored as the producer compressed them"),
    key("delete.retention.ms", Long, Some("86400000"), AtLeast(0),
        &["log.cleaner.delete.retention.ms"],
        "How long a tombstone (a record without a value) stays readable in a compacted topic"),
    idle("file.delete.delay.ms", Long, Some("60000"), AtLeast(0), &["log.segment.delete.delay.ms"],
        "A segment is freed as soon as nothing reads it any more"),
    key("flush.messages", Long, LONG_MAX, AtLeast(1), &["log.flush.interval.messages"],
        "1: each commit is flushed to flash before it is acknowledged, whatever durability says; \
         other values change nothing"),
    idle("flush.ms", Long, LONG_MAX, AtLeast(0), &["log.flush.interval.ms"],
        "The broker's flush.ms applies to all topics"),
    idle("follower.replication.throttled.replicas", List, Some(""), Anything, &[],
        "There are no followers"),
    idle("index.interval.bytes", Int, Some("4096"), AtLeast(0), &["log.index.interval.bytes"],
        "Segments have no index files"),
    idle("leader.replication.throttled.replicas", List, Some(""), Anything, &[],
        "There are no followers"),
    idle("local.retention.bytes", Long, Some("-2"), AtLeast(-2), &["log.local.retention.bytes"],
        "Tiered storage is not supported"),
    idle("local.retention.ms", Long, Some("-2"), AtLeast(-2), &["log.local.retention.ms"],
        "Tiered storage is not supported"),
    key("max.compaction.lag.ms", Long, LONG_MAX, AtLeast(1),
        &["log.cleaner.max.compaction.lag.ms"],
        "Longest time that a record stays uncompacted"),
    key("max.message.bytes", Int, Some("1048588"), AtLeast(0), &["message.max.bytes"],
        "Largest record batch, as the producer compressed it"),
    key("message.timestamp.after.max.ms", Long, Some("3600000"), AtLeast(0),
        &["log.message.timestamp.after.max.ms"],
        "How far a record's timestamp may be ahead of the broker's clock"),
    key("message.timestamp.before.max.ms", Long, LONG_MAX, AtLeast(0),
        &["log.message.timestamp.before.max.ms"],
        "How far a record's timestamp may be behind the broker's clock"),
    key("message.timestamp.type", Text, Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]),
        &["log.message.timestamp.type"],
        "CreateTime: a record keeps the producer's timestamp; LogAppendTime: the broker sets the \
         time of the append"),
    key("min.cleanable.dirty.ratio", Double, Some("0.5"), Between(0, 1),
        &["log.cleaner.min.cleanable.ratio"],
        "Dirty ratio: a partition is compacted when this share of its bytes was written since \
         its last compaction"),
    key("min.compaction.lag.ms", Long, Some("0"), AtLeast(0),
        &["log.cleaner.min.compaction.lag.ms"],
        "Shortest time that a record stays uncompacted"),
    idle("min.insync.replicas", Int, Some("1"), AtLeast(1), &["min.insync.replicas"],
        "Each partition has one replica"),
    idle("preallocate", Boolean, Some("false"), Anything, &["log.preallocate"],
        "Segments are always preallocated"),
    idle("remote.copy.disable", Boolean, Some("false"), Anything, &[],
        "Tiered storage is not supported"),
    idle("remote.log.copy.disable", Boolean, Some("false"), Anything, &[],
        "Tiered storage is not supported"),
    idle("remote.log.delete.on.disable", Boolean, Some("false"), Anything, &[],
        "Tiered storage is not supported"),
    idle("remote.storage.enable", Boolean, Some("false"), OneOf(&["false"]), &[],
        "Tiered storage is not supported"),
    key("retention.bytes", Long, Some("-1"), AtLeast(-1), &["log.retention.bytes"],
        "Size of a partition above which its oldest records are deleted; -1: no limit"),
    key("retention.ms", Long, Some("604800000"), AtLeast(-1),
        &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
        "Age at which records are deleted; -1: never"),
    key("sedge.durability", Text, Some("broker"), OneOf(&["broker", "sync", "interval"]), &[],
        "sync: a batch is flushed to flash before it is acknowledged; interval: the log is \
         flushed every flush.ms of the broker; broker: as the broker's durability says"),
    key(FILTER_KEY, List, Some(""), Anything, &[],
        "Filter plugins that each batch goes through before it is written, first to last"),
    key(DEAD_LETTER_KEY, Text, Some(""), Anything, &[],
        "Topic to which sedge.filter.on.error=quarantine writes the batches that a filter fails on; \
         created if it does not exist; empty: the name of the topic and .dlq"),
    key(FETCH_FILTER_KEY, List, Some(""), Anything, &[],
        "Filter plugins that each batch goes through when a consumer reads it, first to last; the \
         log stays as it is"),
    key("sedge.filter.fetch.on.error", Text, Some("fail-closed"),
        OneOf(&["fail-open", "fail-closed", "quarantine"]), &[],
        "If a filter fails while a consumer reads: fail-open sends the batch as it is; fail-closed \
         withholds it, and the consumer asks again; quarantine sends it as it is, and does not \
         call the filter again until it is deployed or bound anew"),
    key("sedge.filter.fetch.partitions", List, Some(""), Partitions, &[],
        "Partitions whose reads go through sedge.filter.fetch, such as 0,3-5; empty: all"),
    key("sedge.filter.fetch.principals", List, Some(""), Principals, &[],
        "Principals whose reads go through sedge.filter.fetch, such as User:alice; empty: all"),
    key("sedge.filter.on.error", Text, Some("fail-closed"),
        OneOf(&["fail-open", "fail-closed", "quarantine"]), &[],
        "If a filter fails: fail-open writes the batch as it came; fail-closed refuses it; \
         quarantine writes it to the dead-letter topic instead, with headers that say why, and the \
         producer gets a success"),
    key("sedge.filter.partitions", List, Some(""), Partitions, &[],
        "Partitions whose batches go through sedge.filter, such as 0,3-5; empty: all"),
    key(FILTER_ROUTES_KEY, List, Some(""), Anything, &[],
        "Topics that the plugins of sedge.filter may route records to, in the commit of the batch; \
         one that does not exist is created if auto.create.topics.enable allows it"),
    key(MIRROR_CONFIGS_KEY, Text, Some(""), Anything, &[],
        "What the pull link of the topic has copied of the configuration upstream, as hashes; the \
         link copies a key again when its value changes there"),
    key(ORIGINS_KEY, List, Some(""), Anything, &[],
        "Clusters, by id, from which mirror links brought records; links do not send the topic there"),
    key(MIRROR_SOURCE_KEY, Text, Some(""), Anything, &[],
        "LINK/CLUSTER/TOPIC: the pull link that writes the topic, the id of its upstream cluster, \
         and the topic's id there; clients cannot produce to the topic until this key is removed"),
    key(PARTITIONER_KEY, Text, Some(""), Anything, &[],
        "Partitioner plugin that chooses the partition of each record, whichever partition it was \
         sent to; murmur2: Kafka's default partitioner"),
    key("sedge.partitioner.on.error", Text, Some("fail-closed"),
        OneOf(&["fail-open", "fail-closed", "quarantine"]), &[],
        "If the partitioner fails: fail-open writes the batch to the partition it was sent to; \
         fail-closed refuses it; quarantine writes it so, and does not call the partitioner again \
         until it is deployed or bound anew"),
    key("sedge.produce.validation", Text, Some("strict"), OneOf(&["strict", "relaxed"]),
        &["sedge.produce.validation"],
        "strict: every record is checked; relaxed: the records of compressed batches are not"),
    key("sedge.retention.priority", Text, Some("normal"),
        OneOf(&["low", "normal", "high", "keep"]), &[],
        "Which topics lose records first when the disk cap is reached: low first, high last, \
         keep never"),
    idle("segment.bytes", Int, Some("1073741824"), AtLeast(14), &["log.segment.bytes"],
        "Segments hold all topics; sedge.segment.bytes sets their size"),
    idle("segment.index.bytes", Int, Some("10485760"), AtLeast(4), &["log.index.size.max.bytes"],
        "Segments have no index files"),
    idle("segment.jitter.ms", Long, Some("0"), AtLeast(0),
        &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        "Segments are not rolled by time"),
    idle("segment.ms", Long, Some("604800000"), AtLeast(1), &["log.roll.ms", "log.roll.hours"],
        "Segments are not rolled by time"),
    idle("unclean.leader.election.enable", Boolean, Some("false"), Anything,
        &["unclean.leader.election.enable"], "Each partition has one replica"),
];

/// Returns the key of that name.
#[must_use]
pub fn topic_key(name: &str) -> Option<&'static ConfigKey> {
    let at = TOPIC_KEYS.binary_search_by(|key| key.name.cmp(name)).ok()?;
    TOPIC_KEYS.get(at)
}

/// Returns whether the name is a `sedge.plugin.NAME.KEY`.
#[must_use]
pub fn is_plugin_key(name: &str) -> bool {
    name.strip_prefix(PLUGIN_PREFIX)
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(plugin, key)| !plugin.is_empty() && !key.is_empty())
}

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
