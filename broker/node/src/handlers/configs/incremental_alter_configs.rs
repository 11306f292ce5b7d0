//! IncrementalAlterConfigs (key 44, KIP-339): sets and removes keys, and changes lists.

use sedge_core::config::{AlterOp, plan_alter};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::incremental_alter_configs_request::{
    AlterConfigsResource, IncrementalAlterConfigsRequestData,
};
use sedge_protocol::kafka::generated::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponseData,
};

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
    configs::alter(
        request,
        resource.resource_type,
        name,
        validate_only,
        |kind, current, broker| {
            let ops = resource
                .configs
                .iter()
                .map(|config| {
                    let op = AlterOp::from_wire(config.config_operation).ok_or_else(|| {
                        Refusal::new(
                            ErrorCode::InvalidRequest,
                            format!("Operation {} does not exist.", config.config_operation),
                        )
                    })?;
                    Ok((
                        config.name.as_str(),
                        op,
                        config.value.as_ref().map(KafkaString::as_str),
                    ))
                })
                .collect::<Result<Vec<_>, Refusal>>()?;
            Ok(plan_alter(kind, current, broker, ops)?)
        },
    )
    .await
}
