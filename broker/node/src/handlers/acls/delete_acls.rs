//! DeleteAcls (key 31): deletes the access rules that a filter matches, and returns them.

use std::sync::Arc;

use sedge_core::metadata::{Command, CommandReply};
use sedge_core::security::{AclBinding, Operation};
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::delete_acls_request::{
    DeleteAclsFilter, DeleteAclsRequestData,
};
use sedge_protocol::kafka::generated::delete_acls_response::{
    DeleteAclsFilterResult, DeleteAclsMatchingAcl, DeleteAclsResponseData,
};

use super::{FilterFields, filter};
use crate::handlers::{Refusal, Request};

/// The rules that a filter deleted.
type Deleted = Vec<Arc<AclBinding>>;

pub async fn handle(request: &Request, message: DeleteAclsRequestData) -> DeleteAclsResponseData {
    let results = match super::check(request, Operation::Alter) {
        Ok(()) => delete(request, &message).await,
        Err(refusal) => vec![Err(refusal); message.filters.len()],
    };
    let results = results.into_iter().map(|result| {
        let deleted = DeleteAclsFilterResult::default();
        match result {
            Ok(rules) => deleted.with_matching_acls(rules.iter().map(|rule| show(rule)).collect()),
            Err(refusal) => deleted
                .with_error_code(refusal.code.code())
                .with_error_message(Some(refusal.message.into())),
        }
    });
    DeleteAclsResponseData::default().with_filter_results(results.collect())
}

async fn delete(
    request: &Request,
    message: &DeleteAclsRequestData,
) -> Vec<Result<Deleted, Refusal>> {
    let mut results: Vec<Result<Deleted, Refusal>> = Vec::with_capacity(message.filters.len());
    let mut filters = Vec::new();
    for wanted in &message.filters {
        results.push(filter(&fields(wanted)).map(|filter| {
            filters.push(filter);
            Deleted::new()
        }));
    }
    if filters.is_empty() {
        return results;
    }
    let answers = match request.command(Command::DeleteAcls { filters }).await {
        Ok(CommandReply::AclsDeleted(deleted)) => Ok(deleted.into_iter().map(Ok).collect()),
        Ok(_) => Err(super::no_rules()),
        Err(refusal) => Err(refusal),
    };
    super::answer_valid(&mut results, answers);
    results
}

fn fields(wanted: &DeleteAclsFilter) -> FilterFields<'_> {
    FilterFields {
        resource_type: wanted.resource_type_filter,
        resource_name: wanted.resource_name_filter.as_ref(),
        pattern_type: wanted.pattern_type_filter,
        principal: wanted.principal_filter.as_ref(),
        host: wanted.host_filter.as_ref(),
        operation: wanted.operation,
        permission_type: wanted.permission_type,
    }
}

fn show(rule: &AclBinding) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl::default()
        .with_resource_type(rule.resource.number())
        .with_resource_name(KafkaString::from(rule.name.to_string()))
        .with_pattern_type(rule.pattern.number())
        .with_principal(KafkaString::from(rule.principal.to_string()))
        .with_host(KafkaString::from(rule.host.to_string()))
        .with_operation(rule.operation.number())
        .with_permission_type(rule.permission.number())
}
