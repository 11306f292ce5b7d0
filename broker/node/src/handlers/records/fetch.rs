//! Fetch (key 1): whole batches as stored, up to the published ends.
//!
//! KIP-227 sessions determine the partitions; `fetching` reads them and waits. This module converts
//! the request into a read, and the result into an answer.

use std::sync::Arc;
use std::time::Duration;

use sedge_core::fetch::session::{Context, Outcome, SessionRequest, TopicKey, Wanted};
use sedge_core::log::AbortedTransaction;
use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{LeaderEpoch, Offset};
use sedge_protocol::kafka::generated::fetch_request::FetchRequestData;
use sedge_protocol::kafka::generated::fetch_response::{
    AbortedTransaction as Aborted, FetchResponseData, FetchableTopicResponse, PartitionData,
};
use sedge_protocol::kafka::{KafkaString, KafkaUuid};
use sedge_storage::Chunk;

use crate::fetching::plan::Found;
use crate::fetching::read::{Isolation, Read};
use crate::fetching::wait::{self, Wish};
use crate::handlers::request::{Charged, Demand};
use crate::handlers::{Request, Topics};
use crate::limits::FETCH_RESPONSE_BYTES_MAX;
use crate::net::memory::Admission;
use crate::net::service::Disconnect;

const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 13;

/// The answer, and its batches as stored.
type Fetched = (FetchResponseData, Vec<Vec<Chunk>>, Option<Admission>);

pub async fn start(_: &Request, message: FetchRequestData) -> Result<FetchRequestData, Disconnect> {
    Ok(message)
}

pub async fn finish(request: &Request, message: FetchRequestData) -> Result<Fetched, Disconnect> {
    let wish = wish(request, &message);
    let session = session_request(request, message);
    let begun = request
        .fetch_sessions()
        .begin(request.now().monotonic_ms, session);
    let context = match begun {
        Ok(context) => context,
        Err(error) => return Ok(whole_error(request, error)),
    };
    let topics = request.topics(Operation::Read);
    let mut fetched = {
        let origin = request.origin();
        topics.fetch(&context.partitions, wish, &origin, find).await
    };
    let bytes: usize = fetched.reads.iter().map(Read::bytes).sum();
    let demand = || demand(&topics, &fetched.reads);
    match request.charge_fetched(bytes, demand).await {
        Charged::Granted => {}
        Charged::Throttled => return Ok(throttled(request, &context)),
        // The response has no room for the text.
        Charged::Rejected(_) => {
            let reads = fetched.reads.iter_mut();
            reads.for_each(|read| read.refuse(ErrorCode::PolicyViolation));
        }
    }
    Ok(answer(request, &context, fetched, wish.isolation))
}

fn wish(request: &Request, message: &FetchRequestData) -> Wish {
    let bytes = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
    let wait = Duration::from_millis(u64::try_from(message.max_wait_ms).unwrap_or(0));
    Wish {
        bytes_min: bytes(message.min_bytes),
        bytes_max: bytes(message.max_bytes)
            .min(FETCH_RESPONSE_BYTES_MAX)
            .min(request.fetch_bytes_max()),
        deadline: request.received() + wait,
        isolation: Isolation::from_wire(message.isolation_level),
    }
}

fn session_request(request: &Request, message: FetchRequestData) -> SessionRequest {
    let uses_topic_ids = request.version() >= FIRST_VERSION_WITH_TOPIC_IDS;
    let key = |name: &KafkaString, id: KafkaUuid| {
        if uses_topic_ids {
            TopicKey::Id(id.to_bytes())
        } else {
            TopicKey::Name(name.as_str().into())
        }
    };
    let mut wanted = Vec::new();
    for topic in message.topics {
        let topic_key = key(&topic.topic, topic.topic_id);
        wanted.extend(topic.partitions.into_iter().map(|partition| Wanted {
            topic: topic_key.clone(),
            partition: partition.partition,
            current_leader_epoch: partition.current_leader_epoch,
            fetch_offset: partition.fetch_offset,
            last_fetched_epoch: partition.last_fetched_epoch,
            partition_max_bytes: partition.partition_max_bytes,
        }));
    }
    let mut forgotten = Vec::new();
    for topic in message.forgotten_topics_data {
        let topic_key = key(&topic.topic, topic.topic_id);
        forgotten.extend(
            topic
                .partitions
                .into_iter()
                .map(|index| (topic_key.clone(), index)),
        );
    }
    SessionRequest {
        session_id: message.session_id,
        session_epoch: message.session_epoch,
        uses_topic_ids,
        wanted,
        forgotten,
    }
}

/// Returns what the quota policy is told; the bytes are set by the caller.
fn demand<'a>(topics: &'a Topics, reads: &[Read]) -> Demand<'a> {
    let names = reads.iter().filter_map(|read| match &read.wanted.topic {
        TopicKey::Name(name) => topics.existing(name),
        TopicKey::Id(id) => topics.existing_by_id(crate::handlers::uuid(*id)),
    });
    Demand {
        topics: names.collect(),
        bytes: 0,
        records: reads.iter().map(Read::offsets).sum(),
    }
}

/// Finds a partition that the client may read.
pub fn find(topics: &Topics, wanted: &Wanted) -> Result<Found, ErrorCode> {
    let topic = match &wanted.topic {
        TopicKey::Name(name) => topics.named(name)?,
        TopicKey::Id(id) => topics.by_id(crate::handlers::uuid(*id))?,
    };
    let known = LeaderEpoch::from_wire(wanted.current_leader_epoch);
    Ok(Found {
        partition: topic.published(wanted.partition, known)?,
        filtered_by: topic
            .filters_reads(wanted.partition)
            .then(|| Arc::clone(&topic)),
    })
}

fn answer(
    request: &Request,
    context: &Context,
    fetched: wait::Fetched,
    isolation: Isolation,
) -> Fetched {
    let wait::Fetched { reads, memory } = fetched;
    let bytes: usize = reads.iter().map(Read::bytes).sum();
    let outcomes: Vec<Outcome> = reads.iter().map(Read::outcome).collect();
    let now = request.now().monotonic_ms;
    let finished = request
        .fetch_sessions()
        .finish(now, context, &outcomes, fastrand::u32(..));
    let session = match finished {
        Ok(session) => session,
        Err(error) => return whole_error(request, error),
    };
    let mut response = FetchResponseData::default().with_session_id(session.session_id);
    let mut chunks = Vec::new();
    let mut topic_of_last = None;
    for (read, include) in reads.into_iter().zip(session.include) {
        if !include {
            continue;
        }
        if topic_of_last.as_ref() != Some(&read.wanted.topic) {
            response.responses.push(topic_response(&read.wanted.topic));
            topic_of_last = Some(read.wanted.topic.clone());
        }
        request.count_error(read.error.unwrap_or(ErrorCode::None));
        let topic = response
            .responses
            .last_mut()
            .expect("the topic was pushed above");
        topic.partitions.push(partition_data(&read, isolation));
        chunks.push(read.chunks);
    }
    request.metrics().fetch_bytes.add(bytes as u64);
    (response, chunks, Some(memory))
}

/// Returns the answer for a client that has exceeded its quota: no partitions. Its session stays as
/// it is.
fn throttled(request: &Request, context: &Context) -> Fetched {
    match request.fetch_sessions().finish_empty(context) {
        Ok(session_id) => {
            let response = FetchResponseData::default().with_session_id(session_id);
            (response, Vec::new(), None)
        }
        Err(error) => whole_error(request, error),
    }
}

fn partition_data(read: &Read, isolation: Isolation) -> PartitionData {
    let offset = |offset: Option<Offset>| offset.map_or(-1, Offset::get);
    let is_committed = isolation == Isolation::ReadCommitted && read.ends.is_some();
    let aborted = || {
        let wire = |aborted: &AbortedTransaction| {
            Aborted::default()
                .with_producer_id(aborted.producer.get())
                .with_first_offset(aborted.first.get())
        };
        read.aborted.iter().map(wire).collect()
    };
    PartitionData::default()
        .with_partition_index(read.wanted.partition)
        .with_error_code(read.error.unwrap_or(ErrorCode::None).code())
        .with_high_watermark(offset(read.ends.map(|ends| ends.high_watermark)))
        .with_last_stable_offset(offset(read.ends.map(|ends| ends.last_stable_offset)))
        .with_log_start_offset(offset(read.ends.map(|ends| ends.log_start)))
        .with_aborted_transactions(is_committed.then(aborted))
}

fn topic_response(topic: &TopicKey) -> FetchableTopicResponse {
    match topic {
        TopicKey::Name(name) => {
            FetchableTopicResponse::default().with_topic(KafkaString::from(name.to_string()))
        }
        TopicKey::Id(id) => {
            FetchableTopicResponse::default().with_topic_id(crate::handlers::uuid(*id))
        }
    }
}

fn whole_error(request: &Request, error: ErrorCode) -> Fetched {
    request.count_error(error);
    let response = FetchResponseData::default().with_error_code(error.code());
    (response, Vec::new(), None)
}
