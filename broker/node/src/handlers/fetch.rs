//! Fetch (key 1): whole batches as stored, from the published ends; waits in the purgatory where
//! there is too little. Large ones are not read here: the kernel sends them from their segment. An
//! answer holds small ones in memory, as far as the pool of answers has a share for it; it ends
//! there, and the next fetch goes on.
//!
//! KIP-227 sessions say which partitions; KIP-74 says that the first batch is returned however
//! large it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sedge_core::fetch::session::{Context, Outcome, SessionRequest, TopicKey, Wanted};
use sedge_core::metadata::{Image, Topic};
use sedge_protocol::ids::{LeaderEpoch, Offset};
use sedge_protocol::kafka::generated::fetch_request::FetchRequestData;
use sedge_protocol::kafka::generated::fetch_response::{
    FetchResponseData, FetchableTopicResponse, PartitionData,
};
use sedge_protocol::kafka::{KafkaString, KafkaUuid};
use sedge_protocol::{ErrorCode, fetch};
use sedge_storage::{Chunk, Error, Located, LogStore, ReadLimits, Wait};

use super::Request;
use crate::limits::{
    CONNECTION_ANSWER_BYTES, FETCH_COLD_BYTES_MAX, FETCH_MEMORY_MAX, FETCH_PARTITIONS_AT_ONCE,
    FETCH_RESPONSE_BYTES_MAX,
};
use crate::log::partitions::Partition;
use crate::log::purgatory::Parked;
use crate::net::memory::Admission;
use crate::net::service::{Answer, Answered, Disconnect, Reply};

const READ_COMMITTED: i8 = 1;
const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 13;

pub async fn handle(request: Request, message: FetchRequestData) -> Result<Answer, Disconnect> {
    Ok(Answer::Later(Box::pin(async move {
        answer(&request, message).await.map(Answered::from)
    })))
}

async fn answer(request: &Request, message: FetchRequestData) -> Result<Reply, Disconnect> {
    let broker = &request.broker;
    let wait = Duration::from_millis(u64::try_from(message.max_wait_ms).unwrap_or(0));
    let deadline = request.received + wait;
    let limits = Limits {
        bytes_max: usize::try_from(message.max_bytes)
            .unwrap_or(0)
            .min(FETCH_RESPONSE_BYTES_MAX),
        memory_max: CONNECTION_ANSWER_BYTES,
        is_read_committed: message.isolation_level == READ_COMMITTED,
    };
    // More than fits is never there: waiting for it would be for all of `max_wait_ms`.
    let bytes_min = usize::try_from(message.min_bytes)
        .unwrap_or(0)
        .min(limits.bytes_max);
    let session = session_request(request, message);
    let begun = broker
        .sessions()
        .begin(broker.clock.now().monotonic_ms, session);
    let context = match begun {
        Ok(context) => context,
        Err(error) => return whole_error(request, error),
    };
    loop {
        let targets = resolve(request, &context);
        let memory = broker.net.memory.answers.take_share(FETCH_MEMORY_MAX);
        let limits = Limits {
            memory_max: memory.bytes().max(CONNECTION_ANSWER_BYTES),
            ..limits
        };
        let partitions = read(request, targets, limits).await;
        let bytes: usize = partitions.iter().map(Read::bytes).sum();
        let outcomes: Vec<Outcome> = partitions.iter().map(Read::outcome).collect();
        let is_enough = bytes >= bytes_min
            || partitions.iter().any(|partition| partition.is_cut)
            || partitions
                .iter()
                .any(|partition| partition.data.error_code != 0)
            || Instant::now() >= deadline;
        let parked = if is_enough {
            None
        } else {
            park(request, &partitions, bytes_min - bytes)
        };
        let Some(parked) = parked else {
            return finish(request, &context, partitions, &outcomes, memory);
        };
        // What came between the reading and the parking wakes nobody.
        let has_grown = partitions.iter().any(Read::has_grown);
        // They are read again: while it waits, it holds no records.
        drop((partitions, memory));
        if !has_grown {
            parked.wait(deadline).await;
        }
    }
}

#[derive(Clone, Copy)]
struct Limits {
    bytes_max: usize,
    memory_max: usize,
    is_read_committed: bool,
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

/// One partition of the request, found or not.
struct Target {
    wanted: Wanted,
    found: Result<Arc<Partition>, ErrorCode>,
}

impl Target {
    fn has_data(&self) -> bool {
        self.found
            .as_ref()
            .is_ok_and(|partition| partition.high_watermark().get() > self.wanted.fetch_offset)
    }
}

fn resolve(request: &Request, context: &Context) -> Vec<Target> {
    let image = request.broker.metadata.load();
    context
        .partitions
        .iter()
        .map(|wanted| Target {
            wanted: wanted.clone(),
            found: find(request, &image, wanted),
        })
        .collect()
}

fn find(request: &Request, image: &Image, wanted: &Wanted) -> Result<Arc<Partition>, ErrorCode> {
    let topic: &Arc<Topic> = match &wanted.topic {
        TopicKey::Name(name) => image
            .topic(name)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?,
        TopicKey::Id(id) => image
            .topic_by_id(super::uuid(*id))
            .ok_or(ErrorCode::UnknownTopicId)?,
    };
    let id = topic
        .partition(wanted.partition)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    super::check_leader_epoch(image, LeaderEpoch::from_wire(wanted.current_leader_epoch))?;
    let broker = &request.broker;
    broker.partitions.get(&*broker.store, id).map_err(|error| {
        log::error!(target: "sedge::fetch", "partition {id} cannot be read: {error}");
        ErrorCode::KafkaStorageError
    })
}

/// What came of one partition.
struct Read {
    wanted: Wanted,
    data: PartitionData,
    chunks: Vec<Chunk>,
    /// There was more, but for the limits of memory and of cold data.
    is_cut: bool,
    partition: Option<Arc<Partition>>,
}

impl Read {
    fn bytes(&self) -> usize {
        fetch::frame_bytes(&self.chunks)
    }

    fn memory_bytes(&self) -> usize {
        self.chunks.iter().map(Chunk::memory_bytes).sum()
    }

    fn has_grown(&self) -> bool {
        let end = self.partition.as_ref().map(|it| it.high_watermark().get());
        end.is_some_and(|end| end > self.data.high_watermark)
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            high_watermark: self.data.high_watermark,
            log_start_offset: self.data.log_start_offset,
            record_bytes: self.bytes(),
            is_error: self.data.error_code != 0,
        }
    }
}

/// Reads what there is: at once where it is in memory, which two hand-offs to another thread would
/// take longer than; otherwise off the executor, for it has to come from flash.
async fn read(request: &Request, targets: Vec<Target>, limits: Limits) -> Vec<Read> {
    let store = Arc::clone(&request.broker.store);
    let with_data = targets.iter().filter(|target| target.has_data()).count();
    if with_data <= FETCH_PARTITIONS_AT_ONCE
        && let Some(reads) = read_all(&*store, &targets, limits, Wait::Never)
    {
        return reads;
    }
    let disk_work = &request.broker.disk_work;
    disk_work
        .run(move || {
            read_all(&*store, &targets, limits, Wait::ForDisk)
                .expect("it waits for what is not cached")
        })
        .await
}

/// `None` where something is not in memory and must not be waited for.
fn read_all(
    store: &dyn LogStore,
    targets: &[Target],
    limits: Limits,
    wait: Wait,
) -> Option<Vec<Read>> {
    let mut left = limits.bytes_max;
    let mut memory_left = limits.memory_max;
    let mut is_first = true;
    targets
        .iter()
        .map(|target| {
            let room = Room {
                left,
                memory_left,
                is_first,
                wait,
            };
            let read = read_one(store, target, limits, room)?;
            let bytes = read.bytes();
            left = left.saturating_sub(bytes);
            memory_left = memory_left.saturating_sub(read.memory_bytes());
            is_first &= bytes == 0;
            Some(read)
        })
        .collect()
}

/// What a partition may still add to the answer.
#[derive(Clone, Copy)]
struct Room {
    left: usize,
    memory_left: usize,
    /// Nothing was read yet.
    is_first: bool,
    wait: Wait,
}

fn read_one(store: &dyn LogStore, target: &Target, limits: Limits, room: Room) -> Option<Read> {
    let Target { wanted, found } = target;
    let mut data = PartitionData::default()
        .with_partition_index(wanted.partition)
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1);
    let mut located = Located::default();
    let mut partition = None;
    match found {
        Err(error) => data.error_code = error.code(),
        Ok(found) => {
            data.high_watermark = found.high_watermark().get();
            data.last_stable_offset = found.last_stable_offset().get();
            data.log_start_offset = found.log_start().get();
            if limits.is_read_committed {
                data.aborted_transactions = Some(Vec::new());
            }
            match read_records(store, found, wanted, room)? {
                Ok(found) => located = found,
                Err(error) => data.error_code = error.code(),
            }
            partition = Some(Arc::clone(found));
        }
    }
    Some(Read {
        wanted: wanted.clone(),
        data,
        chunks: located.chunks,
        is_cut: located.is_cut,
        partition,
    })
}

fn read_records(
    store: &dyn LogStore,
    partition: &Partition,
    wanted: &Wanted,
    room: Room,
) -> Option<Result<Located, ErrorCode>> {
    let until = partition.high_watermark();
    let Some(from) = Offset::from_wire(wanted.fetch_offset)
        .filter(|from| (partition.log_start()..=until).contains(from))
    else {
        return Some(Err(ErrorCode::OffsetOutOfRange));
    };
    let bytes_max = usize::try_from(wanted.partition_max_bytes)
        .unwrap_or(0)
        .min(room.left);
    if from == until || (!room.is_first && bytes_max == 0) {
        return Some(Ok(Located::default()));
    }
    let limits = ReadLimits {
        bytes_max,
        memory_max: room.memory_left,
        cold_max: FETCH_COLD_BYTES_MAX,
    };
    match store.locate(partition.id, from, until, limits, room.wait) {
        // KIP-74: only the first batch of the answer may break the limits.
        Ok(located) if !room.is_first && fetch::frame_bytes(&located.chunks) > bytes_max => {
            Some(Ok(Located::default()))
        }
        // The same for memory: the next fetch has room for it.
        Ok(located) if !room.is_first && is_over(&located, room.memory_left) => Some(Ok(Located {
            chunks: Vec::new(),
            is_cut: true,
        })),
        Ok(located) => Some(Ok(located)),
        Err(Error::NotCached) => None,
        Err(error) => {
            log::error!(target: "sedge::fetch", "partition {} at {from}: {error}", partition.id);
            Some(Err(ErrorCode::KafkaStorageError))
        }
    }
}

fn is_over(located: &Located, memory_left: usize) -> bool {
    let held: usize = located.chunks.iter().map(Chunk::memory_bytes).sum();
    held > memory_left
}

/// A place to wait for `bytes_wanted` more bytes; `None` where there is none.
fn park(request: &Request, partitions: &[Read], bytes_wanted: usize) -> Option<Parked> {
    let watched = partitions
        .iter()
        .filter_map(|read| Some(read.partition.as_ref()?.id))
        .collect();
    request.broker.parking.park(watched, bytes_wanted as u64)
}

fn finish(
    request: &Request,
    context: &Context,
    partitions: Vec<Read>,
    outcomes: &[Outcome],
    memory: Admission,
) -> Result<Reply, Disconnect> {
    let broker = &request.broker;
    let now = broker.clock.now().monotonic_ms;
    let finished = broker
        .sessions()
        .finish(now, context, outcomes, fastrand::u32(..));
    let session = match finished {
        Ok(session) => session,
        Err(error) => return whole_error(request, error),
    };
    let mut response = FetchResponseData::default().with_session_id(session.session_id);
    let mut chunks = Vec::new();
    let mut bytes = 0;
    let mut topic_of_last = None;
    for (read, include) in partitions.into_iter().zip(session.include) {
        if !include {
            continue;
        }
        bytes += read.bytes();
        if topic_of_last.as_ref() != Some(&read.wanted.topic) {
            response.responses.push(topic_response(&read.wanted.topic));
            topic_of_last = Some(read.wanted.topic.clone());
        }
        let error = ErrorCode::from(read.data.error_code);
        broker.metrics.request_error(request.key, error);
        let topic = response.responses.last_mut().expect("it was pushed above");
        topic.partitions.push(read.data);
        chunks.push(read.chunks);
    }
    broker.metrics.fetch_bytes.add(bytes as u64);
    let mut reply = encode(request, &response, &chunks)?;
    reply.memory = Some(memory.of_answer(&reply.frame));
    Ok(reply)
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
