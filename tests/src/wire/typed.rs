//! Requests and responses of any API and version, with the messages of the protocol crate.

use sedge_protocol::api::is_flexible;
use sedge_protocol::kafka;
use sedge_protocol::kafka::generated::ApiKey;
use sedge_protocol::{Bytes, BytesMut};

use crate::wire::Connection;

const CORRELATION_BYTES: usize = 4;

/// Sends the request that `write` encodes, and decodes the response with `read`.
pub fn ask<T>(
    connection: &mut Connection,
    of: (ApiKey, i16),
    write: impl FnOnce(&mut BytesMut, i16) -> kafka::Result<()>,
    read: impl FnOnce(&mut Bytes, i16) -> kafka::Result<T>,
) -> T {
    send(connection, of, write);
    receive(connection, of, read)
}

/// Sends the request that `write` encodes.
pub fn send(
    connection: &mut Connection,
    (key, version): (ApiKey, i16),
    write: impl FnOnce(&mut BytesMut, i16) -> kafka::Result<()>,
) {
    let mut body = BytesMut::new();
    if is_flexible(key as i16, version) {
        // The header has no tagged fields.
        body.extend_from_slice(&[0]);
    }
    write(&mut body, version).expect("the message has such a version");
    connection.send(key as i16, version, &body);
}

/// Reads the response to the oldest request without one, and decodes it with `read`.
pub fn receive<T>(
    connection: &mut Connection,
    (key, version): (ApiKey, i16),
    read: impl FnOnce(&mut Bytes, i16) -> kafka::Result<T>,
) -> T {
    let mut reply = Bytes::from(connection.reply().frame());
    drop(reply.split_to(CORRELATION_BYTES));
    // KIP-511: the response header of ApiVersions is never flexible.
    if is_flexible(key as i16, version) && key != ApiKey::ApiVersions {
        let tagged = reply.split_to(1);
        assert_eq!(&tagged[..], [0], "{key:?} v{version}");
    }
    let response = read(&mut reply, version);
    let response = response.unwrap_or_else(|error| panic!("{key:?} v{version}: {error}"));
    assert!(
        reply.is_empty(),
        "{key:?} v{version}: {} bytes",
        reply.len()
    );
    response
}

/// Sends a request and returns the decoded response: `ask!(connection, KEY VERSION, MESSAGE =>
/// RESPONSE TYPE)`.
#[macro_export]
macro_rules! ask {
    ($connection:expr, $key:ident $version:literal, $message:expr => $response:ty) => {{
        let message = $message;
        $crate::wire::typed::ask(
            $connection,
            (sedge_protocol::kafka::generated::ApiKey::$key, $version),
            |buffer, version| message.write(buffer, version),
            <$response>::read,
        )
    }};
}

/// Sends a request without waiting: `tell!(connection, KEY VERSION, MESSAGE)`.
#[macro_export]
macro_rules! tell {
    ($connection:expr, $key:ident $version:literal, $message:expr) => {{
        let message = $message;
        $crate::wire::typed::send(
            $connection,
            (sedge_protocol::kafka::generated::ApiKey::$key, $version),
            |buffer, version| message.write(buffer, version),
        )
    }};
}

/// Returns the decoded response to a request that was told: `receive!(connection, KEY VERSION =>
/// RESPONSE TYPE)`.
#[macro_export]
macro_rules! receive {
    ($connection:expr, $key:ident $version:literal => $response:ty) => {
        $crate::wire::typed::receive(
            $connection,
            (sedge_protocol::kafka::generated::ApiKey::$key, $version),
            <$response>::read,
        )
    };
}
