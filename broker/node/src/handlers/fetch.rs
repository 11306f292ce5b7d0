//! Fetch (key 1): whole batches as stored, up to the published ends.
//!
//! KIP-227 sessions say which partitions; `fetching` reads them and waits. What is here turns a
//! request into that, and what was read into an answer.

use std::sync::Arc;
use std::time::Duration;

use sedge_core::fetch::session::{Context, Outcome, SessionRequest, TopicKey, Wanted};
use sedge_core::metadata::Image;
use sedge_protocol::ids::{LeaderEpoch, Offset};
use sedge_protocol::kafka::generated::fetch_request::FetchRequestData;
use sedge_protocol::kafka::generated::fetch_response::{
    FetchResponseData, FetchableTopicResponse, PartitionData,
};
use sedge_protocol::kafka::{KafkaString, KafkaUuid};
use sedge_protocol::{ErrorCode, fetch};
use sedge_storage::Chunk;

use super::Request;
use crate::fetching::Source;
use crate::fetching::plan::targets;
use crate::fetching::read::{Isolation, Read};
use crate::fetching::wait::{Fetched, Wish, fetch};
use crate::limits::FETCH_RESPONSE_BYTES_MAX;
use crate::log::partitions::Partition;
use crate::net::service::{Answer, Answered, Disconnect, Reply};

const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 13;

pub async fn handle(request: Request, message: FetchRequestData) -> Result<Answer, Disconnect> {
    Ok(Answer::Later(Box::pin(async move {
        answer(&request, message).await.map(Answered::from)
    })))
}

async fn answer(request: &Request, message: FetchRequestData) -> Result<Reply, Disconnect> {
    let broker = &request.broker;
    let wish = wish(request, &message);
    let session = session_request(request, message);
    let begun = broker
        .sessions()
        .begin(broker.log.clock.now().monotonic_ms, session);
    let context = match begun {
        Ok(context) => context,
        Err(error) => return whole_error(request, error),
    };
    let source = Source {
        store: &broker.log.store,
        disk_work: &broker.disk_work,
        parking: &broker.log.parking,
        memory: &broker.net.memory.answers,
    };
    let fetched = fetch(&source, wish, || {
        let image = broker.log.metadata.load();
        targets(&context.partitions, |wanted| find(request, &image, wanted))
    });
    finish(request, &context, fetched.await, wish.isolation)
}

fn wish(request: &Request, message: &FetchRequestData) -> Wish {
    let bytes = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
    let wait = Duration::from_millis(u64::try_from(message.max_wait_ms).unwrap_or(0));
    Wish {
        bytes_min: bytes(message.min_bytes),
        bytes_max: bytes(message.max_bytes).min(FETCH_RESPONSE_BYTES_MAX),
        deadline: request.received + wait,
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

fn find(request: &Request, image: &Image, wanted: &Wanted) -> Result<Arc<Partition>, ErrorCode> {
    let topic = match &wanted.topic {
        TopicKey::Name(name) => super::topic(image, name)?,
        TopicKey::Id(id) => super::topic_by_id(image, super::uuid(*id))?,
    };
    let known = LeaderEpoch::from_wire(wanted.current_leader_epoch);
    super::partition_at(&request.broker, image, topic, wanted.partition, known)
}

fn finish(
    request: &Request,
    context: &Context,
    fetched: Fetched,
    isolation: Isolation,
) -> Result<Reply, Disconnect> {
    let broker = &request.broker;
    let Fetched { reads, memory } = fetched;
    let outcomes: Vec<Outcome> = reads.iter().map(Read::outcome).collect();
    let now = broker.log.clock.now().monotonic_ms;
    let finished = broker
        .sessions()
        .finish(now, context, &outcomes, fastrand::u32(..));
    let session = match finished {
        Ok(session) => session,
        Err(error) => return whole_error(request, error),
    };
    let mut response = FetchResponseData::default().with_session_id(session.session_id);
    let mut chunks = Vec::new();
    let mut bytes = 0;
    let mut topic_of_last = None;
    for (read, include) in reads.into_iter().zip(session.include) {
        if !include {
            continue;
        }
        bytes += read.bytes();
        if topic_of_last.as_ref() != Some(&read.wanted.topic) {
            response.responses.push(topic_response(&read.wanted.topic));
            topic_of_last = Some(read.wanted.topic.clone());
        }
        let error = read.error.unwrap_or(ErrorCode::None);
        broker.metrics.request_error(request.key, error);
        let topic = response.responses.last_mut().expect("it was pushed above");
        topic.partitions.push(partition_data(&read, isolation));
        chunks.push(read.chunks);
    }
    broker.metrics.fetch_bytes.add(bytes as u64);
    let mut reply = encode(request, &response, &chunks)?;
    reply.memory = Some(memory.of_answer(&reply.frame));
    Ok(reply)
}

fn partition_data(read: &Read, isolation: Isolation) -> PartitionData {
    let offset = |offset: Option<Offset>| offset.map_or(-1, Offset::get);
    // No transaction was ever aborted: there are none yet.
    let is_committed = isolation == Isolation::ReadCommitted && read.ends.is_some();
    PartitionData::default()
        .with_partition_index(read.wanted.partition)
        .with_error_code(read.error.unwrap_or(ErrorCode::None).code())
        .with_high_watermark(offset(read.ends.map(|ends| ends.high_watermark)))
        .with_last_stable_offset(offset(read.ends.map(|ends| ends.last_stable_offset)))
        .with_log_start_offset(offset(read.ends.map(|ends| ends.log_start)))
        .with_aborted_transactions(is_committed.then(Vec::new))
}

fn topic_response(topic: &TopicKey) -> FetchableTopicResponse {
    match topic {
        TopicKey::Name(name) => {
            FetchableTopicResponse::default().with_topic(KafkaString::from(name.to_string()))
        }
        TopicKey::Id(id) => FetchableTopicResponse::default().with_topic_id(super::uuid(*id)),
    }
}

fn whole_error(request: &Request, error: ErrorCode) -> Result<Reply, Disconnect> {
    request.broker.metrics.request_error(request.key, error);
    encode(
        request,
        &FetchResponseData::default().with_error_code(error.code()),
        &[],
    )
}

fn encode(
    request: &Request,
    response: &FetchResponseData,
    chunks: &[Vec<Chunk>],
) -> Result<Reply, Disconnect> {
    let correlation_id = request.header.correlation_id;
    let frame = fetch::encode_fetch_response(response, chunks, request.version(), correlation_id)
        .map_err(|error| request.malformed(error))?;
    request.answered();
    Ok(frame.into())
}
