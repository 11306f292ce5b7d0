//! DescribeCluster (key 60): this one broker, which is the controller as well.

use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_cluster_request::DescribeClusterRequestData;
use sedge_protocol::kafka::generated::describe_cluster_response::{
    DescribeClusterBroker, DescribeClusterResponseData,
};

use super::Request;

pub async fn handle(
    request: &Request,
    message: DescribeClusterRequestData,
) -> DescribeClusterResponseData {
    let broker = &request.broker;
    let (host, port) = broker.advertised(&request.peer);
    DescribeClusterResponseData::default()
        .with_endpoint_type(message.endpoint_type)
        .with_cluster_id(KafkaString::from(broker.cluster_id.clone()))
        .with_controller_id(broker.node_id.get())
        .with_brokers(vec![
            DescribeClusterBroker::default()
                .with_broker_id(broker.node_id.get())
                .with_host(host)
                .with_port(port),
        ])
}
