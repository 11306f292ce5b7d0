//! Tests the metrics that clients push, and the subscriptions to them.

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::kafka::generated::get_telemetry_subscriptions_request::GetTelemetrySubscriptionsRequestData;
use sedge_protocol::kafka::generated::get_telemetry_subscriptions_response::GetTelemetrySubscriptionsResponseData;
use sedge_protocol::kafka::generated::push_telemetry_request::PushTelemetryRequestData;
use sedge_protocol::kafka::generated::push_telemetry_response::PushTelemetryResponseData;
use sedge_protocol::records::{Compression, compress};

use super::client::{Client, ask, code, text};
use super::configs::alter;
use crate::metrics::Exposition;
use crate::test_broker::TestBroker;

const CLIENT_METRICS: i8 = 16;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

fn get(client: &Client, id: KafkaUuid) -> GetTelemetrySubscriptionsResponseData {
    let request = GetTelemetrySubscriptionsRequestData::default().with_client_instance_id(id);
    ask!(client, GetTelemetrySubscriptions 0, request => GetTelemetrySubscriptionsResponseData)
}

fn push(client: &Client, id: KafkaUuid, subscription: i32, codec: i8, metrics: &[u8]) -> ErrorCode {
    let request = PushTelemetryRequestData::default()
        .with_client_instance_id(id)
        .with_subscription_id(subscription)
        .with_compression_type(codec)
        .with_terminating(true)
        .with_metrics(metrics.to_vec().into());
    let answer = ask!(client, PushTelemetry 0, request => PushTelemetryResponseData);
    code(answer.error_code)
}

/// A field of a protobuf message: bytes with their length.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

/// One gauge `kafka.test` with the value 2.5.
fn gauge() -> Vec<u8> {
    let point = [&[4 << 3 | 1][..], &2.5_f64.to_bits().to_le_bytes()].concat();
    let metric = [field(1, b"kafka.test"), field(5, &field(1, &point))].concat();
    field(1, &field(2, &field(2, &metric)))
}

#[test]
fn what_a_client_pushes_is_among_the_metrics() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    let none = get(&client, KafkaUuid::ZERO);
    assert_eq!((none.error_code, none.push_interval_ms), (0, 300_000));
    assert!(none.requested_metrics.is_empty() && none.delta_temporality);
    assert_ne!(none.client_instance_id, KafkaUuid::ZERO);
    let again = get(&client, none.client_instance_id);
    assert_eq!(code(again.error_code), ErrorCode::ThrottlingQuotaExceeded);

    let all = [(CLIENT_METRICS, "all")];
    for (key, value) in [
        ("metrics", "*"),
        ("interval.ms", "100"),
        ("match", "client_id=te.t"),
    ] {
        assert_eq!(alter(&client, &all, key, SET, value), [ErrorCode::None]);
    }
    let granted = get(&client, none.client_instance_id);
    assert_eq!((granted.error_code, granted.push_interval_ms), (0, 100));
    assert_eq!(granted.requested_metrics, [text("*")]);
    let (id, subscription) = (granted.client_instance_id, granted.subscription_id);
    let zstd = compress(Compression::Zstd, gauge()).unwrap();
    assert_eq!(push(&client, id, subscription, 4, &zstd), ErrorCode::None);
    assert_eq!(
        push(&client, id, subscription, 0, b"\x0b"),
        ErrorCode::InvalidRecord
    );
    assert_eq!(
        push(&client, id, subscription, 4, b"?"),
        ErrorCode::InvalidRecord
    );
    let unknown = ErrorCode::UnknownSubscriptionId;
    assert_eq!(push(&client, id, subscription + 1, 0, b""), unknown);
    assert_eq!(
        push(&client, KafkaUuid::ZERO, 0, 0, b""),
        ErrorCode::InvalidRequest
    );
    let mut out = Exposition::default();
    broker.broker.metrics.expose(&mut out);
    let text = out.finish();
    let labels = format!("metric=\"kafka.test\",client_id=\"test\",client_instance_id=\"{id}\"");
    let sample = format!("sedge_client_metric{{{labels}}} 2.5");
    assert!(
        text.lines().any(|line| line == sample),
        "{sample} in {text}"
    );
}

#[test]
fn a_push_that_opens_to_too_much_is_refused() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    let granted = get(&client, KafkaUuid::ZERO);
    let (id, subscription) = (granted.client_instance_id, granted.subscription_id);
    let zeros = vec![0; crate::limits::TELEMETRY_OPENED_BYTES_MAX + 1];
    for (codec, number) in [(Compression::Gzip, 1), (Compression::Zstd, 4)] {
        let bomb = compress(codec, zeros.clone()).unwrap();
        let refused = push(&client, id, subscription, number, &bomb);
        assert_eq!(refused, ErrorCode::InvalidRecord, "{codec:?}");
    }
}

#[test]
fn subscriptions_are_changed_or_refused_with_kafka_s_codes() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    let check = |name: &str, key: &str, op: i8, value: &str, expected: ErrorCode| {
        let codes = alter(&client, &[(CLIENT_METRICS, name)], key, op, value);
        assert_eq!(codes, [expected], "{name} {key} {op} {value}");
    };
    let (none, request, invalid) = (
        ErrorCode::None,
        ErrorCode::InvalidRequest,
        ErrorCode::InvalidConfig,
    );
    check("a", "interval.ms", SET, "1000", none);
    check("", "interval.ms", SET, "1000", request);
    check("a", "interval.ms", SET, "1", request);
    check("a", "interval.ms", SET, "soon", invalid);
    check("a", "interval", SET, "1000", request);
    check("a", "interval", DELETE, "", none);
    check("a", "metrics", APPEND, "x", invalid);
    check("a", "match", SET, "client_id", invalid);
    check("a", "match", SET, "client_id=(", invalid);
    let image = broker.broker.log.metadata.load();
    assert_eq!(image.client_metrics().get("a").unwrap().len(), 1);
    check("a", "interval.ms", DELETE, "", none);
    let image = broker.broker.log.metadata.load();
    assert!(image.client_metrics().get("a").is_none());
}
