//! Tests invalid lengths, keys and versions.

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::wire::{Decoder, Encoder, Reply, error, frame, key, produce_request};

use crate::support::Target;

#[test]
fn forged_lengths() {
    let mut target = Target::start("lengths");
    for length in [-1, i32::MIN, i32::MAX, 104_857_601, 0, 1, 3] {
        let mut connection = target.connect();
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend([0_u8; 64]);
        connection.send_raw(&bytes);
        connection.end();
        assert_eq!(
            connection.reply(),
            Reply::Closed,
            "a frame of {length} bytes"
        );
        target.assert_serves(&format!("a length of {length}"));
    }
}

#[test]
fn many_large_claims_and_few_bytes() {
    if is_skipped_on_kafka() {
        // Kafka allocates what a frame claims, and runs out of heap here.
        return;
    }
    let mut target = Target::start("claims");
    let connections: Vec<_> = (0..50)
        .map(|_| {
            let mut connection = target.connect();
            let mut bytes = (64_i32 << 20).to_be_bytes().to_vec();
            bytes.extend(&frame(key::PRODUCE, 8, 1, &[0; 1024])[4..]);
            connection.send_raw(&bytes);
            connection
        })
        .collect();
    target.assert_serves("50 connections that claim 64 MiB each");
    drop(connections);
    target.assert_serves("their end");
}

#[test]
fn truncated_frames() {
    let mut target = Target::start("truncated");
    let whole = frame(key::PRODUCE, 8, 1, &produce_request("t", 0, -1, &[0; 200]));
    for keep in [1, 3, 4, 5, 8, 13, 20, whole.len() - 1] {
        let mut connection = target.connect();
        connection.send_raw(&whole[..keep]);
        connection.end();
        assert_eq!(
            connection.reply(),
            Reply::Closed,
            "{keep} bytes of {}",
            whole.len()
        );
    }
    target.assert_serves("truncated frames");
    // The length is right, but the contents end too early.
    for body in [0, 1, 2, 7, 11, 15, 40] {
        let mut connection = target.connect();
        let request = produce_request("t", 0, -1, &[0; 200]);
        connection.send(key::PRODUCE, 8, &request[..body]);
        assert_eq!(connection.reply(), Reply::Closed, "a body cut at {body}");
    }
    target.assert_serves("truncated bodies");
}

#[test]
fn lengths_inside_a_body() {
    let mut target = Target::start("inside");
    let start = || Encoder::default().string(None).i16(-1).i32(1000);
    let bodies = [
        ("topics", start().i32(i32::MAX).0),
        ("partitions", start().i32(1).string("t").i32(i32::MAX).0),
        (
            "records",
            start().i32(1).string("t").i32(1).i32(0).i32(i32::MAX).0,
        ),
        ("a topic's name", start().i32(1).i16(i16::MAX).0),
    ];
    for (what, body) in bodies {
        let mut connection = target.connect();
        connection.send(key::PRODUCE, 8, &body);
        assert_eq!(
            connection.reply(),
            Reply::Closed,
            "a forged count of {what}"
        );
        target.assert_serves(&format!("a forged count of {what}"));
    }
}

#[test]
fn unknown_keys_and_versions() {
    let mut target = Target::start("unknown");
    for (key, version) in [
        (9999, 0),
        (-1, 0),
        (key::FETCH, 99),
        (key::PRODUCE, -1),
        (4, 0),
    ] {
        let mut connection = target.connect();
        connection.send(key, version, &[0; 16]);
        assert_eq!(
            connection.reply(),
            Reply::Closed,
            "key {key}, version {version}"
        );
        target.assert_serves(&format!("key {key}, version {version}"));
    }
}

/// KIP-511: the answer to an `ApiVersions` that is too new has the oldest form and names the
/// supported versions.
#[test]
fn api_versions_of_the_future() {
    let mut target = Target::start("future");
    let mut connection = target.connect();
    // A flexible request header ends in its tagged fields, none here; what follows is in a future
    // format.
    let reply = connection.ask(key::API_VERSIONS, 99, &[0, 2, 3]);
    let mut d = Decoder(&reply);
    assert_eq!(d.i16(), error::UNSUPPORTED_VERSION);
    assert_eq!(d.i32(), 1, "one entry");
    assert_eq!(d.i16(), key::API_VERSIONS);
    assert_eq!(d.i16(), 0, "the oldest version");
    assert!(d.i16() >= 4, "the newest version");
    assert!(d.0.is_empty(), "version 0 ends here: {:?}", d.0);
    let again = connection.ask(key::API_VERSIONS, 0, &[]);
    assert_eq!(
        Decoder(&again).i16(),
        error::NONE,
        "the same connection goes on"
    );
    target.assert_serves("an ApiVersions of the future");
}

#[test]
fn tls_on_the_plain_port() {
    let mut target = Target::start("tls");
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.extend([0x5a; 506]);
    let mut connection = target.connect();
    connection.send_raw(&hello);
    assert_eq!(connection.reply(), Reply::Closed);
    if !target.broker.is_kafka() {
        target
            .broker
            .wait_log("a line about TLS", |line| line.contains("TLS"));
    }
    target.assert_serves("a TLS hello");
}

#[test]
fn another_protocol() {
    let mut target = Target::start("http");
    let mut connection = target.connect();
    connection.send_raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(connection.reply(), Reply::Closed);
    target.assert_serves("an HTTP request");
}
