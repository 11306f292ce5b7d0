//! DescribeAcls (key 29): returns the access rules that a filter matches, grouped by pattern.

use std::sync::Arc;

use sedge_core::security::{AclBinding, Operation};
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_acls_request::DescribeAclsRequestData;
use sedge_protocol::kafka::generated::describe_acls_response::{
    AclDescription, DescribeAclsResource, DescribeAclsResponseData,
};

use super::{FilterFields, filter};
use crate::handlers::{Refusal, Request};

pub async fn handle(
    request: &Request,
    message: DescribeAclsRequestData,
) -> DescribeAclsResponseData {
    let response = DescribeAclsResponseData::default();
    match describe(request, &message) {
        Ok(resources) => response.with_resources(resources),
        Err(refusal) => response
            .with_error_code(refusal.code.code())
            .with_error_message(Some(refusal.message.into())),
    }
}

fn describe(
    request: &Request,
    message: &DescribeAclsRequestData,
) -> Result<Vec<DescribeAclsResource>, Refusal> {
    super::check(request, Operation::Describe)?;
    let filter = filter(&FilterFields {
        resource_type: message.resource_type_filter,
        resource_name: message.resource_name_filter.as_ref(),
        pattern_type: message.pattern_type_filter,
        principal: message.principal_filter.as_ref(),
        host: message.host_filter.as_ref(),
        operation: message.operation,
        permission_type: message.permission_type,
    })?;
    let cluster = request.cluster(Operation::Describe);
    let cluster = cluster.map_err(|code| Refusal::new(code, "Cluster authorization failed."))?;
    let rules: Vec<&Arc<AclBinding>> = cluster
        .acls()
        .iter()
        .map(|(_, rule)| rule)
        .filter(|rule| filter.matches(rule))
        .collect();
    let pattern = |rule: &AclBinding| (rule.resource, rule.pattern, Arc::clone(&rule.name));
    let of_one_pattern = rules.chunk_by(|one, other| pattern(one) == pattern(other));
    Ok(of_one_pattern.map(show).collect())
}

/// Builds the response entry of rules with the same pattern. `rules` is not empty.
fn show(rules: &[&Arc<AclBinding>]) -> DescribeAclsResource {
    let acls = rules.iter().map(|rule| {
        AclDescription::default()
            .with_principal(KafkaString::from(rule.principal.to_string()))
            .with_host(KafkaString::from(rule.host.to_string()))
            .with_operation(rule.operation.number())
            .with_permission_type(rule.permission.number())
    });
    let described = DescribeAclsResource::default().with_acls(acls.collect());
    match rules.first() {
        None => described,
        Some(rule) => described
            .with_resource_type(rule.resource.number())
            .with_resource_name(KafkaString::from(rule.name.to_string()))
            .with_pattern_type(rule.pattern.number()),
    }
}
