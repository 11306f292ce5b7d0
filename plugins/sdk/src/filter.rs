//! The filter trait, and the encoding of its answers for the broker.

use alloc::{string::String, vec::Vec};

pub use crate::bindings::exports::sedge::plugin::filter::Needs;
use crate::{
    batch::{Batch, Record},
    bindings::exports::sedge::plugin::filter::{BatchInfo, Outcome},
    config::Config,
    records::records,
    running::Running,
};

/// A filter. An instance handles one batch at a time.
pub trait Filter: Sized {
    /// The fields that the filter reads, and whether it reads the origin; the others are not copied
    /// and are `None`.
    const NEEDS: Needs = Needs::VALUE;

    /// Creates an instance from the topic's settings.
    ///
    /// # Errors
    /// A text for the person who configured the topic.
    fn configure(config: &Config) -> Result<Self, String>;

    /// Decides on a record.
    fn filter(&mut self, record: &Record<'_>) -> Verdict;
}

/// The decision on a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The record is written unchanged.
    Keep,
    /// The record is not written; the producer is told that it was.
    Drop,
    /// The record is written with another key or value.
    Replace { key: Field, value: Field },
    /// The producer gets `INVALID_RECORD` with this text.
    Reject(String),
    /// The record, with this key and value, is written to another topic instead. The bound topic's
    /// `sedge.filter.routes` has to name that topic. Only for produced records.
    Route {
        topic: String,
        key: Field,
        value: Field,
    },
}

impl Verdict {
    /// Replaces the value and leaves the key.
    pub fn value(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Replace {
            key: Field::Same,
            value: Field::Bytes(bytes.into()),
        }
    }

    /// Routes the record to another topic as it is.
    pub fn route(topic: impl Into<String>) -> Self {
        Self::Route {
            topic: topic.into(),
            key: Field::Same,
            value: Field::Same,
        }
    }
}

/// A field of a replaced record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The field stays.
    Same,
    /// The field becomes null.
    Null,
    /// The field becomes these bytes.
    Bytes(Vec<u8>),
}

const NULL: u32 = u32::MAX;
const SAME: u32 = u32::MAX - 1;

const DROP: u8 = 1;
const REPLACE: u8 = 2;
const REJECT: u8 = 3;
const ROUTE: u8 = 4;

impl<F: Filter> Running<F> {
    /// Creates the filter with its settings.
    ///
    /// # Errors
    /// The filter refuses the settings.
    pub fn configure(&self, config: Vec<(String, String)>) -> Result<(), String> {
        self.configure_with(config, F::configure)
    }

    /// Decides on each record of a batch.
    pub fn filter_batch(&self, info: BatchInfo, blob: &[u8], spans: &[u8]) -> Outcome {
        let mut filter = self.plugin();
        let batch = Batch(info);
        let mut answer = Answer {
            blob_bytes: blob.len(),
            ..Answer::default()
        };
        let records = records(blob, spans);
        let count = records.len();
        for (index, fields) in records.enumerate() {
            let batch = &batch;
            answer.add(index, count, filter.filter(&Record { batch, fields }));
        }
        answer.finish()
    }
}

struct Answer {
    outcome: Outcome,
    /// The topics that records are routed to, each once.
    topics: Vec<String>,
    /// Bytes of the records' fields, which replacements are about as large as.
    blob_bytes: usize,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            outcome: Outcome {
                verdicts: Vec::new(),
                replacements: Vec::new(),
                replacement_blob: Vec::new(),
                reasons: Vec::new(),
            },
            topics: Vec::new(),
            blob_bytes: 0,
        }
    }
}

impl Answer {
    fn add(&mut self, index: usize, records: usize, verdict: Verdict) {
        match verdict {
            Verdict::Keep => {}
            Verdict::Drop => self.set(index, records, DROP),
            Verdict::Replace { key, value } => {
                self.set(index, records, REPLACE);
                self.put(&key);
                self.put(&value);
            }
            Verdict::Reject(reason) => {
                self.set(index, records, REJECT);
                self.outcome.reasons.push(reason);
            }
            Verdict::Route { topic, key, value } => {
                let known = self.topics.iter().position(|known| *known == topic);
                let number = known.unwrap_or(self.topics.len());
                if known.is_none() {
                    self.topics.push(topic);
                }
                // The broker refuses a number above its limit.
                let number = u8::try_from(number).unwrap_or(u8::MAX);
                self.set(index, records, ROUTE.saturating_add(number));
                self.put(&key);
                self.put(&value);
            }
        }
    }

    fn finish(mut self) -> Outcome {
        self.outcome.reasons.append(&mut self.topics);
        self.outcome
    }

    fn set(&mut self, index: usize, records: usize, verdict: u8) {
        if self.outcome.verdicts.is_empty() {
            self.outcome.verdicts.resize(records, 0);
        }
        self.outcome.verdicts[index] = verdict;
    }

    fn put(&mut self, field: &Field) {
        let blob = &mut self.outcome.replacement_blob;
        let offset = blob.len() as u32;
        let length = match field {
            Field::Same => SAME,
            Field::Null => NULL,
            Field::Bytes(bytes) => {
                if blob.capacity() == 0 {
                    blob.reserve(self.blob_bytes.max(bytes.len()));
                }
                blob.extend_from_slice(bytes);
                bytes.len() as u32
            }
        };
        let place = u64::from(length) << 32 | u64::from(offset);
        self.outcome
            .replacements
            .extend_from_slice(&place.to_le_bytes());
    }
}

/// Exports a [`Filter`] from the component.
#[macro_export]
macro_rules! filter {
    ($filter:ty) => {
        const _: () = {
            use $crate::bindings::exports::sedge::plugin::{filter, lifecycle};

            static RUNNING: $crate::Running<$filter> = $crate::Running::new();
            struct Component;

            impl lifecycle::Guest for Component {
                fn configure(
                    config: $crate::Vec<($crate::String, $crate::String)>,
                ) -> Result<(), $crate::String> {
                    RUNNING.configure(config)
                }
            }

            impl filter::Guest for Component {
                fn describe() -> filter::Needs {
                    <$filter as $crate::Filter>::NEEDS
                }

                fn filter_batch(
                    info: filter::BatchInfo,
                    blob: $crate::Vec<u8>,
                    spans: $crate::Vec<u8>,
                ) -> filter::Outcome {
                    RUNNING.filter_batch(info, &blob, &spans)
                }
            }

    $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}

/// Exports a function as a filter, for the attribute `filter_fn`. Passes the settings if the last
/// argument is `config`.
#[doc(hidden)]
#[macro_export]
macro_rules! __filter_fn {
    ($function:ident, $needs:expr, $($config:ident)?) => {
        const _: () = {
            #[allow(dead_code, reason = "not every function takes the settings")]
            struct Function {
                config: $crate::Config,
            }

            impl $crate::Filter for Function {
                const NEEDS: $crate::Needs = $needs;

                fn configure(config: &$crate::Config) -> Result<Self, $crate::String> {
                    Ok(Self {
                        config: config.clone(),
                    })
                }

                fn filter(&mut self, record: &$crate::Record<'_>) -> $crate::Verdict {
                    $function(record $(, &self.$config)?)
                }
            }

            $crate::filter!(Function);
        };
    };
}
