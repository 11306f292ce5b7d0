//! Kills a broker while it filters with a state: the state is that of the accepted records.

use std::thread;
use std::time::Duration;

use sedge_tests::sedge::Options;
use sedge_tests::soak::{self, Random};
use sedge_tests::wire::{self, Batch, Connection, Decoder, PRODUCE_VERSION, Reply, error, key};
use sedge_tests::{limits, plugin, report};

use crate::support::{Place, REMEMBER};

const KILLS: usize = 4;
const KILLS_LONG: usize = 100;
const PARTITIONS: i32 = 2;
const KEYS: u64 = 5;
/// Batches that a producer has in flight.
const IN_FLIGHT: usize = 5;
/// Longest time until a kill: some hundred batches.
const RUN_MS_MAX: u64 = 150;

/// An idempotent producer to one partition, which sends again what was not acknowledged.
struct Producer {
    partition: i32,
    /// The records sent, by key and number; each adds its number to its key.
    sent: Vec<(u64, u64)>,
    /// Of these, the acknowledged ones.
    acknowledged: usize,
}

/// Records of each batch; every third batch is one that the filter drops.
fn len(of: usize) -> usize {
    1 + of % 4
}

impl Producer {
    fn batch(&mut self, number: usize, random: &mut Random) -> Vec<u8> {
        let from: usize = (0..number).map(len).sum();
        while self.sent.len() < from + len(number) {
            self.sent
                .push((random.below(KEYS), 1 + random.below(1_000)));
        }
        let dropped = if number % 3 == 2 { "\ndrop" } else { "" };
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

    /// Returns the sums of the keys after the first `batches` batches.
    fn sums(&self, batches: usize) -> Vec<u64> {
        let records: usize = (0..batches).map(len).sum();
        let mut sums = vec![0; KEYS as usize];
        for (key, number) in self.sent.iter().take(records) {
            sums[*key as usize] += number;
        }
        sums
    }
}

/// Asks the filter for the sums of all keys, without a trace in its state. The answer is the last
/// record of the partition.
fn sums(at: &mut Connection, partition: i32) -> Vec<u64> {
    let asked: Vec<Vec<u8>> = (0..KEYS)
        .map(|key| format!("get {key}").into_bytes())
        .collect();
    let produced = wire::produce(at, "t", partition, &Batch::of(&asked).encode());
    assert_eq!(produced.error, error::NONE, "{produced:?}");
    let fetched = wire::fetch(at, "t", partition, produced.base_offset);
    let records = wire::records(&fetched.records);
    let sums = records.iter().rev().take(KEYS as usize).rev();
    sums.map(|record| {
        let text = std::str::from_utf8(&record.value).expect("a text");
        text.parse().unwrap_or(0)
    })
    .collect()
}

#[test]
fn after_a_kill_the_state_is_that_of_the_accepted_records() {
    let mut random = Random::new();
    report::line(format_args!("SEDGE_SEED={}", random.seed()));
    let mut place = Place::start("state-kills", Options::default());
    place.deploy("memory", REMEMBER);
    let mut at = place.connect();
    wire::create_topic(&mut at, "t", PARTITIONS, &[("sedge.filter", "memory")]);
    plugin::wait_taken(&mut at, "t", b"drop");
    let mut producers: Vec<_> = (0..PARTITIONS)
        .map(|partition| Producer {
            partition,
            sent: Vec::new(),
            acknowledged: 0,
        })
        .collect();
    let kills = if soak::is_long() { KILLS_LONG } else { KILLS };
    let mut unanswered = 0;
    for kill in 0..kills {
        let address = place.sedge.bootstrap();
        thread::scope(|scope| {
            for producer in &mut producers {
                let mut random = Random::of(random.below(u64::MAX));
                let mut at = Connection::patient(&address, limits::COMMAND);
                scope.spawn(move || producer.run(&mut at, &mut random, usize::MAX));
            }
            thread::sleep(Duration::from_millis(random.below(RUN_MS_MAX)));
            place.sedge.kill();
        });
        if kill % 4 == 3 {
            std::fs::remove_dir_all(place.sedge.data().join("views")).expect("views");
        }
        place.sedge.start_again();
        at = Connection::patient(&place.sedge.bootstrap(), limits::COMMAND);
        for producer in &producers {
            let found = sums(&mut at, producer.partition);
            let acknowledged = producer.acknowledged;
            let mut possible = acknowledged..=acknowledged + IN_FLIGHT;
            let is_at = possible.find(|batches| producer.sums(*batches) == found);
            let Some(is_at) = is_at else {
                panic!(
                    "partition {} has {found:?}, not what {acknowledged} to {} batches make: {:?} \
                     to {:?}",
                    producer.partition,
                    acknowledged + IN_FLIGHT,
                    producer.sums(acknowledged),
                    producer.sums(acknowledged + IN_FLIGHT)
                )
            };
            unanswered += is_at - acknowledged;
        }
    }
    // What was in flight is sent again, and is answered as if nothing had happened.
    let mut written = 0;
    for producer in &mut producers {
        let target = producer.acknowledged + 2 * IN_FLIGHT;
        producer.run(&mut at, &mut random, target);
        assert_eq!(sums(&mut at, producer.partition), producer.sums(target));
        written += target;
    }
    report::line(format_args!(
        "{kills} kills, {written} batches, {unanswered} of them written and not answered by a kill"
    ));
}
