//! Users are added, log in, are held to their access rules, and are removed.

use std::process::Command;

use sedge_core::security::scram::Mechanism;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::alter_user_scram_credentials_request::{
    AlterUserScramCredentialsRequestData, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use sedge_protocol::kafka::generated::alter_user_scram_credentials_response::AlterUserScramCredentialsResponseData;
use sedge_protocol::kafka::generated::create_acls_request::{AclCreation, CreateAclsRequestData};
use sedge_protocol::kafka::generated::create_acls_response::CreateAclsResponseData;
use sedge_protocol::kafka::generated::describe_user_scram_credentials_request::{
    DescribeUserScramCredentialsRequestData, UserName,
};
use sedge_protocol::kafka::generated::describe_user_scram_credentials_response::DescribeUserScramCredentialsResponseData;
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::{Finished, Process};
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{ask, kafka_tools, limits, tools};

use super::support::{
    ALICE, BOB, SASL_AUTHENTICATION_FAILED, Site, by_plain, by_scram, sedge, text,
};

const DUPLICATE_RESOURCE: i16 = 92;
const RESOURCE_NOT_FOUND: i16 = 91;
const UNACCEPTABLE_CREDENTIAL: i16 = 93;
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

fn name(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}

fn kafka_configs(site: &Site, arguments: &[&str]) -> Finished {
    let mut command = kafka_tools::command("kafka-configs");
    command.args(["--bootstrap-server", &site.sedge.bootstrap()]);
    command.args(arguments);
    Process::run("kafka-configs", &mut command, b"", limits::COMMAND)
}

/// `kafka-configs` sets the password, which holds at once and after a restart.
#[test]
fn a_user_of_kafka_configs_logs_in_until_it_is_deleted() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("sasl-users", |options| options);
    let dora = ("dora", "dora-secret");
    let of_dora = ["--entity-type", "users", "--entity-name", "dora"];
    let add = "SCRAM-SHA-256=[iterations=8192,password=dora-secret]";
    let added = [&["--alter", "--add-config", add][..], &of_dora].concat();
    tools::must(kafka_configs(&site, &added), "kafka-configs");
    let log_in = |site: &Site, mechanism| {
        by_scram(&mut Connection::open(&site.plain), mechanism, dora).error_code
    };
    assert_eq!(log_in(&site, Mechanism::Sha256), 0);
    assert_eq!(log_in(&site, Mechanism::Sha512), SASL_AUTHENTICATION_FAILED);
    let described = [&["--describe"][..], &of_dora].concat();
    let described = tools::must(kafka_configs(&site, &described), "kafka-configs");
    let said = described.stdout;
    assert!(said.contains("SCRAM-SHA-256=iterations=8192"), "{said}");
    site.sedge.terminate();
    let data = text(&site.directory.join("data"));
    let listed = sedge(&["security", "user", "list", "--data", &data], b"");
    let listed = tools::must(listed, "sedge security user list").stdout;
    for part in ["alice", "SCRAM-SHA-512", "dora", "8192"] {
        assert!(listed.contains(part), "no {part:?} in: {listed}");
    }
    site.sedge.start_again();
    assert_eq!(log_in(&site, Mechanism::Sha256), 0);
    // While the broker runs, it has the directory locked.
    let remove = ["security", "user", "remove", "dora", "--data", &data];
    let refused = sedge(&remove, b"");
    assert!(!refused.status.success(), "{}", refused.stdout);
    site.sedge.terminate();
    tools::must(sedge(&remove, b""), "sedge security user remove");
    assert!(!sedge(&remove, b"").status.success());
    site.sedge.start_again();
    assert_eq!(log_in(&site, Mechanism::Sha256), SASL_AUTHENTICATION_FAILED);
    let alice = by_scram(&mut Connection::open(&site.plain), Mechanism::Sha512, ALICE);
    assert_eq!(alice.error_code, 0);
}

fn upsertion(user: &str, mechanism: i8, iterations: i32) -> ScramCredentialUpsertion {
    ScramCredentialUpsertion::default()
        .with_name(name(user))
        .with_mechanism(mechanism)
        .with_iterations(iterations)
        .with_salt(b"salt".to_vec().into())
        .with_salted_password(vec![7; 32].into())
}

fn deletion(user: &str, mechanism: i8) -> ScramCredentialDeletion {
    ScramCredentialDeletion::default()
        .with_name(name(user))
        .with_mechanism(mechanism)
}

fn alter(
    admin: &mut Connection,
    deletions: Vec<ScramCredentialDeletion>,
    upsertions: Vec<ScramCredentialUpsertion>,
) -> Vec<(String, i16)> {
    let request = AlterUserScramCredentialsRequestData::default()
        .with_deletions(deletions)
        .with_upsertions(upsertions);
    let answer = ask!(admin, AlterUserScramCredentials 0,
        request => AlterUserScramCredentialsResponseData);
    let mut results: Vec<(String, i16)> = answer
        .results
        .iter()
        .map(|result| (result.user.as_str().to_owned(), result.error_code))
        .collect();
    results.sort();
    results
}

#[test]
fn credentials_that_are_wrong_are_refused_one_by_one() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("sasl-alter", |options| options);
    let admin = &mut Connection::open(&site.sedge.bootstrap());
    let results = alter(
        admin,
        vec![deletion("nobody", 1), deletion("twice", 1)],
        vec![
            upsertion("few", 1, 4_095),
            upsertion("good", 1, 4_096),
            upsertion("many", 1, 16_385),
            upsertion("other", 3, 4_096),
            upsertion("twice", 2, 4_096),
        ],
    );
    let results: Vec<(&str, i16)> = results
        .iter()
        .map(|(user, code)| (&**user, *code))
        .collect();
    assert_eq!(
        results,
        [
            ("few", UNACCEPTABLE_CREDENTIAL),
            ("good", 0),
            ("many", UNACCEPTABLE_CREDENTIAL),
            ("nobody", RESOURCE_NOT_FOUND),
            ("other", UNSUPPORTED_SASL_MECHANISM),
            ("twice", DUPLICATE_RESOURCE),
        ]
    );
    let describe = |admin: &mut Connection, users: &[&str]| {
        let users = users
            .iter()
            .map(|user| UserName::default().with_name(name(user)));
        let request =
            DescribeUserScramCredentialsRequestData::default().with_users(Some(users.collect()));
        let answer = ask!(admin, DescribeUserScramCredentials 0,
            request => DescribeUserScramCredentialsResponseData);
        let results = answer.results.iter();
        let mut results: Vec<(String, i16, usize)> = results
            .map(|of| {
                let user = of.user.as_str().to_owned();
                (user, of.error_code, of.credential_infos.len())
            })
            .collect();
        results.sort();
        results
    };
    let of = |user: &str, code, count| (user.to_owned(), code, count);
    assert_eq!(describe(admin, &[]), [of("alice", 0, 2), of("good", 0, 1)]);
    assert_eq!(
        describe(admin, &["alice", "good", "good", "nobody"]),
        [
            of("alice", 0, 2),
            of("good", DUPLICATE_RESOURCE, 0),
            of("nobody", RESOURCE_NOT_FOUND, 0)
        ]
    );
    assert_eq!(
        alter(admin, vec![deletion("good", 1)], vec![]),
        [("good".to_owned(), 0)]
    );
    assert_eq!(describe(admin, &[]), [of("alice", 0, 2)]);
}

#[test]
fn access_rules_are_of_the_user_that_logged_in() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("sasl-acls", |options| {
        options
            .set(
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            )
            .set("super.users", "User:ANONYMOUS")
    });
    let admin = &mut Connection::open(&site.sedge.bootstrap());
    wire::create_topic(admin, "readings", 1, &[]);
    let rule = AclCreation::default()
        .with_resource_type(2)
        .with_resource_name(name("readings"))
        .with_resource_pattern_type(3)
        .with_principal(name("User:alice"))
        .with_host(name("*"))
        .with_operation(4)
        .with_permission_type(3);
    let request = CreateAclsRequestData::default().with_creations(vec![rule]);
    let created = ask!(admin, CreateAcls 3, request => CreateAclsResponseData);
    assert_eq!(created.results[0].error_code, 0);
    let produce = |client: &mut Connection| {
        let batch = Batch::of(&[b"value".to_vec()]);
        wire::produce(client, "readings", 0, &batch.encode()).error
    };
    let mut alice = Connection::open(&site.plain);
    assert_eq!(by_scram(&mut alice, Mechanism::Sha256, ALICE).error_code, 0);
    assert_eq!(produce(&mut alice), error::NONE);
    let mut bob = Connection::open(&site.plain);
    assert_eq!(by_plain(&mut bob, BOB).error_code, 0);
    assert_eq!(produce(&mut bob), TOPIC_AUTHORIZATION_FAILED);
    site.wait_log(&["User:bob", "readings"]);
}

/// Neither `sedge config` nor the log shows a password.
#[test]
fn passwords_are_not_shown() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("sasl-hidden", |options| options);
    let mut bob = Connection::open(&site.plain);
    by_plain(&mut bob, ("bob", "a-wrong-password"));
    site.wait_log(&["SASL PLAIN failed", "bob"]);
    let log = site.sedge.process().tail();
    for secret in ["a-wrong-password", "secret"] {
        assert!(!log.contains(secret), "{log}");
    }
    let jaas = "PlainLoginModule required user_a=\"hidden-password\"";
    let mut command = Command::new(tools::sedge());
    command.args(["serve", "--data", &text(&site.directory.join("other"))]);
    command.args(["--listen", "SASL_PLAINTEXT://127.0.0.1:0"]);
    let key = "listener.name.sasl_plaintext.plain.sasl.jaas.config";
    command.args(["--set", "sasl.enabled.mechanisms=PLAIN", "--set"]);
    command.arg(format!("{key}={jaas}"));
    let refused = Process::run("sedge", &mut command, b"", limits::COMMAND);
    assert!(!refused.status.success());
    let said = refused.stderr;
    assert!(said.contains(key) && said.contains("semicolon"), "{said}");
    assert!(!said.contains("hidden-password"), "{said}");
}
