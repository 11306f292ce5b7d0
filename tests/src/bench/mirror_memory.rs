//! `bench mirror-memory`: the memory that a link to Apache Kafka adds to a broker, after it has
//! copied a record of each topic and then a backlog.

use std::fmt::Write as _;
use std::time::Instant;

use super::Spread;
use crate::apache_kafka::ApacheKafka;
use crate::http::metric;
use crate::sedge::{Options, Sedge};
use crate::temp_dir::TempDir;
use crate::wire::{self, Batch, Connection, error};
use crate::{limits, proc};

const BACKLOG_BATCHES: usize = 2_000;

pub fn run(rounds: usize) -> String {
    let directory = TempDir::new("bench-mirror-memory");
    let mut kafka = ApacheKafka::start_full(&directory.join("kafka"), &[], &[]);
    let mut text = String::from("anonymous memory that a link adds, MiB\n");
    for topics in [1, 1_000] {
        for mode in ["exactly-once", "at-least-once"] {
            let mut spread = Spread::default();
            for round in 0..rounds {
                let prefix = format!("t{topics}-{mode}-{round}");
                let without = measure(&directory, None, &prefix, topics);
                let with = measure(&directory, Some((&kafka, mode)), &prefix, topics);
                spread.add(with - without);
            }
            writeln!(text, "{topics} topics, {mode}: {}", spread.show(2))
                .expect("a String takes everything");
        }
    }
    kafka.terminate();
    text
}

/// Returns the MiB of a broker with these topics, with or without a link.
fn measure(
    directory: &TempDir,
    link: Option<(&ApacheKafka, &str)>,
    prefix: &str,
    topics: usize,
) -> f64 {
    let config = link.map_or_else(String::new, |(kafka, mode)| {
        let bootstrap = kafka.bootstrap();
        format!(
            "[mirror.hq]\nbootstrap.servers = \"{bootstrap}\"\ntopics = [\".*\"]\n\
             mode = \"{mode}\"\n"
        )
    });
    let place = directory.join(&format!("{prefix}-{}", link.is_some()));
    let config = format!("durability = \"interval\"\n{config}");
    let mut sedge = Sedge::start(&place, Options::default().config(config));
    let mut here = Connection::open(&sedge.bootstrap());
    let name = |topic: usize| format!("{prefix}-{topic}");
    let single = Batch::of(&[b"a record".to_vec()]).encode();
    for topic in 0..topics {
        wire::create_topic(&mut here, &name(topic), 1, &[]);
        produce(&mut here, &name(topic), &single);
    }
    let large = Batch::filled(64, 1 << 10).encode();
    for _ in 0..BACKLOG_BATCHES {
        produce(&mut here, &name(0), &large);
    }
    let all = (topics + BACKLOG_BATCHES * 64) as f64;
    let deadline = Instant::now() + limits::COMMAND;
    let sent = |sedge: &Sedge| {
        let sent = "sedge_mirror_records_sent_total{link=\"hq\"}";
        metric(sedge.console(), sent)
    };
    while link.is_some() && sent(&sedge) < all {
        assert!(Instant::now() < deadline, "the link does not catch up");
        std::thread::sleep(limits::POLL);
    }
    let kib = proc::anonymous_kib(sedge.process().pid());
    sedge.terminate();
    kib as f64 / 1024.0
}

fn produce(here: &mut Connection, topic: &str, batch: &[u8]) {
    assert_eq!(wire::produce(here, topic, 0, batch).error, error::NONE);
}
