//! Boots the images of the `qemu-` boards through their firmware, with real clients outside.
//!
//! `cargo xtask test --only image` makes the images and runs these tests.

mod device;
mod operator;
mod power;
mod slot;
mod updates;
mod write_log;

use std::fs;
use std::time::Instant;

use device::{Device, consume, produce};
use rustix::process::Signal;
use sedge_tests::soak::is_long;

/// Power cuts of the short form and of the long one.
const CUTS: (usize, usize) = (1, 30);

/// Boots, produces, pulls the plug, and reads everything that was acknowledged after the next boot.
fn keeps_what_it_acknowledged(board: &str) {
    let mut device = Device::new(board);
    let started = Instant::now();
    device.boot();
    produce(0, 1);
    eprintln!(
        "{board}: {:.1} s from power-on to the first acknowledged produce",
        started.elapsed().as_secs_f64()
    );
    device.wait_for("readiness: ok");
    device.wait_for("the data partition has");
    let mut next = 1;
    for _ in 0..if is_long() { CUTS.1 } else { CUTS.0 } {
        produce(next, 100);
        next += 100;
        device.cut(Signal::KILL);
        device.boot();
        let numbers: Vec<i64> = (0..next).collect();
        assert_eq!(consume(), numbers, "{}", device.console());
    }
    let names = ["sedge-a.conf"];
    assert_eq!(device.boot_entries(), names, "slot A is good");
}

#[test]
#[ignore = "needs images: cargo xtask test --only image"]
fn an_x86_image_boots_and_keeps_what_it_acknowledged() {
    keeps_what_it_acknowledged("qemu-x86_64");
}

#[test]
#[ignore = "needs images: cargo xtask test --only image"]
fn an_arm_image_boots_and_keeps_what_it_acknowledged() {
    keeps_what_it_acknowledged("qemu-arm64");
}

#[test]
#[ignore = "needs images: cargo xtask test --only image"]
fn a_broken_configuration_boots_with_the_board_s_settings_and_says_so() {
    let mut device = Device::new("qemu-x86_64");
    let config = device.file("config");
    fs::write(
        &config,
        "listeners = \"PLAINTEXT://0.0.0.0:9092\"\nno.such.key = 1\n",
    )
    .expect("a scratch file");
    device.put("config", &config, "sedge.toml");
    device.start();
    device.wait_for("sedge.toml cannot be used, so the board's settings are used");
    device.wait_for("sedge ready: kafka=127.0.0.1:9092");
    device.wait_for("readiness: ok; sedge.toml cannot be used");
}

#[test]
#[ignore = "needs images: cargo xtask test --only image"]
fn images_are_reproducible() {
    let device = Device::new("qemu-arm64");
    let again = device.make_again();
    assert!(
        fs::read(device.image()).expect("the image") == fs::read(&again).expect("the image"),
        "two images of the same sources differ: {}",
        again.display()
    );
}
