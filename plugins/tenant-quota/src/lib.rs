//! Gives each tenant a byte rate with bursts, for produce and for fetch apart. A tenant is the part
//! of the client id before the first `separator` (`.`): `acme.line-4` and `acme.line-5` share what
//! `acme` may use. A client without an id is the tenant of that name, "".
//!
//! Settings: `rate` (bytes a second, 1 MiB), `burst` (bytes that may come at once, 4 MiB),
//! `rate.TENANT` and `burst.TENANT` for one tenant, `separator`. A rate of 0 rejects.
#![no_std]
extern crate alloc;

use alloc::collections::BTreeMap;
use sedge_plugin_sdk::{
    Config, Grant, Operation, QuotaPolicy, Request, String, ToOwned, format, quota_policy,
};

/// Tenants that are measured at once: a client may give any id.
const TENANTS_MAX: usize = 4_096;

struct TenantQuota {
    separator: String,
    limits: Limits,
    limits_of: BTreeMap<String, Limits>,
    /// By tenant: of produce, and of fetch.
    buckets: BTreeMap<String, [Bucket; 2]>,
}

#[derive(Clone, Copy)]
struct Limits {
    rate: f64,
    burst: f64,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at_ms: u64,
}

impl QuotaPolicy for TenantQuota {
    fn configure(config: &Config) -> Result<Self, String> {
        let number = |name: &str, otherwise: f64| {
            let number = config.parse_or(name, otherwise)?;
            if number.is_finite() && number >= 0.0 {
                Ok(number)
            } else {
                Err(format!("setting {name}: {number} is no number of bytes"))
            }
        };
        let limits = Limits {
            rate: number("rate", 1_048_576.0)?,
            burst: number("burst", 4_194_304.0)?,
        };
        let mut limits_of = BTreeMap::new();
        for (name, _) in config.iter() {
            let Some((_, tenant)) = name.split_once('.') else {
                continue;
            };
            let of = Limits {
                rate: number(&format!("rate.{tenant}"), limits.rate)?,
                burst: number(&format!("burst.{tenant}"), limits.burst)?,
            };
            limits_of.insert(tenant.to_owned(), of);
        }
        Ok(Self {
            separator: config.get("separator").unwrap_or(".").to_owned(),
            limits,
            limits_of,
            buckets: BTreeMap::new(),
        })
    }

    fn decide(&mut self, request: &Request) -> Grant {
        let id = request.client_id.as_deref().unwrap_or_default();
        let tenant = id.split(self.separator.as_str()).next().unwrap_or_default();
        let limits = self.limits_of.get(tenant).copied().unwrap_or(self.limits);
        if limits.rate == 0.0 {
            return Grant::Reject(format!("tenant {tenant:?} may use nothing"));
        }
        let bucket = self.bucket(tenant, limits, request);
        bucket.fill(request.now_ms, limits);
        // The request is served, and the next one waits until its bytes are paid for.
        bucket.tokens -= request.bytes as f64;
        if bucket.tokens >= 0.0 {
            Grant::Allow
        } else {
            Grant::ThrottleMs((-bucket.tokens / limits.rate * 1e3) as u32)
        }
    }
}

impl TenantQuota {
    /// Returns the tenant's bucket for the request, which begins full.
    fn bucket(&mut self, tenant: &str, limits: Limits, request: &Request) -> &mut Bucket {
        if !self.buckets.contains_key(tenant) {
            if self.buckets.len() >= TENANTS_MAX {
                self.forget_full(request.now_ms);
            }
            let full = Bucket {
                tokens: limits.burst,
                at_ms: request.now_ms,
            };
            self.buckets.insert(tenant.to_owned(), [full; 2]);
        }
        let buckets = self.buckets.get_mut(tenant).expect("it was inserted");
        let [produce, fetch] = buckets;
        match request.operation {
            Operation::Produce => produce,
            Operation::Fetch => fetch,
        }
    }

    /// Forgets tenants that may use a whole burst, as a new one may; all of them if there is none.
    fn forget_full(&mut self, now_ms: u64) {
        let (limits, limits_of) = (self.limits, &self.limits_of);
        self.buckets.retain(|tenant, buckets| {
            let limits = limits_of.get(tenant).copied().unwrap_or(limits);
            buckets.iter_mut().any(|bucket| {
                bucket.fill(now_ms, limits);
                bucket.tokens < limits.burst
            })
        });
        if self.buckets.len() >= TENANTS_MAX {
            self.buckets.clear();
        }
    }
}

impl Bucket {
    fn fill(&mut self, now_ms: u64, limits: Limits) {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        let more = passed_ms as f64 * limits.rate / 1e3;
        self.tokens = (self.tokens + more).min(limits.burst);
        self.at_ms = now_ms;
    }
}

quota_policy!(TenantQuota);
