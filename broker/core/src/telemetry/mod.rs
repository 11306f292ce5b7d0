//! Metrics that clients push (KIP-714): which metrics each client is asked for, and how often it
//! may ask and push. What a push contains is not looked at here.
//!
//! The subscriptions are configurations of the resource type client metrics; the caller compiles
//! their patterns. A client is known by the id that it was given. The order of the checks is that
//! of Kafka's `ClientMetricsManager`.

mod limits;
mod subscription;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaUuid;

pub use limits::{CLIENTS_MAX, TELEMETRY_BYTES_MAX};
pub use subscription::{Attribute, ClientFacts, Pattern, Subscription};

use subscription::{Wanted, wanted};

/// Numbers on the wire of the codecs that a push may have, the preferred one first: zstd, lz4,
/// gzip, snappy. 0 is no compression.
pub const COMPRESSION_TYPES: [i8; 4] = [4, 3, 1, 2];

/// The subscriptions and the clients; see the module.
#[derive(Debug)]
pub struct Telemetry<P> {
    subscriptions: Vec<Subscription<P>>,
    /// Raised with each change of the subscriptions.
    version: u64,
    clients: BTreeMap<[u8; 16], Client>,
}

#[derive(Debug)]
struct Client {
    version: u64,
    subscription_id: i32,
    interval_ms: u64,
    asked_ms: Option<u64>,
    pushed_ms: Option<u64>,
    /// Whether the last push was refused so that the client has to ask again.
    must_ask: bool,
    is_terminating: bool,
}

/// What a client is told to push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub subscription_id: i32,
    pub interval_ms: i32,
    /// Prefixes of names; one `*` is all metrics. Empty: the client pushes nothing.
    pub metrics: Vec<String>,
}

/// A push, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Push {
    pub subscription_id: i32,
    pub is_terminating: bool,
    pub compression_type: i8,
    /// As it came.
    pub bytes: usize,
}

impl<P> Default for Telemetry<P> {
    fn default() -> Self {
        Self {
            subscriptions: Vec::new(),
            version: 0,
            clients: BTreeMap::new(),
        }
    }
}

impl<P: Pattern> Telemetry<P> {
    /// Replaces the subscriptions. Each client is told when it asks or pushes next.
    pub fn set(&mut self, subscriptions: Vec<Subscription<P>>) {
        self.subscriptions = subscriptions;
        self.version += 1;
    }

    /// Handles the question of a client which metrics it is to push.
    ///
    /// # Errors
    /// THROTTLING_QUOTA_EXCEEDED if the client asks again before its interval is over.
    pub fn handle_get(
        &mut self,
        now_ms: u64,
        id: KafkaUuid,
        facts: &ClientFacts<'_>,
    ) -> Result<Granted, ErrorCode> {
        let wanted = wanted(&self.subscriptions, facts);
        let client = self.client(id, &wanted);
        let is_due = client.is_due(now_ms, client.asked_ms.max(client.pushed_ms));
        if is_due {
            client.asked_ms = Some(now_ms);
        } else if !client.must_ask {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        client.must_ask = false;
        Ok(Granted {
            subscription_id: client.subscription_id,
            interval_ms: wanted.interval_ms,
            metrics: wanted.metrics,
        })
    }

    /// Handles a push. Returns the time after which the client has been silent for too long.
    ///
    /// # Errors
    /// INVALID_REQUEST for a client without an id, or one that has pushed its last metrics;
    /// THROTTLING_QUOTA_EXCEEDED before the interval is over; UNKNOWN_SUBSCRIPTION_ID if the
    /// subscriptions changed; UNSUPPORTED_COMPRESSION_TYPE; TELEMETRY_TOO_LARGE.
    pub fn handle_push(
        &mut self,
        now_ms: u64,
        id: KafkaUuid,
        facts: &ClientFacts<'_>,
        push: Push,
    ) -> Result<u64, ErrorCode> {
        if id == KafkaUuid::ZERO {
            return Err(ErrorCode::InvalidRequest);
        }
        let wanted = wanted(&self.subscriptions, facts);
        let client = self.client(id, &wanted);
        if client.is_terminating && !push.is_terminating {
            return Err(ErrorCode::InvalidRequest);
        }
        // The first push after a question may come at once.
        let is_first = client.asked_ms > client.pushed_ms;
        let is_due = is_first || client.is_due(now_ms, client.pushed_ms);
        if is_due {
            client.pushed_ms = Some(now_ms);
        } else if !push.is_terminating {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        if push.subscription_id != client.subscription_id {
            client.must_ask = true;
            return Err(ErrorCode::UnknownSubscriptionId);
        }
        if push.compression_type != 0 && !COMPRESSION_TYPES.contains(&push.compression_type) {
            client.must_ask = true;
            return Err(ErrorCode::UnsupportedCompressionType);
        }
        if push.bytes > TELEMETRY_BYTES_MAX {
            return Err(ErrorCode::TelemetryTooLarge);
        }
        client.must_ask = false;
        client.is_terminating |= push.is_terminating;
        Ok(now_ms.saturating_add(client.interval_ms.saturating_mul(limits::INTERVALS_KEPT)))
    }

    /// Returns the number of known clients.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Returns the client, as the current subscriptions have it. A new one may displace the one
    /// that has been silent for longest.
    fn client(&mut self, id: KafkaUuid, wanted: &Wanted) -> &mut Client {
        let key = id.to_bytes();
        let is_current = |client: &Client| client.version == self.version;
        if !self.clients.get(&key).is_some_and(is_current) {
            self.clients.remove(&key);
            if self.clients.len() >= CLIENTS_MAX {
                self.displace();
            }
        }
        let version = self.version;
        self.clients.entry(key).or_insert_with(|| Client {
            version,
            subscription_id: wanted.subscription_id(&key),
            interval_ms: u64::try_from(wanted.interval_ms).unwrap_or(0),
            asked_ms: None,
            pushed_ms: None,
            must_ask: false,
            is_terminating: false,
        })
    }

    fn displace(&mut self) {
        let silent = |(_, client): &(&[u8; 16], &Client)| client.asked_ms.max(client.pushed_ms);
        let oldest = self.clients.iter().min_by_key(silent);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.clients.remove(&key);
        }
    }
}

impl Client {
    fn is_due(&self, now_ms: u64, last_ms: Option<u64>) -> bool {
        last_ms.is_none_or(|last_ms| now_ms.saturating_sub(last_ms) >= self.interval_ms)
    }
}
