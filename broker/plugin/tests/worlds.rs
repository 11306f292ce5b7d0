//! Tests partitioners and quota policies, built from `plugins/`: their answers, and what they
//! cannot do to the host.

mod guests;

use std::{
    fmt::Write as _,
    net::Ipv4Addr,
    sync::OnceLock,
    time::{Duration, Instant},
};

use guests::{engine, geohash_partitioner, judge, misplace, settings, tenant_quota};
use sedge_plugin::{
    BadOutput, CallError, Error, Grant, Limits, Needs, PartitionerFactory, PartitionerInstance,
    Plugin, QuotaInstance, QuotaOperation, QuotaRequest, RecordBlob, World,
};

const PATIENT: Limits = Limits {
    memory_bytes_max: 16 << 20,
    deadline_ms: 60_000,
    output_bytes_max: 4 << 20,
    component_bytes_max: 8 << 20,
};

fn compiled(component: &[u8], limits: Limits) -> Plugin {
    Plugin::compile(engine(), "tested", component, limits).expect("compiles")
}

fn partitioner(component: &[u8], limits: Limits) -> PartitionerFactory {
    let plugin = compiled(component, limits);
    plugin.into_partitioner().expect("a partitioner")
}

fn geohash(config: &[(&str, &str)]) -> PartitionerInstance {
    static FACTORY: OnceLock<PartitionerFactory> = OnceLock::new();
    let factory = FACTORY.get_or_init(|| partitioner(geohash_partitioner(), PATIENT));
    factory.instantiate(&settings(config)).expect("starts")
}

fn records(needs: Needs, records: &[(Option<&str>, &str)]) -> RecordBlob {
    let mut blob = RecordBlob::new();
    blob.start(needs, &Limits::default());
    for (key, value) in records {
        let key = key.map(str::as_bytes);
        blob.push(key, Some(value.as_bytes()), None, 0)
            .expect("fits");
    }
    blob
}

/// The partitions come from Kafka's own `BuiltInPartitioner.partitionForKey`.
#[test]
fn a_partitioner_chooses_as_kafka_does() {
    let mut geohash = geohash(&[]);
    let keys = ["21", "foobar", "a-little-bit-long-string", "abc", ""];
    // `toPositive(murmur2(key)) % 12`
    let expected = [
        -973_932_308,
        -790_332_482,
        -985_981_536,
        479_470_107,
        275_646_681,
    ]
    .map(|hash: i32| (hash.cast_unsigned() & 0x7fff_ffff) % 12);
    let keyed = keys.map(|key| (Some(key), "no position"));
    let keyed = records(geohash.needs(), &keyed);
    let chosen = geohash.partition("readings", 12, &keyed).expect("answers");
    assert_eq!(chosen, expected);
}

#[test]
fn readings_of_one_area_go_to_one_partition() {
    let mut geohash = geohash(&[("precision", "4")]);
    let readings = [
        (Some("a"), r#"{"lat":52.5200,"lon":13.4050}"#),
        (Some("b"), r#"{"lat":52.5201,"lon":13.4049}"#),
        (None, r#"{"lon":13.405,"lat":52.52,"speed":3}"#),
        (None, r#"{"lat":91,"lon":0}"#),
    ];
    let readings = records(geohash.needs(), &readings);
    let chosen = geohash.partition("positions", 1_000, &readings);
    let chosen = chosen.expect("answers");
    assert_eq!(chosen[..3], [chosen[0]; 3]);
    assert_eq!(chosen[3], 0, "no position, no key");
    let mut cells = Vec::new();
    for lat in 0..40 {
        let reading = format!(r#"{{"lat":{lat},"lon":13}}"#);
        let one = records(geohash.needs(), &[(None, &reading)]);
        cells.extend(
            geohash
                .partition("positions", 1_000, &one)
                .expect("answers"),
        );
    }
    cells.sort_unstable();
    cells.dedup();
    assert!(cells.len() > 35, "{cells:?}");
}

#[test]
fn settings_that_a_partitioner_refuses_are_told() {
    let factory = partitioner(geohash_partitioner(), PATIENT);
    match factory.instantiate(&settings(&[("precision", "13")])) {
        Err(Error::Configuration { reason }) => assert!(reason.contains("13"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_batch_has_no_partitions() {
    let mut geohash = geohash(&[]);
    let none = records(geohash.needs(), &[]);
    let chosen = geohash.partition("readings", 12, &none).expect("none");
    assert!(chosen.is_empty());
}

#[test]
fn partitions_against_the_rules_are_refused() {
    let factory = partitioner(misplace(), Limits::default());
    let fails = |answer: &str| {
        let mut misplace = factory
            .instantiate(&settings(&[("answer", answer)]))
            .expect("starts");
        let three = records(misplace.needs(), &[(None, "a"), (None, "b"), (None, "c")]);
        misplace
            .partition("readings", 4, &three)
            .expect_err("refused")
    };
    let bad = |answer| match fails(answer) {
        CallError::BadOutput(bad) => bad,
        other => panic!("{answer}: {other}"),
    };
    assert_eq!(bad("few"), BadOutput::PartitionCount { got: 2, records: 3 });
    assert_eq!(
        bad("many"),
        BadOutput::PartitionCount { got: 4, records: 3 }
    );
    assert_eq!(
        bad("outside"),
        BadOutput::PartitionOutside {
            chosen: 4,
            partitions: 4
        }
    );
    assert!(matches!(fails("panic"), CallError::Trap { .. }));
    assert!(matches!(fails("loop"), CallError::Deadline));
    assert!(matches!(
        fails("flood"),
        CallError::Memory | CallError::BadOutput(_)
    ));
}

#[test]
fn a_partitioner_that_failed_is_started_again() {
    let factory = partitioner(misplace(), Limits::default());
    let mut misplace = factory.instantiate(&settings(&[])).expect("starts");
    let one = records(misplace.needs(), &[(None, "a")]);
    for _ in 0..2 {
        assert_eq!(misplace.partition("abc", 16, &one).expect("answers"), [4]);
    }
}

fn tenants(config: &[(&str, &str)]) -> QuotaInstance {
    let factory = compiled(tenant_quota(), PATIENT)
        .into_quota()
        .expect("a quota policy");
    factory.instantiate(&settings(config)).expect("starts")
}

fn ask_for(policy: &mut QuotaInstance, client_id: &str) -> Result<Grant, CallError> {
    policy.decide(&QuotaRequest {
        operation: QuotaOperation::Fetch,
        principal: None,
        client_id: Some(client_id),
        peer: "192.0.2.1",
        listener: "PLAINTEXT",
        topics: &[],
        bytes: 0,
        records: 0,
        now_ms: 0,
    })
}

fn ask(policy: &mut QuotaInstance, client_id: &str, bytes: u64, now_ms: u64) -> Grant {
    let peer = Ipv4Addr::LOCALHOST.to_string();
    let request = QuotaRequest {
        operation: QuotaOperation::Produce,
        principal: Some("User:alice"),
        client_id: Some(client_id),
        peer: &peer,
        listener: "PLAINTEXT",
        topics: &["readings"],
        bytes,
        records: 1,
        now_ms,
    };
    policy.decide(&request).expect("answers")
}

#[test]
fn tenants_have_a_rate_with_bursts_each() {
    let config = [
        ("rate", "1000"),
        ("burst", "2000"),
        ("rate.slow", "10"),
        ("rate.nobody", "0"),
    ];
    let mut policy = tenants(&config);
    assert_eq!(ask(&mut policy, "acme.one", 1_500, 0), Grant::Allow);
    let over = ask(&mut policy, "acme.two", 1_500, 0);
    assert_eq!(over, Grant::Throttle { ms: 1_000 });
    assert_eq!(ask(&mut policy, "other.one", 2_000, 0), Grant::Allow);
    assert_eq!(ask(&mut policy, "acme.two", 0, 1_000), Grant::Allow);
    let slow = ask(&mut policy, "slow", 2_010, 0);
    assert_eq!(slow, Grant::Throttle { ms: 1_000 });
    let Grant::Reject { reason } = ask(&mut policy, "nobody.here", 1, 0) else {
        panic!("not rejected")
    };
    assert!(reason.contains("nobody"), "{reason}");
}

/// The thread that serves a client waits for a decision, whatever the plugin's own deadline is.
#[test]
fn a_decision_that_never_comes_is_given_up_soon() {
    let factory = compiled(judge(), PATIENT).into_quota();
    let mut policy = factory.and_then(|factory| factory.instantiate(&[]));
    let policy = policy.as_mut().expect("starts");
    let began = Instant::now();
    let failed = ask_for(policy, "loop").expect_err("it never comes");
    assert!(matches!(failed, CallError::Deadline), "{failed}");
    // The plugin's own deadline is a minute.
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    let failed = ask_for(policy, "panic").expect_err("it panics");
    assert!(matches!(failed, CallError::Trap { .. }), "{failed}");
    let grant = ask_for(policy, "throttle-7").expect("it decides again");
    assert_eq!(grant, Grant::Throttle { ms: 7 });
}

#[test]
fn a_flood_of_tenants_stays_within_the_memory() {
    let mut policy = tenants(&[("rate", "1"), ("burst", "1")]);
    for tenant in 0..20_000 {
        let client_id = format!("{tenant}-{}", "x".repeat(1_000));
        let _ = ask(&mut policy, &client_id, 1_000, 0);
    }
}

#[test]
fn a_plugin_of_another_world_is_refused_with_both_names() {
    for (component, world) in [
        (tenant_quota(), World::QuotaPolicy),
        (geohash_partitioner(), World::KeyPartitioner),
    ] {
        let plugin = compiled(component, PATIENT);
        assert_eq!(plugin.world(), world);
        let refused = plugin.into_filter().expect_err("no filter").to_string();
        assert!(refused.contains(&world.to_string()), "{refused}");
        assert!(refused.contains("record-filter"), "{refused}");
    }
}

/// Returns the world of a component that imports and exports these interfaces.
fn world(imports: &[&str], exports: &[&str]) -> Result<World, Error> {
    let mut text = String::new();
    for import in imports {
        write!(text, r#"(import "{import}" (instance))"#).expect("a string takes any text");
    }
    for name in exports.iter().chain(&["lifecycle"]) {
        let export = format!("sedge:plugin/{name}@0.1.0");
        write!(
            text,
            r#"(instance ${name}) (export "{export}" (instance ${name}))"#
        )
        .expect("a string takes any text");
    }
    let component = wat::parse_str(format!("(component {text})")).expect("well formed");
    sedge_plugin::inspect(&component, 1 << 20).map(|(world, _)| world)
}

#[test]
fn a_partitioner_that_is_not_pure_is_refused() {
    const LOG: &str = "sedge:plugin/log@0.1.0";
    const METRICS: &str = "sedge:plugin/metrics@0.1.3";
    for of in ["filter", "quota"] {
        assert!(world(&[LOG, METRICS], &[of]).is_ok(), "{of}");
    }
    assert!(world(&[LOG], &["partitioner"]).is_ok());
    let refused = world(&[LOG, METRICS], &["partitioner"]).expect_err("refused");
    let text = refused.to_string();
    assert!(
        matches!(refused, Error::ImportOfOtherWorld { .. }),
        "{text}"
    );
    assert!(
        text.contains(METRICS) && text.contains("partitioners are pure"),
        "{text}"
    );
}

#[test]
fn a_component_is_of_one_world() {
    let exports = |worlds: &[&str]| world(&[], worlds);
    assert_eq!(exports(&["quota"]).expect("one"), World::QuotaPolicy);
    assert!(matches!(exports(&[]), Err(Error::NoWorld)));
    assert!(matches!(
        exports(&["filter", "quota"]),
        Err(Error::SeveralWorlds { .. })
    ));
}
