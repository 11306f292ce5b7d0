//! Updates of a device: taken, refused, cut, and gone back from.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use sedge_tests::soak::{Random, is_long};

use super::device::{Device, consume, images, produce, run};
use super::operator::Operator;
use super::slot::SlotImage;

/// The key that the images trust.
const KEY: &str = "key.pem";
/// A key that they trust, and have revoked.
const REVOKED: &str = "revoked.pem";
/// Cuts of the long form, at random moments of an update.
const CUTS: i64 = 30;
/// The time that an update takes here, from which the moments are chosen.
const UPDATE_MS: u64 = 90_000;

/// A device that runs, its operator, and the image to update to.
fn start(board: &str) -> (Device, Operator, PathBuf) {
    let mut device = Device::new(board);
    let operator = Operator::of(&device);
    let image = SlotImage::of(board).signed(&device, KEY);
    device.boot();
    produce(0, 100);
    (device, operator, image)
}

fn is_updated(board: &str) {
    let (mut device, operator, image) = start(board);
    operator.runs("a");
    operator.updates(&image);
    operator.runs("b");
    assert_eq!(consume(), (0..100).collect::<Vec<_>>());
    let mut entries = device.boot_entries();
    entries.sort();
    assert_eq!(entries, ["sedge-a.conf", "sedge-b.conf"]);
    // From B back to A, and over a power cut.
    operator.updates(&image);
    operator.runs("a");
    produce(100, 100);
    device.cut(Signal::KILL);
    device.boot();
    operator.runs("a");
    assert_eq!(consume(), (0..200).collect::<Vec<_>>());
    let listed = operator.must(&["list"]);
    assert!(
        listed.contains(board) && listed.contains("good"),
        "{listed}"
    );
    let logs = operator.must(&["logs"]);
    assert!(logs.contains("init: slot a"), "{logs}");
}

#[test]
#[ignore = "needs images: cargo xtask test --only image"]
fn an_x86_device_is_updated_and_keeps_its_data() {
    is_updated("qemu-x86_64");
}

#[test]
#[ignore = "needs images: cargo xtask test --only image"]
fn an_arm_device_is_updated_and_keeps_its_data() {
    if is_long() {
        is_updated("qemu-arm64");
    } else {
        eprintln!("skipped: the x86 device is updated; set SEDGE_SOAK=1 for this one");
    }
}

#[test]
#[ignore = "needs images: cargo xtask test --only image"]
fn an_update_that_the_device_must_not_take_is_refused_before_anything_is_written() {
    let board = "qemu-x86_64";
    let (device, operator, image) = start(board);
    let refused = |image: PathBuf, why: &str| {
        let told = operator.fails_to_update(&image);
        assert!(told.contains(why), "{told}");
    };
    let own = || SlotImage::of(board);
    refused(own().signed(&device, REVOKED), "is revoked");
    refused(
        own().with_line("board", "rpi4").signed(&device, KEY),
        "is for the board rpi4",
    );
    // The data was written by a newer broker than that of the image.
    let older = own().with_line("data.format", "0").signed(&device, KEY);
    refused(older, "the data on the device has the format 1");
    // Signed, and changed afterwards.
    own().signed(&device, KEY);
    let bytes = fs::read(&image).expect("the image");
    let text = b"data.format=1";
    let at = bytes
        .windows(text.len())
        .position(|part| part == text)
        .expect("the line");
    let mut forged = bytes.clone();
    forged[at + text.len() - 1] = b'2';
    fs::write(&image, &forged).expect("a scratch file");
    refused(image.clone(), "no key that the device trusts");
    assert_eq!(device.boot_entries(), ["sedge-a.conf"]);
    // A part that is not what was signed is found when it is written, and the slot is not offered.
    let mut damaged = bytes;
    *damaged.last_mut().expect("not empty") ^= 1;
    fs::write(&image, &damaged).expect("a scratch file");
    refused(image, "the part initrd is not what was signed");
    // The firmware would not come back from a kernel that it cannot start.
    let kernel = own().with_part("vmlinuz", b"no kernel");
    refused(kernel.signed(&device, KEY), "its kernel is no program");
    assert_eq!(device.boot_entries(), ["sedge-a.conf"]);
    operator.runs("a");
    assert_eq!(consume(), (0..100).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs images: cargo xtask test --only image"]
fn a_device_goes_back_from_a_slot_that_is_not_good() {
    let board = "qemu-x86_64";
    let (device, operator, _) = start(board);
    let goes_back = |slot: SlotImage, why: &str| {
        let told = operator.fails_to_update(&slot.signed(&device, KEY));
        assert!(
            told.contains("went back to slot a") && told.contains(why),
            "{told}"
        );
        operator.runs("a");
        assert_eq!(consume(), (0..100).collect::<Vec<_>>());
    };
    let own = || SlotImage::of(board);
    // The kernel finds no init in it, panics, and restarts.
    goes_back(
        own().with_part("initrd", b"no archive"),
        "did not start its init",
    );
    goes_back(
        own().with_part("root", &broken_root(&device, board)),
        "did not stay well",
    );
}

/// Returns a root partition whose broker cannot be started.
fn broken_root(device: &Device, board: &str) -> Vec<u8> {
    let (root, image) = (device.file("root"), device.file("root.erofs"));
    let mut copy = Command::new("cp");
    copy.arg("-a")
        .arg(images().join(format!("{board}.root")))
        .arg(&root);
    run("cp", &mut copy);
    fs::write(root.join("usr/bin/sedge"), "no program").expect("a scratch file");
    let mut make = Command::new("mkfs.erofs");
    make.args(["--quiet", "--all-root"]).args([&image, &root]);
    run("mkfs.erofs", &mut make);
    fs::read(image).expect("the root")
}

/// Cuts the power in the middle of updates, and reads what was acknowledged after each.
fn survives_cuts(board: &str, cuts: i64) {
    let (mut device, operator, image) = start(board);
    let mut random = Random::new();
    eprintln!("SEDGE_SEED={}", random.seed());
    let mut next = 100;
    for cut in 0..cuts {
        let mut update = operator.start_update(&image);
        if cut == 0 {
            device.wait_for_write();
        } else {
            std::thread::sleep(Duration::from_millis(random.below(UPDATE_MS)));
        }
        device.cut(Signal::KILL);
        update.kill();
        device.boot();
        assert_eq!(
            consume(),
            (0..next).collect::<Vec<_>>(),
            "{}",
            device.console()
        );
        produce(next, 100);
        next += 100;
        let slot = operator.info()["slot"].clone();
        if cut == 0 {
            assert_eq!(slot, "a", "the update was not whole");
        }
        operator.runs(&slot);
    }
    let before = operator.info()["slot"].clone();
    operator.updates(&image);
    operator.runs(if before == "a" { "b" } else { "a" });
    assert_eq!(consume(), (0..next).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs images: cargo xtask test --only image"]
fn an_x86_device_starts_again_after_a_cut_in_its_update() {
    if is_long() {
        survives_cuts("qemu-x86_64", CUTS);
    } else {
        eprintln!(
            "skipped: power.rs cuts an update and loses writes; set SEDGE_SOAK=1 for this one"
        );
    }
}

#[test]
#[ignore = "needs images: cargo xtask test --only image"]
fn an_arm_device_starts_again_after_cuts_in_its_updates() {
    if is_long() {
        survives_cuts("qemu-arm64", CUTS);
    } else {
        eprintln!("skipped: the x86 device is cut; set SEDGE_SOAK=1 for this one");
    }
}
