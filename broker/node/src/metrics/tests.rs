use super::*;

#[test]
fn escapes_what_a_label_may_hold() {
    let mut out = Exposition::default();
    out.sample("x", &[("a", "q\"\\\n"), ("b", "2")], 1.5);
    assert_eq!(out.finish(), "x{a=\"q\\\"\\\\\\n\",b=\"2\"} 1.5\n");
}

#[test]
fn a_bucket_takes_its_upper_bound_and_all_below() {
    let histogram = Histogram::default();
    for micros in [0, 100, 101, 30_000_001] {
        histogram.observe(Duration::from_micros(micros));
    }
    let counts = histogram.cumulative();
    assert_eq!((counts[0], counts[1], counts[9], counts[10]), (2, 3, 3, 4));
}

#[test]
fn every_family_is_declared_once_and_before_its_samples() {
    let metrics = Metrics::default();
    metrics.request(ApiKey::Produce, Duration::from_millis(3));
    metrics.request_error(ApiKey::Produce, ErrorCode::OutOfOrderSequenceNumber);
    metrics.plugin("range").dropped.add(3);
    metrics.link("hq").set_state(LinkState::Running);
    metrics.tls.failed(HandshakeFailure::Timeout);
    metrics.tls.expires("SSL", 2_000_000_000);
    let mut out = Exposition::default();
    metrics.expose(&mut out);
    let text = out.finish();

    let mut families: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap();
            assert!(!families.contains(&name), "{name} twice");
            families.push(name);
        } else if !line.starts_with('#') {
            let family = families.last().unwrap();
            assert!(line.starts_with(family), "{line} under {family}");
            assert!(
                line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(),
                "{line}"
            );
        }
    }
    let has = |line: &str| assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    has("sedge_plugin_records_total{plugin=\"range\",verdict=\"drop\"} 3");
    has("sedge_mirror_link_up{link=\"hq\"} 1");
    has("sedge_kafka_request_latency_seconds_count{api=\"Produce\"} 1");
    has("sedge_kafka_request_errors_total{api=\"Produce\",error=\"OutOfOrderSequenceNumber\"} 1");
}

#[test]
fn names_that_come_from_outside_are_bounded() {
    let metrics = Metrics::default();
    for number in 0..1000 {
        metrics.plugin(&number.to_string()).calls.increment();
        metrics.link(&number.to_string()).retries.increment();
    }
    assert!(metrics.plugins().len() <= 257);
    assert!(metrics.links().len() <= 129);
    let counted: u64 = metrics
        .plugins()
        .iter()
        .map(|(_, plugin)| plugin.calls.get())
        .sum();
    assert_eq!(counted, 1000);
}
