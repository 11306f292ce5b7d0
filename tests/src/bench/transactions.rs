//! `bench transactions`: producers whose transactions are small, compared with Apache Kafka in one
//! run. Each transaction is ten records over three partitions, produced by one request (KIP-890:
//! the produce adds its partitions) and ended by a second one, as the Java producer does.
//!
//! With `sync` durability Apache Kafka flushes after each append (`flush.messages=1`), which is
//! what a power cut needs there. Each round measures every broker in turn.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use sedge_protocol::Bytes;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated as messages;

use messages::end_txn_request::EndTxnRequestData;
use messages::end_txn_response::EndTxnResponseData;
use messages::init_producer_id_request::InitProducerIdRequestData;
use messages::init_producer_id_response::InitProducerIdResponseData;
use messages::produce_request::{PartitionProduceData, ProduceRequestData, TopicProduceData};
use messages::produce_response::ProduceResponseData;

use crate::ask;
use crate::bench::{Outcome, Peer, Spread};
use crate::temp_dir::TempDir;
use crate::wire::{self, Batch, Connection, Coordinated, error};
use crate::{limits, proc};

/// How many, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    pub producers: usize,
    pub rounds: usize,
    pub seconds: u64,
    pub with_kafka: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            producers: 16,
            rounds: 5,
            seconds: 5,
            with_kafka: true,
        }
    }
}

const TOPIC: &str = "transacted";
/// Records of a transaction in each partition.
const RECORDS: [usize; 3] = [4, 3, 3];
const RECORD_BYTES: usize = 100;
/// Before measuring: a JVM compiles code that has run often.
const WARM: Duration = Duration::from_secs(10);
const PERCENTS: [f64; 4] = [50.0, 99.0, 99.9, 100.0];
/// Time before a request is repeated that came while the last transaction was being completed
/// (`CONCURRENT_TRANSACTIONS`). Kafka's clients wait for longer.
const BACKOFF: Duration = Duration::from_millis(1);
const CONCURRENT_TRANSACTIONS: i16 = 51;
/// In the attributes of a batch.
const IS_TRANSACTIONAL: i16 = 1 << 4;

/// A broker with its producers, and the figures of its rounds.
struct Measured {
    name: String,
    peer: Peer,
    producers: Vec<Producer>,
    rate: Spread,
    /// CPU of the broker for a transaction, in microseconds.
    cpu: Spread,
    latencies: [Spread; PERCENTS.len()],
}

/// Runs the plan and returns its table.
pub fn run(plan: &Plan, progress: &dyn Fn(&str)) -> String {
    let directory = TempDir::new("bench-transactions");
    let mut measured: Vec<Measured> = peers(&directory, plan.with_kafka)
        .into_iter()
        .map(|(name, peer)| Measured::new(name, peer, plan.producers))
        .collect();
    for broker in &mut measured {
        broker.transact(WARM);
    }
    for round in 1..=plan.rounds {
        for broker in &mut measured {
            let before = proc::cpu(broker.peer.pid());
            let mut outcome = broker.transact(Duration::from_secs(plan.seconds));
            let cpu = proc::cpu(broker.peer.pid()).saturating_sub(before);
            let rate = outcome.requests as f64 / outcome.took.as_secs_f64();
            broker.rate.add(rate);
            let cpu_us = cpu.as_secs_f64() * 1e6 / outcome.requests as f64;
            broker.cpu.add(cpu_us);
            for (spread, percent) in broker.latencies.iter_mut().zip(PERCENTS) {
                spread.add(outcome.latency_ms(percent));
            }
            progress(&format!(
                "round {round}, {}: {rate:.0} transactions/s, {cpu_us:.0} us of CPU",
                broker.name
            ));
        }
    }
    let mut table = format!(
        "{} producers, transactions of 10 records over 3 partitions | transactions/s | CPU us each \
         | p50 | p99 | p99.9 | max, ms\n",
        plan.producers
    );
    for broker in &mut measured {
        let (rate, cpu) = (broker.rate.show(0), broker.cpu.show(0));
        write!(table, "{} | {rate} | {cpu}", broker.name).expect("a String takes all");
        for spread in &broker.latencies {
            write!(table, " | {}", spread.show(2)).expect("as above");
        }
        table.push('\n');
    }
    for pair in measured.chunks_exact(2) {
        let (sedge, kafka) = (&pair[0], &pair[1]);
        if !plan.with_kafka {
            break;
        }
        let rate = sedge.rate.median() / kafka.rate.median();
        let cpu = sedge.cpu.median() / kafka.cpu.median();
        writeln!(
            table,
            "{} / {}: {rate:.2} times, {cpu:.2} of the CPU",
            sedge.name, kafka.name
        )
        .expect("as above");
    }
    for broker in &mut measured {
        broker.check();
        broker.peer.terminate();
    }
    table
}

/// Starts sedge with either durability, each followed by Apache Kafka with the same.
fn peers(directory: &TempDir, with_kafka: bool) -> Vec<(String, Peer)> {
    let mut peers = Vec::new();
    let flushes: &[(&str, &str)] = &[("log.flush.interval.messages", "1")];
    for (durability, settings) in [("interval", &[] as &[_]), ("sync", flushes)] {
        let directory = directory.join(durability);
        let peer = Peer::sedge(&directory, durability);
        peers.push((format!("{}, {durability}", peer.name()), peer));
        if with_kafka {
            let peer = Peer::kafka_set(&directory, settings);
            peers.push((format!("{}, {durability}", peer.name()), peer));
        }
    }
    peers
}

impl Measured {
    fn new(name: String, peer: Peer, producers: usize) -> Self {
        let mut connection = Connection::open(&peer.bootstrap());
        wire::create_topic(&mut connection, TOPIC, RECORDS.len() as i32, &[]);
        for partition in 0..RECORDS.len() as i32 {
            wire::wait_leader(&mut connection, TOPIC, partition);
        }
        let producers = (0..producers)
            .map(|number| Producer::open(&peer.bootstrap(), number))
            .collect();
        Self {
            name,
            peer,
            producers,
            rate: Spread::default(),
            cpu: Spread::default(),
            latencies: Default::default(),
        }
    }

    /// Runs all producers for `time`.
    fn transact(&mut self, time: Duration) -> Outcome {
        let mut total = Outcome::default();
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .producers
                .iter_mut()
                .map(|producer| scope.spawn(move || producer.transact(time)))
                .collect();
            for thread in threads {
                total.merge(thread.join().expect("each transaction is committed"));
            }
        });
        total
    }

    /// Checks that the partitions have the records of each committed transaction and its marker.
    fn check(&self) {
        let committed: i64 = self.producers.iter().map(|producer| producer.ended).sum();
        let mut connection = Connection::open(&self.peer.bootstrap());
        for (partition, records) in RECORDS.iter().enumerate() {
            let deadline = Instant::now() + limits::CONDITION;
            // The first record is that by which the leader was awaited.
            let expected = 1 + committed * (*records as i64 + 1);
            loop {
                // Apache Kafka writes markers after it has answered.
                let answer = wire::fetch(&mut connection, TOPIC, partition as i32, 0);
                if answer.high_watermark == expected {
                    break;
                }
                let end = answer.high_watermark;
                assert!(
                    Instant::now() < deadline,
                    "{}: partition {partition} ends at {end}, not {expected}",
                    self.name
                );
                std::thread::sleep(limits::POLL);
            }
        }
    }
}

/// A producer with its transactional id.
struct Producer {
    connection: Connection,
    transactional_id: KafkaString,
    id: i64,
    epoch: i16,
    /// Transactions that it has committed.
    ended: i64,
}

impl Producer {
    /// Opens a producer, as soon as its transactions have a coordinator.
    fn open(bootstrap: &str, number: usize) -> Self {
        let mut connection = Connection::open(bootstrap);
        let transactional_id = KafkaString::from(format!("bench-{number}"));
        let transactions = Coordinated::Transactions(transactional_id.as_str());
        let answer = transactions.wait(&mut connection, |connection| {
            let request = InitProducerIdRequestData::default()
                .with_transactional_id(Some(transactional_id.clone()))
                .with_transaction_timeout_ms(60_000)
                .with_producer_id(-1)
                .with_producer_epoch(-1);
            let answer = ask!(connection, InitProducerId 5, request => InitProducerIdResponseData);
            match answer.error_code {
                error::NONE => Ok(answer),
                code => Err(code),
            }
        });
        Self {
            connection,
            transactional_id,
            id: answer.producer_id,
            epoch: answer.producer_epoch,
            ended: 0,
        }
    }

    fn transact(&mut self, time: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        let began = Instant::now();
        while began.elapsed() < time {
            let asked = Instant::now();
            let bytes = self.produce();
            self.end();
            outcome.note(asked.elapsed(), bytes);
        }
        outcome.took = began.elapsed();
        outcome
    }

    /// Produces the records of a transaction by one request. Returns their bytes.
    fn produce(&mut self) -> usize {
        let partitions = RECORDS.iter().enumerate().map(|(index, records)| {
            let batch = Batch {
                attributes: IS_TRANSACTIONAL,
                producer_id: self.id,
                producer_epoch: self.epoch,
                base_sequence: 0,
                ..Batch::filled(*records, RECORD_BYTES)
            };
            PartitionProduceData::default()
                .with_index(index as i32)
                .with_records(Some(Bytes::from(batch.encode())))
        });
        let mut rest: Vec<PartitionProduceData> = partitions.collect();
        let bytes = rest
            .iter()
            .filter_map(|of| of.records.as_ref())
            .map(Bytes::len)
            .sum();
        // Partitions that are still in the last transaction are asked again, the others not.
        loop {
            let topic = TopicProduceData::default()
                .with_name(KafkaString::from_static(TOPIC))
                .with_partition_data(rest.clone());
            let request = ProduceRequestData::default()
                .with_transactional_id(Some(self.transactional_id.clone()))
                .with_acks(-1)
                .with_timeout_ms(30_000)
                .with_topic_data(vec![topic]);
            let answer = ask!(&mut self.connection, Produce 12, request => ProduceResponseData);
            let answers = answer
                .responses
                .iter()
                .flat_map(|of| &of.partition_responses);
            for of in answers {
                match of.error_code {
                    error::NONE => rest.retain(|partition| partition.index != of.index),
                    CONCURRENT_TRANSACTIONS => {}
                    code => panic!("produce to {TOPIC} {}: error {code}", of.index),
                }
            }
            if rest.is_empty() {
                return bytes;
            }
            std::thread::sleep(BACKOFF);
        }
    }

    /// Commits. The next transaction has the epoch that the answer gives.
    fn end(&mut self) {
        loop {
            let request = EndTxnRequestData::default()
                .with_transactional_id(self.transactional_id.clone())
                .with_producer_id(self.id)
                .with_producer_epoch(self.epoch)
                .with_committed(true);
            let answer = ask!(&mut self.connection, EndTxn 5, request => EndTxnResponseData);
            match answer.error_code {
                error::NONE => {
                    (self.id, self.epoch) = (answer.producer_id, answer.producer_epoch);
                    self.ended += 1;
                    return;
                }
                CONCURRENT_TRANSACTIONS => std::thread::sleep(BACKOFF),
                code => panic!("EndTxn: error {code}"),
            }
        }
    }
}
