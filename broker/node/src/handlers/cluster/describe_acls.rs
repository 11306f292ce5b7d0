//! DescribeAcls (key 29): refused, because no authorizer is configured.

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::describe_acls_request::DescribeAclsRequestData;
use sedge_protocol::kafka::generated::describe_acls_response::DescribeAclsResponseData;

use crate::handlers::{NO_AUTHORIZER, Request};

pub async fn handle(_: &Request, _: DescribeAclsRequestData) -> DescribeAclsResponseData {
    DescribeAclsResponseData::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(NO_AUTHORIZER.to_owned().into()))
}
