//! DeleteAcls (key 31): refuses each filter, because no authorizer is configured.

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::delete_acls_request::DeleteAclsRequestData;
use sedge_protocol::kafka::generated::delete_acls_response::{
    DeleteAclsFilterResult, DeleteAclsResponseData,
};

use crate::handlers::{NO_AUTHORIZER, Request};

pub async fn handle(_: &Request, message: DeleteAclsRequestData) -> DeleteAclsResponseData {
    let results = message.filters.iter().map(|_| {
        DeleteAclsFilterResult::default()
            .with_error_code(ErrorCode::SecurityDisabled.code())
            .with_error_message(Some(NO_AUTHORIZER.to_owned().into()))
    });
    DeleteAclsResponseData::default().with_filter_results(results.collect())
}
