//! How fast connections are accepted: `max.connection.creation.rate`, of the broker and of each
//! listener (KIP-612). Those that come faster wait in the kernel's queue until they are accepted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_io::Timer;
use sedge_core::quota::Bucket;

use crate::config::creation_rates::CreationRates;
use crate::metrics::Metrics;

/// The rates of the broker and of its listeners; see the module.
#[derive(Debug)]
pub struct Rates {
    started: Instant,
    broker: Mutex<Option<Arc<Rate>>>,
    listeners: BTreeMap<String, Arc<Rate>>,
}

#[derive(Debug)]
struct Rate {
    per_second: f64,
    bucket: Mutex<Bucket>,
}

impl Rates {
    pub fn new(config: &CreationRates) -> Self {
        let listeners = config.listeners.iter();
        Self {
            started: Instant::now(),
            broker: Mutex::new(config.broker.map(rate)),
            listeners: listeners
                .map(|(name, per_second)| (name.clone(), rate(*per_second)))
                .collect(),
        }
    }

    /// Replaces the rate of the broker.
    pub fn set_broker(&self, per_second: Option<u32>) {
        let mut broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = broker.as_ref().map(|rate| rate.per_second);
        if before != per_second.map(f64::from) {
            *broker = per_second.map(rate);
        }
    }

    /// Waits until one more connection may be accepted from the listener of this name.
    pub async fn wait(&self, listener: &str, metrics: &Metrics) {
        loop {
            let waits = self.of(listener).map(|rate| rate.wait_ms(self.now_ms()));
            let wait_ms = waits.max().unwrap_or(0);
            if wait_ms == 0 {
                return;
            }
            metrics.quotas.accept.add(wait_ms);
            Timer::after(Duration::from_millis(wait_ms)).await;
        }
    }

    /// Counts a connection that is served.
    pub fn accepted(&self, listener: &str) {
        self.of(listener).for_each(|rate| rate.spend());
    }

    fn of(&self, listener: &str) -> impl Iterator<Item = Arc<Rate>> {
        let broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = self.listeners.get(listener).cloned();
        broker.clone().into_iter().chain(listener)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

fn rate(per_second: u32) -> Arc<Rate> {
    Arc::new(Rate::new(f64::from(per_second)))
}

impl Rate {
    fn new(per_second: f64) -> Self {
        Self {
            per_second,
            bucket: Mutex::new(Bucket::new(0, per_second)),
        }
    }

    fn wait_ms(&self, now_ms: u64) -> u64 {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        // As many at once as come in a second.
        bucket.refill(now_ms, self.per_second, self.per_second);
        bucket.wait_ms(1.0, self.per_second)
    }

    fn spend(&self) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.spend(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_the_broker_changes_and_a_listener_keeps_its_own() {
        let own = BTreeMap::from([("LAN".to_owned(), 7)]);
        let rates = Rates::new(&CreationRates {
            broker: None,
            listeners: own,
        });
        let of = |listener: &str| {
            let all = rates.of(listener).map(|rate| rate.per_second);
            all.collect::<Vec<_>>()
        };
        assert_eq!(of("LAN"), [7.0]);
        assert!(of("WAN").is_empty());
        rates.set_broker(Some(3));
        assert_eq!((of("LAN"), of("WAN")), (vec![3.0, 7.0], vec![3.0]));
        let before = rates.of("WAN").next().unwrap();
        rates.set_broker(Some(3));
        let after = rates.of("WAN").next().unwrap();
        assert!(
            Arc::ptr_eq(&before, &after),
            "what was spent is not forgotten"
        );
        rates.set_broker(None);
        assert!(of("WAN").is_empty());
    }
}
