//! Dead letters: a batch that a filter fails on goes to another topic instead, with headers that
//! say why, if `sedge.filter.on.error` is `quarantine`.
//!
//! Kafka Connect's words: a dead letter queue is a topic, and the headers that it adds begin with
//! `__connect.errors.`.

use sedge_core::config::FILTER_KEY;
use sedge_core::log::AppendError;
use sedge_core::metadata::Topic;
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::records::{self, Kept};

use super::bound::Bound;
use super::failure::Failed;
use super::filter::{Diverted, Filter, Left, Passed, Produce, views};
use crate::limits::{DEAD_LETTER_TEXT_BYTES_MAX, FILTER_BATCH_BYTES_MAX};

/// Behind the name of a topic, the name of its dead-letter topic.
const SUFFIX: &str = ".dlq";

impl Bound<Filter<Produce>> {
    /// Diverts a batch to the topic's dead-letter topic.
    ///
    /// # Errors
    /// INVALID_RECORD if the records cannot be read.
    pub fn bury(
        &mut self,
        topic: &Topic,
        index: i32,
        batch: &Batch,
        why: &str,
    ) -> Result<Passed, AppendError> {
        let to = match topic.config.dead_letter_topic() {
            Some(name) => name.to_owned(),
            None => format!("{}{SUFFIX}", topic.name),
        };
        let buried = rebuilt(topic, index, batch, &self.plugin, why);
        let batch = buried.map_err(|failed| match failed {
            Failed::Rejected(error) => error,
            Failed::Plugin(why) => AppendError::new(ErrorCode::InvalidRecord, why),
            Failed::NotReady => ErrorCode::NotEnoughReplicas.into(),
        })?;
        let records = batch.header.record_count().max(0) as usize;
        self.note_dead_letters(why, topic, &to, records);
        Ok(Passed {
            left: Left::Emptied,
            diverted: vec![Diverted {
                topic: to,
                batch,
                is_dead_letter: true,
            }],
        })
    }
}

fn rebuilt(
    topic: &Topic,
    index: i32,
    batch: &Batch,
    plugin: &str,
    why: &str,
) -> Result<Batch, Failed> {
    let header = &batch.header;
    let body = records::decompress(header, &batch.body, FILTER_BATCH_BYTES_MAX)
        .map_err(|error| Failed::unreadable(&error))?;
    let views = views(header, &body)?;
    let all = views.iter().map(|view| Kept {
        timestamp_delta: view.timestamp_delta,
        key: view.key,
        value: view.value,
        headers: view.headers,
    });
    let index = index.to_string();
    let why = &why[..why.floor_char_boundary(DEAD_LETTER_TEXT_BYTES_MAX)];
    let headers = [
        ("__sedge.errors.topic", &*topic.name),
        ("__sedge.errors.partition", &index),
        ("__sedge.errors.plugin", plugin),
        ("__sedge.errors.binding", FILTER_KEY),
        ("__sedge.errors.exception.message", why),
    ];
    let headers = headers.map(|(name, text)| (name, Some(text.as_bytes())));
    records::rebuild_elsewhere_with(header, all, &headers)
        .map_err(|error| Failed::Plugin(error.to_string()))
}
