//! A link against an upstream that fails, loses replies, delivers late and forgets, over restarts
//! that resume from the last committed cursor. Seeded: `SEDGE_SEED=N` runs one seed.
//!
//! Checked: every record arrives, first arrivals are in the log's order, and where there was no
//! restart and no forgotten producer, every record arrives once.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::{Offset, PartitionId, ProducerEpoch, ProducerId};

use super::stamp::advance;
use super::tests::{batch_at, limits};
use super::*;

const SEEDS: u64 = 300;
const STEPS: usize = 400;
const PARTITIONS: u32 = 3;

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

/// One upstream partition, with what Kafka remembers of producers.
#[derive(Default)]
struct Upstream {
    arrived: Vec<i64>,
    producers: BTreeMap<i64, VecDeque<(i32, i32)>>,
}

impl Upstream {
    fn append(&mut self, header: &BatchHeader, base: Offset) -> ErrorCode {
        let id = header.producer_id().unwrap().get();
        let first = header.base_sequence();
        let last = advance(first, header.record_count() - 1);
        let remembered = self.producers.entry(id).or_default();
        if remembered.contains(&(first, last)) {
            return ErrorCode::DuplicateSequenceNumber;
        }
        // A producer that is not known may begin anywhere.
        if remembered
            .back()
            .is_some_and(|(_, last)| advance(*last, 1) != first)
        {
            return ErrorCode::OutOfOrderSequenceNumber;
        }
        remembered.push_back((first, last));
        if remembered.len() > BATCHES_IN_FLIGHT_MAX {
            remembered.pop_front();
        }
        self.arrived
            .extend(base.get()..base.get() + i64::from(header.record_count()));
        ErrorCode::None
    }
}

struct World {
    random: Random,
    link: Link,
    now_ms: u64,
    /// Batch boundaries of each local partition: the end of each batch.
    local: BTreeMap<PartitionId, Vec<i64>>,
    upstream: BTreeMap<PartitionId, Upstream>,
    committed: BTreeMap<PartitionId, Offset>,
    /// The connection: sent and not delivered. A broken one may deliver late.
    connection: VecDeque<Outgoing>,
    broken: Vec<VecDeque<Outgoing>>,
    next_producer: i64,
    restarts: u32,
    forgotten: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let partitions = || (0..PARTITIONS).map(PartitionId);
        let mut world = Self {
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            link: Link::new(limits()),
            now_ms: 0,
            local: partitions().map(|p| (p, Vec::new())).collect(),
            upstream: partitions().map(|p| (p, Upstream::default())).collect(),
            committed: BTreeMap::new(),
            connection: VecDeque::new(),
            broken: Vec::new(),
            next_producer: 1,
            restarts: 0,
            forgotten: 0,
        };
        world.open_all();
        world
    }

    fn end(&self, partition: PartitionId) -> Offset {
        Offset(self.local[&partition].last().copied().unwrap_or(0))
    }

    fn open_all(&mut self) {
        for partition in (0..PARTITIONS).map(PartitionId) {
            let position = Position {
                cursor: self.committed.get(&partition).copied(),
                log_start: Offset::ZERO,
                high_watermark: self.end(partition),
            };
            self.link.open(partition, position);
        }
    }

    fn produce(&mut self) {
        let partition = PartitionId(self.random.below(PARTITIONS.into()) as u32);
        let count = 1 + self.random.below(4) as i64;
        let end = self.end(partition).plus(count);
        self.local.get_mut(&partition).unwrap().push(end.get());
        self.link.handle_bounds(partition, Offset::ZERO, end);
    }

    fn read(&mut self) {
        if self.link.needs_producer() {
            self.link
                .handle_producer(ProducerId(self.next_producer), ProducerEpoch(0));
            self.next_producer += 1;
        }
        while let Some(read) = self.link.poll_read(self.now_ms) {
            let ends = &self.local[&read.partition];
            let at = ends.partition_point(|end| *end <= read.from.get());
            let mut base = if at == 0 { 0 } else { ends[at - 1] };
            let mut batches = Vec::new();
            for end in &ends[at..] {
                batches.push(batch_at(base, end - base));
                base = *end;
            }
            let sent = self.link.handle_read(&read, batches, self.now_ms);
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

    fn arrive(&mut self, sent: &Outgoing) -> ErrorCode {
        let upstream = self.upstream.get_mut(&sent.partition).unwrap();
        upstream.append(&sent.batch.header, sent.base)
    }

    /// The upstream takes the next request and answers.
    fn deliver(&mut self) {
        let Some(sent) = self.connection.pop_front() else {
            return;
        };
        let code = match self.random.below(15) {
            // Not appended, and what is behind it goes wrong.
            0 => ErrorCode::NotEnoughReplicas,
            1 => {
                self.arrive(&sent);
                ErrorCode::NotEnoughReplicasAfterAppend
            }
            _ => self.arrive(&sent),
        };
        let outcome = Outcome::Answered(code);
        self.tell(&sent, outcome);
    }

    /// The connection breaks: everything in it has no answer, and some of it may arrive later.
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
            self.arrive(&sent);
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

    /// kill -9: what is in the connection may still arrive.
    fn restart(&mut self) {
        self.restarts += 1;
        let lost = core::mem::take(&mut self.connection);
        self.broken.push(lost);
        self.link = Link::new(limits());
        self.open_all();
    }

    /// The upstream forgets idle producers.
    fn forget(&mut self) {
        if self.connection.is_empty() && self.link.bytes_in_flight() == 0 {
            self.broken.clear();
            self.now_ms += PRODUCER_IDLE_MS;
            self.forgotten += 1;
            for upstream in self.upstream.values_mut() {
                upstream.producers.clear();
            }
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..30 => self.produce(),
            30..50 => self.read(),
            50..85 => self.deliver(),
            85..88 => self.cut(),
            88..91 => self.deliver_late(),
            91..97 => self.commit(),
            97 => self.restart(),
            98 => self.forget(),
            _ => self.now_ms += self.random.below(400),
        }
    }

    fn settle(&mut self) {
        let mut rounds = 0;
        while self.link.lag() > 0 {
            self.now_ms += 500;
            self.read();
            while let Some(sent) = self.connection.pop_front() {
                let code = self.arrive(&sent);
                self.tell(&sent, Outcome::Answered(code));
            }
            rounds += 1;
            assert!(rounds < 10_000, "the link does not catch up");
        }
    }

    fn check(&self) {
        for (partition, upstream) in &self.upstream {
            let end = self.end(*partition).get();
            let mut first_arrivals = Vec::new();
            let mut seen = alloc::collections::BTreeSet::new();
            for record in &upstream.arrived {
                if seen.insert(*record) {
                    first_arrivals.push(*record);
                }
            }
            assert_eq!(
                first_arrivals,
                (0..end).collect::<Vec<_>>(),
                "{partition}: lost or out of order"
            );
            if self.restarts == 0 && self.forgotten == 0 {
                assert_eq!(upstream.arrived.len() as i64, end, "{partition}: twice");
            }
        }
        assert_eq!(self.link.bytes_in_flight(), 0);
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
                50..85 => world.deliver(),
                85..88 => world.cut(),
                88..91 => world.deliver_late(),
                91..96 => world.commit(),
                _ => world.now_ms += world.random.below(400),
            }
        }
    }
    world.settle();
    world.check();
}

#[test]
fn nothing_is_lost_and_order_is_kept() {
    let one = std::env::var("SEDGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = one.map_or(1..SEEDS + 1, |seed: u64| seed..seed + 1);
    for seed in seeds {
        for with_restarts in [true, false] {
            let result = std::panic::catch_unwind(|| run(seed, with_restarts));
            assert!(
                result.is_ok(),
                "failed, restarts {with_restarts}; replay: SEDGE_SEED={seed} cargo test -p sedge-core mirror"
            );
        }
    }
}
