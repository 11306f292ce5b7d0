//! The compared brokers, behind one interface.

use std::path::{Path, PathBuf};

use crate::apache_kafka::ApacheKafka;
use crate::broker::is_kafka;
use crate::sedge::{Options, Sedge};

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
        let options = Options::default().config(format!("durability = \"{durability}\"\n"));
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
        // Deleted topics must not fill the disk during the benchmark.
        let settings: Vec<(String, String)> = [("log.segment.delete.delay.ms", "500")]
            .iter()
            .chain(settings)
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        Self::Kafka(Box::new(ApacheKafka::start_full(
            &directory.join("kafka"),
            &settings,
        )))
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
