//! Tests what a link spends: bytes a second and a day, which is kept over a kill, hours, classes of
//! topics, and records that are too late.

use std::time::{Duration, Instant};

use sedge_tests::limits;
use sedge_tests::link::Site;
use sedge_tests::process::Process;
use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch};

const AT_LEAST_ONCE: &str = "mode = \"at-least-once\"\n\"compression.type\" = \"producer\"\n";

fn site(keys: &str) -> Site {
    Site::with_sedge(&format!("{AT_LEAST_ONCE}{keys}"), Options::default())
}

/// Has 20 batches of 4 KiB to send to a topic.
fn backlog(site: &mut Site, topic: &str) {
    wire::create_topic(&mut site.here, topic, 1, &[]);
    for _ in 0..20 {
        site.produce(topic, &Batch::of(&vec![vec![b'x'; 1 << 10]; 4]));
    }
}

#[test]
fn a_link_sends_no_more_than_its_bytes_a_second() {
    let mut site = site("\"budget.bytes.per.second\" = 20000");
    backlog(&mut site, "bulk");
    let began = Instant::now();
    site.wait("all is upstream", |site| site.count_upstream("bulk") == 80);
    // 84,000 bytes, of which 20,000 go at once, and the last batch may be too much.
    assert!(began.elapsed() > Duration::from_secs(2));
    assert!(site.describe()["budget"].is_object());
}

/// The day's bytes are spent, and a kill does not give them again. Records of the class high have
/// their own part.
#[test]
fn a_day_s_bytes_are_spent_once_and_alarms_have_their_own() {
    let keys = "\"budget.bytes.per.day\" = 60000\n\"batch.size\" = 4096\n\
                \"topics.priority\" = [\"alarms:high\"]";
    let mut site = site(keys);
    backlog(&mut site, "bulk");
    site.wait("the day's bytes are spent", |site| {
        site.describe()["budget"]["waits_for"] == "budget.bytes.per.day"
    });
    assert_eq!(site.logged("budget.bytes.per.day is reached"), 1);
    let before = site.count_upstream("bulk");
    assert!((30..80).contains(&before), "{before}");
    let left = site.describe()["budget"]["day_left_bytes"].as_u64();
    assert!(left < Some(7000), "{left:?}");
    site.kill_and_start();
    wire::create_topic(&mut site.here, "alarms", 1, &[]);
    site.produce_values("alarms", &["fire".to_owned()]);
    site.wait_upstream("alarms", &["fire".to_owned()]);
    // A crash forgets less than a two-hundredth, and may send the last second again.
    let after = site.count_upstream("bulk");
    assert!(after <= before + 8, "{before}, {after}");
    let metrics = sedge_tests::http::get(site.sedge.console(), "/metrics").1;
    let left = "sedge_mirror_budget_left_bytes{link=\"hq\",period=\"day\"}";
    assert!(metrics.contains(left), "{metrics}");
}

#[test]
fn outside_its_hours_a_link_sends_only_alarms() {
    // The hours begin six hours from now.
    let hour = |text: &str| {
        let mut date = std::process::Command::new("date");
        date.args(["-u", text]);
        let told = Process::run("date", &mut date, b"", limits::COMMAND).stdout;
        told.trim().parse::<i64>().expect("an hour")
    };
    let from = (hour("+%H") + 6) % 24;
    let keys = format!(
        "\"budget.hours\" = [\"{from:02}:00-{from:02}:30\"]\n\
         \"topics.priority\" = [\"alarms:high\"]"
    );
    let mut site = site(&keys);
    backlog(&mut site, "bulk");
    wire::create_topic(&mut site.here, "alarms", 1, &[]);
    site.produce_values("alarms", &["fire".to_owned()]);
    site.wait_upstream("alarms", &["fire".to_owned()]);
    assert_eq!(site.count_upstream("bulk"), 0);
    assert_eq!(site.describe()["budget"]["waits_for"], "budget.hours");
}

/// The first record is too old when it could be sent: it is left out, and counted apart from
/// losses.
#[test]
fn what_is_late_is_left_out_and_counted() {
    let mut site = site("\"topics.deadline.ms\" = [\"debug:60000\"]");
    wire::create_topic(&mut site.here, "debug", 1, &[]);
    let mut old = Batch::of(&[b"old".to_vec()]);
    old.base_timestamp -= 120_000;
    site.produce("debug", &old);
    site.produce_values("debug", &["new".to_owned()]);
    site.wait_upstream("debug", &["new".to_owned()]);
    site.wait("the late record is counted", |site| {
        site.metric("sedge_mirror_records_late_total") == 1
    });
    assert_eq!(
        site.metric("sedge_mirror_records_lost_to_retention_total"),
        0
    );
    assert_eq!(site.metric("sedge_mirror_records_skipped_total"), 0);
    assert_eq!(site.describe()["budget"]["late_records"], 1);
}

#[test]
fn a_budget_that_can_never_be_met_is_refused() {
    let site = Site::without_link(Options::default());
    let create = |keys: &[&str]| {
        let upstream = format!("bootstrap.servers={}", site.upstream_bootstrap());
        let mut arguments = vec!["create", "hq", "--set", &upstream, "--set", "topics=.*"];
        for key in keys {
            arguments.extend(["--set", key]);
        }
        site.mirror(&arguments)
    };
    for (keys, named) in [
        (vec!["budget.bytes.per.day=1000"], "budget.bytes.per.day"),
        (vec!["budget.bytes.per.second=0"], "budget.bytes.per.second"),
        (vec!["budget.hours=9-17"], "budget.hours"),
        (
            vec![
                "budget.bytes.per.day=9000000",
                "budget.bytes.per.month=900000",
            ],
            "budget.bytes.per.month",
        ),
    ] {
        let refused = create(&keys);
        assert!(!refused.status.success());
        assert!(refused.stderr.contains(named), "{}", refused.stderr);
    }
}
