//! The keys of a configuration: the process's own here, the broker's Kafka keys in `sedge_core::config`.

/// A key with its default and what it is for.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What holds when it is not set; empty for "nothing".
    pub default: &'static str,
    /// One line.
    pub doc: &'static str,
}

const fn key(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { name, default, doc }
}

/// The keys that belong to the process: sockets, files, threads, memory, links, plugins.
pub const KEYS: &[Key] = &[
    key(
        "advertised.listeners",
        "",
        "Addresses that clients are told; else the one they came by",
    ),
    key(
        "cluster.id",
        "",
        "Identity of the cluster; else chosen once and kept with the data",
    ),
    key(
        "connections.max.idle.ms",
        "600000",
        "A connection that says nothing for so long is closed",
    ),
    key(
        "durability",
        "sync",
        "sync: on flash before the reply; interval: after, every flush.ms",
    ),
    key(
        "flush.ms",
        "1000",
        "With durability=interval: how often written data is forced to flash",
    ),
    key(
        "listeners",
        "127.0.0.1:9092",
        "Addresses to listen on: HOST:PORT or PLAINTEXT://HOST:PORT",
    ),
    key("log.dirs", "sedge-data", "The data directory"),
    key("max.connections", "1024", "Connections open at once"),
    key("node.id", "1", "This broker's number"),
    key(
        "num.network.threads",
        "by profile",
        "Threads of the executor: small 1, standard 2",
    ),
    key(
        "plugin.component.bytes",
        "8388608",
        "Largest plugin component",
    ),
    key(
        "plugin.deadline.ms",
        "100",
        "Time a plugin has for one batch",
    ),
    key(
        "plugin.memory.bytes",
        "16777216",
        "Memory of one plugin instance",
    ),
    key(
        "plugin.output.bytes",
        "16777216",
        "Largest answer of a plugin to one batch",
    ),
    key(
        "queued.max.request.bytes",
        "by profile",
        "Bytes of requests in the process at once",
    ),
    key(
        "sedge.cache.bytes",
        "by profile",
        "Cache of the views: small 1 MiB, standard 16 MiB",
    ),
    key(
        "sedge.console",
        "127.0.0.1:9644",
        "Address of the console and of /metrics, or off",
    ),
    key(
        "sedge.profile",
        "standard",
        "small: for little memory and flash; standard",
    ),
    key(
        "sedge.segment.bytes",
        "by profile",
        "Size of a segment file: small 16 MiB, standard 64 MiB",
    ),
    key(
        "sedge.views.flush.bytes",
        "by profile",
        "Changes of views kept in memory before they are written",
    ),
    key("socket.request.max.bytes", "104857600", "Largest request"),
];

/// The keys of a link, after `mirror.NAME.`.
pub const MIRROR_KEYS: &[Key] = &[
    key("bootstrap.servers", "", "Addresses of the upstream cluster"),
    key("client.id", "", "What the upstream sees in its logs"),
    key("direction", "push", "push: from here to the upstream"),
    key("linger.ms", "", "How long to gather before sending"),
    key("mode", "at-least-once", "at-least-once"),
    key(
        "request.timeout.ms",
        "30000",
        "How long the upstream has for an answer",
    ),
    key(
        "retry.backoff.max.ms",
        "30000",
        "Longest wait between two tries",
    ),
    key("retry.backoff.ms", "250", "First wait before trying again"),
    key("sasl.jaas.config", "", "Not supported yet"),
    key("sasl.mechanism", "", "Not supported yet"),
    key("security.protocol", "PLAINTEXT", "PLAINTEXT"),
    key("topics", "", "Topics to copy, as patterns"),
];

/// Keys of Kafka that a server.properties brings along and that mean nothing here.
const WITHOUT_EFFECT: &[&str] = &[
    "broker.id",
    "controller.listener.names",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.voters",
    "inter.broker.listener.name",
    "listener.security.protocol.map",
    "log.cleaner.threads",
    "num.io.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
    "process.roles",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
];

/// Whether a configuration may have this key.
pub fn is_known(key: &str) -> bool {
    if let Some((_, rest)) = split_mirror(key) {
        return MIRROR_KEYS.iter().any(|known| known.name == rest);
    }
    process_key(key).is_some() || is_broker_key(key) || is_without_effect(key)
}

/// Whether the key is Kafka's and means nothing here.
pub fn is_without_effect(key: &str) -> bool {
    WITHOUT_EFFECT.contains(&key)
}

/// Whether the key is one of the broker's, which topics fall back to and `DescribeConfigs` shows.
pub fn is_broker_key(key: &str) -> bool {
    plugin_key(key)
}

/// `sedge.plugin.NAME.KEY`: a plugin's own configuration, whose keys only the plugin knows.
fn plugin_key(key: &str) -> bool {
    key.strip_prefix("sedge.plugin.")
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(name, key)| !name.is_empty() && !key.is_empty())
}

/// The process's own key of that name.
pub fn process_key(key: &str) -> Option<&'static Key> {
    KEYS.iter().find(|known| known.name == key)
}

/// `mirror.NAME.KEY` as (NAME, KEY). A link's name has no dot.
pub fn split_mirror(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("mirror.")?.split_once('.')
}

/// The known names to compare an unknown one with: those of the same link, where it is a link's.
pub fn names_like(key: &str) -> Vec<String> {
    if let Some((link, _)) = split_mirror(key) {
        return MIRROR_KEYS
            .iter()
            .map(|known| format!("mirror.{link}.{}", known.name))
            .collect();
    }
    let process = KEYS.iter().map(|known| known.name);
    process.map(str::to_owned).collect()
}

/// Whether the value is not to be shown.
pub fn is_secret(key: &str) -> bool {
    ["password", "secret", "jaas.config", "keystore.key"]
        .iter()
        .any(|part| key.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_once() {
        for keys in [KEYS, MIRROR_KEYS] {
            for pair in keys.windows(2) {
                assert!(
                    pair[0].name < pair[1].name,
                    "{} {}",
                    pair[0].name,
                    pair[1].name
                );
            }
        }
    }

    #[test]
    fn knows_what_it_should() {
        let check = |key: &str, expected: bool| assert_eq!(is_known(key), expected, "{key}");
        check("listeners", true);
        check("listener", false);
        check("mirror.hq.topics", true);
        check("mirror.hq.topcis", false);
        check("mirror.topics", false);
        check("sedge.plugin.range.max", true);
        check("sedge.plugin.range", false);
        check("process.roles", true);
    }
}
