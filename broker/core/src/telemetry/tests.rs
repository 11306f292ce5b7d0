use alloc::string::ToString;
use alloc::vec;

use super::*;

/// A pattern of the tests: a whole text.
impl Pattern for &str {
    fn matches(&self, text: &str) -> bool {
        *self == text
    }
}

const FACTS: ClientFacts<'_> = ClientFacts {
    instance_id: "i",
    id: "app",
    software_name: "java",
    software_version: "4.3",
    source_address: "192.0.2.1",
    source_port: "1",
};

fn subscription(
    interval_ms: i32,
    metrics: &[&str],
    matches: &[(Attribute, &'static str)],
) -> Subscription<&'static str> {
    Subscription {
        interval_ms,
        metrics: metrics.iter().map(ToString::to_string).collect(),
        matches: matches.to_vec(),
    }
}

fn id(number: u64) -> KafkaUuid {
    KafkaUuid::from_parts(1, number)
}

const fn push(subscription_id: i32) -> Push {
    Push {
        subscription_id,
        is_terminating: false,
        compression_type: 0,
        bytes: 10,
    }
}

#[test]
fn a_client_is_asked_for_what_the_matching_subscriptions_want() {
    let check = |subscriptions: Vec<_>, interval_ms: i32, metrics: &[&str]| {
        let mut telemetry = Telemetry::default();
        telemetry.set(subscriptions);
        let granted = telemetry.handle_get(0, id(1), &FACTS).unwrap();
        assert_eq!(granted.interval_ms, interval_ms);
        assert_eq!(granted.metrics, metrics);
    };
    let java = [(Attribute::SoftwareName, "java"), (Attribute::Id, "app")];
    let other = [(Attribute::SoftwareName, "java"), (Attribute::Id, "other")];
    check(vec![], 300_000, &[]);
    check(vec![subscription(5, &["a"], &other)], 300_000, &[]);
    let both = vec![
        subscription(500, &["b", "a"], &java),
        subscription(200, &["c", "a"], &[]),
        subscription(100, &["d"], &other),
    ];
    check(both, 200, &["a", "b", "c"]);
    let all = vec![
        subscription(500, &["b"], &[]),
        subscription(200, &["*"], &[]),
    ];
    check(all, 200, &["*"]);
}

#[test]
fn a_client_asks_and_pushes_once_in_its_interval() {
    let mut telemetry = Telemetry::default();
    telemetry.set(vec![subscription(1_000, &["a"], &[])]);
    let early = Err(ErrorCode::ThrottlingQuotaExceeded);
    let granted = telemetry.handle_get(0, id(1), &FACTS).unwrap();
    let push = push(granted.subscription_id);
    assert!(telemetry.handle_get(999, id(1), &FACTS).is_err());
    assert_eq!(
        telemetry.handle_push(1, id(1), &FACTS, push),
        Ok(3_001),
        "the first may come at once"
    );
    assert_eq!(telemetry.handle_push(1_000, id(1), &FACTS, push), early);
    assert!(telemetry.handle_push(1_001, id(1), &FACTS, push).is_ok());
    assert!(telemetry.handle_get(2_000, id(1), &FACTS).is_err());
    assert!(telemetry.handle_get(2_001, id(1), &FACTS).is_ok());
}

#[test]
fn pushes_are_refused_in_kafka_s_order() {
    let fresh = || {
        let mut telemetry = Telemetry::default();
        telemetry.set(vec![subscription(1_000, &["a"], &[])]);
        let granted = telemetry.handle_get(0, id(1), &FACTS).unwrap();
        (telemetry, granted.subscription_id)
    };
    let check = |change: fn(&mut Push), expected: Result<(), ErrorCode>| {
        let (mut telemetry, subscription_id) = fresh();
        let mut push = push(subscription_id);
        change(&mut push);
        let done = telemetry.handle_push(0, id(1), &FACTS, push).map(|_| ());
        assert_eq!(done, expected, "{push:?}");
    };
    check(|_| {}, Ok(()));
    check(|of| of.compression_type = 4, Ok(()));
    check(|of| of.bytes = TELEMETRY_BYTES_MAX, Ok(()));
    let unknown = ErrorCode::UnknownSubscriptionId;
    check(|of| of.subscription_id ^= 1, Err(unknown));
    let wrong = |of: &mut Push| (of.subscription_id, of.compression_type) = (0, 9);
    check(wrong, Err(unknown));
    let unsupported = ErrorCode::UnsupportedCompressionType;
    check(|of| of.compression_type = 5, Err(unsupported));
    check(|of| of.compression_type = -1, Err(unsupported));
    let large = ErrorCode::TelemetryTooLarge;
    check(|of| of.bytes = TELEMETRY_BYTES_MAX + 1, Err(large));

    let (mut telemetry, subscription_id) = fresh();
    let none = telemetry.handle_push(0, KafkaUuid::ZERO, &FACTS, push(subscription_id));
    assert_eq!(none, Err(ErrorCode::InvalidRequest));
    // A refusal that makes the client ask lets it ask at once.
    assert!(telemetry.handle_push(0, id(1), &FACTS, push(0)).is_err());
    assert!(telemetry.handle_get(1, id(1), &FACTS).is_ok());
    assert!(telemetry.handle_get(2, id(1), &FACTS).is_err());
}

#[test]
fn the_last_push_of_a_client_may_be_early_and_is_the_last() {
    let mut telemetry = Telemetry::default();
    telemetry.set(vec![subscription(1_000, &["a"], &[])]);
    let granted = telemetry.handle_get(0, id(1), &FACTS).unwrap();
    let usual = push(granted.subscription_id);
    let last = Push {
        is_terminating: true,
        ..usual
    };
    assert!(telemetry.handle_push(0, id(1), &FACTS, usual).is_ok());
    assert!(telemetry.handle_push(1, id(1), &FACTS, last).is_ok());
    let late = telemetry.handle_push(5_000, id(1), &FACTS, usual);
    assert_eq!(late, Err(ErrorCode::InvalidRequest));
    assert!(telemetry.handle_push(5_001, id(1), &FACTS, last).is_ok());
}

#[test]
fn a_change_of_the_subscriptions_makes_clients_ask_again() {
    let mut telemetry = Telemetry::default();
    telemetry.set(vec![subscription(1_000, &["a"], &[])]);
    let before = telemetry.handle_get(0, id(1), &FACTS).unwrap();
    telemetry.set(vec![subscription(1_000, &["b"], &[])]);
    let refused = telemetry.handle_push(1, id(1), &FACTS, push(before.subscription_id));
    assert_eq!(refused, Err(ErrorCode::UnknownSubscriptionId));
    let after = telemetry.handle_get(2, id(1), &FACTS).unwrap();
    assert_eq!(after.metrics, ["b"]);
    assert_ne!(after.subscription_id, before.subscription_id);
}

#[test]
fn clients_are_limited_and_the_most_silent_is_forgotten() {
    let mut telemetry = Telemetry::default();
    telemetry.set(vec![subscription(1_000_000, &["a"], &[])]);
    for number in 0..=CLIENTS_MAX as u64 {
        assert!(telemetry.handle_get(number, id(number), &FACTS).is_ok());
    }
    assert_eq!(telemetry.client_count(), CLIENTS_MAX);
    assert!(telemetry.handle_get(5_000, id(1), &FACTS).is_err(), "known");
    assert!(
        telemetry.handle_get(5_000, id(0), &FACTS).is_ok(),
        "forgotten"
    );
}
