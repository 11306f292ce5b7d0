//! Links over SASL_SSL to an Apache Kafka with access rules: each mode works with the rights that
//! README.md lists, and without them says what it lacks.

use std::time::Instant;

use sedge_tests::apache_kafka::ApacheKafka;
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{committed, kafka_tools, limits, ports, soak, tools};

use super::support::{security, text};

const PASSWORD: &str = "open-5esame";

/// A link, and the rules of `kafka-acls` that it needs upstream.
struct Link {
    name: &'static str,
    keys: &'static str,
    rights: &'static [&'static [&'static str]],
}

const LINKS: [Link; 3] = [
    Link {
        name: "exact",
        keys: "topics = [\"sensors.*\"]\nmode = \"exactly-once\"\n",
        rights: &[
            &[
                "--topic=sensors.",
                "--operation=Create",
                "--operation=Write",
                "--operation=Read",
            ],
            &[
                "--transactional-id=sedge-mirror-exact-",
                "--operation=Write",
            ],
            &["--group=sedge-mirror-exact-", "--operation=Read"],
        ],
    },
    Link {
        name: "least",
        keys: "topics = [\"alarms.*\"]\nmode = \"at-least-once\"\n",
        rights: &[&["--topic=alarms.", "--operation=Create", "--operation=Write"]],
    },
    Link {
        name: "pull",
        keys: "topics = [\"commands.*\"]\ndirection = \"pull\"\n",
        rights: &[&[
            "--topic=commands.",
            "--operation=Read",
            "--operation=DescribeConfigs",
        ]],
    },
];

/// Starts an Apache Kafka that asks for logins and checks rights, except those of its own listener.
fn upstream(directory: &TempDir, logins: &str) -> ApacheKafka {
    let made = security(directory, "security");
    let users = LINKS.map(|link| format!("user_{}=\"{PASSWORD}\"", link.name));
    let settings = [
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.location", text(&made.join("broker.pem"))),
        (
            "listener.name.sasl_ssl.sasl.enabled.mechanisms",
            "PLAIN".to_owned(),
        ),
        (
            "listener.name.sasl_ssl.plain.sasl.jaas.config",
            format!(
                "org.apache.kafka.common.security.plain.PlainLoginModule required {};",
                users.join(" ")
            ),
        ),
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
        ),
        ("super.users", "User:ANONYMOUS".to_owned()),
        ("auto.create.topics.enable", "false".to_owned()),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value));
    let listeners = [format!("SASL_SSL://{logins}")];
    ApacheKafka::start_with(&directory.join("kafka"), &settings, &listeners)
}

fn config(logins: &str, ca: &str) -> String {
    let table = |link: &Link| {
        format!(
            "[mirror.{name}]\n\"bootstrap.servers\" = \"{logins}\"\n{keys}\
             \"security.protocol\" = \"SASL_SSL\"\n\"ssl.truststore.location\" = \"{ca}\"\n\
             \"sasl.mechanism\" = \"PLAIN\"\n\"sasl.jaas.config\" = '''\
             org.apache.kafka.common.security.plain.PlainLoginModule required \
             username=\"{name}\" password=\"{PASSWORD}\";'''\n",
            name = link.name,
            keys = link.keys,
        )
    };
    LINKS.iter().map(table).collect()
}

fn produce(at: &mut Connection, topic: &str, value: &str) {
    let batch = Batch::of(&[value.as_bytes().to_vec()]).encode();
    let produced = wire::produce(at, topic, 0, &batch);
    assert_eq!(produced.error, error::NONE, "{topic}: {produced:?}");
}

fn grant(bootstrap: &str, link: &Link) {
    for rights in link.rights {
        let mut acls = kafka_tools::command("kafka-acls");
        acls.args(["--bootstrap-server", bootstrap, "--add"]);
        acls.args(["--resource-pattern-type", "prefixed"]);
        acls.arg(format!("--allow-principal=User:{}", link.name));
        acls.args(*rights);
        let done = Process::run("kafka-acls", &mut acls, b"", limits::COMMAND);
        tools::must(done, "kafka-acls");
    }
}

fn wait(edge: &mut Sedge, what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + limits::CONDITION;
    while !is_so() {
        let tail = edge.process().tail();
        assert!(Instant::now() < deadline, "not so: {what}\n{tail}");
        std::thread::sleep(limits::POLL);
    }
}

#[test]
fn links_of_each_mode_need_the_rights_that_are_documented() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("mirror-rights");
    let logins = format!("127.0.0.1:{}", ports::free());
    let kafka = upstream(&directory, &logins);
    let bootstrap = kafka.bootstrap();
    let mut there = Connection::open(&bootstrap);
    wire::create_topic(&mut there, "commands.open", 1, &[]);
    wire::wait_leader(&mut there, "commands.open", 0);
    produce(&mut there, "commands.open", "one");
    let ca = text(&directory.join("security/ca.pem"));
    let options = Options::default().config(config(&logins, &ca));
    let mut edge = Sedge::start(&directory.join("edge"), options);
    let mut here = Connection::open(&edge.bootstrap());
    for topic in ["sensors.roof", "alarms.door"] {
        wire::create_topic(&mut here, topic, 1, &[]);
        produce(&mut here, topic, "one");
    }
    // Two say what they lack. A pull link does not see topics that it may not describe.
    for link in ["exact", "least"] {
        edge.wait_log(&[link, "authorization failed"]);
    }
    for link in &LINKS {
        grant(&bootstrap, link);
    }
    for value in ["one", "two", "three"] {
        if value != "one" {
            produce(&mut here, "sensors.roof", value);
            produce(&mut here, "alarms.door", value);
            produce(&mut there, "commands.open", value);
        }
        for topic in ["sensors.roof", "alarms.door"] {
            wait(
                &mut edge,
                &format!("{value} of {topic} is upstream"),
                || {
                    let mut read = committed::read(&bootstrap, topic);
                    let values = read.remove(&0).unwrap_or_default();
                    values.last().is_some_and(|last| last == value)
                },
            );
        }
        wait(
            &mut edge,
            &format!("{value} of commands.open is here"),
            || {
                wire::topics(&mut here).contains_key("commands.open")
                    && soak::read_partition(&mut here, "commands.open", 0)
                        .last()
                        .is_some_and(|last| last.value == value.as_bytes())
            },
        );
    }
    let read = committed::read(&bootstrap, "sensors.roof");
    assert_eq!(read[&0], ["one", "two", "three"], "each once");
}
