//! Simulates exactly-once links against an upstream with transactions that fails, loses and delays
//! requests and answers, and aborts transactions that take too long. Links are killed; a second
//! instance of the same link is started by mistake, and both go on.
//!
//! The upstream is as careless as the oldest brokers: it does not ask whether a batch belongs to an
//! open transaction. Checks that a `read_committed` reader sees every record once, in the log's
//! order, unless retention, compaction or a skip removed it.

mod upstream;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{Offset, PartitionId, ProducerEpoch, ProducerId};
use sedge_protocol::records::RecordView;

use super::super::tests::batch_at;
use super::super::*;
use super::{Local, PARTITIONS, Random, STEPS, class_of, emptied, link_of, may_be_late, seeds};
use upstream::{Request, State, Upstream};

const PRODUCER: i64 = 9;

fn transaction_limits() -> TransactionLimits {
    TransactionLimits {
        gather_ms: 10,
        open_ms_min: 200,
        open_ms_max: 2000,
        bytes_max: 2000,
        partitions_max: 2,
    }
}

/// Returns how many partitions upstream the link of a seed spreads its records over; 0: each
/// partition has a twin.
const fn spread_of(seed: u64) -> u32 {
    [0, 2, 0, 5][(seed % 4) as usize]
}

/// A running instance of the link.
struct Instance {
    link: Link,
    epoch: Option<i16>,
    is_fenced: bool,
    connection: VecDeque<Request>,
    /// Cursors that are committed here, and whether they follow the upstream.
    here: BTreeMap<PartitionId, (Offset, bool)>,
    is_open: bool,
}

impl Instance {
    fn new(seed: u64, now_ms: u64, here: BTreeMap<PartitionId, (Offset, bool)>) -> Self {
        let mut link = link_of(seed, now_ms);
        link.use_transactions(transaction_limits());
        Self {
            link,
            epoch: None,
            is_fenced: false,
            connection: VecDeque::new(),
            here,
            is_open: false,
        }
    }
}

struct World {
    random: Random,
    seed: u64,
    now_ms: u64,
    local: BTreeMap<PartitionId, Local>,
    upstream: Upstream,
    /// The last is the one that is meant to run.
    instances: Vec<Instance>,
    /// Requests of broken connections and killed instances, which may arrive late.
    broken: Vec<VecDeque<Request>>,
    skipped: BTreeMap<PartitionId, Vec<(i64, i64)>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let partitions = (0..PARTITIONS).map(PartitionId);
        Self {
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            seed,
            now_ms: 0,
            local: partitions.map(|id| (id, Local::new(id.get()))).collect(),
            upstream: Upstream {
                spread: spread_of(seed),
                ..Upstream::default()
            },
            instances: [Instance::new(seed, 0, BTreeMap::new())].into(),
            broken: Vec::new(),
            skipped: BTreeMap::new(),
        }
    }

    fn any(&mut self) -> PartitionId {
        PartitionId(self.random.below(PARTITIONS.into()) as u32)
    }

    fn newest(&self) -> usize {
        self.instances.len() - 1
    }

    fn produce(&mut self) {
        let partition = self.any();
        let count = 1 + self.random.below(4) as i64;
        let local = self.local.get_mut(&partition).unwrap();
        let end = local.end();
        local.batches.push((end, end + count, true));
    }

    fn thin(&mut self) {
        let partition = self.any();
        let (chosen, is_retention) = (self.random.next() as usize, self.random.one_in(2));
        let local = self.local.get_mut(&partition).unwrap();
        let count = local.batches.len();
        if count < 2 {
            return;
        }
        if is_retention {
            let start = local.log_start;
            let oldest = local.batches.partition_point(|(base, ..)| *base < start);
            let last = (oldest + chosen % 3).min(count - 1);
            local.log_start = local.log_start.max(local.batches[last].1);
        } else {
            local.batches[chosen % (count - 1)].2 = false;
        }
    }

    /// Has an operator move a cursor up.
    fn skip(&mut self) {
        let partition = self.any();
        let at = self.newest();
        let local = &self.local[&partition];
        let end = local.end();
        let instance = &mut self.instances[at];
        // An operator looks first. What is being committed at that moment would be sent again.
        let is_quiet = instance.connection.is_empty() && !instance.link.needs_producer();
        let is_current = instance.epoch == Some(self.upstream.epoch);
        if !is_quiet || !is_current || !instance.is_open {
            return;
        }
        let from = instance.link.cursor(partition).unwrap().get();
        let to = from + self.random.below((end - from).max(0) as u64 + 1) as i64;
        instance.here.insert(partition, (Offset(to), false));
        self.skipped.entry(partition).or_default().push((from, to));
        if self.random.one_in(3) {
            self.restart();
        } else {
            self.instances[at].link.seek(partition, Offset(to));
        }
    }

    /// Begins, as far as the upstream can be reached.
    fn begin(&mut self, at: usize) {
        let instance = &mut self.instances[at];
        if !instance.link.needs_producer() || instance.is_fenced {
            return;
        }
        if let Some(epoch) = instance.epoch {
            let is_expected = self.upstream.timed_out == Some(epoch);
            if self.upstream.epoch != epoch && !is_expected {
                instance.is_fenced = true;
                return;
            }
        }
        if self.random.one_in(8) {
            return;
        }
        let epoch = self.upstream.init();
        if self.random.one_in(8) {
            // The answer is lost, and this instance may be fenced by itself.
            instance.epoch = None;
            return;
        }
        instance.epoch = Some(epoch);
        let cursors: Vec<_> = self.upstream.cursors.clone().into_iter().collect();
        let (id, epoch) = (ProducerId(PRODUCER), ProducerEpoch(epoch));
        instance.link.handle_begun(id, epoch, &cursors);
        if !core::mem::replace(&mut instance.is_open, true) {
            for (partition, local) in &self.local {
                let here = instance.here.get(partition).copied();
                let upstream = self.upstream.cursors.get(partition).copied();
                let (cursor, is_moved) = choose_cursor(here, upstream);
                let position = Position {
                    cursor,
                    is_moved,
                    is_forgotten: here.is_some_and(|(_, follows)| follows),
                    log_start: Offset(local.log_start),
                    high_watermark: Offset(local.end()),
                };
                instance.link.open(*partition, position);
                let class = class_of(self.seed, local.twin);
                instance.link.classify(*partition, class);
                let partitions = spread_of(self.seed);
                let spread = (partitions > 0).then_some(Spread {
                    topic: PartitionId(0),
                    index: partition.get(),
                    partitions,
                });
                instance.link.spread(*partition, spread);
            }
        }
    }

    /// Performs what the plan asks for.
    fn go_on(&mut self, at: usize) {
        self.begin(at);
        let instance = &mut self.instances[at];
        let wall_ms = self.now_ms as i64;
        instance.link.handle_clock(self.now_ms, wall_ms);
        for (partition, local) in &self.local {
            let (log_start, end) = (Offset(local.log_start), Offset(local.end()));
            instance
                .link
                .handle_bounds(*partition, log_start, end, self.now_ms);
        }
        let Some(epoch) = instance.epoch else {
            return;
        };
        match instance.link.poll_step(self.now_ms) {
            Some((round, step @ Step::Add { .. })) => {
                instance
                    .connection
                    .push_back(Request::Add { round, epoch, step });
            }
            Some((round, Step::Commit(cursors))) => {
                instance.connection.push_back(Request::Offsets {
                    round,
                    epoch,
                    cursors,
                });
            }
            None => {}
        }
        while let Some(read) = instance.link.poll_read(self.now_ms) {
            let batches = &self.local[&read.partition].batches;
            let first = batches.partition_point(|(_, end, _)| *end <= read.from.get());
            let batch = |(base, end, has_records): &(i64, i64, bool)| {
                let records = end - base;
                let has_records = *has_records;
                if has_records {
                    batch_at(*base, records)
                } else {
                    emptied(*base, records)
                }
            };
            let mut packed = pack(&read, batches[first..].iter().map(batch));
            if let Some(spread) = read.spread {
                for prepared in &mut packed {
                    let bytes = |it: &RecordView<'_>| {
                        it.value
                            .map_or(0, |it| it.iter().map(|b| u32::from(*b)).sum())
                    };
                    prepared.spread(|record| bytes(record) % spread.partitions);
                }
            }
            let sent = instance.link.handle_read(&read, packed, self.now_ms);
            instance
                .connection
                .extend(sent.into_iter().map(Request::Produce));
        }
    }

    fn answer(&mut self, at: usize, request: Request, answer: Result<i64, Option<ErrorCode>>) {
        let random = self.random.next();
        let instance = &mut self.instances[at];
        match request {
            Request::Produce(sent) => {
                let outcome = match answer {
                    Ok(offset) => Outcome::Acknowledged(Some(Offset(offset))),
                    Err(Some(code)) => Outcome::Refused(code),
                    Err(None) => Outcome::Lost,
                };
                let Outgoing {
                    partition,
                    generation,
                    base,
                    ..
                } = sent;
                let link = &mut instance.link;
                link.handle_outcome(partition, generation, base, outcome, self.now_ms, random);
            }
            Request::Offsets { round, epoch, .. } if answer.is_ok() => {
                instance.connection.push_back(Request::End { round, epoch });
            }
            Request::Add {
                round,
                step: Step::Add { partitions, .. },
                ..
            } if answer == Err(Some(ErrorCode::TopicAuthorizationFailed)) => {
                let first = partitions.into_iter().take(1);
                let refused = first.map(|id| (id, ErrorCode::TopicAuthorizationFailed));
                let outcome = StepOutcome::Refused(refused.collect());
                instance
                    .link
                    .handle_step(round, outcome, self.now_ms, random);
            }
            Request::Offsets { round, cursors, .. }
                if answer == Err(Some(ErrorCode::UnknownTopicOrPartition)) =>
            {
                let first = cursors.into_iter().take(1);
                let code = ErrorCode::UnknownTopicOrPartition;
                let refused = first.map(|it| (it.partition, code)).collect();
                let outcome = StepOutcome::Refused(refused);
                let (now_ms, link) = (self.now_ms, &mut instance.link);
                link.handle_step(round, outcome, now_ms, random);
            }
            Request::Add { round, .. }
            | Request::Offsets { round, .. }
            | Request::End { round, .. } => {
                let is_done = answer.is_ok();
                let outcome = if is_done {
                    StepOutcome::Done
                } else {
                    StepOutcome::Failed
                };
                instance
                    .link
                    .handle_step(round, outcome, self.now_ms, random);
            }
        }
    }

    /// The upstream takes the next request and answers.
    fn deliver(&mut self, at: usize, is_calm: bool) {
        let Some(request) = self.instances[at].connection.pop_front() else {
            return;
        };
        let answer = match (&request, self.random.below(30)) {
            (Request::Produce(_), 0) if !is_calm => Err(ErrorCode::NotEnoughReplicas),
            (Request::Produce(_), 1) if !is_calm => {
                let _ = self.upstream.take(&request);
                Err(ErrorCode::NotEnoughReplicasAfterAppend)
            }
            (Request::Produce(_), 2) if !is_calm => Err(ErrorCode::MessageTooLarge),
            (Request::Offsets { .. }, 0) if !is_calm => Err(ErrorCode::UnknownTopicOrPartition),
            (Request::Add { .. }, 0) if !is_calm => Err(ErrorCode::TopicAuthorizationFailed),
            _ => self.upstream.take(&request),
        };
        self.answer(at, request, answer.map_err(Some));
    }

    /// Breaks the connection: its requests may arrive now or later, and are not answered.
    fn cut(&mut self, at: usize) {
        let mut lost = core::mem::take(&mut self.instances[at].connection);
        let arrives = self.random.below(lost.len() as u64 + 1) as usize;
        for request in lost.iter().take(arrives) {
            let _ = self.upstream.take(request);
        }
        for request in lost.clone() {
            self.answer(at, request, Err(None));
        }
        lost.drain(..arrives);
        self.broken.push(lost);
    }

    fn deliver_late(&mut self) {
        if let Some(old) = self.broken.last_mut() {
            if let Some(request) = old.pop_front() {
                let _ = self.upstream.take(&request);
            } else {
                self.broken.pop();
            }
        }
    }

    fn commit(&mut self, at: usize) {
        let is_durable = !self.random.one_in(4);
        let instance = &mut self.instances[at];
        let cursors = instance.link.uncommitted();
        let follows = cursors.iter().map(|(id, offset)| (*id, (*offset, true)));
        instance.here.extend(follows);
        if is_durable {
            instance.link.handle_committed(&cursors);
        }
    }

    /// Starts the newest instance again after kill -9, or another one beside it.
    fn restart(&mut self) {
        let at = self.newest();
        let here = self.instances[at].here.clone();
        // An instance that was skipped past here must not know less than the operator.
        if self.random.one_in(3) && self.skipped.is_empty() {
            if self.instances.len() > 1 {
                self.kill(0);
            }
        } else {
            self.kill(at);
        }
        self.instances
            .push(Instance::new(self.seed, self.now_ms, here));
    }

    fn kill(&mut self, at: usize) {
        let killed = self.instances.remove(at);
        self.broken.push(killed.connection);
    }

    fn step(&mut self) {
        let at = self.random.below(self.instances.len() as u64) as usize;
        match self.random.below(100) {
            0..25 => self.produce(),
            25..50 => self.go_on(at),
            50..80 => self.deliver(at, false),
            80..83 => self.cut(at),
            83..87 => self.deliver_late(),
            87..90 => self.commit(at),
            90 => self.thin(),
            91 => self.restart(),
            92 => self.upstream.time_out(),
            // A link that is fenced tries again after a while.
            93 => self.instances[at].take_over(),
            94 if self.instances.len() == 1 => self.skip(),
            _ => self.now_ms += self.random.below(40),
        }
    }

    fn settle(&mut self) {
        while self.instances.len() > 1 {
            self.kill(0);
        }
        let mut rounds = 0;
        while !self.instances[0].is_open || self.instances[0].link.lag() > 0 {
            self.now_ms += 50;
            self.instances[0].take_over();
            self.go_on(0);
            self.commit(0);
            while !self.instances[0].connection.is_empty() {
                self.deliver(0, true);
            }
            rounds += 1;
            assert!(rounds < 100_000, "the link does not catch up");
        }
    }

    fn check(&self) {
        for (id, local) in &self.local {
            let mut all = BTreeSet::new();
            for there in self.upstream.partitions.values() {
                let is_of =
                    |it: &&((PartitionId, i64), State)| it.0.0 == *id && it.1 == State::Committed;
                let seen = there.records.iter().filter(is_of);
                let seen: Vec<i64> = seen.map(|((_, record), _)| *record).collect();
                let is_rising = seen.windows(2).all(|pair| pair[0] < pair[1]);
                assert!(is_rising, "{id}: twice, or out of order: {seen:?}");
                for record in seen {
                    assert!(all.insert(record), "{id}: {record} is in two partitions");
                }
            }
            let seen = all;
            let skips = self.skipped.get(id);
            let is_skipped = |record: i64| {
                let mut skips = skips.into_iter().flatten();
                skips.any(|(from, to)| (*from..*to).contains(&record))
            };
            let must = local.batches.iter();
            let must =
                must.filter(|(base, _, has_records)| *has_records && *base >= local.log_start);
            for record in must.flat_map(|(base, end, _)| *base..*end) {
                let is_late = may_be_late(self.seed, local.twin, record, self.now_ms);
                let is_there = seen.contains(&record) || is_skipped(record) || is_late;
                assert!(is_there, "{id}: {record} is lost");
            }
        }
        assert_eq!(self.instances[0].link.bytes_in_flight(), 0);
    }
}

impl Instance {
    /// Tries again without asking whether another instance runs.
    fn take_over(&mut self) {
        if core::mem::take(&mut self.is_fenced) {
            self.epoch = None;
        }
    }
}

fn run(seed: u64) -> Counts {
    let mut world = World::new(seed);
    for _ in 0..STEPS * 2 {
        world.step();
    }
    world.settle();
    world.check();
    world.instances[0].link.counts()
}

#[test]
fn every_record_arrives_once_in_order() {
    let mut committed = 0;
    for seed in seeds() {
        let result = std::panic::catch_unwind(|| run(seed));
        let counts = result.unwrap_or_else(|_| {
            panic!("failed; replay: SEDGE_SEED={seed} cargo test -p sedge-core mirror")
        });
        committed += counts.committed;
    }
    assert!(committed > 0);
}
