//! Records for a device: of the topics that it subscribes to, in memory, one at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use sedge_core::log::AbortedBatches;
use sedge_protocol::batch::Batch;
use sedge_protocol::records::{Records, decompress};
use sedge_protocol::{Bytes, ErrorCode};

use super::limits::OPENED_BYTES_MAX;
use crate::handlers::device::{Device, Fetched};

/// A record that is to be delivered.
#[derive(Clone, Debug)]
pub struct Record {
    pub alias: u8,
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub value: Vec<u8>,
}

/// The subscriptions of a device.
#[derive(Debug, Default)]
pub struct Deliveries {
    topics: Vec<(u8, Arc<str>)>,
    /// The next offset to read of each partition.
    positions: Vec<(Arc<str>, i32, i64)>,
    pub waiting: VecDeque<Record>,
}

impl Deliveries {
    /// Adds a topic, with the next offset to read of each partition.
    pub fn subscribe(&mut self, alias: u8, topic: &Arc<str>, positions: Vec<i64>) {
        if self
            .topics
            .iter()
            .any(|(of, name)| *of == alias || name == topic)
        {
            return;
        }
        self.topics.push((alias, Arc::clone(topic)));
        for (partition, offset) in positions.into_iter().enumerate() {
            self.positions
                .push((Arc::clone(topic), partition as i32, offset));
        }
    }

    /// Returns what to read next; `None` if there is nothing to read or enough was read.
    pub fn wanted(&self) -> Option<Vec<(Arc<str>, i32, i64)>> {
        let is_wanted = self.waiting.is_empty() && !self.positions.is_empty();
        is_wanted.then(|| self.positions.clone())
    }

    /// Takes what was read. Returns false if a topic cannot be read now.
    pub fn take(&mut self, fetched: Vec<Fetched>, client: &Device) -> bool {
        let mut is_well = true;
        for read in fetched {
            let found = |(topic, partition, _): &&mut (Arc<str>, i32, i64)| {
                *topic == read.topic && *partition == read.partition
            };
            let Some((_, _, position)) = self.positions.iter_mut().find(found) else {
                continue;
            };
            let alias = self.topics.iter().find(|(_, topic)| *topic == read.topic);
            let Some((alias, _)) = alias else {
                continue;
            };
            match read.error {
                None => {}
                Some(ErrorCode::OffsetOutOfRange) => {
                    // Retention deleted them, or the topic was made again.
                    let ends = client.ends(&read.topic).unwrap_or_default();
                    if let Some((oldest, _)) = ends.get(read.partition as usize) {
                        *position = oldest.get();
                    }
                    is_well = false;
                }
                Some(_) => is_well = false,
            }
            let mut aborted = AbortedBatches::new(read.aborted);
            let mut push = |offset, timestamp_ms, value: &[u8]| {
                self.waiting.push_back(Record {
                    alias: *alias,
                    topic: Arc::clone(&read.topic),
                    partition: read.partition,
                    offset,
                    timestamp_ms,
                    value: value.to_vec(),
                });
            };
            for bytes in read.batches {
                open(bytes, position, &mut aborted, &mut push);
            }
        }
        is_well
    }
}

/// Calls `each` with the records from `position` on, except those of aborted transactions, and
/// moves it behind the batches.
fn open(
    mut bytes: Bytes,
    position: &mut i64,
    aborted: &mut AbortedBatches,
    mut each: impl FnMut(i64, i64, &[u8]),
) {
    while let Some(batch) = Batch::split_from(&mut bytes) {
        let header = &batch.header;
        let from = *position;
        *position = header.next_offset().get().max(from);
        if header.is_control() || aborted.includes(header) {
            continue;
        }
        let Ok(body) = decompress(header, &batch.body, OPENED_BYTES_MAX) else {
            continue;
        };
        for record in Records::new(header, &body) {
            let Ok(record) = record else {
                break;
            };
            let offset = header.base_offset().get() + i64::from(record.offset_delta);
            let timestamp_ms = if header.is_log_append_time() {
                header.max_timestamp()
            } else {
                header.base_timestamp() + record.timestamp_delta
            };
            if let Some(value) = record.value.filter(|_| offset >= from) {
                each(offset, timestamp_ms, value);
            }
        }
    }
}
