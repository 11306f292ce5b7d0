//! Tests the properties of every row of the table.

use std::time::Duration;

use futures_lite::future::block_on;
use sedge_protocol::ErrorCode;
use sedge_protocol::api::{APIS, Api};
use sedge_protocol::frame::RequestHeader;
use sedge_protocol::kafka::generated::ApiKey;
use sedge_protocol::kafka::generated::api_versions_response::ApiVersionsResponseData;
use sedge_protocol::kafka::generated::fetch_response::FetchResponseData;
use sedge_protocol::kafka::generated::heartbeat_response::HeartbeatResponseData;
use sedge_protocol::kafka::generated::offset_commit_response::OffsetCommitResponseData;

use super::client::{Client, frame_of, session, when_answered};
use crate::handlers::apis;
use crate::handlers::request::Request;
use crate::net::service::Disconnect;
use crate::test_broker::TestBroker;

#[test]
fn every_version_of_every_api_is_decoded_handled_and_encoded() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    for api in APIS {
        for version in api.answered() {
            let message = apis::default_message(api.key, version);
            let (reply, answered) = client.send(api.key as i16, version, &message).unwrap();
            assert_eq!(answered.mute, Duration::ZERO);
            // A default produce has acks=0.
            assert_eq!(
                reply.is_some(),
                api.key != ApiKey::Produce,
                "{api:?} {version}"
            );
        }
    }
}

/// Ten thousand idle connections each have as much.
#[test]
fn an_idle_connection_has_no_room_for_a_request() {
    let broker = TestBroker::start(&[]);
    let bytes = Client::new(&broker).call_bytes();
    assert!(bytes <= 128, "{bytes} bytes");
}

#[test]
fn what_is_no_request_of_its_api_closes_the_connection() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    for Api { key, max, .. } in APIS {
        // The last byte belongs to a field, or says that there are no tagged fields.
        let message = apis::default_message(*key, *max);
        if message.len() > 1 {
            let refused = client.send(*key as i16, *max, &message[..message.len() - 1]);
            assert!(
                matches!(refused, Err(Disconnect::Malformed { .. })),
                "{key:?}: {refused:?}"
            );
        }
        let refused = client.send(*key as i16, 1_000, &[]);
        if *key != ApiKey::ApiVersions {
            assert!(
                matches!(refused, Err(Disconnect::Unsupported(_))),
                "{key:?}"
            );
        }
    }
    let refused = client.send(4_000, 0, &[]);
    assert!(
        matches!(refused, Err(Disconnect::Unsupported(_))),
        "{refused:?}"
    );
}

#[test]
fn a_version_of_api_versions_that_is_not_known_is_answered_in_version_0() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    let (reply, _) = client.send(ApiKey::ApiVersions as i16, 99, &[]).unwrap();
    let mut message = reply.unwrap().split_off(8);
    let response = ApiVersionsResponseData::read(&mut message, 0).unwrap();
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion.code());
    assert_eq!(response.api_keys.len(), 1);
    assert_eq!(response.api_keys[0].api_key, ApiKey::ApiVersions as i16);
}

/// KIP-219: the client is told the throttle time, and its connection is muted for that time.
#[test]
fn a_throttled_request_says_so_and_mutes_its_connection() {
    let broker = TestBroker::start(&[]);
    let throttled = |key: ApiKey, version: i16| {
        let header = RequestHeader {
            api_key: key as i16,
            api_version: version,
            correlation_id: 1,
            client_id: None,
        };
        let header = (header, 0);
        let request = Request::new(&broker.broker, &session(), header, key, apis::needs(key));
        let request = request.throttled(Duration::from_millis(1_234));
        let message = apis::default_message(key, version);
        let answered = block_on(async {
            let answer = apis::route(request, message.into()).await?;
            when_answered(answer).await
        });
        let mut answered = answered.unwrap();
        assert_eq!(answered.mute, Duration::from_millis(1_234), "{key:?}");
        frame_of(&mut answered).map(|mut frame| frame.split_off(8))
    };
    let mut message = throttled(ApiKey::Heartbeat, 3).unwrap();
    let answered = HeartbeatResponseData::read(&mut message, 3).unwrap();
    assert_eq!(answered.throttle_time_ms, 1_234);
    let mut message = throttled(ApiKey::OffsetCommit, 7).unwrap();
    let answered = OffsetCommitResponseData::read(&mut message, 7).unwrap();
    assert_eq!(answered.throttle_time_ms, 1_234);
    let mut message = throttled(ApiKey::Fetch, 11).unwrap();
    let answered = FetchResponseData::read(&mut message, 11).unwrap();
    assert_eq!(answered.throttle_time_ms, 1_234);
    // With acks=0 there is no answer to carry the time.
    assert!(throttled(ApiKey::Produce, 9).is_none());
}
