//! The broker's configuration keys.

use super::ConfigType::{Boolean, Double, Int, List, Long, Password, String as Text};
use super::Takes::{Anything, AtLeast, Between, BetweenOr, OneOf};
use super::{ConfigError, ConfigKey, ConfigType, IDLE_BROKER_KEYS, Takes, is_plugin_key};

/// A key that can be set while the broker runs.
const fn dynamic(
    name: &'static str,
    kind: ConfigType,
    default: Option<&'static str>,
    takes: Takes,
    doc: &'static str,
) -> ConfigKey {
    ConfigKey::dynamic(name, kind, default, takes, doc)
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

/// A key that falls back to others, in that order.
const fn or(synonyms: &'static [&'static str], key: ConfigKey) -> ConfigKey {
    ConfigKey { synonyms, ..key }
}

/// The only supported authorizer, by the name of Kafka's class.
pub const STANDARD_AUTHORIZER: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";

/// The key that names the quota policy.
pub const QUOTA_POLICY_KEY: &str = "sedge.quota.policy";

/// The mechanisms of listeners with SASL, if none are configured.
pub const SASL_MECHANISMS: &str = "SCRAM-SHA-512,SCRAM-SHA-256";

/// A year at most.
const JWKS_TIMES: Takes = Between(1, 31_536_000_000);

/// The names of the assignors, and Kafka's classes.
const ASSIGNORS: &[&str] = &[
    "uniform",
    "range",
    "org.apache.kafka.coordinator.group.assignor.UniformAssignor",
    "org.apache.kafka.coordinator.group.assignor.RangeAssignor",
];

const LONG_MAX: Option<&str> = Some("9223372036854775807");

/// Returns all keys of the broker.
pub(super) fn broker_keys() -> impl Iterator<Item = &'static ConfigKey> {
    BROKER_KEYS.iter().chain(IDLE_BROKER_KEYS)
}

/// The keys of the broker that have an effect, and some that topics fall back to, in the order of
/// their names.
#[rustfmt::skip]
pub const BROKER_KEYS: &[ConfigKey] = &[
    fixed("advertised.listeners", List, None, Anything,
        "Addresses that the broker gives to clients, each [NAME://]HOST:PORT; if not set, the \
         address that each client connected to"),
    fixed("authorizer.class.name", Text, Some(""), OneOf(&["", STANDARD_AUTHORIZER]),
        "The class name of Kafka's StandardAuthorizer: access rules (ACLs) are enforced; empty: \
         every client may do everything"),
    fixed("auto.create.topics.enable", Boolean, Some("true"), Anything,
        "Whether a topic that does not exist is created when a client asks for it"),
    fixed("cluster.id", Text, None, Anything,
        "Id of the cluster; if not set, the first start makes one"),
    dynamic("compression.gzip.level", Int, Some("-1"), BetweenOr(1, 9, -1),
        "Level at which compression.type=gzip compresses; -1: the codec's default"),
    idle("compression.lz4.level", Int, Some("9"), Between(1, 17),
        "compression.type=lz4 compresses in the fast mode"),
    dynamic("compression.type", Text, Some("producer"),
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        "Codec of stored batches; a batch with another one is compressed again, which costs time; \
         producer: as the producer compressed it"),
    dynamic("compression.zstd.level", Int, Some("3"), Between(-131_072, 22),
        "Level at which compression.type=zstd compresses"),
    fixed("connection.failed.authentication.delay.ms", Int, Some("100"), Between(0, 5_000),
        "Delay of the response that tells a client that its authentication failed"),
    fixed("connections.max.idle.ms", Long, Some("600000"), AtLeast(1),
        "A connection on which no byte comes or goes for this long is closed"),
    fixed("connections.max.reauth.ms", Long, Some("0"), AtLeast(0),
        "Time after which a client must authenticate again by SASL; 0: never"),
    fixed("controller.quota.window.num", Int, Some("11"), AtLeast(1),
        "Windows of controller_mutation_rate: after idling, a client may create or delete as many \
         partitions at once as its rate allows in all of them"),
    fixed("controller.quota.window.size.seconds", Int, Some("1"), AtLeast(1),
        "Length of a window of controller_mutation_rate"),
    fixed("default.replication.factor", Int, Some("1"), OneOf(&["1"]),
        "Replicas of a new topic; there is one broker, so always 1"),
    fixed("delegation.token.expiry.check.interval.ms", Long, Some("3600000"), AtLeast(1),
        "Interval at which expired delegation tokens are removed"),
    fixed("delegation.token.expiry.time.ms", Long, Some("86400000"), AtLeast(1),
        "Time within which a delegation token must be renewed; after it, the token expires"),
    fixed("delegation.token.max.lifetime.ms", Long, Some("604800000"), AtLeast(1),
        "Longest lifetime of a delegation token, with all its renewals"),
    fixed("delegation.token.secret.key", Password, None, Anything,
        "Key from which the secrets of delegation tokens are derived; not set: no delegation tokens"),
    fixed("delete.topic.enable", Boolean, Some("true"), Anything, "Whether topics can be deleted"),
    fixed("durability", Text, Some("sync"), OneOf(&["sync", "interval"]),
        "sync: a batch is flushed to flash before it is acknowledged; interval: the log is \
         flushed every flush.ms, and a power cut can lose what was acknowledged since"),
    fixed("flush.ms", Long, Some("1000"), AtLeast(1),
        "With durability=interval: time between two flushes of the log to flash"),
    fixed("group.consumer.assignors", List, Some("uniform,range"), OneOf(ASSIGNORS),
        "Assignors that members of consumer groups may ask for; the first is for groups that ask \
         for none"),
    fixed("group.consumer.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1),
        "How often members of consumer groups are to send heartbeats"),
    fixed("group.consumer.max.heartbeat.interval.ms", Int, Some("15000"), AtLeast(1),
        "Longest heartbeat interval of a consumer group"),
    fixed("group.consumer.max.session.timeout.ms", Int, Some("60000"), AtLeast(1),
        "Longest session timeout of a consumer group"),
    fixed("group.consumer.max.size", Int, Some("2147483647"), AtLeast(1),
        "Most members that a consumer group may have"),
    fixed("group.consumer.migration.policy", Text, Some("bidirectional"),
        OneOf(&["disabled", "upgrade", "downgrade", "bidirectional"]),
        "Whether a group changes from the classic to the consumer protocol (upgrade) or back \
         (downgrade) while it has members"),
    fixed("group.consumer.min.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1),
        "Shortest heartbeat interval of a consumer group"),
    fixed("group.consumer.min.session.timeout.ms", Int, Some("45000"), AtLeast(1),
        "Shortest session timeout of a consumer group"),
    fixed("group.consumer.regex.refresh.interval.ms", Int, Some("600000"), AtLeast(10_000),
        "Longest time between two looks for topics that match the regular expressions of a \
         consumer group; new topics are found sooner"),
    fixed("group.consumer.session.timeout.ms", Int, Some("45000"), AtLeast(1),
        "How long a member of a consumer group may be silent before it is removed"),
    fixed("group.coordinator.rebalance.protocols", List, Some("classic,consumer"),
        OneOf(&["classic", "consumer", "share", "streams"]),
        "Protocols of groups; share and streams groups do not exist yet"),
    fixed("group.initial.rebalance.delay.ms", Int, Some("3000"), AtLeast(0),
        "How long the first rebalance of an empty group waits for more members"),
    fixed("group.max.session.timeout.ms", Int, Some("1800000"), AtLeast(1),
        "Longest session timeout that a member may ask for"),
    fixed("group.max.size", Int, Some("2147483647"), AtLeast(1),
        "Most members that a group may have"),
    fixed("group.min.session.timeout.ms", Int, Some("6000"), AtLeast(1),
        "Shortest session timeout that a member may ask for"),
    fixed("listener.security.protocol.map", Text,
        Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"), Anything,
        "Security protocol of each listener name: NAME:PROTOCOL,…"),
    fixed("listeners", List, Some("127.0.0.1:9092"), Anything,
        "Addresses to listen on, each [NAME://]HOST:PORT"),
    dynamic("log.cleaner.backoff.ms", Long, Some("15000"), AtLeast(1),
        "How long the cleaner sleeps when there is nothing to clean"),
    dynamic("log.cleaner.dedupe.buffer.size", Long, Some("8388608"), AtLeast(98_304),
        "Memory for the keys of a compaction; each MiB has room for 25,000 keys"),
    dynamic("log.cleaner.delete.retention.ms", Long, Some("86400000"), AtLeast(0),
        "How long a tombstone (a record without a value) stays readable in a compacted topic. \
         Default for topics that do not set delete.retention.ms"),
    fixed("log.cleaner.enable", Boolean, Some("true"), Anything,
        "Whether compacted topics are compacted"),
    dynamic("log.cleaner.io.max.bytes.per.second", Double, Some("1.7976931348623157E308"),
        AtLeast(1), "Most bytes that the cleaner reads and writes in a second"),
    dynamic("log.cleaner.max.compaction.lag.ms", Long, LONG_MAX, AtLeast(1),
        "Longest time that a record stays uncompacted. Default for topics that do not set \
         max.compaction.lag.ms"),
    dynamic("log.cleaner.min.cleanable.ratio", Double, Some("0.5"), Between(0, 1),
        "Dirty ratio: a partition is compacted when this share of its bytes was written since \
         its last compaction. Default for topics that do not set min.cleanable.dirty.ratio"),
    dynamic("log.cleaner.min.compaction.lag.ms", Long, Some("0"), AtLeast(0),
        "Shortest time that a record stays uncompacted. Default for topics that do not set \
         min.compaction.lag.ms"),
    dynamic("log.cleanup.policy", List, Some("delete"), OneOf(&["delete", "compact"]),
        "delete: retention deletes old records; compact: the newest record of each key is kept. \
         Default for topics that do not set cleanup.policy"),
    fixed("log.dirs", List, Some("sedge-data"), Anything,
        "The data directory; there can be only one"),
    dynamic("log.flush.interval.messages", Long, LONG_MAX, AtLeast(1),
        "1: each commit is flushed to flash before it is acknowledged, whatever durability says; \
         other values change nothing. Default for topics that do not set flush.messages"),
    dynamic("log.flush.interval.ms", Long, None, AtLeast(0),
        "With interval durability: time between two flushes to flash, if it is shorter than \
         flush.ms. Default for topics that do not set flush.ms"),
    idle("log.index.interval.bytes", Int, Some("4096"), AtLeast(0),
        "Segments have no index files"),
    idle("log.index.size.max.bytes", Int, Some("10485760"), AtLeast(4),
        "Segments have no index files"),
    idle("log.local.retention.bytes", Long, Some("-2"), AtLeast(-2),
        "Tiered storage is not supported"),
    idle("log.local.retention.ms", Long, Some("-2"), AtLeast(-2),
        "Tiered storage is not supported"),
    dynamic("log.message.timestamp.after.max.ms", Long, Some("3600000"), AtLeast(0),
        "How far a record's timestamp may be ahead of the broker's clock. Default for topics \
         that do not set message.timestamp.after.max.ms"),
    dynamic("log.message.timestamp.before.max.ms", Long, LONG_MAX, AtLeast(0),
        "How far a record's timestamp may be behind the broker's clock. Default for topics that \
         do not set message.timestamp.before.max.ms"),
    dynamic("log.message.timestamp.type", Text, Some("CreateTime"),
        OneOf(&["CreateTime", "LogAppendTime"]),
        "CreateTime: a record keeps the producer's timestamp; LogAppendTime: the broker sets the \
         time of the append. Default for topics that do not set message.timestamp.type"),
    idle("log.preallocate", Boolean, Some("false"), Anything,
        "Segments are always preallocated"),
    dynamic("log.retention.bytes", Long, Some("-1"), AtLeast(-1),
        "Size of a partition above which its oldest records are deleted; -1: no limit. Default \
         for topics that do not set retention.bytes"),
    fixed("log.retention.check.interval.ms", Long, Some("300000"), AtLeast(1),
        "Time between two checks for records to delete"),
    fixed("log.retention.hours", Int, Some("168"), AtLeast(-1),
        "Age in hours at which records are deleted; -1: never. log.retention.ms and \
         log.retention.minutes take precedence"),
    or(&["log.retention.hours"],
        fixed("log.retention.minutes", Int, None, AtLeast(-1),
            "Age in minutes at which records are deleted; -1: never. log.retention.ms takes \
             precedence")),
    or(&["log.retention.minutes", "log.retention.hours"],
        dynamic("log.retention.ms", Long, None, AtLeast(-1),
            "Age at which records are deleted; -1: never. It takes precedence over \
             log.retention.minutes and log.retention.hours. Default for topics that do not set \
             retention.ms")),
    or(&["log.roll.jitter.hours"],
        idle("log.roll.jitter.ms", Long, None, AtLeast(0), "Segments are not rolled by time")),
    or(&["log.roll.hours"],
        idle("log.roll.ms", Long, None, AtLeast(1), "Segments are not rolled by time")),
    idle("log.segment.bytes", Int, Some("1073741824"), AtLeast(1 << 20),
        "Segments hold all topics; sedge.segment.bytes sets their size"),
    idle("log.segment.delete.delay.ms", Long, Some("60000"), AtLeast(0),
        "A segment is freed as soon as nothing reads it any more"),
    dynamic("max.connection.creation.rate", Int, Some("2147483647"), AtLeast(1),
        "Connections accepted in a second, by all listeners or with listener.name.NAME. by one; \
         further ones wait until they are accepted"),
    dynamic("max.connections", Int, Some("1024"), Between(1, 1_000_000),
        "Most connections open at once, of all listeners or with listener.name.NAME. of one; when \
         they are all in use, a new connection replaces one that has not authenticated or asked \
         for anything yet, or else the one that has been idle for longest"),
    dynamic("max.connections.per.ip", Int, Some("2147483647"), AtLeast(0),
        "Most connections open at once from one address; further ones are refused"),
    dynamic("max.connections.per.ip.overrides", Text, Some(""), Anything,
        "Limits of single addresses or host names, like 192.0.2.7:100,gateway:500"),
    dynamic("message.max.bytes", Int, Some("1048588"), AtLeast(0),
        "Largest record batch, as the producer compressed it. Default for topics that do not set \
         max.message.bytes"),
    fixed("metadata.log.max.record.bytes.between.snapshots", Long, Some("1048576"), AtLeast(1),
        "Bytes of new records in __cluster_metadata after which a snapshot is written; if the \
         last snapshot is larger, its size counts"),
    fixed("metadata.log.max.snapshot.interval.ms", Long, Some("3600000"), AtLeast(0),
        "Age of the last snapshot of __cluster_metadata at which a new one is written, if \
         anything has changed; 0: never"),
    idle("min.insync.replicas", Int, Some("1"), AtLeast(1), "Each partition has one replica"),
    fixed("node.id", Int, Some("1"), AtLeast(0), "Id of this broker"),
    fixed("num.network.threads", Int, None, Between(1, 64),
        "Threads that serve connections and their requests: small 1, standard 2"),
    fixed("num.partitions", Int, Some("1"), AtLeast(1),
        "Partitions of a topic that is created automatically, or without a number of partitions"),
    fixed("offset.metadata.max.bytes", Int, Some("4096"), AtLeast(0),
        "Largest metadata text of a committed offset"),
    fixed("offsets.retention.check.interval.ms", Long, Some("600000"), AtLeast(1),
        "Time between two checks for committed offsets that have expired"),
    fixed("offsets.retention.minutes", Int, Some("10080"), AtLeast(1),
        "How long committed offsets are kept after their group lost its last member, or after \
         the commit if the group has no members or no longer subscribes to the topic"),
    fixed("offsets.topic.num.partitions", Int, Some("1"), AtLeast(1),
        "Partitions of __consumer_offsets"),
    fixed("producer.id.expiration.check.interval.ms", Int, Some("600000"), AtLeast(1),
        "Time between two checks for idle producers that have expired"),
    dynamic("producer.id.expiration.ms", Int, Some("86400000"), AtLeast(1),
        "How long the broker remembers a producer that writes nothing"),
    fixed("queued.max.request.bytes", Long, None, AtLeast(1 << 20),
        "Most bytes of requests in memory at once: small 16 MiB, standard 128 MiB"),
    fixed("quota.window.num", Int, Some("11"), AtLeast(1),
        "Windows of client quotas: after idling, a client may use at once what its quota allows in \
         all of them but one"),
    fixed("quota.window.size.seconds", Int, Some("1"), AtLeast(1),
        "Length of a window of client quotas"),
    fixed("sasl.enabled.mechanisms", List, Some(SASL_MECHANISMS), Anything,
        "Mechanisms of listeners with SASL: SCRAM-SHA-512, SCRAM-SHA-256, OAUTHBEARER, PLAIN"),
    idle("sasl.kerberos.min.time.before.relogin", Long, Some("60000"), Anything,
        "Kerberos is not supported"),
    fixed("sasl.oauthbearer.clock.skew.seconds", Int, Some("30"), Between(0, 86_400),
        "Tolerated difference between the clocks of this machine and of the issuers of tokens"),
    fixed("sasl.oauthbearer.expected.audience", List, Some(""), Anything,
        "Accepted audiences: a token must have one of them; empty: any audience"),
    fixed("sasl.oauthbearer.expected.issuer", Text, None, Anything,
        "Accepted issuer of tokens; not set: any issuer"),
    fixed("sasl.oauthbearer.jwks.endpoint.refresh.ms", Long, Some("3600000"), JWKS_TIMES,
        "Interval at which the keys that verify tokens are reloaded"),
    fixed("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Long, Some("10000"), JWKS_TIMES,
        "Longest time until loading the keys that verify tokens is retried"),
    fixed("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Long, Some("100"), JWKS_TIMES,
        "Time until loading the keys that verify tokens is retried after a failure; doubled with \
         each failure"),
    fixed("sasl.oauthbearer.jwks.endpoint.url", Text, None, Anything,
        "Public keys of the issuers of tokens (JWKS): file:///PATH or https://HOST/PATH"),
    fixed("sasl.oauthbearer.scope.claim.name", Text, Some("scope"), Anything,
        "Claim with the scope of a token, which must be a string or a list of strings"),
    fixed("sasl.oauthbearer.sub.claim.name", Text, Some("sub"), Anything,
        "Claim with the name of the principal"),
    fixed("sasl.server.max.receive.size", Int, Some("524288"), Between(1 << 10, 16 << 20),
        "Largest frame that a client may send before it is authenticated"),
    fixed("sedge.console", Text, Some("127.0.0.1:9644"), Anything,
        "Address of the console and of /metrics, HOST:PORT or https://HOST:PORT; off: neither is \
         served. With https, the keys ssl.* apply, or listener.name.console.ssl.* before them"),
    dynamic("sedge.produce.validation", Text, Some("strict"), OneOf(&["strict", "relaxed"]),
        "strict: every record is checked; relaxed: the records of compressed batches are not. \
         Default for topics that do not set sedge.produce.validation"),
    fixed("sedge.profile", Text, Some("standard"), OneOf(&["small", "standard"]),
        "Defaults for the sizes of memory and files; small: for devices with little memory and \
         flash"),
    dynamic(QUOTA_POLICY_KEY, Text, Some(""), Anything,
        "Plugin that is asked about each produce and fetch of a client, after the quotas; if it \
         fails, the quotas decide alone"),
    // Kafka's default is 102400. With it most of five pipelined batches wait in the client, and the
    // broker requests their packets one by one, which costs a fifth of the CPU of a produce.
    fixed("socket.receive.buffer.bytes", Int, Some("262144"), AtLeast(-1),
        "SO_RCVBUF of each connection; -1 uses the system default"),
    fixed("socket.request.max.bytes", Int, Some("104857600"), AtLeast(1024),
        "Largest request; queued.max.request.bytes is the limit if it is smaller"),
    fixed("socket.send.buffer.bytes", Int, Some("102400"), AtLeast(-1),
        "SO_SNDBUF of each connection; -1 uses the system default"),
    fixed("ssl.cipher.suites", List, None, Anything,
        "TLS cipher suites, by Java's names, in order of preference; if not set, all supported \
         suites"),
    fixed("ssl.client.auth", Text, Some("none"), OneOf(&["required", "requested", "none"]),
        "Whether clients must authenticate with a certificate signed by a CA in ssl.truststore.*; \
         requested: only if they have one"),
    fixed("ssl.enabled.protocols", List, Some("TLSv1.2,TLSv1.3"), OneOf(&["TLSv1.2", "TLSv1.3"]),
        "Enabled TLS versions"),
    fixed("ssl.key.password", Password, None, Anything,
        "Password of the private key, if it is encrypted"),
    fixed("ssl.keystore.certificate.chain", Password, None, Anything,
        "The listener's certificate chain, in PEM, instead of ssl.keystore.location"),
    fixed("ssl.keystore.key", Password, None, Anything,
        "The private key of the listener's certificate, in PEM, instead of ssl.keystore.location"),
    fixed("ssl.keystore.location", Text, None, Anything,
        "File or directory with the listener's certificate and private key; reloaded when it \
         changes, and on SIGHUP"),
    fixed("ssl.keystore.password", Password, None, Anything,
        "Password of the file ssl.keystore.location, if it is PKCS12"),
    fixed("ssl.keystore.type", Text, None, Anything,
        "PEM or PKCS12; if not set, detected from ssl.keystore.location"),
    fixed("ssl.principal.mapping.rules", Text, Some("DEFAULT"), Anything,
        "Rules that map the subject of a client's certificate to the name of its principal: \
         DEFAULT or RULE:PATTERN/REPLACEMENT/[LU]; the first match is used"),
    fixed("ssl.protocol", Text, Some("TLSv1.3"), OneOf(&["TLS", "TLSv1.2", "TLSv1.3"]),
        "Newest enabled TLS version"),
    fixed("ssl.truststore.certificates", Password, None, Anything,
        "Trusted CA certificates, in PEM, instead of ssl.truststore.location"),
    fixed("ssl.truststore.location", Text, None, Anything,
        "File or directory with the CAs that sign clients' certificates, and certificate \
         revocation lists; reloaded like ssl.keystore.location"),
    fixed("ssl.truststore.password", Password, None, Anything,
        "Password of the file ssl.truststore.location, if it is PKCS12"),
    fixed("ssl.truststore.type", Text, None, Anything,
        "PEM or PKCS12; if not set, detected from ssl.truststore.location"),
    fixed("transaction.max.timeout.ms", Int, Some("900000"), AtLeast(1),
        "Longest transaction.timeout.ms that a producer may ask for"),
    fixed("transaction.remove.expired.transaction.cleanup.interval.ms", Int, Some("3600000"), AtLeast(1),
        "Time between two checks for transactional ids that have expired"),
    fixed("transaction.state.log.num.partitions", Int, Some("1"), AtLeast(1),
        "Partitions of __transaction_state"),
    fixed("transactional.id.expiration.ms", Int, Some("604800000"), AtLeast(1),
        "How long a transactional id is known after its last transaction"),
    idle("unclean.leader.election.enable", Boolean, Some("false"), Anything,
        "Each partition has one replica"),
];

/// Returns the key of that name.
#[must_use]
pub fn broker_key(name: &str) -> Option<&'static ConfigKey> {
    let find = |table: &'static [ConfigKey]| {
        let at = table.binary_search_by(|key| key.name.cmp(name)).ok()?;
        table.get(at)
    };
    find(BROKER_KEYS).or_else(|| find(IDLE_BROKER_KEYS))
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
            let known = broker_keys().map(|key| key.name);
            Err(ConfigError::unknown("broker", name, known))
        }
    }
}
