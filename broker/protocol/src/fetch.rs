//! Encodes a Fetch response around record bytes, without copying them.
//!
//! The generated codec writes everything but the records. These are inserted as separate pieces,
//! for a vectored write or to be sent from the log's files. The result is byte for byte the codec's
//! own encoding.

use bytes::{BufMut, BytesMut};

use crate::error::{Error, Result};
use crate::frame::put_response_header;
use crate::kafka::generated::ApiKey;
use crate::kafka::generated::fetch_response::{
    FetchResponseData, FetchableTopicResponse, PartitionData,
};
use crate::kafka::primitives::write_unsigned_varint;
use crate::parts::{Parts, Piece, frame_bytes};

/// Bytes before the topics' array. The array's own count is included, as one that is empty.
const fn response_prefix_bytes(version: i16) -> usize {
    if version >= 7 { 10 } else { 4 }
}

const fn empty_array_bytes(version: i16) -> usize {
    if version >= FLEXIBLE_FROM { 1 } else { 4 }
}

const FLEXIBLE_FROM: i16 = 12;

/// Encodes the whole frame, length and header included, as parts to be written one after the other.
///
/// `chunks` has the records of each partition of `response`, in order, as any number of pieces; a
/// partition without pieces gets empty records. `records` in `response` itself must be `None` or
/// empty.
///
/// # Errors
/// A message that the codec refuses, chunks that do not match the partitions, or a response above 2
/// GiB.
pub fn encode_fetch_response<P: Piece>(
    response: &FetchResponseData,
    chunks: &[Vec<P>],
    version: i16,
    correlation_id: i32,
) -> Result<Vec<P>> {
    let partitions = response
        .responses
        .iter()
        .map(|topic| topic.partitions.len())
        .sum::<usize>();
    if partitions != chunks.len() {
        return Err(Error::Invalid {
            what: "the number of record chunks",
        });
    }
    let mut out = Parts::with_capacity(64 + 64 * partitions);
    put_response_header(&mut out.buffer, ApiKey::Fetch, version, correlation_id);

    // The bytes around an array are those around an empty one.
    let bare = FetchResponseData {
        responses: Vec::new(),
        ..response.shallow()
    };
    let mut around = BytesMut::with_capacity(32);
    bare.write(&mut around, version)?;
    let (before, after) = split_around(&around, response_prefix_bytes(version), version)?;
    out.buffer.put_slice(before);
    put_array_count(&mut out.buffer, response.responses.len(), version);
    let mut chunks = chunks.iter();
    for topic in &response.responses {
        put_topic(&mut out, topic, &mut chunks, version)?;
    }
    out.buffer.put_slice(after);
    out.finish()
}

trait Shallow {
    fn shallow(&self) -> Self;
}

impl Shallow for FetchResponseData {
    /// Copies everything but the topics.
    fn shallow(&self) -> Self {
        Self {
            throttle_time_ms: self.throttle_time_ms,
            error_code: self.error_code,
            session_id: self.session_id,
            responses: Vec::new(),
            node_endpoints: self.node_endpoints.clone(),
            _unknown_tagged_fields: Vec::new(),
        }
    }
}

fn put_topic<'a, P: Piece + 'a>(
    out: &mut Parts<P>,
    topic: &FetchableTopicResponse,
    chunks: &mut impl Iterator<Item = &'a Vec<P>>,
    version: i16,
) -> Result<()> {
    let bare = FetchableTopicResponse {
        topic: topic.topic.clone(),
        topic_id: topic.topic_id,
        partitions: Vec::new(),
        _unknown_tagged_fields: Vec::new(),
    };
    let mut around = BytesMut::with_capacity(64);
    bare.write(&mut around, version)?;
    let tags = usize::from(version >= FLEXIBLE_FROM);
    let prefix = around.len() - tags - empty_array_bytes(version);
    let (before, after) = split_around(&around, prefix, version)?;
    out.buffer.put_slice(before);
    put_array_count(&mut out.buffer, topic.partitions.len(), version);
    for partition in &topic.partitions {
        let records = chunks
            .next()
            .expect("as many chunks as partitions, checked on entry");
        put_partition(out, partition, records, version)?;
    }
    out.buffer.put_slice(after);
    Ok(())
}

fn put_partition<P: Piece>(
    out: &mut Parts<P>,
    partition: &PartitionData,
    records: &[P],
    version: i16,
) -> Result<()> {
    if partition
        .records
        .as_ref()
        .is_some_and(|records| !records.is_empty())
    {
        return Err(Error::Invalid {
            what: "records beside record chunks",
        });
    }
    let start = out.buffer.len();
    partition.write(&mut out.buffer, version)?;
    let records_at = start + bytes_before_records(partition, version)?;
    // Null or empty records take one byte if they are compact, else four.
    let after_at = records_at + empty_array_bytes(version);
    let after = out.buffer.split_off(after_at);
    out.buffer.truncate(records_at);

    let length = frame_bytes(records);
    let length = i32::try_from(length).map_err(|_| Error::TooMany {
        what: "bytes of records",
        limit: i32::MAX as usize,
    })?;
    if version >= FLEXIBLE_FROM {
        write_unsigned_varint(&mut out.buffer, length.cast_unsigned() + 1);
    } else {
        out.buffer.put_i32(length);
    }
    for chunk in records {
        out.splice(chunk);
    }
    out.buffer.put_slice(&after);
    Ok(())
}

/// FetchResponse.json, `PartitionData`: index, error, high watermark, last stable offset, log start
/// offset (5+), aborted transactions, preferred read replica (11+), then the records.
fn bytes_before_records(partition: &PartitionData, version: i16) -> Result<usize> {
    let mut bytes = 4 + 2 + 8 + 8;
    if version >= 5 {
        bytes += 8;
    }
    let aborted = partition
        .aborted_transactions
        .as_deref()
        .unwrap_or_default();
    bytes += if version >= FLEXIBLE_FROM {
        crate::kafka::primitives::compact_array_length_len(aborted.len() as i32)
    } else {
        4
    };
    for transaction in aborted {
        bytes += transaction.encoded_len(version)?;
    }
    if version >= 11 {
        bytes += 4;
    }
    Ok(bytes)
}

fn put_array_count(buffer: &mut BytesMut, count: usize, version: i16) {
    if version >= FLEXIBLE_FROM {
        write_unsigned_varint(buffer, count as u32 + 1);
    } else {
        buffer.put_i32(count as i32);
    }
}

/// Returns the bytes before and after an empty array that begins at `at`.
fn split_around(bytes: &[u8], at: usize, version: i16) -> Result<(&[u8], &[u8])> {
    let before = bytes.get(..at);
    let after = bytes.get(at + empty_array_bytes(version)..);
    before.zip(after).ok_or(Error::Invalid {
        what: "the encoded response",
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::kafka::generated::fetch_response::{
        AbortedTransaction, LeaderIdAndEpoch, NodeEndpoint,
    };
    use crate::kafka::{KafkaString, KafkaUuid};
    use crate::limits::SPLICE_BYTES_MIN;

    fn pieces(lengths: &[usize]) -> Vec<Bytes> {
        let fill = |(index, &length): (usize, &usize)| Bytes::from(vec![index as u8 + 1; length]);
        lengths.iter().enumerate().map(fill).collect()
    }

    fn response(version: i16) -> (FetchResponseData, Vec<Vec<Bytes>>) {
        let aborted = AbortedTransaction::default()
            .with_producer_id(5)
            .with_first_offset(6);
        let plain = |index| {
            PartitionData::default()
                .with_partition_index(index)
                .with_high_watermark(100)
                .with_last_stable_offset(90)
        };
        let mut moved = plain(9).with_error_code(6);
        let mut endpoints = Vec::new();
        if version >= 12 {
            moved = moved.with_current_leader(
                LeaderIdAndEpoch::default()
                    .with_leader_id(2)
                    .with_leader_epoch(4),
            );
        }
        if version >= 16 {
            endpoints.push(NodeEndpoint::default().with_host(KafkaString::from_static("h")));
        }
        let topic = |name: &'static str, id, partitions| {
            let topic = FetchableTopicResponse::default().with_partitions(partitions);
            if version >= 13 {
                topic.with_topic_id(KafkaUuid::from_parts(id, id))
            } else {
                topic.with_topic(KafkaString::from_static(name))
            }
        };
        let responses = vec![
            topic(
                "a",
                1,
                vec![
                    plain(0),
                    plain(1).with_aborted_transactions(Some(vec![aborted; 200])),
                    plain(2).with_aborted_transactions(Some(Vec::new())),
                ],
            ),
            topic("empty", 2, Vec::new()),
            topic("b", 3, vec![moved]),
        ];
        let mut data = FetchResponseData::default()
            .with_throttle_time_ms(3)
            .with_responses(responses)
            .with_node_endpoints(endpoints);
        if version >= 7 {
            data = data.with_session_id(44);
        }
        let chunks = vec![
            pieces(&[700, 10, 100_000]),
            pieces(&[3]),
            Vec::new(),
            pieces(&[SPLICE_BYTES_MIN, 20_000]),
        ];
        (data, chunks)
    }

    fn joined(parts: &[Bytes]) -> Vec<u8> {
        parts.iter().flat_map(|part| part.iter().copied()).collect()
    }

    #[test]
    fn every_version_is_the_codecs_own_encoding() {
        for version in 4..=18 {
            let (data, chunks) = response(version);
            let parts = encode_fetch_response(&data, &chunks, version, 77).unwrap();

            let mut whole = data.clone();
            let mut records = chunks.iter();
            for partition in whole
                .responses
                .iter_mut()
                .flat_map(|topic| &mut topic.partitions)
            {
                partition.records = Some(joined(records.next().unwrap()).into());
            }
            let expected = crate::frame::encode_response(ApiKey::Fetch, version, 77, |buffer| {
                whole.write(buffer, version)
            });
            assert!(joined(&parts) == expected.unwrap(), "v{version} differs");
            let total = frame_bytes(&parts);
            assert_eq!(
                i32::from_be_bytes(*parts[0].first_chunk().unwrap()) as usize + 4,
                total
            );
        }
    }

    #[test]
    fn large_chunks_are_not_copied() {
        let (data, chunks) = response(12);
        let parts = encode_fetch_response(&data, &chunks, 12, 1).unwrap();
        for chunk in chunks
            .iter()
            .flatten()
            .filter(|chunk| chunk.len() >= SPLICE_BYTES_MIN)
        {
            assert!(parts.iter().any(|part| part.as_ptr() == chunk.as_ptr()));
        }
    }

    #[test]
    fn chunks_must_match_the_partitions() {
        let (data, mut chunks) = response(12);
        chunks.pop();
        assert!(encode_fetch_response(&data, &chunks, 12, 1).is_err());
    }
}
