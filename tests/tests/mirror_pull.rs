//! Tests pull links: what is copied has the upstream's offsets, once, whatever is killed or cut,
//! and belongs to the link alone.

use std::process::Command;
use std::time::{Duration, Instant};

use sedge_tests::apache_kafka::ApacheKafka;
use sedge_tests::process::Process;
use sedge_tests::proxy::Proxy;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::soak::{self, Random};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{http, limits, plugin, report, tools};

const PARTITIONS: i32 = 3;
const ROUNDS: usize = 4;
const ROUNDS_LONG: usize = 60;

fn link(bootstrap: &str) -> Options {
    Options::default().config(format!(
        "[mirror.hq]\ndirection = \"pull\"\nbootstrap.servers = \"{bootstrap}\"\n\
         topics = [\"commands.*\"]\n"
    ))
}

fn transactions(arguments: &[&str]) -> Command {
    let mut command = tools::python("transactions.py");
    command.args(arguments);
    command
}

/// Returns partition, offset and value of each committed record, as librdkafka reads them.
fn committed(bootstrap: &str, topic: &str) -> String {
    let partitions = PARTITIONS.to_string();
    let mut read = transactions(&["read", bootstrap, topic, &partitions]);
    let read = Process::run("a reader", &mut read, b"", limits::COMMAND);
    tools::must(read, "a read").stdout
}

/// A sedge with a link to another.
struct Pair {
    here: Sedge,
    there: Sedge,
    // Last, so that the processes end before their directories are removed.
    _directory: TempDir,
}

impl Pair {
    /// Starts the two, with this topic upstream.
    fn start(name: &str, topic: &str) -> Self {
        let directory = TempDir::new(name);
        let there = Sedge::start(&directory.join("hq"), Options::default());
        let mut at = Connection::open(&there.bootstrap());
        wire::create_topic(&mut at, topic, 1, &[("retention.ms", "86400001")]);
        let here = Sedge::start(&directory.join("edge"), link(&there.bootstrap()));
        Self {
            here,
            there,
            _directory: directory,
        }
    }

    /// Waits until the topic here has these values, and returns their offsets.
    fn wait_here(&mut self, topic: &str, values: &[&str]) -> Vec<i64> {
        let mut at = Connection::open(&self.here.bootstrap());
        let deadline = Instant::now() + limits::CONDITION;
        loop {
            let known = wire::topics(&mut at).contains_key(topic);
            let records = if known && wire::fetch(&mut at, topic, 0, 0).error == error::NONE {
                soak::read_partition(&mut at, topic, 0)
            } else {
                Vec::new()
            };
            let here: Vec<_> = records.iter().map(|it| it.value.as_slice()).collect();
            if here
                == values
                    .iter()
                    .map(|value| value.as_bytes())
                    .collect::<Vec<_>>()
            {
                return records.iter().map(|record| record.offset).collect();
            }
            let tail = self.here.process().tail();
            assert!(
                Instant::now() < deadline,
                "{values:?} are not here: {here:?}\n{tail}"
            );
            std::thread::sleep(limits::POLL);
        }
    }

    fn produce_there(&self, topic: &str, values: &[&str]) {
        let mut at = Connection::open(&self.there.bootstrap());
        for value in values {
            let batch = Batch::of(&[value.as_bytes().to_vec()]).encode();
            let produced = wire::produce(&mut at, topic, 0, &batch);
            assert_eq!(produced.error, error::NONE, "{produced:?}");
        }
    }
}

#[test]
fn what_is_committed_upstream_arrives_once_at_its_offsets_whatever_is_killed() {
    const TOPIC: &str = "commands.all";
    let mut random = Random::new();
    report::line(format_args!("mirror_pull: SEDGE_SEED={}", random.seed()));
    let directory = TempDir::new("mirror-pull");
    let proxy = Proxy::start();
    let advertised = format!("PLAINTEXT://{}", proxy.address());
    let settings = [("advertised.listeners".to_string(), advertised)];
    let mut kafka = ApacheKafka::start(&directory.join("kafka"), &settings);
    proxy.forward_to(&kafka.bootstrap());
    let mut at = Connection::open(&kafka.bootstrap());
    wire::create_topic(&mut at, TOPIC, PARTITIONS, &[]);
    for partition in 0..PARTITIONS {
        wire::wait_leader(&mut at, TOPIC, partition);
    }
    let mut sedge = Sedge::start(&directory.join("edge"), link(&proxy.address()));
    let partitions = PARTITIONS.to_string();
    let rounds = if soak::is_long() { ROUNDS_LONG } else { ROUNDS };
    for round in 0..rounds {
        // The writer goes through the proxy, too, and retries what is cut.
        let write = ["write", &proxy.address(), TOPIC, &partitions, "40"];
        let mut writer = Process::spawn("a writer", &mut transactions(&write));
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(random.below(400)));
            sedge.kill();
            sedge.start_again();
            if random.below(2) == 0 {
                proxy.cut();
                std::thread::sleep(Duration::from_millis(random.below(100)));
                proxy.restore();
            }
        }
        assert!(
            writer.wait_exit(limits::COMMAND).success(),
            "{}",
            writer.tail()
        );
        if round % 4 == 3 {
            kafka.terminate();
            kafka.start_again();
            proxy.forward_to(&kafka.bootstrap());
        }
    }
    let there = committed(&proxy.address(), TOPIC);
    assert!(there.lines().count() > rounds * 100, "{there}");
    let deadline = Instant::now() + limits::CONDITION;
    loop {
        let here = committed(&sedge.bootstrap(), TOPIC);
        if here == there {
            break;
        }
        assert!(
            Instant::now() < deadline && here.len() <= there.len(),
            "here is not what is there: {} and {} records\n{}",
            here.lines().count(),
            there.lines().count(),
            sedge.process().tail()
        );
    }
    report::line(format_args!(
        "mirror_pull: {} committed records at their offsets, {rounds} rounds",
        there.lines().count()
    ));
}

#[test]
fn a_copy_belongs_to_its_link_until_it_is_set_free() {
    const TOPIC: &str = "commands.own";
    let mut pair = Pair::start("mirror-pull-own", TOPIC);
    let mut there = Connection::open(&pair.there.bootstrap());
    pair.produce_there(TOPIC, &["a", "b"]);
    assert_eq!(pair.wait_here(TOPIC, &["a", "b"]), [0, 1]);
    let mut here = Connection::open(&pair.here.bootstrap());
    let retention = wire::topic_config(&mut here, TOPIC, "retention.ms");
    assert_eq!(retention.as_deref(), Some("86400001"));
    let mine = Batch::of(&[b"mine".to_vec()]).encode();
    let refused = wire::produce(&mut here, TOPIC, 0, &mine);
    assert_eq!(refused.error, error::POLICY_VIOLATION, "{refused:?}");
    wire::alter_topic(&mut here, TOPIC, ("sedge.mirror.source", ""));
    let taken = wire::produce(&mut here, TOPIC, 0, &mine);
    assert_eq!(
        (taken.error, taken.base_offset),
        (error::NONE, 2),
        "{taken:?}"
    );
    // The link leaves the topic alone from now on.
    pair.produce_there(TOPIC, &["c"]);
    wire::create_topic(&mut there, "commands.next", 1, &[]);
    pair.produce_there("commands.next", &["n"]);
    pair.here.kill();
    pair.here.start_again();
    pair.wait_here("commands.next", &["n"]);
    assert_eq!(pair.wait_here(TOPIC, &["a", "b", "mine"]), [0, 1, 2]);
}

#[test]
fn what_retention_deleted_upstream_is_passed_over_and_counted() {
    const TOPIC: &str = "commands.old";
    let mut pair = Pair::start("mirror-pull-old", TOPIC);
    let mut there = Connection::open(&pair.there.bootstrap());
    pair.produce_there(TOPIC, &["a", "b"]);
    assert_eq!(pair.wait_here(TOPIC, &["a", "b"]), [0, 1]);
    pair.here.kill();
    pair.produce_there(TOPIC, &["c", "d", "e"]);
    wire::delete_records(&mut there, TOPIC, 0, 4);
    pair.here.start_again();
    assert_eq!(pair.wait_here(TOPIC, &["a", "b", "e"]), [0, 1, 4]);
    let lost = "sedge_mirror_records_lost_to_retention_total{link=\"hq\"}";
    let lost = http::metric(pair.here.console(), lost);
    assert!((lost - 2.0).abs() < f64::EPSILON, "{lost}");
}

/// Deploys a plugin at the centre, and uses it here.
fn deploy_at_the_centre(directory: &TempDir, bootstrap: &str) {
    let range = plugin::build("drop-out-of-range", directory.path());
    plugin::deploy(bootstrap, "range", &range);
    let config = format!(
        "[mirror.hq]\ndirection = \"pull\"\nbootstrap.servers = \"{bootstrap}\"\n\
         topics = [\"__sedge_plugins\"]\n"
    );
    let options = Options::default().config(config);
    let mut here = Sedge::start(&directory.join("edge"), options);
    here.wait_log(&["creates __sedge_plugins here"]);
    let mut at = Connection::open(&here.bootstrap());
    let bind = |at: &mut Connection| {
        wire::try_create_topic(at, "readings", 1, &[("sedge.filter", "range")]).0
    };
    // Binding a plugin that is not there yet is refused.
    let deadline = Instant::now() + limits::CONDITION;
    while bind(&mut at) != error::NONE {
        assert!(Instant::now() < deadline, "{}", here.process().tail());
        std::thread::sleep(limits::POLL);
    }
    plugin::wait_filtered(&mut at, "readings");
    let values = [
        r#"{"sensor":"s1","celsius":20}"#,
        r#"{"sensor":"s2","celsius":900}"#,
    ];
    let batch = Batch::of(&values.map(|value| value.as_bytes().to_vec())).encode();
    assert_eq!(
        wire::produce(&mut at, "readings", 0, &batch).error,
        error::NONE
    );
    let kept = soak::read_partition(&mut at, "readings", 0);
    assert_eq!(kept.len(), 1, "{kept:?}");
    // The centre alone deploys.
    let mut deploy = Command::new(tools::sedge());
    deploy.args(["plugin", "deploy", "own"]).arg(&range);
    deploy.args(["--bootstrap-server", &here.bootstrap()]);
    let refused = Process::run("a deploy", &mut deploy, b"", limits::COMMAND);
    assert!(!refused.status.success(), "{}", refused.stdout);
    let why = "A pull link of the mirror writes this topic";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
    here.kill();
    here.start_again();
    plugin::wait_filtered(&mut Connection::open(&here.bootstrap()), "readings");
    plugin::delete(bootstrap, "range");
    let deadline = Instant::now() + limits::CONDITION;
    loop {
        let mut list = Command::new(tools::sedge());
        list.args(["plugin", "list", "--bootstrap-server", &here.bootstrap()]);
        let listed = Process::run("a list", &mut list, b"", limits::COMMAND);
        if !tools::must(listed, "a list").stdout.contains("range") {
            return;
        }
        assert!(Instant::now() < deadline, "{}", here.process().tail());
        std::thread::sleep(limits::POLL);
    }
}

#[test]
fn plugins_are_deployed_at_the_centre_where_that_is_sedge() {
    let directory = TempDir::new("mirror-pull-plugins");
    let there = Sedge::start(&directory.join("hq"), Options::default());
    deploy_at_the_centre(&directory, &there.bootstrap());
}

#[test]
fn plugins_are_deployed_at_the_centre_where_that_is_apache_kafka() {
    let directory = TempDir::new("mirror-pull-plugins-kafka");
    let there = ApacheKafka::start(&directory.join("hq"), &[]);
    deploy_at_the_centre(&directory, &there.bootstrap());
}

#[test]
fn a_pattern_takes_no_plugins_from_the_upstream() {
    let directory = TempDir::new("mirror-pull-no-plugins");
    let there = Sedge::start(&directory.join("hq"), Options::default());
    let range = plugin::build("drop-out-of-range", directory.path());
    plugin::deploy(&there.bootstrap(), "range", &range);
    let mut at = Connection::open(&there.bootstrap());
    wire::create_topic(&mut at, "commands", 1, &[]);
    let config = format!(
        "[mirror.hq]\ndirection = \"pull\"\nbootstrap.servers = \"{}\"\n\
         topics = [\".*\", \"__.*\"]\n",
        there.bootstrap()
    );
    let options = Options::default().config(config);
    let mut here = Sedge::start(&directory.join("edge"), options);
    here.wait_log(&["creates commands here"]);
    let topics = wire::topics(&mut Connection::open(&here.bootstrap()));
    assert!(!topics.contains_key("__sedge_plugins"), "{topics:?}");
}

#[test]
fn a_declared_topic_is_here_before_the_upstream_is_and_becomes_its_copy() {
    const TOPIC: &str = "commands.declared";
    let directory = TempDir::new("mirror-pull-declared");
    let proxy = Proxy::start();
    proxy.cut();
    let config = format!(
        "[mirror.hq]\ndirection = \"pull\"\nbootstrap.servers = \"{}\"\n\
         topics = [\"commands.*\"]\n\"topics.create\" = [\"{TOPIC}:2\"]\n",
        proxy.address()
    );
    let mut here = Sedge::start(&directory.join("edge"), Options::default().config(config));
    let mut at = Connection::open(&here.bootstrap());
    wire::wait_known(&mut at, TOPIC, 1);
    let mine = Batch::of(&[b"mine".to_vec()]).encode();
    let refused = wire::produce(&mut at, TOPIC, 0, &mine);
    assert_eq!(refused.error, error::POLICY_VIOLATION, "{refused:?}");
    assert_eq!(wire::fetch(&mut at, TOPIC, 0, 0).high_watermark, 0);
    // As many partitions as were declared, or more.
    let there = Sedge::start(
        &directory.join("hq"),
        Options::default().set(
            "advertised.listeners",
            &format!("PLAINTEXT://{}", proxy.address()),
        ),
    );
    let mut upstream = Connection::open(&there.bootstrap());
    wire::create_topic(&mut upstream, TOPIC, 3, &[("retention.ms", "86400001")]);
    let batch = Batch::of(&[b"go".to_vec()]).encode();
    assert_eq!(
        wire::produce(&mut upstream, TOPIC, 2, &batch).error,
        error::NONE
    );
    proxy.forward_to(&there.bootstrap());
    proxy.restore();
    wire::wait_known(&mut at, TOPIC, 2);
    let deadline = Instant::now() + limits::CONDITION;
    while soak::read_partition(&mut at, TOPIC, 2).len() != 1 {
        assert!(Instant::now() < deadline, "{}", here.process().tail());
        std::thread::sleep(limits::POLL);
    }
    let retention = wire::topic_config(&mut at, TOPIC, "retention.ms");
    assert_eq!(retention.as_deref(), Some("86400001"));
    assert_eq!(
        wire::produce(&mut at, TOPIC, 0, &mine).error,
        error::POLICY_VIOLATION
    );
}

#[test]
fn a_topic_that_was_created_again_upstream_is_not_mixed_with_the_earlier_one() {
    const TOPIC: &str = "commands.again";
    let mut pair = Pair::start("mirror-pull-again", TOPIC);
    let mut there = Connection::open(&pair.there.bootstrap());
    pair.produce_there(TOPIC, &["a", "b"]);
    pair.wait_here(TOPIC, &["a", "b"]);
    wire::delete_topic(&mut there, TOPIC);
    wire::create_topic(&mut there, TOPIC, 1, &[]);
    pair.produce_there(TOPIC, &["A", "B", "C"]);
    pair.here
        .wait_log(&["commands.again waits", "created again upstream"]);
    assert_eq!(pair.wait_here(TOPIC, &["a", "b"]), [0, 1]);
    let mut describe = Command::new(tools::sedge());
    describe.args(["mirror", "describe", "hq", "--bootstrap-server"]);
    describe.arg(pair.here.bootstrap());
    let described = Process::run("sedge mirror", &mut describe, b"", limits::COMMAND);
    let described = tools::must(described, "describe").stdout;
    let advice = "delete the topic here to copy the new one";
    assert!(described.contains(advice), "{described}");
    let mut here = Connection::open(&pair.here.bootstrap());
    wire::delete_topic(&mut here, TOPIC);
    assert_eq!(pair.wait_here(TOPIC, &["A", "B", "C"]), [0, 1, 2]);
}

/// The plan is that of the real upstream, and changes nothing here.
#[test]
fn a_plan_says_what_the_link_would_copy() {
    let directory = TempDir::new("pull-plan");
    let there = Sedge::start(&directory.join("hq"), Options::default());
    let mut at = Connection::open(&there.bootstrap());
    wire::create_topic(&mut at, "commands.new", 2, &[("retention.ms", "86400001")]);
    wire::create_topic(&mut at, "commands.own", 1, &[]);
    for value in ["on", "off"] {
        let batch = Batch::of(&[value.as_bytes().to_vec()]).encode();
        assert_eq!(
            wire::produce(&mut at, "commands.new", 1, &batch).error,
            error::NONE
        );
    }
    let here = Sedge::start(&directory.join("edge"), Options::default());
    let mut at = Connection::open(&here.bootstrap());
    wire::create_topic(&mut at, "commands.own", 1, &[]);
    let mut command = Command::new(tools::sedge());
    command.args(["mirror", "--bootstrap-server", &here.bootstrap()]);
    command.args(["plan", "hq", "-o", "json", "--set", "direction=pull"]);
    let servers = format!("bootstrap.servers={}", there.bootstrap());
    command.args(["--set", &servers]);
    command.args(["--set", "topics=commands.*,nothing"]);
    let planned = Process::run("sedge mirror", &mut command, b"", limits::COMMAND);
    let planned = tools::must(planned, "plan").stdout;
    let plan: serde_json::Value = serde_json::from_str(&planned).expect("-o json is JSON");
    let of = |topic: &str| {
        let mut topics = plan["topics"].as_array().expect("topics").iter();
        let found = topics.find(|row| row["topic"] == topic).cloned();
        found.unwrap_or_else(|| panic!("{topic} in {plan}"))
    };
    let new = of("commands.new");
    assert_eq!(new["action"], "create", "{plan}");
    assert_eq!(new["records"], 2, "{plan}");
    assert_eq!(new["partitions"], 2, "{plan}");
    let notes = new["notes"].to_string();
    assert!(notes.contains("retention.ms=86400001"), "{plan}");
    let own = of("commands.own");
    assert_eq!(own["action"], "refuse", "{plan}");
    assert!(own["notes"].to_string().contains("no copy"), "{plan}");
    assert_eq!(plan["unmatched"][0], "nothing", "{plan}");
    assert!(!wire::topics(&mut at).contains_key("commands.new"));
}
