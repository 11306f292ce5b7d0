//! Sends readings: one task per partition, each an idempotent producer, so that no reading is
//! written twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use async_executor::{Executor, Task};
use async_io::Timer;
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{ProducerEpoch, ProducerId};
use sedge_protocol::records::{BatchBuilder, Compression, Producer, sequence_plus};

use super::readings::Readings;
use super::{PARTITIONS, TOPIC, limits};
use crate::client::Client;
use crate::process::failure::{Exit, Failure};

/// Counts of acknowledged readings.
#[derive(Debug, Default)]
struct Fed {
    readings: AtomicU64,
    faulty: AtomicU64,
    stop: AtomicBool,
    failed: AtomicBool,
}

/// The sending tasks.
#[derive(Debug)]
pub struct Feed {
    fed: Arc<Fed>,
    tasks: std::sync::Mutex<Vec<Task<Result<(), Failure>>>>,
}

impl Feed {
    /// Starts sending `rate` readings a second. Returns when the first batch was accepted, which
    /// waits for the filter.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn start(
        executor: &Arc<Executor<'static>>,
        client: &Client,
        rate: u32,
    ) -> Result<Self, Failure> {
        let fed = Arc::new(Fed::default());
        let mut tasks = Vec::new();
        for partition in 0..PARTITIONS {
            let (id, epoch) = client.init_producer_id().await?;
            let mut sender = Sender {
                client: client.clone(),
                fed: Arc::clone(&fed),
                readings: Readings::new(partition as u64),
                partition,
                producer: (id, epoch),
                sequence: 0,
                // Only whole readings are sent; the fraction is carried over.
                a_batch: f64::from(rate) * limits::BATCH_INTERVAL.as_secs_f64()
                    / f64::from(PARTITIONS),
                owed: 0.0,
            };
            if partition == 0 {
                sender.send_first().await?;
            }
            tasks.push(executor.spawn(async move {
                let sent = sender.run().await;
                sender.fed.failed.fetch_or(sent.is_err(), Ordering::Relaxed);
                sent
            }));
        }
        Ok(Self {
            fed,
            tasks: tasks.into(),
        })
    }

    /// Returns the acknowledged readings, and how many of them are faulty.
    pub fn acknowledged(&self) -> (u64, u64) {
        // The faulty ones are read first, so that they never exceed the total.
        let faulty = self.fed.faulty.load(Ordering::Acquire);
        (self.fed.readings.load(Ordering::Acquire), faulty)
    }

    /// Returns whether a task has ended early.
    pub fn has_failed(&self) -> bool {
        self.fed.failed.load(Ordering::Relaxed)
    }

    /// Stops sending. All readings sent are acknowledged then.
    ///
    /// # Errors
    /// A task failed.
    pub async fn stop(&self) -> Result<(), Failure> {
        self.fed.stop.store(true, Ordering::Relaxed);
        let tasks = std::mem::take(
            &mut *self
                .tasks
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        for task in tasks {
            task.await?;
        }
        Ok(())
    }
}

struct Sender {
    client: Client,
    fed: Arc<Fed>,
    readings: Readings,
    partition: i32,
    producer: (ProducerId, ProducerEpoch),
    sequence: i32,
    a_batch: f64,
    owed: f64,
}

impl Sender {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut next = Instant::now();
        while !self.fed.stop.load(Ordering::Relaxed) {
            self.owed += self.a_batch;
            let count = self.owed as u32;
            self.owed -= f64::from(count);
            if count > 0 {
                let (batch, faulty) = self.batch(count)?;
                self.client.produce(TOPIC, self.partition, &batch).await?;
                self.acknowledged(count, faulty);
            }
            // After a slow phase of the broker, missed intervals are not made up for.
            next = (next + limits::BATCH_INTERVAL).max(Instant::now());
            Timer::at(next).await;
        }
        Ok(())
    }

    /// Sends the first batch. A filter that is not compiled yet refuses batches, so the batch is
    /// sent again.
    async fn send_first(&mut self) -> Result<(), Failure> {
        let end = Instant::now() + limits::FILTER_TIME_MAX;
        let (batch, faulty) = self.batch(1)?;
        loop {
            match self.client.produce(TOPIC, self.partition, &batch).await {
                Ok(_) => break,
                Err(error) if error.code() == Some(ErrorCode::NotEnoughReplicas) => {
                    if Instant::now() > end {
                        return Err(error.into());
                    }
                    Timer::after(limits::SETTLE_INTERVAL).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.acknowledged(1, faulty);
        Ok(())
    }

    fn batch(&mut self, count: u32) -> Result<(Batch, u64), Failure> {
        let (id, epoch) = self.producer;
        let producer = Producer {
            id,
            epoch,
            base_sequence: self.sequence,
        };
        let mut builder = BatchBuilder::new(Compression::Lz4).producer(producer);
        let mut faulty = 0;
        for _ in 0..count {
            let reading = self.readings.next();
            faulty += u64::from(reading.is_faulty);
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let (key, value) = (reading.sensor.as_bytes(), reading.value.as_bytes());
            builder.push(since.as_millis() as i64, Some(key), Some(value), &[]);
        }
        let batch = builder.build().map_err(|error| {
            Failure::new(
                Exit::Software,
                format!("a batch of readings cannot be built: {error}"),
            )
        })?;
        Ok((batch, faulty))
    }

    fn acknowledged(&mut self, count: u32, faulty: u64) {
        self.sequence = sequence_plus(self.sequence, count as i32);
        self.fed
            .readings
            .fetch_add(u64::from(count), Ordering::Release);
        self.fed.faulty.fetch_add(faulty, Ordering::Release);
    }
}
