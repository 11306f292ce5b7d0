//! Kills a broker while it filters with a state: the state is what a replay of the accepted records
//! gives. What was accepted is read from the log: the filter writes into each record the sum that
//! it had then.

use std::thread;
use std::time::Duration;

use sedge_tests::sedge::Options;
use sedge_tests::soak::{self, Random};
use sedge_tests::wire::{self, Batch, Connection, Decoder, PRODUCE_VERSION, Reply, error, key};
use sedge_tests::{http, limits, plugin, report};

use crate::support::{Place, REMEMBER};

const KILLS: usize = 4;
const KILLS_LONG: usize = 100;
const PARTITIONS: i32 = 2;
const KEYS: u64 = 5;
/// Batches that a producer has in flight.
const IN_FLIGHT: usize = 5;
/// Longest time until a kill: some hundred batches.
const RUN_MS_MAX: u64 = 150;
/// Records that fill a segment, so that the cleaner may compact what was in it.
const SEGMENT_RECORDS: usize = 12;
const SEGMENT_RECORD_BYTES: usize = 100_000;

/// An idempotent producer to one partition, which sends again what was not acknowledged.
struct Producer {
    partition: i32,
    /// The records sent, by key and number; each adds its number to its key.
    sent: Vec<(u64, u64)>,
    /// The acknowledged batches.
    acknowledged: usize,
    /// The batches whose records were compared with the log, and where the log goes on.
    compared: usize,
    compared_offset: i64,
}

/// Records of each batch.
fn len(of: usize) -> usize {
    1 + of % 4
}

/// Whether the filter drops the records of a batch. They change the state all the same.
fn is_dropped(batch: usize) -> bool {
    batch % 3 == 2
}

impl Producer {
    fn batch(&mut self, number: usize, random: &mut Random) -> Vec<u8> {
        let from: usize = (0..number).map(len).sum();
        while self.sent.len() < from + len(number) {
            self.sent
                .push((random.below(KEYS), 1 + random.below(1_000)));
        }
        let dropped = if is_dropped(number) { "\ndrop" } else { "" };
        let records = &self.sent[from..from + len(number)];
        let values = records
            .iter()
            .map(|(key, number)| format!("sum {key} {number}{dropped}").into_bytes());
        Batch {
            producer_id: i64::from(1_000 + self.partition),
            producer_epoch: 0,
            base_sequence: from as i32,
            ..Batch::of(&values.collect::<Vec<_>>())
        }
        .encode()
    }

    /// Sends batches until `target` of them are acknowledged, or the broker is gone.
    fn run(&mut self, at: &mut Connection, random: &mut Random, target: usize) {
        let mut next = self.acknowledged;
        while self.acknowledged < target {
            while next < target.min(self.acknowledged + IN_FLIGHT) {
                let batch = self.batch(next, random);
                let body = wire::produce_request("t", self.partition, -1, &batch);
                let number = next as i32;
                at.send_raw(&wire::frame(key::PRODUCE, PRODUCE_VERSION, number, &body));
                next += 1;
            }
            let Reply::Frame(reply) = at.reply() else {
                return;
            };
            assert_eq!(Decoder(&reply).i32(), self.acknowledged as i32);
            let produced = wire::produced(&reply[4..]);
            assert_eq!(produced.error, error::NONE, "{produced:?}");
            self.acknowledged += 1;
        }
    }

    /// Replays the first `batches` batches. Returns the sums of the keys after them, and what the
    /// log has of those that were not compared yet.
    fn replay(&self, batches: usize) -> (Vec<u64>, Vec<u64>) {
        let mut sums = vec![0; KEYS as usize];
        let mut logged = Vec::new();
        let mut records = self.sent.iter();
        for batch in 0..batches {
            for (key, number) in records.by_ref().take(len(batch)) {
                let sum = &mut sums[*key as usize];
                *sum += number;
                if batch >= self.compared && !is_dropped(batch) {
                    logged.push(*sum);
                }
            }
        }
        (sums, logged)
    }

    /// Compares the log and the state with a replay of what may have been accepted. Returns the
    /// number of batches that were: the same one explains both.
    fn compare(&mut self, at: &mut Connection) -> usize {
        let (logged, end) = numbers(at, self.partition, self.compared_offset);
        let (state, end) = sums(at, self.partition, end);
        let unanswered = self.acknowledged..=self.acknowledged + IN_FLIGHT;
        let mut possible = unanswered.filter(|batches| *batches >= self.compared);
        let is_so = |batches: &usize| self.replay(*batches) == (state.clone(), logged.clone());
        let Some(accepted) = possible.find(is_so) else {
            let expected = self.acknowledged..=self.acknowledged + IN_FLIGHT;
            panic!(
                "partition {} has the state {state:?} and, from offset {}, {logged:?}; none of \
                 these: {:?}",
                self.partition,
                self.compared_offset,
                expected.map(|of| self.replay(of)).collect::<Vec<_>>()
            )
        };
        (self.compared, self.compared_offset) = (accepted, end);
        accepted
    }
}

/// Returns the numbers that the log of a partition has from an offset on, and its end.
fn numbers(at: &mut Connection, partition: i32, from: i64) -> (Vec<u64>, i64) {
    let (mut numbers, mut end) = (Vec::new(), from);
    loop {
        let fetched = wire::fetch(at, "t", partition, end);
        assert_eq!(fetched.error, error::NONE);
        let Some(next) = wire::next_offset(&fetched.records) else {
            return (numbers, end);
        };
        end = next;
        let records = wire::records(&fetched.records).into_iter();
        numbers.extend(records.map(|record| {
            let text = String::from_utf8(record.value).expect("a text");
            text.parse::<u64>().unwrap_or(0)
        }));
    }
}

/// Asks the filter for the sums of all keys, without a trace in its state. The answer is behind
/// `end`, which is the end of the partition's log. Returns the end behind the answer, too.
fn sums(at: &mut Connection, partition: i32, end: i64) -> (Vec<u64>, i64) {
    let asked: Vec<Vec<u8>> = (0..KEYS)
        .map(|key| format!("get {key}").into_bytes())
        .collect();
    let produced = wire::produce(at, "t", partition, &Batch::of(&asked).encode());
    assert_eq!(produced.error, error::NONE, "{produced:?}");
    numbers(at, partition, end)
}

#[test]
fn after_a_kill_the_state_is_that_of_the_accepted_records() {
    let mut random = Random::new();
    report::line(format_args!("SEDGE_SEED={}", random.seed()));
    // Small segments, so that the cleaner rewrites the state while the broker is killed.
    let options = Options::default()
        .set("sedge.segment.bytes", "1048576")
        .set("log.cleaner.backoff.ms", "20")
        .set("log.retention.check.interval.ms", "100");
    let mut place = Place::start("state-kills", options);
    place.deploy("memory", REMEMBER);
    let mut at = place.connect();
    wire::create_topic(&mut at, "t", PARTITIONS, &[("sedge.filter", "memory")]);
    wire::create_topic(&mut at, "other", 1, &[]);
    plugin::wait_taken(&mut at, "t", b"drop");
    let mut producers: Vec<_> = (0..PARTITIONS)
        .map(|partition| Producer {
            partition,
            sent: Vec::new(),
            acknowledged: 0,
            compared: 0,
            compared_offset: 0,
        })
        .collect();
    let kills = if soak::is_long() { KILLS_LONG } else { KILLS };
    let (mut unanswered, mut compacted) = (0, 0.0);
    for kill in 0..kills {
        for _ in 0..SEGMENT_RECORDS {
            let filling = Batch::filled(1, SEGMENT_RECORD_BYTES).encode();
            let produced = wire::produce(&mut at, "other", 0, &filling);
            assert_eq!(produced.error, error::NONE, "{produced:?}");
        }
        let address = place.sedge.bootstrap();
        thread::scope(|scope| {
            for producer in &mut producers {
                let mut random = Random::of(random.below(u64::MAX));
                let mut at = Connection::patient(&address, limits::COMMAND);
                scope.spawn(move || producer.run(&mut at, &mut random, usize::MAX));
            }
            thread::sleep(Duration::from_millis(random.below(RUN_MS_MAX)));
            compacted += http::metric(place.sedge.console(), "sedge_cleaner_compactions_total");
            place.sedge.kill();
        });
        if kill % 4 == 3 {
            std::fs::remove_dir_all(place.sedge.data().join("views")).expect("views");
        }
        place.sedge.start_again();
        at = Connection::patient(&place.sedge.bootstrap(), limits::COMMAND);
        for producer in &mut producers {
            unanswered += producer.compare(&mut at) - producer.acknowledged;
        }
    }
    // What was in flight is sent again, and is answered as if nothing had happened.
    let mut written = 0;
    for producer in &mut producers {
        let target = producer.acknowledged + 2 * IN_FLIGHT;
        producer.run(&mut at, &mut random, target);
        assert_eq!(producer.compare(&mut at), target);
        written += target;
    }
    report::line(format_args!(
        "{kills} kills, {written} batches, {unanswered} of them written and not answered by a \
         kill, {compacted} compactions"
    ));
}
