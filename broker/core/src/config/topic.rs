//! The configuration keys of topics.

use alloc::collections::BTreeMap;
use alloc::string::String;

use super::ConfigType::{Boolean, Double, Int, List, Long, String as Text};
use super::Takes::{Anything, AtLeast, Between, BetweenOr, OneOf, Partitions, Principals};
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
    key("compression.gzip.level", Int, Some("-1"), BetweenOr(1, 9, -1), &["compression.gzip.level"],
        "Level at which compression.type=gzip compresses; -1: the codec's default"),
    idle("compression.lz4.level", Int, Some("9"), Between(1, 17), &["compression.lz4.level"],
        "compression.type=lz4 compresses in the fast mode"),
    key("compression.type", Text, Some("producer"),
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        &["compression.type"],
        "Codec of stored batches; a batch with another one is compressed again, which costs time; \
         producer: as the producer compressed it"),
    key("compression.zstd.level", Int, Some("3"), Between(-131_072, 22),
        &["compression.zstd.level"],
        "Level at which compression.type=zstd compresses"),
    key("delete.retention.ms", Long, Some("86400000"), AtLeast(0),
        &["log.cleaner.delete.retention.ms"],
        "How long a tombstone (a record without a value) stays readable in a compacted topic"),
    idle("file.delete.delay.ms", Long, Some("60000"), AtLeast(0), &["log.segment.delete.delay.ms"],
        "A segment is freed as soon as nothing reads it any more"),
    key("flush.messages", Long, LONG_MAX, AtLeast(1), &["log.flush.interval.messages"],
        "1: each commit is flushed to flash before it is acknowledged, whatever durability says; \
         other values change nothing"),
    key("flush.ms", Long, LONG_MAX, AtLeast(0), &["log.flush.interval.ms"],
        "With interval durability: time between two flushes to flash, if it is shorter than the \
         flush.ms of the broker"),
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
        "Shown, with the partitions that are at or under it; a produce never waits for it, because \
         each partition has one replica"),
    idle("preallocate", Boolean, Some("false"), Anything, &["log.preallocate"],
        "Segments are always preallocated"),
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
    idle("segment.bytes", Int, Some("1073741824"), AtLeast(1 << 20), &["log.segment.bytes"],
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
