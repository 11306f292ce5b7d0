//! MirrorMaker 2 of Apache Kafka, as `connect-mirror-maker.sh` runs it: with its defaults, and one
//! replica of its own topics.

use std::path::Path;
use std::process::Command;

use crate::process::Process;
use crate::tools;

/// Heap of the process: the default of `connect-mirror-maker.sh` is 2 GiB at most.
const HEAP_MIB: u32 = 2048;

/// The prefix that MirrorMaker 2 gives to the topics of the source.
pub const PREFIX: &str = "edge.";

/// Starts one that copies `topic` from a source to a target. It has started when records arrive.
pub fn start(directory: &Path, source: &str, target: &str, topic: &str) -> Process {
    std::fs::create_dir_all(directory).expect("the directory can be made");
    let properties = directory.join("mm2.properties");
    let mut text = format!(
        "clusters = edge, hq\n\
         edge.bootstrap.servers = {source}\n\
         hq.bootstrap.servers = {target}\n\
         edge->hq.enabled = true\n\
         edge->hq.topics = {topic}\n\
         hq->edge.enabled = false\n"
    );
    for key in [
        "replication.factor",
        "checkpoints.topic.replication.factor",
        "heartbeats.topic.replication.factor",
        "offset-syncs.topic.replication.factor",
        "offset.storage.replication.factor",
        "status.storage.replication.factor",
        "config.storage.replication.factor",
    ] {
        text.push_str(key);
        text.push_str(" = 1\n");
    }
    std::fs::write(&properties, text).expect("the directory can be written to");
    let log = tools::root().join("tests/kafka/log4j2-broker.yaml");
    let mut command = Command::new("java");
    // The flags of Kafka's own scripts.
    command
        .arg(format!("-Xmx{HEAP_MIB}m"))
        .args([
            "-Xms256m",
            "-server",
            "-XX:+UseG1GC",
            "-XX:MaxGCPauseMillis=20",
        ])
        .args([
            "-XX:InitiatingHeapOccupancyPercent=35",
            "-Djava.awt.headless=true",
        ])
        .arg(format!("-Dlog4j2.configurationFile={}", log.display()))
        .arg("-cp")
        .arg(format!("{}/*", tools::kafka_lib().display()))
        .arg("org.apache.kafka.connect.mirror.MirrorMaker")
        .arg(properties);
    Process::spawn("MirrorMaker 2", &mut command)
}
