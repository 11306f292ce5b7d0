//! Answers requests: one file per API, in folders by subject, and a row in the table of `apis.rs`.
//! `request` defines what a handler may access.
//!
//! A handler takes the decoded request and returns the response message. If the reply must wait
//! while the connection reads on (produce, fetch, parked joins), the handler starts the request in
//! the order of arrival and finishes it later.

#![allow(
    clippy::unused_async,
    reason = "handlers have one shape, so that the table can call each of them"
)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_channel::Receiver;
use sedge_core::groups::ReplyBody;
use sedge_protocol::api;
use sedge_protocol::frame::{self, RequestHeader};
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::kafka::generated::ApiKey;
use sedge_protocol::{Bytes, ErrorCode};

pub use crate::broker::Refusal;

use crate::broker::Broker;
use crate::net::service::{Answer, Disconnect, Rule, Service, Session};
use request::{Request, Topics, login, unsupported};

mod acls;
mod apis;
mod cluster;
pub(crate) mod configs;
pub mod device;
mod groups;
mod quotas;
mod records;
mod repeats;
mod request;
mod sasl;
mod telemetry;
#[cfg(test)]
mod tests;
mod tokens;
mod topics;
mod transactions;
mod users;

/// Answers clients' requests with the state of a broker.
#[derive(Clone, Debug)]
pub struct Handlers(pub Arc<Broker>);

impl Service for Handlers {
    fn rule(&self, api_key: i16) -> Rule {
        apis::rule(api_key)
    }

    fn refuses(&self, remote: IpAddr) -> Option<Duration> {
        let now_ms = self.0.log.clock.now().monotonic_ms;
        self.0.quotas.connect(now_ms, remote)
    }

    async fn call(&self, session: &Arc<Session>, frame: Bytes) -> Result<Answer, Disconnect> {
        // Boxed, so that an idle connection has no room for the largest request.
        Box::pin(dispatch(&self.0, session, frame)).await
    }
}

/// Decodes a frame and starts its request.
async fn dispatch(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    frame: Bytes,
) -> Result<Answer, Disconnect> {
    if session.login().is_some_and(|login| login.expects_raw()) {
        return sasl::raw(broker, session, &frame);
    }
    let mut body = frame;
    let bytes = body.len();
    let header = RequestHeader::decode(&mut body).map_err(|error| Disconnect::Malformed {
        api_key: -1,
        api_version: -1,
        reason: error.to_string(),
    })?;
    let (api_key, api_version) = (header.api_key, header.api_version);
    login::check(broker, session, api_key)?;
    let Some(api) = api::supported(api_key) else {
        return Err(unsupported(&header, session));
    };
    if !api.answers(api_version) && api.key != ApiKey::ApiVersions {
        return Err(unsupported(&header, session));
    }
    let request = Request::new(
        broker,
        session,
        (header, bytes),
        api.key,
        apis::needs(api.key),
    );
    if !api.answers(api_version) {
        return cluster::api_versions::refuse(&request);
    }
    if body.len() > frame::request_bytes_max(api_key, usize::MAX) {
        return Err(request.malformed("it is larger than any request of its kind"));
    }
    apis::route(request, body).await
}

/// Checks that a topic has a partition; the refusal has the message of Kafka's controller.
fn check_partition(topics: &Topics, topic: &str, index: i32) -> Result<(), Refusal> {
    let refused = |message| Refusal::new(ErrorCode::UnknownTopicOrPartition, message);
    let found = topics
        .named(topic)
        .map_err(|_| refused(format!("There is no topic {topic}.")))?;
    found
        .partition_id(index)
        .map_err(|_| refused(format!("There is no partition {topic}-{index}.")))?;
    Ok(())
}

/// Returns the reply for a request that the coordinator refuses at once.
fn at_once(reply: ReplyBody) -> Receiver<ReplyBody> {
    let (answer, answered) = async_channel::bounded(1);
    let _ = answer.try_send(reply);
    answered
}

fn code_of(result: Result<(), ErrorCode>) -> i16 {
    result.err().unwrap_or(ErrorCode::None).code()
}

fn uuid(bytes: [u8; 16]) -> KafkaUuid {
    let (high, low) = bytes.split_at(8);
    let half = |bytes: &[u8]| u64::from_be_bytes(*bytes.first_chunk().expect("half of 16 bytes"));
    KafkaUuid::from_parts(half(high), half(low))
}
