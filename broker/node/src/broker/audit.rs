//! The audit log: denied operations, written to the same logger as in Kafka
//! (`kafka.authorizer.logger`).

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use sedge_core::security::{Denials, Operation, Principal, Resource, Told, Verdict};
use sedge_protocol::kafka::generated::ApiKey;

use crate::limits::AUDIT_NAME_CHARS;

/// The log target of the audit log.
pub const TARGET: &str = "kafka.authorizer.logger";

/// Logs denials, rate-limited by [`Denials`].
#[derive(Debug, Default)]
pub struct Audit {
    keys: RandomState,
    denials: Mutex<Denials>,
}

/// A denied operation.
#[derive(Clone, Copy, Debug)]
pub struct Denial<'a> {
    pub principal: &'a Principal,
    pub host: IpAddr,
    pub operation: Operation,
    pub resource: Resource,
    pub name: &'a str,
    pub api: ApiKey,
    pub verdict: Verdict,
}

impl Audit {
    pub fn denied(&self, denial: &Denial<'_>, now_ms: u64) {
        let Denial {
            principal,
            host,
            operation,
            resource,
            name,
            api,
            verdict,
        } = *denial;
        let what = (operation.number(), resource.number(), name);
        let key = self.keys.hash_one((principal.as_str(), host, what));
        let told = {
            let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
            denials.take(key, now_ms)
        };
        let Told::Now { held_back } = told else {
            return;
        };
        if held_back > 0 {
            log::info!(target: TARGET, "{held_back} more denials were not logged individually");
        }
        let why = match verdict {
            Verdict::Denied => "a rule denies it",
            Verdict::NotAllowed => "no rule allows it",
            _ => "the resource has no rules",
        };
        // Clients choose these names, so they are escaped and cut.
        let (principal, name) = (shown(principal.as_str()), shown(name));
        log::info!(
            target: TARGET,
            "principal {principal} from host {host} is denied operation {operation:?} on resource \
             {resource:?}:{name} for request {api:?}: {why}"
        );
    }
}

fn shown(name: &str) -> String {
    name.escape_debug().take(AUDIT_NAME_CHARS).collect()
}
