//! Two producers write numbered records while the broker is killed repeatedly at random moments,
//! also while it starts, and once with its views deleted: every acknowledged record is there, once,
//! in order.

use std::collections::BTreeMap;
use std::time::Duration;

use sedge_tests::client::{FRANZ_GO, Topic};
use sedge_tests::report;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::soak::{self, PRODUCERS, Random, Soak};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::Connection;

const PARTITIONS: i32 = 4;
const KILLS: u64 = 12;
const KILLS_LONG: u64 = 60;

#[test]
fn kill_9_with_every_commit_synced() {
    check("sync");
}

#[test]
fn kill_9_with_commits_synced_at_intervals() {
    check("interval");
}

fn check(durability: &str) {
    let mut random = Random::new();
    report::line(format_args!(
        "durability {durability}, SEDGE_SEED={}",
        random.seed()
    ));
    let directory = TempDir::new("kill");
    let options = Options::default().config(format!("durability = \"{durability}\"\n"));
    let mut sedge = Sedge::start(&directory.join("data"), options);
    let mut soaks = Vec::new();
    for producer in PRODUCERS {
        let topic = Topic {
            bootstrap: sedge.bootstrap(),
            name: format!("soak-{}", producer.0),
            partitions: PARTITIONS.into(),
            base_ms: 0,
        };
        FRANZ_GO.create(&topic);
        soaks.push((
            Soak::start(producer, &topic.bootstrap, &topic.name, PARTITIONS),
            topic.name,
        ));
    }
    let kills = if soak::is_long() { KILLS_LONG } else { KILLS };
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        // Requires progress between the kills, then picks a random moment.
        let more = 10 + random.below(300) as usize;
        for (soak, _) in &mut soaks {
            let so_far = soak.count();
            soak.wait_count(so_far, more);
        }
        std::thread::sleep(Duration::from_millis(random.below(50)));
        sedge.kill();
        if kill == kills / 2 {
            std::fs::remove_dir_all(sedge.data().join("views"))
                .expect("the views are there to be deleted");
        }
        if kill % 4 == 3 {
            sedge.start_and_kill(Duration::from_millis(random.below(100)));
        }
        sedge.start_again();
        slowest = slowest.max(sedge.ready_in());
    }
    let finished: Vec<_> = soaks
        .into_iter()
        .map(|(soak, topic)| (soak.finish(), topic))
        .collect();
    sedge.kill();
    sedge.start_again();
    for (acked, topic) in finished {
        let mut connection = Connection::open(&sedge.bootstrap());
        let read = |p| (p, soak::read_partition(&mut connection, &topic, p));
        let log: BTreeMap<_, _> = (0..PARTITIONS).map(read).collect();
        let there = soak::check(&acked, &log);
        report::line(format_args!(
            "{topic}: {} acknowledged, {there} there, 0 lost, 0 twice",
            acked.len()
        ));
    }
    report::line(format_args!(
        "{kills} kills, the slowest start took {slowest:?}"
    ));
}
