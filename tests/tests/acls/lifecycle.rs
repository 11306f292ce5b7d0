//! Rules are created, described, kept across a restart, enforced, and deleted.

use sedge_protocol::kafka::generated::create_acls_request::AclCreation;
use sedge_protocol::kafka::generated::delete_acls_request::{
    DeleteAclsFilter, DeleteAclsRequestData,
};
use sedge_protocol::kafka::generated::delete_acls_response::DeleteAclsResponseData;
use sedge_protocol::kafka::generated::describe_acls_response::DescribeAclsResponseData;
use sedge_tests::ask;
use sedge_tests::wire::{self, Connection};

use super::admin::{self, ALLOW, ANONYMOUS, ANY, Right, text};
use super::{HOST, Tested, asks};

const INVALID_REQUEST: i16 = 42;
const MATCH: i8 = 2;
const ALICE: &str = "User:alice";

/// Returns different rules for Alice.
fn rules_of_alice() -> Vec<AclCreation> {
    let rule = |resource, name, operation| {
        admin::rule("*", resource, name, operation, ALLOW).with_principal(text(ALICE))
    };
    vec![
        rule(2, "a.b", 3),
        rule(2, "a.", 4).with_resource_pattern_type(admin::PREFIXED),
        rule(3, "*", 3),
        // A duplicate, which is stored once.
        rule(2, "a.b", 3),
    ]
}

#[test]
fn rules_are_told_outlive_the_process_and_go_by_filters() {
    let mut tested = Tested::start("acls-lifecycle");
    let of_alice = admin::every().with_principal_filter(Some(text(ALICE)));
    let results = admin::create(&mut tested.admin, rules_of_alice());
    assert_eq!(results, [0; 4]);
    admin::wait(&mut tested.admin, &of_alice, 3);
    tested.broker.restart();
    let admin = &mut Connection::open(&tested.broker.bootstrap());
    admin::wait(admin, &of_alice, 3);

    let about = |name: &str| {
        of_alice
            .clone()
            .with_pattern_type_filter(MATCH)
            .with_resource_name_filter(Some(text(name)))
    };
    assert_eq!(
        admin::count(admin, &about("a.b").with_resource_type_filter(2)),
        2
    );
    assert_eq!(
        admin::count(admin, &about("a.c").with_resource_type_filter(2)),
        1
    );
    assert_eq!(admin::count(admin, &about("a.c")), 2);
    let request = about("a.c").with_resource_type_filter(2);
    let answer = ask!(admin, DescribeAcls 3, request => DescribeAclsResponseData);
    let found = &answer.resources[0];
    assert_eq!(
        (found.resource_name.as_str(), found.pattern_type),
        ("a.", 4)
    );
    let rule = &found.acls[0];
    let told = (rule.principal.as_str(), rule.host.as_str(), rule.operation);
    assert_eq!(told, (ALICE, "*", 4));

    let filter = |name: Option<&str>| {
        DeleteAclsFilter::default()
            .with_resource_type_filter(ANY)
            .with_resource_name_filter(name.map(text))
            .with_pattern_type_filter(ANY)
            .with_principal_filter(Some(text(ALICE)))
            .with_operation(ANY)
            .with_permission_type(ANY)
    };
    // A rule that two filters match is in both results.
    let filters = vec![filter(Some("a.b")), filter(None), filter(Some("none"))];
    let request = DeleteAclsRequestData::default().with_filters(filters);
    let answer = ask!(admin, DeleteAcls 3, request => DeleteAclsResponseData);
    let results = answer.filter_results.iter();
    let deleted = results.map(|result| (result.error_code, result.matching_acls.len()));
    assert_eq!(deleted.collect::<Vec<_>>(), [(0, 1), (0, 3), (0, 0)]);
    admin::wait(admin, &of_alice, 0);
    // The rules of the administrator remain.
    admin::wait(admin, &admin::every(), 4);
}

#[test]
fn a_rule_that_cannot_be_is_refused_and_the_others_are_made() {
    let mut tested = Tested::start("acls-invalid");
    let admin = &mut tested.admin;
    let fine = || admin::rule("*", 2, "t", 3, ALLOW).with_principal(text(ALICE));
    let rules = vec![
        fine(),
        fine().with_resource_type(4),
        fine().with_principal(text("alice")),
        fine().with_resource_name(text("")),
        fine().with_operation(99),
        fine().with_permission_type(99),
        fine().with_resource_type(99),
        fine().with_resource_pattern_type(99),
        fine().with_operation(4),
    ];
    let mut expected = vec![INVALID_REQUEST; rules.len()];
    (expected[0], expected[8]) = (0, 0);
    assert_eq!(admin::create(admin, rules), expected);
    let of_alice = admin::every().with_principal_filter(Some(text(ALICE)));
    admin::wait(admin, &of_alice, 2);
}

#[test]
fn a_prefix_gives_its_topics_and_what_is_denied_of_one_of_them_is_not_given() {
    let mut tested = Tested::start("acls-prefix");
    let Tested { admin, client, .. } = &mut tested;
    for topic in ["team.a", "team.b", "team"] {
        wire::create_topic(admin, topic, 1, &[]);
    }
    let host = HOST.to_string();
    let rules = vec![
        admin::rule(&host, 2, "team.", 4, ALLOW).with_resource_pattern_type(admin::PREFIXED),
        admin::rule(&host, 2, "team.b", 4, admin::DENY),
        // For another host, and another principal.
        admin::rule("127.0.0.3", 2, "team", 4, ALLOW),
        Right::parse("Topic Write team")
            .rule(ALLOW)
            .with_principal(text(ALICE)),
    ];
    assert_eq!(admin::create(admin, rules), [0; 4]);
    admin::wait(admin, &admin::every(), 8);
    let batch = wire::Batch::of(&[b"value".to_vec()]).encode();
    let mut produce = |topic| wire::produce(client, topic, 0, &batch).error;
    assert_eq!(produce("team.a"), 0);
    assert_eq!(produce("team.b"), 29);
    assert_eq!(produce("team"), 29);
    assert_eq!(produce("other"), 29);
}

/// An administrator must be able to find the reason of a denial.
#[test]
fn what_is_denied_is_in_the_audit_log() {
    let mut tested = Tested::start("acls-audit");
    wire::create_topic(&mut tested.admin, asks::TOPIC, 1, &[]);
    assert_eq!(asks::produce(&mut tested.client), [29]);
    let host = HOST.to_string();
    tested.broker.wait_log("the denial", |line| {
        let line = line.to_lowercase();
        let words = ["denied", "write", ANONYMOUS, &host, "topic:", "produce"];
        words.iter().all(|word| line.contains(&word.to_lowercase()))
    });
}
