//! Delegation tokens: who may have one made, see it, renew it and expire it.

use sedge_core::config::STANDARD_AUTHORIZER;
use sedge_core::metadata::Command;
use sedge_core::security::{
    AclBinding, Host, Operation, PatternType, Permission, Principal, Resource,
};
use sedge_core::security_protocol::SecurityProtocol;
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::kafka::generated::{
    CreatableRenewers, CreateDelegationTokenRequestData, CreateDelegationTokenResponseData,
    DescribeDelegationTokenOwner, DescribeDelegationTokenRequestData,
    DescribeDelegationTokenResponseData, ExpireDelegationTokenRequestData,
    ExpireDelegationTokenResponseData, RenewDelegationTokenRequestData,
    RenewDelegationTokenResponseData,
};
use sedge_protocol::{Bytes, ErrorCode};

use super::client::{Client, ask, code, text};
use crate::test_broker::TestBroker;

const NOT_ALLOWED: ErrorCode = ErrorCode::DelegationTokenRequestNotAllowed;

/// A broker with tokens and access rules, under which `carol` may have tokens made for `alice`, and
/// `dave` may see them.
fn broker() -> TestBroker {
    let broker = TestBroker::start(&[
        ("authorizer.class.name", STANDARD_AUTHORIZER),
        ("delegation.token.secret.key", "the-key"),
        ("delegation.token.max.lifetime.ms", "100000"),
        ("delegation.token.expiry.time.ms", "1000"),
    ]);
    let rule = |number, principal: &str, operation| {
        let rule = AclBinding {
            resource: Resource::User,
            pattern: PatternType::Literal,
            name: "User:alice".into(),
            principal: principal.into(),
            host: Host::Any,
            operation,
            permission: Permission::Allow,
        };
        (KafkaUuid::from_parts(1, number), rule)
    };
    let rules = vec![
        rule(1, "User:carol", Operation::CreateTokens),
        rule(2, "User:dave", Operation::DescribeTokens),
    ];
    let made = broker.broker.writer.metadata(Command::CreateAcls { rules });
    futures_lite::future::block_on(made).unwrap().unwrap();
    broker
}

fn user(broker: &TestBroker, name: &str) -> Client {
    Client::new(broker).over(SecurityProtocol::Ssl, Principal::user(name))
}

fn request() -> CreateDelegationTokenRequestData {
    CreateDelegationTokenRequestData::default().with_max_lifetime_ms(-1)
}

fn for_owner(kind: &str, name: &str) -> CreateDelegationTokenRequestData {
    request()
        .with_owner_principal_type(Some(text(kind)))
        .with_owner_principal_name(Some(text(name)))
}

fn with_renewer(kind: &str, name: &str) -> CreateDelegationTokenRequestData {
    let renewer = CreatableRenewers::default()
        .with_principal_type(text(kind))
        .with_principal_name(text(name));
    request().with_renewers(vec![renewer])
}

fn create(
    client: &Client,
    request: CreateDelegationTokenRequestData,
) -> Result<CreateDelegationTokenResponseData, ErrorCode> {
    let answer =
        ask!(client, CreateDelegationToken 3, request => CreateDelegationTokenResponseData);
    match code(answer.error_code) {
        ErrorCode::None => Ok(answer),
        code => Err(code),
    }
}

fn renew(client: &Client, hmac: &Bytes) -> ErrorCode {
    let request = RenewDelegationTokenRequestData::default()
        .with_hmac(hmac.clone())
        .with_renew_period_ms(-1);
    let answer = ask!(client, RenewDelegationToken 2, request => RenewDelegationTokenResponseData);
    code(answer.error_code)
}

fn expire(client: &Client, hmac: &Bytes, period_ms: i64) -> ErrorCode {
    let request = ExpireDelegationTokenRequestData::default()
        .with_hmac(hmac.clone())
        .with_expiry_time_period_ms(period_ms);
    let answer =
        ask!(client, ExpireDelegationToken 2, request => ExpireDelegationTokenResponseData);
    code(answer.error_code)
}

/// The ids of the tokens that a client sees, of all owners or of some.
fn describe(client: &Client, owners: Option<&[&str]>) -> Result<Vec<String>, ErrorCode> {
    let owners = owners.map(|owners| {
        let owner = |name: &&str| {
            DescribeDelegationTokenOwner::default()
                .with_principal_type(text("User"))
                .with_principal_name(text(name))
        };
        owners.iter().map(owner).collect()
    });
    let request = DescribeDelegationTokenRequestData::default().with_owners(owners);
    let answer =
        ask!(client, DescribeDelegationToken 3, request => DescribeDelegationTokenResponseData);
    let ids = answer.tokens.iter().map(|token| token.token_id.to_string());
    match code(answer.error_code) {
        ErrorCode::None => Ok(ids.collect()),
        code => Err(code),
    }
}

#[test]
fn a_token_is_made_for_the_client_itself_or_by_right_for_another() {
    let broker = broker();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| user(&broker, name));
    let made = create(&alice, request()).unwrap();
    assert_eq!(made.principal_name.as_str(), "alice");
    assert_eq!(made.max_timestamp_ms - made.issue_timestamp_ms, 100_000);
    assert_eq!(made.expiry_timestamp_ms - made.issue_timestamp_ms, 1_000);
    // HMAC-SHA512, as Kafka makes it.
    assert_eq!(made.hmac.len(), 64);
    let made = create(&carol, for_owner("User", "alice")).unwrap();
    let names = (made.principal_name, made.token_requester_principal_name);
    assert_eq!((names.0.as_str(), names.1.as_str()), ("alice", "carol"));
    let refused = Err(ErrorCode::DelegationTokenAuthorizationFailed);
    let check = |client: &Client, request, expected: Result<(), ErrorCode>| {
        assert_eq!(create(client, request).map(drop), expected);
    };
    check(&bob, for_owner("User", "alice"), refused);
    check(&carol, for_owner("User", "bob"), refused);
    check(&bob, for_owner("User", "bob"), Ok(()));
    check(&bob, with_renewer("User", "dave"), Ok(()));
    let refused = Err(ErrorCode::InvalidPrincipalType);
    check(&bob, with_renewer("Group", "dave"), refused);
    check(&bob, with_renewer("User", ""), refused);
    check(&bob, for_owner("", "alice"), refused);
}

#[test]
fn a_client_that_has_not_shown_who_it_is_has_no_say() {
    let broker = broker();
    let made = create(&user(&broker, "alice"), request()).unwrap();
    let plain = Client::new(&broker).over(SecurityProtocol::Plaintext, Principal::user("alice"));
    let anonymous = Client::new(&broker).over(SecurityProtocol::Ssl, Principal::ANONYMOUS);
    for client in [plain, anonymous] {
        assert_eq!(create(&client, request()).err(), Some(NOT_ALLOWED));
        assert_eq!(renew(&client, &made.hmac), NOT_ALLOWED);
        assert_eq!(expire(&client, &made.hmac, -1), NOT_ALLOWED);
        assert_eq!(describe(&client, None), Err(NOT_ALLOWED));
    }
}

#[test]
fn a_token_is_seen_by_its_own_and_by_right() {
    let broker = broker();
    let [alice, bob, carol, dave] =
        ["alice", "bob", "carol", "dave"].map(|name| user(&broker, name));
    let id = |made: CreateDelegationTokenResponseData| made.token_id.to_string();
    let of_alice = id(create(&carol, for_owner("User", "alice")).unwrap());
    let of_bob = id(create(&bob, with_renewer("User", "alice")).unwrap());
    let mut both = vec![of_alice.clone(), of_bob.clone()];
    both.sort_unstable();
    assert_eq!(describe(&alice, None), Ok(both));
    assert_eq!(describe(&bob, None), Ok(vec![of_bob.clone()]));
    assert_eq!(describe(&carol, None), Ok(vec![of_alice.clone()]));
    assert_eq!(describe(&dave, None), Ok(vec![of_alice]));
    assert_eq!(describe(&alice, Some(&["bob"])), Ok(vec![of_bob]));
    assert_eq!(describe(&alice, Some(&["mallory"])), Ok(vec![]));
    assert_eq!(describe(&alice, Some(&[])), Ok(vec![]));
}

#[test]
fn a_token_is_renewed_and_expired_with_its_secret_by_its_own() {
    let broker = broker();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| user(&broker, name));
    let made = create(&alice, with_renewer("User", "bob")).unwrap();
    assert_eq!(renew(&alice, &made.hmac), ErrorCode::None);
    assert_eq!(renew(&bob, &made.hmac), ErrorCode::None);
    let mismatch = ErrorCode::DelegationTokenOwnerMismatch;
    assert_eq!(renew(&carol, &made.hmac), mismatch);
    assert_eq!(expire(&carol, &made.hmac, -1), mismatch);
    let not_found = ErrorCode::DelegationTokenNotFound;
    for wrong in [&b""[..], b"x", &made.hmac[..63]] {
        assert_eq!(renew(&alice, &Bytes::copy_from_slice(wrong)), not_found);
    }
    assert_eq!(expire(&alice, &made.hmac, 50_000), ErrorCode::None);
    assert_eq!(expire(&bob, &made.hmac, -1), ErrorCode::None);
    assert_eq!(expire(&bob, &made.hmac, -1), not_found);
    assert_eq!(describe(&alice, None), Ok(vec![]));
}

#[test]
fn without_a_key_there_are_no_tokens() {
    let broker = TestBroker::start(&[]);
    let alice = user(&broker, "alice");
    let disabled = ErrorCode::DelegationTokenAuthDisabled;
    assert_eq!(create(&alice, request()).err(), Some(disabled));
    assert_eq!(renew(&alice, &Bytes::new()), disabled);
    assert_eq!(expire(&alice, &Bytes::new(), -1), disabled);
    assert_eq!(describe(&alice, None), Err(disabled));
}

#[test]
fn tokens_and_their_secrets_are_the_same_after_a_restart() {
    let broker = broker();
    let made = create(&user(&broker, "alice"), request()).unwrap();
    let broker = broker.restart(true);
    let alice = user(&broker, "alice");
    assert_eq!(describe(&alice, None), Ok(vec![made.token_id.to_string()]));
    assert_eq!(renew(&alice, &made.hmac), ErrorCode::None);
}
