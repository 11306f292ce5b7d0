//! ListConfigResources (key 74, KIP-1142): lists the resources that have configurations.

use std::collections::BTreeSet;

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::list_config_resources_request::ListConfigResourcesRequestData;
use sedge_protocol::kafka::generated::list_config_resources_response::{
    ConfigResource, ListConfigResourcesResponseData,
};

use crate::handlers::Request;
use crate::handlers::configs::{
    BROKER, BROKER_LOGGER, CLIENT_METRICS, TOPIC, WITHOUT_CONFIGS, link_state,
};
use crate::mirror::group_of;

pub async fn handle(
    request: &Request,
    message: ListConfigResourcesRequestData,
) -> ListConfigResourcesResponseData {
    let response = ListConfigResourcesResponseData::default();
    let wanted = match message.resource_types {
        // The only type that version 0 asks for.
        _ if request.version() == 0 => vec![CLIENT_METRICS],
        all if all.is_empty() => vec![
            TOPIC,
            BROKER,
            BROKER_LOGGER,
            CLIENT_METRICS,
            link_state::GROUP,
        ],
        some => some,
    };
    let cluster = match request.cluster(Operation::DescribeConfigs) {
        Ok(cluster) => cluster,
        Err(error) => return response.with_error_code(error.code()),
    };
    let mut resources = Vec::new();
    for resource_type in wanted {
        match resource_type {
            TOPIC => {
                let topics = cluster.topics();
                resources.extend(topics.all().map(|topic| resource(&topic.name, TOPIC)));
            }
            BROKER | BROKER_LOGGER => {
                let node = request.node_id().to_string();
                resources.push(resource(&node, resource_type));
            }
            CLIENT_METRICS => {
                let all = cluster.client_metrics().iter();
                resources.extend(all.map(|(name, _)| resource(name, CLIENT_METRICS)));
            }
            link_state::GROUP => {
                let links = request.links().into_iter();
                let links = links.map(|link| group_of(&link));
                let mut groups: BTreeSet<String> = links.collect();
                groups.extend(cluster.configured_groups().map(str::to_owned));
                let groups = groups.iter();
                resources.extend(groups.map(|group| resource(group, link_state::GROUP)));
            }
            other if WITHOUT_CONFIGS.contains(&other) => {}
            _ => return response.with_error_code(ErrorCode::UnsupportedVersion.code()),
        }
    }
    response.with_config_resources(resources)
}

fn resource(name: &str, resource_type: i8) -> ConfigResource {
    ConfigResource::default()
        .with_resource_name(KafkaString::from(name.to_owned()))
        .with_resource_type(resource_type)
}
