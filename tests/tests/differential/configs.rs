//! Requests about configurations. Changes are only validated.

use sedge_protocol::kafka::generated as messages;

use messages::alter_configs_request as replace;
use messages::describe_configs_request as describe;
use messages::incremental_alter_configs_request as alter;

use crate::case::{Case, case, text};
use crate::{MISSING, TOPIC};

const OF_TOPIC: i8 = 2;
const OF_BROKER: i8 = 4;
const OF_LOGGER: i8 = 8;
const OF_CLIENT_METRICS: i8 = 16;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Resource type, name, key, operation, value.
#[rustfmt::skip]
const CHANGES: &[(i8, &str, &str, i8, Option<&str>)] = &[
    (OF_TOPIC, TOPIC, "retention.ms", SET, Some("1")),
    (OF_TOPIC, TOPIC, "retention.ms", SET, Some("x")),
    (OF_TOPIC, TOPIC, "retention.ms", SET, Some("-2")),
    (OF_TOPIC, TOPIC, "retention.ms", SET, None),
    (OF_TOPIC, TOPIC, "retention.ms", DELETE, None),
    (OF_TOPIC, TOPIC, "retention.ms", APPEND, Some("1")),
    (OF_TOPIC, TOPIC, "retention.ms", SUBTRACT, Some("1")),
    (OF_TOPIC, TOPIC, "cleanup.policy", APPEND, Some("compact")),
    (OF_TOPIC, TOPIC, "cleanup.policy", SUBTRACT, Some("compact")),
    (OF_TOPIC, TOPIC, "cleanup.policy", APPEND, Some("shred")),
    (OF_TOPIC, TOPIC, "no.such.key", SET, Some("1")),
    (OF_TOPIC, TOPIC, "no.such.key", DELETE, None),
    (OF_TOPIC, TOPIC, "compression.gzip.level", SET, Some("0")),
    (OF_TOPIC, TOPIC, "compression.type", SET, Some("brotli")),
    (OF_TOPIC, TOPIC, "min.insync.replicas", SET, Some("0")),
    (OF_TOPIC, TOPIC, "unclean.leader.election.enable", SET, Some("maybe")),
    (OF_TOPIC, MISSING, "retention.ms", SET, Some("1")),
    (OF_TOPIC, "a/b", "retention.ms", SET, Some("1")),
    (OF_TOPIC, "", "retention.ms", SET, Some("1")),
    (OF_BROKER, "", "log.retention.ms", SET, Some("1")),
    (OF_BROKER, "1", "log.retention.ms", SET, Some("1")),
    (OF_BROKER, "1", "log.retention.ms", SET, Some("x")),
    (OF_BROKER, "1", "log.retention.ms", SET, None),
    (OF_BROKER, "1", "log.retention.ms", APPEND, Some("1")),
    (OF_BROKER, "1", "log.cleanup.policy", APPEND, Some("compact")),
    (OF_BROKER, "", "log.cleanup.policy", SUBTRACT, Some("delete")),
    (OF_BROKER, "1", "num.partitions", SET, Some("2")),
    (OF_BROKER, "1", "num.partitions", DELETE, None),
    (OF_BROKER, "", "node.id", SET, Some("2")),
    (OF_BROKER, "", "compression.gzip.level", SET, Some("0")),
    (OF_BROKER, "", "ssl.keystore.location", SET, Some("/none")),
    (OF_BROKER, "7", "log.retention.ms", SET, Some("1")),
    (OF_BROKER, "x", "log.retention.ms", SET, Some("1")),
    (OF_BROKER, "-1", "log.retention.ms", SET, Some("1")),
    (OF_CLIENT_METRICS, "m", "interval.ms", SET, Some("1000")),
    (OF_CLIENT_METRICS, "m", "interval.ms", SET, Some("1")),
    (OF_CLIENT_METRICS, "m", "interval.ms", SET, Some("x")),
    (OF_CLIENT_METRICS, "m", "interval.ms", APPEND, Some("1")),
    (OF_CLIENT_METRICS, "m", "metrics", APPEND, Some("a")),
    (OF_CLIENT_METRICS, "m", "match", SET, Some("client_id=(")),
    (OF_CLIENT_METRICS, "m", "match", SET, Some("client=a")),
    (OF_CLIENT_METRICS, "m", "no.such.key", SET, Some("1")),
    (OF_CLIENT_METRICS, "", "interval.ms", SET, Some("1000")),
    (3, "x", "retention.ms", SET, Some("1")),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, name, key, op, value) in CHANGES {
        let named = format!("alter {kind} {name:?} {key} {op} {value:?}");
        case!(cases, &named, IncrementalAlterConfigs 0..=1, |_| {
            let config = alter::AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(*op)
                .with_value(value.map(text));
            let resource = alter::AlterConfigsResource::default()
                .with_resource_type(*kind)
                .with_resource_name(text(name))
                .with_configs(vec![config]);
            alter::IncrementalAlterConfigsRequestData::default()
                .with_resources(vec![resource])
                .with_validate_only(true)
        } => messages::incremental_alter_configs_response::IncrementalAlterConfigsResponseData);
        // Kafka's controller refuses to remove the min.insync.replicas that it sets by itself.
        if *op != SET || (*kind == OF_BROKER && name.is_empty()) {
            continue;
        }
        let named = format!("replace {kind} {name:?} {key} {value:?}");
        case!(cases, &named, AlterConfigs 0..=2, |_| {
            let config = replace::AlterableConfig::default()
                .with_name(text(key))
                .with_value(value.map(text));
            let resource = replace::AlterConfigsResource::default()
                .with_resource_type(*kind)
                .with_resource_name(text(name))
                .with_configs(vec![config]);
            replace::AlterConfigsRequestData::default()
                .with_resources(vec![resource])
                .with_validate_only(true)
        } => messages::alter_configs_response::AlterConfigsResponseData);
    }
    for (kind, name, key) in [
        (OF_TOPIC, TOPIC, "retention.ms"),
        (OF_TOPIC, TOPIC, "no.such.key"),
        (OF_TOPIC, MISSING, "retention.ms"),
        (OF_TOPIC, "a/b", "retention.ms"),
        (OF_BROKER, "1", "num.partitions"),
        (OF_BROKER, "1", "log.cleaner.backoff.ms"),
        (OF_BROKER, "1", "delegation.token.secret.key"),
        (OF_BROKER, "", "num.partitions"),
        (OF_BROKER, "7", "num.partitions"),
        (OF_BROKER, "x", "num.partitions"),
        (OF_LOGGER, "7", "root"),
        (OF_CLIENT_METRICS, "none", "interval.ms"),
        (OF_CLIENT_METRICS, "", "interval.ms"),
        (3, "x", "retention.ms"),
    ] {
        let named = format!("describe {kind} {name:?} {key}");
        case!(cases, &named, DescribeConfigs 1..=4, |_| {
            let resource = describe::DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configuration_keys(Some(vec![text(key)]));
            describe::DescribeConfigsRequestData::default()
                .with_resources(vec![resource])
                .with_include_synonyms(true)
        } => messages::describe_configs_response::DescribeConfigsResponseData);
    }
    cases
}
