//! Charges the use of a request to the quotas of its client, and asks the quota policy.
//!
//! If several quotas throttle the client, the longest time counts: `throttle_time_ms` has it, and
//! the connection is muted for it (KIP-219).

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sedge_core::quota::limits::POLICY_TOPICS_MAX;
use sedge_core::quota::{Client, Grant, Key, Usage, Verdict};
use sedge_core::security::Principal;
use sedge_plugin::{QuotaOperation, QuotaRequest};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;

use super::Request;
use crate::broker::Refusal;
use crate::broker::quotas::ClientQuotas;

/// The use of a request so far.
pub struct Use {
    /// Size of the request.
    bytes: usize,
    /// Whether a quota of `request_percentage` is set.
    is_timed: bool,
    handled_nanos: AtomicU64,
    throttle_ms: AtomicU64,
}

impl Use {
    pub fn new(quotas: &ClientQuotas, bytes: usize) -> Self {
        Self {
            bytes,
            is_timed: quotas.has(Key::RequestPercentage),
            handled_nanos: AtomicU64::new(0),
            throttle_ms: AtomicU64::new(0),
        }
    }
}

/// What a produce or a fetch asks for, as the quota policy is told.
pub struct Demand<'a> {
    pub topics: BTreeSet<&'a str>,
    pub bytes: u64,
    pub records: u64,
}

/// The outcome of charging a request.
#[derive(Debug)]
pub enum Charged {
    Granted,
    /// The client waits. A produce is done all the same; what a fetch has read is not sent.
    Throttled,
    /// The request is not served. The text is for the client.
    Rejected(String),
}

impl Request {
    #[cfg(test)]
    pub fn throttled(self, throttle: Duration) -> Self {
        let ms = throttle.as_millis() as u64;
        self.used.throttle_ms.store(ms, Ordering::Relaxed);
        self
    }

    /// Runs a part of the handler and counts its time on the network thread, as Kafka counts the
    /// time of its request handlers. Waiting is not counted, nor are the threads that read the disk
    /// or decompress.
    pub async fn timed<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| {
            if !self.used.is_timed {
                return work.as_mut().poll(context);
            }
            let begun = Instant::now();
            let polled = work.as_mut().poll(context);
            let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.used.handled_nanos.fetch_add(nanos, Ordering::Relaxed);
            polled
        })
        .await
    }

    /// Charges the time of the handler and returns `throttle_time_ms` for the response. Called
    /// once, when the handler is done.
    pub fn throttle_time_ms(&self) -> i32 {
        if self.used.is_timed {
            let nanos = self.used.handled_nanos.load(Ordering::Relaxed);
            self.charge(Usage::Handled { nanos });
        }
        let ms = self.used.throttle_ms.load(Ordering::Relaxed);
        i32::try_from(ms).unwrap_or(i32::MAX)
    }

    /// Returns how long to mute the connection, by the uses charged so far.
    pub fn mute(&self) -> Duration {
        let ms = self.used.throttle_ms.load(Ordering::Relaxed);
        Duration::from_millis(ms.min(i32::MAX as u64))
    }

    /// Charges the bytes of the request. They were already received, so none is refused.
    pub fn charge_produced(&self) {
        if self.quotas().has(Key::ProducerByteRate) {
            let bytes = self.used.bytes as u64;
            self.charge(Usage::Produced { bytes });
        }
    }

    /// Charges the batches read for a consumer to its quotas, and asks the quota policy. The policy
    /// counts what it throttles; the client need not pay for these bytes again when it comes back
    /// for them.
    pub async fn charge_fetched<'a>(
        &self,
        bytes: usize,
        demand: impl FnOnce() -> Demand<'a>,
    ) -> Charged {
        let withheld = &self.access.session.withheld_bytes;
        let (read, paid) = (bytes as u64, withheld.load(Ordering::Relaxed));
        if (1..=paid).contains(&read) {
            withheld.store(paid - read, Ordering::Relaxed);
            return Charged::Granted;
        }
        let bytes = read.saturating_sub(paid);
        let is_limited = self.quotas().has(Key::ConsumerByteRate);
        if is_limited && self.charge(Usage::Fetched { bytes }) != Verdict::Allow {
            return Charged::Throttled;
        }
        let demand = || Demand { bytes, ..demand() };
        let charged = self.ask_policy(QuotaOperation::Fetch, demand).await;
        let now_withheld = match charged {
            Charged::Throttled => paid.max(read),
            Charged::Granted | Charged::Rejected(_) => paid.saturating_sub(read),
        };
        withheld.store(now_withheld, Ordering::Relaxed);
        charged
    }

    /// Returns the most bytes of a fetch.
    pub fn fetch_bytes_max(&self) -> usize {
        let withheld = self.access.session.withheld_bytes.load(Ordering::Relaxed);
        let withheld = (withheld > 0).then_some(withheld);
        let limit = if self.quotas().has(Key::ConsumerByteRate) {
            self.quotas().fetch_bytes_max(self.client())
        } else {
            None
        };
        let bytes_max = withheld.into_iter().chain(limit).min();
        bytes_max.map_or(usize::MAX, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        })
    }

    /// Asks the quota policy about this request, if the broker is bound to one.
    pub async fn ask_policy<'a>(
        &self,
        operation: QuotaOperation,
        demand: impl FnOnce() -> Demand<'a>,
    ) -> Charged {
        let Some(policy) = self.access.broker.plugins.quota_policy() else {
            return Charged::Granted;
        };
        let Demand {
            topics,
            bytes,
            records,
        } = demand();
        let topics: Vec<&str> = topics.into_iter().take(POLICY_TOPICS_MAX).collect();
        let session = &self.access.session;
        let principal = Some(session.principal()).filter(|who| **who != Principal::ANONYMOUS);
        let peer = session.remote.ip().to_string();
        let asked = QuotaRequest {
            operation,
            principal: principal.map(Principal::as_str),
            client_id: self.header.client_id.as_ref().map(KafkaString::as_str),
            peer: &peer,
            listener: &session.listener.name,
            topics: &topics,
            bytes,
            records,
            now_ms: self.now().monotonic_ms,
        };
        match policy.decide(&asked).await {
            Grant::Allow => Charged::Granted,
            Grant::Throttle { ms } => {
                self.used.throttle_ms.fetch_max(ms, Ordering::Relaxed);
                Charged::Throttled
            }
            Grant::Reject { why } => Charged::Rejected(format!(
                "The quota policy {} rejected the request: {why}",
                policy.plugin()
            )),
        }
    }

    /// Charges partitions that a request of a version before KIP-599 creates or deletes. Such a
    /// request is never refused.
    pub fn charge_mutation(&self, partitions: i32) {
        self.mutate(partitions, false);
    }

    /// Charges partitions that are about to be created or deleted.
    ///
    /// # Errors
    /// THROTTLING_QUOTA_EXCEEDED, if the version of the request has that error (KIP-599).
    pub fn charge_strict_mutation(
        &self,
        partitions: i32,
        first_strict_version: i16,
    ) -> Result<(), Refusal> {
        let is_strict = self.version() >= first_strict_version;
        match self.mutate(partitions, is_strict) {
            Verdict::Allow | Verdict::Throttle { .. } => Ok(()),
            Verdict::Reject { .. } => Err(Refusal::new(
                ErrorCode::ThrottlingQuotaExceeded,
                "The throttling quota has been exceeded.",
            )),
        }
    }

    fn mutate(&self, partitions: i32, is_strict: bool) -> Verdict {
        if !self.quotas().has(Key::ControllerMutationRate) {
            return Verdict::Allow;
        }
        let partitions = u64::try_from(partitions).unwrap_or(0);
        self.charge(Usage::Mutated {
            partitions,
            is_strict,
        })
    }

    fn charge(&self, usage: Usage) -> Verdict {
        let now_ms = self.now().monotonic_ms;
        let verdict = self.quotas().charge(now_ms, self.client(), usage);
        match verdict {
            Verdict::Allow => {}
            Verdict::Throttle { ms } | Verdict::Reject { retry_ms: ms } => {
                self.used.throttle_ms.fetch_max(ms, Ordering::Relaxed);
            }
        }
        verdict
    }

    fn client(&self) -> Client<'_> {
        Client {
            user: self.access.session.principal().name(),
            id: self.client_id(),
        }
    }

    fn quotas(&self) -> &ClientQuotas {
        &self.access.broker.quotas
    }
}
