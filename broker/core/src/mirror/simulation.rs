//! Simulates a link against an upstream that fails, loses replies, delivers late and forgets
//! producers, over restarts that resume from the last committed cursor. Local topics are deleted
//! and created again; retention and compaction remove batches. Seeded: `SEDGE_SEED=N` runs one
//! seed, `SEDGE_SEEDS=N` the first N.
//!
//! Checks that every record below a cursor arrives unless retention or compaction removed it, that
//! first arrivals are in the log's order, and that, without restarts and forgotten producers, every
//! record arrives once. Half of the links join small batches, some of them after a linger; one
//! upstream partition refuses large ones. A third of the links has a budget and classes: records of
//! one partition may be left out when they are late.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId, ProducerEpoch, ProducerId};
use sedge_protocol::records::{Compacted, Compression, Records, decompress};

mod exactly_once;

use super::stamp::advance;
use super::tests::{batch_at, limits};
use super::*;

const SEEDS: u64 = 300;
const STEPS: usize = 400;
const PARTITIONS: u32 = 3;
/// Records of the largest batch that the last partition upstream accepts.
const RECORDS_MAX: i32 = 6;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}

/// Returns the limits of the link of a seed.
fn limits_of(seed: u64) -> Limits {
    let [no, few, many] = [0, 100, 600];
    let batch_bytes = [no, many, few, many, no, few][(seed % 6) as usize];
    Limits {
        linger_ms: if seed.is_multiple_of(4) { 60 } else { 0 },
        packing: Packing {
            batch_bytes,
            compression: (batch_bytes == many).then_some(Compression::Lz4),
        },
        ..limits()
    }
}

/// How old records of the last partition may become on links with classes.
const DEADLINE_MS: u64 = 20_000;

const fn has_budget(seed: u64) -> bool {
    seed.is_multiple_of(3)
}

/// Returns the link of a seed.
fn link_of(seed: u64, now_ms: u64) -> Link {
    let mut link = Link::new(limits_of(seed));
    if has_budget(seed) {
        let budget = Budget {
            bytes_per_s: Some(3_000),
            ..Budget::default()
        };
        link.use_budget(Meter::new(budget, Spent::default(), now_ms));
    }
    link
}

/// Returns the class of a partition upstream.
fn class_of(seed: u64, twin: u32) -> Class {
    let priority = Priority::ALL[twin as usize % 3];
    let is_last = has_budget(seed) && twin + 1 == PARTITIONS;
    Class {
        priority: if has_budget(seed) {
            priority
        } else {
            Priority::Normal
        },
        deadline_ms: is_last.then_some(DEADLINE_MS),
    }
}

/// Returns whether a record may have been left out until now.
fn may_be_late(seed: u64, twin: u32, record: i64, now_ms: u64) -> bool {
    // The timestamp, as `batch_at` has it.
    let deadline_ms = class_of(seed, twin).deadline_ms;
    deadline_ms.is_some_and(|deadline_ms| 1000 + record + (deadline_ms as i64) < now_ms as i64)
}

/// Returns the local offsets of the records of a batch, which are their values.
fn records_of(batch: &Batch) -> Vec<i64> {
    let body = decompress(&batch.header, &batch.body, 1 << 20).unwrap();
    let value = |value: &[u8]| core::str::from_utf8(value).unwrap().parse().unwrap();
    let records = Records::new(&batch.header, &body).map(Result::unwrap);
    records.map(|record| value(record.value.unwrap())).collect()
}

/// A record: the local partition that had it, and its offset there.
type Name = (PartitionId, i64);

/// One upstream partition, with what Kafka remembers of producers.
#[derive(Default)]
struct Upstream {
    arrived: Vec<Name>,
    /// First and last sequence and offset of the newest batches of each producer.
    producers: BTreeMap<i64, VecDeque<(i32, i32, i64)>>,
    /// Records of the deleted upstream topics of this name.
    gone: Vec<Name>,
    is_again: bool,
    records_max: i32,
}

impl Upstream {
    /// Appends a batch or recognises it as a duplicate. Returns its offset in both cases, as Kafka
    /// does.
    fn append(&mut self, sent: &Outgoing) -> Result<i64, ErrorCode> {
        let header = &sent.batch.header;
        let id = header.producer_id().unwrap().get();
        let first = header.base_sequence();
        let last = advance(first, header.record_count() - 1);
        let remembered = self.producers.entry(id).or_default();
        let known = remembered
            .iter()
            .find(|known| (known.0, known.1) == (first, last));
        if let Some((.., offset)) = known {
            return Ok(*offset);
        }
        // An unknown producer may begin at any sequence.
        if remembered
            .back()
            .is_some_and(|(_, last, _)| advance(*last, 1) != first)
        {
            return Err(ErrorCode::OutOfOrderSequenceNumber);
        }
        if header.record_count() > self.records_max {
            return Err(ErrorCode::MessageTooLarge);
        }
        let offset = self.arrived.len() as i64;
        remembered.push_back((first, last, offset));
        if remembered.len() > BATCHES_IN_FLIGHT_MAX {
            remembered.pop_front();
        }
        let records = records_of(&sent.batch).into_iter();
        self.arrived.extend(records.map(|n| (sent.partition, n)));
        Ok(offset)
    }

    /// Deletes the topic and creates it again.
    fn create_again(&mut self) {
        self.gone.append(&mut self.arrived);
        self.is_again = true;
        self.producers.clear();
    }

    fn ever_arrived(&self) -> impl Iterator<Item = Name> + '_ {
        self.gone.iter().chain(&self.arrived).copied()
    }
}

/// A local partition.
struct Local {
    /// Its upstream number, shared by topics that were created again.
    twin: u32,
    log_start: i64,
    /// Each batch: base, end, and whether compaction left records in it.
    batches: Vec<(i64, i64, bool)>,
    /// The cursor when the topic was deleted.
    closed_at: Option<i64>,
    /// Retention or compaction removed a batch whose arrival the link may not have known; records
    /// behind it may arrive twice.
    is_thinned: bool,
}

impl Local {
    const fn new(twin: u32) -> Self {
        Self {
            twin,
            log_start: 0,
            batches: Vec::new(),
            closed_at: None,
            is_thinned: false,
        }
    }

    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |(_, end, _)| *end)
    }
}

/// Builds a batch that compaction left without records.
fn emptied(base: i64, records: i64) -> Batch {
    let whole = batch_at(base, records);
    Compacted::new(&whole.header, None).build().unwrap()
}

struct World {
    random: Random,
    link: Link,
    seed: u64,
    now_ms: u64,
    local: BTreeMap<PartitionId, Local>,
    /// The local partition that is sent to each upstream partition.
    current: Vec<PartitionId>,
    upstream: Vec<Upstream>,
    committed: BTreeMap<PartitionId, Offset>,
    /// Requests sent and not delivered. A broken connection may deliver late.
    connection: VecDeque<Outgoing>,
    broken: Vec<VecDeque<Outgoing>>,
    next_producer: i64,
    /// Restarts, forgotten producers, upstream topics created again: after these a record may
    /// arrive twice.
    interruptions: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let twins = 0..PARTITIONS;
        let mut world = Self {
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            link: link_of(seed, 0),
            seed,
            now_ms: 0,
            local: twins
                .clone()
                .map(|p| (PartitionId(p), Local::new(p)))
                .collect(),
            current: twins.clone().map(PartitionId).collect(),
            upstream: twins
                .map(|twin| Upstream {
                    records_max: if twin == 2 { RECORDS_MAX } else { i32::MAX },
                    ..Upstream::default()
                })
                .collect(),
            committed: BTreeMap::new(),
            connection: VecDeque::new(),
            broken: Vec::new(),
            next_producer: 1,
            interruptions: 0,
        };
        world.open_all();
        world
    }

    fn open(&mut self, partition: PartitionId) {
        let local = &self.local[&partition];
        let position = Position {
            cursor: self.committed.get(&partition).copied(),
            is_moved: false,
            is_forgotten: false,
            log_start: Offset(local.log_start),
            high_watermark: Offset(local.end()),
        };
        let class = class_of(self.seed, local.twin);
        self.link.open(partition, position);
        self.link.classify(partition, class);
    }

    fn open_all(&mut self) {
        for partition in self.current.clone() {
            self.open(partition);
        }
    }

    fn any(&mut self) -> PartitionId {
        self.current[self.random.below(PARTITIONS.into()) as usize]
    }

    fn produce(&mut self) {
        let partition = self.any();
        let count = 1 + self.random.below(4) as i64;
        let local = self.local.get_mut(&partition).unwrap();
        let end = local.end();
        local.batches.push((end, end + count, true));
        self.look_at_bounds(partition);
    }

    fn look_at_bounds(&mut self, partition: PartitionId) {
        let local = &self.local[&partition];
        let (log_start, end) = (Offset(local.log_start), Offset(local.end()));
        self.link
            .handle_bounds(partition, log_start, end, self.now_ms);
    }

    /// Lets retention remove batches of a partition.
    fn retain(&mut self) {
        let partition = self.any();
        let upto = self.random.next() as usize;
        let local = self.local.get_mut(&partition).unwrap();
        let oldest = local
            .batches
            .partition_point(|(base, ..)| *base < local.log_start);
        if let Some((_, end, _)) = local.batches.get(oldest + upto % 3) {
            local.log_start = *end;
            local.is_thinned = true;
            self.look_at_bounds(partition);
        }
    }

    /// Lets compaction remove the records of a batch; its offsets stay.
    fn compact(&mut self) {
        let partition = self.any();
        let chosen = self.random.next() as usize;
        let local = self.local.get_mut(&partition).unwrap();
        let count = local.batches.len();
        if count > 1 {
            local.batches[chosen % (count - 1)].2 = false;
            local.is_thinned = true;
        }
    }

    /// Deletes the topic and creates it again.
    fn create_again(&mut self) {
        let partition = self.any();
        let local = self.local.get_mut(&partition).unwrap();
        local.closed_at = self.link.cursor(partition).map(Offset::get);
        let twin = local.twin;
        self.link.close(partition);
        let successor = PartitionId(self.local.len() as u32);
        self.local.insert(successor, Local::new(twin));
        self.current[twin as usize] = successor;
        self.open(successor);
    }

    /// Deletes the upstream topic and creates it again; requests in flight go to the new one.
    fn create_again_upstream(&mut self) {
        let twin = self.random.below(PARTITIONS.into()) as usize;
        self.upstream[twin].create_again();
        self.interruptions += 1;
    }

    fn read(&mut self) {
        self.link.handle_clock(self.now_ms, self.now_ms as i64);
        for partition in self.current.clone() {
            self.look_at_bounds(partition);
        }
        if self.link.needs_producer() {
            self.link
                .handle_producer(ProducerId(self.next_producer), ProducerEpoch(0));
            self.next_producer += 1;
        }
        while let Some(read) = self.link.poll_read(self.now_ms) {
            let batches = &self.local[&read.partition].batches;
            let at = batches.partition_point(|(_, end, _)| *end <= read.from.get());
            let batch = |(base, end, has_records): &(i64, i64, bool)| {
                if *has_records {
                    batch_at(*base, end - base)
                } else {
                    emptied(*base, end - base)
                }
            };
            let packed = pack(&read, batches[at..].iter().map(batch));
            let sent = self.link.handle_read(&read, packed, self.now_ms);
            self.connection.extend(sent);
        }
    }

    fn tell(&mut self, sent: &Outgoing, outcome: Outcome) {
        let random = self.random.next();
        let Outgoing {
            partition,
            generation,
            base,
            ..
        } = *sent;
        self.link
            .handle_outcome(partition, generation, base, outcome, self.now_ms, random);
    }

    fn arrive(&mut self, sent: &Outgoing) -> Result<i64, ErrorCode> {
        let twin = self.local[&sent.partition].twin;
        self.upstream[twin as usize].append(sent)
    }

    /// The upstream takes the next request and answers.
    fn deliver(&mut self) {
        let Some(sent) = self.connection.pop_front() else {
            return;
        };
        let answer = match self.random.below(15) {
            // The batch is not appended, and those behind it fail too.
            0 => Err(ErrorCode::NotEnoughReplicas),
            1 => {
                let _ = self.arrive(&sent);
                Err(ErrorCode::NotEnoughReplicasAfterAppend)
            }
            _ => self.arrive(&sent),
        };
        self.tell(&sent, outcome_of(answer));
    }

    /// Breaks the connection: no request in it is answered, and some may arrive later.
    fn cut(&mut self) {
        let lost = core::mem::take(&mut self.connection);
        for sent in &lost {
            self.tell(sent, Outcome::Lost);
        }
        self.broken.push(lost);
    }

    fn deliver_late(&mut self) {
        let Some(mut old) = self.broken.pop() else {
            return;
        };
        let count = self.random.below(old.len() as u64 + 1) as usize;
        for sent in old.drain(..count) {
            let _ = self.arrive(&sent);
        }
        if self.random.one_in(2) {
            self.broken.push(old);
        }
    }

    fn commit(&mut self) {
        let cursors = self.link.uncommitted();
        self.committed.extend(cursors.iter().copied());
        if !self.random.one_in(4) {
            self.link.handle_committed(&cursors);
        }
    }

    /// Restarts after kill -9: requests in the connection may still arrive.
    fn restart(&mut self) {
        self.interruptions += 1;
        let lost = core::mem::take(&mut self.connection);
        self.broken.push(lost);
        self.link = link_of(self.seed, self.now_ms);
        self.open_all();
    }

    /// The upstream forgets idle producers.
    fn forget(&mut self) {
        if self.connection.is_empty() && self.link.bytes_in_flight() == 0 {
            self.broken.clear();
            self.now_ms += PRODUCER_IDLE_MS;
            self.interruptions += 1;
            for upstream in &mut self.upstream {
                upstream.producers.clear();
            }
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..30 => self.produce(),
            30..50 => self.read(),
            50..80 => self.deliver(),
            80..83 => self.cut(),
            83..86 => self.deliver_late(),
            86..88 => self.create_again(),
            88 => self.retain(),
            89 => self.compact(),
            90..95 => self.commit(),
            95 => self.create_again_upstream(),
            96 => self.restart(),
            97 => self.forget(),
            _ => self.now_ms += self.random.below(400),
        }
    }

    fn settle(&mut self) {
        let mut rounds = 0;
        while self.link.lag() > 0 {
            self.now_ms += 500;
            self.read();
            while let Some(sent) = self.connection.pop_front() {
                let answer = self.arrive(&sent);
                self.tell(&sent, outcome_of(answer));
            }
            rounds += 1;
            assert!(rounds < 10_000, "the link does not catch up");
        }
    }

    fn check(&self) {
        for (partition, local) in &self.local {
            let upstream = &self.upstream[local.twin as usize];
            let arrived: Vec<i64> = upstream
                .ever_arrived()
                .filter(|(of, _)| of == partition)
                .map(|(_, record)| record)
                .collect();
            let mut first_arrivals = Vec::new();
            let mut seen = alloc::collections::BTreeSet::new();
            for record in &arrived {
                if seen.insert(*record) {
                    first_arrivals.push(*record);
                }
            }
            // Batches that retention removed may still arrive late, and a new upstream topic, which
            // knows no producer, accepts batches sent behind a refused one.
            let may_overtake = local.is_thinned || upstream.is_again;
            assert!(
                first_arrivals.is_sorted() || may_overtake,
                "{partition}: out of order"
            );
            let upto = local.closed_at.unwrap_or_else(|| local.end());
            let must = local.batches.iter().filter(|(base, _, has_records)| {
                *has_records && *base >= local.log_start && *base < upto
            });
            for record in must.flat_map(|(base, end, _)| *base..(*end).min(upto)) {
                let is_late = may_be_late(self.seed, local.twin, record, self.now_ms);
                let is_there = seen.contains(&record) || is_late;
                assert!(is_there, "{partition}: {record} is lost");
            }
            if self.interruptions == 0 && !local.is_thinned {
                assert_eq!(arrived.len(), seen.len(), "{partition}: twice");
            }
        }
        assert_eq!(self.link.bytes_in_flight(), 0);
    }
}

fn outcome_of(answer: Result<i64, ErrorCode>) -> Outcome {
    match answer {
        Ok(offset) => Outcome::Acknowledged(Some(Offset(offset))),
        Err(code) => Outcome::Refused(code),
    }
}

fn run(seed: u64, with_restarts: bool) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        if with_restarts {
            world.step();
        } else {
            match world.random.below(97) {
                0..30 => world.produce(),
                30..50 => world.read(),
                50..80 => world.deliver(),
                80..83 => world.cut(),
                83..86 => world.deliver_late(),
                86..88 => world.create_again(),
                88 => world.retain(),
                89 => world.compact(),
                90..96 => world.commit(),
                _ => world.now_ms += world.random.below(400),
            }
        }
    }
    world.settle();
    world.check();
}

/// Returns the seeds to run: `SEDGE_SEED`, or the first `SEDGE_SEEDS`.
fn seeds() -> core::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let most = number("SEDGE_SEEDS").unwrap_or(SEEDS);
    number("SEDGE_SEED").map_or(1..most + 1, |seed: u64| seed..seed + 1)
}

#[test]
fn nothing_is_lost_and_order_is_kept() {
    for seed in seeds() {
        for with_restarts in [true, false] {
            let result = std::panic::catch_unwind(|| run(seed, with_restarts));
            assert!(
                result.is_ok(),
                "failed, restarts {with_restarts}; replay: SEDGE_SEED={seed} cargo test -p sedge-core mirror"
            );
        }
    }
}
