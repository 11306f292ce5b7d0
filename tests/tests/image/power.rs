//! Power cuts that lose writes: a card forgets what was not flushed, or a part of it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use sedge_tests::soak::{Random, is_long};

use super::device::{Device, consume, produce};
use super::operator::Operator;
use super::slot::SlotImage;
use super::write_log::{WriteLog, copy};

/// Cuts of the short form and of the long one, while clients produce and while the device is
/// updated.
const CUTS: (usize, usize) = (1, 60);
const CUTS_OF_UPDATES: (usize, usize) = (1, 30);
/// Records of one produce.
const BATCH: i64 = 10;

/// Records that were acknowledged when the log of the card was this long.
type Acknowledged = Vec<(u64, i64)>;

/// A device whose writes are logged, and the card as it was before.
fn logged(board: &str) -> (Device, PathBuf, PathBuf) {
    let mut device = Device::new(board);
    let (before, log) = (device.file("before"), device.file("log"));
    device.log_writes(&log);
    (device, before, log)
}

/// Produces records, and remembers how long the log was after each acknowledgement.
fn produce_logged(log: &Path, first: i64, batches: i64, acknowledged: &mut Acknowledged) {
    for batch in 0..batches {
        produce(first + batch * BATCH, BATCH);
        let length = fs::metadata(log).expect("the log of the card").len();
        acknowledged.push((length, first + (batch + 1) * BATCH));
    }
}

/// Boots the device from cards on which the power failed at random moments after the first
/// acknowledgement. It has to serve, with all that was acknowledged before.
fn survives(board: &str, log: &Path, before: &Path, acknowledged: &Acknowledged, cuts: usize) {
    let log = WriteLog::read(log);
    let mut random = Random::new();
    eprintln!("SEDGE_SEED={}", random.seed());
    for cut in 0..cuts {
        let moment = log.moment(acknowledged[0].0, &mut random);
        let mut device = Device::new(board);
        log.cut(before, moment, &mut random, &device.card());
        device.boot();
        let numbers = consume();
        let known = acknowledged
            .iter()
            .filter(|(length, _)| *length <= log.length_at(moment));
        let least = known.map(|(_, count)| *count).max().unwrap_or(0);
        let whole: Vec<i64> = (0..numbers.len() as i64).collect();
        assert_eq!(
            numbers, whole,
            "cut {cut} at {moment}: records are missing in the middle"
        );
        let has = numbers.len() as i64;
        assert!(
            has >= least,
            "cut {cut} at {moment}: {has} records of {least} acknowledged ones"
        );
        produce(has, BATCH);
        assert_eq!(consume().len() as i64, has + BATCH, "the device serves on");
    }
}

fn keeps_what_it_acknowledged(board: &str) {
    let cuts = if is_long() { CUTS.1 } else { CUTS.0 };
    let (mut device, before, log) = logged(board);
    copy(&device.card(), &before);
    device.boot();
    let mut acknowledged = Vec::new();
    produce_logged(&log, 0, 30, &mut acknowledged);
    device.cut(Signal::KILL);
    survives(board, &log, &before, &acknowledged, cuts);
}

#[test]
#[ignore = "needs images: cargo xtask test --only image"]
fn an_x86_device_keeps_what_it_acknowledged_on_a_card_that_loses_writes() {
    keeps_what_it_acknowledged("qemu-x86_64");
}

#[test]
#[ignore = "needs images: cargo xtask test --only image"]
fn an_x86_device_starts_from_a_card_that_loses_writes_of_its_update() {
    let board = "qemu-x86_64";
    let cuts = if is_long() {
        CUTS_OF_UPDATES.1
    } else {
        CUTS_OF_UPDATES.0
    };
    let (mut device, before, log) = logged(board);
    let operator = Operator::of(&device);
    let image = SlotImage::of(board).signed(&device, "key.pem");
    copy(&device.card(), &before);
    device.boot();
    let mut acknowledged = Vec::new();
    produce_logged(&log, 0, 3, &mut acknowledged);
    operator.updates(&image);
    operator.runs("b");
    produce_logged(&log, 3 * BATCH, 3, &mut acknowledged);
    device.cut(Signal::KILL);
    survives(board, &log, &before, &acknowledged, cuts);
}
