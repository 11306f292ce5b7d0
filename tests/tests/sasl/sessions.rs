//! Handshakes of both versions, and sessions that expire unless the client logs in again.

use std::time::{Duration, Instant};

use sedge_core::security::scram::{Client, Mechanism};
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::metadata_request::MetadataRequestData;
use sedge_protocol::kafka::generated::metadata_response::MetadataResponseData;
use sedge_protocol::kafka::generated::sasl_handshake_request::SaslHandshakeRequestData;
use sedge_protocol::kafka::generated::sasl_handshake_response::SaslHandshakeResponseData;
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::wire::{Connection, Encoder, Reply, key};
use sedge_tests::{ask, http};

use super::support::{
    ALICE, BOB, ILLEGAL_SASL_STATE, SASL_AUTHENTICATION_FAILED, Site, UNSUPPORTED_SASL_MECHANISM,
    assert_closed, authenticate, by_plain, by_scram, plain_message, shake_hands,
};

const CAROL: (&str, &str) = ("carol", "carol-secret");

/// A little more than the shortest time between two logins on a connection.
const PAUSE: Duration = Duration::from_millis(1_050);

fn metadata(client: &mut Connection) {
    let request = MetadataRequestData::default();
    ask!(client, Metadata 9, request => MetadataResponseData);
}

fn shake_hands_v0(client: &mut Connection, mechanism: &'static str) {
    let mechanism = KafkaString::from_static(mechanism);
    let request = SaslHandshakeRequestData::default().with_mechanism(mechanism);
    let answer = ask!(client, SaslHandshake 0, request => SaslHandshakeResponseData);
    assert_eq!(answer.error_code, 0);
}

fn raw(client: &mut Connection, message: &[u8]) -> Reply {
    let mut frame = Encoder::default().i32(message.len() as i32).0;
    frame.extend(message);
    client.send_raw(&frame);
    client.reply()
}

/// Logs in as librdkafka before 1.0 and old Java clients do.
#[test]
fn messages_after_a_handshake_of_version_0_have_no_header() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("sasl-v0", |options| options);
    let mut bob = Connection::open(&site.plain);
    shake_hands_v0(&mut bob, "PLAIN");
    assert_eq!(raw(&mut bob, &plain_message(BOB)), Reply::Frame(vec![]));
    metadata(&mut bob);

    let mut alice = Connection::open(&site.plain);
    shake_hands_v0(&mut alice, "SCRAM-SHA-512");
    let (mut scram, first) = Client::begin(Mechanism::Sha512, ALICE.0, false, "nonce");
    let said = raw(&mut alice, &first).frame();
    let last = scram.answer(&said, ALICE.1).unwrap();
    scram.finish(&raw(&mut alice, &last).frame()).unwrap();
    metadata(&mut alice);

    let mut stranger = Connection::open(&site.plain);
    shake_hands_v0(&mut stranger, "PLAIN");
    let refused = raw(&mut stranger, &plain_message((BOB.0, "wrong")));
    assert_eq!(refused, Reply::Closed);
}

#[test]
fn a_session_ends_unless_its_client_logs_in_again() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("sasl-sessions", |options| {
        options.set("connections.max.reauth.ms", "3000")
    });
    // The clock starts before the login, so the session ends later than this time.
    let begun = Instant::now();
    let mut silent = Connection::open(&site.plain);
    assert_eq!(by_plain(&mut silent, BOB).session_lifetime_ms, 3_000);
    let mut again = Connection::open(&site.plain);
    assert_eq!(by_plain(&mut again, BOB).session_lifetime_ms, 3_000);
    let mut other_user = Connection::open(&site.plain);
    assert_eq!(by_plain(&mut other_user, BOB).error_code, 0);
    let mut other_mechanism = Connection::open(&site.plain);
    let alice = by_scram(&mut other_mechanism, Mechanism::Sha256, ALICE);
    assert_eq!(alice.error_code, 0);

    // A login that comes too early is refused, and the session stays.
    assert_eq!(shake_hands(&mut again, "PLAIN").0, ILLEGAL_SASL_STATE);
    assert_eq!(
        authenticate(&mut again, &plain_message(BOB)).error_code,
        ILLEGAL_SASL_STATE
    );
    metadata(&mut again);

    std::thread::sleep(PAUSE);
    assert_eq!(by_plain(&mut again, BOB).session_lifetime_ms, 3_000);
    let renewed = Instant::now();
    let refused = by_plain(&mut other_user, CAROL);
    assert_eq!(refused.error_code, SASL_AUTHENTICATION_FAILED);
    assert_closed(&mut other_user);
    let (refused, _) = shake_hands(&mut other_mechanism, "SCRAM-SHA-512");
    assert_eq!(refused, UNSUPPORTED_SASL_MECHANISM);
    assert_closed(&mut other_mechanism);

    // The silent client's session ends after the last login of both clients, and before the session
    // of the client that logged in again.
    let ends = begun + Duration::from_millis(3_200);
    std::thread::sleep(ends.saturating_duration_since(Instant::now()));
    silent.send(key::METADATA, 1, &Encoder::default().i32(0).0);
    assert_closed(&mut silent);
    if renewed.elapsed() < Duration::from_millis(2_500) {
        metadata(&mut again);
    }
    let expired = "sedge_sasl_expired_connections_total";
    assert!(http::metric(site.sedge.console(), expired) >= 1.0);
    let logins = "sedge_sasl_reauthentications_total{mechanism=\"PLAIN\"}";
    assert!(http::metric(site.sedge.console(), logins) >= 1.0);
}

/// The response is that of `KafkaApis`.
#[test]
fn a_login_on_a_listener_without_sasl_is_refused_and_harmless() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("sasl-none", |options| options);
    let mut client = Connection::open(&site.sedge.bootstrap());
    assert_eq!(
        shake_hands(&mut client, "PLAIN"),
        (ILLEGAL_SASL_STATE, vec![])
    );
    let refused = authenticate(&mut client, &plain_message(BOB));
    assert_eq!(refused.error_code, ILLEGAL_SASL_STATE);
    metadata(&mut client);
}
