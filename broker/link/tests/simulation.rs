//! A device and the broker's end over a bad wire: byte errors, cut and repeated frames, resets of
//! both ends, a full broker. A seed determines the whole history:
//! `SEDGE_SEED=7 cargo test -p sedge-link --test simulation`.

use std::collections::{BTreeMap, HashMap, VecDeque};

use sedge_link::message::{Reason, Up, Usage};
use sedge_link::{
    Buffers, Config, Device, Event, Frame, Port, PortEvent, Publication, Receiver, Seen, Topic,
    Welcomed,
};

const READINGS: u64 = 1_000_000;
const TOPICS: &[Topic<'static>] = &[
    Topic {
        name: "a",
        usage: Usage::Publish,
    },
    Topic {
        name: "b",
        usage: Usage::Publish,
    },
];
const QUEUE: usize = 1024;
/// Readings that the broker takes ahead of its commits.
const WINDOW: u16 = 256;
/// Bytes that pass the wire in a millisecond, each way.
const BYTES_PER_MS: usize = 200;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One in `of`.
    fn is_one(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// One direction of the wire.
#[derive(Default)]
struct Wire {
    bytes: VecDeque<u8>,
    /// Frames that may come again.
    seen: Vec<Vec<u8>>,
}

impl Wire {
    fn send(&mut self, frame: &[u8], random: &mut Random, is_bad: bool) {
        let mut sent = frame.to_vec();
        if is_bad {
            if self.seen.len() < 64 {
                self.seen.push(sent.clone());
            } else if random.is_one(50) {
                let place = random.below(64) as usize;
                self.seen[place].clone_from(&sent);
            }
            for byte in &mut sent {
                if random.is_one(100) {
                    *byte = random.next() as u8;
                }
            }
            if random.is_one(200) {
                sent.truncate(random.below(sent.len() as u64) as usize);
            }
        }
        self.bytes.extend(sent);
        if is_bad && random.is_one(100) {
            let again = &self.seen[random.below(self.seen.len() as u64) as usize];
            self.bytes.extend(again);
        }
    }

    /// What was on its way when an end was reset is cut somewhere.
    fn cut(&mut self, random: &mut Random) {
        let left = random.below(self.bytes.len() as u64 + 1) as usize;
        self.bytes.truncate(left);
    }
}

/// The broker: a log, and what it knows of the device, which is written with the records.
struct Broker {
    port: Port,
    log: Vec<u64>,
    /// The next reading of each instance.
    next: HashMap<u32, u32>,
    instance: u32,
    pending: Vec<u64>,
    pending_next: u32,
    /// What is being written, and when it is.
    writing: Option<(Vec<u64>, u32, u32)>,
    full_until_ms: u32,
}

impl Broker {
    fn new() -> Self {
        Self {
            port: Port::default(),
            log: Vec::new(),
            next: HashMap::new(),
            instance: 0,
            pending: Vec::new(),
            pending_next: 0,
            writing: None,
            full_until_ms: 0,
        }
    }

    fn write(&mut self) -> Option<u32> {
        let (values, next, _) = self.writing.take()?;
        self.log.extend(values);
        self.next.insert(self.instance, next);
        Some(next)
    }

    /// A kill: what is being written is written or not.
    fn reset(&mut self, random: &mut Random) {
        if random.is_one(2) {
            self.write();
        }
        self.writing = None;
        self.pending.clear();
        self.port = Port::default();
    }

    fn handle(&mut self, byte: u8, now_ms: u32, random: &mut Random) {
        let Some(event) = self.port.handle_byte(byte, now_ms) else {
            return;
        };
        match event {
            PortEvent::Greeting(greeting) => {
                let instance = match greeting.instance {
                    0 => random.next() as u32 | 1,
                    instance => instance,
                };
                let first = greeting.first;
                // The write that is under way belongs to the session before.
                self.write();
                let next = *self.next.entry(instance).or_insert(first);
                self.instance = instance;
                self.pending.clear();
                self.port.welcome(Welcomed {
                    session: random.next() as u32 | 1,
                    instance,
                    next,
                    window: WINDOW,
                    unix_ms: u64::from(now_ms),
                });
            }
            PortEvent::Topic(topic) => {
                let alias = topic.alias;
                self.port.topic(alias, None);
            }
            PortEvent::Publication(Publication { readings, next, .. }) => {
                let values = readings.map(|reading| {
                    u64::from_le_bytes(reading.value.first_chunk().copied().expect("8 bytes"))
                });
                self.pending.extend(values);
                self.pending_next = next;
            }
            PortEvent::Time { sent_ms } => self.port.tell_time(sent_ms, u64::from(now_ms)),
            PortEvent::Received | PortEvent::Proof(_) => {}
        }
    }

    fn work(&mut self, now_ms: u32, random: &mut Random, is_bad: bool) {
        if is_bad && random.is_one(20_000) {
            self.full_until_ms = now_ms + 300;
            self.pending.clear();
            self.port.rewind();
            if self.writing.is_some() {
                // It comes through: what follows it is asked for again.
                let next = self.write().expect("a write");
                self.port.committed(next);
                self.port.rewind();
            }
            self.port.set_window(0);
        }
        if self.full_until_ms != 0 && now_ms >= self.full_until_ms {
            self.full_until_ms = 0;
            self.port.set_window(WINDOW);
        }
        if self
            .writing
            .as_ref()
            .is_some_and(|(.., due)| now_ms >= *due)
        {
            let next = self.write().expect("a write");
            self.port.committed(next);
        }
        if self.writing.is_none() && !self.pending.is_empty() && self.full_until_ms == 0 {
            let due = now_ms + random.below(5) as u32;
            let values = std::mem::take(&mut self.pending);
            self.writing = Some((values, self.pending_next, due));
        }
    }
}

struct Simulation {
    random: Random,
    now_ms: u32,
    up: Wire,
    down: Wire,
    broker: Broker,
    device: Device<'static>,
    is_kept: bool,
    is_bad: bool,
    /// The next value of the source.
    position: u64,
    /// Values in the device's queue, by their sequence number.
    queued: BTreeMap<u32, u64>,
    acknowledged: Vec<u64>,
    device_resets: u32,
    broker_resets: u32,
}

impl Simulation {
    fn new(seed: u64, is_kept: bool) -> Self {
        let mut random = Random(seed);
        let device = device(&mut random, is_kept, 0);
        Self {
            random,
            now_ms: 0,
            up: Wire::default(),
            down: Wire::default(),
            broker: Broker::new(),
            device,
            is_kept,
            is_bad: true,
            position: 0,
            queued: BTreeMap::new(),
            acknowledged: Vec::new(),
            device_resets: 0,
            broker_resets: 0,
        }
    }

    fn reset_device(&mut self) {
        self.device_resets += 1;
        self.device = device(&mut self.random, self.is_kept, self.now_ms);
        self.queued.clear();
        self.up.cut(&mut self.random);
    }

    fn tick(&mut self) {
        self.now_ms += 1;
        let now_ms = self.now_ms;
        if self.is_bad && self.random.is_one(3000) {
            self.reset_device();
        }
        if self.is_bad && self.random.is_one(3000) {
            self.broker_resets += 1;
            self.broker.reset(&mut self.random);
            self.down.cut(&mut self.random);
        }
        for _ in 0..BYTES_PER_MS {
            let Some(byte) = self.up.bytes.pop_front() else {
                break;
            };
            self.broker.handle(byte, now_ms, &mut self.random);
        }
        self.broker.work(now_ms, &mut self.random, self.is_bad);
        while let Some(frame) = self.broker.port.poll_transmit(now_ms) {
            self.down.send(frame, &mut self.random, self.is_bad);
        }
        for _ in 0..BYTES_PER_MS {
            let Some(byte) = self.down.bytes.pop_front() else {
                break;
            };
            match self.device.handle_byte(byte, now_ms) {
                Some(Event::Connected { next }) => {
                    if self.is_kept {
                        self.queued.retain(|sequence, _| *sequence >= next);
                        if self.queued.is_empty() {
                            self.position = u64::from(next);
                        }
                    } else {
                        acknowledge(&mut self.queued, next, &mut self.acknowledged);
                    }
                }
                Some(Event::Acknowledged { next }) => {
                    acknowledge(&mut self.queued, next, &mut self.acknowledged);
                }
                _ => {}
            }
        }
        while self.up.bytes.len() < BYTES_PER_MS {
            match self.device.poll_transmit(now_ms) {
                Some(frame) => self.up.send(frame, &mut self.random, self.is_bad),
                None => break,
            }
        }
    }

    fn publish(&mut self, until: u64) {
        let is_ready = !self.is_kept || self.device.is_open();
        while is_ready && self.position < until {
            let value = self.position.to_le_bytes();
            let topic = u8::from(self.position % 100 < 10);
            match self.device.publish(topic, &value, self.now_ms) {
                Ok(sequence) => self.queued.insert(sequence, self.position),
                Err(_) => break,
            };
            self.position += 1;
        }
    }

    fn run(&mut self, readings: u64) {
        while self.position < readings {
            self.publish(readings);
            self.tick();
        }
        self.is_bad = false;
        let deadline = self.now_ms + 120_000;
        while self.position < readings || self.device.queued() > 0 || !self.device.is_open() {
            self.publish(readings);
            self.tick();
            assert!(self.now_ms < deadline, "the link is stuck");
        }
    }
}

fn acknowledge(queued: &mut BTreeMap<u32, u64>, next: u32, acknowledged: &mut Vec<u64>) {
    while let Some(entry) = queued.first_entry() {
        if *entry.key() >= next {
            break;
        }
        acknowledged.push(entry.remove());
    }
}

fn device(random: &mut Random, is_kept: bool, now_ms: u32) -> Device<'static> {
    let instance = if is_kept { 7 } else { random.next() as u32 | 1 };
    let config = Config {
        identity: "pump-1",
        instance,
        is_kept,
        topics: TOPICS,
        answer_ms: 50,
    };
    // The memory of a device that was reset stays lost.
    let buffers: &'static mut Buffers<QUEUE> = Box::leak(Box::default());
    Device::new(buffers, config, now_ms)
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SEDGE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEDGE_SEEDS").unwrap_or(default),
    }
}

/// The bar: a device whose source is kept loses nothing and doubles nothing, whatever is reset.
#[test]
fn a_million_readings_arrive_once_and_in_order() {
    for seed in seeds(1) {
        let mut simulation = Simulation::new(seed, true);
        simulation.run(READINGS);
        let log = &simulation.broker.log;
        assert_eq!(log.len() as u64, READINGS, "seed {seed}");
        let wrong = log
            .iter()
            .enumerate()
            .find(|(at, value)| *at as u64 != **value);
        assert_eq!(wrong, None, "seed {seed}");
        println!(
            "seed {seed}: {READINGS} readings, {} resets of the device, {} of the broker, {} s of \
             the wire, noise {} and {}",
            simulation.device_resets,
            simulation.broker_resets,
            simulation.now_ms / 1000,
            simulation.broker.port.noise(),
            simulation.device.noise(),
        );
        assert!(simulation.device_resets > 10 && simulation.broker_resets > 10);
    }
}

/// A device that forgets loses what was not acknowledged, and nothing else.
#[test]
fn what_was_acknowledged_is_there_once_whatever_a_device_forgets() {
    for seed in seeds(20) {
        let mut simulation = Simulation::new(seed, false);
        simulation.run(20_000);
        let log = &simulation.broker.log;
        assert!(
            log.is_sorted_by(|a, b| a < b),
            "seed {seed}: in order, and none twice"
        );
        for value in &simulation.acknowledged {
            assert!(
                log.binary_search(value).is_ok(),
                "seed {seed}: {value} is lost"
            );
        }
    }
}

/// Whoever has the session can send anything: no length is believed.
#[test]
fn forged_messages_do_no_harm() {
    let mut random = Random(1);
    let mut port = Port::default();
    let mut device = device(&mut random, false, 0);
    let (mut up, mut down) = (Frame::default(), Frame::default());
    for round in 0..200_000_u32 {
        if round % 100 == 0 {
            port = Port::default();
            port.welcome(Welcomed {
                session: 9,
                instance: 1,
                next: 0,
                window: 10,
                unix_ms: 0,
            });
            let _ = port.poll_transmit(0);
        }
        for (frame, is_up) in [(&mut up, true), (&mut down, false)] {
            let length = random.below(60) as usize;
            for place in &mut frame.message()[..length] {
                *place = random.next() as u8;
            }
            frame.message()[0] = random.below(12) as u8;
            let session = if random.is_one(2) { 9 } else { 0 };
            for byte in frame.seal(length, session) {
                if is_up {
                    if let Some(PortEvent::Publication(publication)) =
                        port.handle_byte(*byte, round)
                    {
                        let count = publication.readings.count();
                        assert!(count <= 250);
                    }
                } else {
                    let _ = device.handle_byte(*byte, round);
                }
            }
        }
        let _ = device.publish(0, b"12345678", round);
        while device.poll_transmit(round).is_some() {}
        while port.poll_transmit(round).is_some() {}
    }
}

/// 16-byte readings at a steady pace take less than 20 bytes of overhead each, alone or together.
#[test]
fn a_reading_costs_few_bytes() {
    let check = |readings: u32, overhead_max: usize| {
        let mut buffers = Buffers::<QUEUE>::new();
        let mut device = Device::new(
            &mut buffers,
            Config {
                identity: "pump-1",
                instance: 7,
                is_kept: false,
                topics: &[],
                answer_ms: 500,
            },
            0,
        );
        let mut frame = Frame::default();
        let _ = device.poll_transmit(0);
        let welcome = sedge_link::message::Down::Welcome {
            attempt: 1,
            session: 9,
            instance: 7,
            next: 0,
            window: 100,
            unix_ms: 0,
        };
        let length = sedge_link::message::write(&welcome, frame.message()).unwrap();
        for byte in frame.seal(length, 0) {
            let _ = device.handle_byte(*byte, 0);
        }
        for at in 0..readings {
            device.publish(0, &[7; 16], at * 10).unwrap();
        }
        let mut receiver = Receiver::default();
        let (mut bytes, mut frames) = (0, 0);
        while let Some(frame) = device.poll_transmit(readings * 10) {
            bytes += frame.len();
            for byte in frame {
                if let Some(Seen::Message(message)) = receiver.push(*byte, 9) {
                    let up = sedge_link::message::read::<Up<'_>>(message);
                    assert!(matches!(up, Some(Up::Publish { .. })), "{up:?}");
                    frames += 1;
                }
            }
        }
        let overhead = (bytes - readings as usize * 16).div_ceil(readings as usize);
        println!("{readings} readings in {frames} frames: {bytes} bytes");
        assert!(overhead <= overhead_max, "{overhead}");
    };
    check(1, 15);
    check(13, 3);
    check(39, 3);
}

/// A device stops when another one takes its identity, and goes on when it is told to.
#[test]
fn a_replaced_device_rests_until_it_is_restarted() {
    let mut simulation = Simulation::new(3, false);
    simulation.is_bad = false;
    while !simulation.device.is_open() {
        simulation.tick();
    }
    simulation.broker.port.bye(Reason::Replaced);
    simulation.publish(10);
    for _ in 0..60_000 {
        simulation.tick();
    }
    assert_eq!(simulation.broker.log, [0_u64; 0]);
    simulation.device.restart(simulation.now_ms);
    simulation.run(100);
    assert_eq!(simulation.broker.log.len(), 100);
}

/// The bar of throughput, with the queue of the example firmware, on a wire that takes 11.52 bytes
/// a millisecond each way, and commits of 5 milliseconds.
#[test]
fn readings_of_16_bytes_fill_85_percent_of_a_wire_at_115200_baud() {
    const FIRMWARE_QUEUE: usize = 640;
    const SECONDS: u32 = 60;
    let mut random = Random(1);
    let mut broker = Broker::new();
    let buffers: &'static mut Buffers<FIRMWARE_QUEUE> = Box::leak(Box::default());
    let config = Config {
        identity: "pump-1",
        instance: 7,
        is_kept: false,
        topics: TOPICS,
        answer_ms: 200,
    };
    let mut device = Device::new(buffers, config, 0);
    let (mut up, mut down) = (Wire::default(), Wire::default());
    let mut tenths = 0;
    for now_ms in 0..SECONDS * 1000 {
        while device.publish(0, &[1; 16], now_ms).is_ok() {}
        tenths += 1152;
        while tenths >= 100 {
            tenths -= 100;
            if let Some(byte) = up.bytes.pop_front() {
                broker.handle(byte, now_ms, &mut random);
            }
            if let Some(byte) = down.bytes.pop_front() {
                let _ = device.handle_byte(byte, now_ms);
            }
            // A device writes a frame when the one before has left.
            if up.bytes.is_empty()
                && let Some(frame) = device.poll_transmit(now_ms)
            {
                up.bytes.extend(frame);
            }
        }
        if broker
            .writing
            .as_ref()
            .is_some_and(|(.., due)| now_ms >= *due)
        {
            let next = broker.write().expect("a write");
            broker.port.committed(next);
        }
        if broker.writing.is_none() && !broker.pending.is_empty() {
            let values = std::mem::take(&mut broker.pending);
            broker.writing = Some((values, broker.pending_next, now_ms + 5));
        }
        while let Some(frame) = broker.port.poll_transmit(now_ms) {
            down.bytes.extend(frame);
        }
    }
    let carried = broker.log.len() as f64 * 16.0;
    let share = carried / (f64::from(SECONDS) * 11_520.0);
    println!("{:.1} % of the wire are values of readings", share * 100.0);
    assert!(share >= 0.85, "{share}");
}
