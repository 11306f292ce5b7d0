//! The broker under test: sedge, or Apache Kafka if `SEDGE_TEST_BROKER=kafka` is set, which shows
//! that a test asks for nothing but what Kafka does.

use crate::apache_kafka::ApacheKafka;
use crate::limits;
use crate::process::Process;
use crate::report;
use crate::sedge::{Options, Sedge};
use crate::temp_dir::TempDir;

/// A broker with its directory.
#[derive(Debug)]
pub struct Broker {
    kind: Kind,
    // Last, so that the process ends before its directory is removed.
    _directory: TempDir,
}

#[derive(Debug)]
enum Kind {
    Sedge(Box<Sedge>),
    Kafka(Box<ApacheKafka>),
}

impl Broker {
    /// Starts a broker with `settings` under Kafka's names.
    pub fn start(name: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_with(name, settings, &[])
    }

    /// Starts a broker with these listeners beside the one for plaintext.
    pub fn start_with(name: &str, settings: &[(&str, &str)], listeners: &[String]) -> Self {
        let directory = TempDir::new(name);
        let owned = settings.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let settings: Vec<(String, String)> = owned.collect();
        let kind = if is_kafka() {
            Kind::Kafka(Box::new(ApacheKafka::start_with(
                &directory.join("kafka"),
                &settings,
                listeners,
            )))
        } else {
            let options = Options {
                settings,
                listeners: listeners.to_vec(),
                ..Options::default()
            };
            Kind::Sedge(Box::new(Sedge::start(&directory.join("data"), options)))
        };
        Self {
            kind,
            _directory: directory,
        }
    }

    pub fn bootstrap(&self) -> String {
        match &self.kind {
            Kind::Sedge(sedge) => sedge.bootstrap(),
            Kind::Kafka(kafka) => kafka.bootstrap(),
        }
    }

    /// Sends SIGTERM, then starts it again on the same data and port.
    pub fn restart(&mut self) {
        match &mut self.kind {
            Kind::Sedge(sedge) => {
                sedge.terminate();
                sedge.start_again();
            }
            Kind::Kafka(kafka) => {
                kafka.terminate();
                kafka.start_again();
            }
        }
    }

    /// Sends SIGKILL, then starts it again on the same data and port.
    pub fn kill_and_start(&mut self) {
        match &mut self.kind {
            Kind::Sedge(sedge) => {
                sedge.kill();
                sedge.start_again();
            }
            Kind::Kafka(kafka) => {
                kafka.kill();
                kafka.start_again();
            }
        }
    }

    pub fn pid(&mut self) -> u32 {
        self.process().pid()
    }

    /// Waits for a line of the broker's log.
    pub fn wait_log(&mut self, what: &str, is_it: impl Fn(&str) -> bool) {
        self.process().wait_for(what, limits::CONDITION, |output| {
            let mut lines = output.stderr.iter().chain(&output.stdout);
            lines.any(|line| is_it(line)).then_some(())
        });
    }

    pub fn is_kafka(&self) -> bool {
        matches!(self.kind, Kind::Kafka(_))
    }

    fn process(&mut self) -> &mut Process {
        match &mut self.kind {
            Kind::Sedge(sedge) => sedge.process(),
            Kind::Kafka(kafka) => kafka.process(),
        }
    }

    /// Returns the end of the broker's log.
    pub fn tail(&mut self) -> String {
        self.process().tail()
    }
}

/// Returns whether the tests run against Apache Kafka.
pub fn is_kafka() -> bool {
    std::env::var("SEDGE_TEST_BROKER").is_ok_and(|kind| kind == "kafka")
}

/// Returns whether the caller, a test of what only sedge has, is skipped because the tests run
/// against Apache Kafka. Prints a line if so.
pub fn is_skipped_on_kafka() -> bool {
    let is_skipped = is_kafka();
    if is_skipped {
        report::line(format_args!("skipped: this is not asked of Apache Kafka"));
    }
    is_skipped
}
