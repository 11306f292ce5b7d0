//! Tests the quota policy: its binding, what it is told, its decisions, and its failures.

use std::time::{Duration, Instant};

use sedge_tests::sedge::Options;
use sedge_tests::wire::{
    self, Batch, Connection, Decoder, FETCH_VERSION, PRODUCE_VERSION, Reply, error, fetch_request,
    frame_of, key, produce_request,
};
use sedge_tests::{http, plugin};

use crate::support::{JUDGE, Place, RANGE, SET, TENANTS, alter, alter_broker};

const INVALID_CONFIG: i16 = 40;
const POLICY: &str = "sedge.quota.policy";
/// A deadline that a loaded machine does not exceed by itself; decisions have a shorter one.
const DEADLINE: (&str, &str) = ("plugin.deadline.ms", "60000");

/// A broker that is bound to the policy `judge`, with a topic.
fn judged(name: &str) -> (Place, Connection) {
    let mut place = Place::start(name, Options::default().set(DEADLINE.0, DEADLINE.1));
    place.deploy("judge", JUDGE);
    let mut at = place.connect();
    for topic in ["t", "waiting"] {
        wire::create_topic(&mut at, topic, 1, &[]);
        wire::wait_known(&mut at, topic, 0);
    }
    bind(&mut at, "judge");
    wait_rejects(&mut place);
    (place, at)
}

fn bind(at: &mut Connection, name: &str) {
    let altered = alter_broker(at, (POLICY, name), false);
    assert_eq!(altered, (error::NONE, String::new()));
}

/// Waits until the policy decides: a rejected client is served before.
fn wait_rejects(place: &mut Place) {
    place.wait("the policy rejects", |place| {
        produce_to("waiting", place, "reject").error == error::POLICY_VIOLATION
    });
}

fn requests(place: &Place, decision: &str) -> u64 {
    let name = format!("sedge_quota_policy_requests_total{{decision=\"{decision}\"}}");
    http::metric(place.sedge.console(), &name) as u64
}

fn counted(place: &Place, what: &str) -> u64 {
    let name = format!("sedge_plugin_{what}{{plugin=\"judge\"}}");
    http::metric(place.sedge.console(), &name) as u64
}

#[derive(Debug)]
struct Produced {
    error: i16,
    message: String,
    throttle_ms: i32,
}

fn small() -> Vec<u8> {
    Batch::of(&[b"a".to_vec(), b"b".to_vec()]).encode()
}

/// Produces two records as a client of this id, in a connection of its own.
fn produce(place: &Place, client: &str) -> Produced {
    produce_to("t", place, client)
}

fn produce_to(topic: &str, place: &Place, client: &str) -> Produced {
    let body = produce_request(topic, 0, -1, &small());
    let mut connection = place.connect();
    connection.send_raw(&frame_of(client, (key::PRODUCE, PRODUCE_VERSION), 7, &body));
    let reply = connection.reply().frame().split_off(4);
    let mut d = Decoder(&reply);
    assert_eq!((d.i32(), d.string().as_deref()), (1, Some(topic)));
    assert_eq!((d.i32(), d.i32()), (1, 0));
    let error = d.i16();
    d.take(24);
    assert_eq!(d.i32(), 0, "no record is named");
    let message = d.string().unwrap_or_default();
    let throttle_ms = d.i32();
    Produced {
        error,
        message,
        throttle_ms,
    }
}

/// Fetches as a client of this id. Returns the throttling and the rest of the reply.
fn fetch(connection: &mut Connection, client: &str, offset: i64) -> (i32, Vec<u8>) {
    let body = fetch_request("t", 0, offset, 1 << 20);
    connection.send_raw(&frame_of(client, (key::FETCH, FETCH_VERSION), 7, &body));
    let reply = connection.reply().frame().split_off(4);
    (Decoder(&reply).i32(), reply)
}

#[test]
fn only_a_deployed_quota_policy_is_bound() {
    let place = Place::start("policy-binding", Options::default());
    let mut at = place.connect();
    let refused = |at: &mut Connection, name: &str, parts: &[&str]| {
        for validate_only in [true, false] {
            let (code, why) = alter_broker(at, (POLICY, name), validate_only);
            assert_eq!(code, INVALID_CONFIG, "{why}");
            for part in parts {
                assert!(why.contains(part), "{part} in {why}");
            }
        }
    };
    refused(&mut at, "nosuch", &["no plugin named nosuch is deployed"]);
    place.deploy("range", RANGE);
    // At once: whether it is compiled already makes no difference.
    let world = "is a record-filter, not a quota-policy";
    refused(&mut at, "range", &[POLICY, world]);
    place.deploy("judge", JUDGE);
    wire::create_topic(&mut at, "t", 1, &[]);
    let filter = ("sedge.filter", "judge");
    let (code, why) = alter(&mut at, "t", SET, filter, false);
    let is_told = why.contains("is a quota-policy, not a record-filter");
    assert!(code == INVALID_CONFIG && is_told, "{code} {why}");
    let (code, why) = wire::try_create_topic(&mut at, "u", 1, &[filter]);
    assert_eq!(code, INVALID_CONFIG, "{why:?}");
    assert_eq!(requests(&place, "allow"), 0);
    bind(&mut at, "judge");
    // A binding stays when something else is altered, even if the plugin is gone.
    plugin::delete(&place.sedge.bootstrap(), "judge");
    bind(&mut at, "judge");
    refused(&mut at, "range", &[world]);
}

#[test]
fn a_client_is_told_why_it_is_rejected_and_nothing_is_written() {
    let (place, mut at) = judged("policy-rejects");
    let rejected = produce(&place, "reject");
    let (code, message) = (rejected.error, &rejected.message);
    assert_eq!(code, error::POLICY_VIOLATION);
    let said = "The quota policy judge rejected the request: as it was told";
    assert_eq!(message, said);
    // The bytes are those of the batch, and not of the request.
    let told = produce(&place, "tell").message;
    let bytes = small().len();
    let says = format!(
        "produce by nobody from 127.0.0.1 at PLAINTEXT: topics t, 2 records, {bytes} bytes"
    );
    assert!(told.ends_with(&says), "{told}");
    let read = wire::fetch(&mut at, "t", 0, 0);
    assert!(read.records.is_empty(), "{read:?}");

    // acks=0: the connection is closed, as for any error.
    let mut silent = place.connect();
    let body = produce_request("t", 0, 0, &small());
    silent.send_raw(&frame_of(
        "reject",
        (key::PRODUCE, PRODUCE_VERSION),
        7,
        &body,
    ));
    assert_eq!(silent.reply(), Reply::Closed);

    assert_eq!(produce(&place, "other").error, error::NONE);
    let (throttle_ms, reply) = fetch(&mut place.connect(), "reject", 0);
    let fetched = wire::fetched(&reply);
    assert_eq!((throttle_ms, fetched.error), (0, error::POLICY_VIOLATION));
    assert!(fetched.records.is_empty(), "{fetched:?}");
    let fetched = wire::fetch(&mut at, "t", 0, 0);
    assert_eq!(wire::next_offset(&fetched.records), Some(2), "one batch");
    assert!(requests(&place, "reject") >= 4);
}

#[test]
fn a_rejected_batch_is_not_overtaken_by_the_next_of_its_producer() {
    let (place, _at) = judged("policy-order");
    let send = |client: &str, sequence: i32| {
        let batch = Batch {
            producer_id: 7,
            producer_epoch: 0,
            base_sequence: sequence,
            ..Batch::of(&[b"value".to_vec()])
        };
        let body = produce_request("t", 0, -1, &batch.encode());
        let mut connection = place.connect();
        connection.send_raw(&frame_of(client, (key::PRODUCE, PRODUCE_VERSION), 7, &body));
        wire::produced(&connection.reply().frame().split_off(4)).error
    };
    assert_eq!(send("reject", 0), error::POLICY_VIOLATION);
    assert_eq!(send("other", 1), error::OUT_OF_ORDER_SEQUENCE);
    assert_eq!(send("other", 0), error::NONE);
    assert_eq!(send("other", 1), error::NONE);
}

#[test]
fn a_fetch_waits_for_what_it_has_read_and_is_asked_about_once() {
    let (place, mut at) = judged("policy-fetch");
    let produced = wire::produce(&mut at, "t", 0, &small());
    assert_eq!(produced.error, error::NONE);
    let before = requests(&place, "throttle");
    let mut connection = place.connect();
    let began = Instant::now();
    let (throttle_ms, reply) = fetch(&mut connection, "throttle-400", 0);
    assert_eq!(throttle_ms, 400);
    let empty = wire::fetched_of(&reply).expect_err("no partition");
    assert_eq!(empty, error::NONE);
    // More arrives meanwhile: the client gets what the policy was asked about, no more.
    let produced = wire::produce(&mut at, "t", 0, &small());
    assert_eq!(produced.error, error::NONE);
    let (throttle_ms, reply) = fetch(&mut connection, "throttle-400", 0);
    assert!(began.elapsed() >= Duration::from_millis(400), "muted");
    let fetched = wire::fetched(&reply);
    assert_eq!((throttle_ms, fetched.error), (0, error::NONE));
    assert_eq!(wire::next_offset(&fetched.records), Some(2));
    assert_eq!(requests(&place, "throttle"), before + 1);
    let (throttle_ms, _) = fetch(&mut connection, "throttle-400", 2);
    assert_eq!(throttle_ms, 400, "the next bytes");
}

#[test]
fn a_produce_is_done_and_its_throttling_is_bounded() {
    let (place, _at) = judged("policy-throttles");
    let throttled = produce(&place, "throttle-250");
    assert_eq!((throttled.error, throttled.throttle_ms), (error::NONE, 250));
    let throttled = produce(&place, "throttle-4000000000");
    assert_eq!(throttled.error, error::NONE);
    assert_eq!(throttled.throttle_ms, 30_000);
    let metric = r#"sedge_quota_throttled_requests_total{quota="policy"}"#;
    assert_eq!(http::metric(place.sedge.console(), metric) as u64, 2);
}

#[test]
fn the_quotas_decide_alone_when_the_policy_fails() {
    let (mut place, mut at) = judged("policy-fails");
    let (traps, deadlines) = ("traps_total", "deadlines_total");
    let before = requests(&place, "fallback");
    assert_eq!((counted(&place, traps), counted(&place, deadlines)), (0, 0));
    let looping = produce(&place, "loop");
    assert_eq!(looping.error, error::NONE, "{looping:?}");
    assert_eq!(counted(&place, deadlines), 1);
    // One failure does not keep it from deciding.
    assert_eq!(produce(&place, "reject").error, error::POLICY_VIOLATION);
    for _ in 0..20 {
        let failed = produce(&place, "panic");
        assert_eq!((failed.error, failed.throttle_ms), (error::NONE, 0));
    }
    let asked = counted(&place, traps);
    assert!((4..=6).contains(&asked), "asked {asked} times");
    assert_eq!(requests(&place, "fallback"), before + 21);
    let said = "the quota policy judge did not decide about 1 request";
    let log = place.sedge.process().tail();
    let told = log.matches(said).count();
    assert!((1..=2).contains(&told), "once a minute and version\n{log}");

    // A new version decides at once, and so does the old one again, without a restart.
    let set = |at: &mut Connection, name: &str, value: &str| {
        let altered = alter_broker(at, (name, value), false);
        assert_eq!(altered, (error::NONE, String::new()));
    };
    set(&mut at, "sedge.plugin.judge.rate.reject", "0");
    place.deploy("judge", TENANTS);
    place.wait("the new version decides", |place| {
        let other = produce(place, "panic");
        assert_eq!(other.error, error::NONE, "no request is refused");
        let rejected = produce(place, "reject").message;
        rejected.contains(r#"tenant "reject" may use nothing"#)
    });
    // A refused setting is a failure as well.
    set(&mut at, "sedge.plugin.judge.rate.reject", "-1");
    place.wait("the refusal is in effect", |place| {
        produce(place, "reject").error == error::NONE
    });
    let refusal = "setting rate.reject: -1 is no number of bytes";
    place.wait("the log says why", |place| {
        place.sedge.process().tail().contains(refusal)
    });
}

#[test]
fn a_policy_that_is_deleted_or_unbound_decides_no_more() {
    let (mut place, mut at) = judged("policy-goes");
    assert_eq!(counted(&place, "instances"), 1);
    plugin::delete(&place.sedge.bootstrap(), "judge");
    place.wait("it is gone", |place| {
        produce(place, "reject").error == error::NONE
    });
    assert!(requests(&place, "fallback") > 0);
    place.wait("its instance is gone", |place| {
        counted(place, "instances") == 0
    });
    let unready = "ok\nthe quota policy judge is not ready: not deployed\n";
    let ready = http::get(place.sedge.console(), "/readyz");
    assert_eq!(ready, (200, unready.into()));
    // The binding outlives a restart, and a deployment is enough for it.
    place.sedge.terminate();
    place.sedge.start_again();
    let ready = http::get(place.sedge.console(), "/readyz");
    assert_eq!(ready, (200, unready.into()));
    place.deploy("judge", JUDGE);
    wait_rejects(&mut place);
    place.wait("ready", |place| {
        http::get(place.sedge.console(), "/readyz") == (200, "ok\n".into())
    });
    at = {
        drop(at);
        place.connect()
    };
    bind(&mut at, "");
    place.wait("it is unbound", |place| {
        produce(place, "reject").error == error::NONE
    });
    place.wait("its instance is gone", |place| {
        counted(place, "instances") == 0
    });
}
