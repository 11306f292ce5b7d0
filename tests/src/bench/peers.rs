//! The compared brokers, behind one interface.

use std::path::{Path, PathBuf};

use crate::apache_kafka::ApacheKafka;
use crate::broker::is_kafka;
use crate::sedge::{Options, Sedge};
use crate::{ports, tls};

#[derive(Debug)]
pub enum Peer {
    Sedge(Box<Sedge>),
    Kafka(Box<ApacheKafka>),
}

impl Peer {
    /// Starts sedge with its default configuration, except for `durability`. With
    /// `SEDGE_TEST_BROKER=kafka` it is a second Apache Kafka, whose figures show the spread between
    /// equal brokers.
    pub fn sedge(directory: &Path, durability: &str) -> Self {
        if is_kafka() {
            return Self::kafka(&directory.join("second"));
        }
        Self::sedge_set(directory, durability, &[])
    }

    /// Starts sedge with further settings.
    pub fn sedge_set(directory: &Path, durability: &str, settings: &[(&str, &str)]) -> Self {
        Self::sedge_of(directory, durability, settings, &[])
    }

    fn sedge_of(
        directory: &Path,
        durability: &str,
        settings: &[(&str, &str)],
        listeners: &[String],
    ) -> Self {
        let mut options = Options::default().config(format!("durability = \"{durability}\"\n"));
        options.listeners = listeners.to_vec();
        let options = settings
            .iter()
            .fold(options, |options, (key, value)| options.set(key, value));
        Self::Sedge(Box::new(Sedge::start(&directory.join("sedge"), options)))
    }

    /// Starts Apache Kafka with its default configuration and the flags of its own scripts.
    pub fn kafka(directory: &Path) -> Self {
        Self::kafka_set(directory, &[])
    }

    /// Starts Apache Kafka with further settings.
    pub fn kafka_set(directory: &Path, settings: &[(&str, &str)]) -> Self {
        Self::kafka_of(directory, settings, &[])
    }

    fn kafka_of(directory: &Path, settings: &[(&str, &str)], listeners: &[String]) -> Self {
        // Deleted topics must not fill the disk during the benchmark.
        let settings: Vec<(String, String)> = [("log.segment.delete.delay.ms", "500")]
            .iter()
            .chain(settings)
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        Self::Kafka(Box::new(ApacheKafka::start_full(
            &directory.join("kafka"),
            &settings,
            listeners,
        )))
    }

    /// Starts both brokers, or sedge alone, with the same settings and a listener for TLS (`SSL` or
    /// `SASL_SSL`) beside the one for plaintext. Returns each with the address of that listener.
    pub fn with_tls(
        directory: &Path,
        protocol: &str,
        certificates: &tls::Certificates,
        settings: &[(&str, &str)],
        with_kafka: bool,
    ) -> Vec<(Self, String)> {
        let of_tls = certificates.settings();
        let settings: Vec<(&str, &str)> = of_tls
            .iter()
            .map(|(key, value)| (&**key, &**value))
            .chain(settings.iter().copied())
            .collect();
        let start = |name: &str, is_kafka: bool| {
            let directory = directory.join(name);
            let ssl = format!("127.0.0.1:{}", ports::free());
            let listeners = [format!("{protocol}://{ssl}")];
            let peer = if is_kafka {
                Self::kafka_of(&directory, &settings, &listeners)
            } else {
                Self::sedge_of(&directory, "interval", &settings, &listeners)
            };
            (peer, ssl)
        };
        let kafka = with_kafka.then(|| start("first", true));
        let second = start("second", is_kafka());
        kafka.into_iter().chain([second]).collect()
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Sedge(_) => "sedge",
            Self::Kafka(_) => "kafka",
        }
    }

    /// Returns the console's address as `HOST:PORT`.
    pub fn console(&self) -> &str {
        match self {
            Self::Sedge(sedge) => sedge.console(),
            Self::Kafka(_) => panic!("Apache Kafka has no console"),
        }
    }

    pub fn bootstrap(&self) -> String {
        match self {
            Self::Sedge(sedge) => sedge.bootstrap(),
            Self::Kafka(kafka) => kafka.bootstrap(),
        }
    }

    /// Returns the folder of the segments.
    pub fn segments(&self) -> PathBuf {
        match self {
            Self::Sedge(sedge) => sedge.data().join("segments"),
            Self::Kafka(kafka) => kafka.data(),
        }
    }

    /// Returns the lines of the log so far.
    pub fn log(&mut self) -> Vec<String> {
        let process = match self {
            Self::Sedge(sedge) => sedge.process(),
            Self::Kafka(kafka) => kafka.process(),
        };
        let output = process.output();
        output
            .stdout
            .iter()
            .chain(&output.stderr)
            .cloned()
            .collect()
    }

    pub fn pid(&mut self) -> u32 {
        match self {
            Self::Sedge(sedge) => sedge.process().pid(),
            Self::Kafka(kafka) => kafka.process().pid(),
        }
    }

    pub fn terminate(&mut self) {
        match self {
            Self::Sedge(sedge) => drop(sedge.terminate()),
            Self::Kafka(kafka) => kafka.terminate(),
        }
    }

    pub fn kill(&mut self) {
        match self {
            Self::Sedge(sedge) => sedge.kill(),
            Self::Kafka(kafka) => kafka.kill(),
        }
    }

    /// Starts the process again without waiting for it to be ready.
    pub fn launch(&mut self) {
        match self {
            Self::Sedge(sedge) => sedge.launch(),
            Self::Kafka(kafka) => kafka.launch(),
        }
    }
}
