//! The quotas in force: `core`'s policy, shared by all threads.
//!
//! If no quota is set, a request costs one atomic load for each kind of quota that may apply.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sedge_core::config::BrokerDefaults;
use sedge_core::quota::{Client, Key, Meters, QuotaPolicy as _, Quotas, Usage, Verdict, Windows};

use crate::metrics::Metrics;

/// The policy behind a lock, and the kinds of quotas that are set.
#[derive(Debug)]
pub struct ClientQuotas {
    /// The keys with a quota of any entity, one bit each.
    set: AtomicU8,
    meters: Mutex<Meters>,
    metrics: Arc<Metrics>,
}

const _: () = assert!(Key::ALL.len() <= u8::BITS as usize);

impl ClientQuotas {
    /// Starts without quotas.
    pub fn new(defaults: &BrokerDefaults, metrics: Arc<Metrics>) -> Self {
        let number = |key: &str| u32::try_from(defaults.number(key)).unwrap_or(1).max(1);
        let windows = Windows {
            count: number("quota.window.num"),
            seconds: number("quota.window.size.seconds"),
        };
        let controller_windows = Windows {
            count: number("controller.quota.window.num"),
            seconds: number("controller.quota.window.size.seconds"),
        };
        Self {
            set: AtomicU8::new(0),
            meters: Mutex::new(Meters::new(windows, controller_windows)),
            metrics,
        }
    }

    /// Applies the quotas of the metadata. Called after each change.
    pub fn set(&self, quotas: &Arc<Quotas>) {
        let mut meters = self.meters();
        meters.set_quotas(Arc::clone(quotas));
        let bits = Key::ALL.into_iter().filter(|key| quotas.has(*key));
        let bits = bits.fold(0, |bits, key| bits | bit(key));
        self.set.store(bits, Ordering::Relaxed);
    }

    /// Returns whether a quota of this key is set for any entity.
    pub fn has(&self, key: Key) -> bool {
        self.set.load(Ordering::Relaxed) & bit(key) != 0
    }

    /// Counts a use and decides about it.
    pub fn charge(&self, now_ms: u64, client: Client<'_>, usage: Usage) -> Verdict {
        let verdict = {
            let mut meters = self.meters();
            let verdict = meters.charge(now_ms, client, usage);
            self.metrics.quotas.clients.set(meters.len() as i64);
            verdict
        };
        match verdict {
            Verdict::Allow => {}
            Verdict::Throttle { ms } | Verdict::Reject { retry_ms: ms } => {
                self.metrics.quotas.throttled(usage, ms);
            }
        }
        verdict
    }

    /// Counts a new connection. If its address opens too many, returns the time after which to
    /// close it without serving it.
    pub fn connect(&self, now_ms: u64, remote: IpAddr) -> Option<Duration> {
        if !self.has(Key::ConnectionCreationRate) {
            return None;
        }
        let verdict = self.meters().connect(now_ms, remote);
        match verdict {
            Verdict::Allow => None,
            Verdict::Throttle { ms } | Verdict::Reject { retry_ms: ms } => {
                self.metrics.quotas.connection.add(ms);
                Some(Duration::from_millis(ms))
            }
        }
    }

    /// Returns the most bytes of one fetch of the client, if a quota limits its fetches.
    pub fn fetch_bytes_max(&self, client: Client<'_>) -> Option<u64> {
        self.meters().fetch_bytes_max(client)
    }

    fn meters(&self) -> MutexGuard<'_, Meters> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn bit(key: Key) -> u8 {
    1 << key as u8
}
