//! Clients without a password, that break the protocol, or that stall: the broker cuts each of
//! them, and other clients are not affected.

use std::time::{Duration, Instant};

use sedge_core::security::scram::{Client, Mechanism};
use sedge_protocol::kafka::generated::api_versions_request::ApiVersionsRequestData;
use sedge_protocol::kafka::generated::api_versions_response::ApiVersionsResponseData;
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::wire::{self, Batch, Connection, Encoder, PRODUCE_VERSION, key};
use sedge_tests::{ask, http};

use super::support::{
    ALICE, BOB, ILLEGAL_SASL_STATE, SASL_AUTHENTICATION_FAILED, Site, UNSUPPORTED_SASL_MECHANISM,
    assert_closed, authenticate, by_plain, by_scram, plain_message, shake_hands,
};

/// Measured logins of each kind.
const MEASURED: usize = 21;

/// A tolerance far below the time of hashing a password.
const DIFFERENCE_MAX: Duration = Duration::from_millis(4);

fn metric(site: &Site, name: &str) -> f64 {
    http::metric(site.sedge.console(), name)
}

/// Checks that a well-behaved client is served.
fn assert_serves(site: &Site) {
    let mut alice = Connection::open(&site.plain);
    let answer = by_scram(&mut alice, Mechanism::Sha512, ALICE);
    assert_eq!(answer.error_code, 0, "{answer:?}");
}

#[test]
fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("sasl-wrong", |options| options);
    let refused = |by: &str, login: (&str, &str)| {
        let mut client = Connection::open(&site.plain);
        let began = Instant::now();
        let answer = match by {
            "PLAIN" => by_plain(&mut client, login),
            by => by_scram(&mut client, Mechanism::from_name(by).unwrap(), login),
        };
        let took = began.elapsed();
        assert_eq!(answer.error_code, SASL_AUTHENTICATION_FAILED);
        assert!(answer.auth_bytes.is_empty());
        assert_closed(&mut client);
        let message = answer.error_message.expect("a message");
        (message.as_str().to_owned(), took)
    };
    for (by, user) in [
        ("PLAIN", BOB.0),
        ("SCRAM-SHA-256", ALICE.0),
        ("SCRAM-SHA-512", ALICE.0),
    ] {
        let (mut wrong, mut unknown) = (Vec::new(), Vec::new());
        for _ in 0..MEASURED {
            let (of_wrong, took) = refused(by, (user, "wrong"));
            wrong.push(took);
            let (of_unknown, took) = refused(by, ("mallory", "wrong"));
            unknown.push(took);
            assert_eq!(of_wrong, of_unknown);
            assert!(!of_wrong.contains(user), "{of_wrong}");
        }
        // The fastest of each: other work on the machine only adds.
        let (wrong, unknown) = (wrong.iter().min().unwrap(), unknown.iter().min().unwrap());
        let difference = wrong.abs_diff(*unknown);
        assert!(difference < DIFFERENCE_MAX, "{by}: {wrong:?} {unknown:?}");
        let failed = format!("sedge_sasl_authentications_failed_total{{mechanism=\"{by}\"}}");
        assert!(metric(&site, &failed) >= 2.0 * MEASURED as f64);
    }
    site.wait_log(&["SASL PLAIN failed", "bob", "password is wrong"]);
    assert_serves(&site);
}

#[test]
fn an_unknown_mechanism_is_answered_with_those_that_there_are() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("sasl-mechanism", |options| {
        options.set(
            "listener.name.sasl_plaintext.sasl.enabled.mechanisms",
            "SCRAM-SHA-512,SCRAM-SHA-256",
        )
    });
    for mechanism in ["GSSAPI", "PLAIN", "plain", "", "SCRAM-SHA-512\n"] {
        let mut client = Connection::open(&site.plain);
        let (error, names) = shake_hands(&mut client, mechanism);
        assert_eq!(error, UNSUPPORTED_SASL_MECHANISM, "{mechanism:?}");
        assert_eq!(names, ["SCRAM-SHA-512", "SCRAM-SHA-256"]);
        assert_closed(&mut client);
    }
    assert!(metric(&site, "sedge_sasl_mechanisms_unsupported_total") >= 5.0);
    assert_serves(&site);
}

#[test]
fn replayed_and_truncated_messages_are_refused() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("sasl-replayed", |options| options);
    let mechanism = Mechanism::Sha256;
    let begin = || {
        let mut client = Connection::open(&site.plain);
        assert_eq!(shake_hands(&mut client, mechanism.name()).0, 0);
        let (scram, first) = Client::begin(mechanism, ALICE.0, false, "the-same-nonce");
        let said = authenticate(&mut client, &first).auth_bytes;
        (client, scram, said)
    };
    let (mut client, mut scram, said) = begin();
    let last = scram.answer(&said, ALICE.1).unwrap();
    assert_eq!(authenticate(&mut client, &last).error_code, 0);
    // The attacker replays the messages of that login.
    let (mut replaying, _, other) = begin();
    assert_ne!(said, other);
    let cut = &last[..last.len() - 5];
    for message in [&last[..], cut, b"", b"p=", &[0xff; 4096], &[b'a'; 8192]] {
        let answer = authenticate(&mut replaying, message);
        assert_eq!(answer.error_code, SASL_AUTHENTICATION_FAILED);
        assert_closed(&mut replaying);
        replaying = begin().0;
    }
    // An invalid first message, and a final message sent first.
    for message in [
        &last[..],
        b"n,,n=alice",
        b"p=tls-unique,,n=alice,r=x",
        b"\0",
    ] {
        let mut client = Connection::open(&site.plain);
        shake_hands(&mut client, mechanism.name());
        let answer = authenticate(&mut client, message);
        assert_eq!(answer.error_code, SASL_AUTHENTICATION_FAILED);
        assert_closed(&mut client);
    }
    assert_serves(&site);
}

#[test]
fn before_it_has_logged_in_a_client_gets_nothing_else() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("sasl-before", |options| options);
    let admin = &mut Connection::open(&site.sedge.bootstrap());
    wire::create_topic(admin, "readings", 1, &[]);
    let batch = Batch::of(&[b"value".to_vec()]).encode();
    let produce = wire::produce_request("readings", 0, -1, &batch);
    let mut client = Connection::open(&site.plain);
    // ApiVersions is answered before the login.
    ask!(&mut client, ApiVersions 3, ApiVersionsRequestData::default() => ApiVersionsResponseData);
    client.send(key::PRODUCE, PRODUCE_VERSION, &produce);
    assert_closed(&mut client);
    // A request is served neither between the messages of a login, nor behind a failed login in the
    // same packet.
    let mut client = Connection::open(&site.plain);
    assert_eq!(shake_hands(&mut client, "SCRAM-SHA-256").0, 0);
    client.send(key::PRODUCE, PRODUCE_VERSION, &produce);
    assert_closed(&mut client);
    let mut client = Connection::open(&site.plain);
    assert_eq!(shake_hands(&mut client, "PLAIN").0, 0);
    let message = plain_message((BOB.0, "wrong"));
    let body = Encoder::default().i32(message.len() as i32).0;
    let mut packet = wire::frame(36, 0, 7, &[body, message].concat());
    packet.extend(wire::frame(key::PRODUCE, PRODUCE_VERSION, 8, &produce));
    client.send_raw(&packet);
    client.reply().frame();
    assert_closed(&mut client);
    // Sends a login's message without a handshake.
    let mut client = Connection::open(&site.plain);
    let answer = authenticate(&mut client, &plain_message(BOB));
    assert_eq!(answer.error_code, ILLEGAL_SASL_STATE);
    assert_closed(&mut client);
    let fetched = wire::fetch(admin, "readings", 0, 0);
    assert_eq!(fetched.high_watermark, 0, "nothing was written");
    assert!(metric(&site, "sedge_sasl_unauthenticated_requests_total") >= 2.0);
    assert_serves(&site);
}

#[test]
fn a_large_frame_before_the_login_is_not_read() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("sasl-large", |options| options);
    let mut client = Connection::open(&site.plain);
    client.send_raw(&524_289_i32.to_be_bytes());
    assert_closed(&mut client);
    site.wait_log(&["524289", "sasl.server.max.receive.size"]);
    // After the login, the usual limit holds.
    let mut bob = Connection::open(&site.plain);
    assert_eq!(by_plain(&mut bob, BOB).error_code, 0);
    wire::create_topic(&mut bob, "readings", 1, &[]);
    let batch = Batch::of(&[vec![b'a'; 600_000]]).encode();
    assert_eq!(wire::produce(&mut bob, "readings", 0, &batch).error, 0);
    assert_serves(&site);
}

/// Clients stall from the start, in the middle of a login, and in the middle of a frame.
#[test]
fn a_client_that_stops_is_cut_and_keeps_nobody_waiting() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("sasl-stops", |options| options);
    let mut silent = Connection::open(&site.plain);
    let mut middle = Connection::open(&site.plain);
    assert_eq!(shake_hands(&mut middle, "SCRAM-SHA-512").0, 0);
    let (_, first) = Client::begin(Mechanism::Sha512, ALICE.0, false, "nonce");
    authenticate(&mut middle, &first);
    let mut half = Connection::open(&site.plain);
    half.send_raw(&[0, 4, 0, 0, 0, 17, 0, 1]);
    assert_serves(&site);
    for client in [&mut silent, &mut middle, &mut half] {
        assert_closed(client);
    }
    assert_serves(&site);
}
