//! Creates rules, and waits until they are in force.

use std::time::{Duration, Instant};

use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::create_acls_request::{AclCreation, CreateAclsRequestData};
use sedge_protocol::kafka::generated::create_acls_response::CreateAclsResponseData;
use sedge_protocol::kafka::generated::delete_acls_request::{
    DeleteAclsFilter, DeleteAclsRequestData,
};
use sedge_protocol::kafka::generated::delete_acls_response::DeleteAclsResponseData;
use sedge_protocol::kafka::generated::describe_acls_request::DescribeAclsRequestData;
use sedge_protocol::kafka::generated::describe_acls_response::DescribeAclsResponseData;
use sedge_tests::wire::Connection;
use sedge_tests::{ask, limits};

use super::HOST;

pub const ANY: i8 = 1;
pub const LITERAL: i8 = 3;
pub const PREFIXED: i8 = 4;
pub const DENY: i8 = 2;
pub const ALLOW: i8 = 3;
pub const ALL: i8 = 2;
pub const TOPICS: i8 = 2;
const GROUPS: i8 = 3;
pub const CLUSTER: i8 = 4;

/// The address of all clients except the one at [`HOST`].
const ADMINISTRATOR: &str = "127.0.0.1";
pub const ANONYMOUS: &str = "User:ANONYMOUS";

/// A right, written as `Topic Write`, or as `Topic Write NAME` for a resource other than the
/// default one of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    pub resource: i8,
    pub operation: i8,
    pub name: &'static str,
}

impl Right {
    pub fn parse(text: &'static str) -> Self {
        let mut words = text.split(' ');
        let mut number = |names: &[&str]| {
            let word = words.next().unwrap_or_default();
            let at = names.iter().position(|known| *known == word);
            2 + at.unwrap_or_else(|| panic!("{word} of {text}")) as i8
        };
        let resource = number(&["Topic", "Group", "Cluster", "TransactionalId"]);
        let operation = number(&[
            "All",
            "Read",
            "Write",
            "Create",
            "Delete",
            "Alter",
            "Describe",
            "ClusterAction",
            "DescribeConfigs",
            "AlterConfigs",
            "IdempotentWrite",
        ]);
        let name = words.next().unwrap_or(match resource {
            TOPICS => super::asks::TOPIC,
            GROUPS => super::asks::GROUP,
            CLUSTER => "kafka-cluster",
            _ => super::asks::TRANSACTIONAL_ID,
        });
        Self {
            resource,
            operation,
            name,
        }
    }

    /// Returns the rule that allows or denies the client this right.
    pub fn rule(self, permission: i8) -> AclCreation {
        let host = HOST.to_string();
        rule(&host, self.resource, self.name, self.operation, permission)
    }
}

pub fn text(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}

/// Returns a rule for all clients of a host.
pub fn rule(host: &str, resource: i8, name: &str, operation: i8, permission: i8) -> AclCreation {
    AclCreation::default()
        .with_resource_type(resource)
        .with_resource_name(text(name))
        .with_resource_pattern_type(LITERAL)
        .with_principal(text(ANONYMOUS))
        .with_host(text(host))
        .with_operation(operation)
        .with_permission_type(permission)
}

/// Creates rules. Returns the error code of each.
pub fn create(admin: &mut Connection, rules: Vec<AclCreation>) -> Vec<i16> {
    let request = CreateAclsRequestData::default().with_creations(rules);
    let answer = ask!(admin, CreateAcls 3, request => CreateAclsResponseData);
    let results = answer.results.iter();
    results.map(|result| result.error_code).collect()
}

pub fn every() -> DescribeAclsRequestData {
    DescribeAclsRequestData::default()
        .with_resource_type_filter(ANY)
        .with_pattern_type_filter(ANY)
        .with_operation(ANY)
        .with_permission_type(ANY)
}

/// Counts the rules that a filter matches.
pub fn count(admin: &mut Connection, filter: &DescribeAclsRequestData) -> usize {
    let answer = ask!(admin, DescribeAcls 3, filter => DescribeAclsResponseData);
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    answer.resources.iter().map(|of| of.acls.len()).sum()
}

/// Waits until `expected` rules match the filter. (Apache Kafka's broker gets new rules from its
/// controller with a delay.)
pub fn wait(admin: &mut Connection, filter: &DescribeAclsRequestData, expected: usize) {
    let began = Instant::now();
    while count(admin, filter) != expected {
        assert!(
            began.elapsed() < limits::CONDITION,
            "there are {} rules, not {expected}",
            count(admin, filter)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn of_client() -> DescribeAclsRequestData {
    every().with_host_filter(Some(text(&HOST.to_string())))
}

/// Allows the administrator everything. Afterwards every resource has rules, so all other clients
/// are denied.
pub fn allow_the_administrator(admin: &mut Connection) {
    let types = [2, 3, 4, 5];
    let rules = types.map(|resource| {
        let name = if resource == 4 { "kafka-cluster" } else { "*" };
        rule(ADMINISTRATOR, resource, name, ALL, ALLOW)
    });
    assert_eq!(create(admin, rules.into()), [0; 4]);
    wait(admin, &every(), 4);
}

/// Replaces the client's rules by these.
pub fn set(admin: &mut Connection, rules: Vec<AclCreation>) {
    let filter = DeleteAclsFilter::default()
        .with_resource_type_filter(ANY)
        .with_pattern_type_filter(ANY)
        .with_host_filter(Some(text(&HOST.to_string())))
        .with_operation(ANY)
        .with_permission_type(ANY);
    let request = DeleteAclsRequestData::default().with_filters(vec![filter]);
    let answer = ask!(admin, DeleteAcls 3, request => DeleteAclsResponseData);
    assert_eq!(answer.filter_results[0].error_code, 0);
    wait(admin, &of_client(), 0);
    let expected = rules.len();
    if expected > 0 {
        let results = create(admin, rules);
        assert!(results.iter().all(|code| *code == 0), "{results:?}");
    }
    wait(admin, &of_client(), expected);
}
