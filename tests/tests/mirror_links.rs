//! Tests links that are made, changed, paused and deleted while the broker runs.

use sedge_tests::kafka_tools;
use sedge_tests::link::Site;
use sedge_tests::process::{Finished, Process};
use sedge_tests::sedge::Options;
use sedge_tests::{http, limits, tools, wire};

const SECRET: &str = "s3cret-of-the-link";

fn create(site: &mut Site, topics: &str) {
    let servers = format!("bootstrap.servers={}", site.upstream_bootstrap());
    let topics = format!("topics={topics}");
    // With transactions, the upstream has the cursors as well, and `--forget` does not reach those.
    let mode = "mode=at-least-once";
    let set = ["--set", &servers, "--set", &topics, "--set", mode];
    let created = site.mirror(&[&["create", "hq"], &set[..]].concat());
    tools::must(created, "sedge mirror create");
}

fn run(site: &Site, arguments: &[&str]) {
    tools::must(site.mirror(arguments), "sedge mirror");
}

fn state(site: &Site) -> String {
    let described = site.describe();
    described["state"].as_str().unwrap_or_default().to_owned()
}

fn refused(finished: &Finished, why: &str) {
    assert!(!finished.status.success(), "refused: {}", finished.stdout);
    let said = &finished.stderr;
    assert!(said.contains(why), "{said:?} should say {why:?}");
}

fn values(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name} {n}")).collect()
}

#[test]
fn a_link_made_at_run_time_lives_until_it_is_deleted() {
    let mut site = Site::without_link(Options::default());
    for topic in ["a", "b"] {
        wire::create_topic(&mut site.here, topic, 1, &[]);
    }
    let mut all = values("a", 3);
    site.produce_values("a", &all);
    site.produce_values("b", &values("b", 2));
    create(&mut site, "a");
    site.wait_upstream("a", &all);
    assert_eq!(site.count_upstream("b"), 0, "b is not selected");
    site.wait("the cursor is committed", |site| {
        site.cursor("a") == Some(3)
    });

    // A kill -9 keeps the link.
    site.kill_and_start();
    let more = values("after the kill", 2);
    site.produce_values("a", &more);
    all.extend(more);
    site.wait_upstream("a", &all);

    // A change goes on at the cursors.
    site.wait("the cursor is committed", |site| {
        site.cursor("a") == Some(5)
    });
    run(&site, &["alter", "hq", "--set", "topics=a,b"]);
    site.wait_upstream("b", &values("b", 2));
    assert_eq!(site.upstream("a"), all, "nothing is sent twice");

    // A paused link rests, also over a restart, and its lag is seen.
    run(&site, &["pause", "hq"]);
    site.wait("the link is paused", |site| state(site) == "paused");
    site.kill_and_start();
    let more = values("while paused", 4);
    site.produce_values("a", &more);
    site.wait("the lag of the paused link", |site| {
        state(site) == "paused" && site.metric("sedge_mirror_lag_records") == 4
    });
    assert_eq!(site.upstream("a"), all);
    run(&site, &["resume", "hq"]);
    all.extend(more);
    site.wait_upstream("a", &all);
    assert_eq!(site.describe()["configs"]["topics"], "a,b");

    // A deleted link is gone everywhere, and its cursors wait for a link of its name.
    site.wait("the cursor is committed", |site| {
        site.cursor("a") == Some(9)
    });
    run(&site, &["delete", "hq"]);
    site.wait("the metrics of the link are gone", |site| {
        !http::get(site.sedge.console(), "/metrics")
            .1
            .contains("link=\"hq\"")
    });
    let more = values("while deleted", 1);
    site.produce_values("a", &more);
    create(&mut site, "a");
    all.extend(more);
    site.wait_upstream("a", &all);

    // Without its cursors it begins at the start.
    run(&site, &["delete", "hq", "--forget"]);
    create(&mut site, "a");
    let twice = [&all[..], &all[..]].concat();
    site.wait_upstream("a", &twice);
}

#[test]
fn what_cannot_be_a_link_is_refused_with_the_reason() {
    let mut site = Site::without_link(Options::default());
    let servers = format!("bootstrap.servers={}", site.upstream_bootstrap());
    let create = |name: &str, more: &[&str]| {
        let set = more.iter().flat_map(|key| ["--set", key]);
        let all: Vec<&str> = ["create", name, "--set", &servers]
            .into_iter()
            .chain(set)
            .collect();
        site.mirror(&all)
    };
    refused(&create("hq", &[]), "topics");
    refused(&create("hq", &["topics=a("]), "not a regular expression");
    refused(&create("hq", &["topcis=a"]), "did you mean topics?");
    refused(&create("h.q", &["topics=a"]), "cannot be the name");
    refused(
        &create("hq", &["topics=a", "topics.rename=a:x,b:x"]),
        "two topics would be x",
    );
    refused(
        &create("hq", &["topics=a", "client.id=${env:HOME}"]),
        "configuration file",
    );
    let half = format!("sasl.jaas.config=org.x.PlainLoginModule required password=\"{SECRET}\";");
    let login = [
        "topics=a",
        "security.protocol=SASL_PLAINTEXT",
        "sasl.mechanism=PLAIN",
        &half,
    ];
    let finished = create("hq", &login);
    assert!(!finished.status.success() && !finished.stderr.contains(SECRET));
    assert_eq!(site.logged("sedge::mirror"), 0, "no link was started");

    // A link that has once run is not stopped by a change that is refused.
    wire::create_topic(&mut site.here, "a", 1, &[]);
    self::create(&mut site, "a");
    let all = values("a", 2);
    site.produce_values("a", &all);
    site.wait_upstream("a", &all);
    refused(
        &site.mirror(&["alter", "hq", "--set", "topics=b("]),
        "regular expression",
    );
    refused(
        &site.mirror(&["alter", "hq", "--unset", "topics"]),
        "required",
    );
    refused(&site.mirror(&["pause", "nosuch"]), "no link named nosuch");
    assert_eq!(state(&site), "running");
}

#[test]
fn a_password_of_a_link_is_told_to_nobody() {
    let mut site = Site::without_link(Options::default());
    let servers = format!("bootstrap.servers={}", site.upstream_bootstrap());
    let jaas = format!(
        "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
         username=\"edge\" password=\"{SECRET}\";"
    );
    let mut arguments = vec!["create", "hq"];
    for key in [
        servers.as_str(),
        "topics=a",
        "security.protocol=SASL_PLAINTEXT",
        "sasl.mechanism=PLAIN",
        &jaas,
    ] {
        arguments.extend(["--set", key]);
    }
    run(&site, &arguments);
    site.wait("the link reports why it does not run", |site| {
        site.describe()["why"].is_string()
    });
    let described = site.describe();
    assert!(described["configs"]["sasl.jaas.config"].is_null());
    assert_eq!(described["configs"]["sasl.mechanism"], "PLAIN");
    let page = http::get(site.sedge.console(), "/").1;
    for (what, text) in [("describe", described.to_string()), ("the page", page)] {
        assert!(!text.contains(SECRET), "{what}");
    }
    assert_eq!(site.logged(SECRET), 0);
}

#[test]
fn a_link_of_the_file_can_only_be_paused() {
    let mut site = Site::with_sedge("", Options::default());
    let servers = format!("bootstrap.servers={}", site.upstream_bootstrap());
    wire::create_topic(&mut site.here, "a", 1, &[]);
    let mut all = values("a", 2);
    site.produce_values("a", &all);
    site.wait_upstream("a", &all);
    let created = site.mirror(&["create", "hq", "--set", &servers, "--set", "topics=a"]);
    refused(&created, "there is a link named hq already");
    let altered = site.mirror(&["alter", "hq", "--set", "topics=b"]);
    refused(&altered, "in the configuration file");
    refused(&site.mirror(&["delete", "hq"]), "remove [mirror.hq]");
    run(&site, &["pause", "hq"]);
    site.wait("the link is paused", |site| state(site) == "paused");
    site.kill_and_start();
    site.produce_values("a", &values("more", 1));
    site.wait("it is still", |site| {
        state(site) == "paused" && site.metric("sedge_mirror_lag_records") == 1
    });
    run(&site, &["resume", "hq"]);
    all.extend(values("more", 1));
    site.wait("what came meanwhile is upstream", |site| {
        let mut there = site.upstream("a");
        there.dedup();
        there == all
    });
}

#[test]
fn a_link_that_selects_no_topic_says_so() {
    let mut site = Site::without_link(Options::default());
    create(&mut site, "nosuch.*");
    site.wait("the link is idle", |site| state(site) == "idle");
    let why = site.describe()["why"].to_string();
    assert!(why.contains("no topic here matches"), "{why}");
    assert_eq!(site.metric("sedge_mirror_link_up"), 1);
    wire::create_topic(&mut site.here, "nosuch.after.all", 1, &[]);
    site.produce_values("nosuch.after.all", &values("x", 1));
    site.wait_upstream("nosuch.after.all", &values("x", 1));
    assert_eq!(state(&site), "running");
}

/// Kafka's own tool makes a link, and shows its keys.
#[test]
fn kafka_configs_makes_a_link() {
    let mut site = Site::without_link(Options::default());
    wire::create_topic(&mut site.here, "a", 1, &[]);
    let here = site.sedge.bootstrap();
    let keys = format!(
        "bootstrap.servers=[{}],topics=[a,b]",
        site.upstream_bootstrap()
    );
    let group = [
        "--entity-type",
        "groups",
        "--entity-name",
        "sedge-mirror-hq",
    ];
    let configs = |more: &[&str]| {
        let mut command = kafka_tools::command("kafka-configs");
        command
            .args(["--bootstrap-server", &here])
            .args(group)
            .args(more);
        let finished = Process::run("kafka-configs", &mut command, b"", limits::COMMAND);
        tools::must(finished, "kafka-configs").stdout
    };
    configs(&["--alter", "--add-config", &keys]);
    site.produce_values("a", &values("a", 2));
    site.wait_upstream("a", &values("a", 2));
    let shown = configs(&["--describe"]);
    assert!(shown.contains("topics=a,b"), "{shown}");
}

fn plan(site: &Site, keys: &[&str]) -> serde_json::Value {
    let set = keys.iter().flat_map(|key| ["--set", key]);
    let arguments: Vec<&str> = ["plan", "hq", "-o", "json"]
        .into_iter()
        .chain(set)
        .collect();
    let finished = site.mirror(&arguments);
    serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|_| panic!("-o json is JSON: {}{}", finished.stdout, finished.stderr))
}

fn planned<'a>(plan: &'a serde_json::Value, topic: &str) -> &'a serde_json::Value {
    let topics = plan["topics"].as_array().expect("topics");
    let found = topics.iter().find(|row| row["topic"] == topic);
    found.unwrap_or_else(|| panic!("{topic} in {plan}"))
}

/// The plan is that of the real upstream, and changes nothing there or here.
fn a_plan_says_what_the_link_would_do(site: &mut Site, keys: &[&str]) {
    wire::create_topic(
        &mut site.here,
        "plan-new",
        3,
        &[("retention.ms", "3600000")],
    );
    wire::create_topic(&mut site.here, "plan-grown", 2, &[]);
    wire::create_topic(&mut site.there, "plan-grown", 1, &[]);
    wire::create_topic(&mut site.here, "plan-small", 1, &[]);
    wire::create_topic(
        &mut site.there,
        "plan-small",
        1,
        &[("max.message.bytes", "1000")],
    );
    site.produce_values("plan-new", &values("x", 4));
    let plan = plan(site, keys);
    assert!(plan["error"].is_null(), "{plan}");
    let new = planned(&plan, "plan-new");
    assert_eq!(new["action"], "create", "{plan}");
    assert_eq!(
        (&new["partitions"], &new["records"]),
        (&3.into(), &4.into())
    );
    assert!(new["bytes"].as_i64() > Some(0), "{plan}");
    assert!(
        new["notes"].to_string().contains("retention.ms=3600000"),
        "{plan}"
    );
    let grown = planned(&plan, "plan-grown");
    assert_eq!(grown["action"], "extend", "{plan}");
    assert!(grown["notes"].to_string().contains("1 partitions become 2"));
    let small = planned(&plan, "plan-small");
    assert_eq!(small["action"], "copy", "{plan}");
    assert!(
        small["notes"]
            .to_string()
            .contains("max.message.bytes is 1000 upstream")
    );
    assert!(plan["unmatched"].to_string().contains("nosuch.*"), "{plan}");
    // Nothing was created.
    let fetched = wire::fetch(&mut site.there, "plan-new", 0, 0);
    assert_ne!(fetched.error, wire::error::NONE);
}

#[test]
fn a_plan_before_a_link_is_made() {
    let mut site = Site::without_link(Options::default());
    let servers = format!("bootstrap.servers={}", site.upstream_bootstrap());
    let keys = [servers.as_str(), "topics=plan-.*,nosuch.*"];
    a_plan_says_what_the_link_would_do(&mut site, &keys);
    let described = site.mirror(&["describe", "hq"]);
    refused(&described, "no link named hq");

    // Of a link that has copied something, the plan begins at its cursors.
    create(&mut site, "plan-.*");
    site.wait_upstream("plan-new", &values("x", 4));
    site.wait("the cursor is committed", |site| {
        site.cursor("plan-new") == Some(4)
    });
    let after = plan(&site, &[]);
    let new = planned(&after, "plan-new");
    assert_eq!(
        (&new["action"], &new["records"]),
        (&"copy".into(), &0.into())
    );
    assert_eq!(new["from"][0], 4);

    let own = format!("bootstrap.servers={}", site.sedge.bootstrap());
    let itself = plan(&site, &[&own, "topics=.*"]);
    assert!(
        itself["error"].to_string().contains("own cluster"),
        "{itself}"
    );
    let nobody = format!("bootstrap.servers=127.0.0.1:{}", sedge_tests::ports::free());
    let gone = site.mirror(&["plan", "other", "--set", &nobody, "--set", "topics=.*"]);
    refused(&gone, "the upstream of other cannot be used");
}

#[test]
fn a_plan_with_apache_kafka_upstream() {
    let mut site = Site::with_kafka("", Options::default());
    run(&site, &["pause", "hq"]);
    site.wait("the link is paused", |site| state(site) == "paused");
    let servers = format!("bootstrap.servers={}", site.upstream_bootstrap());
    let keys = [servers.as_str(), "topics=plan-.*,nosuch.*"];
    // A link of the file is planned as it is; this one is another.
    let set = keys.iter().flat_map(|key| ["--set", key]);
    let arguments: Vec<&str> = ["create", "other"].into_iter().chain(set).collect();
    run(&site, &[&arguments[..], &["--set", "paused=true"]].concat());
    wire::create_topic(&mut site.here, "plan-new", 3, &[]);
    let finished = site.mirror(&["plan", "other", "-o", "json"]);
    let plan: serde_json::Value = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!(planned(&plan, "plan-new")["action"], "create", "{plan}");
    assert!(wire::fetch(&mut site.there, "plan-new", 0, 0).error != wire::error::NONE);
}

/// The age is counted from the append: the producer's clock is three years behind.
#[test]
fn what_waits_is_seen_with_the_error_and_the_next_try() {
    let mut site = Site::without_link(Options::default());
    let nobody = format!("bootstrap.servers=127.0.0.1:{}", sedge_tests::ports::free());
    wire::create_topic(&mut site.here, "a", 1, &[]);
    wire::create_topic(&mut site.here, "b", 1, &[]);
    let mut batch = wire::Batch::of(&[b"old".to_vec()]);
    batch.base_timestamp -= 1000 * 86_400_000;
    site.produce("a", &batch);
    site.produce_values("b", &values("b", 3));
    run(
        &site,
        &["create", "hq", "--set", &nobody, "--set", "topics=.*"],
    );
    site.wait("the lag and the error are described", |site| {
        let described = site.describe();
        let error = &described["last_error"];
        described["progress"]["lag_records"] == 4
            && described["topics"]["b"]["lag_records"] == 3
            && described["topics"]["a"]["lag_bytes"].as_i64() > Some(0)
            && error["why"].is_string()
            && error["next_try_in_ms"].is_u64()
    });
    let described = site.describe();
    let lag_ms = described["progress"]["lag_ms"].as_i64().expect("lag_ms");
    assert!((0..3_600_000).contains(&lag_ms), "{described}");
    assert!(described["progress"]["catches_up_in_s"].is_null());
    let metrics = http::get(site.sedge.console(), "/metrics").1;
    for line in [
        "sedge_mirror_topic_lag_records{link=\"hq\",topic=\"b\"} 3",
        "sedge_mirror_lag_records{link=\"hq\"} 4",
        "sedge_mirror_catch_up_seconds{link=\"hq\"} +Inf",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(
        http::get(site.sedge.console(), "/")
            .1
            .contains("does not shrink")
    );
    assert_eq!(
        site.logged("the upstream fails"),
        1,
        "once, and not for each try"
    );

    let servers = format!("bootstrap.servers={}", site.upstream_bootstrap());
    run(&site, &["alter", "hq", "--set", &servers]);
    site.wait_upstream("b", &values("b", 3));
    site.wait("nothing lags", |site| {
        let described = site.describe();
        described["progress"]["lag_records"] == 0 && described["progress"]["catches_up_in_s"] == 0.0
    });
}
