//! Encodes a Produce request around its batches, whose records are not copied.
//!
//! The result is byte for byte the codec's own encoding.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};

use crate::batch::{Batch, HEADER_BYTES};
use crate::kafka;
use crate::kafka::KafkaString;
use crate::kafka::primitives::write_unsigned_varint;
use crate::kafka::string::{
    write_compact_nullable_string, write_compact_string, write_nullable_string, write_string,
};
use crate::limits::SPLICE_BYTES_MIN;
use crate::parts::Parts;

/// The versions that name topics by their names, and have this format.
pub const VERSION_MIN: i16 = 3;
pub const VERSION_MAX: i16 = 12;
const FLEXIBLE_FROM: i16 = 9;

/// Bytes of a request without its transactional id and its topics.
const REQUEST_BYTES: usize = 2 + 2 + 4 + 5 + 1;
/// Bytes of a topic without its name and its batches.
const TOPIC_BYTES: usize = 3 + 5 + 1;
/// Bytes of a batch without its records.
const BATCH_BYTES: usize = 4 + 5 + HEADER_BYTES + 1;

/// A Produce request, to be acknowledged by all in-sync replicas. A partition may have one batch.
#[derive(Clone, Debug, Default)]
pub struct Produce {
    topics: BTreeMap<String, Vec<(i32, Batch)>>,
    transactional_id: Option<KafkaString>,
    timeout_ms: i32,
}

impl Produce {
    /// Begins a request. The batches of a transaction need the producer's transactional id.
    #[must_use]
    pub fn new(timeout_ms: i32, transactional_id: Option<&str>) -> Self {
        Self {
            topics: BTreeMap::new(),
            transactional_id: transactional_id.map(|id| id.to_owned().into()),
            timeout_ms,
        }
    }

    /// Adds a batch.
    pub fn add(&mut self, topic: &str, partition: i32, batch: Batch) {
        let batches = self.topics.entry(topic.to_owned()).or_default();
        batches.push((partition, batch));
    }

    /// Returns the bytes of the request without records that are spliced, or a few more.
    #[must_use]
    pub fn bytes_without_records(&self) -> usize {
        let of_batch = |(_, batch): &(i32, Batch)| {
            let is_copied = batch.body.len() < SPLICE_BYTES_MIN;
            let copied = if is_copied { batch.body.len() } else { 0 };
            BATCH_BYTES + copied
        };
        let of_topic = |(name, batches): (&String, &Vec<(i32, Batch)>)| {
            TOPIC_BYTES + name.len() + batches.iter().map(of_batch).sum::<usize>()
        };
        let id = self
            .transactional_id
            .as_ref()
            .map_or(0, |id| id.as_str().len());
        REQUEST_BYTES + id + self.topics.iter().map(of_topic).sum::<usize>()
    }

    /// Writes the request behind its header.
    ///
    /// # Errors
    /// The version is unknown, or a name is too long.
    pub fn write(&self, out: &mut Parts<Bytes>, version: i16) -> kafka::Result<()> {
        if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
            return Err(kafka::UnsupportedVersion::new(0, version).into());
        }
        let is_flexible = version >= FLEXIBLE_FROM;
        let transactional_id = self.transactional_id.as_ref();
        if is_flexible {
            write_compact_nullable_string(&mut out.buffer, transactional_id)?;
        } else {
            write_nullable_string(&mut out.buffer, transactional_id)?;
        }
        let acks = -1;
        out.buffer.put_i16(acks);
        out.buffer.put_i32(self.timeout_ms);
        put_count(out, self.topics.len(), is_flexible);
        for (topic, partitions) in &self.topics {
            let topic = KafkaString::from(topic.clone());
            if is_flexible {
                write_compact_string(&mut out.buffer, &topic)?;
            } else {
                write_string(&mut out.buffer, &topic)?;
            }
            put_count(out, partitions.len(), is_flexible);
            for (partition, batch) in partitions {
                out.buffer.put_i32(*partition);
                put_count(out, batch.bytes(), is_flexible);
                out.buffer.put_slice(batch.header.as_bytes());
                out.splice(&batch.body);
                put_no_tags(out, is_flexible);
            }
            put_no_tags(out, is_flexible);
        }
        put_no_tags(out, is_flexible);
        Ok(())
    }
}

/// Writes the length of an array, or of bytes.
fn put_count(out: &mut Parts<Bytes>, count: usize, is_flexible: bool) {
    if is_flexible {
        write_unsigned_varint(&mut out.buffer, count as u32 + 1);
    } else {
        out.buffer.put_i32(count as i32);
    }
}

fn put_no_tags(out: &mut Parts<Bytes>, is_flexible: bool) {
    if is_flexible {
        out.buffer.put_u8(0);
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::kafka::generated::{PartitionProduceData, ProduceRequestData, TopicProduceData};
    use crate::records::{BatchBuilder, Compression};

    fn batch(value_bytes: usize) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(5, None, Some(&vec![7; value_bytes]), &[]);
        builder.build().unwrap()
    }

    #[test]
    fn every_version_is_the_codecs_own_encoding() {
        for (version, id) in (VERSION_MIN..=VERSION_MAX).flat_map(|v| [(v, None), (v, Some("me"))])
        {
            let batches = [("a", 0, 10), ("a", 3, 70_000), ("b", 1, 2_000)];
            let mut produce = Produce::new(1234, id);
            let mut topics = BTreeMap::<&str, Vec<PartitionProduceData>>::new();
            for (topic, index, bytes) in batches {
                let batch = batch(bytes);
                let mut whole = batch.header.as_bytes().to_vec();
                whole.extend_from_slice(&batch.body);
                let data = PartitionProduceData::default()
                    .with_index(index)
                    .with_records(Some(whole.into()));
                topics.entry(topic).or_default().push(data);
                produce.add(topic, index, batch);
            }
            let topics = topics.into_iter().map(|(topic, partitions)| {
                TopicProduceData::default()
                    .with_name(topic.to_owned().into())
                    .with_partition_data(partitions)
            });
            let data = ProduceRequestData::default()
                .with_transactional_id(id.map(|id| id.to_owned().into()))
                .with_acks(-1)
                .with_timeout_ms(1234)
                .with_topic_data(topics.collect());
            let mut expected = BytesMut::new();
            data.write(&mut expected, version).unwrap();
            let mut out = Parts::with_capacity(0);
            produce.write(&mut out, version).unwrap();
            let written = out.buffer.len() - 4;
            assert!(
                written <= produce.bytes_without_records(),
                "v{version}: {written}"
            );
            let parts = out.finish().unwrap();
            let written: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
            assert!(written[4..] == expected[..], "v{version} differs");
        }
    }

    #[test]
    fn large_batches_are_not_copied() {
        let batch = batch(70_000);
        let mut produce = Produce::new(1, None);
        produce.add("a", 0, batch.clone());
        let mut out = Parts::with_capacity(0);
        produce.write(&mut out, 9).unwrap();
        let parts = out.finish().unwrap();
        let body = batch.body.as_ptr();
        assert!(parts.iter().any(|part| part.as_ptr() == body));
    }
}
