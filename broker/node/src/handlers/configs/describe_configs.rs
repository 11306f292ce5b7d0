//! DescribeConfigs (key 32): returns every configuration with its value, the source, and its
//! synonyms.

use std::collections::BTreeSet;

use sedge_core::config::{
    ConfigType, Described, Source, describe_all_brokers, describe_broker, describe_client_metrics,
    describe_group, describe_topic,
};
use sedge_core::mirror::GROUP_PREFIX;
use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_configs_request::{
    DescribeConfigsRequestData, DescribeConfigsResource,
};
use sedge_protocol::kafka::generated::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponseData, DescribeConfigsResult,
    DescribeConfigsSynonym,
};

use crate::handlers::configs::{self, Owner, WITHOUT_CONFIGS, link_state};
use crate::handlers::request::{Cluster, Topic};
use crate::handlers::{Refusal, Request};
use crate::limits::PLUGIN_LOGS_MAX;
use crate::plugins::{FILTER_STATE_KEY, LOG_KEY_PREFIX};

pub async fn handle(
    request: &Request,
    message: DescribeConfigsRequestData,
) -> DescribeConfigsResponseData {
    let results = message
        .resources
        .iter()
        .map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            let name = resource.resource_name.as_str();
            let is_group = resource.resource_type == link_state::GROUP;
            let is_other = is_group && !name.starts_with(GROUP_PREFIX);
            if WITHOUT_CONFIGS.contains(&resource.resource_type) && !is_other {
                let operation = Operation::DescribeConfigs;
                let kind = resource.resource_type;
                return match configs::check_without_configs(request, operation, kind, name) {
                    Ok(()) => result.with_configs(describe_link(request, kind, name)),
                    Err(refusal) => refused(result, refusal),
                };
            }
            match describe(request, resource) {
                Ok(entries) => result
                    .with_error_code(ErrorCode::None.code())
                    .with_configs(entries.map(|entry| show(entry, &message)).collect()),
                Err(refusal) => refused(result, refusal),
            }
        })
        .collect();
    DescribeConfigsResponseData::default().with_results(results)
}

fn describe(
    request: &Request,
    resource: &DescribeConfigsResource,
) -> Result<impl Iterator<Item = Described>, Refusal> {
    let name = resource.resource_name.as_str();
    let operation = Operation::DescribeConfigs;
    let keys = resource.configuration_keys.as_deref();
    let entries = match Owner::find(request, operation, resource.resource_type, name)? {
        Owner::Topic(topics, _) => {
            let topic = topics.named(name).map_err(|code| Refusal::new(code, ""))?;
            let mut entries = describe_topic(&topic.overrides, topics.defaults());
            entries.extend(filter_state(topic));
            entries
        }
        Owner::ThisBroker(cluster) => {
            let mut entries = describe_broker(cluster.defaults());
            let keys = keys.unwrap_or_default().iter().take(PLUGIN_LOGS_MAX);
            entries.extend(keys.filter_map(|key| plugin_log(&cluster, key.as_str())));
            entries
        }
        Owner::AllBrokers(cluster) => describe_all_brokers(cluster.defaults()),
        Owner::ClientMetrics(cluster, name) => {
            describe_client_metrics(cluster.client_metrics_of(&name))
        }
        Owner::Group(group) => describe_group(group.overrides(), group.defaults()),
        // Described as the others of their type, with their state.
        Owner::Link(..) => Vec::new(),
    };
    let wanted: Option<BTreeSet<String>> =
        keys.map(|keys| keys.iter().map(ToString::to_string).collect());
    Ok(entries.into_iter().filter(move |entry| {
        wanted
            .as_ref()
            .is_none_or(|wanted| wanted.contains(&entry.name))
    }))
}

fn refused(result: DescribeConfigsResult, refusal: Refusal) -> DescribeConfigsResult {
    result
        .with_error_code(refusal.code.code())
        .with_error_message(Some(refusal.message.into()))
}

/// Returns the state of the mirror link with this group id. Other groups have no configurations.
fn describe_link(request: &Request, kind: i8, group: &str) -> Vec<DescribeConfigsResourceResult> {
    let described = match kind {
        link_state::GROUP => link_state::describe(request, group),
        _ => None,
    };
    described.unwrap_or_default()
}

/// Returns the state of a topic's filters, as a read-only key.
fn filter_state(topic: Topic<'_>) -> Option<Described> {
    let state = topic.filter_state()?;
    Some(Described {
        name: FILTER_STATE_KEY.to_owned(),
        value: Some(state),
        source: Source::Default,
        is_read_only: true,
        is_sensitive: false,
        kind: ConfigType::String,
        doc: "Whether each filter of the topic can run",
        synonyms: Vec::new(),
    })
}

/// Returns what a plugin logged, as a read-only key. A request has to name the key.
fn plugin_log(cluster: &Cluster, key: &str) -> Option<Described> {
    let plugin = key.strip_prefix(LOG_KEY_PREFIX)?;
    Some(Described {
        name: key.to_owned(),
        value: Some(cluster.plugin_log(plugin)?),
        source: Source::Default,
        is_read_only: true,
        is_sensitive: false,
        kind: ConfigType::String,
        doc: "The last lines that the plugin logged: number, ms since 1970, level, text",
        synonyms: Vec::new(),
    })
}

fn show(entry: Described, message: &DescribeConfigsRequestData) -> DescribeConfigsResourceResult {
    let synonyms = if message.include_synonyms {
        entry
            .synonyms
            .into_iter()
            .map(|synonym| {
                DescribeConfigsSynonym::default()
                    .with_name(KafkaString::from(synonym.name))
                    .with_value(synonym.value.map(KafkaString::from))
                    .with_source(synonym.source.wire())
            })
            .collect()
    } else {
        Vec::new()
    };
    let doc = message
        .include_documentation
        .then(|| KafkaString::from_static(entry.doc));
    DescribeConfigsResourceResult::default()
        .with_name(KafkaString::from(entry.name))
        .with_value(entry.value.map(KafkaString::from))
        .with_read_only(entry.is_read_only)
        .with_config_source(entry.source.wire())
        .with_is_sensitive(entry.is_sensitive)
        .with_synonyms(synonyms)
        .with_config_type(entry.kind.wire())
        .with_documentation(doc)
}
