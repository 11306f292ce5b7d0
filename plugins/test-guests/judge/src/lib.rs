//! A quota policy for tests: the client id says what it does. `throttle-N` throttles for N ms,
//! `reject` rejects with a text, `tell` rejects with what it was told, `measure` sets a metric,
//! `panic` and `loop` fail, and others are allowed. Setting: `refuse`, a text with which it refuses
//! to start.
#![no_std]
use sedge_plugin_sdk::{
    Config, Grant, Operation, QuotaPolicy, Request, String, ToOwned, format, metrics, quota_policy,
};

struct Judge;

impl QuotaPolicy for Judge {
    fn configure(config: &Config) -> Result<Self, String> {
        config
            .get("refuse")
            .map_or(Ok(Self), |why| Err(why.to_owned()))
    }

    fn decide(&mut self, request: &Request) -> Grant {
        let id = request.client_id.as_deref().unwrap_or_default();
        if let Some(ms) = id.strip_prefix("throttle-") {
            return Grant::ThrottleMs(ms.parse().unwrap_or_default());
        }
        match id {
            "reject" => Grant::Reject("as it was told".to_owned()),
            "tell" => Grant::Reject(told(request)),
            "measure" => {
                metrics::set("measured", 0.25);
                Grant::Allow
            }
            "panic" => panic!("told to panic"),
            "loop" => loop {
                core::hint::black_box(0);
            },
            _ => Grant::Allow,
        }
    }
}

fn told(request: &Request) -> String {
    let operation = match request.operation {
        Operation::Produce => "produce",
        Operation::Fetch => "fetch",
    };
    let principal = request.principal.as_deref().unwrap_or("nobody");
    format!(
        "{operation} by {principal} from {} at {}: topics {}, {} records, {} bytes",
        request.peer,
        request.listener,
        request.topics.join(" "),
        request.records,
        request.bytes,
    )
}

quota_policy!(Judge);
