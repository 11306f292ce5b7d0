//! Real clients log in by each mechanism, with TLS and without.

use std::process::Command;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::{Finished, Process};
use sedge_tests::wire::{self, Connection};
use sedge_tests::{http, kafka_tools, limits, tools};

use super::support::{ALICE, BOB, Site, text};

const MECHANISMS: [(&str, (&str, &str)); 3] = [
    ("PLAIN", BOB),
    ("SCRAM-SHA-256", ALICE),
    ("SCRAM-SHA-512", ALICE),
];

fn run(name: &str, command: &mut Command, input: &[u8]) -> Finished {
    tools::must(Process::run(name, command, input, limits::COMMAND), name)
}

impl Site {
    /// The listeners, with their protocols.
    fn listeners(&self) -> [(&'static str, String); 2] {
        [
            ("SASL_PLAINTEXT", self.plain.clone()),
            ("SASL_SSL", self.ssl.clone()),
        ]
    }
}

#[test]
fn real_clients_log_in_by_each_mechanism() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("sasl-clients", |options| options);
    wire::create_topic(
        &mut Connection::open(&site.sedge.bootstrap()),
        "readings",
        1,
        &[],
    );
    librdkafka(&site);
    kafka_python(&site);
    java(&site);
    let count = |mechanism: &str| {
        let name = format!("sedge_sasl_authentications_total{{mechanism=\"{mechanism}\"}}");
        http::metric(site.sedge.console(), &name)
    };
    for (mechanism, _) in MECHANISMS {
        assert!(count(mechanism) >= 4.0, "{mechanism}: {}", count(mechanism));
    }
}

fn librdkafka(site: &Site) {
    for (protocol, address) in site.listeners() {
        for (mechanism, (user, password)) in MECHANISMS {
            let kcat = |arguments: &[&str], input: &[u8]| {
                let mut command = Command::new("kcat");
                command.args(["-b", &address, "-q", "-t", "readings"]);
                for (key, value) in [
                    ("security.protocol", protocol),
                    ("ssl.ca.location", &site.file("ca.pem")),
                    ("sasl.mechanism", mechanism),
                    ("sasl.username", user),
                    ("sasl.password", password),
                ] {
                    command.arg("-X").arg(format!("{key}={value}"));
                }
                command.args(arguments);
                run("kcat", &mut command, input).stdout
            };
            let record = format!("kcat {protocol} {mechanism}");
            kcat(&["-P"], format!("{record}\n").as_bytes());
            let read = kcat(&["-C", "-e"], b"");
            assert!(read.lines().any(|line| line == record), "{read}");
        }
    }
}

fn kafka_python(site: &Site) {
    for (protocol, address) in site.listeners() {
        for (mechanism, (user, password)) in MECHANISMS {
            let mut command = tools::python("sasl.py");
            command.args([&address, protocol, &site.file("ca.pem")]);
            command.args([mechanism, user, password]);
            let done = run("kafka-python", &mut command, b"");
            assert_eq!(done.stdout, format!("python {mechanism}"));
        }
    }
}

fn java(site: &Site) {
    for ((protocol, address), (mechanism, (user, password))) in
        site.listeners().into_iter().cycle().zip(MECHANISMS)
    {
        let path = site.directory.join(&format!("{mechanism}.properties"));
        let module = match mechanism {
            "PLAIN" => "plain.PlainLoginModule",
            _ => "scram.ScramLoginModule",
        };
        // A properties file needs each backslash escaped.
        let password = password.replace('"', "\\\\\"");
        let lines = format!(
            "security.protocol={protocol}\nsasl.mechanism={mechanism}\n\
             sasl.jaas.config=org.apache.kafka.common.security.{module} required \
             username=\"{user}\" password=\"{password}\";\n\
             ssl.truststore.type=PEM\nssl.truststore.location={}\n",
            site.file("ca.pem")
        );
        std::fs::write(&path, lines).expect("the directory is writable");
        let config = ["--command-config", &text(&path)];
        let mut producer = kafka_tools::command("kafka-console-producer");
        producer.args(["--bootstrap-server", &address, "--topic", "readings"]);
        producer.args(config);
        run("producer", &mut producer, b"java\n");
        let mut topics = kafka_tools::command("kafka-topics");
        topics.args(["--bootstrap-server", &address, "--list"]);
        topics.args(config);
        let listed = run("topics", &mut topics, b"").stdout;
        assert!(listed.lines().any(|line| line == "readings"), "{listed}");
    }
}
