//! Tests links of several brokers that lead back to where they come from: each record is copied
//! once.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{limits, soak, tools};

/// A broker with links to others.
struct Node {
    sedge: Sedge,
    connection: Connection,
    _directory: TempDir,
}

impl Node {
    fn start(name: &str) -> Self {
        let directory = TempDir::new(name);
        let sedge = Sedge::start(&directory.join("data"), Options::default());
        Self {
            connection: Connection::open(&sedge.bootstrap()),
            sedge,
            _directory: directory,
        }
    }

    fn mirror(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(tools::sedge());
        command.args(["mirror", "--bootstrap-server", &self.sedge.bootstrap()]);
        command.args(arguments);
        let finished = Process::run("sedge mirror", &mut command, b"", limits::COMMAND);
        tools::must(finished, "sedge mirror").stdout
    }

    fn link_to(&self, other: &Self, more: &[&str]) {
        let servers = format!("bootstrap.servers={}", other.sedge.bootstrap());
        let mut arguments = vec!["create", "next", "--set", &servers, "--set", "topics=.*"];
        for key in more {
            arguments.extend(["--set", key]);
        }
        self.mirror(&arguments);
    }

    fn produce(&mut self, topic: &str, values: &[String]) {
        for value in values {
            let batch = Batch::of(&[value.clone().into_bytes()]).encode();
            let produced = wire::produce(&mut self.connection, topic, 0, &batch);
            assert_eq!(produced.error, error::NONE, "produce to {topic}");
        }
    }

    fn values(&mut self, topic: &str) -> Vec<String> {
        if wire::fetch(&mut self.connection, topic, 0, 0).error != error::NONE {
            return Vec::new();
        }
        let records = soak::read_partition(&mut self.connection, topic, 0);
        let text = |record: wire::Record| String::from_utf8_lossy(&record.value).into_owned();
        records.into_iter().map(text).collect()
    }

    fn wait_for(&mut self, topic: &str, expected: &[String]) {
        wait(&format!("{expected:?} in {topic}"), || {
            self.values(topic) == expected
        });
    }

    /// Returns the state of a topic in `sedge mirror describe`, if it is not copied.
    fn not_sent(&self, topic: &str) -> String {
        let described = self.mirror(&["describe", "next", "-o", "json"]);
        let described: serde_json::Value = serde_json::from_str(&described).expect("JSON");
        let rows = described["partitions"].as_array().cloned();
        let mut rows = rows.unwrap_or_default().into_iter();
        let row = rows.find(|row| row["topic"] == topic && row["partition"].is_null());
        row.map_or_else(String::new, |row| {
            row["state"].as_str().unwrap_or_default().to_owned()
        })
    }
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + limits::CONDITION;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so: {what}");
        std::thread::sleep(limits::POLL);
    }
}

fn values(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name} {n}")).collect()
}

/// Sends a new topic over the last link, behind all that the link would have sent before.
fn mark(from: &mut Node, to: &mut Node, topic: &str) {
    wire::create_topic(&mut from.connection, topic, 1, &[]);
    from.produce(topic, &values(topic, 1));
    to.wait_for(topic, &values(topic, 1));
}

#[test]
fn a_circle_of_links_copies_each_record_once() {
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(Node::start);
    wire::create_topic(&mut a.connection, "t", 1, &[]);
    let mut all = values("first", 20);
    a.produce("t", &all);
    // The last one first: it has nothing to refuse yet.
    c.link_to(&a, &[]);
    b.link_to(&c, &[]);
    a.link_to(&b, &[]);
    c.wait_for("t", &all);
    wait("the last link refuses the topic", || {
        c.not_sent("t")
            .contains("its records come from the upstream")
    });
    let more = values("second", 20);
    a.produce("t", &more);
    all.extend(more);
    c.wait_for("t", &all);
    mark(&mut c, &mut a, "marker");
    assert_eq!(a.values("t"), all, "nothing came back");
    assert_eq!(b.values("t"), all);
    // The marker has gone round, too, and stopped before its origin.
    b.wait_for("marker", &values("marker", 1));
    assert_eq!(c.values("marker"), values("marker", 1));
    // What the topic upstream was marked with is kept over a restart of all.
    for node in [&mut a, &mut b, &mut c] {
        node.sedge.kill();
        node.sedge.start_again();
        node.connection = Connection::open(&node.sedge.bootstrap());
    }
    mark(&mut c, &mut a, "marker-2");
    mark(&mut a, &mut b, "marker-3");
    let unique: BTreeSet<String> = a.values("t").into_iter().collect();
    assert_eq!(a.values("t").len(), unique.len(), "nothing came back");
}

/// Both are linked to each other before they know of it: whoever is second refuses, or both do.
#[test]
fn two_way_links_of_one_topic_copy_no_record_back() {
    let [mut a, mut b] = ["a", "b"].map(Node::start);
    for node in [&mut a, &mut b] {
        wire::create_topic(&mut node.connection, "t", 1, &[]);
    }
    a.produce("t", &values("a", 10));
    b.produce("t", &values("b", 10));
    a.link_to(&b, &[]);
    b.link_to(&a, &[]);
    mark(&mut a, &mut b, "from-a");
    mark(&mut b, &mut a, "from-b");
    a.produce("t", &values("later a", 10));
    b.produce("t", &values("later b", 10));
    wait("a link refuses the topic", || {
        [&a, &b]
            .iter()
            .any(|node| node.not_sent("t").contains("not sent"))
    });
    mark(&mut a, &mut b, "from-a-2");
    mark(&mut b, &mut a, "from-b-2");
    for (node, own) in [(&mut a, "a"), (&mut b, "b")] {
        let all = node.values("t");
        let unique: BTreeSet<&String> = all.iter().collect();
        assert_eq!(
            all.len(),
            unique.len(),
            "each record of {own} once: {all:?}"
        );
        assert!(all.len() >= 20, "all of its own are there: {all:?}");
    }
}

/// With names of its own for each direction, both directions are copied, and nothing goes back.
#[test]
fn two_way_links_with_prefixes_copy_both_ways() {
    let [mut a, mut b] = ["a", "b"].map(Node::start);
    for (node, name) in [(&mut a, "a"), (&mut b, "b")] {
        wire::create_topic(&mut node.connection, "t", 1, &[]);
        node.produce("t", &values(name, 5));
    }
    a.link_to(&b, &["topics.prefix=a."]);
    b.link_to(&a, &["topics.prefix=b."]);
    b.wait_for("a.t", &values("a", 5));
    a.wait_for("b.t", &values("b", 5));
    wire::create_topic(&mut a.connection, "marker", 1, &[]);
    a.produce("marker", &values("m", 1));
    b.wait_for("a.marker", &values("m", 1));
    wait("what came from there is not sent back", || {
        a.not_sent("b.t").contains("not sent") && b.not_sent("a.t").contains("not sent")
    });
    for (node, back) in [(&mut a, "b.a.t"), (&mut b, "a.b.t")] {
        let fetched = wire::fetch(&mut node.connection, back, 0, 0);
        assert_ne!(fetched.error, error::NONE, "{back} was not created");
    }
}
