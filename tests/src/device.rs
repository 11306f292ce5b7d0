//! A device of a gateway: the crate `sedge-link` on a TCP connection or a serial line, which may be
//! noisy. The device can be reset.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use sedge_link::message::{Reason, Usage};
use sedge_link::{Buffers, Config, Device, Event, Topic};

use crate::noisy::change;

/// Where a gateway is.
#[derive(Clone, Debug)]
pub enum Place {
    Tcp(String),
    /// The other end of the gateway's serial line.
    Serial(PathBuf),
}

#[derive(Debug)]
enum Line {
    Tcp(TcpStream),
    Serial(File),
}

/// A record that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub partition: u32,
    pub offset: u64,
    pub value: Vec<u8>,
}

/// A device with its line.
#[derive(Debug)]
pub struct Board {
    place: Place,
    config: Config<'static>,
    secret: Option<String>,
    pub device: Device<'static>,
    line: Option<Line>,
    began: Instant,
    /// One byte of so many is changed, each way. 0: none.
    pub noise: u32,
    random: u64,
    pub connected: u32,
    pub topics_refused: Vec<(u8, Reason)>,
    pub readings_refused: Vec<(u32, u32, Reason)>,
    pub seen: Vec<Seen>,
    pub stopped: Option<Reason>,
}

/// Returns a topic that a device publishes to.
pub const fn publishes(name: &'static str) -> Topic<'static> {
    Topic {
        name,
        usage: Usage::Publish,
    }
}

impl Board {
    pub fn new(
        place: Place,
        identity: &'static str,
        instance: u32,
        topics: &'static [Topic<'static>],
    ) -> Self {
        let config = Config {
            identity,
            instance,
            is_kept: instance != 0,
            topics,
            answer_ms: 200,
        };
        Self {
            place,
            config,
            secret: None,
            device: device(config, 0),
            line: None,
            began: Instant::now(),
            noise: 0,
            random: 1,
            connected: 0,
            topics_refused: Vec::new(),
            readings_refused: Vec::new(),
            seen: Vec::new(),
            stopped: None,
        }
    }

    #[must_use]
    pub fn with_secret(mut self, secret: &str) -> Self {
        self.secret = Some(secret.to_owned());
        self
    }

    pub fn now_ms(&self) -> u32 {
        self.began.elapsed().as_millis() as u32
    }

    /// Forgets all but the identity and the instance, as a reset does.
    pub fn reset(&mut self) {
        self.device = device(self.config, self.now_ms());
    }

    /// Queues a reading; returns false if there is no room.
    pub fn publish(&mut self, topic: u8, value: &str) -> bool {
        let now_ms = self.now_ms();
        self.device.publish(topic, value.as_bytes(), now_ms).is_ok()
    }

    /// Steps until `is_so`, for at most a minute.
    pub fn wait(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !is_so(self) {
            self.step();
            assert!(Instant::now() < deadline, "{what}: {self:?}");
        }
    }

    /// Handles what arrived, and sends what is due. Rests for a moment if there is nothing to do.
    pub fn step(&mut self) {
        if self.line.is_none() {
            self.line = open(&self.place).ok();
        }
        let is_busy = self.try_step().unwrap_or_else(|_| {
            self.line = None;
            false
        });
        if !is_busy {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn try_step(&mut self) -> io::Result<bool> {
        let mut room = [0; 512];
        let read = match &mut self.line {
            None => return Ok(false),
            Some(Line::Tcp(stream)) => stream.read(&mut room),
            Some(Line::Serial(file)) => file.read(&mut room),
        };
        let length = match read {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let now_ms = self.now_ms();
        for byte in &mut room[..length] {
            change(byte, self.noise, &mut self.random);
            let event = self.device.handle_byte(*byte, now_ms);
            let mut nonce = None;
            match event {
                None | Some(Event::Acknowledged { .. }) => {}
                Some(Event::Connected { .. }) => self.connected += 1,
                Some(Event::Challenged { nonce: of }) => nonce = Some(of),
                Some(Event::TopicRefused { topic, reason }) => {
                    self.topics_refused.push((topic, reason));
                }
                Some(Event::Refused {
                    first,
                    count,
                    reason,
                }) => self.readings_refused.push((first, count, reason)),
                Some(Event::Delivered(record)) => self.seen.push(Seen {
                    partition: record.partition,
                    offset: record.offset,
                    value: record.value.to_vec(),
                }),
                Some(Event::Stopped { reason }) => self.stopped = Some(reason),
            }
            if let Some(nonce) = nonce {
                self.prove(&nonce);
            }
        }
        let mut is_busy = length > 0;
        while let Some(frame) = self.device.poll_transmit(now_ms) {
            let mut frame = frame.to_vec();
            for byte in &mut frame {
                change(byte, self.noise, &mut self.random);
            }
            write_all(self.line.as_mut(), &frame)?;
            is_busy = true;
        }
        Ok(is_busy)
    }

    fn prove(&mut self, nonce: &[u8]) {
        let (instance, attempt) = self.device.greeting();
        let mut signed = self.config.identity.as_bytes().to_vec();
        signed.extend_from_slice(&instance.to_le_bytes());
        signed.extend_from_slice(&attempt.to_le_bytes());
        signed.extend_from_slice(nonce);
        let secret = self.secret.as_deref().unwrap_or_default();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let mac = ring::hmac::sign(&key, &signed);
        let mac = mac.as_ref().first_chunk().copied().expect("32 bytes");
        self.device.prove(mac);
    }
}

fn device(config: Config<'static>, now_ms: u32) -> Device<'static> {
    // The memory of a device that was reset stays lost.
    let buffers: &'static mut Buffers<2048> = Box::leak(Box::default());
    Device::new(buffers, config, now_ms)
}

fn open(place: &Place) -> io::Result<Line> {
    match place {
        Place::Tcp(address) => {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(Line::Tcp(stream))
        }
        Place::Serial(path) => {
            let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
            let mut options = OpenOptions::new();
            options.read(true).write(true);
            let file = options
                .custom_flags(flags.bits().cast_signed())
                .open(path)?;
            Ok(Line::Serial(file))
        }
    }
}

/// Writes all bytes to a line that does not block.
fn write_all(line: Option<&mut Line>, mut bytes: &[u8]) -> io::Result<()> {
    let Some(line) = line else {
        return Ok(());
    };
    while !bytes.is_empty() {
        let written = match line {
            Line::Tcp(stream) => stream.write(bytes),
            Line::Serial(file) => file.write(bytes),
        };
        match written {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
