//! Writes the readings of a device, with its state in the same commit.

use std::sync::Arc;

use sedge_core::log::{self, AppendError};
use sedge_link::message::Reason;
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::gateway_records::DeviceState;
use sedge_protocol::records::{BatchBuilder, Compression};

use super::devices::{self, Owned, Unavailable};
use crate::broker::Broker;
use crate::handlers::device::Device;
use crate::writer::AppendPart;

/// A topic that a device publishes to.
#[derive(Debug)]
pub struct Target {
    pub topic: String,
    pub key: Vec<u8>,
}

/// A reading that is not written yet.
#[derive(Clone, Debug)]
pub struct Pending {
    pub sequence: u32,
    /// `None` if the device may not publish to the topic.
    pub target: Result<Arc<Target>, Reason>,
    pub timestamp_ms: i64,
    pub value: Vec<u8>,
}

/// What became of readings.
#[derive(Debug)]
pub struct Written {
    /// The first reading that is not committed.
    pub next: Option<u32>,
    /// Readings that are dropped: the first one, their number, why.
    pub refused: Vec<(u32, u32, Reason)>,
    /// The number of readings that were written.
    pub count: u64,
    /// Why the rest has to be sent again.
    pub failed: Option<Failed>,
}

/// Why readings are not written now.
#[derive(Debug)]
pub enum Failed {
    /// Another session has the device.
    Replaced,
    /// What has to be mended.
    Unavailable(String),
}

/// A write under way.
struct Write<'a> {
    broker: &'a Broker,
    client: &'a Device,
    identity: &'a str,
    instance: u32,
    state: &'a mut DeviceState,
    /// Positions in subscribed topics that are written too.
    positions: &'a [(Arc<str>, i32, i64)],
    parts: Vec<AppendPart>,
    /// Readings in the parts.
    count: u64,
    /// The first reading behind the parts.
    next: Option<u32>,
    outcome: Written,
}

/// Writes the readings of a device's instance, which follow each other, and the positions of what
/// it has received.
pub async fn write(
    broker: &Broker,
    (client, owned): (&Device, &Owned),
    (identity, instance): (&str, u32),
    readings: &[Pending],
    positions: &[(Arc<str>, i32, i64)],
) -> Written {
    let outcome = Written {
        next: None,
        refused: Vec::new(),
        count: 0,
        failed: None,
    };
    let Some(mut state) = owned.state().await else {
        return Written {
            failed: Some(Failed::Replaced),
            ..outcome
        };
    };
    let mut write = Write {
        broker,
        client,
        identity,
        instance,
        state: &mut state,
        positions,
        parts: Vec::new(),
        count: 0,
        next: None,
        outcome,
    };
    let same = |a: &Pending, b: &Pending| match (&a.target, &b.target) {
        (Ok(a), Ok(b)) => Arc::ptr_eq(a, b),
        (Err(a), Err(b)) => a == b,
        _ => false,
    };
    for run in readings.chunk_by(same) {
        if let Err(failed) = write.admit(run).await {
            write.outcome.failed = Some(failed);
            break;
        }
    }
    if let Err(failed) = write.flush().await {
        write.outcome.failed = Some(failed);
    }
    write.outcome
}

impl Write<'_> {
    /// Adds readings of one topic. If the topic refuses them, halves them until those are found
    /// that it refuses.
    async fn admit(&mut self, run: &[Pending]) -> Result<(), Failed> {
        let mut rest = vec![run];
        while let Some(run) = rest.pop() {
            let Some((first, last)) = run.first().zip(run.last()) else {
                continue;
            };
            let admitted = match &first.target {
                Err(reason) => Err(Refused::Each(*reason)),
                Ok(target) => self.part(target, run).await,
            };
            match admitted {
                Ok(part) => {
                    let is_awaited = part.as_ref().is_some_and(|part| part.awaits.is_some());
                    self.parts.extend(part);
                    self.count += run.len() as u64;
                    self.next = Some(last.sequence.wrapping_add(1));
                    if is_awaited {
                        // A filter's state is held until it is written.
                        self.flush().await?;
                    }
                }
                Err(Refused::Now(why)) => return Err(Failed::Unavailable(why)),
                Err(Refused::Some(_)) if run.len() > 1 => {
                    let (front, back) = run.split_at(run.len() / 2);
                    rest.extend([back, front]);
                }
                Err(Refused::Some(reason) | Refused::Each(reason)) => {
                    let refused = (first.sequence, run.len() as u32, reason);
                    self.outcome.refused.push(refused);
                    self.next = Some(last.sequence.wrapping_add(1));
                }
            }
        }
        Ok(())
    }

    async fn part(&self, target: &Target, run: &[Pending]) -> Result<Option<AppendPart>, Refused> {
        let admitted = match batch(target, run) {
            Some(batch) => self.client.admit(&target.topic, &target.key, &batch).await,
            None => Err(ErrorCode::InvalidRecord.into()),
        };
        admitted.map_err(|error| Refused::of(&error))
    }

    /// Writes the parts.
    async fn flush(&mut self) -> Result<(), Failed> {
        let (next, positions) = (self.next.take(), std::mem::take(&mut self.positions));
        if next.is_none() && positions.is_empty() {
            return Ok(());
        }
        let mut state = self.state.clone();
        if let Some(next) = next {
            state.set_next(self.instance, next);
        }
        for (topic, partition, offset) in positions {
            state.set_position(topic, *partition, *offset);
        }
        let parts = std::mem::take(&mut self.parts);
        let count = std::mem::take(&mut self.count);
        append(self.broker, self.identity, &state, parts).await?;
        *self.state = state;
        self.outcome.next = next.or(self.outcome.next);
        self.outcome.count += count;
        Ok(())
    }
}

/// Why a topic does not take readings.
enum Refused {
    /// Not now.
    Now(String),
    /// Some of them are not taken.
    Some(Reason),
    /// None of them is taken.
    Each(Reason),
}

impl Refused {
    fn of(error: &AppendError) -> Self {
        match error.code {
            ErrorCode::TopicAuthorizationFailed | ErrorCode::PolicyViolation => {
                Self::Each(Reason::Denied)
            }
            ErrorCode::UnknownTopicOrPartition | ErrorCode::InvalidTopicException => {
                Self::Each(Reason::Topic)
            }
            ErrorCode::InvalidRecord
            | ErrorCode::RecordListTooLarge
            | ErrorCode::MessageTooLarge
            | ErrorCode::InvalidTimestamp => Self::Some(Reason::Invalid),
            code => Self::Now(match &error.message {
                Some(message) => message.clone(),
                None => format!("{code:?}"),
            }),
        }
    }
}

fn batch(target: &Target, run: &[Pending]) -> Option<Batch> {
    let mut builder = BatchBuilder::new(Compression::None);
    for reading in run {
        let (key, value) = (&target.key[..], &reading.value[..]);
        builder.push(reading.timestamp_ms, Some(key), Some(value), &[]);
    }
    builder.build().ok()
}

/// Writes parts and the state of a device, all of it or nothing.
async fn append(
    broker: &Broker,
    identity: &str,
    state: &DeviceState,
    mut parts: Vec<AppendPart>,
) -> Result<(), Failed> {
    let unavailable = |why: String| Failed::Unavailable(why);
    let (topic, partition) = match devices::topic(broker).await {
        Ok(found) => found,
        Err(Unavailable::Log(why)) => return Err(unavailable(why)),
        Err(Unavailable::TooMany) => return Err(unavailable(String::new())),
    };
    let now_ms = broker.log.clock.now().wall_ms;
    let batch = state.batch(identity, now_ms);
    parts.push(AppendPart {
        partition,
        topic,
        write: log::Write::Plain,
        batch: Ok(Some(batch.map_err(|error| unavailable(error.to_string()))?)),
        elsewhere: Vec::new(),
        awaits: None,
    });
    let stopping = |_| unavailable("the broker is shutting down".to_owned());
    let reply = broker.writer.append(parts, Vec::new()).await;
    for result in reply.map_err(stopping)? {
        if let Err(error) = result {
            let code = error.code;
            return Err(unavailable(error.message.unwrap_or(format!("{code:?}"))));
        }
    }
    Ok(())
}
