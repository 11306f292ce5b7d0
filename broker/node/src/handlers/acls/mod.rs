//! Code shared by the three APIs of access rules: parsing of rules and of filters for rules.

use sedge_core::security::acl::CLUSTER_NAME;
use sedge_core::security::{
    AclBinding, AclFilter, Host, Operation, PatternFilter, PatternType, Permission, Resource,
};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::create_acls_request::AclCreation;

use crate::handlers::{Refusal, Request};

pub mod create_acls;
pub mod delete_acls;
pub mod describe_acls;

/// The number of `ANY` in all of Kafka's enums.
const ANY: i8 = 1;
/// The number of `PatternType.MATCH`.
const MATCH: i8 = 2;

/// Checks that the client may perform `operation` on the cluster, and that an authorizer is
/// configured.
fn check(request: &Request, operation: Operation) -> Result<(), Refusal> {
    let checked = request.check(operation, Resource::Cluster, CLUSTER_NAME);
    checked.map_err(|code| Refusal::new(code, "Cluster authorization failed."))?;
    if request.has_authorizer() {
        return Ok(());
    }
    let message = "No Authorizer is configured on the broker";
    Err(Refusal::new(ErrorCode::SecurityDisabled, message))
}

/// Replaces the results of the valid parts of a request by the controller's answers, in order. If
/// the whole command was refused, each valid part gets that refusal.
fn answer_valid<T>(
    results: &mut [Result<T, Refusal>],
    answers: Result<Vec<Result<T, Refusal>>, Refusal>,
) {
    let valid = results.iter_mut().filter(|result| result.is_ok());
    match answers {
        Ok(answers) => {
            for (result, answer) in valid.zip(answers) {
                *result = answer;
            }
        }
        Err(refusal) => valid.for_each(|result| *result = Err(refusal.clone())),
    }
}

/// Returns the refusal for a reply of the controller that has the wrong type.
fn no_rules() -> Refusal {
    let message = "The controller's reply has no access rules.";
    Refusal::new(ErrorCode::UnknownServerError, message)
}

/// Parses and validates a rule to be created (`AclControlManager.validateNewAcl`).
///
/// # Errors
/// INVALID_REQUEST, with the reason.
fn rule(wanted: &AclCreation) -> Result<AclBinding, Refusal> {
    let number = |what: &str, number: i8| invalid(format!("Invalid {what} {number}"));
    let resource = Resource::from_number(wanted.resource_type)
        .ok_or_else(|| number("resourceType", wanted.resource_type))?;
    let name = wanted.resource_name.as_str();
    if resource == Resource::Cluster && name != CLUSTER_NAME {
        return Err(invalid(format!(
            "The only valid name for the CLUSTER resource is {CLUSTER_NAME}"
        )));
    }
    if name.is_empty() {
        return Err(invalid("Invalid empty resource name".to_owned()));
    }
    let pattern = wanted.resource_pattern_type;
    let operation = wanted.operation;
    let permission = wanted.permission_type;
    let rule = AclBinding {
        resource,
        pattern: PatternType::from_number(pattern).ok_or_else(|| number("patternType", pattern))?,
        name: name.into(),
        principal: wanted.principal.as_str().into(),
        host: Host::parse(wanted.host.as_str()),
        operation: Operation::from_number(operation)
            .ok_or_else(|| number("operation", operation))?,
        permission: Permission::from_number(permission)
            .ok_or_else(|| number("permissionType", permission))?,
    };
    if !rule.principal.contains(':') {
        return Err(invalid(format!(
            "Could not parse principal from `{}` (no colon is present separating the principal \
             type from the principal name)",
            rule.principal
        )));
    }
    Ok(rule)
}

fn invalid(message: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}

/// The fields of a filter, in the two requests that have filters.
struct FilterFields<'a> {
    resource_type: i8,
    resource_name: Option<&'a KafkaString>,
    pattern_type: i8,
    principal: Option<&'a KafkaString>,
    host: Option<&'a KafkaString>,
    operation: i8,
    permission_type: i8,
}

/// Parses a filter.
///
/// # Errors
/// INVALID_REQUEST if Kafka does not define a number.
fn filter(fields: &FilterFields<'_>) -> Result<AclFilter, Refusal> {
    fn one<T>(
        what: &str,
        number: i8,
        known: impl Fn(i8) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        if number == ANY {
            return Ok(None);
        }
        let found = known(number);
        let found = found.ok_or_else(|| invalid(format!("Unknown {what} {number}.")));
        found.map(Some)
    }
    let text = |text: Option<&KafkaString>| text.map(ToString::to_string);
    let pattern = match fields.pattern_type {
        MATCH => PatternFilter::Match,
        number => match one("patternFilter", number, PatternType::from_number)? {
            None => PatternFilter::Any,
            Some(pattern) => PatternFilter::Exactly(pattern),
        },
    };
    Ok(AclFilter {
        resource: one("resourceType", fields.resource_type, Resource::from_number)?,
        pattern,
        name: text(fields.resource_name),
        principal: text(fields.principal),
        host: fields.host.map(|host| Host::parse(host.as_str())),
        operation: one("operation", fields.operation, Operation::from_number)?,
        permission: one(
            "permissionType",
            fields.permission_type,
            Permission::from_number,
        )?,
    })
}
