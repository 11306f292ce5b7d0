//! DeleteTopics (key 20): the records are deleted before the reply is sent.

use sedge_core::metadata::{Command, CommandReply, TopicName};
use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::delete_topics_request::{
    DeleteTopicState, DeleteTopicsRequestData,
};
use sedge_protocol::kafka::generated::delete_topics_response::{
    DeletableTopicResult, DeleteTopicsResponseData,
};
use sedge_protocol::kafka::{KafkaString, KafkaUuid};

use crate::handlers::{Refusal, Request, repeats};

/// The version whose clients know THROTTLING_QUOTA_EXCEEDED (KIP-599).
const FIRST_STRICT_VERSION: i16 = 5;

/// The version that introduced TOPIC_DELETION_DISABLED.
const FIRST_VERSION_WITH_DELETION_DISABLED: i16 = 3;

pub async fn handle(
    request: &Request,
    message: DeleteTopicsRequestData,
) -> DeleteTopicsResponseData {
    let topics = request.topics(Operation::Delete);
    let by_name = message
        .topic_names
        .into_iter()
        .map(|name| DeleteTopicState::default().with_name(Some(name)));
    let wanted = by_name.chain(message.topics).collect();
    // A topic that is named by name and by id is named twice.
    let topic = |wanted: &DeleteTopicState| {
        let topic = match &wanted.name {
            Some(name) => topics.named(name.as_str()),
            None => topics.by_id(wanted.topic_id),
        };
        match topic {
            Ok(topic) => (None, topic.id),
            Err(_) => (wanted.name.clone(), wanted.topic_id),
        }
    };
    let named = repeats::part(wanted, topic);
    let mut responses = Vec::with_capacity(named.once.len() + named.repeated.len());
    for wanted in repeats::first_mentions(named.repeated, topic) {
        let refusal = Refusal::new(
            ErrorCode::InvalidRequest,
            "Duplicate topic name or topic id.",
        );
        responses.push(refused(result(&wanted), refusal));
    }
    for wanted in named.once {
        responses.push(delete(request, wanted).await);
    }
    DeleteTopicsResponseData::default().with_responses(responses)
}

fn result(wanted: &DeleteTopicState) -> DeletableTopicResult {
    DeletableTopicResult::default()
        .with_name(wanted.name.clone())
        .with_topic_id(wanted.topic_id)
}

fn refused(result: DeletableTopicResult, refusal: Refusal) -> DeletableTopicResult {
    result
        .with_error_code(refusal.code.code())
        .with_error_message(Some(refusal.message.into()))
}

async fn delete(request: &Request, wanted: DeleteTopicState) -> DeletableTopicResult {
    let result = result(&wanted);
    let topic = match (&wanted.name, wanted.topic_id) {
        _ if !request
            .topics(Operation::Delete)
            .defaults()
            .deletes_topics() =>
        {
            Err(disabled(request))
        }
        (Some(name), KafkaUuid::ZERO) => Ok(TopicName::Name(name.to_string())),
        (None, id) if id != KafkaUuid::ZERO => Ok(TopicName::Id(id)),
        _ => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "A topic needs a name or an id, and not both.",
        )),
    };
    let outcome = match topic {
        Ok(topic) => match charge(request, &topic) {
            Ok(()) => request.command(Command::DeleteTopic { topic }).await,
            Err(refusal) => Err(refusal),
        },
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok(CommandReply::Deleted { name, id, .. }) => result
            .with_name(Some(KafkaString::from(name)))
            .with_topic_id(id),
        Ok(_) => result.with_error_code(ErrorCode::UnknownServerError.code()),
        Err(refusal) => refused(result, refusal),
    }
}

fn charge(request: &Request, topic: &TopicName) -> Result<(), Refusal> {
    let topics = request.topics(Operation::Delete);
    let topic = match topic {
        TopicName::Name(name) => topics.named(name),
        TopicName::Id(id) => topics.by_id(*id),
    };
    // The controller says what is wrong.
    let Ok(topic) = topic else {
        return Ok(());
    };
    request.charge_strict_mutation(topic.partition_count(), FIRST_STRICT_VERSION)
}

/// Returns the refusal for `delete.topic.enable=false`. Older clients do not know the error code
/// for that.
fn disabled(request: &Request) -> Refusal {
    let code = if request.version() < FIRST_VERSION_WITH_DELETION_DISABLED {
        ErrorCode::InvalidRequest
    } else {
        ErrorCode::TopicDeletionDisabled
    };
    Refusal::new(code, "Topic deletion is disabled (delete.topic.enable).")
}
