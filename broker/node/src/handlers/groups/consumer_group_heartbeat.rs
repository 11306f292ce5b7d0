//! ConsumerGroupHeartbeat (key 68, KIP-848): a member joins, stays in and leaves a consumer group,
//! and learns its partitions.

use sedge_core::groups::{Assignment, ConsumerBeat, ConsumerHeartbeat, Refused};
use sedge_core::metadata::features::GROUP_VERSION;
use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequestData;
use sedge_protocol::kafka::generated::consumer_group_heartbeat_response::{
    Assignment as Assigned, ConsumerGroupHeartbeatResponseData, TopicPartitions,
};

use crate::handlers::Request;
use crate::process::random::random_uuid;

const FIRST_VERSION_WITH_CLIENTS_IDS: i16 = 1;
const NO_TIMEOUT: i32 = -1;

pub async fn handle(
    request: &Request,
    message: ConsumerGroupHeartbeatRequestData,
) -> ConsumerGroupHeartbeatResponseData {
    match beat(request, message).await {
        Ok(beat) => {
            let assignment = beat.assignment.map(|assignment| {
                let topics = assignment.to_wire().into_iter().map(|(id, partitions)| {
                    TopicPartitions::default()
                        .with_topic_id(id)
                        .with_partitions(partitions)
                });
                Box::new(Assigned::default().with_topic_partitions(topics.collect()))
            });
            ConsumerGroupHeartbeatResponseData::default()
                .with_member_id(Some(beat.member_id.into()))
                .with_member_epoch(beat.member_epoch)
                .with_heartbeat_interval_ms(beat.heartbeat_interval_ms)
                .with_assignment(assignment)
        }
        Err(Refused { code, message }) => ConsumerGroupHeartbeatResponseData::default()
            .with_error_code(code.code())
            .with_error_message(Some(message.into())),
    }
}

async fn beat(
    request: &Request,
    message: ConsumerGroupHeartbeatRequestData,
) -> Result<ConsumerBeat, Refused> {
    let heartbeat = read(request, message);
    let denied = |code| Refused::new(code, "Authorization failed.");
    let group = request.group(Operation::Read, &heartbeat.group_id);
    let group = group.map_err(denied)?;
    let is_on = request.features().0.level(GROUP_VERSION) > 0;
    if !is_on || !group.with(|machine| machine.has_consumer_protocol()) {
        let why = "The feature group.version has level 0, or \
                   group.coordinator.rebalance.protocols does not name consumer.";
        return Err(Refused::new(ErrorCode::UnsupportedVersion, why));
    }
    let topics = request.topics(Operation::Describe);
    for name in heartbeat.topics.iter().flatten() {
        if let Err(code @ ErrorCode::TopicAuthorizationFailed) = topics.named(name) {
            return Err(denied(code));
        }
    }
    let new_id = random_uuid().inner().to_string();
    let (reply, written) = group.consumer_heartbeat(&heartbeat, &new_id);
    let beat = reply?;
    let failed = |code| Refused::new(code, "The group's records cannot be written now; retry.");
    written.wait().await.map_err(failed)?;
    Ok(beat)
}

fn read(request: &Request, message: ConsumerGroupHeartbeatRequestData) -> ConsumerHeartbeat {
    let text = |text: Option<KafkaString>| text.map(|text| text.to_string());
    let topics = message.subscribed_topic_names.map(|names| {
        let names = names.into_iter().map(|name| name.to_string());
        names.collect()
    });
    let owned = message.topic_partitions.map(|topics| {
        let topics = topics
            .into_iter()
            .map(|topic| (topic.topic_id, topic.partitions));
        Assignment::from_wire(&topics.collect())
    });
    let timeout_ms = message.rebalance_timeout_ms;
    ConsumerHeartbeat {
        group_id: message.group_id.to_string(),
        member_id: message.member_id.to_string(),
        member_epoch: message.member_epoch,
        instance_id: text(message.instance_id),
        rack_id: text(message.rack_id),
        client_id: request.client_id().to_owned(),
        client_host: format!("/{}", request.remote_ip()),
        rebalance_timeout_ms: (timeout_ms != NO_TIMEOUT).then_some(timeout_ms),
        topics,
        regex: text(message.subscribed_topic_regex),
        assignor: text(message.server_assignor),
        owned,
        requires_member_id: request.version() >= FIRST_VERSION_WITH_CLIENTS_IDS,
    }
}
