//! DescribeClientQuotas (key 48, KIP-546): no quotas are configured, which is not an error.

use sedge_core::security::Operation;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_client_quotas_request::DescribeClientQuotasRequestData;
use sedge_protocol::kafka::generated::describe_client_quotas_response::DescribeClientQuotasResponseData;

use crate::handlers::Request;

pub async fn handle(
    request: &Request,
    _: DescribeClientQuotasRequestData,
) -> DescribeClientQuotasResponseData {
    let response = DescribeClientQuotasResponseData::default();
    match request.cluster(Operation::DescribeConfigs) {
        Ok(_) => response.with_entries(Some(Vec::new())),
        Err(error) => response
            .with_error_code(error.code())
            .with_error_message(Some(KafkaString::from_static(
                "Cluster authorization failed.",
            )))
            .with_entries(None),
    }
}
