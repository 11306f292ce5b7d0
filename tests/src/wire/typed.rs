//! Requests and responses of any API and version, with the messages of the protocol crate.

use sedge_protocol::api::is_flexible;
use sedge_protocol::kafka;
use sedge_protocol::kafka::generated::ApiKey;
use sedge_protocol::{Bytes, BytesMut};

use crate::wire::Connection;

/// Sends the request that `write` encodes, and decodes the response with `read`.
pub fn ask<T>(
    connection: &mut Connection,
    (key, version): (ApiKey, i16),
    write: impl FnOnce(&mut BytesMut, i16) -> kafka::Result<()>,
    read: impl FnOnce(&mut Bytes, i16) -> kafka::Result<T>,
) -> T {
    let flexible = is_flexible(key as i16, version);
    let mut body = BytesMut::new();
    if flexible {
        // The header has no tagged fields.
        body.extend_from_slice(&[0]);
    }
    write(&mut body, version).expect("the message has such a version");
    let reply = connection.ask(key as i16, version, &body);
    let mut reply = Bytes::from(reply);
    // KIP-511: the response header of ApiVersions is never flexible.
    if flexible && key != ApiKey::ApiVersions {
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
