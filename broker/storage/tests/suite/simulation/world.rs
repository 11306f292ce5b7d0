//! A store, its disk and the model, over some crashes.

use std::collections::BTreeSet;
use std::sync::Arc;

use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::memory::{Faults, Fuse, MemoryDisk};
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{Entry, Error, LogStore, LostRange, OpenReport, Options, Store, open_with};

use super::actions::{self, ACTIONS, Action};
use super::check;
use super::lending::{self, Lent, Located};
use super::model::{Model, WITNESS};
use super::overlapped;
use super::random::Random;
use crate::bytes_of::{Derive, append, batch, commit};

const ROUNDS: u64 = 5;
const ACTIONS_MAX: u64 = 50;
/// Partition ids that are written to at any one time.
const LIVE: u32 = 8;

/// The disk at an earlier moment, and what must be on it.
pub struct Snapshot {
    disk: MemoryDisk,
    model: Model,
}

/// The store, its disk and the model; see the module.
pub struct World {
    pub random: Random,
    pub model: Model,
    pub disk: MemoryDisk,
    pub base: MemoryBase,
    pub store: Option<Arc<Store>>,
    pub live: Vec<u32>,
    pub next_partition: u32,
    pub faults: Faults,
    pub snapshot: Option<Snapshot>,
    pub located: Vec<Located>,
    pub lent: Vec<Lent>,
    /// Whether the store has returned an error that ends a process.
    pub ended: bool,
    /// Whether the views are as the process before left them, without losses.
    views_kept: bool,
    /// Whether losses were reported at an earlier start whose views still exist.
    is_reported: bool,
    /// Commits that an open or a scrub reported as lost.
    told: BTreeSet<usize>,
    /// Whether rows were written that no commit of the model represents, and not synced since.
    pub in_doubt: bool,
    /// A flush that is under way.
    pub overlapped: Option<overlapped::Flush>,
    /// Whether the next commit has reserved room.
    pub reserved: bool,
    /// Whether there was something to report as a hole, which a rebuild reports again.
    pub holes_possible: bool,
    pub fuse: Fuse,
    pub trace: Vec<String>,
    pub options: Options,
    pub actions: &'static [Action],
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let options = Options {
            segment_bytes: 8 << (10 + random.below(3)),
            views_flush_bytes: 4 << (10 + random.below(5)),
            spare_segments_max: random.below(4) as usize,
            ..Options::default()
        };
        Self {
            random,
            model: Model::default(),
            disk: MemoryDisk::new(),
            base: MemoryBase::new(),
            store: None,
            live: (1..=LIVE).collect(),
            next_partition: LIVE + 1,
            faults: Faults::default(),
            snapshot: None,
            located: Vec::new(),
            lent: Vec::new(),
            ended: false,
            views_kept: false,
            is_reported: false,
            told: BTreeSet::new(),
            in_doubt: false,
            overlapped: None,
            reserved: false,
            holes_possible: false,
            fuse: Fuse::default(),
            trace: Vec::new(),
            options,
            actions: ACTIONS,
        }
    }

    pub fn run(&mut self) {
        for _ in 0..ROUNDS {
            self.open(0);
            if !self.random.one_in(4) {
                let changes = self.random.below(150) as i64;
                self.note(format!("everything stops after {changes} changes"));
                self.fuse.set(changes);
            }
            for _ in 0..self.random.below(ACTIONS_MAX) {
                if self.ended || self.fuse.is_blown() {
                    break;
                }
                self.act();
            }
            let safe = self.crash();
            self.open(safe);
        }
        lending::receive_all(self);
        actions::vandalise(self);
    }

    pub fn note(&mut self, what: impl Into<String>) {
        self.trace.push(what.into());
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn act(&mut self) {
        let total: u64 = self.actions.iter().map(|action| action.weight).sum();
        let mut at = self.random.below(total);
        for action in self.actions {
            if at < action.weight {
                self.note(action.name);
                return (action.act)(self);
            }
            at -= action.weight;
        }
    }

    /// Appends `entries` with a witness, if there is room.
    pub fn commit(&mut self, entries: Vec<Entry>) {
        self.commit_as(entries.clone(), entries);
    }

    /// Appends `entries`, and tells the model `of_model` instead.
    pub fn commit_as(&mut self, entries: Vec<Entry>, of_model: Vec<Entry>) {
        let number = self.model.commits.len();
        let next = self.store().bounds(WITNESS).unwrap().next_offset;
        assert_eq!(next, Offset(number as i64), "the witness's end");
        let witness = append(WITNESS.0, vec![batch(number as i64, 1, 0, 1)]);
        self.note(format!("  commit {number}: {}", check::brief(&entries)));
        let whole = |entries: Vec<Entry>| {
            let entries = [witness.clone()].into_iter().chain(entries).collect();
            commit(entries, number as i64)
        };
        let commit = whole(of_model);
        let appended = self.store().append(whole(entries));
        let was_reserved = std::mem::take(&mut self.reserved);
        if let Err(Error::Full | Error::ReadOnly) = &appended {
            assert!(
                !was_reserved,
                "what was reserved is not there: {appended:?}"
            );
        }
        match appended {
            Ok(_) => {
                self.model.append(commit);
                // The upkeep flushes soon.
                if self.store().wants_view_flush() && self.random.one_in(2) {
                    overlapped::flush_views(self);
                }
            }
            Err(error) => {
                self.judge(error);
                if self.ended {
                    // The commit may be on the disk nevertheless.
                    self.model.commits.push(Some(commit));
                }
            }
        }
    }

    /// Checks that the store may answer with this error.
    pub fn judge(&mut self, error: Error) {
        self.note(format!("  {error}"));
        let broken = self.fuse.is_blown()
            || self.faults.sync_fails
            || self.faults.write_fails
            || self.faults.read_only;
        match error {
            Error::Full => assert!(broken || self.faults.capacity.is_some() || self.views_fail()),
            Error::ReadOnly => assert!(self.faults.read_only, "read-only"),
            // Failing to begin a segment does not end the process.
            Error::Io { doing, .. } if doing.contains("header") || doing.contains("create") => {
                assert!(broken, "{error}");
            }
            Error::Io { .. } | Error::Poisoned => {
                assert!(broken, "{error}");
                self.ended = true;
                // Something that the store was about to write by itself.
                self.holes_possible = true;
            }
            Error::Corrupt { .. } => assert!(!self.model.hits.is_empty(), "{error}"),
            error => panic!("{error}"),
        }
    }

    fn views_fail(&self) -> bool {
        self.base.is_failing()
    }

    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.disk.set_faults(faults);
    }

    pub fn take_snapshot(&mut self) {
        let mut model = self.model.clone();
        model.synced = model.written;
        self.snapshot = Some(Snapshot {
            // As if everything were synced.
            disk: self.disk.cut_power(&mut |states| states - 1),
            model,
        });
    }

    /// Ends the round in one of several ways. Returns the number of commits that must survive.
    fn crash(&mut self) -> usize {
        let closed = !self.ended && self.random.one_in(6) && self.store().close().is_ok();
        if closed {
            self.model.synced = self.model.written;
            self.in_doubt = false;
        }
        // A cleaner leaves out what it cannot read, and reports it.
        self.is_reported |= self.store().usage().damaged > 0;
        self.located.clear();
        self.store = None;
        self.ended = false;
        self.faults = Faults::default();
        let power_cut = self.random.one_in(2);
        let safe = if power_cut {
            self.cut_power()
        } else {
            self.note(if closed { "closed" } else { "killed" });
            self.disk = self.disk.after_kill();
            self.base = self.base.copy();
            self.views_kept = true;
            self.model.written
        };
        if self.random.one_in(5) {
            self.note("views thrown away");
            self.base = MemoryBase::new();
            self.views_kept = false;
        }
        self.arm(i64::MAX);
        safe
    }

    fn cut_power(&mut self) -> usize {
        self.lent.clear();
        if self.random.one_in(8)
            && let Some(snapshot) = self.snapshot.take()
        {
            // The views are ahead of the log then.
            self.note("power cut, and a disk that kept nothing for a while");
            self.disk = snapshot.disk;
            self.model = snapshot.model;
            self.model.rebuild();
            self.base = self.base.copy();
            self.views_kept = false;
            self.holes_possible = true;
            self.is_reported = true;
            return self.model.written;
        }
        self.note("power cut");
        self.views_kept = false;
        if self.in_doubt || self.model.synced < self.model.commits.len() {
            self.holes_possible = true;
        }
        let style = self.random.below(3);
        let random = &mut self.random;
        let mut choose = |states: usize| match style {
            1 if !random.one_in(12) => states - 1,
            2 if !random.one_in(12) => 0,
            _ => random.below(states as u64) as usize,
        };
        self.disk = self.disk.cut_power(&mut choose);
        self.base = self.base.cut_power(&mut choose);
        self.snapshot = None;
        self.model.synced
    }

    /// Sets a fuse for the next process.
    fn arm(&mut self, changes: i64) {
        self.fuse = Fuse::default();
        self.fuse.set(changes);
        self.disk.set_fuse(self.fuse.clone());
        self.base = self.base.clone().with_fuse(self.fuse.clone());
    }

    /// Opens the store and checks that at least the first `safe` commits are there. Sometimes the
    /// process ends in the middle of that, and the next one opens.
    fn open(&mut self, safe: usize) {
        if self.store.is_some() {
            return;
        }
        if self.random.one_in(4) {
            self.is_reported = true;
            let changes = self.random.below(12) as i64;
            self.note(format!("opening ends after {changes} changes"));
            self.arm(changes);
            let _ = self.try_open();
            self.disk = self.disk.after_kill();
            self.base = self.base.copy();
        }
        self.arm(i64::MAX);
        self.model.find_torn(&self.disk);
        let (store, report) = self.try_open().unwrap();
        self.note(format!("opened: {report:?}"));
        self.store = Some(Arc::new(store));
        self.check_survivors(safe, &report);
        self.is_reported = false;
    }

    pub fn try_open(&mut self) -> Result<(Store, OpenReport), Error> {
        let base = self.base.clone();
        let mut views = |anew: bool| -> Result<Box<dyn sedge_storage::views::Base>, _> {
            if anew {
                base.clear();
            }
            Ok(Box::new(base.clone()))
        };
        let disk = Arc::new(self.disk.clone());
        open_with(
            disk,
            &mut views,
            self.options.clone(),
            &mut Derive::default(),
        )
    }

    /// Remembers commits that the store reported as lost.
    pub fn hear<'a>(&mut self, lost: impl Iterator<Item = &'a LostRange>) {
        for of in lost.filter(|of| of.partition == WITNESS) {
            self.told
                .extend(of.base_offset.0 as usize..of.next_offset.0 as usize);
        }
    }

    fn check_survivors(&mut self, safe: usize, report: &OpenReport) {
        if !self.holes_possible && self.model.hits.is_empty() {
            assert_eq!(report.holes, [], "nothing is lost that was not in doubt");
        }
        if self.views_kept && self.model.hits.is_empty() {
            assert!(!report.lost_tail, "nothing that the views saw is lost");
        }
        self.hear(report.holes.iter().flat_map(|hole| &hole.lost));
        let store = &**self.store.as_ref().unwrap();
        let witness = store.bounds(WITNESS).unwrap();
        let (there, damaged) = check::witnesses(store, witness);
        let mut lost = self.model.survive(safe, witness, &there, &damaged);
        // A reported loss stays in the log, as damage, until it is cleaned or deleted.
        lost.retain(|commit| !self.told.contains(commit));
        for partition in (0..self.next_partition).map(PartitionId) {
            let found = store.bounds(partition).unwrap().next_offset;
            self.model.end_found(partition, found);
        }
        if !lost.is_empty() && !self.is_reported {
            let reported = !report.holes.is_empty() || report.torn_tail.is_some();
            let read_over = store.usage().damaged > 0;
            assert!(
                reported || read_over || report.lost_tail,
                "{lost:?} lost and not reported"
            );
        }
        for partition in (0..self.next_partition).map(PartitionId) {
            check::compare(store, &self.model, partition);
            let entry = check::entry_of(store, partition);
            self.model.entries.insert(partition, entry);
        }
    }
}
