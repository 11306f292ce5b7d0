//! A broker with a link to an upstream, and the records on both sides.

use std::process::Command;
use std::time::Instant;

use crate::apache_kafka::ApacheKafka;
use crate::process::{Finished, Process};
use crate::sedge::{Options, Sedge};
use crate::temp_dir::TempDir;
use crate::wire::{self, Batch, Connection, Decoder, Encoder, error, key};
use crate::{committed, limits, tools};

/// A broker with a link named `hq` to an upstream, which copies all topics.
#[derive(Debug)]
pub struct Site {
    pub here: Connection,
    pub there: Connection,
    pub sedge: Sedge,
    // Last, so that the processes end before their directories are removed.
    upstream: Upstream,
    _directory: TempDir,
}

#[derive(Debug)]
enum Upstream {
    Kafka(ApacheKafka),
    Sedge(Sedge),
}

impl Upstream {
    fn bootstrap(&self) -> String {
        match self {
            Self::Kafka(kafka) => kafka.bootstrap(),
            Self::Sedge(sedge) => sedge.bootstrap(),
        }
    }
}

impl Site {
    /// Starts a site with Apache Kafka as upstream. `link` has further lines of the link's table,
    /// `options` are the edge's.
    pub fn with_kafka(link: &str, options: Options) -> Self {
        let start = |directory: &TempDir| {
            Upstream::Kafka(ApacheKafka::start(&directory.join("kafka"), &[]))
        };
        Self::start(link, options, start)
    }

    /// Starts a site with a second sedge as upstream.
    pub fn with_sedge(link: &str, options: Options) -> Self {
        let start = |directory: &TempDir| {
            Upstream::Sedge(Sedge::start(&directory.join("hq"), Options::default()))
        };
        Self::start(link, options, start)
    }

    fn start(link: &str, options: Options, upstream: impl FnOnce(&TempDir) -> Upstream) -> Self {
        let directory = TempDir::new("link");
        let upstream = upstream(&directory);
        let bootstrap = upstream.bootstrap();
        let config = format!(
            "[mirror.hq]\nbootstrap.servers = \"{bootstrap}\"\ntopics = [\".*\"]\n{link}\n"
        );
        Self::with(directory, upstream, options.config(config))
    }

    /// Starts a site without a link, with a second sedge as upstream.
    pub fn without_link(options: Options) -> Self {
        let directory = TempDir::new("link");
        let upstream = Upstream::Sedge(Sedge::start(&directory.join("hq"), Options::default()));
        Self::with(directory, upstream, options)
    }

    fn with(directory: TempDir, upstream: Upstream, options: Options) -> Self {
        let bootstrap = upstream.bootstrap();
        let sedge = Sedge::start(&directory.join("edge"), options);
        Self {
            here: Connection::open(&sedge.bootstrap()),
            there: Connection::open(&bootstrap),
            sedge,
            upstream,
            _directory: directory,
        }
    }

    /// Returns the address of the upstream.
    pub fn upstream_bootstrap(&self) -> String {
        self.upstream.bootstrap()
    }

    /// Kills the edge with `kill -9` and starts it again.
    pub fn kill_and_start(&mut self) {
        self.sedge.kill();
        self.sedge.start_again();
        self.here = Connection::open(&self.sedge.bootstrap());
    }

    pub fn produce(&mut self, topic: &str, batch: &Batch) {
        let produced = wire::produce(&mut self.here, topic, 0, &batch.encode());
        assert_eq!(produced.error, error::NONE, "produce to {topic}");
    }

    /// Produces batches of one record each.
    pub fn produce_values(&mut self, topic: &str, values: &[String]) {
        for value in values {
            self.produce(topic, &Batch::of(&[value.clone().into_bytes()]));
        }
    }

    /// Waits until `values` are upstream, in their order.
    pub fn wait_upstream(&mut self, topic: &str, values: &[String]) {
        self.wait(&format!("{values:?} of {topic} upstream"), |site| {
            site.upstream(topic) == values
        });
    }

    /// Waits until `is_so`.
    pub fn wait(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + limits::CONDITION;
        while !is_so(self) {
            let tail = self.sedge.process().tail();
            assert!(Instant::now() < deadline, "not so: {what}\n{tail}");
            std::thread::sleep(limits::POLL);
        }
    }

    /// Returns the values of a topic upstream.
    pub fn upstream(&mut self, topic: &str) -> Vec<String> {
        if wire::fetch(&mut self.there, topic, 0, 0).error != error::NONE {
            return Vec::new();
        }
        let mut partitions = committed::read(&self.upstream.bootstrap(), topic);
        partitions.remove(&0).unwrap_or_default()
    }

    /// Counts the records of a topic upstream.
    pub fn count_upstream(&mut self, topic: &str) -> usize {
        self.upstream(topic).len()
    }

    /// Returns the cursor that the link has committed.
    pub fn cursor(&mut self, topic: &str) -> Option<i64> {
        let body = Encoder::default().string("sedge-mirror-hq").i32(1);
        let body = body.string(topic).i32(1).i32(0).0;
        let reply = self.here.ask(key::OFFSET_FETCH, 3, &body);
        let mut d = Decoder(&reply);
        d.i32();
        assert_eq!(d.i32(), 1, "one topic");
        d.string();
        d.i32();
        d.i32();
        Some(d.i64()).filter(|offset| *offset >= 0)
    }

    /// Runs `sedge mirror ARGUMENTS` at the edge.
    pub fn mirror(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(tools::sedge());
        command.args(["mirror", "--bootstrap-server", &self.sedge.bootstrap()]);
        command.args(arguments);
        Process::run("sedge mirror", &mut command, b"", limits::COMMAND)
    }

    /// Returns the output of `sedge mirror describe hq`.
    pub fn describe(&self) -> serde_json::Value {
        let described = tools::must(self.mirror(&["describe", "hq", "-o", "json"]), "describe");
        serde_json::from_str(&described.stdout).expect("-o json is JSON")
    }

    /// Returns a counting metric of the link.
    pub fn metric(&self, name: &str) -> i64 {
        let name = format!("{name}{{link=\"hq\"}}");
        crate::http::metric(self.sedge.console(), &name) as i64
    }

    /// Counts the lines of the edge's log that contain `text`.
    pub fn logged(&mut self, text: &str) -> usize {
        let output = self.sedge.process().output();
        let lines = output.stderr.iter();
        lines.filter(|line| line.contains(text)).count()
    }
}
