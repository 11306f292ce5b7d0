//! A load of produce and fetch requests over a few connections, whose windows are kept full.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::tls;
use crate::wire::{
    self, Batch, Connection, FETCH_VERSION, PRODUCE_VERSION, error, fetched, frame, key,
    produce_request, produced,
};

/// Bytes requested by one fetch, as much as Kafka's own consumer requests for a partition.
const FETCH_BYTES: i32 = 1 << 20;

/// The result of one run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Bytes of record batches.
    pub bytes: u64,
    pub requests: u64,
    pub took: Duration,
    latencies: Vec<Duration>,
}

impl Outcome {
    pub fn mb_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64()
    }

    /// Returns the latency that `percent` of the requests did not exceed, in milliseconds.
    pub fn latency_ms(&mut self, percent: f64) -> f64 {
        self.latencies.sort_unstable();
        let at = (self.latencies.len() as f64 * percent / 100.0) as usize;
        let at = at.min(self.latencies.len().saturating_sub(1));
        self.latencies
            .get(at)
            .map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }

    /// Counts a request.
    pub fn note(&mut self, latency: Duration, bytes: usize) {
        self.latencies.push(latency);
        self.requests += 1;
        self.bytes += bytes as u64;
    }

    /// Adds the requests of a concurrent run.
    pub fn merge(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.requests += other.requests;
        self.took = self.took.max(other.took);
        self.latencies.extend(other.latencies);
    }

    /// Adds the requests of a later run.
    fn follow(&mut self, other: Self) {
        let took = self.took + other.took;
        self.merge(other);
        self.took = took;
    }
}

/// A load with one connection per partition.
#[derive(Clone, Debug)]
pub struct Load {
    pub bootstrap: String,
    pub topic: String,
    pub partitions: i32,
    /// Requests in flight per connection (Java's default is 5).
    pub in_flight: usize,
    pub batch_bytes: usize,
    pub record_bytes: usize,
    /// How records go and come; topics are created and deleted without TLS.
    pub tls: Option<Secured>,
}

/// A listener with TLS, and what its clients need.
#[derive(Clone, Debug)]
pub struct Secured {
    pub address: String,
    pub client: tls::Client,
}

impl Secured {
    pub fn connect(&self) -> Connection<tls::Stream> {
        Connection::open_secured(&self.client, &self.address)
    }
}

impl Load {
    /// Creates the topic and waits until each partition accepts a record.
    pub fn create(&self, configs: &[(&str, &str)]) {
        let mut connection = Connection::open(&self.bootstrap);
        wire::create_topic(&mut connection, &self.topic, self.partitions, configs);
        for partition in 0..self.partitions {
            wire::wait_leader(&mut connection, &self.topic, partition);
        }
    }

    pub fn delete(&self) {
        wire::delete_topic(&mut Connection::open(&self.bootstrap), &self.topic);
    }

    /// Produces for `time` or until `bytes` were sent, whichever comes first.
    pub fn produce(&self, time: Duration, bytes: u64) -> Outcome {
        let count = (self.batch_bytes / self.record_bytes).max(1);
        let batch = Batch::filled(count, self.record_bytes).encode();
        self.produce_encoded(&batch, time, bytes)
    }

    /// Produces this batch repeatedly.
    pub fn produce_encoded(&self, batch: &[u8], time: Duration, bytes: u64) -> Outcome {
        self.on_each_partition(|partition| {
            self.produce_one(partition, batch, time, bytes / self.partitions as u64)
        })
    }

    /// Fetches every partition from start to end, `passes` times.
    pub fn fetch(&self, passes: u64) -> Outcome {
        self.on_each_partition(|partition| {
            let mut all = Outcome::default();
            for _ in 0..passes {
                all.follow(self.fetch_one(partition));
            }
            all
        })
    }

    fn on_each_partition(&self, run: impl Fn(i32) -> Outcome + Sync) -> Outcome {
        let mut total = Outcome::default();
        std::thread::scope(|scope| {
            let run = &run;
            let started = (0..self.partitions).map(|p| scope.spawn(move || run(p)));
            let threads: Vec<_> = started.collect();
            for thread in threads {
                total.merge(thread.join().expect("the load runs to its end"));
            }
        });
        total
    }

    fn produce_one(&self, partition: i32, batch: &[u8], time: Duration, bytes: u64) -> Outcome {
        let body = produce_request(&self.topic, partition, -1, batch);
        let request = frame(key::PRODUCE, PRODUCE_VERSION, partition, &body);
        match &self.tls {
            None => {
                let plain = Connection::open(&self.bootstrap);
                self.produce_on(plain, &request, batch.len(), time, bytes)
            }
            Some(tls) => self.produce_on(tls.connect(), &request, batch.len(), time, bytes),
        }
    }

    fn produce_on(
        &self,
        mut connection: Connection<impl Read + Write>,
        request: &[u8],
        batch_bytes: usize,
        time: Duration,
        bytes: u64,
    ) -> Outcome {
        let mut sent: VecDeque<Instant> = VecDeque::new();
        let mut outcome = Outcome::default();
        let began = Instant::now();
        let mut sending = 0;
        loop {
            while sent.len() < self.in_flight && began.elapsed() < time && sending < bytes {
                connection
                    .stream
                    .write_all(request)
                    .expect("the broker reads");
                sent.push_back(Instant::now());
                sending += batch_bytes as u64;
            }
            let Some(when) = sent.pop_front() else { break };
            let reply = connection.reply().frame();
            let answer = produced(&reply[4..]);
            assert_eq!(answer.error, error::NONE, "produce: {answer:?}");
            outcome.latencies.push(when.elapsed());
            outcome.bytes += batch_bytes as u64;
            outcome.requests += 1;
        }
        outcome.took = began.elapsed();
        outcome
    }

    /// Fetches one partition from start to end.
    pub fn fetch_one(&self, partition: i32) -> Outcome {
        match &self.tls {
            None => self.fetch_on(Connection::open(&self.bootstrap), partition),
            Some(tls) => self.fetch_on(tls.connect(), partition),
        }
    }

    fn fetch_on(&self, mut connection: Connection<impl Read + Write>, partition: i32) -> Outcome {
        let mut outcome = Outcome::default();
        let mut offset = 0;
        let began = Instant::now();
        loop {
            let body = wire::fetch_request(&self.topic, partition, offset, FETCH_BYTES);
            let asked = Instant::now();
            let answer = fetched(&connection.ask(key::FETCH, FETCH_VERSION, &body));
            assert_eq!(
                answer.error,
                error::NONE,
                "fetch of {partition} at {offset}"
            );
            outcome.note(asked.elapsed(), answer.records.len());
            offset = wire::next_offset(&answer.records).unwrap_or(offset);
            if offset >= answer.high_watermark {
                outcome.took = began.elapsed();
                return outcome;
            }
        }
    }
}
