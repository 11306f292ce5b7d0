//! Devices that are programs of their own: the C header on Linux, and firmware in QEMU.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::device::Place;
use sedge_tests::noisy::Noisy;
use sedge_tests::process::Process;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::{committed, limits, tools};

use super::{Pair, Sedge, start, values};

/// Compiles the C device.
fn compile(into: &Path) -> std::path::PathBuf {
    let program = into.join("linux");
    let mut cc = Command::new("cc");
    cc.args([
        "-std=c99",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        "-o",
    ]);
    cc.arg(&program)
        .arg(tools::root().join("broker/link/c/linux.c"));
    tools::must(Process::run("cc", &mut cc, b"", limits::BUILD), "cc");
    program
}

fn address(place: Place) -> String {
    match place {
        Place::Tcp(address) => address,
        Place::Serial(path) => path.display().to_string(),
    }
}

/// Starts the C device, which publishes the lines of a file.
fn publish(program: &Path, address: &str, lines: &Path) -> std::process::Child {
    let mut command = Command::new(program);
    command.args([address, "pump-1", "1", "temperature"]);
    command.stdin(Stdio::from(File::open(lines).expect("it was written")));
    command.spawn().expect("it was compiled")
}

#[test]
fn a_device_in_c_publishes_each_line_once_over_noise_resets_and_kills() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("gateway-c");
    let program = compile(directory.path());
    let lines = directory.path().join("lines");
    let mut text = String::new();
    for number in 0..20_000 {
        writeln!(text, "{number}").expect("a string takes it");
    }
    std::fs::write(&lines, text).expect("the disk has room");
    let (mut broker, place) = start(&directory.path().join("data"), "");
    let noisy = Noisy::start(&address(place), 100);
    for round in 0..6 {
        let mut device = publish(&program, &noisy.address(), &lines);
        wait_for_more(&mut device, &broker);
        if round % 2 == 1 {
            broker.kill();
            broker.start_again();
            wait_for_more(&mut device, &broker);
        }
        device.kill().expect("it runs");
        device.wait().expect("it ends");
    }
    noisy.set(0);
    let mut device = publish(&program, &noisy.address(), &lines);
    assert!(device.wait().expect("it ends").success());
    let expected: Vec<u64> = (0..20_000).collect();
    let seen = values(&broker, "sensors.temperature");
    assert!(seen == expected, "{} values", seen.len());
}

/// Waits until the broker has some readings more, or the device has ended.
fn wait_for_more(device: &mut std::process::Child, broker: &Sedge) {
    let count = || sedge_tests::metrics::sample(broker.console(), "sedge_gateway_readings_total");
    let until = count() + 300.0;
    let deadline = std::time::Instant::now() + limits::COMMAND;
    while count() < until && matches!(device.try_wait(), Ok(None)) {
        assert!(
            std::time::Instant::now() < deadline,
            "{} of {until}",
            count()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts the firmware in QEMU; its UART is connected to the character device `serial`.
fn boot(firmware: &Path, serial: &str) -> Process {
    let mut qemu = Command::new("qemu-system-arm");
    qemu.args(["-M", "mps2-an386", "-display", "none", "-monitor", "none"]);
    qemu.args(["-semihosting-config", "enable=on,target=native"]);
    qemu.args([
        "-chardev",
        &format!("{serial},id=uart"),
        "-serial",
        "chardev:uart",
    ]);
    qemu.arg("-kernel").arg(firmware);
    Process::spawn("qemu", &mut qemu)
}

/// Builds the firmware. Returns `None` if this machine cannot run it.
fn firmware() -> Option<std::path::PathBuf> {
    if Command::new("qemu-system-arm")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: there is no qemu-system-arm");
        return None;
    }
    let mut cargo = Command::new("cargo");
    cargo.current_dir(tools::root()).args(["xtask", "firmware"]);
    tools::must(
        Process::run("cargo", &mut cargo, b"", limits::BUILD),
        "xtask firmware",
    );
    Some(tools::root().join("target/firmware/thumbv7em-none-eabi/release/firmware"))
}

/// The readings of the firmware: numbers of 16 digits.
fn numbers(broker: &Sedge, topic: &str) -> Vec<u64> {
    let read = committed::read(&broker.bootstrap(), topic)
        .into_values()
        .flatten();
    read.map(|value| value.parse().expect("a number")).collect()
}

#[test]
fn firmware_on_an_emulated_board_publishes_each_reading_once() {
    if is_skipped_on_kafka() {
        return;
    }
    let Some(firmware) = firmware() else {
        return;
    };
    let directory = TempDir::new("gateway-firmware");
    let (mut broker, place) = start(&directory.path().join("data"), "");
    let noisy = Noisy::start(&address(place), 300);
    let address = noisy.address();
    let (host, port) = address.split_once(':').expect("an address");
    let serial = format!("socket,host={host},port={port}");
    // The board is reset in the middle.
    let mut first = boot(&firmware, &serial);
    let has_some =
        || sedge_tests::metrics::sample(broker.console(), "sedge_gateway_readings_total");
    let deadline = std::time::Instant::now() + limits::COMMAND;
    while has_some() < 100.0 && first.try_exit().is_none() {
        assert!(std::time::Instant::now() < deadline, "{}", first.tail());
        std::thread::sleep(Duration::from_millis(5));
    }
    first.kill();
    broker.kill();
    broker.start_again();
    let mut second = boot(&firmware, &serial);
    let status = second.wait_exit(limits::COMMAND);
    assert!(status.success(), "{}", second.tail());
    let expected: Vec<u64> = (0..1000).collect();
    assert_eq!(numbers(&broker, "sensors.firmware"), expected);
    let output = second.output();
    let line = output
        .stdout
        .iter()
        .chain(&output.stderr)
        .find(|line| line.contains("stack"));
    let line = line.expect("the firmware says what it used").clone();
    let words: Vec<&str> = line.split_whitespace().collect();
    let used: u32 = [words[1], words[3]]
        .iter()
        .map(|of| of.parse::<u32>().expect("a number"))
        .sum();
    println!("{line}");
    assert!(used <= 2048, "{line}");
}

#[test]
fn firmware_talks_over_a_serial_line() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("gateway-uart");
    let (Some(pair), Some(firmware)) = (Pair::start(directory.path()), firmware()) else {
        return;
    };
    let broker = super::start_serial(&directory.path().join("data"), &pair);
    // QEMU opens the other end as a serial port of its own machine.
    let mut board = boot(
        &firmware,
        &format!("serial,path={}", pair.ends[1].display()),
    );
    let status = board.wait_exit(limits::COMMAND);
    assert!(status.success(), "{}", board.tail());
    let expected: Vec<u64> = (0..1000).collect();
    assert_eq!(numbers(&broker, "firmware"), expected);
}
