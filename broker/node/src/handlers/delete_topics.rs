//! DeleteTopics (key 20): the records are gone with the reply.

use sedge_core::metadata::{Command, CommandReply, TopicName};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::delete_topics_request::{
    DeleteTopicState, DeleteTopicsRequestData,
};
use sedge_protocol::kafka::generated::delete_topics_response::{
    DeletableTopicResult, DeleteTopicsResponseData,
};
use sedge_protocol::kafka::{KafkaString, KafkaUuid};

use super::{Refusal, Request};

pub async fn handle(
    request: &Request,
    message: DeleteTopicsRequestData,
) -> DeleteTopicsResponseData {
    let by_name = message
        .topic_names
        .into_iter()
        .map(|name| DeleteTopicState::default().with_name(Some(name)));
    let mut responses = Vec::new();
    for wanted in by_name.chain(message.topics) {
        responses.push(delete(request, wanted).await);
    }
    DeleteTopicsResponseData::default().with_responses(responses)
}

async fn delete(request: &Request, wanted: DeleteTopicState) -> DeletableTopicResult {
    let result = DeletableTopicResult::default()
        .with_name(wanted.name.clone())
        .with_topic_id(wanted.topic_id);
    let topic = match (&wanted.name, wanted.topic_id) {
        (Some(name), KafkaUuid::ZERO) => Ok(TopicName::Name(name.to_string())),
        (None, id) if id != KafkaUuid::ZERO => Ok(TopicName::Id(id)),
        _ => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "A topic is named by its name or its id.",
        )),
    };
    let outcome = match topic {
        Ok(topic) => super::command(request, Command::DeleteTopic { topic }).await,
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok(CommandReply::Deleted { name, id, .. }) => {
            let now = request.broker.clock.now();
            let groups = &request.broker.groups;
            groups.act(|machine| machine.handle_topic_deleted(now, &name));
            result
                .with_name(Some(KafkaString::from(name)))
                .with_topic_id(id)
        }
        Ok(_) => result.with_error_code(ErrorCode::UnknownServerError.code()),
        Err(refusal) => result
            .with_error_code(refusal.code.code())
            .with_error_message(Some(refusal.message.into())),
    }
}
