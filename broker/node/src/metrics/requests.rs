//! Requests by API, with their latency and their errors.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::ApiKey;

use super::{Exposition, Histogram};

/// One more than the largest API key that Kafka has.
const API_KEYS: usize = 96;

/// Pairs of API and error code. There are few, but every table has a bound.
const ERRORS_MAX: usize = 1024;

#[derive(Debug)]
pub struct Requests {
    latency: Vec<Histogram>,
    errors: Mutex<BTreeMap<(i16, i16), u64>>,
}

impl Default for Requests {
    fn default() -> Self {
        let latency = (0..API_KEYS).map(|_| Histogram::default()).collect();
        Self {
            latency,
            errors: Mutex::default(),
        }
    }
}

impl Requests {
    pub fn answered(&self, api: ApiKey, latency: Duration) {
        if let Some(histogram) = self.latency.get(api as usize) {
            histogram.observe(latency);
        }
    }

    pub fn failed(&self, api: ApiKey, error: ErrorCode) {
        if error == ErrorCode::None {
            return;
        }
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (api as i16, error.code());
        if let Some(count) = errors.get_mut(&key) {
            *count += 1;
        } else if errors.len() < ERRORS_MAX {
            errors.insert(key, 1);
        }
    }

    pub fn expose(&self, out: &mut Exposition) {
        let name = "sedge_kafka_request_latency_seconds";
        out.family(
            name,
            "histogram",
            "Time from a request's last byte to its response.",
        );
        for (key, histogram) in self.latency.iter().enumerate() {
            if histogram
                .cumulative()
                .last()
                .is_some_and(|total| *total > 0)
            {
                out.histogram(name, ("api", &api_name(key as i16)), histogram);
            }
        }
        let name = "sedge_kafka_request_errors_total";
        out.family(
            name,
            "counter",
            "Errors in produce and fetch responses, counted by partition.",
        );
        let errors = self
            .errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for ((api, error), count) in errors {
            let error = format!("{:?}", ErrorCode::from(error));
            out.sample(name, &[("api", &api_name(api)), ("error", &error)], count);
        }
    }
}

fn api_name(key: i16) -> String {
    ApiKey::from_i16(key).map_or_else(|| key.to_string(), |api| format!("{api:?}"))
}
