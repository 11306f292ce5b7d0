//! The keys of a configuration: the broker's are in `sedge_core::config`; those of the process
//! alone are here.

use sedge_core::config::{self as broker, ConfigKey, ConfigType, Takes};

use super::listeners::{is_listener_key, listener_keys, split_override};
use crate::client::config as client;

const fn key(
    name: &'static str,
    kind: ConfigType,
    default: Option<&'static str>,
    takes: Takes,
    doc: &'static str,
) -> ConfigKey {
    let (is_dynamic, has_effect) = (false, true);
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

const fn long(
    name: &'static str,
    default: Option<&'static str>,
    takes: Takes,
    doc: &'static str,
) -> ConfigKey {
    key(name, ConfigType::Long, default, takes, doc)
}

const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;

/// Keys of the process alone: memory, files, plugins. `DescribeConfigs` does not show them.
#[rustfmt::skip]
pub const PROCESS_KEYS: &[ConfigKey] = &[
    key("allow.everyone.if.no.acl.found", ConfigType::Boolean, Some("false"), Takes::Anything,
        "Whether clients may do everything on a resource that has no access rules"),
    long("plugin.component.bytes", Some("20971520"), Takes::Between(KIB, 64 * MIB),
        "Largest WebAssembly component of a plugin"),
    long("plugin.deadline.ms", Some("100"), Takes::Between(5, 60_000),
        "Most time that a plugin may take for one batch"),
    long("plugin.memory.bytes", Some("16777216"), Takes::Between(128 * KIB, 4 * GIB),
        "Most memory of one plugin instance"),
    long("plugin.memory.total.bytes", None, Takes::Between(MIB, 64 * GIB),
        "Most memory of all plugin instances together: small 64 MiB, standard 256 MiB"),
    long("plugin.output.bytes", Some("16777216"), Takes::Between(KIB, GIB),
        "Largest output of a plugin for one batch"),
    long("plugin.rollback.failures", Some("10"), Takes::Between(0, 1_000_000),
        "Failures in the first minutes of a new version of a plugin after which the broker goes \
         back to the version before; 0: never"),
    long("plugin.state.bytes", Some("16777216"), Takes::Between(KIB, GIB),
        "Most memory of the state of all filters together"),
    long("plugin.state.partition.bytes", Some("1048576"), Takes::Between(KIB, 16 * MIB),
        "Most memory of the state of one filter for one partition; a key counts 96 bytes more"),
    key("plugin.signing.key", ConfigType::String, None, Takes::Anything,
        "File with the key that seals machine code; code from elsewhere that this key sealed is \
         loaded here"),
    key("plugin.trusted.keys", ConfigType::List, Some(""), Takes::Anything,
        "Ed25519 public keys, each the base64 text that `openssl pkey -pubout` prints; if there are \
         any, only plugins that one of them signed are deployed and run (`sedge plugin sign`)"),
    long("sedge.cache.bytes", None, Takes::Between(256 * KIB, 4 * GIB),
        "Cache of the views: small 1 MiB, standard 16 MiB"),
    key("sedge.console.device.token", ConfigType::Password, None, Takes::Anything,
        "Token with which `sedge device` updates, restarts and describes the device that the \
         broker runs on, if that has an image of sedge; without it, nobody may"),
    key("sedge.console.metrics.token", ConfigType::Password, None, Takes::Anything,
        "Token that opens /metrics alone; send it as Authorization: Bearer TOKEN"),
    key("sedge.console.token", ConfigType::Password, None, Takes::Anything,
        "Token that opens all pages of the console; without it, only /livez and /readyz are open. \
         Send it as Authorization: Bearer TOKEN, or as the password in a browser"),
    key("sedge.core.dumps.allowed", ConfigType::Boolean, Some("false"), Takes::Anything,
        "Whether a crash may leave a core dump, which contains keys and passwords"),
    long("sedge.disk.endurance.bytes", None, Takes::AtLeast(1),
        "Bytes that can be written to the device in its life, as rated by its maker; the years \
         left are computed from it"),
    long("sedge.disk.max.bytes", None, Takes::AtLeast(-1),
        "Most bytes that the data directory may take; above it, or when other files leave less of \
         the volume, records are deleted in the order of sedge.retention.priority. If not set, 85 \
         % of the volume; -1: no limit"),
    long("sedge.disk.write.budget.bytes.per.day", None, Takes::AtLeast(1),
        "Bytes written to the device in a day above which the log warns, and compaction and \
         cleaning that can wait are put off until the next day"),
    key("sedge.insecure.listeners.allowed", ConfigType::Boolean, Some("false"), Takes::Anything,
        "Whether a listener that other machines can reach may accept clients without \
         authentication: anyone who can connect can read, write and delete everything"),
    long("sedge.memory.max.bytes", None, Takes::AtLeast(MIB),
        "Most memory of requests, answers, connections and the views together: small 64 MiB, \
         standard 320 MiB, or more if the other keys ask for more; plugins, links and the \
         cleaner are not counted"),
    key("sedge.notice", ConfigType::String, None, Takes::Anything,
        "A text that /readyz and the console show among the warnings. A device's init sets it if \
         sedge.toml cannot be used"),
    long("sedge.scrub.bytes.per.second", Some("2097152"), Takes::Between(0, GIB),
        "How fast stored data is read again to find bit rot; 0: never"),
    long("sedge.scrub.interval.ms", Some("604800000"), Takes::Between(1_000, 31_536_000_000),
        "Time from the start of one scrub of all stored data to the start of the next"),
    long("sedge.segment.bytes", None, Takes::Between(MIB, GIB),
        "Size of a segment file: small 16 MiB, standard 64 MiB"),
    long("sedge.segment.spares", Some("2"), Takes::Between(0, 64),
        "Freed segment files that are kept to be overwritten, which wears flash least"),
    long("sedge.views.flush.bytes", None, Takes::Between(64 * KIB, 256 * MIB),
        "Changes of the views that are kept in memory before they are written: small 1 MiB, \
         standard 4 MiB"),
    key("super.users", ConfigType::String, Some(""), Takes::Anything,
        "Principals that may do everything, separated by semicolons: User:admin;User:operator"),
];

/// A key of a mirror link.
#[derive(Debug)]
pub struct LinkKey {
    /// Its name after `mirror.NAME.`.
    pub name: &'static str,
    /// One line of documentation.
    pub doc: &'static str,
}

const fn link(name: &'static str, doc: &'static str) -> LinkKey {
    LinkKey { name, doc }
}

/// The keys of a link that are not a Kafka client's.
pub const LINK_KEYS: &[LinkKey] = &[
    link(
        "batch.size",
        "Bytes of small batches that the link joins before it sends them; 0 joins none",
    ),
    link(
        "budget.bytes.per.day",
        "Bytes that the link may send in a day; a tenth of them is kept for topics of class high",
    ),
    link(
        "budget.bytes.per.month",
        "Bytes that the link may send in a month; a tenth of them is kept for topics of class high",
    ),
    link(
        "budget.bytes.per.second",
        "Bytes that the link may send in a second",
    ),
    link(
        "budget.hours",
        "Parts of the day in which the link sends, such as 22:00-06:00; class high sends always",
    ),
    link(
        "budget.utc.offset",
        "Offset of the budget's days and hours from UTC, such as +02:00",
    ),
    link("buffer.memory", "Most bytes that the link has in flight"),
    link(
        "commit.interval.ms",
        "How long a transaction gathers records: longer costs fewer requests, and delays records",
    ),
    link(
        "compression.type",
        "Codec for what was produced without compression: gzip, snappy, lz4, zstd; producer: none",
    ),
    link(
        "config.properties.exclude",
        "Keys of topics that are not copied: regular expressions; by default those about disk, replicas and timestamps",
    ),
    link(
        "delivery.timeout.ms",
        "How long a partition may fail before the link reports it as held",
    ),
    link(
        "direction",
        "push: copies records from here to the upstream",
    ),
    link(
        "emit.offset-syncs.enabled",
        "false: the link does not write which offsets records got upstream, and translates none",
    ),
    link(
        "filter",
        "Filter plugins of what the link sends, first to last; their settings are plugin.NAME.KEY",
    ),
    link(
        "filter.on.error",
        "fail-closed: the link waits; fail-open, quarantine: it sends the batch as it is",
    ),
    link(
        "groups",
        "Consumer groups whose offsets are kept in step on both sides: regular expressions; none by default",
    ),
    link(
        "groups.exclude",
        "Groups to exclude: regular expressions; by default those of consoles, connectors and __",
    ),
    link(
        "linger.ms",
        "How long new records wait for others to be joined with",
    ),
    link("max.request.size", "Largest request to the upstream"),
    link(
        "mode",
        "exactly-once, the default if the upstream has transactions; at-least-once: a crash may send a record again",
    ),
    link(
        "on.topic.recreated",
        "append: records of a recreated topic are appended to the old ones; hold: they wait",
    ),
    link(
        "paused",
        "true: the link copies nothing until it is resumed, and goes on where it was",
    ),
    link(
        "partitioner",
        "murmur2: topics upstream keep their number of partitions, and keys go where Kafka's \
         producers would send them; needs exactly-once",
    ),
    link(
        "replication.factor",
        "Replicas of topics that the link creates; -1 uses the upstream's default",
    ),
    link(
        "sync.group.offsets.interval.seconds",
        "How often the offsets of groups are compared on both sides",
    ),
    link(
        "sync.topic.configs.enabled",
        "false: what changes in topics' configurations is not copied; true is the default",
    ),
    link(
        "topics",
        "Topics to copy: regular expressions that match whole names",
    ),
    link(
        "topics.create",
        "NAME:PARTITIONS of topics that a pull link creates before it reaches the upstream",
    ),
    link(
        "topics.deadline.ms",
        "PATTERN:MS: records of these topics that are older are left out, and counted",
    ),
    link(
        "topics.exclude",
        "Topics to exclude: regular expressions that match whole names",
    ),
    link(
        "topics.prefix",
        "What the names of topics begin with upstream, such as site7.",
    ),
    link(
        "topics.priority",
        "PATTERN:CLASS, with the classes high, normal and low: a higher one is sent first",
    ),
    link(
        "topics.rename",
        "Names upstream of single topics, HERE:THERE; the others get prefix and suffix",
    ),
    link(
        "topics.suffix",
        "What the names of topics end with upstream",
    ),
    link(
        "transaction.timeout.ms",
        "How long upstream consumers wait for a transaction that the link cannot complete",
    ),
    link(
        "transactional.id",
        "Name of the link's producer upstream; by default sedge-mirror-LINK-CLUSTER",
    ),
];

/// The keys of a gateway, after `gateway.NAME.`, each with a line of documentation.
pub const GATEWAY_KEYS: &[LinkKey] = &[
    link(
        "baud",
        "Bits a second of the serial line; by default 115200",
    ),
    link(
        "device",
        "The serial line with the device, such as /dev/ttyUSB0",
    ),
    link(
        "key",
        "Key of the records, with {device} and {name}; by default {device}",
    ),
    link("listen", "HOST:PORT on which devices connect"),
    link("parity", "Parity of the serial line: none, even or odd"),
    link(
        "publish",
        "Topics that devices may publish to: regular expressions that match whole names",
    ),
    link(
        "subscribe",
        "Topics that devices may read: regular expressions that match whole names",
    ),
    link(
        "topic",
        "The topic of a name that a device announces, with {device} and {name}; by default {name}",
    ),
];

/// Keys of Kafka that a server.properties may contain and that have no effect here, with the
/// reason.
#[rustfmt::skip]
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("config.providers.directory.class", PROVIDERS),
    ("config.providers.env.class", PROVIDERS),
    ("config.providers.file.class", PROVIDERS),
    ("zookeeper.connect", NO_ZOOKEEPER),
    ("zookeeper.connection.timeout.ms", NO_ZOOKEEPER),
];

const PROVIDERS: &str =
    "the providers file, directory and env are always available, by Kafka's names";
const NO_ZOOKEEPER: &str = "the controller runs inside the broker, and there is no ZooKeeper";

/// Returns whether a configuration may have this key.
pub fn is_known(key: &str) -> bool {
    if let Some((_, key)) = split_override(key) {
        return is_listener_key(key);
    }
    match split_mirror(key) {
        Some((_, rest)) => is_link_key(rest),
        None if let Some((_, rest)) = split_gateway(key) => is_gateway_key(rest),
        None => find(key).is_some() || broker::is_plugin_key(key) || left_out(key).is_some(),
    }
}

/// Returns whether a link may have this key.
pub fn is_link_key(key: &str) -> bool {
    LINK_KEYS.iter().any(|link| link.name == key) || is_filter_setting(key) || client::is_key(key)
}

/// What the key of a device's secret begins with: `secret.IDENTITY`.
pub const SECRET: &str = "secret.";

/// Returns whether a gateway may have this key.
fn is_gateway_key(key: &str) -> bool {
    let device = key.strip_prefix(SECRET);
    GATEWAY_KEYS.iter().any(|known| known.name == key) || device.is_some_and(|of| !of.is_empty())
}

/// Splits `gateway.NAME.KEY` into (NAME, KEY). A gateway's name has no dot.
pub fn split_gateway(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("gateway.")?.split_once('.')
}

/// Returns whether the key is a `plugin.NAME.KEY`.
fn is_filter_setting(key: &str) -> bool {
    let setting = key.strip_prefix("plugin.");
    let named = setting.and_then(|setting| setting.split_once('.'));
    named.is_some_and(|(plugin, key)| !plugin.is_empty() && !key.is_empty())
}

fn left_out(key: &str) -> Option<&'static str> {
    let found = WITHOUT_EFFECT.iter().find(|(name, _)| *name == key);
    found.map(|(_, why)| *why)
}

/// Returns the reason why a key of Kafka's has no effect here; `None` for any other.
pub fn why_without_effect(key: &str) -> Option<&'static str> {
    let idle = broker::broker_key(key).filter(|key| !key.has_effect);
    left_out(key).or_else(|| idle.map(|key| key.doc))
}

/// Returns whether the key is one of the broker's, which topics fall back to and `DescribeConfigs`
/// shows.
pub fn is_broker_key(key: &str) -> bool {
    broker::broker_key(key).is_some() || broker::is_plugin_key(key)
}

/// Returns the key of that name.
pub fn find(key: &str) -> Option<&'static ConfigKey> {
    broker::broker_key(key).or_else(|| PROCESS_KEYS.iter().find(|known| known.name == key))
}

/// Returns all keys that have an effect, in the order of their names.
pub fn all() -> Vec<&'static ConfigKey> {
    let with_effect = broker::BROKER_KEYS.iter().filter(|key| key.has_effect);
    let mut keys: Vec<_> = with_effect.chain(PROCESS_KEYS).collect();
    keys.sort_by_key(|key| key.name);
    keys
}

/// Splits `mirror.NAME.KEY` into (NAME, KEY). A link's name has no dot.
pub fn split_mirror(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("mirror.")?.split_once('.')
}

/// Returns the names of a link's keys.
pub fn link_keys() -> impl Iterator<Item = &'static str> {
    let own = LINK_KEYS.iter().map(|link| link.name);
    own.chain(client::KEYS.iter().copied())
}

/// Returns the known names to compare an unknown one with; for a link's key, those of that link.
pub fn names_like(key: &str) -> Vec<String> {
    if let Some((name, _)) = split_mirror(key) {
        return link_keys()
            .map(|key| format!("mirror.{name}.{key}"))
            .collect();
    }
    if let Some((name, _)) = split_gateway(key) {
        let known = GATEWAY_KEYS.iter().map(|known| known.name);
        return known.map(|key| format!("gateway.{name}.{key}")).collect();
    }
    if let Some((name, _)) = split_override(key) {
        return listener_keys()
            .map(|key| format!("listener.name.{name}.{key}"))
            .collect();
    }
    let broker = broker::BROKER_KEYS
        .iter()
        .chain(broker::IDLE_BROKER_KEYS)
        .chain(PROCESS_KEYS)
        .map(|key| key.name);
    broker
        .chain(WITHOUT_EFFECT.iter().map(|(name, _)| *name))
        .map(str::to_owned)
        .collect()
}

/// Returns whether the value must not be shown: that of a password, by Kafka's kind of key; or one
/// that its name gives away, such as a client's.
pub fn is_secret(key: &str) -> bool {
    if split_gateway(key).is_some_and(|(_, own)| own.starts_with(SECRET)) {
        return true;
    }
    let own = split_override(key).or_else(|| split_mirror(key));
    let own = own.map_or(key, |(_, own)| own);
    if own == "proxy" {
        return true;
    }
    let is_named_so = |part: &&str| own.contains(*part);
    find(own).is_some_and(ConfigKey::is_sensitive)
        || ["password", "secret", "jaas.config", "keystore.key"]
            .iter()
            .any(is_named_so)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_once() {
        for pair in all().windows(2) {
            assert!(
                pair[0].name < pair[1].name,
                "{} {}",
                pair[0].name,
                pair[1].name
            );
        }
        for (name, _) in WITHOUT_EFFECT {
            assert!(find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn each_key_is_told_in_words_of_its_own() {
        let mut told = std::collections::BTreeMap::new();
        for key in all() {
            let before = told.insert(key.doc, key.name);
            let both_buffers = key.doc.starts_with("SO_");
            assert!(
                before.is_none() || both_buffers,
                "{before:?} and {}",
                key.name
            );
        }
    }

    #[test]
    fn knows_what_it_should() {
        let check = |key: &str, expected: bool| assert_eq!(is_known(key), expected, "{key}");
        check("listeners", true);
        check("listener", false);
        check("listener.name.lan.ssl.keystore.location", true);
        check("listener.name.lan.ssl.keystore.lokation", false);
        check("listener.name.lan.plain.sasl.jaas.config", true);
        check("plain.sasl.jaas.config", false);
        check("gateway.field.secret.pump-1", true);
        check("gateway.field.secret.", false);
        check("gateway.field.publish", true);
        check("gateway.field.publishes", false);
        check("mirror.hq.topics", true);
        check("mirror.hq.topcis", false);
        check("mirror.topics", false);
        check("sedge.plugin.range.max", true);
        check("sedge.plugin.range", false);
        check("process.roles", true);
        check("log.retention.ms", true);
        check("retention.ms", false);
        check("mirror.hq.sasl.mechanism", true);
        check("mirror.hq.request.timeout.ms", true);
    }
}
