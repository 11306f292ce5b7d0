//! Clients that write one record after the other, each when the one before is acknowledged.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sedge_tests::limits;
use sedge_tests::wire::{self, Batch, Connection, PRODUCE_VERSION, error, key};

use crate::target::Target;

/// Records of each that are waited for beside an attack: enough for a 99th percentile.
const RECORDS: usize = 100;
const PAUSE: Duration = Duration::from_millis(2);

pub struct GoodClients {
    is_over: Arc<AtomicBool>,
    clients: Vec<Writing>,
}

/// The times of a client's records, and the thread that writes them, which returns the topic and
/// how many there are.
type Writing = (Receiver<Duration>, JoinHandle<(&'static str, i64)>);

impl GoodClients {
    pub fn start(target: &Target) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let plain = Connection::open(&target.field.plain);
        let secured = Connection::open_secured(&target.field.client, &target.field.ssl);
        Self {
            clients: vec![
                write_on("plain", plain, &is_over),
                write_on("secured", secured, &is_over),
            ],
            is_over,
        }
    }

    /// Waits for some more records of each, and returns the times of all since the last call.
    pub fn wait_for_more(&self) -> Vec<Duration> {
        let mut all = Vec::new();
        for (times, _) in &self.clients {
            let mut some: Vec<Duration> = times.try_iter().collect();
            for _ in 0..RECORDS {
                let next = times.recv_timeout(limits::REPLY);
                some.push(next.expect("a record is acknowledged"));
            }
            all.extend(some);
        }
        all
    }

    /// Returns how many records each has written to its topic.
    pub fn stop(self) -> Vec<(&'static str, i64)> {
        self.is_over.store(true, Ordering::Release);
        let ended = self.clients.into_iter();
        ended
            .map(|(_, thread)| thread.join().expect("it was served to its end"))
            .collect()
    }
}

fn write_on(
    topic: &'static str,
    mut connection: Connection<impl Read + Write + Send + 'static>,
    is_over: &Arc<AtomicBool>,
) -> Writing {
    let (times, receiver): (Sender<Duration>, _) = channel();
    let is_over = Arc::clone(is_over);
    let thread = std::thread::spawn(move || {
        let mut count = 0_i64;
        while !is_over.load(Ordering::Acquire) {
            let batch = Batch::of(&[count.to_be_bytes().to_vec()]).encode();
            let body = wire::produce_request(topic, 0, -1, &batch);
            let began = Instant::now();
            let answer = connection.ask(key::PRODUCE, PRODUCE_VERSION, &body);
            let produced = wire::produced(&answer);
            assert_eq!(
                (produced.error, produced.base_offset),
                (error::NONE, count),
                "{topic}: {produced:?}"
            );
            count += 1;
            // Nobody listens any more when the test is over.
            let _ = times.send(began.elapsed());
            std::thread::sleep(PAUSE);
        }
        (topic, count)
    });
    (receiver, thread)
}
