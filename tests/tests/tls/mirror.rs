//! A link over TLS to Apache Kafka, which wants a certificate.

use std::process::Command;
use std::time::Instant;

use sedge_tests::apache_kafka::ApacheKafka;
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{limits, ports, tools};

use super::support::{listener, security, sedge, text};

#[test]
fn a_link_goes_over_tls_to_apache_kafka() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("tls-mirror");
    let made = security(&directory, "security");
    let file = |name: &str| text(&made.join(name));
    let upstream = listener("127.0.0.1");
    let controller = format!("127.0.0.1:{}", ports::free());
    // What comes later in a properties file is what holds.
    let settings = [
        (
            "listeners",
            format!("SSL://{upstream},CONTROLLER://{controller}"),
        ),
        ("advertised.listeners", format!("SSL://{upstream}")),
        ("controller.quorum.voters", format!("1@{controller}")),
        (
            "listener.security.protocol.map",
            "SSL:SSL,CONTROLLER:PLAINTEXT".to_owned(),
        ),
        ("inter.broker.listener.name", "SSL".to_owned()),
        ("ssl.client.auth", "required".to_owned()),
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.location", file("broker.pem")),
        ("ssl.truststore.type", "PEM".to_owned()),
        ("ssl.truststore.location", file("ca.pem")),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value));
    let _kafka = ApacheKafka::start(&directory.join("kafka"), &settings);
    let link = |truststore: &str| {
        format!(
            "[mirror.hq]\n\
             \"bootstrap.servers\" = \"{upstream}\"\n\
             topics = [\"sensors.*\"]\n\
             \"security.protocol\" = \"SSL\"\n\
             \"ssl.keystore.location\" = \"{}\"\n\
             \"ssl.truststore.location\" = \"{truststore}\"\n",
            file("alice.pem"),
        )
    };
    // With the CA of others first: it says why, serves on, and gets on once it is set right.
    let other = security(&directory, "other");
    let trusted = directory.join("trusted.pem");
    std::fs::copy(other.join("ca.pem"), &trusted).unwrap();
    let options = Options::default().config(link(&text(&trusted)));
    let mut edge = Sedge::start(&directory.join("edge"), options);
    let mut here = Connection::open(&edge.bootstrap());
    wire::create_topic(&mut here, "sensors.roof", 1, &[]);
    let values: Vec<String> = (0..20).map(|number| format!("value-{number}")).collect();
    for value in &values {
        let batch = Batch::of(&[value.clone().into_bytes()]);
        let produced = wire::produce(&mut here, "sensors.roof", 0, &batch.encode());
        assert_eq!(produced.error, error::NONE);
    }
    let process = edge.process();
    process.wait_for("why the link is blocked", limits::CONDITION, |output| {
        let mut lines = output.stderr.iter();
        lines
            .any(|line| line.contains("hq") && line.contains("certificate of the broker"))
            .then_some(())
    });
    std::fs::copy(made.join("ca.pem"), &trusted).unwrap();

    let bob = file("bob.properties");
    let list = [
        "topic",
        "list",
        "--bootstrap-server",
        &upstream,
        "--command-config",
        &bob,
    ];
    let deadline = Instant::now() + limits::CONDITION;
    while !tools::must(sedge(&list), "list")
        .stdout
        .contains("sensors.roof")
    {
        let tail = edge.process().tail();
        assert!(Instant::now() < deadline, "no topic upstream\n{tail}");
    }
    let mut consumer = Command::new("kcat");
    consumer.args(["-F", &file("bob.kcat.conf"), "-b", &upstream, "-q", "-u"]);
    consumer.args(["-t", "sensors.roof", "-C", "-c", "20", "-o", "beginning"]);
    let read = Process::run("kcat", &mut consumer, b"", limits::CONDITION);
    let read = tools::must(read, "kcat").stdout;
    assert_eq!(read.lines().collect::<Vec<_>>(), values);
}
