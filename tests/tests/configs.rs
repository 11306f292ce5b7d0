//! Compares the configurations of topics and brokers with those that Apache Kafka describes: their
//! names, types, defaults and whether they can change, with a list of what differs and why. Texts
//! of documentation are not compared; each key has one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_configs_request::{
    DescribeConfigsRequestData, DescribeConfigsResource,
};
use sedge_protocol::kafka::generated::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponseData, DescribeConfigsSynonym,
};
use sedge_tests::apache_kafka::ApacheKafka;
use sedge_tests::ask;
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Connection};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const PASSWORD: i8 = 9;
/// `DescribeConfigsResponse.ConfigSource.DEFAULT_CONFIG`.
const DEFAULT: i8 = 5;

/// What Kafka describes of a key.
#[derive(Debug, PartialEq)]
struct Key {
    kind: i8,
    default: Option<String>,
    is_read_only: bool,
}

/// Keys of brokers whose defaults differ, with the reason.
const OTHER_DEFAULTS: &[(&str, &str)] = &[
    (
        "listeners",
        "a broker without configuration is not open to others",
    ),
    (
        "log.cleaner.dedupe.buffer.size",
        "devices have little memory",
    ),
    ("log.dirs", "there is always a data directory"),
    ("max.connections", "memory is reserved for each connection"),
    (
        "metadata.log.max.record.bytes.between.snapshots",
        "a small device replays a mebibyte at its start, not twenty",
    ),
    ("node.id", "a broker without configuration has an id"),
    ("num.network.threads", "depends on sedge.profile"),
    (
        "offsets.topic.num.partitions",
        "one log holds all partitions",
    ),
    (
        "queued.max.request.bytes",
        "depends on sedge.profile, and is always limited",
    ),
    ("sasl.enabled.mechanisms", "there is no Kerberos"),
    (
        "group.coordinator.rebalance.protocols",
        "streams groups are not supported",
    ),
    ("socket.receive.buffer.bytes", "pipelined batches need more"),
    ("ssl.cipher.suites", "not set: all suites that rustls has"),
    ("ssl.keystore.type", "not set: detected"),
    ("ssl.truststore.type", "not set: detected"),
    (
        "transaction.state.log.num.partitions",
        "one log holds all partitions",
    ),
];

/// Prefixes of the names of keys of brokers that Kafka changes while it runs, and sedge reads at
/// its start.
const READ_AT_THE_START: &[&str] = &[
    "cordoned.log.dirs",
    "listener.security.protocol.map",
    "listeners",
    "num.network.threads",
    "principal.builder.class",
    "sasl.",
    "ssl.",
];

/// Keys of brokers that only sedge has.
fn is_own(name: &str) -> bool {
    // Kafka has the last two keys too, and does not describe them.
    const OWN: [&str; 5] = [
        "cluster.id",
        "durability",
        "flush.ms",
        "group.consumer.regex.refresh.interval.ms",
        "producer.id.expiration.check.interval.ms",
    ];
    name.starts_with("sedge.") || OWN.contains(&name)
}

fn describe(address: &str, resource_type: i8, name: &str) -> BTreeMap<String, Key> {
    let mut connection = Connection::open(address);
    let resource = DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(KafkaString::from(name.to_owned()))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequestData::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(true);
    let answer = ask!(&mut connection, DescribeConfigs 4, request => DescribeConfigsResponseData);
    let result = &answer.results[0];
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
    let entries = result.configs.iter().map(|entry| {
        let doc = entry.documentation.as_ref().map(KafkaString::as_str);
        assert!(
            doc.is_some_and(|doc| !doc.is_empty()),
            "{}",
            entry.name.as_str()
        );
        (entry.name.to_string(), key(entry))
    });
    entries.collect()
}

fn key(entry: &DescribeConfigsResourceResult) -> Key {
    let is_own = |of: &&DescribeConfigsSynonym| of.source == DEFAULT && of.name == entry.name;
    let default = match entry.config_source {
        DEFAULT => entry.value.as_ref(),
        _ => entry
            .synonyms
            .iter()
            .find(is_own)
            .and_then(|of| of.value.as_ref()),
    };
    Key {
        kind: entry.config_type,
        default: default.map(ToString::to_string),
        is_read_only: entry.read_only,
    }
}

/// Compares all keys of `there`, Kafka's, with those here.
fn compare(here: &BTreeMap<String, Key>, there: &BTreeMap<String, Key>, is_broker: bool) -> String {
    let mut wrong = String::new();
    let mut say = |name: &str, what: String| {
        writeln!(wrong, "{name}: {what}").expect("a String takes everything");
    };
    for name in here.keys().filter(|name| !there.contains_key(*name)) {
        if !is_own(name) {
            say(name, "Kafka has no such key".to_owned());
        }
    }
    for (name, expected) in there {
        let Some(found) = here.get(name) else {
            say(name, "it is missing".to_owned());
            continue;
        };
        if found.kind != expected.kind {
            say(name, format!("type {}, not {}", found.kind, expected.kind));
        }
        let is_other = is_broker && OTHER_DEFAULTS.iter().any(|(other, _)| other == name);
        // Kafka has no default for a key that is null, and shows none of a password.
        let is_same = found.default == expected.default || expected.kind == PASSWORD;
        if is_same == is_other {
            let (found, expected) = (&found.default, &expected.default);
            say(name, format!("default {found:?}, Kafka's {expected:?}"));
        }
        let is_fixed_here = is_broker
            && READ_AT_THE_START
                .iter()
                .any(|prefix| name.starts_with(prefix));
        if found.is_read_only != expected.is_read_only && !is_fixed_here {
            let (found, expected) = (found.is_read_only, expected.is_read_only);
            say(name, format!("read-only {found}, Kafka's {expected}"));
        }
    }
    wrong
}

#[test]
fn configurations_are_those_that_kafka_describes() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("configs");
    let kafka = ApacheKafka::start(&directory.join("kafka"), &[]);
    let sedge = Sedge::start(&directory.join("data"), Options::default());
    let mut wrong = String::new();
    for (resource_type, name) in [(TOPIC, "t"), (BROKER, "1")] {
        let of = |address: &str| {
            if resource_type == TOPIC {
                wire::create_topic(&mut Connection::open(address), name, 1, &[]);
            }
            describe(address, resource_type, name)
        };
        let (here, there) = (of(&sedge.bootstrap()), of(&kafka.bootstrap()));
        assert!(there.len() > 30, "{}", there.len());
        wrong.push_str(&compare(&here, &there, resource_type == BROKER));
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
