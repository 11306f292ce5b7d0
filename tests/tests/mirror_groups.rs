//! Tests that consumers can move between an edge and its upstream: the offsets of their groups are
//! translated exactly, and kept in step on both sides.

use sedge_tests::limits;
use sedge_tests::link::Site;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::soak;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection};

const TOPIC: &str = "moving";
const GROUP: &str = "movers";
const LINK: &str = "groups = [\"movers\"]\n\"sync.group.offsets.interval.seconds\" = 1";

/// Reads `count` records in the group, and commits. Returns their values.
///
/// No client library does it: librdkafka, when it is closed, stores the offset behind the end of a
/// transaction that it fetched, also if records of the transaction were not delivered.
fn consume(bootstrap: &str, count: usize) -> Vec<String> {
    let mut at = Connection::open(bootstrap);
    let from = wire::committed(&mut at, GROUP, TOPIC, 0).unwrap_or(0);
    let records = soak::read_partition(&mut at, TOPIC, 0);
    let read: Vec<_> = records
        .into_iter()
        .filter(|record| record.offset >= from)
        .take(count)
        .collect();
    let last = read.last().expect("a record to read");
    wire::commit_offset(&mut at, GROUP, TOPIC, 0, last.offset + 1);
    let values = read.into_iter().map(|record| record.value);
    values
        .map(|value| String::from_utf8(value).expect("a text"))
        .collect()
}

fn values(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|n| format!("value {n}")).collect()
}

/// Waits until the group is at the record that has this value, on both sides.
fn wait_both(site: &mut Site, next: usize) {
    let next = format!("value {next}");
    site.wait(&format!("the group is at {next:?} on both sides"), |site| {
        let at = |connection: &mut Connection| {
            let committed = wire::committed(connection, GROUP, TOPIC, 0)?;
            let records = soak::read_partition(connection, TOPIC, 0);
            let mut behind = records.iter().filter(|record| record.offset >= committed);
            behind.find_map(|record| {
                let value = String::from_utf8(record.value.clone()).ok()?;
                value.starts_with("value").then_some(value)
            })
        };
        let here = at(&mut site.here);
        let there = at(&mut site.there);
        here.as_ref() == Some(&next) && there.as_ref() == Some(&next)
    });
}

fn a_consumer_moves_to_the_upstream_and_back(site: &mut Site) {
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    let all = values(0, 20);
    site.produce_values(TOPIC, &all);
    site.wait_upstream(TOPIC, &all);
    let (here, there) = (site.sedge.bootstrap(), site.upstream_bootstrap());
    assert_eq!(consume(&here, 7), values(0, 7));
    wait_both(site, 7);
    assert_eq!(consume(&there, 5), values(7, 5));
    wait_both(site, 12);
    // A crash of the edge, and more records.
    site.kill_and_start();
    let here = site.sedge.bootstrap();
    let more = values(20, 10);
    site.produce_values(TOPIC, &more);
    assert_eq!(consume(&here, 6), values(12, 6));
    wait_both(site, 18);
    assert_eq!(consume(&there, 7), values(18, 7));
    wait_both(site, 25);
    assert_eq!(consume(&here, 5), values(25, 5));
    assert!(site.metric("sedge_mirror_group_offsets_total") > 0);
}

#[test]
fn a_consumer_moves_to_a_sedge_and_back() {
    a_consumer_moves_to_the_upstream_and_back(&mut Site::with_sedge(LINK, Options::default()));
}

/// A group that is not selected stays where it is.
#[test]
fn other_groups_stay_where_they_are() {
    let mut site = Site::with_sedge(LINK, Options::default());
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    let all = values(0, 3);
    site.produce_values(TOPIC, &all);
    site.wait_upstream(TOPIC, &all);
    wire::commit_offset(&mut site.here, "others", TOPIC, 0, 2);
    wire::commit_offset(&mut site.here, GROUP, TOPIC, 0, 2);
    site.wait("the selected group is upstream", |site| {
        wire::committed(&mut site.there, GROUP, TOPIC, 0).is_some()
    });
    assert_eq!(wire::committed(&mut site.there, "others", TOPIC, 0), None);
}

/// The offsets of a pull link's copies are those of the upstream.
#[test]
fn a_consumer_of_a_copy_goes_on_where_it_was_upstream() {
    let directory = TempDir::new("mirror-groups-pull");
    let there = Sedge::start(&directory.join("hq"), Options::default());
    let mut at = Connection::open(&there.bootstrap());
    wire::create_topic(&mut at, TOPIC, 1, &[]);
    for value in values(0, 10) {
        let batch = Batch::of(&[value.into_bytes()]).encode();
        assert_eq!(
            wire::produce(&mut at, TOPIC, 0, &batch).error,
            wire::error::NONE
        );
    }
    assert_eq!(consume(&there.bootstrap(), 4), values(0, 4));
    let link = format!(
        "[mirror.hq]\ndirection = \"pull\"\nbootstrap.servers = \"{}\"\n\
         topics = [\"{TOPIC}\"]\n{LINK}\n",
        there.bootstrap()
    );
    let here = Sedge::start(&directory.join("edge"), Options::default().config(link));
    let mut own = Connection::open(&here.bootstrap());
    let wait = |connection: &mut Connection, offset: i64| {
        let deadline = std::time::Instant::now() + limits::CONDITION;
        while wire::committed(connection, GROUP, TOPIC, 0) != Some(offset) {
            assert!(
                std::time::Instant::now() < deadline,
                "the group is not at {offset}"
            );
            std::thread::sleep(limits::POLL);
        }
    };
    wait(&mut own, 4);
    assert_eq!(consume(&here.bootstrap(), 3), values(4, 3));
    wait(&mut at, 7);
    assert_eq!(consume(&there.bootstrap(), 3), values(7, 3));
}
