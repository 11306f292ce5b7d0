//! Unmodified clients with client certificates.

use std::process::Command;
use std::time::Instant;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::{Finished, Process};
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{http, kafka_tools, limits, tools};

use super::support::{Site, sedge, text};

fn run(name: &str, command: &mut Command, input: &[u8]) -> Finished {
    tools::must(Process::run(name, command, input, limits::COMMAND), name)
}

fn kcat(site: &Site, arguments: &[&str], input: &[u8]) -> String {
    let mut command = Command::new("kcat");
    command.args(["-F", &site.file("alice.kcat.conf"), "-b", &site.ssl, "-q"]);
    command.args(arguments);
    run("kcat", &mut command, input).stdout
}

/// Uses the files that `sedge security init` creates for kcat.
#[test]
fn librdkafka_produces_and_consumes() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("tls-kcat", |options| options);
    kcat(&site, &["-t", "readings", "-P"], b"one\ntwo\nthree\n");
    let read = kcat(&site, &["-t", "readings", "-C", "-e"], b"");
    assert_eq!(read, "one\ntwo\nthree");
    let from_start = ["-X", "auto.offset.reset=earliest"];
    let consumer = [&from_start[..], &["-G", "group", "-e", "readings"]].concat();
    assert_eq!(kcat(&site, &consumer, b""), "one\ntwo\nthree");
}

/// Large batches are in segments; the broker reads and encrypts them in pieces.
#[test]
fn large_answers_arrive_as_they_were_written() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("tls-large", |options| options);
    let mut plain = Connection::open(&site.sedge.bootstrap());
    let value = |number: usize| -> Vec<u8> {
        let letter = b'a' + (number % 26) as u8;
        vec![letter; 700_000 + number]
    };
    wire::create_topic(&mut plain, "large", 1, &[]);
    for number in 0..40 {
        let batch = Batch::of(&[value(number)]);
        let produced = wire::produce(&mut plain, "large", 0, &batch.encode());
        assert_eq!(produced.error, error::NONE);
    }
    let read = kcat(&site, &["-t", "large", "-C", "-e"], b"");
    let read: Vec<&[u8]> = read.split('\n').map(str::as_bytes).collect();
    assert_eq!(read.len(), 40);
    for (number, read) in read.into_iter().enumerate() {
        assert!(
            read == value(number),
            "record {number} is not what was written"
        );
    }
}

#[test]
fn java_tools_produce_consume_and_list() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("tls-java", |options| options);
    let alice = site.file("alice.properties");
    let mut producer = kafka_tools::command("kafka-console-producer");
    producer.args(["--bootstrap-server", &site.ssl, "--topic", "readings"]);
    producer.args(["--command-config", &alice]);
    run("producer", &mut producer, b"one\ntwo\n");
    let mut consumer = kafka_tools::command("kafka-console-consumer");
    consumer.args(["--bootstrap-server", &site.ssl, "--topic", "readings"]);
    consumer.args(["--command-config", &alice, "--from-beginning"]);
    consumer.args(["--max-messages", "2", "--timeout-ms", "60000"]);
    assert_eq!(run("consumer", &mut consumer, b"").stdout, "one\ntwo");
    let mut topics = kafka_tools::command("kafka-topics");
    topics.args(["--bootstrap-server", &site.ssl, "--list"]);
    topics.args(["--command-config", &alice]);
    let listed = run("topics", &mut topics, b"").stdout;
    assert!(listed.lines().any(|line| line == "readings"), "{listed}");
    // Java's client connects several times, and resumes its session by tickets; the broker itself
    // stores no sessions.
    let resumed = "sedge_tls_handshakes_resumed_total";
    let all = "sedge_tls_handshakes_total";
    let (resumed, all) = (metric(&site, resumed), metric(&site, all));
    assert!(resumed > 0.0 && resumed < all, "{resumed} of {all}");
}

#[test]
fn kafka_python_produces_and_consumes() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("tls-python", |options| options);
    let mut command = tools::python("tls.py");
    command.args([&site.ssl, &site.file("ca.pem"), &site.file("alice.pem")]);
    let done = run("kafka-python", &mut command, b"");
    assert_eq!(done.stdout, "one two");
}

#[test]
fn the_command_line_does_all_it_does() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("tls-cli", |options| options);
    let alice = site.file("alice.properties");
    let as_alice = |arguments: &[&str]| {
        let security = ["--bootstrap-server", &site.ssl, "--command-config", &alice];
        tools::must(sedge(&[arguments, &security].concat()), "sedge")
    };
    as_alice(&["topic", "create", "readings"]);
    assert!(as_alice(&["topic", "list"]).stdout.contains("readings"));
    as_alice(&["group", "list"]);
    as_alice(&["plugin", "list"]);
    as_alice(&["mirror", "list"]);
    // The bootstrap servers may be in the file, too.
    let path = site.directory.join("whole.properties");
    let lines = std::fs::read_to_string(&alice).unwrap();
    let lines = format!("{lines}bootstrap.servers={}\nacks=all\n", site.ssl);
    std::fs::write(&path, lines).unwrap();
    let listed = sedge(&["topic", "list", "--command-config", &text(&path)]);
    let listed = tools::must(listed, "sedge");
    assert!(listed.stdout.contains("readings"));
    assert!(listed.stderr.contains("acks"), "{}", listed.stderr);
}

fn metric(site: &Site, name: &str) -> f64 {
    http::metric(site.sedge.console(), name)
}

/// With each TLS version, a second connection resumes the session of the first.
#[test]
fn sessions_are_resumed() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("tls-resumed", |options| options);
    for version in ["-tls1_2", "-tls1_3"] {
        let before = metric(&site, "sedge_tls_handshakes_resumed_total");
        let session = site.directory.join(&format!("session{version}"));
        let mut first = s_client(&site, &[version, "-sess_out", &text(&session)]);
        let deadline = Instant::now() + limits::CONDITION;
        while std::fs::metadata(&session).map_or(0, |of| of.len()) == 0 {
            assert!(Instant::now() < deadline, "no session\n{}", first.tail());
            std::thread::sleep(limits::POLL);
        }
        first.kill();
        let mut second = s_client(&site, &[version, "-sess_in", &text(&session)]);
        second.wait_for("a session that is taken up", limits::CONDITION, |output| {
            let mut lines = output.stdout.iter();
            lines.any(|line| line.starts_with("Reused")).then_some(())
        });
        // With TLS 1.3, the client has ended its part of the handshake before the broker has.
        let deadline = Instant::now() + limits::CONDITION;
        while metric(&site, "sedge_tls_handshakes_resumed_total") - before < 1.0 {
            assert!(Instant::now() < deadline, "{version}: none counted");
            std::thread::sleep(limits::POLL);
        }
        second.kill();
    }
}

/// Starts OpenSSL's client, which stays connected until it is killed.
fn s_client(site: &Site, arguments: &[&str]) -> Process {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &site.ssl, "-ign_eof"]);
    command.args(["-CAfile", &site.file("ca.pem")]);
    command.args([
        "-cert",
        &site.file("alice.pem"),
        "-key",
        &site.file("alice.pem"),
    ]);
    command.args(arguments);
    Process::spawn("openssl s_client", &mut command)
}

/// A key with the prefix of a listener applies to that listener only.
#[test]
fn a_listener_has_keys_of_its_own() {
    if is_skipped_on_kafka() {
        return;
    }
    let strict = super::support::listener("127.0.0.1");
    let site = Site::start("tls-strict", |options| {
        options
            .listener(format!("STRICT://{strict}"))
            .set(
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,SSL:SSL,STRICT:SSL",
            )
            .set("listener.name.strict.ssl.enabled.protocols", "TLSv1.3")
            .set("listener.name.strict.ssl.client.auth", "none")
    });
    let connects = |address: &str, version: &str, with_certificate: bool| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", address, version]);
        command.args(["-CAfile", &site.file("ca.pem"), "-verify_return_error"]);
        if with_certificate {
            command.args([
                "-cert",
                &site.file("alice.pem"),
                "-key",
                &site.file("alice.pem"),
            ]);
        }
        let done = Process::run("openssl", &mut command, b"Q\n", limits::COMMAND);
        done.status.success()
    };
    assert!(connects(&site.ssl, "-tls1_2", true));
    assert!(connects(&site.ssl, "-tls1_3", true));
    assert!(!connects(&site.ssl, "-tls1_2", false));
    assert!(connects(&strict, "-tls1_3", false));
    assert!(!connects(&strict, "-tls1_2", false));
}
