//! IncrementalAlterConfigs (key 44, KIP-339): sets and removes keys, and changes lists.

use std::collections::BTreeMap;

use sedge_core::config::{AlterOp, BrokerDefaults, ORIGINS_KEY, Resource, plan_alter};
use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequestData,
};
use sedge_protocol::kafka::generated::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponseData,
};

use crate::handlers::configs::{Changes, link_state};
use crate::handlers::{Refusal, Request, configs, repeats};

pub async fn handle(
    request: &Request,
    message: IncrementalAlterConfigsRequestData,
) -> IncrementalAlterConfigsResponseData {
    let named = repeats::part(message.resources, |resource| {
        (resource.resource_type, resource.resource_name.to_string())
    });
    let mut responses = Vec::with_capacity(named.once.len() + named.repeated.len());
    for resource in named.repeated {
        responses.push(response(resource, Err(configs::named_twice())));
    }
    for resource in named.once {
        if message.validate_only && is_plan(&resource) {
            let planned = Box::pin(plan_link(request, &resource)).await;
            let (outcome, plan) = match planned {
                Ok(plan) => (Ok(()), Some(plan)),
                Err(refusal) => (Err(refusal), None),
            };
            let mut answer = response(resource, outcome);
            if let Some(plan) = plan {
                answer.error_message = Some(plan.into());
            }
            responses.push(answer);
            continue;
        }
        let outcome = alter(request, &resource, message.validate_only).await;
        responses.push(response(resource, outcome));
    }
    IncrementalAlterConfigsResponseData::default().with_responses(responses)
}

fn response(
    resource: AlterConfigsResource,
    outcome: Result<(), Refusal>,
) -> AlterConfigsResourceResponse {
    let response = AlterConfigsResourceResponse::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name);
    match outcome {
        Ok(()) => response,
        Err(refusal) => response
            .with_error_code(refusal.code.code())
            .with_error_message(Some(refusal.message.into())),
    }
}

async fn alter(
    request: &Request,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let name = resource.resource_name.as_str();
    let is_mark = is_mark(resource);
    let operation = if is_mark {
        Operation::Write
    } else {
        Operation::AlterConfigs
    };
    let altered = configs::alter_as(
        request,
        operation,
        resource.resource_type,
        name,
        validate_only,
        |kind, current, broker| planned(resource, kind, current, broker),
    )
    .await;
    altered.map_err(|refusal| match refusal.code {
        // A link tells by the key's name that this is a sedge.
        ErrorCode::TopicAuthorizationFailed if is_mark => Refusal::new(
            refusal.code,
            format!("Authorization failed: adding to {ORIGINS_KEY} needs WRITE on the topic."),
        ),
        _ => refusal,
    })
}

/// Plans the changes that a request asks for.
fn planned(
    resource: &AlterConfigsResource,
    kind: Resource,
    current: &BTreeMap<String, String>,
    broker: &BrokerDefaults,
) -> Result<Changes, Refusal> {
    let asked = resource
        .configs
        .iter()
        .filter(|config| config.name.as_str() != link_state::PLAN);
    let ops = asked
        .map(|config| {
            let op = AlterOp::from_wire(config.config_operation).ok_or_else(|| {
                Refusal::new(
                    ErrorCode::InvalidRequest,
                    format!("Operation {} does not exist.", config.config_operation),
                )
            })?;
            let value = config.value.as_ref().map(KafkaString::as_str);
            Ok((config.name.as_str(), op, value))
        })
        .collect::<Result<Vec<_>, Refusal>>()?;
    Ok(plan_alter(kind, current, broker, ops)?)
}

fn is_plan(resource: &AlterConfigsResource) -> bool {
    let mut keys = resource.configs.iter().map(|config| config.name.as_str());
    resource.resource_type == link_state::GROUP && keys.any(|key| key == link_state::PLAN)
}

async fn plan_link(request: &Request, resource: &AlterConfigsResource) -> Result<String, Refusal> {
    let group = resource.resource_name.as_str();
    configs::plan_link(request, group, |kind, current, broker| {
        planned(resource, kind, current, broker)
    })
    .await
}

/// Returns whether the request only adds origins to a topic: whoever may write records to the topic
/// may say where they come from.
fn is_mark(resource: &AlterConfigsResource) -> bool {
    let adds = |config: &AlterableConfig| {
        let op = AlterOp::from_wire(config.config_operation);
        config.name.as_str() == ORIGINS_KEY && op == Some(AlterOp::Append)
    };
    let configs = &resource.configs;
    resource.resource_type == configs::TOPIC && !configs.is_empty() && configs.iter().all(adds)
}
