//! The records of a topic as a `read_committed` consumer sees them: kcat, which is librdkafka.

use std::collections::BTreeMap;
use std::process::Command;

use crate::process::Process;
use crate::{limits, tools};

/// Returns the values of each partition, in order; nothing if there is no such topic. The values
/// are texts without line breaks.
pub fn read(bootstrap: &str, topic: &str) -> BTreeMap<i32, Vec<String>> {
    let mut kcat = Command::new("kcat");
    kcat.args([
        "-C",
        "-b",
        bootstrap,
        "-t",
        topic,
        "-o",
        "beginning",
        "-e",
        "-q",
    ]);
    kcat.args(["-X", "isolation.level=read_committed"]);
    kcat.args(["-f", "%p %s\\n"]);
    let done = Process::run("kcat", &mut kcat, b"", limits::COMMAND);
    if done.stderr.contains("Unknown topic or partition") {
        return BTreeMap::new();
    }
    let done = tools::must(done, "kcat -C");
    let mut partitions: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for line in done.stdout.lines() {
        let (partition, value) = line.split_once(' ').expect("a partition and a value");
        let partition = partition.parse().expect("a partition");
        partitions
            .entry(partition)
            .or_default()
            .push(value.to_owned());
    }
    partitions
}
