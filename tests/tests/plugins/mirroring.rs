//! Tests filters of a mirror link: what they leave goes upstream in order, the rest is counted.

use sedge_tests::link::Site;
use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch};
use sedge_tests::{http, plugin};

use crate::support::{MISBEHAVE, RANGE, component};

fn metric(site: &Site, name: &str) -> u64 {
    http::metric(
        site.sedge.console(),
        &format!("sedge_mirror_{name}{{link=\"hq\"}}"),
    ) as u64
}

fn create(site: &mut Site) {
    wire::create_topic(&mut site.here, "t", 1, &[]);
    wire::wait_known(&mut site.here, "t", 0);
}

fn reading(celsius: i32) -> String {
    format!(r#"{{"celsius":{celsius}}}"#)
}

#[test]
fn a_link_sends_what_its_filters_leave_and_counts_the_rest() {
    let link = "filter = [\"range\"]\n\"plugin.range.max\" = \"30\"";
    let mut site = Site::with_sedge(link, Options::default());
    // Fail-closed: nothing goes upstream before the filter is there.
    let good = |from: i32| (from..from + 3).map(reading).collect::<Vec<_>>();
    create(&mut site);
    site.produce_values("t", &good(0));
    site.wait("the link waits for its filter", |site| {
        let tail = site.sedge.process().tail();
        tail.contains("The mirror filter range is not ready")
    });
    assert!(site.upstream("t").is_empty());
    plugin::deploy(&site.sedge.bootstrap(), "range", &component(RANGE));
    site.wait_upstream("t", &good(0));
    // Batches of which all, some and no records stay; the last two are dropped whole.
    for celsius in [[5, 99, 6], [98, 98, 98], [7, 8, 9], [97, 10, 97]] {
        let values = celsius.map(|celsius| reading(celsius).into_bytes());
        site.produce("t", &Batch::of(&values));
    }
    site.produce_values("t", &[reading(96), reading(95)]);
    let mut expected = good(0);
    expected.extend([5, 6, 7, 8, 9, 10].map(reading));
    site.wait_upstream("t", &expected);
    site.wait("the cursor is at the end", |site| {
        site.cursor("t") == Some(17)
    });
    assert!(metric(&site, "records_filtered_total") >= 8);
    assert_eq!(metric(&site, "records_lost_to_retention_total"), 0);
    // A restart sends nothing again that is acknowledged, and goes on behind what was dropped.
    site.kill_and_start();
    site.produce_values("t", &[reading(94), reading(11)]);
    expected.push(reading(11));
    site.wait_upstream("t", &expected);
    site.wait("the cursor is at the end", |site| {
        site.cursor("t") == Some(19)
    });
}

#[test]
fn a_link_s_filter_that_fails_follows_the_link_s_policy() {
    let link = "filter = [\"tell\"]\n\"filter.on.error\" = \"fail-open\"";
    let mut site = Site::with_sedge(link, Options::default());
    plugin::deploy(&site.sedge.bootstrap(), "tell", &component(MISBEHAVE));
    create(&mut site);
    let mut values = vec!["good".to_owned()];
    site.produce_values("t", &values);
    // The first ones may go upstream before the filter is compiled.
    site.wait("the filter has failed", |site| {
        site.produce_values("t", &["panic".to_owned()]);
        values.push("panic".to_owned());
        let tail = site.sedge.process().tail();
        tail.contains("the mirror filter tell failed on topic t")
    });
    site.wait_upstream("t", &values);
}
