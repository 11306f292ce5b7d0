//! Tests Kafka's own command line tools and Connect, unchanged, against a real broker: a table of
//! commands and their expected output. `SEDGE_TEST_BROKER=kafka` runs the same against Apache
//! Kafka.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sedge_tests::broker::Broker;
use sedge_tests::process::Process;
use sedge_tests::report;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::{kafka_tools, limits, ports};

/// One command: its name here, the tool, its arguments, and the pattern that one line of its output
/// must match (fragments in order, `*` between them). `{b}` is the bootstrap address, `{w}` the
/// work directory, `{hmac}` the secret of a delegation token.
struct Check {
    name: &'static str,
    tool: &'static str,
    arguments: &'static str,
    says: &'static str,
    input: Input,
    exit: Exit,
}

#[derive(Clone, Copy, PartialEq)]
enum Input {
    Nothing,
    Lines,
}

#[derive(Clone, Copy, PartialEq)]
enum Exit {
    Success,
    Failure,
}

const fn check(
    name: &'static str,
    tool: &'static str,
    arguments: &'static str,
    says: &'static str,
) -> Check {
    Check {
        name,
        tool,
        arguments,
        says,
        input: Input::Nothing,
        exit: Exit::Success,
    }
}

const fn fed(mut check: Check) -> Check {
    check.input = Input::Lines;
    check
}

const fn refused(mut check: Check) -> Check {
    check.exit = Exit::Failure;
    check
}

const TOPICS: &str = "kafka-topics";
const GROUPS: &str = "kafka-consumer-groups";
const ACLS: &str = "kafka-acls";
const CONFIGS: &str = "kafka-configs";
const PERF: &str = "kafka-producer-perf-test";
const TOKENS: &str = "kafka-delegation-tokens";
const BS: &str = "--bootstrap-server {b}";
/// Begins the arguments of tools that take the address before their subcommand.
const BEFORE: &str = "{before}";

/// The commands in the order in which they run: later ones build on earlier ones.
const CHECKS: &[Check] = &[
    check(
        "api-versions",
        "kafka-broker-api-versions",
        "",
        "Produce(0): 0 to *usable: ",
    ),
    check("cluster-id", "kafka-cluster", "cluster-id", "Cluster ID: "),
    check(
        "topics-create",
        TOPICS,
        "--create --topic t --partitions 3 --replication-factor 1 --config retention.ms=86400000",
        "Created topic t",
    ),
    refused(check(
        "topics-create-exists",
        TOPICS,
        "--create --topic t --partitions 3",
        "already exists",
    )),
    check(
        "topics-describe",
        TOPICS,
        "--describe --topic t",
        "Topic: t*PartitionCount: 3*retention.ms=86400000",
    ),
    check(
        "topics-alter-partitions",
        TOPICS,
        "--alter --topic t --partitions 4",
        "",
    ),
    check("topics-list", TOPICS, "--list", "t"),
    refused(check(
        "topics-create-replicated",
        TOPICS,
        "--create --topic replicated --partitions 1 --replication-factor 3",
        "Unable to replicate the partition 3 time(s)",
    )),
    check(
        "topics-create-min-isr",
        TOPICS,
        "--create --topic strict --partitions 1 --config min.insync.replicas=2 \
         --config unclean.leader.election.enable=true",
        "Created topic strict",
    ),
    check(
        "topics-under-min-isr",
        TOPICS,
        "--describe --under-min-isr-partitions",
        "Topic: strict*Partition: 0*Isr: 1",
    ),
    check(
        "topics-at-min-isr",
        TOPICS,
        "--describe --at-min-isr-partitions --topic t",
        "Topic: t*Partition: 0*Isr: 1",
    ),
    check(
        "topics-under-replicated",
        TOPICS,
        "--describe --under-replicated-partitions",
        "",
    ),
    check(
        "leader-election-all",
        "kafka-leader-election",
        "--election-type preferred --all-topic-partitions",
        "",
    ),
    check(
        "reassignments-list",
        "kafka-reassign-partitions",
        "--list",
        "No partition reassignments found.",
    ),
    fed(check(
        "console-producer",
        "kafka-console-producer",
        "--topic t --reader-property parse.key=true --reader-property key.separator=:",
        "",
    )),
    check(
        "console-consumer",
        "kafka-console-consumer",
        "--topic t --from-beginning --max-messages 100 --timeout-ms 20000 --group g \
         --formatter-property print.key=true --formatter-property print.offset=true",
        "Processed a total of 100 messages",
    ),
    // KIP-848.
    check(
        "console-consumer-new",
        "kafka-console-consumer",
        "--topic t --from-beginning --max-messages 100 --timeout-ms 20000 --group gc \
         --command-property group.protocol=consumer",
        "Processed a total of 100 messages",
    ),
    check("groups-list", "kafka-groups", "--list", "g "),
    check(
        "groups-list-new",
        "kafka-groups",
        "--list --consumer",
        "gc *Consumer",
    ),
    check("consumer-groups-list", GROUPS, "--list --state", "g *Empty"),
    check(
        "consumer-groups-describe",
        GROUPS,
        "--describe --group g",
        "g *t *0 ",
    ),
    check(
        "consumer-groups-describe-new",
        GROUPS,
        "--describe --group gc",
        "gc *t *0 ",
    ),
    check(
        "consumer-groups-describe-new-state",
        GROUPS,
        "--describe --group gc --state",
        "gc *uniform *Empty",
    ),
    check(
        "consumer-groups-reset",
        GROUPS,
        "--group g --topic t --reset-offsets --to-earliest --execute",
        "g *t *0",
    ),
    check(
        "consumer-groups-reset-datetime",
        GROUPS,
        "--group g --topic t --reset-offsets --to-datetime 2020-01-01T00:00:00.000 --execute",
        "g *t *0",
    ),
    check(
        "consumer-groups-delete-offsets",
        GROUPS,
        "--group g --topic t --delete-offsets",
        "ucce",
    ),
    check(
        "consumer-groups-delete",
        GROUPS,
        "--group g --delete",
        "successful",
    ),
    check("get-offsets", "kafka-get-offsets", "--topic t", "t:0:"),
    check(
        "get-offsets-maxts",
        "kafka-get-offsets",
        "--topic t --time -3",
        "t:*:",
    ),
    check(
        "configs-topic-alter",
        CONFIGS,
        "--alter --entity-type topics --entity-name t --add-config max.message.bytes=2000000",
        "Completed updating",
    ),
    check(
        "configs-topic-describe",
        CONFIGS,
        "--describe --entity-type topics --entity-name t",
        "max.message.bytes=2000000",
    ),
    check(
        "configs-broker-describe-all",
        CONFIGS,
        "--describe --entity-type brokers --entity-name 1 --all",
        "num.partitions=",
    ),
    check(
        "configs-group",
        CONFIGS,
        "--alter --entity-type groups --entity-name gc \
         --add-config consumer.heartbeat.interval.ms=6000",
        "Completed updating",
    ),
    check(
        "configs-group-describe",
        CONFIGS,
        "--describe --entity-type groups --entity-name gc",
        "consumer.heartbeat.interval.ms=6000",
    ),
    check(
        "configs-broker-alter",
        CONFIGS,
        "--alter --entity-type brokers --entity-name 1 --add-config log.cleaner.backoff.ms=15001",
        "Completed updating",
    ),
    check(
        "configs-broker-alter-default",
        CONFIGS,
        "--alter --entity-type brokers --entity-default --add-config log.cleaner.backoff.ms=15002",
        "Completed updating",
    ),
    check(
        "configs-broker-describe",
        CONFIGS,
        "--describe --entity-type brokers --entity-name 1",
        "log.cleaner.backoff.ms=15001*DYNAMIC_BROKER_CONFIG:log.cleaner.backoff.ms=15001, \
         DYNAMIC_DEFAULT_BROKER_CONFIG:log.cleaner.backoff.ms=15002, \
         DEFAULT_CONFIG:log.cleaner.backoff.ms=15000",
    ),
    check(
        "configs-broker-describe-default",
        CONFIGS,
        "--describe --entity-type brokers --entity-default",
        "log.cleaner.backoff.ms=15002",
    ),
    refused(check(
        "configs-broker-read-only",
        CONFIGS,
        "--alter --entity-type brokers --entity-name 1 --add-config num.partitions=2",
        "Cannot update these configs dynamically",
    )),
    check(
        "configs-broker-delete",
        CONFIGS,
        "--alter --entity-type brokers --entity-name 1 --delete-config log.cleaner.backoff.ms",
        "Completed updating",
    ),
    check(
        "client-metrics-alter",
        "kafka-client-metrics",
        "--alter --name m --metrics org.apache.kafka.producer. --interval 60000 \
         --match client_software_name=apache-kafka-java",
        "",
    ),
    check(
        "client-metrics-describe",
        "kafka-client-metrics",
        "--describe --name m",
        "interval.ms=60000",
    ),
    check("client-metrics-list", "kafka-client-metrics", "--list", "m"),
    check(
        "configs-client-metrics",
        CONFIGS,
        "--alter --entity-type client-metrics --entity-name m --add-config interval.ms=30000",
        "Completed updating",
    ),
    check(
        "configs-client-metrics-describe",
        CONFIGS,
        "--describe --entity-type client-metrics --entity-name m",
        "interval.ms=30000*DYNAMIC_CLIENT_METRICS_CONFIG:interval.ms=30000",
    ),
    check(
        "client-metrics-delete",
        "kafka-client-metrics",
        "--delete --name m",
        "",
    ),
    check(
        "configs-scram",
        CONFIGS,
        "--alter --entity-type users --entity-name u \
         --add-config SCRAM-SHA-256=[iterations=4096,password=pw]",
        "Completed updating",
    ),
    check(
        "configs-scram-512",
        CONFIGS,
        "--alter --entity-type users --entity-name u --add-config SCRAM-SHA-512=[password=pw]",
        "Completed updating",
    ),
    check(
        "configs-scram-describe",
        CONFIGS,
        "--describe --entity-type users --entity-name u",
        "SCRAM-SHA-256=iterations=4096",
    ),
    check(
        "configs-scram-delete",
        CONFIGS,
        "--alter --entity-type users --entity-name u --delete-config SCRAM-SHA-512",
        "Completed updating",
    ),
    check(
        "acls-add",
        ACLS,
        "--add --allow-principal User:bob --operation Read --topic t",
        "principal=User:bob*operation=READ*ALLOW",
    ),
    check(
        "acls-add-prefixed",
        ACLS,
        "--add --deny-principal User:bob --deny-host 10.0.0.1 --operation All --group g \
         --resource-pattern-type prefixed",
        "principal=User:bob*host=10.0.0.1*operation=ALL*DENY",
    ),
    check(
        "acls-add-producer",
        ACLS,
        "--add --producer --allow-principal User:carol --topic t",
        "principal=User:carol*operation=CREATE*ALLOW",
    ),
    check("acls-list", ACLS, "--list --topic t", "User:bob"),
    check(
        "acls-list-match",
        ACLS,
        "--list --group group-of-bob --resource-pattern-type match",
        "User:bob*DENY",
    ),
    check(
        "acls-remove",
        ACLS,
        "--remove --force --allow-principal User:bob --operation Read --topic t",
        "",
    ),
    refused(check(
        "cluster-unregister",
        "kafka-cluster",
        "unregister --id 4711",
        "Broker ID 4711",
    )),
    check(
        "metadata-quorum-status",
        "kafka-metadata-quorum",
        "{before} describe --status",
        "CurrentVoters:*\"id\": 1",
    ),
    check(
        "metadata-quorum-replication",
        "kafka-metadata-quorum",
        "{before} describe --replication",
        "1*Leader",
    ),
    check(
        "features-describe",
        "kafka-features",
        "{before} describe",
        "Feature: transaction.version*SupportedMaxVersion: 2*FinalizedVersionLevel: 2",
    ),
    check(
        "features-describe-metadata",
        "kafka-features",
        "{before} describe",
        "Feature: metadata.version*FinalizedVersionLevel: 4.3-IV0",
    ),
    check(
        "features-downgrade-dry-run",
        "kafka-features",
        "{before} downgrade --feature transaction.version=1 --dry-run",
        "transaction.version can be downgraded to 1.",
    ),
    refused(check(
        "features-upgrade-lower",
        "kafka-features",
        "{before} upgrade --feature transaction.version=1",
        "transaction.version",
    )),
    check(
        "features-downgrade",
        "kafka-features",
        "{before} downgrade --feature transaction.version=1",
        "transaction.version was downgraded to 1.",
    ),
    check(
        "features-disable",
        "kafka-features",
        "{before} disable --feature transaction.version",
        "transaction.version was disabled.",
    ),
    check(
        "features-upgrade",
        "kafka-features",
        "{before} upgrade --feature transaction.version=2",
        "transaction.version was upgraded to 2.",
    ),
    refused(check(
        "features-unknown",
        "kafka-features",
        "{before} upgrade --feature missing.version=2",
        "missing.version",
    )),
    check(
        "delete-records",
        "kafka-delete-records",
        "--offset-json-file {w}/delete.json",
        "low_watermark: 5",
    ),
    check(
        "log-dirs",
        "kafka-log-dirs",
        "--describe --topic-list t",
        "\"partition\":\"t-0\"",
    ),
    check(
        "producer-perf",
        PERF,
        "--topic t --num-records 50000 --record-size 100 --throughput -1",
        "50000 records sent",
    ),
    check(
        "producer-perf-gzip",
        PERF,
        "--topic t --num-records 20000 --record-size 100 --throughput -1 \
         --command-property compression.type=gzip",
        "20000 records sent",
    ),
    check(
        "producer-perf-snappy",
        PERF,
        "--topic t --num-records 20000 --record-size 100 --throughput -1 \
         --command-property compression.type=snappy",
        "20000 records sent",
    ),
    check(
        "producer-perf-lz4",
        PERF,
        "--topic t --num-records 20000 --record-size 100 --throughput -1 \
         --command-property compression.type=lz4",
        "20000 records sent",
    ),
    check(
        "producer-perf-zstd",
        PERF,
        "--topic t --num-records 20000 --record-size 100 --throughput -1 \
         --command-property compression.type=zstd",
        "20000 records sent",
    ),
    check(
        "consumer-perf",
        "kafka-consumer-perf-test",
        "--topic t --num-records 100000 --timeout 20000",
        "20*-*:*, *, *.",
    ),
    check(
        "e2e-latency",
        "kafka-e2e-latency",
        "--topic t --num-records 500 --producer-acks all --record-size 100",
        "Avg latency",
    ),
    check(
        "verifiable-producer",
        "kafka-verifiable-producer",
        "--topic t --max-messages 500 --acks -1",
        "\"acked\":500",
    ),
    check(
        "verifiable-consumer",
        "kafka-verifiable-consumer",
        "--topic t --group-id vg --max-messages 500 --reset-policy earliest",
        "records_consumed",
    ),
    check(
        "verifiable-consumer-new",
        "kafka-verifiable-consumer",
        "--topic t --group-id vgc --max-messages 500 --reset-policy earliest \
         --group-protocol consumer",
        "records_consumed",
    ),
];

/// The commands of a client that has logged in. The first makes the token of the others.
const TOKEN_CHECKS: &[Check] = &[
    check(
        "delegation-create",
        TOKENS,
        "--command-config {w}/login.properties --create --max-life-time-period -1 \
         --renewer-principal User:bob",
        "User:u*User:u*[User:bob]",
    ),
    check(
        "delegation-describe",
        TOKENS,
        "--command-config {w}/login.properties --describe --owner-principal User:u",
        "{hmac}*User:u*User:u*[User:bob]",
    ),
    check(
        "delegation-describe-no-owner",
        TOKENS,
        "--command-config {w}/login.properties --describe",
        "Total number of tokens : 0",
    ),
    check(
        "delegation-renew",
        TOKENS,
        "--command-config {w}/login.properties --renew --renew-time-period -1 --hmac {hmac}",
        "Completed renew operation",
    ),
    check(
        "delegation-expire",
        TOKENS,
        "--command-config {w}/login.properties --expire --expiry-time-period -1 --hmac {hmac}",
        "Completed expire operation",
    ),
];

/// Client keys for a login of the user that `configs-scram` makes.
const LOGIN: &str = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-256\n\
    sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
    username=\"u\" password=\"pw\";\n";

#[test]
fn every_tool() {
    // The tools do not authenticate, except for delegation tokens, and may do everything.
    let login = format!("127.0.0.1:{}", ports::free());
    let settings = [
        ("sasl.enabled.mechanisms", "SCRAM-SHA-256"),
        (
            "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        ),
        ("delegation.token.secret.key", "key-of-tokens"),
        ("group.initial.rebalance.delay.ms", "0"),
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        ("super.users", "User:ANONYMOUS"),
    ];
    let listeners = [format!("SASL_PLAINTEXT://{login}")];
    let broker = Broker::start_with("tools", &settings, &listeners);
    let work = TempDir::new("tools-work");
    write_inputs(work.path());
    let mut failures = String::new();
    let work_path = work.path().to_string_lossy();
    let bootstrap = broker.bootstrap();
    let mut places = [("{b}", bootstrap.clone()), ("{w}", work_path.into_owned())].to_vec();
    for check in CHECKS {
        report(check.name, run(check, &places), &mut failures);
    }
    places[0].1 = login;
    for check in TOKEN_CHECKS {
        let said = report(check.name, run(check, &places), &mut failures);
        if check.name == "delegation-create" {
            let hmac = said.as_deref().and_then(hmac).unwrap_or_default();
            places.push(("{hmac}", hmac.to_owned()));
        }
    }
    places[0].1 = bootstrap;
    report(
        "connect-standalone",
        connect_standalone(&broker.bootstrap(), work.path()),
        &mut failures,
    );
    let finish = check("topics-delete", TOPICS, "--delete --topic t", "");
    report(finish.name, run(&finish, &places), &mut failures);
    assert!(failures.is_empty(), "{failures}");
}

/// Returns what a check that passed gives.
fn report<T>(
    name: &str,
    (seconds, result): (f64, Result<T, String>),
    failures: &mut String,
) -> Option<T> {
    let word = if result.is_ok() { "PASS" } else { "FAIL" };
    report::line(format_args!("{word} {name:<34} {seconds:6.1} s"));
    if let Err(why) = &result {
        write!(failures, "\n{name}: {why}\n").expect("a String takes everything");
    }
    result.ok()
}

/// Returns the secret in the table of a token that `kafka-delegation-tokens` made.
fn hmac(said: &str) -> Option<&str> {
    let row = said.lines().rfind(|line| line.contains("User:u"))?;
    row.split_whitespace().nth(1)
}

fn write_inputs(work: &Path) {
    let write = |name: &str, text: &str| {
        std::fs::write(work.join(name), text).expect("the work directory is writable");
    };
    write(
        "delete.json",
        r#"{"partitions":[{"topic":"t","partition":0,"offset":5}],"version":1}"#,
    );
    write("in.txt", &lines());
    write("login.properties", LOGIN);
}

/// Returns a hundred records with keys, for the console producer and the file source.
fn lines() -> String {
    let lines: Vec<String> = (1..=100)
        .map(|n| format!("k{n}:v{n} hello kafka world\n"))
        .collect();
    lines.concat()
}

/// Runs a command with these texts in the named places. Returns what it printed.
fn run(check: &Check, places: &[(&str, String)]) -> (f64, Result<String, String>) {
    let began = Instant::now();
    let mut command = kafka_tools::command(check.tool);
    let fill = |text: &str| {
        let put = |text: String, (place, of): &(&str, String)| text.replace(place, of);
        places.iter().fold(text.to_owned(), put)
    };
    let arguments = match check.arguments.strip_prefix(BEFORE) {
        Some(rest) => format!("{BS}{rest}"),
        None => format!("{} {BS}", check.arguments),
    };
    command.args(fill(&arguments).split_whitespace());
    let input = if check.input == Input::Lines {
        lines()
    } else {
        String::new()
    };
    let done = Process::run(check.name, &mut command, input.as_bytes(), limits::COMMAND);
    let seconds = began.elapsed().as_secs_f64();
    let expected = (check.exit == Exit::Success) == done.status.success();
    let mut said = done.stdout.lines().chain(done.stderr.lines());
    let says = fill(check.says);
    let is_said = says.is_empty() || said.any(|line| is_like(line, &says));
    if expected && is_said {
        return (seconds, Ok(done.stdout));
    }
    let why = format!(
        "{}, wanted {says:?} in\n{}\n{}",
        done.status, done.stdout, done.stderr
    );
    (seconds, Err(why))
}

/// Returns whether `line` contains the fragments of `pattern` in their order.
fn is_like(line: &str, pattern: &str) -> bool {
    let mut rest = line;
    pattern.split('*').all(|fragment| {
        let found = rest.find(fragment);
        rest = found.map_or("", |at| &rest[at + fragment.len()..]);
        found.is_some()
    })
}

/// Runs a file source and a file sink: lines go from one file through a topic to another.
fn connect_standalone(bootstrap: &str, work: &Path) -> (f64, Result<(), String>) {
    let began = Instant::now();
    let w = work.display();
    let write = |name: &str, text: String| {
        std::fs::write(work.join(name), text).expect("the work directory is writable");
        work.join(name)
    };
    let worker = write(
        "worker.properties",
        format!(
            "bootstrap.servers={bootstrap}\n\
             key.converter=org.apache.kafka.connect.storage.StringConverter\n\
             value.converter=org.apache.kafka.connect.storage.StringConverter\n\
             offset.storage.file.filename={w}/connect.offsets\n\
             offset.flush.interval.ms=1000\n\
             listeners=http://127.0.0.1:{}\n\
             plugin.discovery=service_load\n",
            ports::free()
        ),
    );
    let source = write(
        "source.properties",
        format!(
            "name=source\nconnector.class=FileStreamSource\ntasks.max=1\n\
             file={w}/in.txt\ntopic=connected\n"
        ),
    );
    let sink = write(
        "sink.properties",
        format!(
            "name=sink\nconnector.class=FileStreamSink\ntasks.max=1\n\
             file={w}/sink.txt\ntopics=connected\n"
        ),
    );
    let mut command = kafka_tools::command("connect-standalone");
    command.arg(worker).arg(source).arg(sink);
    let mut process = Process::spawn("connect-standalone", &mut command);
    let deadline = began + limits::COMMAND;
    let arrived = || std::fs::read_to_string(work.join("sink.txt")).unwrap_or_default();
    let result = loop {
        if arrived() == lines() {
            break Ok(());
        }
        if Instant::now() > deadline || process.try_exit().is_some() {
            let count = arrived().lines().count();
            break Err(format!("{count} of 100 lines arrived\n{}", process.tail()));
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    process.signal(Signal::TERM);
    process.wait_exit(limits::COMMAND);
    (began.elapsed().as_secs_f64(), result)
}
