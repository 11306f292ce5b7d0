//! Produce (key 0): does the checks that need no state, runs the topic's filters and its
//! partitioner, and queues the batches to the writer.

use std::sync::Arc;

use sedge_core::log::{AppendError, SequenceRange, check_header};
use sedge_core::security::Operation;
use sedge_plugin::QuotaOperation;
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::PartitionId;
use sedge_protocol::kafka::generated::produce_request::ProduceRequestData;
use sedge_protocol::kafka::generated::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponseData, TopicProduceResponse,
};
use sedge_protocol::kafka::{KafkaString, KafkaUuid};
use sedge_protocol::records::stand_in;
use sedge_protocol::{Bytes, ErrorCode};

use super::in_transaction::join;
use crate::handlers::request::{Charged, Demand, Request, Topic, Topics};
use crate::net::service::Disconnect;
use crate::plugins::{Filtered, Held, Routed, Verdict};
use crate::writer::{AppendPart, AppendReply, Appended, Awaited, Elsewhere};

/// State of one partition's produce before the writer has answered.
enum Slot {
    /// Index into the writer's results.
    Queued(usize),
    /// The same; some records went to other partitions.
    Rerouted(usize),
    Done(Result<Appended, AppendError>),
    /// The filter dropped every record: nothing is written, and the answer is success.
    Emptied,
}

struct PendingTopic {
    response: TopicProduceResponse,
    slots: Vec<Slot>,
}

/// A produce whose batches are queued.
pub struct Pending {
    acks: i16,
    topics: Vec<PendingTopic>,
    /// The writer's answers, in the order of the parts.
    replies: Vec<Awaited<AppendReply>>,
}

/// The parts on their way to the writer.
#[derive(Default)]
struct Queue {
    parts: Vec<AppendPart>,
    /// Parts that the writer has.
    sent: usize,
    replies: Vec<Awaited<AppendReply>>,
}

impl Queue {
    /// Adds a part. Returns its index in the writer's results.
    fn push(&mut self, part: AppendPart) -> usize {
        self.parts.push(part);
        self.sent + self.parts.len() - 1
    }

    /// Returns whether the last part keeps others waiting: the request's next batch may need what
    /// the part holds.
    fn is_awaited(&self) -> bool {
        self.parts.last().is_some_and(|part| part.awaits.is_some())
    }

    /// Passes the parts to the writer.
    async fn send(&mut self, writable: &Topics) -> Result<(), Disconnect> {
        if self.parts.is_empty() {
            return Ok(());
        }
        let parts = std::mem::take(&mut self.parts);
        self.sent += parts.len();
        let queued = writable.start_append(parts).await;
        self.replies
            .push(queued.map_err(|_| Disconnect::ShuttingDown)?);
        Ok(())
    }
}

pub async fn start(request: &Request, produce: ProduceRequestData) -> Result<Pending, Disconnect> {
    let acks = produce.acks;
    request.charge_produced();
    let writable = request.topics(Operation::Write);
    let demand = || demand(&writable, &produce);
    let charged = request.ask_policy(QuotaOperation::Produce, demand).await;
    let rejected = match charged {
        Charged::Rejected(why) => Some(AppendError::new(ErrorCode::PolicyViolation, why)),
        Charged::Granted | Charged::Throttled => None,
    };
    let mut queue = Queue::default();
    let topics = admit(request, &writable, produce, rejected.as_ref(), &mut queue).await?;
    queue.send(&writable).await?;
    Ok(Pending {
        acks,
        topics,
        replies: queue.replies,
    })
}

pub async fn finish(
    request: &Request,
    pending: Pending,
) -> Result<Option<ProduceResponseData>, Disconnect> {
    let mut outcomes = AppendReply::new();
    for reply in pending.replies {
        let reply = reply.await.map_err(|_| Disconnect::ShuttingDown)?;
        outcomes.extend(reply);
    }
    let response = answer(pending.topics, &outcomes);
    if pending.acks == 0 {
        let failed = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses)
            .any(|partition| partition.error_code != ErrorCode::None.code());
        return if failed {
            Err(Disconnect::UnacknowledgedFailure)
        } else {
            Ok(None)
        };
    }
    count_errors(request, &response);
    Ok(Some(response))
}

fn count_errors(request: &Request, response: &ProduceResponseData) {
    let topics = response.responses.iter();
    for partition in topics.flat_map(|topic| &topic.partition_responses) {
        request.count_error(ErrorCode::from(partition.error_code));
    }
}

/// Returns what the quota policy is told. The batches are not checked yet; one that claims another
/// number of records than it has is refused later.
fn demand<'a>(writable: &'a Topics, produce: &ProduceRequestData) -> Demand<'a> {
    let topics = produce.topic_data.iter().filter_map(|data| {
        if data.topic_id == KafkaUuid::ZERO {
            writable.existing(data.name.as_str())
        } else {
            writable.existing_by_id(data.topic_id)
        }
    });
    let partitions = produce.topic_data.iter();
    let partitions = partitions.flat_map(|data| &data.partition_data);
    let batches = partitions.filter_map(|partition| partition.records.as_ref());
    let count = |batch: &Bytes| {
        let header = BatchHeader::read(batch);
        header.map_or(0, |header| header.record_count().max(0) as u64)
    };
    Demand {
        topics: topics.collect(),
        bytes: batches.clone().map(|batch| batch.len() as u64).sum(),
        records: batches.map(count).sum(),
    }
}

/// Sorts the request's partitions into those for the writer and those that are answered without it.
async fn admit(
    request: &Request,
    writable: &Topics,
    produce: ProduceRequestData,
    rejected: Option<&AppendError>,
    queue: &mut Queue,
) -> Result<Vec<PendingTopic>, Disconnect> {
    let acks_are_valid = matches!(produce.acks, -1..=1);
    let transactional_id = produce.transactional_id;
    let transactional_id = transactional_id.as_ref().map(KafkaString::as_str);
    let mut topics = Vec::with_capacity(produce.topic_data.len());
    for data in produce.topic_data {
        let topic = if data.topic_id == KafkaUuid::ZERO {
            writable.named(data.name.as_str())
        } else {
            writable.by_id(data.topic_id)
        };
        let mut pending = PendingTopic {
            response: TopicProduceResponse::default()
                // Copies the name, so that the request's bytes are freed once they are written.
                .with_name(KafkaString::from(data.name.to_string()))
                .with_topic_id(data.topic_id)
                .with_partition_responses(Vec::with_capacity(data.partition_data.len())),
            slots: Vec::with_capacity(data.partition_data.len()),
        };
        for partition in data.partition_data {
            let slot = match topic {
                Err(error) => Slot::refused(error),
                Ok(_) if !acks_are_valid => Slot::refused(ErrorCode::InvalidRequiredAcks),
                Ok(topic) => {
                    admit_partition(
                        request,
                        transactional_id,
                        (topic, partition.index),
                        partition.records,
                        rejected,
                        queue,
                    )
                    .await
                }
            };
            if queue.is_awaited() {
                queue.send(writable).await?;
            }
            pending.slots.push(slot);
            pending
                .response
                .partition_responses
                .push(PartitionProduceResponse::default().with_index(partition.index));
        }
        topics.push(pending);
    }
    Ok(topics)
}

/// Checks one batch without a sequence, and runs it through the topic's filters and its
/// partitioner. Returns the part for the writer, or `None` if the filters leave nothing.
///
/// # Errors
/// The error of the batch's produce.
pub async fn part(
    request: &Request,
    topic: Topic<'_>,
    index: i32,
    records: Bytes,
) -> Result<Option<AppendPart>, AppendError> {
    let mut queue = Queue::default();
    let at = (topic, index);
    match admit_partition(request, None, at, Some(records), None, &mut queue).await {
        Slot::Done(Err(error)) => Err(error),
        _ => Ok(queue.parts.pop()),
    }
}

async fn admit_partition(
    request: &Request,
    transactional_id: Option<&str>,
    (topic, index): (Topic<'_>, i32),
    records: Option<Bytes>,
    rejected: Option<&AppendError>,
    queue: &mut Queue,
) -> Slot {
    let partition = match topic.partition_id(index) {
        Ok(partition) => partition,
        Err(error) => return Slot::refused(error),
    };
    if !topic.takes_produce() {
        // As in Kafka, only the broker writes internal topics.
        return Slot::refused(ErrorCode::InvalidTopicException);
    }
    if let Err(error) = topic.check_deploys() {
        return Slot::Done(Err(error));
    }
    if topic.config.is_mirrored() {
        let why = "A pull link of the mirror writes this topic. Produce to the topic upstream, or \
                   remove its sedge.mirror.source to write to it here.";
        return Slot::Done(Err(AppendError::new(ErrorCode::PolicyViolation, why)));
    }
    let now_ms = request.now().wall_ms;
    let records = records.unwrap_or_default();
    let batch = match check_header(records, request.version(), &topic.config) {
        Ok(batch) => batch,
        Err(error) => return Slot::Done(Err(error)),
    };
    let joined = join(request, transactional_id, (topic, index), &batch.header).await;
    let transaction = match joined {
        Ok(transaction) => transaction,
        Err(error) => return Slot::Done(Err(error)),
    };
    // The producer's sequence counts the records that were sent, even if a filter drops some.
    let sequence = SequenceRange::of(&batch.header)
        .map(|range| range.filtered(topic.config.filters_writes_to(index)))
        .map(|range| range.within(transaction));
    let checked = match rejected {
        Some(error) => Err(error.clone()),
        None => request.openers().check(batch, &topic, now_ms).await,
    };
    let checked = match checked {
        Ok(batch) => topic.check_signed(batch).await,
        refused => refused,
    };
    let checked = match checked {
        Ok(batch) => request.openers().recompress(batch, &topic).await,
        refused => refused,
    };
    let admitted = match checked {
        Ok(batch) => admit_batch(request, topic, (index, partition), sequence, batch).await,
        Err(error) => Err(error),
    };
    let Admitted {
        here,
        elsewhere,
        is_rerouted,
        held,
    } = match (admitted, sequence) {
        (Ok(admitted), _) => admitted,
        (Err(error), None) => return Slot::Done(Err(error)),
        (Err(error), Some(_)) => {
            return Slot::Queued(queue.push(AppendPart {
                partition,
                topic: Arc::clone(&topic),
                write: sequence.into(),
                batch: Err(error),
                elsewhere: Vec::new(),
                awaits: None,
            }));
        }
    };
    if here.is_none() && elsewhere.is_empty() && sequence.is_none() {
        return Slot::Emptied;
    }
    let part = queue.push(AppendPart {
        partition,
        topic: Arc::clone(&topic),
        write: sequence.into(),
        batch: Ok(here),
        elsewhere,
        awaits: held.map(Held::into_awaits),
    });
    if is_rerouted {
        Slot::Rerouted(part)
    } else {
        Slot::Queued(part)
    }
}

/// What is left of a valid batch.
#[derive(Default)]
struct Admitted {
    /// What is written to the partition that the batch was sent to.
    here: Option<Batch>,
    elsewhere: Vec<Elsewhere>,
    /// Some records went to other partitions, or no offset is the batch's own.
    is_rerouted: bool,
    /// The lane of the batch's partition, if a filter has a state.
    held: Option<Held>,
}

/// Returns what the topic's filters leave of a valid batch, as its partitioner distributes it, with
/// the records of the filters' state.
async fn admit_batch(
    request: &Request,
    topic: Topic<'_>,
    (index, partition): (i32, PartitionId),
    sequence: Option<SequenceRange>,
    batch: Batch,
) -> Result<Admitted, AppendError> {
    let metrics = request.metrics();
    metrics
        .produce_records
        .add(batch.header.record_count().max(0) as u64);
    metrics.produce_bytes.add(batch.bytes() as u64);
    if !topic.config.filters_writes_to(index) {
        return Ok(topic.partition(index, batch).await?.into());
    }
    let entered = topic.enter(index, partition, sequence, &batch).await?;
    let (mut held, verdict) = entered.unzip();
    if verdict == Some(Verdict::Repeat) {
        // The writer answers with the offset that the batch has.
        return Ok(Admitted {
            held,
            ..Admitted::default()
        });
    }
    let header = batch.header;
    let filtered = topic
        .filter(index, &request.origin(), batch, &mut held)
        .await?;
    let Filtered { batch, elsewhere } = filtered;
    let mut admitted = match batch {
        Some(batch) => topic.partition(index, batch).await?.into(),
        None => Admitted::default(),
    };
    let is_emptied = admitted.here.is_none() && admitted.elsewhere.is_empty();
    let is_routed = !elsewhere.is_empty();
    admitted.elsewhere.extend(elsewhere);
    if let Some(held) = &mut held {
        let state = held.seal(request.now().wall_ms)?;
        admitted.elsewhere.extend(state);
    }
    if is_emptied && sequence.is_some() && (held.is_some() || is_routed) {
        // The sequence must be as durable as the state and the routed records: the batch may be
        // sent again.
        let built = stand_in(&header).map_err(|_| ErrorCode::InvalidRecord)?;
        admitted.here = Some(built);
    }
    admitted.is_rerouted |= is_routed || (held.is_some() && admitted.here.is_none());
    admitted.held = held;
    Ok(admitted)
}

impl From<Routed> for Admitted {
    fn from(routed: Routed) -> Self {
        Self {
            is_rerouted: !routed.elsewhere.is_empty(),
            here: routed.here,
            elsewhere: routed.elsewhere.into_iter().map(Into::into).collect(),
            held: None,
        }
    }
}

impl Slot {
    fn refused(error: ErrorCode) -> Self {
        Self::Done(Err(AppendError::from(error)))
    }
}

fn answer(topics: Vec<PendingTopic>, outcomes: &AppendReply) -> ProduceResponseData {
    let responses = topics
        .into_iter()
        .map(
            |PendingTopic {
                 mut response,
                 slots,
             }| {
                for (partition, slot) in response.partition_responses.iter_mut().zip(slots) {
                    match slot {
                        Slot::Queued(part) => fill(partition, &outcomes[part]),
                        Slot::Rerouted(part) => {
                            fill(partition, &outcomes[part]);
                            partition.base_offset = -1;
                        }
                        Slot::Done(outcome) => fill(partition, &outcome),
                        Slot::Emptied => partition.base_offset = -1,
                    }
                }
                response
            },
        )
        .collect();
    ProduceResponseData::default().with_responses(responses)
}

fn fill(partition: &mut PartitionProduceResponse, outcome: &Result<Appended, AppendError>) {
    match outcome {
        Ok(appended) => {
            partition.base_offset = appended.base_offset.get();
            partition.log_append_time_ms = appended.log_append_time_ms.unwrap_or(-1);
            partition.log_start_offset = appended.log_start.get();
        }
        Err(error) => {
            partition.error_code = error.code.code();
            partition.base_offset = -1;
            partition.log_append_time_ms = -1;
            partition.log_start_offset = -1;
            partition.error_message = error.message.clone().map(Into::into);
            partition.record_errors = error
                .record_errors
                .iter()
                .map(|record| {
                    BatchIndexAndErrorMessage::default()
                        .with_batch_index(record.index)
                        .with_batch_index_error_message(record.message.clone().map(Into::into))
                })
                .collect();
        }
    }
}
