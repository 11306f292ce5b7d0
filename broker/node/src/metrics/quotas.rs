//! Metrics of client quotas.

use sedge_core::quota::{Grant, Usage};

use super::{Counter, Exposition, Gauge};

/// Counters of throttling. Their series do not depend on clients' names.
#[derive(Debug, Default)]
pub struct QuotaMetrics {
    /// Meters: one for each client and each quota in force for it.
    pub clients: Gauge,
    produce: Throttled,
    fetch: Throttled,
    request: Throttled,
    controller_mutation: Throttled,
    /// Decisions of the quota policy.
    pub policy: PolicyMetrics,
    /// New connections above an address's quota.
    pub connection: Throttled,
    /// New connections above a listener's rate, which wait until they are accepted.
    pub accept: Throttled,
}

/// Requests by the outcome of asking the quota policy.
#[derive(Debug, Default)]
pub struct PolicyMetrics {
    allowed: Counter,
    throttled: Throttled,
    rejected: Counter,
    /// The policy could not decide: the configured quotas decided alone.
    pub fallback: Counter,
}

impl PolicyMetrics {
    /// Counts a decision.
    pub fn decided(&self, grant: &Grant) {
        match grant {
            Grant::Allow => self.allowed.increment(),
            Grant::Throttle { ms } => self.throttled.add(*ms),
            Grant::Reject { .. } => self.rejected.increment(),
        }
    }
}

/// The number of throttled requests, and the sum of their times.
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

    fn all(&self) -> [(&'static str, &Throttled); 7] {
        [
            ("produce", &self.produce),
            ("fetch", &self.fetch),
            ("request", &self.request),
            ("controller_mutation", &self.controller_mutation),
            ("policy", &self.policy.throttled),
            ("connection", &self.connection),
            ("accept", &self.accept),
        ]
    }

    pub fn expose(&self, out: &mut Exposition) {
        let name = "sedge_quota_throttled_requests_total";
        out.family(
            name,
            "counter",
            "Requests and new connections that were throttled because a quota was exceeded.",
        );
        for (kind, of) in self.all() {
            out.sample(name, &[("quota", kind)], of.requests.get());
        }
        let name = "sedge_quota_throttle_seconds_total";
        out.family(
            name,
            "counter",
            "Sum of the times for which requests and new connections were throttled.",
        );
        for (kind, of) in self.all() {
            let seconds = of.ms.get() as f64 / 1_000.0;
            out.sample(name, &[("quota", kind)], seconds);
        }
        let name = "sedge_quota_policy_requests_total";
        out.family(
            name,
            "counter",
            "Requests that the quota policy was asked about, by its decision; fallback: it could \
             not decide.",
        );
        let policy = &self.policy;
        for (decision, of) in [
            ("allow", &policy.allowed),
            ("throttle", &policy.throttled.requests),
            ("reject", &policy.rejected),
            ("fallback", &policy.fallback),
        ] {
            out.sample(name, &[("decision", decision)], of.get());
        }
        out.gauge(
            "sedge_quota_measured_clients",
            "Pairs of a client and a quota in force for it, whose use is measured.",
            self.clients.get(),
        );
    }
}
