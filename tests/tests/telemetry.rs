//! Tests that the metrics which Kafka's Java client pushes are shown (KIP-714).

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
                     --match client_id=perf.*";
    run("kafka-client-metrics", &format!("{bootstrap} {subscribe}"));
    // The last push of a client comes when it ends, whatever the interval.
    let produce = "--topic t --num-records 100 --record-size 10 --throughput -1";
    run(
        "kafka-producer-perf-test",
        &format!("{bootstrap} {produce}"),
    );
    let (_, shown) = http::get(sedge.console(), "/metrics");
    let wanted = "metric=\"org.apache.kafka.producer.record.send.total\"";
    let sample = shown.lines().find(|line| line.contains(wanted));
    let sample = sample.unwrap_or_else(|| panic!("no {wanted} in\n{shown}"));
    assert!(
        sample.contains("client_id=\"perf-producer-client\""),
        "{sample}"
    );
    assert!(sample.starts_with("sedge_client_metric_total{"), "{sample}");
    assert!(sample.ends_with(" 100"), "{sample}");
}
