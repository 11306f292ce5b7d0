//! The broker's configuration keys, and the defaults that topics take from them.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use super::ConfigType::{Boolean, Double, Int, List, Long, Password, String as Text};
use super::Takes::{Anything, AtLeast, Between, OneOf};
use super::{
    ConfigError, ConfigKey, ConfigType, TOPIC_KEYS, Takes, TopicConfig, boolean, is_plugin_key,
    topic_key,
};

/// A key that can be set while the broker runs.
const fn dynamic(
    name: &'static str,
    kind: ConfigType,
    default: Option<&'static str>,
    takes: Takes,
    doc: &'static str,
) -> ConfigKey {
    let (is_dynamic, has_effect) = (true, true);
    ConfigKey {
        name,
        kind,
        default,
        takes,
        synonyms: &[],
        is_dynamic,
        has_effect,
        doc,
    }
}

/// A key that only the configuration file can set.
const fn fixed(
    name: &'static str,
    kind: ConfigType,
    default: Option<&'static str>,
    takes: Takes,
    doc: &'static str,
) -> ConfigKey {
    let key = dynamic(name, kind, default, takes, doc);
    ConfigKey {
        is_dynamic: false,
        ..key
    }
}

/// A key that is known, checked and shown, but has no effect here.
const fn idle(
    name: &'static str,
    kind: ConfigType,
    default: Option<&'static str>,
    takes: Takes,
    doc: &'static str,
) -> ConfigKey {
    let key = dynamic(name, kind, default, takes, doc);
    ConfigKey {
        has_effect: false,
        ..key
    }
}

const LONG_MAX: Option<&str> = Some("9223372036854775807");

/// All keys of the broker, in the order of their names.
#[rustfmt::skip]
pub const BROKER_KEYS: &[ConfigKey] = &[
    fixed("advertised.listeners", List, None, Anything, "Addresses that clients are told"),
    fixed("auto.create.topics.enable", Boolean, Some("true"), Anything,
        "Whether a topic that a client names comes to be"),
    fixed("cluster.id", Text, None, Anything, "Identity of the cluster"),
    idle("compression.gzip.level", Int, Some("-1"), Between(-1, 9),
        "Level of gzip where the broker compresses"),
    idle("compression.lz4.level", Int, Some("9"), Between(1, 17),
        "Level of lz4 where the broker compresses"),
    idle("compression.type", Text, Some("producer"),
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        "Batches stay as the producer compressed them, whatever this says"),
    idle("compression.zstd.level", Int, Some("3"), Between(-131_072, 22),
        "Level of zstd where the broker compresses"),
    fixed("connections.max.idle.ms", Long, Some("600000"), AtLeast(1),
        "A connection that says nothing for so long is closed"),
    fixed("default.replication.factor", Int, Some("1"), OneOf(&["1"]), "Replicas of a new topic"),
    fixed("delete.topic.enable", Boolean, Some("true"), Anything, "Whether topics can be deleted"),
    fixed("durability", Text, Some("sync"), OneOf(&["sync", "interval"]),
        "sync: on flash before the answer; interval: after it"),
    fixed("flush.ms", Long, Some("1000"), AtLeast(1),
        "With durability=interval: how often written data is forced to flash"),
    fixed("group.initial.rebalance.delay.ms", Int, Some("3000"), AtLeast(0),
        "How long the first member of a group waits for others"),
    fixed("group.max.session.timeout.ms", Int, Some("1800000"), AtLeast(1),
        "Longest session timeout of a member"),
    fixed("group.max.size", Int, Some("2147483647"), AtLeast(1), "Most members of a group"),
    fixed("group.min.session.timeout.ms", Int, Some("6000"), AtLeast(1),
        "Shortest session timeout of a member"),
    fixed("listeners", List, Some("127.0.0.1:9092"), Anything, "Addresses to listen on"),
    dynamic("log.cleaner.backoff.ms", Long, Some("15000"), AtLeast(1),
        "How long the cleaner sleeps when there is nothing to clean"),
    dynamic("log.cleaner.dedupe.buffer.size", Long, Some("8388608"), AtLeast(98_304),
        "Memory for the keys of a compaction; room for 25,000 keys a MiB"),
    dynamic("log.cleaner.delete.retention.ms", Long, Some("86400000"), AtLeast(0),
        "How long a removal stays readable in a compacted topic. For topics without a \
         delete.retention.ms"),
    fixed("log.cleaner.enable", Boolean, Some("true"), Anything,
        "Whether compacted topics are compacted"),
    dynamic("log.cleaner.io.max.bytes.per.second", Double, Some("1.7976931348623157E308"),
        AtLeast(1), "What the cleaner reads and writes in a second, at most"),
    dynamic("log.cleaner.max.compaction.lag.ms", Long, LONG_MAX, AtLeast(1),
        "A record is compacted after so long at the latest. For topics without a \
         max.compaction.lag.ms"),
    dynamic("log.cleaner.min.cleanable.ratio", Double, Some("0.5"), Between(0, 1),
        "Share of a compacted topic that is new before it is compacted. For topics without a \
         min.cleanable.dirty.ratio"),
    dynamic("log.cleaner.min.compaction.lag.ms", Long, Some("0"), AtLeast(0),
        "A record is not compacted before it is so old. For topics without a \
         min.compaction.lag.ms"),
    dynamic("log.cleanup.policy", List, Some("delete"), OneOf(&["delete", "compact"]),
        "delete: old records go by retention; compact: the latest value of each key stays. For \
         topics without a cleanup.policy"),
    fixed("log.dirs", List, Some("sedge-data"), Anything, "The data directory"),
    dynamic("log.flush.interval.messages", Long, LONG_MAX, AtLeast(1),
        "1: each commit is on flash before it is answered, whatever the broker's durability. For \
         topics without a flush.messages"),
    idle("log.flush.interval.ms", Long, None, AtLeast(0),
        "The broker's own flush.ms holds for all topics"),
    idle("log.index.interval.bytes", Int, Some("4096"), AtLeast(0), "The index is not by segment"),
    idle("log.index.size.max.bytes", Int, Some("10485760"), AtLeast(4),
        "The index is not by segment"),
    idle("log.local.retention.bytes", Long, Some("-2"), AtLeast(-2), "There is no remote tier"),
    idle("log.local.retention.ms", Long, Some("-2"), AtLeast(-2), "There is no remote tier"),
    dynamic("log.message.timestamp.after.max.ms", Long, Some("3600000"), AtLeast(0),
        "How far a record's time may lie ahead of the broker's. For topics without a \
         message.timestamp.after.max.ms"),
    dynamic("log.message.timestamp.before.max.ms", Long, LONG_MAX, AtLeast(0),
        "How far a record's time may lie behind the broker's. For topics without a \
         message.timestamp.before.max.ms"),
    dynamic("log.message.timestamp.type", Text, Some("CreateTime"),
        OneOf(&["CreateTime", "LogAppendTime"]),
        "Whose clock a record's time is of: the producer's or the broker's. For topics without a \
         message.timestamp.type"),
    idle("log.preallocate", Boolean, Some("false"), Anything,
        "Segments are always allocated ahead"),
    dynamic("log.retention.bytes", Long, Some("-1"), AtLeast(-1),
        "Bytes of a partition above which its oldest are deleted; -1 for no limit. For topics \
         without a retention.bytes"),
    fixed("log.retention.check.interval.ms", Long, Some("300000"), AtLeast(1),
        "How often old records are looked for"),
    fixed("log.retention.hours", Int, Some("168"), AtLeast(-1),
        "Age in hours at which records are deleted; -1 for never. log.retention.ms and .minutes \
         come before it"),
    fixed("log.retention.minutes", Int, None, AtLeast(-1),
        "Age in minutes at which records are deleted; -1 for never. log.retention.ms comes before \
         it"),
    dynamic("log.retention.ms", Long, None, AtLeast(-1),
        "Age at which records are deleted; -1 for never. For topics without a retention.ms"),
    idle("log.roll.hours", Int, Some("168"), AtLeast(1), "Segments are not rolled by time"),
    idle("log.roll.jitter.hours", Int, Some("0"), AtLeast(0), "Segments are not rolled by time"),
    idle("log.roll.jitter.ms", Long, None, AtLeast(0), "Segments are not rolled by time"),
    idle("log.roll.ms", Long, None, AtLeast(1), "Segments are not rolled by time"),
    idle("log.segment.bytes", Int, Some("1073741824"), AtLeast(14),
        "Segments hold all topics; their size is the broker's"),
    idle("log.segment.delete.delay.ms", Long, Some("60000"), AtLeast(0),
        "Segments are freed when they are no longer read"),
    fixed("max.connections", Int, Some("1024"), Between(1, 1_000_000),
        "Connections open at once; when there are so many, a new one takes the place of that which was \
         silent for longest"),
    dynamic("message.max.bytes", Int, Some("1048588"), AtLeast(0),
        "Largest record batch. For topics without a max.message.bytes"),
    fixed("metadata.log.max.record.bytes.between.snapshots", Long, Some("1048576"), AtLeast(1),
        "Bytes of records in __cluster_metadata after which a snapshot of it is made, or as many as \
         the last snapshot has, if that is more"),
    fixed("metadata.log.max.snapshot.interval.ms", Long, Some("3600000"), AtLeast(0),
        "Age of the last snapshot of __cluster_metadata at which another one is made, if anything \
         has changed; 0 for never"),
    idle("min.insync.replicas", Int, Some("1"), AtLeast(1), "There is one replica"),
    fixed("node.id", Int, Some("1"), AtLeast(0), "This broker's number"),
    fixed("num.network.threads", Int, None, Between(1, 64), "Threads of the executor"),
    fixed("num.partitions", Int, Some("1"), AtLeast(1),
        "Partitions of a topic that comes to be unasked"),
    fixed("offset.metadata.max.bytes", Int, Some("4096"), AtLeast(0),
        "Largest text beside a committed offset"),
    fixed("offsets.retention.check.interval.ms", Long, Some("600000"), AtLeast(1),
        "How often old committed offsets are looked for"),
    fixed("offsets.retention.minutes", Int, Some("10080"), AtLeast(1),
        "How long an empty group keeps its offsets"),
    fixed("offsets.topic.num.partitions", Int, Some("1"), AtLeast(1),
        "Partitions of __consumer_offsets"),
    fixed("producer.id.expiration.check.interval.ms", Int, Some("600000"), AtLeast(1),
        "How often silent producers are looked for"),
    dynamic("producer.id.expiration.ms", Int, Some("86400000"), AtLeast(1),
        "How long a silent producer is remembered"),
    fixed("queued.max.request.bytes", Long, None, AtLeast(1 << 20),
        "Bytes of requests in the process at once"),
    idle("sasl.kerberos.min.time.before.relogin", Long, Some("60000"), Anything,
        "Milliseconds between two refreshes of a Kerberos ticket"),
    fixed("sedge.console", Text, Some("127.0.0.1:9644"), Anything,
        "Address of the console and of /metrics, or off"),
    dynamic("sedge.produce.validation", Text, Some("strict"), OneOf(&["strict", "relaxed"]),
        "strict: every record is checked; relaxed: not those of compressed batches. For topics \
         without a sedge.produce.validation"),
    fixed("sedge.profile", Text, Some("standard"), OneOf(&["small", "standard"]),
        "small: for little memory and flash"),
    // Kafka's default is 102400. With it most of five pipelined batches wait in the client, and the
    // broker requests their packets one by one, which costs a fifth of the CPU of a produce.
    fixed("socket.receive.buffer.bytes", Int, Some("262144"), AtLeast(-1),
        "SO_RCVBUF of connections; -1: as the operating system likes"),
    fixed("socket.request.max.bytes", Int, Some("104857600"), AtLeast(1024), "Largest request"),
    fixed("socket.send.buffer.bytes", Int, Some("102400"), AtLeast(-1),
        "SO_SNDBUF of connections; -1: as the operating system likes"),
    fixed("ssl.key.password", Password, None, Anything, "Not supported yet"),
    idle("unclean.leader.election.enable", Boolean, Some("false"), Anything,
        "There is one replica"),
];

/// Returns the key of that name.
#[must_use]
pub fn broker_key(name: &str) -> Option<&'static ConfigKey> {
    let at = BROKER_KEYS
        .binary_search_by(|key| key.name.cmp(name))
        .ok()?;
    BROKER_KEYS.get(at)
}

/// Checks a setting of the broker, from the file or from a request.
///
/// # Errors
/// INVALID_CONFIG for an unknown key, naming the nearest known one, or for a value that the key
/// does not accept.
pub fn check_broker_value(name: &str, value: &str) -> Result<(), ConfigError> {
    match broker_key(name) {
        Some(key) => key.check(value),
        None if is_plugin_key(name) => Ok(()),
        None => {
            let known = BROKER_KEYS.iter().map(|key| key.name);
            Err(ConfigError::unknown("broker", name, known))
        }
    }
}

/// The broker's settings: those of the file, overridden by those set while it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerDefaults {
    file: BTreeMap<String, String>,
    dynamic: BTreeMap<String, String>,
    /// The configuration of a topic without settings of its own, computed once.
    topic: TopicConfig,
}

impl Default for BrokerDefaults {
    fn default() -> Self {
        Self::new(&BTreeMap::new())
    }
}

impl BrokerDefaults {
    /// Creates the defaults from the configuration file's settings, which [`check_broker_value`]
    /// has checked.
    #[must_use]
    pub fn new(file: &BTreeMap<String, String>) -> Self {
        Self::of(file.clone(), BTreeMap::new())
    }

    /// Returns the same file settings, overridden by `dynamic`.
    #[must_use]
    pub fn with(&self, dynamic: &BTreeMap<String, String>) -> Self {
        Self::of(self.file.clone(), dynamic.clone())
    }

    fn of(file: BTreeMap<String, String>, dynamic: BTreeMap<String, String>) -> Self {
        let mut defaults = Self {
            file,
            dynamic,
            topic: TopicConfig::blank(),
        };
        let mut topic = TopicConfig::blank();
        for key in TOPIC_KEYS {
            if let Some(value) = defaults.topic_default(key.name) {
                topic.set(key.name, &value);
            }
        }
        let plugins = defaults.file.iter().chain(&defaults.dynamic);
        for (name, value) in plugins.filter(|(name, _)| is_plugin_key(name)) {
            topic.set(name, value);
        }
        defaults.topic = topic;
        defaults
    }

    pub(super) const fn topic(&self) -> &TopicConfig {
        &self.topic
    }

    pub(super) fn dynamic_value(&self, name: &str) -> Option<&str> {
        self.dynamic.get(name).map(String::as_str)
    }

    pub(super) fn file_value(&self, name: &str) -> Option<&str> {
        self.file.get(name).map(String::as_str)
    }

    /// Returns a key's value, or its default.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.dynamic_value(name)
            .or_else(|| self.file_value(name))
            .or_else(|| broker_key(name)?.default)
    }

    /// Returns a numeric key's value, or its default; 0 if there is neither.
    #[must_use]
    pub fn number(&self, name: &str) -> i64 {
        let default = || broker_key(name)?.default?.parse().ok();
        self.get(name)
            .and_then(|value| value.trim().parse().ok())
            .or_else(default)
            .unwrap_or(0)
    }

    /// Returns the value or default of a key of type Double; infinite if there is neither.
    #[must_use]
    pub fn fraction(&self, name: &str) -> f64 {
        let value = self.get(name).and_then(|value| value.trim().parse().ok());
        value
            .filter(|value| *value < f64::MAX)
            .unwrap_or(f64::INFINITY)
    }

    /// Returns whether a boolean key is true.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).and_then(boolean) == Some(true)
    }

    #[must_use]
    pub fn auto_creates_topics(&self) -> bool {
        self.is_on("auto.create.topics.enable")
    }

    #[must_use]
    pub fn deletes_topics(&self) -> bool {
        self.is_on("delete.topic.enable")
    }

    #[must_use]
    pub fn retention_check_interval_ms(&self) -> u64 {
        self.number("log.retention.check.interval.ms").max(1) as u64
    }

    #[must_use]
    pub fn num_partitions(&self) -> i32 {
        self.number("num.partitions") as i32
    }

    /// Returns a topic key's value for topics that do not set it.
    #[must_use]
    pub fn topic_default(&self, name: &str) -> Option<String> {
        let key = topic_key(name)?;
        let set = key.synonyms.iter().find_map(|synonym| {
            let value = self
                .dynamic_value(synonym)
                .or_else(|| self.file_value(synonym))?;
            in_topic_unit(synonym, value)
        });
        set.or_else(|| key.default.map(Into::into))
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        BrokerDefaults::default().topic().clone()
    }
}

impl TopicConfig {
    /// Returns the effective configuration of a topic: `overrides`, its own settings, over the
    /// broker's.
    #[must_use]
    pub fn effective(overrides: &BTreeMap<String, String>, defaults: &BrokerDefaults) -> Self {
        let mut config = defaults.topic().clone();
        for (name, value) in overrides {
            config.set(name, value);
        }
        config
    }
}

/// Converts a broker's value to the unit of the topic's key: hours and minutes become ms.
pub(super) fn in_topic_unit(synonym: &str, value: &str) -> Option<String> {
    let unit_ms = match synonym.rsplit('.').next() {
        Some("hours") => 3_600_000,
        Some("minutes") => 60_000,
        _ => return Some(value.into()),
    };
    let count: i64 = value.trim().parse().ok()?;
    Some(if count < 0 {
        "-1".into()
    } else {
        format!("{}", count.saturating_mul(unit_ms))
    })
}
