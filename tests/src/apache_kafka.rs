//! Apache Kafka: one node that is broker and controller, from the jars of Maven Central.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::Process;
use crate::{limits, ports, tools};

const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// An Apache Kafka that runs, or was stopped and can be started again.
#[derive(Debug)]
pub struct ApacheKafka {
    directory: PathBuf,
    port: u16,
    /// More listeners, beside the one for plaintext.
    listeners: Vec<String>,
    heap_mib: u32,
    /// Whether to use flags that make a JVM start fast and run slowly: for tests, not for
    /// benchmarks.
    quick: bool,
    process: Option<Process>,
}

impl ApacheKafka {
    /// Starts a small one for tests, with `settings` added to its `server.properties`.
    pub fn start(directory: &Path, settings: &[(String, String)]) -> Self {
        Self::start_with(directory, settings, &[])
    }

    /// Starts a small one for tests, with these listeners beside the one for plaintext.
    pub fn start_with(
        directory: &Path,
        settings: &[(String, String)],
        listeners: &[String],
    ) -> Self {
        Self::start_as(directory, settings, listeners, 512, true)
    }

    /// Starts one with the JVM flags of Kafka's own scripts, for benchmarks, and with these
    /// listeners beside the one for plaintext.
    pub fn start_full(
        directory: &Path,
        settings: &[(String, String)],
        listeners: &[String],
    ) -> Self {
        Self::start_as(directory, settings, listeners, 1024, false)
    }

    fn start_as(
        directory: &Path,
        settings: &[(String, String)],
        listeners: &[String],
        heap_mib: u32,
        quick: bool,
    ) -> Self {
        let directory = directory.to_path_buf();
        std::fs::create_dir_all(&directory).expect("the directory can be made");
        let mut kafka = Self {
            directory,
            port: ports::free(),
            listeners: listeners.to_vec(),
            heap_mib,
            quick,
            process: None,
        };
        kafka.write_properties(settings);
        let mut format = tools::java("kafka.tools.StorageTool", 128);
        format
            .args(["format", "-t", CLUSTER_ID, "-c"])
            .arg(kafka.properties());
        let done = Process::run("StorageTool", &mut format, b"", limits::KAFKA_READY);
        tools::must(done, "formatting Apache Kafka's storage");
        kafka.start_again();
        kafka
    }

    /// Starts it again on the same data and port. Returns when it serves requests.
    pub fn start_again(&mut self) {
        self.launch();
        self.process()
            .wait_for("\"Kafka Server started\"", limits::KAFKA_READY, |output| {
                output
                    .stdout
                    .iter()
                    .any(|line| line.contains("Kafka Server started"))
                    .then_some(())
            });
    }

    /// Starts the process without waiting until it serves requests.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "kafka is running");
        self.process = Some(Process::spawn("kafka", &mut self.command()));
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("kafka is running")
    }

    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    pub fn terminate(&mut self) {
        self.process().signal(Signal::TERM);
        // A JVM ended by SIGTERM exits with code 143.
        self.process()
            .wait_exit(limits::SHUTDOWN + Duration::from_mins(1));
        self.process = None;
    }

    /// Returns the folder of the partitions' logs.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn properties(&self) -> PathBuf {
        self.directory.join("server.properties")
    }

    fn write_properties(&self, settings: &[(String, String)]) {
        let controller = ports::free();
        let data = self.data();
        let plain = [format!("PLAINTEXT://127.0.0.1:{}", self.port)];
        let listeners = [&plain[..], &self.listeners].concat().join(",");
        let mut text = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners={listeners},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners={listeners}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,\
             SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             log.dirs={data}\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=4\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n",
            data = data.display(),
        );
        for (key, value) in settings {
            writeln!(text, "{key}={value}").expect("a String takes everything");
        }
        std::fs::write(self.properties(), text).expect("the properties can be written");
    }

    fn command(&self) -> Command {
        let log = tools::root().join("tests/kafka/log4j2-broker.yaml");
        let mut command = Command::new("java");
        command.args([
            format!("-Xms{}m", self.heap_mib),
            format!("-Xmx{}m", self.heap_mib),
        ]);
        if self.quick {
            command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        } else {
            command.args([
                "-server",
                "-XX:+UseG1GC",
                "-XX:MaxGCPauseMillis=20",
                "-XX:InitiatingHeapOccupancyPercent=35",
                "-XX:+ExplicitGCInvokesConcurrent",
                "-Djava.awt.headless=true",
            ]);
        }
        command
            .arg(format!("-Dlog4j2.configurationFile={}", log.display()))
            .arg("-cp")
            .arg(format!("{}/*", tools::kafka_lib().display()))
            .arg("kafka.Kafka")
            .arg(self.properties());
        command
    }
}
