//! DescribeClientQuotas (key 48, KIP-546): no quotas are configured, which is not an error.

use sedge_protocol::kafka::generated::describe_client_quotas_request::DescribeClientQuotasRequestData;
use sedge_protocol::kafka::generated::describe_client_quotas_response::DescribeClientQuotasResponseData;

use crate::handlers::Request;

pub async fn handle(
    _: &Request,
    _: DescribeClientQuotasRequestData,
) -> DescribeClientQuotasResponseData {
    DescribeClientQuotasResponseData::default().with_entries(Some(Vec::new()))
}
