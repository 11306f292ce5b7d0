//! CreateAcls (key 30): refuses each ACL, because no authorizer is configured to enforce it.

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::create_acls_request::CreateAclsRequestData;
use sedge_protocol::kafka::generated::create_acls_response::{
    AclCreationResult, CreateAclsResponseData,
};

use crate::handlers::{NO_AUTHORIZER, Request};

pub async fn handle(_: &Request, message: CreateAclsRequestData) -> CreateAclsResponseData {
    let results = message.creations.iter().map(|_| {
        AclCreationResult::default()
            .with_error_code(ErrorCode::SecurityDisabled.code())
            .with_error_message(Some(NO_AUTHORIZER.to_owned().into()))
    });
    CreateAclsResponseData::default().with_results(results.collect())
}
