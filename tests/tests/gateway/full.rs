//! A disk that others fill while a device publishes.

use std::time::{Duration, Instant};

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::device::Place;
use sedge_tests::metrics;
use sedge_tests::ports;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::small_disk::SmallDisk;
use sedge_tests::temp_dir::TempDir;

use super::{Source, values};

const DISK_MIB: usize = 320;

#[test]
fn a_full_broker_acknowledges_nothing_and_loses_nothing() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("gateway-full");
    let Some(disk) = SmallDisk::mount(&directory.path().join("disk"), DISK_MIB) else {
        return;
    };
    let address = format!("127.0.0.1:{}", ports::free());
    let config = format!(
        "[gateway.field]\nlisten = \"{address}\"\ntopic = \"sensors.{{name}}\"\npublish = [\".*\"]"
    );
    let options = Options::default()
        .config(config)
        .set("sedge.segment.bytes", &(1 << 20).to_string())
        .set("sedge.disk.max.bytes", "-1");
    let mut broker = Sedge::start(&disk.path().join("data"), options);
    let mut source = Source::new(Place::Tcp(address));
    source.run(100);
    let others = disk.fill("others", 0);
    let postponed = "sedge_gateway_writes_postponed_total";
    let end = 200_000;
    let deadline = Instant::now() + Duration::from_mins(2);
    while metrics::sample(broker.console(), postponed) < 2.0 {
        source.run_for(200, end);
        assert!(Instant::now() < deadline, "the disk does not get full");
    }
    std::fs::remove_file(others).expect("it is there");
    let end = source.next + 1000;
    source.run(end);
    broker.assert_alive();
    let expected: Vec<u64> = (0..end).collect();
    let seen = values(&broker, "sensors.temperature");
    assert!(seen == expected, "{} of {end} values", seen.len());
}
