//! AlterConfigs (key 33), used by older tools: keys that are not named go back to their defaults.

use sedge_core::config::plan_replace;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::alter_configs_request::{
    AlterConfigsRequestData, AlterConfigsResource,
};
use sedge_protocol::kafka::generated::alter_configs_response::{
    AlterConfigsResourceResponse, AlterConfigsResponseData,
};

use crate::handlers::{Refusal, Request, configs, repeats};

pub async fn handle(
    request: &Request,
    message: AlterConfigsRequestData,
) -> AlterConfigsResponseData {
    let named = repeats::part(message.resources, |resource| {
        (resource.resource_type, resource.resource_name.to_string())
    });
    let mut responses = Vec::with_capacity(named.once.len() + named.repeated.len());
    for resource in named.repeated {
        responses.push(response(resource, Err(configs::named_twice())));
    }
    for resource in named.once {
        let outcome = replace(request, &resource, message.validate_only).await;
        responses.push(response(resource, outcome));
    }
    AlterConfigsResponseData::default().with_responses(responses)
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

async fn replace(
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
            let wanted = resource.configs.iter().map(|config| {
                (
                    config.name.as_str(),
                    config.value.as_ref().map(KafkaString::as_str),
                )
            });
            Ok(plan_replace(kind, current, broker, wanted)?)
        },
    )
    .await
}
