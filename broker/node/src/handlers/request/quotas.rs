//! Charges the use of a request to the quotas of its client.
//!
//! If several quotas throttle the client, the longest time counts: `throttle_time_ms` has it, and
//! the connection is muted for it (KIP-219).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sedge_core::quota::{Client, Key, Usage, Verdict};
use sedge_protocol::ErrorCode;

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

    /// Charges the batches read for a consumer. Returns whether they must not be sent.
    pub fn charge_fetched(&self, bytes: usize) -> bool {
        if !self.quotas().has(Key::ConsumerByteRate) {
            return false;
        }
        let bytes = bytes as u64;
        self.charge(Usage::Fetched { bytes }) != Verdict::Allow
    }

    /// Returns the most bytes of a fetch.
    pub fn fetch_bytes_max(&self) -> usize {
        if !self.quotas().has(Key::ConsumerByteRate) {
            return usize::MAX;
        }
        let bytes_max = self.quotas().fetch_bytes_max(self.client());
        bytes_max.map_or(usize::MAX, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        })
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
