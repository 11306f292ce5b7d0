//! DescribeCluster (key 60): returns this broker, which is the controller as well.

use sedge_protocol::kafka::generated::describe_cluster_request::DescribeClusterRequestData;
use sedge_protocol::kafka::generated::describe_cluster_response::{
    DescribeClusterBroker, DescribeClusterResponseData,
};

use crate::handlers::Request;

pub async fn handle(
    request: &Request,
    message: DescribeClusterRequestData,
) -> DescribeClusterResponseData {
    let operations = request.cluster_operations(message.include_cluster_authorized_operations);
    let (host, port) = request.advertised();
    DescribeClusterResponseData::default()
        .with_endpoint_type(message.endpoint_type)
        .with_cluster_id(request.cluster_id())
        .with_controller_id(request.node_id())
        .with_cluster_authorized_operations(operations)
        .with_brokers(vec![
            DescribeClusterBroker::default()
                .with_broker_id(request.node_id())
                .with_host(host)
                .with_port(port),
        ])
}
