//! DescribeQuorum (key 55, KIP-595, KIP-836): the quorum of the controller is this broker alone.

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_quorum_request::DescribeQuorumRequestData;
use sedge_protocol::kafka::generated::describe_quorum_response::{
    DescribeQuorumResponseData, Listener, Node, PartitionData, ReplicaState, TopicData,
};

use crate::handlers::Request;
use crate::handlers::request::Cluster;

/// The only topic with a quorum, and its only partition.
const TOPIC: &str = "__cluster_metadata";
const PARTITION: i32 = 0;

/// The version whose responses have messages and the nodes of the quorum (KIP-853).
const FIRST_FULL_VERSION: i16 = 2;

pub async fn handle(
    request: &Request,
    message: DescribeQuorumRequestData,
) -> DescribeQuorumResponseData {
    let is_full = request.version() >= FIRST_FULL_VERSION;
    let response = DescribeQuorumResponseData::default().with_error_message(message_of(is_full));
    let cluster = match request.cluster(Operation::Describe) {
        Ok(cluster) => cluster,
        Err(error) => return response.with_error_code(error.code()),
    };
    // As Kafka, which answers a request for anything else with an error for each partition.
    let is_of_quorum = match message.topics.as_slice() {
        [topic] if topic.topic_name.as_str() == TOPIC => {
            matches!(topic.partitions.as_slice(), [of] if of.partition_index == PARTITION)
        }
        _ => false,
    };
    let described = is_of_quorum.then(|| describe(request, &cluster));
    let refuse = |index| refuse(index, is_full);
    let topics = message.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|of| {
            described
                .clone()
                .unwrap_or_else(|| refuse(of.partition_index))
        });
        TopicData::default()
            .with_partitions(partitions.collect())
            .with_topic_name(topic.topic_name)
    });
    let nodes = (is_of_quorum && is_full).then(|| node(request));
    response
        .with_topics(topics.collect())
        .with_nodes(nodes.into_iter().collect())
}

fn describe(request: &Request, cluster: &Cluster) -> PartitionData {
    let partition = PartitionData::default().with_partition_index(PARTITION);
    let Ok(end) = cluster.metadata_end() else {
        return partition.with_error_code(ErrorCode::KafkaStorageError.code());
    };
    let now_ms = match request.version() {
        0 => -1,
        _ => request.now().wall_ms,
    };
    // The leader of a quorum of one is caught up at all times.
    let own = ReplicaState::default()
        .with_replica_id(request.node_id())
        .with_log_end_offset(end.get())
        .with_last_fetch_timestamp(now_ms)
        .with_last_caught_up_timestamp(now_ms);
    partition
        .with_error_message(message_of(request.version() >= FIRST_FULL_VERSION))
        .with_leader_id(request.node_id())
        .with_leader_epoch(cluster.leader_epoch().get())
        .with_high_watermark(end.get())
        .with_current_voters(vec![own])
}

fn refuse(index: i32, is_full: bool) -> PartitionData {
    let why = KafkaString::from_static(
        "Only the partition 0 of __cluster_metadata has a quorum; ask for it alone.",
    );
    PartitionData::default()
        .with_partition_index(index)
        .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
        .with_error_message(is_full.then_some(why))
}

/// Returns the address of the controller, which is that of this listener.
fn node(request: &Request) -> Node {
    let (host, port) = request.advertised();
    let listener = Listener::default()
        .with_name(KafkaString::from(request.listener().to_owned()))
        .with_host(host)
        .with_port(u16::try_from(port).unwrap_or(0));
    Node::default()
        .with_node_id(request.node_id())
        .with_listeners(vec![listener])
}

/// Returns the message of a success: Kafka writes an empty one instead of none.
fn message_of(is_full: bool) -> Option<KafkaString> {
    is_full.then(|| KafkaString::from_static(""))
}
