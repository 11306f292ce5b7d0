//! A simulation: a controller on the real store, over a disk and views with injected faults. It
//! mixes commands, snapshots, other data, freed segments, crashes at any write, and lost or flipped
//! segments. In every case a start has the state of the model, or is refused. One lost segment
//! costs nothing if two copies exist and the segment held nothing else that is needed.

use std::collections::BTreeSet;
use std::sync::Arc;

use sedge_core::config::{BrokerDefaults, Place};
use sedge_core::machine::{Machine as _, Now};
use sedge_core::metadata::{Command, TopicName};
use sedge_protocol::ids::NodeId;
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::records::{BatchBuilder, Compression};
use sedge_storage::disk::Disk as _;
use sedge_storage::disk::memory::{Faults, Fuse, MemoryDisk};
use sedge_storage::views::Base;
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{Entry, Error, Options, SegmentId, Store, Urgency, open_with};

use super::*;
use crate::cli::doctor::metadata_repair::Direct;
use crate::log::views::HeaderReplay;
use crate::metadata::log as metadata_log;
use crate::metadata::replay::{self as metadata_replay, Replayed};

/// A partition of other topics' data, which fills segments.
const DATA: PartitionId = PartitionId(u32::MAX);

struct World {
    seed: u64,
    random: fastrand::Rng,
    disk: MemoryDisk,
    base: MemoryBase,
    options: Options,
    fuse: Fuse,
    /// The acknowledged state.
    model: MetadataMachine,
    /// The state with the command that was in progress at the crash, which may have been written.
    in_flight: Option<MetadataMachine>,
    started: Option<Snapshot>,
    topics_made: u64,
    snapshots: u64,
}

fn blank() -> MetadataMachine {
    MetadataMachine::new(NodeId(1), BrokerDefaults::default())
}

/// Renders all of the state.
fn seen(machine: &MetadataMachine) -> String {
    format!("{machine:?}")
}

/// Renders the state briefly, for a failure.
fn short(machine: &MetadataMachine) -> String {
    let topics = machine.image().topics();
    let topics = topics.map(|topic| {
        (
            topic.name.as_str(),
            topic.partition_count(),
            &topic.overrides,
        )
    });
    let topics: Vec<_> = topics.collect();
    let settings = machine.image().broker_configs(Place::AllBrokers);
    let ids = machine.snapshot().take(3).collect::<Vec<_>>();
    format!("{topics:?} {settings:?} {ids:?}")
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let options = Options {
            segment_bytes: 8 << (10 + random.u64(..3)),
            views_flush_bytes: 4 << (10 + random.usize(..4)),
            spare_segments_max: random.usize(..3),
            ..Options::default()
        };
        Self {
            seed,
            random,
            disk: MemoryDisk::new(),
            base: MemoryBase::new(),
            options,
            fuse: Fuse::default(),
            model: blank(),
            in_flight: None,
            started: None,
            topics_made: 0,
            snapshots: 0,
        }
    }

    fn run(&mut self) {
        for _ in 0..6 {
            let store = self.open();
            self.check(&store);
            self.fuse.set(i64::from(self.random.u32(..400)));
            if self.random.u8(..4) == 0 {
                let bytes = self.options.segment_bytes * self.random.u64(3..12);
                self.disk.set_faults(Faults {
                    capacity: Some(bytes),
                    ..Faults::default()
                });
            }
            for _ in 0..self.random.u32(..120) {
                if self.step(&store).is_err() || self.fuse.is_blown() {
                    break;
                }
            }
            drop(store);
            self.crash();
        }
        self.lose_segments();
    }

    fn open(&mut self) -> Store {
        self.fuse = Fuse::default();
        self.fuse.set(i64::MAX);
        self.disk.set_faults(Faults::default());
        self.disk.set_fuse(self.fuse.clone());
        self.base = self.base.clone().with_fuse(self.fuse.clone());
        open(&self.disk, &self.base, &self.options).expect("an undamaged disk is opened")
    }

    /// Checks that the state is the model's, with or without the command that was in progress.
    fn check(&mut self, store: &Store) {
        let found = restart(store).unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let found = found.machine;
        let is_ahead = |of: &MetadataMachine| seen(of) == seen(&found);
        if seen(&found) != seen(&self.model) {
            let is_there = self.in_flight.as_ref().is_some_and(is_ahead);
            let (found, wanted) = (short(&found), short(&self.model));
            assert!(
                is_there,
                "seed {}:\nfound  {found}\nwanted {wanted}",
                self.seed
            );
        }
        (self.model, self.in_flight) = (found, None);
        // The state that a start reads may only be in the page cache: it is acknowledged once
        // synced.
        store.sync().expect("nothing fails while it starts");
        // The started snapshot was in the memory of the killed process.
        self.started = None;
    }

    fn step(&mut self, store: &Store) -> Result<(), Error> {
        match self.random.u8(..20) {
            0..=9 => self.command(store),
            10..=12 => {
                let bytes = self.random.usize(..4_000);
                let mut builder = BatchBuilder::new(Compression::None);
                builder.push(0, None, Some(&vec![7; bytes]), &[]);
                let batches = vec![builder.build().unwrap()];
                let mut log = direct(store);
                survives(SnapshotLog::append(&mut log, DATA, batches).map(drop))
            }
            13 | 14 => self.snapshot(store),
            15 => refusable(store.roll()),
            16 => refusable(store.free_segments().map(drop)),
            17 => refusable(store.flush_views()),
            18 => self.sweep(store),
            _ => {
                let end = store.bounds(DATA)?.next_offset;
                survives(direct(store).move_log_starts(vec![(DATA, end)]))
            }
        }
    }

    fn command(&mut self, store: &Store) -> Result<(), Error> {
        let Some(command) = self.random_command() else {
            return Ok(());
        };
        let Ok(plan) = self.model.plan(Now::default(), command) else {
            return Ok(());
        };
        let mut after = self.model.clone();
        for record in &plan.records {
            after.apply(Offset::ZERO, record);
        }
        self.in_flight = Some(after);
        let batches = metadata_log::batches(&plan.records, 1).collect();
        match SnapshotLog::append(&mut direct(store), METADATA_PARTITION, batches) {
            Ok(_) => self.model = self.in_flight.take().expect("it was set above"),
            Err(SnapshotError::Store(refusal)) if refusal.is_refusal() => self.in_flight = None,
            failed => return survives(failed.map(drop)),
        }
        Ok(())
    }

    fn random_command(&mut self) -> Option<Command> {
        let topics = self.model.image().topics();
        let names: Vec<String> = topics.map(|topic| topic.name.clone()).collect();
        let name = (!names.is_empty()).then(|| names[self.random.usize(..names.len())].clone());
        Some(match (self.random.u8(..8), name) {
            (0 | 1, _) | (_, None) => {
                self.topics_made += 1;
                Command::CreateTopic {
                    name: format!("topic-{}", self.topics_made),
                    id: KafkaUuid::from_parts(self.seed, self.topics_made),
                    partitions: self.random.i32(1..4),
                    configs: Vec::new(),
                    validate_only: false,
                }
            }
            (2, Some(name)) => Command::DeleteTopic {
                topic: TopicName::Name(name),
            },
            (3, Some(name)) => Command::CreatePartitions {
                total: self.model.image().topic(&name)?.partition_count() + 1,
                name,
                assigned: None,
                validate_only: false,
            },
            (4, _) => Command::AllocateProducerIds { count: 1_000 },
            (5, _) => Command::BumpLeaderEpoch,
            (6, _) => Command::AlterBrokerConfigs {
                are_for_all: true,
                changes: vec![(
                    "log.retention.ms".into(),
                    Some(self.random.u8(..).to_string()),
                )],
            },
            (_, Some(name)) => Command::AlterTopicConfigs {
                name,
                changes: vec![("retention.ms".into(), Some(self.random.u8(..).to_string()))],
            },
        })
    }

    fn snapshot(&mut self, store: &Store) -> Result<(), Error> {
        let end_offset = store.bounds(METADATA_PARTITION)?.next_offset;
        let new = || Snapshot::new(self.model.clone(), end_offset, 1);
        let mut snapshot = self.started.take().unwrap_or_else(new);
        match snapshot.write(&mut direct(store), true) {
            Ok(()) => {
                let copies = Copies::find(store).expect("what was written is understood");
                assert!(copies.are_sound(), "seed {}: {copies:?}", self.seed);
                let log = store.bounds(METADATA_PARTITION)?;
                assert_eq!(log.log_start, snapshot.end_offset, "older records go");
                self.snapshots += 1;
                Ok(())
            }
            Err(error) => {
                self.started = Some(snapshot);
                survives(Err(error))
            }
        }
    }

    /// Moves a copy's part of a sealed segment into a cold one, as for a sparse segment.
    fn sweep(&mut self, store: &Store) -> Result<(), Error> {
        let id = SNAPSHOT_PARTITIONS[self.random.usize(..2)];
        let active = store.active_segment();
        let mut slices = store.slices(id)?;
        slices.retain(|slice| Some(slice.segment) != active);
        if slices.is_empty() {
            return Ok(());
        }
        let slice = slices[self.random.usize(..slices.len())];
        let from = slice.first_offset.max(store.bounds(id)?.log_start);
        let copied = || {
            let mut cold = store.begin_cold(slice.bytes)?;
            for mut bytes in store.read(id, from, slice.next_offset, usize::MAX >> 1)? {
                while let Some(batch) = Batch::split_from(&mut bytes) {
                    cold.push(id, batch, slice.append_ms)?;
                }
            }
            cold.finish()
        };
        let cold = match copied() {
            Ok(cold) => Arc::new(cold),
            failed => return refusable(failed.map(drop)),
        };
        let entry = Entry::Replace {
            cold,
            partition: id,
            base: slice.first_offset,
            next: slice.next_offset,
            leader_epoch: None,
            is_compacted: false,
        };
        survives(
            direct(store)
                .commit(vec![entry])
                .map_err(SnapshotError::from),
        )
    }

    fn crash(&mut self) {
        if self.random.bool() {
            self.disk = self.disk.after_kill();
            self.base = self.base.copy();
        } else {
            let random = &mut self.random;
            let mut choose = |states: usize| random.usize(..states);
            self.disk = self.disk.cut_power(&mut choose);
            self.base = self.base.cut_power(&mut choose);
        }
        if self.random.u8(..5) == 0 {
            self.base = MemoryBase::new();
        }
    }

    /// Loses each segment in turn, or flips a bit in it.
    fn lose_segments(&mut self) {
        let store = self.open();
        self.check(&store);
        let is_twice = self.snapshot_again(&store);
        let needed = segments_of_the_log(&store);
        let copies = Copies::find(&store).unwrap();
        drop(store);
        let ids: Vec<SegmentId> = self.disk.list().unwrap().iter().map(|of| of.0).collect();
        for id in &ids {
            for is_gone in [true, false] {
                let disk = self.disk.after_kill();
                if is_gone {
                    disk.remove(*id).unwrap();
                } else {
                    let bytes = disk.contents(*id).unwrap().len() as u64;
                    disk.flip(*id, self.random.u64(..bytes), 1 << self.random.u8(..8));
                }
                let base = if self.random.bool() {
                    self.base.copy()
                } else {
                    MemoryBase::new()
                };
                let started = open(&disk, &base, &self.options).map(|store| {
                    let found = restart(&store).map(|found| seen(&found.machine));
                    found.map_err(|error| error.to_string())
                });
                let what = format!("seed {}, segment {}, gone {is_gone}", self.seed, id.0);
                let is_last = ids.iter().max() == Some(id);
                match started {
                    Ok(Ok(found)) => {
                        // If the last segment is gone, no trace of it may be left, not even its
                        // name.
                        assert!(found == seen(&self.model) || is_last, "{what}: {copies:?}");
                    }
                    refused if is_twice && !needed.contains(id) => {
                        panic!("{what}: {refused:?}, {copies:?}, log in {needed:?}");
                    }
                    _ => {}
                }
            }
        }
    }

    /// Returns whether there are two copies, followed by data that is not part of the metadata.
    fn snapshot_again(&mut self, store: &Store) -> bool {
        if self.snapshot(store).is_err() || self.started.is_some() {
            return false;
        }
        refusable(store.roll()).unwrap();
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(0, None, Some(b"behind"), &[]);
        let behind = vec![builder.build().unwrap()];
        SnapshotLog::append(&mut direct(store), DATA, behind).is_ok() && store.sync().is_ok()
    }
}

/// Returns the segments that hold records needed by a start, or rows that move log starts.
fn segments_of_the_log(store: &Store) -> BTreeSet<SegmentId> {
    let slices = store.slices(METADATA_PARTITION).unwrap();
    slices.iter().map(|slice| slice.segment).collect()
}

fn direct(store: &Store) -> Direct<'_> {
    Direct {
        store,
        append_ms: 1,
        urgency: Urgency::Ordinary,
    }
}

fn open(disk: &MemoryDisk, base: &MemoryBase, options: &Options) -> Result<Store, Error> {
    let base = base.clone();
    let mut views = |anew: bool| -> Result<Box<dyn Base>, Error> {
        if anew {
            base.clear();
        }
        Ok(Box::new(base.clone()))
    };
    let disk = Arc::new(disk.clone());
    let opened = open_with(
        disk,
        &mut views,
        options.clone(),
        &mut HeaderReplay::default(),
    );
    opened.map(|(store, _)| store)
}

/// Replays as a start does.
fn restart(store: &Store) -> Result<Replayed, ReplayError> {
    let replayed = metadata_replay::replay(store, blank())?;
    replayed.extend_log(store, 1)?;
    Ok(replayed)
}

/// Accepts a full disk as an answer.
fn refusable(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(refusal) if refusal.is_refusal() => Ok(()),
        done => done,
    }
}

/// Accepts an incomplete snapshot, which is retried; an error of the disk ends the process.
fn survives(done: Result<(), SnapshotError>) -> Result<(), Error> {
    match done {
        Err(SnapshotError::Store(error)) => refusable(Err(error)),
        Err(SnapshotError::NoSegment) | Ok(()) => Ok(()),
        Err(error) => panic!("{error}"),
    }
}

/// `SEDGE_METADATA_SEEDS=FROM..TO` runs other seeds.
#[test]
fn a_start_has_the_state_of_the_model_by_seeds() {
    let seeds = match std::env::var("SEDGE_METADATA_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("FROM..TO");
            from.parse().unwrap()..to.parse().unwrap()
        }
        Err(_) => 0..150,
    };
    let mut snapshots = 0;
    for seed in seeds.clone() {
        let mut world = World::new(seed);
        world.run();
        snapshots += world.snapshots;
    }
    let count: u64 = seeds.end - seeds.start;
    assert!(snapshots >= count, "{snapshots} snapshots in {count} runs");
}

/// A log that has no room for another segment.
struct OneSegment<'a>(Direct<'a>);

impl SnapshotLog for OneSegment<'_> {
    fn store(&self) -> &dyn LogStore {
        self.0.store()
    }

    fn append(
        &mut self,
        partition: PartitionId,
        batches: Vec<Batch>,
    ) -> Result<Offset, SnapshotError> {
        self.0.append(partition, batches)
    }

    fn end_segment(&mut self) -> Result<(), SnapshotError> {
        Ok(())
    }

    fn move_log_starts(&mut self, to: Vec<(PartitionId, Offset)>) -> Result<(), SnapshotError> {
        self.0.move_log_starts(to)
    }
}

#[test]
fn two_copies_in_one_segment_are_not_apart_and_move_no_log_start() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let store = open(&disk, &base, &Options::default()).unwrap();
    let command = Command::BumpLeaderEpoch;
    let plan = blank().plan(Now::default(), command).unwrap();
    let batches = patched(
        metadata_log::batches(&plan.records, 1).collect(),
        Offset::ZERO,
    );
    let partition = METADATA_PARTITION;
    let entry = Entry::Append { partition, batches };
    direct(&store).commit(vec![entry]).unwrap();
    let log_start = || store.bounds(partition).unwrap().log_start;
    let machine = restart(&store).unwrap().machine;
    let end_offset = store.bounds(partition).unwrap().next_offset;
    let mut snapshot = Snapshot::new(machine.clone(), end_offset, 1);
    let mut log = OneSegment(direct(&store));
    let refused = snapshot.write(&mut log, true);
    assert!(
        matches!(refused, Err(SnapshotError::NoSegment)),
        "{refused:?}"
    );
    assert_eq!(log_start(), Offset::ZERO);
    // A repair accepts them nevertheless. The broker writes them again when it finds them so.
    snapshot.write(&mut log, false).unwrap();
    assert_eq!(log_start(), end_offset);
    let copies = Copies::find(&store).unwrap();
    assert!(!copies.are_apart() && !copies.are_sound(), "{copies:?}");
    let mut snapshot = Snapshot::new(machine, end_offset, 1);
    snapshot.write(&mut direct(&store), true).unwrap();
    let copies = Copies::find(&store).unwrap();
    assert!(copies.are_apart() && copies.are_sound(), "{copies:?}");
}
