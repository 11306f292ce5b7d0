//! Cuts each kind of file at many lengths and flips it at many places. Damage is never called
//! clean, no wrong record is returned, every consumer gets past it, losses are named, and a start
//! that is refused has a way out.
//!
//! This is not in the suite: while one thread starts a process, this process keeps locks a moment
//! longer.
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../suite/bytes_of.rs"]
#[allow(dead_code, reason = "the suite's")]
mod bytes_of;
#[path = "../suite/stores.rs"]
#[allow(dead_code, reason = "the suite's")]
mod stores;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::SeekFrom;
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::backup::{BackupOptions, back_up};
use sedge_storage::doctor::{Doctor, Inspect, Repair, Report};
use sedge_storage::{
    Cold, Entry, Error, LogStore, LostRange, OpenReport, ReadLimits, ScrubCursor, Store, Wait, open,
};

use bytes_of::{Derive, append, batch, commit, whole};
use stores::{Directory, on_disk, small};

/// An ordinary partition, in all segments.
const P: PartitionId = PartitionId(5);
/// A partition from which compaction removed some records.
const C: PartitionId = PartitionId(6);
/// A partition whose log start has moved.
const S: PartitionId = PartitionId(8);
const ALL: [PartitionId; 3] = [P, C, S];
const FAR: Offset = Offset(i64::MAX);
const COMMITS: i64 = 260;
/// Runs one test at a time: child processes of one test keep the locks that another takes.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// Cases that run at once: they mostly wait for the disk.
const AT_ONCE: usize = 6;

struct Compacts;

impl Inspect for Compacts {
    fn batch(&mut self, _: PartitionId, _: &Batch) -> Result<(), String> {
        Ok(())
    }

    fn is_compacted(&self, partition: PartitionId) -> bool {
        partition == C
    }
}

fn examine(path: &Path) -> Report {
    Doctor::open(path).unwrap().examine(&mut Compacts).unwrap()
}

fn body_bytes(partition: PartitionId) -> usize {
    100 * partition.0 as usize
}

fn the_batch(partition: PartitionId, offset: i64) -> Batch {
    batch(offset, 1, offset, body_bytes(partition))
}

fn fill(store: &Store, from: i64, until: i64) {
    for at in from..until {
        let entries = ALL.map(|id| append(id.0, vec![the_batch(id, at)]));
        store.append(commit(entries.into(), at)).unwrap();
        if at % 5 == 0 {
            store.sync().unwrap();
        }
    }
}

/// Moves the batches of a partition at `from..to` to a cold segment.
fn replace(store: &Store, id: PartitionId, from: i64, to: i64, kept: fn(i64) -> bool) {
    let read = store.read(id, Offset(from), Offset(to), usize::MAX >> 1);
    let mut read = Bytes::from(read.unwrap().concat());
    let mut writing = store.begin_cold(read.len() as u64).unwrap();
    while let Some(batch) = Batch::split_from(&mut read) {
        if kept(batch.header.base_offset().0) {
            writing.push(id, batch, 77).unwrap();
        }
    }
    let cold: Arc<Cold> = writing.finish().map(Arc::new).unwrap();
    let entry = Entry::Replace {
        cold,
        partition: id,
        base: Offset(from),
        next: Offset(to),
        leader_epoch: None,
        is_compacted: id == C,
    };
    store.append(commit(vec![entry], 0)).unwrap();
}

/// Creates ordinary segments, cold ones, spares, and an active one.
fn filled(path: &Path) {
    let (store, _) = on_disk(path, small());
    fill(&store, 0, COMMITS / 2);
    replace(&store, C, 0, 100, |at| at % 7 == 0);
    replace(&store, P, 10, 40, |_| true);
    let start = Entry::LogStart {
        partition: S,
        offset: Offset(60),
    };
    store.append(commit(vec![start], 0)).unwrap();
    fill(&store, COMMITS / 2, COMMITS);
    let gone = Entry::LogStart {
        partition: P,
        offset: Offset(10),
    };
    store.append(commit(vec![gone], 0)).unwrap();
    store.free_segments().unwrap();
    fill(&store, COMMITS, COMMITS + 3);
    store.close().unwrap();
}

/// Reads as a consumer with small fetches, up to the end. Returns the offsets of the records.
fn consume(store: &Store, id: PartitionId) -> Result<BTreeSet<i64>, String> {
    let bounds = store.bounds(id).unwrap();
    let mut seen = BTreeSet::new();
    let mut position = bounds.log_start;
    while position < bounds.next_offset {
        let chunks = store.locate(id, position, FAR, ReadLimits::of(6_000), Wait::ForDisk);
        let chunks = chunks.map_err(|error| format!("{id} at {position}: {error}"))?;
        let mut next = position;
        for chunk in chunks.chunks {
            let chunk = chunk.read().map_err(|error| format!("{id}: {error}"))?;
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let header = BatchHeader::read(rest).ok_or("no batch")?;
                let bytes = header.batch_bytes().ok_or("no length")?;
                let one = rest.get(..bytes).ok_or("half a batch")?;
                rest = &rest[bytes..];
                let base = header.base_offset().0;
                if header.record_count() > 0 {
                    // The commit's checksum covers the leader epoch, the batch's does not.
                    let mut there = one.to_vec();
                    let wanted = whole(&the_batch(id, base));
                    there[12..16].copy_from_slice(&wanted[12..16]);
                    if there != wanted {
                        return Err(format!("{id}: {base} is not what was sent"));
                    }
                    seen.insert(base);
                }
                next = next.max(header.next_offset());
            }
        }
        if next <= position {
            return Err(format!(
                "{id}: stuck at {position} of {}",
                bounds.next_offset
            ));
        }
        position = next;
    }
    Ok(seen)
}

type Seen = BTreeMap<PartitionId, BTreeSet<i64>>;

/// Reads all partitions, after a scrub of everything.
fn consume_all(store: &Store) -> Result<Seen, String> {
    // A consumer before the scrub may meet a rotten batch, and nothing else.
    for id in ALL {
        if let Err(what) = consume(store, id)
            && !what.contains("is not what was sent")
        {
            return Err(format!("before the scrub: {what}"));
        }
    }
    for _ in 0..2 {
        let mut cursor = ScrubCursor::default();
        while !store
            .scrub(&mut cursor, 1 << 20)
            .map_err(|of| of.to_string())?
            .is_done
        {}
    }
    ALL.into_iter()
        .map(|id| consume(store, id).map(|seen| (id, seen)))
        .collect()
}

fn lost_of(before: &Seen, after: &Seen) -> Vec<(PartitionId, i64)> {
    let lost = |(id, offsets): (&PartitionId, &BTreeSet<i64>)| {
        let left = after.get(id).cloned().unwrap_or_default();
        let lost = offsets.difference(&left).map(|at| (*id, *at));
        lost.collect::<Vec<_>>()
    };
    before.iter().flat_map(lost).collect()
}

fn is_named(named: &[LostRange], (id, offset): (PartitionId, i64)) -> bool {
    named
        .iter()
        .any(|of| of.partition == id && of.base_offset.0 <= offset && offset < of.next_offset.0)
}

struct Started {
    report: OpenReport,
    seen: Seen,
    named: Vec<LostRange>,
}

fn start(path: &Path) -> Result<Result<Started, String>, Error> {
    let (store, report) = open(path, small(), &mut Derive::default())?;
    Ok(consume_all(&store).map(|seen| {
        let holes = report.holes.iter().flat_map(|hole| &hole.lost).copied();
        let damaged = store.damaged();
        let damaged = damaged.iter().flat_map(|of| &of.lost).copied();
        let named = holes.chain(damaged).collect();
        store.close().unwrap();
        Started {
            report,
            seen,
            named,
        }
    }))
}

/// Copies a directory, leaving out `views` unless `with_views` is set.
fn copy(from: &Path, to: &Path, with_views: bool) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if !entry.file_type().unwrap().is_dir() {
            copy_file(&entry.path(), &target);
        } else if with_views || entry.file_name() != "views" {
            copy(&entry.path(), &target, with_views);
        }
    }
}

/// Copies a file with its holes: fjall's journal is 64 MiB, mostly zeros.
fn copy_file(from: &Path, to: &Path) {
    let (from, to) = (File::open(from).unwrap(), File::create(to).unwrap());
    let bytes = from.metadata().unwrap().len();
    let mut end = 0;
    while let Ok(start) = rustix::fs::seek(&from, SeekFrom::Data(end)) {
        end = rustix::fs::seek(&from, SeekFrom::Hole(start)).unwrap();
        let mut data = vec![0; (end - start) as usize];
        from.read_exact_at(&mut data, start).unwrap();
        to.write_all_at(&data, start).unwrap();
    }
    to.set_len(bytes).unwrap();
}

/// A change of one file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Cut(usize),
    Flip(usize),
    Gone,
}

fn harm(path: &Path, harm: Harm) {
    if let Harm::Gone = harm {
        return std::fs::remove_file(path).unwrap();
    }
    let file = File::options().read(true).write(true).open(path).unwrap();
    match harm {
        Harm::Cut(length) => file.set_len(length as u64).unwrap(),
        Harm::Flip(bit) => {
            let (mut byte, at) = ([0], (bit / 8) as u64);
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << (bit % 8))], at)
                .unwrap();
        }
        Harm::Gone => {}
    }
}

/// Returns every kind of file of a directory, one or two of each.
fn files(path: &Path) -> Vec<(String, PathBuf)> {
    let mut sealed = Vec::new();
    let mut cold = Vec::new();
    let mut found = Vec::new();
    let mut all: Vec<PathBuf> = std::fs::read_dir(path.join("segments"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    for segment in all {
        let bytes = std::fs::read(&segment).unwrap();
        if segment.extension().is_some_and(|of| of == "spare") {
            found.push(("spare".to_owned(), segment));
        } else if bytes.get(40) == Some(&1) {
            cold.push(segment);
        } else {
            sealed.push(segment);
        }
    }
    let active = sealed.pop().unwrap();
    found.push(("active".to_owned(), active));
    found.push(("first".to_owned(), sealed[0].clone()));
    found.push(("middle".to_owned(), sealed[sealed.len() / 2].clone()));
    found.push(("last".to_owned(), sealed[sealed.len() - 1].clone()));
    for (at, segment) in cold.into_iter().enumerate() {
        found.push((format!("cold {at}"), segment));
    }
    found.push(("meta.toml".to_owned(), path.join("meta.toml")));
    if path.join("damage").exists() {
        found.push(("damage".to_owned(), path.join("damage")));
    }
    found
}

/// Returns changes of a file: all over it, and at its ends.
fn harms(bytes: usize, cuts: usize, flips: usize) -> Vec<Harm> {
    let mut harms = vec![Harm::Gone, Harm::Cut(0), Harm::Cut(bytes - 1)];
    harms.extend((1..cuts).map(|at| Harm::Cut(bytes * at / cuts)));
    let mut random: u64 = 0x9E37_79B9_7F4A_7C15 ^ bytes as u64;
    for _ in 0..flips {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        harms.push(Harm::Flip((random % (bytes as u64 * 8)) as usize));
    }
    // Positions in the header, the first frame and the footer.
    let special = [9, 20, 30, 45, 70, 90, 110, 130];
    let at_front = special.into_iter().filter(|at| *at < bytes);
    harms.extend(at_front.map(|at| Harm::Flip(at * 8)));
    let at_end = [1, 6, 20, 30, 44, 60, 100].into_iter();
    harms.extend(
        at_end
            .filter(|at| *at < bytes)
            .map(|at| Harm::Flip((bytes - at) * 8)),
    );
    harms
}

/// Checks that scrub, consumers, doctor and start agree on one damaged directory. Returns what is
/// wrong.
fn case(origin: &Path, before: &Seen, file: &Path, what: Harm) -> Result<(), String> {
    let place = Directory::new();
    let hurt = place.path().join("hurt");
    copy(origin, &hurt, true);
    harm(&hurt.join(file.strip_prefix(origin).unwrap()), what);
    let report = examine(&hurt);
    let mut named_by_doctor: Vec<LostRange> = report
        .findings
        .iter()
        .flat_map(|of| of.lost.clone())
        .collect();
    let said: Vec<String> = report
        .findings
        .iter()
        .map(|of| format!("{}: {}", of.kind.name(), of.what))
        .collect();
    let mut lost_ever = BTreeSet::new();
    for with_views in [true, false] {
        let started = place.path().join(format!("views-{with_views}"));
        copy(&hurt, &started, with_views);
        let failed = |why: &str| format!("views {with_views}: {why}; doctor: {said:?}");
        let outcome = match start(&started) {
            Ok(outcome) => outcome,
            Err(refusal) => {
                if report.is_clean() {
                    return Err(failed(&format!(
                        "refused ({refusal}), and the doctor says clean"
                    )));
                }
                if !way_out(origin, &started, &refusal) {
                    return Err(failed(&format!("refused without a way out: {refusal}")));
                }
                start(&started).map_err(|again| failed(&format!("refused again: {again}")))?
            }
        };
        let outcome = outcome.map_err(|why| failed(&why))?;
        named_by_doctor.extend(outcome.named.iter().copied());
        for lost in lost_of(before, &outcome.seen) {
            lost_ever.insert(lost);
            let is_tail = outcome.report.lost_tail || outcome.report.torn_tail.is_some();
            if !is_tail && !is_named(&named_by_doctor, lost) {
                return Err(failed(&format!("{lost:?} is lost and not named")));
            }
        }
    }
    if report.is_clean() && !lost_ever.is_empty() {
        return Err(format!(
            "the doctor says clean, and {lost_ever:?} are lost; {said:?}"
        ));
    }
    let target = place.path().join("backup");
    match back_up(&hurt, &target, BackupOptions::default()) {
        Err(error) if report.is_clean() => {
            return Err(format!("no backup ({error}), and the doctor says clean"));
        }
        Err(Error::BadMeta { .. } | Error::NoData { .. } | Error::NewerFormat { .. }) => {}
        Err(error) => return Err(format!("no backup: {error}; doctor: {said:?}")),
        Ok(_) => {
            let restored = start(&target).map_err(|error| format!("backup: {error}"))?;
            let restored = restored.map_err(|error| format!("backup: {error}"))?;
            for lost in lost_of(before, &restored.seen) {
                if !lost_ever.contains(&lost) {
                    return Err(format!("{lost:?} is not in the backup; doctor: {said:?}"));
                }
            }
        }
    }
    // The doctor's advice repairs what it found.
    let doctor = Doctor::open(&hurt).unwrap();
    let mut repairs: Vec<Repair> = report
        .findings
        .iter()
        .filter(|of| of.is_wrong())
        .filter_map(|of| of.kind.repair())
        .collect();
    repairs.sort_unstable();
    for repair in &repairs {
        doctor.repair(*repair, &report).unwrap();
    }
    drop(doctor);
    match start(&hurt) {
        Ok(Err(why)) => return Err(format!("repaired with {repairs:?}: {why}")),
        Err(refusal) if !way_out(origin, &hurt, &refusal) => {
            return Err(format!("repaired with {repairs:?}, refused: {refusal}"));
        }
        _ => {}
    }
    Ok(())
}

/// Follows the advice of a refusal. Returns whether that helps.
fn way_out(origin: &Path, refused: &Path, refusal: &Error) -> bool {
    match refusal {
        // Restoring from a backup helps.
        Error::BadMeta { .. } | Error::NewerFormat { .. } | Error::OtherOwner { .. } => {
            std::fs::copy(origin.join("meta.toml"), refused.join("meta.toml")).is_ok()
        }
        Error::IncompleteBackup { .. } => {
            let doctor = Doctor::open(refused).unwrap();
            doctor.repair(Repair::Backup, &Report::default()).is_ok()
        }
        _ => false,
    }
}

/// Runs a look at the views in a child process, which may end: fjall asserts on what it reads.
fn ask(what: &str, path: &Path) -> Option<String> {
    let said = path.with_extension("said");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_of_its_own", "--ignored"])
        .env("SEDGE_ASKED", what)
        .env("SEDGE_ASKED_OF", path)
        .env("TMPDIR", path.parent().unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let answer = std::fs::read_to_string(&said).ok();
    let _ = std::fs::remove_file(&said);
    assert!(answer.is_some() || !status.success(), "{what}: no answer");
    answer
}

#[test]
#[ignore = "a part of those that ask"]
fn a_process_of_its_own() {
    let (Ok(what), Some(path)) = (
        std::env::var("SEDGE_ASKED"),
        std::env::var_os("SEDGE_ASKED_OF").map(PathBuf::from),
    ) else {
        return;
    };
    let answer = match what.as_str() {
        "doctor" if examine(&path).is_clean() => CLEAN.to_owned(),
        "doctor" => "wrong".to_owned(),
        "repair" => {
            let doctor = Doctor::open(&path).unwrap();
            doctor.repair(Repair::Views, &Report::default()).unwrap();
            String::new()
        }
        "start" => match start(&path) {
            Ok(Ok(started)) => format!("{:?}", started.seen),
            Ok(Err(why)) => why,
            Err(refusal) => refusal.to_string(),
        },
        _ => panic!("{what}?"),
    };
    std::fs::write(path.with_extension("said"), answer).unwrap();
}

const CLEAN: &str = "clean";

/// Checks that the views are dispensable: with any damage to them everything is there, at the
/// latest when the broker is started for the third time, as a supervisor does.
fn views_case(origin: &Path, before: &Seen, file: &Path, what: Harm) -> Result<(), String> {
    let place = Directory::new();
    let hurt = place.path().join("hurt");
    copy(origin, &hurt, true);
    harm(&hurt.join(file.strip_prefix(origin).unwrap()), what);
    // If the process dies, `sedge doctor` says that the views cannot be read.
    let is_clean = ask("doctor", &hurt).is_some_and(|said| said == CLEAN);
    let started = place.path().join("started");
    copy(&hurt, &started, true);
    let all = format!("{before:?}");
    let expect = |asked: &str, said: Option<String>| match said {
        Some(said) if said == all => Ok(()),
        Some(said) => Err(format!("{asked}: {said}")),
        None => Err(format!("{asked}: the process ended")),
    };
    let mut answers = (0..3).map(|_| ask("start", &started));
    let first = answers.next().flatten();
    if is_clean && first.is_none() {
        return Err("a start ended the process, and the doctor says clean".to_owned());
    }
    expect("started", first.or_else(|| answers.find_map(|said| said)))?;
    expect("started again", ask("start", &started))?;
    if ask("repair", &hurt).is_none() {
        return Err("there is no repair".to_owned());
    }
    expect("repaired", ask("start", &hurt))
}

type Case = fn(&Path, &Seen, &Path, Harm) -> Result<(), String>;

/// Runs one in `step` of the cases, or all in a soak.
fn check(origin: &Path, files: &[(String, PathBuf)], case: Case, step: usize) {
    let before = {
        let place = Directory::new();
        let whole = place.path().join("whole");
        copy(origin, &whole, true);
        start(&whole).unwrap().unwrap().seen
    };
    assert!(before.values().all(|seen| seen.len() > 90), "{before:?}");
    let is_long = std::env::var_os("SEDGE_SOAK").is_some();
    let (cuts, flips) = if is_long { (50, 200) } else { (4, 4) };
    let only = std::env::var("SEDGE_DAMAGE").ok();
    let mut cases = Vec::new();
    for (number, (kind, file)) in files.iter().enumerate() {
        if only
            .as_ref()
            .is_some_and(|only| !kind.contains(only.as_str()))
        {
            continue;
        }
        let bytes = std::fs::metadata(file).unwrap().len() as usize;
        let harms = harms(bytes, cuts, flips).into_iter();
        // The next file uses the other offsets.
        let (skipped, step) = if is_long {
            (0, 1)
        } else {
            (number % step, step)
        };
        let harms = harms.skip(skipped).step_by(step);
        cases.extend(harms.map(|what| (kind, file, what, bytes)));
    }
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let work = || {
        while let Some((kind, file, what, bytes)) = cases.get(next.fetch_add(1, Ordering::Relaxed))
        {
            if let Err(why) = case(origin, &before, file, *what) {
                let said = format!("{kind}, {what:?} of {bytes}: {why}");
                eprintln!("{said}");
                wrong.lock().unwrap().push(said);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let (cases, wrong) = (cases.len(), wrong.into_inner().unwrap());
    eprintln!("{cases} cases");
    assert!(
        wrong.is_empty(),
        "{} of {cases} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_file_of_a_log_cut_and_flipped() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Directory::new();
    filled(directory.path());
    check(directory.path(), &files(directory.path()), case, 2);
}

#[test]
fn every_file_of_the_views_cut_and_flipped() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Directory::new();
    filled(directory.path());
    let mut found = Vec::new();
    let mut folders = vec![directory.path().join("views")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.metadata().unwrap().len() > 0 {
                found.push((format!("views {:?}", entry.file_name()), entry.path()));
            }
        }
    }
    check(directory.path(), &found, views_case, 4);
}

#[test]
fn every_file_of_a_backup_cut_and_flipped() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Directory::new();
    filled(directory.path());
    let place = Directory::new();
    let target = place.path().join("backup");
    back_up(directory.path(), &target, BackupOptions::default()).unwrap();
    std::fs::create_dir_all(target.join("views")).unwrap();
    let mut found = files(&target);
    found.retain(|(kind, _)| ["meta.toml", "first", "cold 0"].contains(&kind.as_str()));
    found.push(("backup.toml".to_owned(), target.join("backup.toml")));
    std::fs::remove_dir_all(target.join("views")).unwrap();
    std::fs::create_dir_all(target.join("views")).unwrap();
    check(&target, &found, case, 2);
}
