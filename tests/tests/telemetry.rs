//! Tests that the metrics which Kafka's Java client pushes are shown (KIP-714).

use std::time::Instant;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::{http, kafka_tools, limits, tools};

fn run(tool: &str, arguments: &str) {
    let mut command = kafka_tools::command(tool);
    command.args(arguments.split_whitespace());
    let done = Process::run(tool, &mut command, b"", limits::COMMAND);
    tools::must(done, tool);
}

#[test]
fn what_the_java_producer_pushes_is_among_the_metrics() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("telemetry");
    let sedge = Sedge::start(&directory.join("data"), Options::default());
    let bootstrap = format!("--bootstrap-server {}", sedge.bootstrap());
    let subscribe = "--alter --name m --metrics org.apache.kafka.producer. --interval 1000 \
                     --match client_id=console.*";
    run("kafka-client-metrics", &format!("{bootstrap} {subscribe}"));

    // The producer lives on until its metrics are seen: a client that ends before it has asked for
    // its subscription pushes nothing.
    let mut command = kafka_tools::command("kafka-console-producer");
    command.args(["--bootstrap-server", &sedge.bootstrap(), "--topic", "t"]);
    let mut producer = Process::spawn("kafka-console-producer", &mut command);
    producer.write_stdin("a record\n".repeat(100).as_bytes());
    let deadline = Instant::now() + limits::COMMAND;
    let sample = loop {
        let (_, shown) = http::get(sedge.console(), "/metrics");
        let wanted = "metric=\"org.apache.kafka.producer.record.send.total\"";
        let sample = shown.lines().find(|line| line.contains(wanted));
        match sample {
            Some(sample) if sample.ends_with(" 100") => break sample.to_owned(),
            _ if Instant::now() > deadline => {
                panic!("{sample:?}, {} in\n{shown}", producer.tail());
            }
            _ => std::thread::sleep(limits::POLL),
        }
    };
    assert!(
        sample.contains("client_id=\"console-producer\""),
        "{sample}"
    );
    assert!(sample.starts_with("sedge_client_metric_total{"), "{sample}");
}
