//! A client without a socket: passes requests through the table, as bytes, to a test broker.

use std::sync::Arc;

use futures_lite::future::block_on;
use sedge_core::security::Principal;
use sedge_core::security_protocol::SecurityProtocol;
use sedge_protocol::ErrorCode;
use sedge_protocol::api::is_flexible;
use sedge_protocol::kafka::generated::ApiKey;
use sedge_protocol::kafka::{self, KafkaString};
use sedge_protocol::{Bytes, BytesMut};

use crate::config::{HostPort, ListenerConfig};
use crate::coordinator::Journal;
use crate::handlers::Handlers;
use crate::net::service::{Answer, Answered, Disconnect, Service, Session};
use crate::test_broker::TestBroker;

const CORRELATION_ID: i32 = 7_654_321;

/// A client without a socket; see the module.
pub struct Client {
    handlers: Handlers,
    session: Arc<Session>,
    journal: Journal,
}

impl Client {
    pub fn new(broker: &TestBroker) -> Self {
        Self {
            handlers: Handlers(Arc::clone(&broker.broker)),
            session: session(),
            journal: broker.journal.clone(),
        }
    }

    /// Returns the memory that a connection has for a request that it does not get.
    pub fn call_bytes(&self) -> usize {
        size_of_val(&self.handlers.call(&self.session, Bytes::new()))
    }

    /// Returns another connection to the same broker, of an authenticated client.
    pub fn as_principal(&self, principal: Principal) -> Self {
        let session = session();
        session.identify(principal);
        Self {
            handlers: self.handlers.clone(),
            session,
            journal: self.journal.clone(),
        }
    }

    /// The same, to a listener with this protocol.
    pub fn over(&self, protocol: SecurityProtocol, principal: Principal) -> Self {
        let mut client = self.as_principal(principal);
        let session = Arc::get_mut(&mut client.session).expect("nobody else has it");
        Arc::make_mut(&mut session.listener).protocol = protocol;
        client
    }

    /// Runs the coordinators' tasks: one writes the records of group operations, one keeps time.
    pub fn with_coordinator(self) -> Self {
        let broker = &self.handlers.0;
        let log = || Arc::clone(&broker.log);
        let write = self.journal.clone().write(log(), broker.writer.clone());
        broker.runtime.spawn(write).detach();
        let keep_time = self.journal.clone().keep_time(log());
        broker.runtime.spawn(keep_time).detach();
        self
    }

    /// Sends a request and waits for the answer. `None` is an answer without a reply.
    ///
    /// # Errors
    /// The connection would be closed.
    pub fn send(
        &self,
        key: i16,
        version: i16,
        message: &[u8],
    ) -> Result<(Option<Bytes>, Answered), Disconnect> {
        let mut frame = key.to_be_bytes().to_vec();
        frame.extend(version.to_be_bytes());
        frame.extend(CORRELATION_ID.to_be_bytes());
        frame.extend(4_i16.to_be_bytes());
        frame.extend(b"test");
        if is_flexible(key, version) {
            frame.push(0);
        }
        frame.extend(message);
        let mut answered = block_on(async {
            let answer = self.handlers.call(&self.session, frame.into()).await?;
            when_answered(answer).await
        })?;
        Ok((frame_of(&mut answered), answered))
    }

    /// Sends a request and returns the message behind the reply's header.
    pub fn reply(&self, key: ApiKey, version: i16, message: &[u8]) -> Bytes {
        let (reply, _) = self.send(key as i16, version, message).unwrap();
        let mut reply = reply.expect("a reply");
        let length = u32::from_be_bytes(*reply.first_chunk().unwrap());
        assert_eq!(length as usize, reply.len() - 4, "{key:?} v{version}");
        let correlation_id = i32::from_be_bytes(*reply[4..].first_chunk().unwrap());
        assert_eq!(correlation_id, CORRELATION_ID, "{key:?} v{version}");
        // KIP-511: the header of an ApiVersions answer is never flexible.
        let tagged = is_flexible(key as i16, version) && key != ApiKey::ApiVersions;
        reply.split_off(8 + usize::from(tagged))
    }

    /// Sends what `write` encodes, and decodes the answer with `read`.
    pub fn ask<T>(
        &self,
        (key, version): (ApiKey, i16),
        write: impl FnOnce(&mut BytesMut, i16) -> kafka::Result<()>,
        read: impl FnOnce(&mut Bytes, i16) -> kafka::Result<T>,
    ) -> T {
        let mut message = BytesMut::new();
        write(&mut message, version).unwrap();
        let mut reply = self.reply(key, version, &message);
        let response = read(&mut reply, version).unwrap();
        assert!(
            reply.is_empty(),
            "{key:?} v{version} has {} bytes left",
            reply.len()
        );
        response
    }
}

pub async fn when_answered(answer: Answer) -> Result<Answered, Disconnect> {
    match answer {
        Answer::Now(answered) => Ok(answered),
        Answer::Later { answered, .. } => answered.await,
    }
}

pub fn frame_of(answered: &mut Answered) -> Option<Bytes> {
    let reply = answered.reply.take()?;
    let chunks = reply.frame.into_iter().map(|chunk| chunk.read().unwrap());
    Some(Bytes::from(chunks.collect::<Vec<Bytes>>().concat()))
}

/// Returns a connection to a listener without an advertised address.
pub fn session() -> Arc<Session> {
    let listener = ListenerConfig {
        name: "PLAINTEXT".to_owned(),
        protocol: SecurityProtocol::Plaintext,
        tls: None,
        sasl: None,
        address: HostPort::parse("broker.example:9092").unwrap(),
        advertised: None,
        max_connections: None,
    };
    Arc::new(Session::new(
        "192.0.2.1:4711".parse().unwrap(),
        "192.0.2.2:9092".parse().unwrap(),
        Arc::new(listener),
        Arc::default(),
    ))
}

/// `ask!(client, KEY VERSION, MESSAGE => RESPONSE TYPE)`
macro_rules! ask {
    ($client:expr, $key:ident $version:literal, $message:expr => $response:ty) => {{
        let message = $message;
        $client.ask(
            (sedge_protocol::kafka::generated::ApiKey::$key, $version),
            |buffer, version| message.write(buffer, version),
            <$response>::read,
        )
    }};
}

pub(super) use ask;

pub fn text(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}

pub fn code(code: i16) -> ErrorCode {
    ErrorCode::from(code)
}
