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
    let created = site.mirror(&["create", "hq", "--set", &servers, "--set", &topics]);
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
