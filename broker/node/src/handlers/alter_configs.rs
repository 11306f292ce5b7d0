//! AlterConfigs (key 33), which older tools use: what is not named goes back to its default.

use sedge_core::config::plan_replace;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::alter_configs_request::{
    AlterConfigsRequestData, AlterConfigsResource,
};
use sedge_protocol::kafka::generated::alter_configs_response::{
    AlterConfigsResourceResponse, AlterConfigsResponseData,
};

use super::{Refusal, Request, configs};

pub async fn handle(
    request: &Request,
    message: AlterConfigsRequestData,
) -> AlterConfigsResponseData {
    let mut responses = Vec::with_capacity(message.resources.len());
    for resource in message.resources {
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        responses.push(
            match replace(request, &resource, message.validate_only).await {
                Ok(()) => response,
                Err(refusal) => response
                    .with_error_code(refusal.code.code())
                    .with_error_message(Some(refusal.message.into())),
            },
        );
    }
    AlterConfigsResponseData::default().with_responses(responses)
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
        |kind, current, _| {
            let wanted = resource.configs.iter().map(|config| {
                (
                    config.name.as_str(),
                    config.value.as_ref().map(KafkaString::as_str),
                )
            });
            Ok(plan_replace(kind, current, wanted)?)
        },
    )
    .await
}
