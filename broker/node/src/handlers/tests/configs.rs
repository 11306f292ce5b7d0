//! Tests configurations of topics, the broker and groups.

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::alter_configs_request::{
    self, AlterConfigsRequestData, AlterableConfig,
};
use sedge_protocol::kafka::generated::alter_configs_response::AlterConfigsResponseData;
use sedge_protocol::kafka::generated::describe_configs_request::{
    DescribeConfigsRequestData, DescribeConfigsResource,
};
use sedge_protocol::kafka::generated::describe_configs_response::DescribeConfigsResponseData;
use sedge_protocol::kafka::generated::incremental_alter_configs_request::{
    self, IncrementalAlterConfigsRequestData,
};
use sedge_protocol::kafka::generated::incremental_alter_configs_response::IncrementalAlterConfigsResponseData;
use sedge_protocol::kafka::generated::list_config_resources_request::ListConfigResourcesRequestData;
use sedge_protocol::kafka::generated::list_config_resources_response::ListConfigResourcesResponseData;

use super::client::{Client, ask, code, text};
use crate::config::connection_limits::ConnectionLimits;
use crate::test_broker::TestBroker;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
pub(super) const GROUP: i8 = 32;

pub(super) const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

fn started() -> (TestBroker, Client) {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    let client = Client::new(&broker);
    (broker, client)
}

/// Returns the error, and the keys with their values.
fn describe(
    client: &Client,
    resource_type: i8,
    name: &str,
    keys: Option<&[&str]>,
) -> (ErrorCode, Vec<(String, String)>) {
    let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name))
        .with_configuration_keys(keys);
    let request = DescribeConfigsRequestData::default().with_resources(vec![resource]);
    let answer = ask!(client, DescribeConfigs 4, request => DescribeConfigsResponseData);
    let answer = &answer.results[0];
    assert_eq!(
        (answer.resource_type, &answer.resource_name),
        (resource_type, &text(name))
    );
    let entries = answer.configs.iter().map(|entry| {
        let value = entry.value.as_ref().map(ToString::to_string);
        (entry.name.to_string(), value.unwrap_or_default())
    });
    (code(answer.error_code), entries.collect())
}

fn retention(client: &Client) -> String {
    let (error, mut entries) = describe(client, TOPIC, "a", Some(&["retention.ms"]));
    assert_eq!((error, entries.len()), (ErrorCode::None, 1));
    entries.remove(0).1
}

#[test]
fn each_kind_of_resource_is_described_or_refused() {
    let (broker, client) = started();
    let node = broker.broker.node_id.to_string();
    let check = |resource_type: i8, name: &str, expected: ErrorCode, has_entries: bool| {
        let (error, entries) = describe(&client, resource_type, name, None);
        assert_eq!(
            (error, !entries.is_empty()),
            (expected, has_entries),
            "{name}"
        );
    };
    check(TOPIC, "a", ErrorCode::None, true);
    check(TOPIC, "none", ErrorCode::UnknownTopicOrPartition, false);
    check(TOPIC, "a/b", ErrorCode::InvalidTopicException, false);
    check(8, "77", ErrorCode::InvalidRequest, false);
    check(BROKER, &node, ErrorCode::None, true);
    check(BROKER, "77", ErrorCode::InvalidRequest, false);
    // For all brokers, only what was set while they ran.
    check(BROKER, "", ErrorCode::None, false);
    check(CLIENT_METRICS, "m", ErrorCode::None, true);
    check(CLIENT_METRICS, "", ErrorCode::InvalidRequest, false);
    check(GROUP, "g", ErrorCode::None, true);
    check(GROUP, "", ErrorCode::InvalidRequest, false);
    check(3, "a", ErrorCode::InvalidRequest, false);
    let (_, entries) = describe(&client, TOPIC, "a", Some(&["retention.ms", "none"]));
    assert_eq!(entries.len(), 1);
}

pub(super) fn alter(
    client: &Client,
    resources: &[(i8, &str)],
    key: &str,
    op: i8,
    value: &str,
) -> Vec<ErrorCode> {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config = AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(op)
        .with_value(Some(text(value)));
    let resource = |(resource_type, name): &(i8, &str)| {
        AlterConfigsResource::default()
            .with_resource_type(*resource_type)
            .with_resource_name(text(name))
            .with_configs(vec![config.clone()])
    };
    let request = IncrementalAlterConfigsRequestData::default()
        .with_resources(resources.iter().map(resource).collect());
    let answer = ask!(client, IncrementalAlterConfigs 1, request
        => IncrementalAlterConfigsResponseData);
    let responses = answer.responses.iter();
    responses
        .map(|resource| code(resource.error_code))
        .collect()
}

#[test]
fn a_configuration_is_set_and_taken_back() {
    let (_broker, client) = started();
    let before = retention(&client);
    let alter_one = |resource, key, op, value| alter(&client, &[resource], key, op, value)[0];
    let topic = (TOPIC, "a");
    assert_eq!(
        alter_one(topic, "retention.ms", SET, "1234"),
        ErrorCode::None
    );
    assert_eq!(retention(&client), "1234");
    assert_eq!(
        alter_one(topic, "retention.ms", DELETE, ""),
        ErrorCode::None
    );
    assert_eq!(retention(&client), before);
    let policy = "cleanup.policy";
    assert_eq!(alter_one(topic, policy, APPEND, "compact"), ErrorCode::None);
    let (_, entries) = describe(&client, TOPIC, "a", Some(&[policy]));
    assert_eq!(entries[0].1, "delete,compact");
    assert_eq!(
        alter_one(topic, policy, 9, "compact"),
        ErrorCode::InvalidRequest
    );
    assert_eq!(
        alter_one(topic, "retention.ms", APPEND, "1"),
        ErrorCode::InvalidConfig
    );
    assert_eq!(
        alter_one(topic, "retention.ms", SET, "much"),
        ErrorCode::InvalidConfig
    );
    assert_eq!(alter_one(topic, "none", SET, "1"), ErrorCode::InvalidConfig);
    assert_eq!(
        alter_one(topic, "sedge.filter", SET, "none"),
        ErrorCode::InvalidConfig
    );
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(
        alter_one((TOPIC, "none"), "retention.ms", SET, "1"),
        unknown
    );
    assert_eq!(
        alter_one((TOPIC, ""), "retention.ms", SET, "1"),
        ErrorCode::InvalidRequest
    );
    assert_eq!(
        alter_one((GROUP, "g"), "retention.ms", SET, "1"),
        ErrorCode::InvalidConfig
    );
    assert_eq!(
        alter_one((BROKER, ""), "log.retention.ms", SET, "99"),
        ErrorCode::None
    );
    let (_, entries) = describe(&client, BROKER, "", None);
    assert_eq!(entries, [("log.retention.ms".to_owned(), "99".to_owned())]);
    // A resource that is named twice is not altered; one that is named once is.
    let resources = [topic, (BROKER, ""), topic];
    let (twice, done) = (ErrorCode::InvalidRequest, ErrorCode::None);
    let key = "sedge.none";
    assert_eq!(
        alter(&client, &resources[..1], key, SET, "1"),
        [ErrorCode::InvalidConfig]
    );
    let codes = alter(&client, &resources, "log.retention.ms", SET, "98");
    assert_eq!(codes, [twice, twice, done]);
}

#[test]
fn a_group_has_configurations_of_its_own() {
    let (_broker, client) = started();
    let group = [(GROUP, "g")];
    let key = "consumer.heartbeat.interval.ms";
    let set = |value: &str| alter(&client, &group, key, SET, value);
    assert_eq!(
        set("1"),
        [ErrorCode::InvalidConfig],
        "less than the broker allows"
    );
    assert_eq!(set("6000"), [ErrorCode::None]);
    let (_, entries) = describe(&client, GROUP, "g", None);
    let entries: Vec<_> = entries
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(
        entries,
        [(key, "6000"), ("consumer.session.timeout.ms", "45000")]
    );
    let request = ListConfigResourcesRequestData::default().with_resource_types(vec![GROUP]);
    let listed = ask!(client, ListConfigResources 1, request => ListConfigResourcesResponseData);
    assert_eq!(listed.config_resources[0].resource_name.as_str(), "g");
}

#[test]
fn an_older_tool_replaces_all_that_was_set() {
    let (_broker, client) = started();
    let before = retention(&client);
    assert_eq!(
        alter(&client, &[(TOPIC, "a")], "retention.ms", SET, "1234"),
        [ErrorCode::None]
    );
    let replace = |names: &[&str], key: &str, validate_only: bool| -> Vec<ErrorCode> {
        let config = AlterableConfig::default()
            .with_name(text(key))
            .with_value(Some(text("4321")));
        let resource = |name: &&str| {
            alter_configs_request::AlterConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(text(name))
                .with_configs(vec![config.clone()])
        };
        let request = AlterConfigsRequestData::default()
            .with_resources(names.iter().map(resource).collect())
            .with_validate_only(validate_only);
        let answer = ask!(client, AlterConfigs 2, request => AlterConfigsResponseData);
        let responses = answer.responses.iter();
        responses
            .map(|resource| code(resource.error_code))
            .collect()
    };
    assert_eq!(replace(&["a"], "segment.ms", true), [ErrorCode::None]);
    assert_eq!(retention(&client), "1234");
    assert_eq!(replace(&["a"], "none", false), [ErrorCode::InvalidConfig]);
    assert_eq!(
        replace(&["none"], "segment.ms", false),
        [ErrorCode::UnknownTopicOrPartition]
    );
    let twice = ErrorCode::InvalidRequest;
    assert_eq!(replace(&["a", "a"], "segment.ms", false), [twice, twice]);
    assert_eq!(retention(&client), "1234");
    assert_eq!(replace(&["a"], "segment.ms", false), [ErrorCode::None]);
    assert_eq!(retention(&client), before);
}

#[test]
fn what_has_configurations_is_listed_by_kind() {
    let (broker, client) = started();
    let node = broker.broker.node_id.to_string();
    let list = |types: &[i8]| {
        let request = ListConfigResourcesRequestData::default().with_resource_types(types.to_vec());
        let answer = ask!(client, ListConfigResources 1, request
            => ListConfigResourcesResponseData);
        let resources = answer.config_resources.iter();
        let names = resources.map(|resource| resource.resource_name.to_string());
        (code(answer.error_code), names.collect::<Vec<_>>())
    };
    let here = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned());
        (ErrorCode::None, names.collect::<Vec<_>>())
    };
    assert_eq!(list(&[]), here(&["a", &node, &node]));
    assert_eq!(list(&[TOPIC]), here(&["a"]));
    assert_eq!(list(&[CLIENT_METRICS, GROUP]), here(&[]));
    assert_eq!(list(&[TOPIC, 3]), (ErrorCode::UnsupportedVersion, vec![]));
    // Version 0 only knows client metrics, of which there are none.
    let request = ListConfigResourcesRequestData::default();
    let oldest = ask!(client, ListConfigResources 0, request => ListConfigResourcesResponseData);
    assert!(oldest.config_resources.is_empty() && oldest.error_code == 0);
}

/// A setting of this broker comes before that of all brokers, both at once and after a restart.
#[test]
fn settings_of_this_broker_and_of_all_brokers_are_two() {
    let (broker, client) = started();
    let node = broker.broker.node_id.to_string();
    let name = "log.retention.ms";
    let set = |of: &str, value: &str| alter(&client, &[(BROKER, of)], name, SET, value)[0];
    let told = |of: &str| {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(BROKER)
            .with_resource_name(text(of))
            .with_configuration_keys(Some(vec![text(name)]));
        let request = DescribeConfigsRequestData::default()
            .with_resources(vec![resource])
            .with_include_synonyms(true);
        let answer = ask!(client, DescribeConfigs 4, request => DescribeConfigsResponseData);
        let entries = answer.results[0].configs.iter();
        let told = entries.map(|entry| {
            let value = entry.value.as_ref().map(ToString::to_string);
            (
                value.unwrap_or_default(),
                entry.config_source,
                entry.synonyms.len(),
            )
        });
        told.collect::<Vec<_>>()
    };
    let (this, all) = (2, 3);
    assert_eq!(set("", "1000"), ErrorCode::None);
    assert_eq!(told(""), [("1000".to_owned(), all, 1)]);
    assert_eq!(told(&node)[0].0, "1000");
    assert_eq!(retention(&client), "1000");
    assert_eq!(set(&node, "2000"), ErrorCode::None);
    assert_eq!(told(""), [("1000".to_owned(), all, 1)]);
    let own = told(&node);
    assert_eq!((own[0].0.as_str(), own[0].1), ("2000", this));
    assert_eq!(retention(&client), "2000");
    let removed = alter(&client, &[(BROKER, &node)], name, DELETE, "");
    assert_eq!(removed, [ErrorCode::None]);
    assert_eq!(retention(&client), "1000");
    assert_eq!(set("77", "1"), ErrorCode::InvalidRequest);
    assert_eq!(set(&node, "much"), ErrorCode::InvalidRequest);
    let fixed = alter(&client, &[(BROKER, &node)], "num.partitions", SET, "3");
    assert_eq!(fixed, [ErrorCode::InvalidRequest]);
}

/// The broker reserved memory for its connections at its start.
#[test]
fn limits_of_connections_are_lowered_while_the_broker_runs() {
    let (broker, client) = started();
    let started_with = broker.broker.config.max_connections;
    let set = |key: &str, value: &str| alter(&client, &[(BROKER, "")], key, SET, value)[0];
    let more = (started_with + 1).to_string();
    let refused = ErrorCode::InvalidRequest;
    assert_eq!(set("max.connections", &more), refused);
    assert_eq!(set("max.connections", "0"), refused);
    assert_eq!(set("max.connections", "7"), ErrorCode::None);
    assert_eq!(set("max.connections.per.ip", "0"), refused);
    assert_eq!(set("max.connections.per.ip", "3"), ErrorCode::None);
    assert_eq!(set("max.connections.per.ip.overrides", "a"), refused);
    let overrides = "192.0.2.7:5";
    assert_eq!(
        set("max.connections.per.ip.overrides", overrides),
        ErrorCode::None
    );
    assert_eq!(set("max.connection.creation.rate", "20"), ErrorCode::None);
    let image = broker.broker.log.metadata.load();
    let limits = ConnectionLimits::of(image.defaults(), &broker.broker.config).unwrap();
    assert_eq!((limits.max, limits.creation_rate), (7, Some(20)));
    assert_eq!(limits.of_address.of("192.0.2.7".parse().unwrap()), 5);
    assert_eq!(limits.of_address.of("192.0.2.8".parse().unwrap()), 3);
}
