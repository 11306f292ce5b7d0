//! Quotas of clients.

use sedge_core::quota::Usage;

use super::{Counter, Exposition, Gauge};

/// Counters of quotas. Clients create no series.
#[derive(Debug, Default)]
pub struct QuotaMetrics {
    /// Clients that are measured, each for each of its quotas.
    pub clients: Gauge,
    produce: Throttled,
    fetch: Throttled,
    request: Throttled,
    controller_mutation: Throttled,
    /// New connections of addresses.
    pub connection: Throttled,
    /// Connections that waited until they were accepted.
    pub accept: Throttled,
}

/// What was throttled, and for how long.
#[derive(Debug, Default)]
pub struct Throttled {
    requests: Counter,
    ms: Counter,
}

impl Throttled {
    pub fn add(&self, ms: u64) {
        self.requests.increment();
        self.ms.add(ms);
    }
}

impl QuotaMetrics {
    /// Counts a request that was throttled, or refused until a later time.
    pub fn throttled(&self, usage: Usage, ms: u64) {
        let of = match usage {
            Usage::Produced { .. } => &self.produce,
            Usage::Fetched { .. } => &self.fetch,
            Usage::Handled { .. } => &self.request,
            Usage::Mutated { .. } => &self.controller_mutation,
        };
        of.add(ms);
    }

    fn all(&self) -> [(&'static str, &Throttled); 6] {
        [
            ("produce", &self.produce),
            ("fetch", &self.fetch),
            ("request", &self.request),
            ("controller_mutation", &self.controller_mutation),
            ("connection", &self.connection),
            ("accept", &self.accept),
        ]
    }

    pub fn expose(&self, out: &mut Exposition) {
        let name = "sedge_quota_throttled_requests_total";
        out.family(
            name,
            "counter",
            "Requests and new connections of clients that exceeded a quota.",
        );
        for (kind, of) in self.all() {
            out.sample(name, &[("quota", kind)], of.requests.get());
        }
        let name = "sedge_quota_throttle_seconds_total";
        out.family(
            name,
            "counter",
            "Time for which clients were throttled, summed over requests and new connections.",
        );
        for (kind, of) in self.all() {
            let seconds = of.ms.get() as f64 / 1_000.0;
            out.sample(name, &[("quota", kind)], seconds);
        }
        out.gauge(
            "sedge_quota_measured_clients",
            "Clients whose use is measured, each for each of its quotas.",
            self.clients.get(),
        );
    }
}
