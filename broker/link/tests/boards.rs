//! Devices that are programs of their own, against the broker's end: the C header on Linux, and the
//! firmware on an emulated board.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sedge_link::{Port, PortEvent, Welcomed};

const LIMIT: Duration = Duration::from_mins(2);

/// The broker's end: a log, and the next reading of each instance.
struct Host {
    listener: TcpListener,
    stream: Option<TcpStream>,
    port: Port,
    log: Vec<String>,
    next: HashMap<u32, u32>,
    instance: u32,
    began: Instant,
    /// One byte of so many is changed, each way. 0: none.
    noise: u32,
    random: u64,
}

impl Host {
    fn start(noise: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        listener.set_nonblocking(true).expect("a socket");
        Self {
            listener,
            stream: None,
            port: Port::default(),
            log: Vec::new(),
            next: HashMap::new(),
            instance: 0,
            began: Instant::now(),
            noise,
            random: 1,
        }
    }

    fn address(&self) -> String {
        self.listener.local_addr().expect("it is bound").to_string()
    }

    fn draw(&mut self) -> u32 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.random >> 33) as u32
    }

    fn change(&mut self, byte: u8) -> u8 {
        let drawn = self.draw();
        if self.noise > 0 && drawn.is_multiple_of(self.noise) {
            byte ^ (drawn >> 16) as u8 | 1
        } else {
            byte
        }
    }

    /// Forgets the session, as a broker that was killed does.
    fn reset(&mut self) {
        self.port = Port::default();
    }

    /// Serves until `is_done`.
    fn serve(&mut self, mut is_done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_done(self) {
            assert!(Instant::now() < deadline, "{} readings", self.log.len());
            if let Ok((stream, _)) = self.listener.accept() {
                stream.set_nodelay(true).expect("a socket");
                let wait = Some(Duration::from_millis(5));
                stream.set_read_timeout(wait).expect("a socket");
                stream.set_nonblocking(false).expect("a socket");
                self.stream = Some(stream);
                self.reset();
            }
            if self.step().is_none() {
                self.stream = None;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Returns `None` if there is no connection.
    fn step(&mut self) -> Option<()> {
        let mut room = [0; 512];
        let length = match self.stream.as_mut()?.read(&mut room) {
            Ok(0) => return None,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(_) => return None,
        };
        let now_ms = self.began.elapsed().as_millis() as u32;
        for byte in &room[..length] {
            let byte = self.change(*byte);
            self.handle(byte, now_ms);
        }
        while let Some(frame) = self.port.poll_transmit(now_ms) {
            let frame = frame.to_vec();
            let frame: Vec<u8> = frame.into_iter().map(|byte| self.change(byte)).collect();
            self.stream.as_mut()?.write_all(&frame).ok()?;
        }
        Some(())
    }

    fn handle(&mut self, byte: u8, now_ms: u32) {
        let session = self.draw() | 1;
        match self.port.handle_byte(byte, now_ms) {
            Some(PortEvent::Greeting(greeting)) => {
                let instance = match greeting.instance {
                    0 => session,
                    instance => instance,
                };
                let next = *self.next.entry(instance).or_insert(greeting.first);
                self.instance = instance;
                self.port.welcome(Welcomed {
                    session,
                    instance,
                    next,
                    window: 100,
                    unix_ms: 1_700_000_000_000,
                });
            }
            Some(PortEvent::Topic(topic)) => {
                let alias = topic.alias;
                self.port.topic(alias, None);
            }
            Some(PortEvent::Publication(publication)) => {
                let next = publication.next;
                let values = publication.readings.map(|reading| {
                    String::from_utf8(reading.value.to_vec()).expect("a number in digits")
                });
                self.log.extend(values);
                self.next.insert(self.instance, next);
                self.port.committed(next);
            }
            _ => {}
        }
    }

    /// Returns the readings as numbers.
    fn numbers(&self) -> Vec<u32> {
        let number = |value: &String| value.parse().expect("a number");
        self.log.iter().map(number).collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn ended(child: &mut Child) -> bool {
    child.try_wait().expect("it was started").is_some()
}

#[test]
fn a_device_in_c_publishes_each_line_once_over_noise_and_resets() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (program, lines) = (directory.join("linux"), directory.join("lines"));
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
    cc.arg(&program).arg(root().join("broker/link/c/linux.c"));
    match cc.status() {
        Ok(status) => assert!(status.success()),
        Err(_) => return eprintln!("skipped: there is no C compiler"),
    }
    let text: String = (0..4000)
        .flat_map(|number| [number.to_string(), "\n".to_owned()])
        .collect();
    std::fs::write(&lines, text).expect("the disk has room");
    let mut host = Host::start(100);
    let publish = |address: &str| {
        let mut command = Command::new(&program);
        let lines = std::fs::File::open(&lines).expect("it was written");
        command
            .args([address, "pump-1", "7", "numbers"])
            .stdin(lines);
        command.spawn().expect("it was compiled")
    };
    for round in 1..5 {
        let mut device = publish(&host.address());
        host.serve(|host| host.log.len() >= round * 700);
        // The session is lost in the middle, then the device.
        host.reset();
        host.serve(|host| host.log.len() >= round * 700 + 100);
        device.kill().expect("it runs");
        device.wait().expect("it ends");
    }
    let mut device = publish(&host.address());
    host.serve(|_| ended(&mut device));
    assert!(device.wait().expect("it ends").success());
    assert!(host.numbers().into_iter().eq(0..4000), "{}", host.log.len());
    assert!(host.port.noise() > 0);
}

#[test]
fn firmware_on_an_emulated_board_publishes_each_reading_once_in_2_kib_of_ram() {
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !is_there("qemu-system-arm") {
        return eprintln!("skipped: there is no qemu-system-arm");
    }
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(root()).args(["xtask", "firmware"]);
    let built = build.stdout(Stdio::null()).status().expect("cargo runs");
    assert!(built.success(), "cargo xtask firmware");
    let firmware = root().join("target/firmware/thumbv7em-none-eabi/release/firmware");
    let mut host = Host::start(500);
    let boot = |address: &str| {
        let mut qemu = Command::new("qemu-system-arm");
        qemu.args(["-M", "mps2-an386", "-display", "none", "-monitor", "none"]);
        qemu.args(["-semihosting-config", "enable=on,target=native", "-serial"]);
        qemu.arg(format!("tcp:{address}"))
            .arg("-kernel")
            .arg(&firmware);
        qemu.stdout(Stdio::piped()).stderr(Stdio::piped());
        qemu.spawn().expect("it is there")
    };
    for round in 1..4 {
        let mut board = boot(&host.address());
        host.serve(|host| host.log.len() >= round * 200);
        board.kill().expect("it runs");
        board.wait().expect("it ends");
    }
    let mut board = boot(&host.address());
    host.serve(|_| ended(&mut board));
    let output = board.wait_with_output().expect("it has ended");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(host.numbers().into_iter().eq(0..1000), "{}", host.log.len());
    // "variables N stack N"
    println!("{told}");
    let numbers = told
        .split_whitespace()
        .filter_map(|word| word.parse::<u32>().ok());
    let used: u32 = numbers.sum();
    assert!((1..=2048).contains(&used), "{told}");
}
