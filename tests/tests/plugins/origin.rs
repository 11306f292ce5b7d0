//! Tests what a filter is told of the client whose batch it gets.

use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::sasl_authenticate_request::SaslAuthenticateRequestData;
use sedge_protocol::kafka::generated::sasl_authenticate_response::SaslAuthenticateResponseData;
use sedge_protocol::kafka::generated::sasl_handshake_request::SaslHandshakeRequestData;
use sedge_protocol::kafka::generated::sasl_handshake_response::SaslHandshakeResponseData;
use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch, Connection, error, frame_of, key};
use sedge_tests::{ask, ports};

use crate::support::{MISBEHAVE, Place, refused};

/// Returns options for a broker with a listener at `address`, for the users bob and carol.
pub fn with_users(address: &str) -> Options {
    let users = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                 user_bob=\"secret\" user_carol=\"secret\";";
    Options::default()
        .listener(format!("SASL_PLAINTEXT://{address}"))
        .set("sasl.enabled.mechanisms", "PLAIN")
        .set("listener.name.sasl_plaintext.plain.sasl.jaas.config", users)
}

pub fn free() -> String {
    format!("127.0.0.1:{}", ports::free())
}

/// Connects as a user.
pub fn connect_as(user: &str, address: &str) -> Connection {
    let mut client = Connection::open(address);
    let request =
        SaslHandshakeRequestData::default().with_mechanism(KafkaString::from("PLAIN".to_owned()));
    let shaken = ask!(&mut client, SaslHandshake 1, request => SaslHandshakeResponseData);
    assert_eq!(shaken.error_code, 0);
    let message = format!("\0{user}\0secret").into_bytes();
    let request = SaslAuthenticateRequestData::default().with_auth_bytes(message.into());
    let done = ask!(&mut client, SaslAuthenticate 2, request => SaslAuthenticateResponseData);
    assert_eq!(done.error_code, 0, "{user} logs in");
    client
}

/// Produces a record as a client of this id. Returns the error and the reason that the filter gave.
fn produce(at: &mut Connection, client: &str, topic: &str) -> (i16, String) {
    let body = wire::produce_request(topic, 0, -1, &Batch::of(&[b"a".to_vec()]).encode());
    at.send_raw(&frame_of(
        client,
        (key::PRODUCE, wire::PRODUCE_VERSION),
        7,
        &body,
    ));
    let reply = at.reply().frame().split_off(4);
    let (error, named) = refused(&reply);
    (
        error,
        named
            .first()
            .map_or_else(String::new, |(_, why)| why.clone()),
    )
}

/// The principal was always none.
#[test]
fn a_filter_that_needs_the_origin_is_told_who_produces() {
    let address = free();
    let mut place = Place::start("origin", with_users(&address));
    place.deploy("tell", MISBEHAVE);
    let mut at = place.connect();
    for (topic, output) in [("told", "origin"), ("untold", "no-origin")] {
        let configs = [
            ("sedge.filter", "tell"),
            ("sedge.plugin.tell.output", output),
        ];
        wire::create_topic(&mut at, topic, 1, &configs);
        place.wait("the filter is compiled", |_| {
            produce(&mut at, "c", topic).0 == error::INVALID_RECORD
        });
    }
    let told = |at: &mut Connection, topic: &str| produce(at, "c-1", topic).1;
    let mut bob = connect_as("bob", &address);
    let expected = "User:bob as c-1 from 127.0.0.1 at SASL_PLAINTEXT";
    assert_eq!(told(&mut bob, "told"), expected);
    let expected = "nobody as c-1 from 127.0.0.1 at PLAINTEXT";
    assert_eq!(told(&mut at, "told"), expected);
    assert_eq!(told(&mut bob, "untold"), "no origin");
}
