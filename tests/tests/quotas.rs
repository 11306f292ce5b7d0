//! Tests client quotas with real clients, and with one that ignores `throttle_time_ms`.
//!
//! All tests share one broker. Each client has its own client id, and so its own quota.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::alter_client_quotas_request::{
    AlterClientQuotasRequestData, EntityData, EntryData, OpData,
};
use sedge_protocol::kafka::generated::alter_client_quotas_response::AlterClientQuotasResponseData;
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::client::{self, Topic};
use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{
    self, Batch, Connection, Decoder, Encoder, FETCH_VERSION, PRODUCE_VERSION, Reply, error,
    fetch_request, fetched, frame_of, key, produce_request,
};
use sedge_tests::{ask, http, kafka_tools, limits, plugin, ports, report, tools};

/// The byte rate of the clients with a quota, per second.
const RATE: u64 = 400_000;
/// The tolerated deviation of a client's rate from its quota.
const SPREAD: f64 = 0.05;

struct Site {
    sedge: Sedge,
    _directory: TempDir,
}

impl Site {
    fn start(name: &str) -> Self {
        Self::start_with(name, Options::default().set("durability", "interval"))
    }

    fn start_with(name: &str, options: Options) -> Self {
        let directory = TempDir::new(name);
        Self {
            sedge: Sedge::start(&directory.join("data"), options),
            _directory: directory,
        }
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.sedge.bootstrap())
    }

    /// Sets a quota by a request.
    fn set(&self, entity: &[(&str, &str)], quota: &str, value: f64) {
        let text = |text: &str| KafkaString::from(text.to_owned());
        let parts = entity.iter().map(|(kind, name)| {
            EntityData::default()
                .with_entity_type(text(kind))
                .with_entity_name((!name.is_empty()).then(|| text(name)))
        });
        let op = OpData::default().with_key(text(quota)).with_value(value);
        let entry = EntryData::default()
            .with_entity(parts.collect())
            .with_ops(vec![op]);
        let request = AlterClientQuotasRequestData::default().with_entries(vec![entry]);
        let mut admin = self.connect();
        let answer =
            ask!(&mut admin, AlterClientQuotas 1, request => AlterClientQuotasResponseData);
        assert_eq!(answer.entries[0].error_code, error::NONE, "{answer:?}");
    }

    fn throttled(&self, quota: &str) -> u64 {
        let name = format!("sedge_quota_throttled_requests_total{{quota=\"{quota}\"}}");
        http::metric(self.sedge.console(), &name) as u64
    }
}

/// Sends a request and returns the body of its reply.
fn ask_as(client: &str, to: &mut Connection, key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    to.send_raw(&frame_of(client, (key, version), 7, body));
    to.reply().frame().split_off(4)
}

/// A batch of one record of this size.
fn batch(bytes: usize) -> Vec<u8> {
    Batch::of(&[vec![b'x'; bytes]]).encode()
}

fn java(tool: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut command = kafka_tools::command(tool);
    command.args(arguments);
    let done = Process::run(tool, &mut command, input, limits::COMMAND);
    tools::must(done, tool).stdout
}

#[test]
fn kafka_s_tool_sets_and_shows_quotas_of_every_kind_of_entity() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("quotas-tool");
    let bootstrap = site.sedge.bootstrap();
    let configs = |arguments: &[&str]| {
        let all = [&["--bootstrap-server", &bootstrap][..], arguments].concat();
        java("kafka-configs", &all, b"")
    };
    let add = ["--alter", "--add-config"];
    let rates = "producer_byte_rate=1024,consumer_byte_rate=2048,request_percentage=12.5,\
                 controller_mutation_rate=3";
    let both = ["--entity-type", "users", "--entity-name", "CN=u,O=x"];
    let both = [&both[..], &["--entity-type", "clients", "--entity-default"]].concat();
    configs(&[&add[..], &[rates], &both[..]].concat());
    let ip = ["--entity-type", "ips", "--entity-name", "192.0.2.1"];
    configs(&[&add[..], &["connection_creation_rate=5"], &ip[..]].concat());
    let client = ["--entity-type", "clients", "--entity-name", "c"];
    configs(&[&add[..], &["producer_byte_rate=7"], &client[..]].concat());
    site.sedge.terminate();
    site.sedge.start_again();
    let said = configs(&[&["--describe"][..], &both[..]].concat());
    for part in ["user-principal 'CN=u,O=x'", "default client-id"] {
        assert!(said.contains(part), "{said}");
    }
    for quota in rates.split(',').map(str::trim) {
        assert!(said.contains(quota), "{quota} in {said}");
    }
    let said = configs(&[&["--describe"][..], &ip[..]].concat());
    assert!(said.contains("connection_creation_rate=5"), "{said}");
    let delete = ["--alter", "--delete-config", "producer_byte_rate"];
    configs(&[&delete[..], &client[..]].concat());
    let said = configs(&["--describe", "--entity-type", "clients"]);
    assert!(!said.contains("producer_byte_rate=7"), "{said}");
}

/// Measures how fast `done`, a count of bytes, grows between two of its values. `throttled` counts
/// how often the client was throttled: a throttled client has no credit left from idle time.
fn rate(
    (from, to): (u64, u64),
    throttled: Option<&dyn Fn() -> u64>,
    done: &mut dyn FnMut() -> u64,
) -> f64 {
    let deadline = Instant::now() + limits::CONDITION;
    let mut reach = |bytes: u64| {
        let mut wait = |is_so: &mut dyn FnMut(u64) -> bool| loop {
            let now = done();
            if is_so(now) {
                return (Instant::now(), now);
            }
            assert!(Instant::now() < deadline, "{now} of {bytes} bytes");
            std::thread::sleep(Duration::from_millis(2));
        };
        let reached = wait(&mut |now| now >= bytes);
        let Some(throttled) = throttled else {
            return reached;
        };
        let before = throttled();
        wait(&mut |_| throttled() > before)
    };
    let (began, first) = reach(from);
    let (ended, last) = reach(to);
    (last - first) as f64 / (ended - began).as_secs_f64()
}

fn check_rate(client: &str, rate: f64) {
    report::line(format_args!(
        "{client}: {:.1} % of its quota",
        rate / RATE as f64 * 100.0
    ));
    let off = (rate / RATE as f64 - 1.0).abs();
    assert!(
        off < SPREAD,
        "{client}: {rate:.0} bytes/s with a quota of {RATE}"
    );
}

const RECORD_BYTES: u64 = 10_000;

/// Returns the bytes of the records in a topic.
fn produced(connection: &mut Connection, topic: &str) -> u64 {
    let body = Encoder::default().i32(-1).i8(0).i32(1).string(topic);
    let body = body.i32(1).i32(0).i32(-1).i64(-1).0;
    let reply = connection.ask(key::LIST_OFFSETS, 4, &body);
    let mut d = Decoder(&reply);
    assert_eq!((d.i32(), d.i32()), (0, 1));
    d.string();
    assert_eq!((d.i32(), d.i32(), d.i16()), (1, 0, error::NONE));
    d.i64();
    d.i64() as u64 * RECORD_BYTES
}

/// Measures from the first throttling on, when the credit of one window is used up.
const FROM: u64 = RATE * 3 / 2;
const TO: u64 = FROM + RATE * 4;

#[test]
fn librdkafka_and_java_keep_their_rates() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("quotas-rates");
    for client in PRODUCERS {
        site.set(&[("client-id", client)], "producer_byte_rate", RATE as f64);
    }
    let quota = "consumer_byte_rate";
    site.set(&[("client-id", CONSUMER)], quota, RATE as f64);
    let throttled = || site.throttled("fetch");
    check_rates(&site, Some(&throttled));
    for quota in ["produce", "fetch"] {
        assert!(site.throttled(quota) > 0, "{quota}");
    }
}

/// The example policy, bound by Kafka's own tool.
#[test]
fn librdkafka_and_java_keep_the_rates_of_a_quota_policy() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("quotas-policy");
    let bootstrap = site.sedge.bootstrap();
    let built = TempDir::new("quotas-policy-built");
    let component = plugin::build("tenant-quota", built.path());
    plugin::deploy(&bootstrap, "tenants", &component);
    let mut settings = "sedge.quota.policy=tenants,sedge.plugin.tenants.rate=1e12,\
                        sedge.plugin.tenants.burst=1e12"
        .to_owned();
    for client in [PRODUCERS[0], PRODUCERS[1], CONSUMER] {
        for name in ["rate", "burst"] {
            write!(settings, ",sedge.plugin.tenants.{name}.{client}={RATE}").expect("a string");
        }
    }
    let all = ["--entity-type", "brokers", "--entity-default"];
    let bind = [
        "--bootstrap-server",
        &bootstrap,
        "--alter",
        "--add-config",
        &settings,
    ];
    java("kafka-configs", &[&bind[..], &all[..]].concat(), b"");
    let describe = ["--bootstrap-server", &bootstrap, "--describe"];
    let said = java("kafka-configs", &[&describe[..], &all[..]].concat(), b"");
    assert!(said.contains("sedge.quota.policy=tenants"), "{said}");
    check_rates(&site, None);
    assert!(site.throttled("policy") > 0);
    let fallback = r#"sedge_quota_policy_requests_total{decision="fallback"}"#;
    let calls = r#"sedge_plugin_calls_total{plugin="tenants"}"#;
    let seconds = r#"sedge_plugin_duration_seconds_total{plugin="tenants"}"#;
    let metric = |name: &str| http::metric(site.sedge.console(), name);
    report::line(format_args!(
        "a decision of the policy: {:.2} us, of {} decisions",
        metric(seconds) / metric(calls) * 1e6,
        metric(calls)
    ));
    assert_eq!(metric(fallback) as u64, 0);
}

const PRODUCERS: [&str; 2] = ["kcat-producer", "java-producer"];
const CONSUMER: &str = "kcat-consumer";

/// Measures the rates of real clients with these client ids. `throttled` counts the throttlings of
/// the consumer.
fn check_rates(site: &Site, throttled: Option<&(dyn Fn() -> u64 + Sync)>) {
    let bootstrap = site.sedge.bootstrap();
    for client in PRODUCERS {
        wire::create_topic(&mut site.connect(), client, 1, &[]);
        wire::wait_leader(&mut site.connect(), client, 0);
    }
    wire::create_topic(&mut site.connect(), "filled", 1, &[]);
    wire::wait_leader(&mut site.connect(), "filled", 0);
    let line = vec![b'y'; RECORD_BYTES as usize];
    let mut filling = site.connect();
    for _ in 0..(TO + 4 * RATE) / RECORD_BYTES {
        let done = wire::produce(
            &mut filling,
            "filled",
            0,
            &Batch::of(std::slice::from_ref(&line)).encode(),
        );
        assert_eq!(done.error, error::NONE);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut command = kafka_tools::command("kafka-producer-perf-test");
            let (count, size) = (
                (TO / RECORD_BYTES + 400).to_string(),
                RECORD_BYTES.to_string(),
            );
            command.args(["--topic", "java-producer", "--throughput", "-1"]);
            command.args(["--num-records", &count, "--record-size", &size]);
            command.args(["--bootstrap-server", &bootstrap, "--command-property"]);
            command.arg("client.id=java-producer");
            let _java = Process::spawn("kafka-producer-perf-test", &mut command);
            let mut connection = site.connect();
            let done = &mut || produced(&mut connection, "java-producer");
            let rate = rate((FROM, TO), None, done);
            check_rate("kafka-producer-perf-test", rate);
        });
        scope.spawn(|| {
            let mut command = Command::new("sh");
            let lines = TO / RECORD_BYTES + 400;
            command.arg("-c").arg(format!(
                "yes {} | head -n {lines} | kcat -q -P -b {bootstrap} -t kcat-producer \
                 -X client.id=kcat-producer -X batch.num.messages=4",
                String::from_utf8_lossy(&line)
            ));
            let _kcat = Process::spawn("kcat", &mut command);
            let mut connection = site.connect();
            let done = &mut || produced(&mut connection, "kcat-producer");
            let rate = rate((FROM, TO), None, done);
            check_rate("kcat, producing", rate);
        });
        scope.spawn(|| {
            let mut command = Command::new("kcat");
            command.args(["-q", "-C", "-u", "-b", &bootstrap, "-t", "filled"]);
            command.args(["-X", "client.id=kcat-consumer", "-f", "%o\n"]);
            command.args(["-X", "fetch.message.max.bytes=20000"]);
            let kcat = Process::spawn("kcat", &mut command);
            let done = &mut || kcat.output().stdout.len() as u64 * RECORD_BYTES;
            let throttled = throttled.map(|throttled| throttled as &dyn Fn() -> u64);
            let rate = rate((FROM, TO), throttled, done);
            check_rate("kcat, consuming", rate);
        });
    });
}

/// Reads `throttle_time_ms` after the result of the only partition.
fn produce_throttle_ms(reply: &[u8]) -> i32 {
    i32::from_be_bytes(*reply.last_chunk().expect("four bytes"))
}

#[test]
fn a_client_that_ignores_what_it_is_told_is_muted_and_its_neighbour_is_not() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("quotas-mute");
    site.set(&[("client-id", "rude")], "producer_byte_rate", RATE as f64);
    wire::create_topic(&mut site.connect(), "t", 1, &[]);
    wire::wait_leader(&mut site.connect(), "t", 0);
    let request = |client: &str, bytes: usize| {
        let body = produce_request("t", 0, -1, &batch(bytes));
        frame_of(client, (key::PRODUCE, PRODUCE_VERSION), 7, &body)
    };
    let (rude, small) = (request("rude", 50_000), request("kind", 100));
    let requests = 5 * RATE as usize / rude.len();
    let mut connection = site.connect();
    let mut sending = connection.stream.try_clone().expect("a socket");
    let mut neighbour = site.connect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        // Sends everything at once: most of it waits in sockets until the broker reads on.
        scope.spawn(|| {
            use std::io::Write as _;
            for _ in 0..requests {
                sending
                    .write_all(&rude)
                    .expect("the broker reads in the end");
            }
        });
        let polite = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            for _ in 0..200 {
                let asked = Instant::now();
                neighbour.send_raw(&small);
                let reply = neighbour.reply().frame();
                longest = longest.max(asked.elapsed());
                assert_eq!(produce_throttle_ms(&reply), 0);
            }
            (longest, began.elapsed())
        });
        let mut told = Vec::new();
        for _ in 0..requests {
            let reply = connection.reply().frame();
            told.push(produce_throttle_ms(&reply));
        }
        let took = began.elapsed();
        let sent = (requests * (rude.len() - 4)) as f64;
        // The last request is answered at once, and the connection is muted afterwards.
        let last = rude.len() as f64;
        let paid = sent - RATE as f64 - last;
        check_rate("a client that ignores its quota", paid / took.as_secs_f64());
        assert!(told.iter().any(|ms| *ms > 50), "{told:?}");
        let (longest, neighbour_took) = polite.join().expect("the neighbour goes on");
        assert!(
            neighbour_took < took && longest < took / 3,
            "{longest:?} {neighbour_took:?}"
        );
    });
    assert!(site.throttled("produce") > 0);
}

#[test]
fn a_throttled_fetch_is_empty_and_nothing_is_lost() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("quotas-fetch");
    let client = "reader";
    site.set(&[("user", "")], "consumer_byte_rate", RATE as f64);
    let mut connection = site.connect();
    wire::create_topic(&mut connection, "t", 1, &[]);
    wire::wait_leader(&mut connection, "t", 0);
    for _ in 0..9 {
        let produced = wire::produce(&mut connection, "t", 0, &batch(100_000));
        assert_eq!(produced.error, error::NONE);
    }
    let (mut offset, mut empty) = (0, 0_u64);
    let began = Instant::now();
    while offset < 9 {
        // The client asks for more than its quota allows in a second.
        let body = fetch_request("t", 0, offset, 1 << 20);
        let reply = ask_as(client, &mut connection, key::FETCH, FETCH_VERSION, &body);
        let throttle_ms = Decoder(&reply).i32();
        if throttle_ms > 0 {
            assert!(throttle_ms <= 1_000, "{throttle_ms}");
            assert_eq!(wire::fetched_of(&reply).unwrap_err(), error::NONE);
            empty += 1;
            continue;
        }
        let answer = fetched(&reply);
        assert_eq!(answer.error, error::NONE);
        assert!(answer.records.len() <= RATE as usize);
        offset = wire::next_offset(&answer.records).expect("records");
    }
    assert!(empty > 0);
    // Sends nine batches, of which the first four are allowed at once.
    assert!(
        began.elapsed() > Duration::from_millis(1_150),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(site.throttled("fetch"), empty);
}

#[test]
fn time_of_the_handlers_is_a_quota_too() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("quotas-time");
    // Allows a ten-thousandth of one thread.
    site.set(&[("client-id", "busy")], "request_percentage", 0.01);
    let mut connection = site.connect();
    let all = Encoder::default().i32(-1).i8(0).0;
    let deadline = Instant::now() + limits::CONDITION;
    let throttle_ms = loop {
        let reply = ask_as("busy", &mut connection, key::METADATA, 4, &all);
        match Decoder(&reply).i32() {
            0 => assert!(Instant::now() < deadline, "nothing is throttled"),
            ms => break ms,
        }
    };
    assert!((1..=1_000).contains(&throttle_ms), "{throttle_ms}");
    assert!(site.throttled("request") > 0);
    let reply = ask_as("other", &mut site.connect(), key::METADATA, 4, &all);
    assert_eq!(Decoder(&reply).i32(), 0);
}

#[test]
fn a_real_admin_client_waits_for_its_quota_of_partitions() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("quotas-admin");
    // All clients of the user share the quota.
    site.set(&[("user", "ANONYMOUS")], "controller_mutation_rate", 10.0);
    let topic = Topic {
        bootstrap: site.sedge.bootstrap(),
        name: "waited-for".to_owned(),
        partitions: 1,
        base_ms: 0,
    };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Others use up what the windows allow at once and five seconds more, and then as much as
        // is added, until the client was throttled too, however long its start takes. A request of
        // a version before KIP-599 is never refused.
        let others = scope.spawn(|| {
            let mut others = site.connect();
            wire::create_topic(&mut others, "many", 160, &[]);
            let mut requests = 1;
            while !is_over.load(Ordering::Relaxed) {
                wire::create_topic(&mut others, &format!("one-{requests}"), 1, &[]);
                requests += 1;
                if site.throttled("controller_mutation") > requests {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            false
        });
        // The Java client waits and tries again; Kafka's own tool would give up.
        client::JAVA.create(&topic);
        is_over.store(true, Ordering::Relaxed);
        assert!(
            others.join().expect("the others end"),
            "the client never waited"
        );
    });
    wire::wait_known(&mut site.connect(), &topic.name, 0);
}

#[test]
fn a_listener_accepts_as_many_connections_as_it_may_and_another_is_not_slowed() {
    if is_skipped_on_kafka() {
        return;
    }
    let slow = format!("127.0.0.1:{}", ports::free());
    let options = Options::default()
        .listener(format!("SLOW://{slow}"))
        .set(
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,SLOW:PLAINTEXT",
        )
        .set("listener.name.slow.max.connection.creation.rate", "10");
    let site = Site::start_with("quotas-listener", options);
    let is_served = |address: &str| {
        let mut connection = Connection::open(address);
        connection.send(key::API_VERSIONS, 0, &[]);
        connection.reply() != Reply::Closed
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| (0..25).all(|_| is_served(&slow)));
        for _ in 0..50 {
            assert!(is_served(&site.sedge.bootstrap()));
        }
        assert!(!flood.is_finished());
        assert!(flood.join().expect("the connection is served in the end"));
    });
    // Opens ten connections at once.
    assert!(
        began.elapsed() >= Duration::from_millis(1_450),
        "{:?}",
        began.elapsed()
    );
    assert!(site.throttled("accept") > 0);
}

#[test]
fn an_address_that_opens_too_many_connections_is_put_off() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("quotas-connections");
    site.set(&[("ip", "127.0.0.5")], "connection_creation_rate", 4.0);
    let bootstrap = site.sedge.bootstrap();
    let is_served = |host: [u8; 4]| {
        let mut connection = Connection::from_host(host.into(), &bootstrap);
        connection.send(key::API_VERSIONS, 0, &[]);
        connection.reply() != Reply::Closed
    };
    let served = (0..12).filter(|_| is_served([127, 0, 0, 5])).count();
    // Served are the connections of one window, and of the time for which the others were held.
    assert!((4..=11).contains(&served), "{served}");
    assert!(site.throttled("connection") > 0);
    for _ in 0..30 {
        assert!(is_served([127, 0, 0, 6]));
    }
    let deadline = Instant::now() + limits::CONDITION;
    while !is_served([127, 0, 0, 5]) {
        assert!(
            Instant::now() < deadline,
            "the address is never served again"
        );
    }
}
