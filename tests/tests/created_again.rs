//! Deletes a topic and creates it again repeatedly, while groups commit, a producer and a consumer
//! are at work, a filter is bound to it and a link copies it: nothing of the old topic appears in
//! the new one.

use std::time::Instant;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Commit, Connection, commit_error, committed, error, key};
use sedge_tests::{limits, plugin, report, soak};

const TOPIC: &str = "t";
const FILTER: &str = "drop-out-of-range";
const GROUPS: usize = 8;
const RECORDS: usize = 5;
const ROUNDS: usize = 25;
const ROUNDS_LONG: usize = 500;
/// In one round of this many, the link gets the time to copy the whole topic.
const COPIED_EACH: usize = 5;
/// In one round of this many, the broker is killed.
const KILLED_EACH: usize = 8;

/// The broker, its upstream, and clients that do not know each other.
struct World {
    admin: Connection,
    upstream: Connection,
    producer: Connection,
    consumer: Connection,
    committers: Vec<Connection>,
    round: usize,
    sedge: Sedge,
    // Last, so that the processes end before their directories are removed.
    _hq: Sedge,
    _directory: TempDir,
}

#[test]
fn nothing_of_a_deleted_topic_is_seen_in_its_successor() {
    if is_skipped_on_kafka() {
        return;
    }
    let rounds = if soak::is_long() { ROUNDS_LONG } else { ROUNDS };
    let mut world = World::start();
    let mut taken = 0;
    for round in 0..rounds {
        world.round = round;
        world.create();
        world.check_new();
        world.work();
        if round % COPIED_EACH == 0 {
            world.wait_copied();
        }
        if round % KILLED_EACH == KILLED_EACH - 1 {
            world.kill();
            world.check_worked();
        }
        taken += world.delete_under_requests();
    }
    world.check_copies();
    report::line(format_args!(
        "{rounds} topics of one name, {taken} commits that came just before a deletion"
    ));
    assert!(taken > 0, "no commit came before its topic was deleted");
}

impl World {
    fn start() -> Self {
        let directory = TempDir::new("created-again");
        let hq = Sedge::start(&directory.join("hq"), Options::default());
        let config = format!(
            "[mirror.hq]\nbootstrap.servers = \"{}\"\ntopics = [\"{TOPIC}\"]\n",
            hq.bootstrap()
        );
        let sedge = Sedge::start(&directory.join("edge"), Options::default().config(config));
        let component = plugin::build(FILTER, directory.path());
        plugin::deploy(&sedge.bootstrap(), FILTER, &component);
        let open = || Connection::open(&sedge.bootstrap());
        Self {
            admin: open(),
            upstream: Connection::open(&hq.bootstrap()),
            producer: open(),
            consumer: open(),
            committers: (0..GROUPS).map(|_| open()).collect(),
            round: 0,
            sedge,
            _hq: hq,
            _directory: directory,
        }
    }

    fn create(&mut self) {
        wire::create_topic(&mut self.admin, TOPIC, 1, &[("sedge.filter", FILTER)]);
    }

    /// Checks that no group has committed, and that there are no records.
    fn check_new(&mut self) {
        for number in 0..GROUPS {
            let found = committed(&mut self.admin, &group(number), TOPIC, 0);
            assert_eq!(found, None, "round {}, group {number}", self.round);
        }
        let fetched = wire::fetch(&mut self.consumer, TOPIC, 0, 0);
        let found = (fetched.error, fetched.high_watermark, fetched.records.len());
        assert_eq!(found, (error::NONE, 0, 0), "round {}", self.round);
    }

    /// Produces records through the filter, which keeps the plausible ones of this round, and
    /// commits offsets for half of the groups.
    fn work(&mut self) {
        plugin::wait_filtered(&mut self.producer, TOPIC);
        let mut values = self.values();
        values.push(reading(self.round, RECORDS, 999));
        let values: Vec<Vec<u8>> = values.into_iter().map(String::into_bytes).collect();
        let batch = Batch::of(&values).encode();
        let produced = wire::produce(&mut self.producer, TOPIC, 0, &batch);
        assert_eq!(
            (produced.error, produced.base_offset),
            (error::NONE, 0),
            "round {}",
            self.round
        );
        for number in 0..GROUPS / 2 {
            let group = group(number);
            let commit = Commit::of(&group, TOPIC, RECORDS as i64);
            assert_eq!(commit.ask(&mut self.committers[number]), error::NONE);
        }
        self.check_worked();
    }

    fn check_worked(&mut self) {
        let fetched = wire::fetch(&mut self.consumer, TOPIC, 0, 0);
        assert_eq!(fetched.error, error::NONE, "round {}", self.round);
        assert_eq!(texts(wire::records(&fetched.records)), self.values());
        for number in 0..GROUPS {
            let found = committed(&mut self.admin, &group(number), TOPIC, 0);
            let expected = (number < GROUPS / 2).then_some(RECORDS as i64);
            assert_eq!(found, expected, "round {}, group {number}", self.round);
        }
    }

    /// Deletes the topic while commits, a produce and a fetch are in flight. Returns how many of
    /// the commits were accepted.
    fn delete_under_requests(&mut self) -> usize {
        for (number, committer) in self.committers.iter_mut().enumerate() {
            Commit::of(&group(number), TOPIC, 1).send(committer);
        }
        let batch = Batch::of(&[reading(self.round, RECORDS, 20).into_bytes()]).encode();
        let produce = wire::produce_request(TOPIC, 0, -1, &batch);
        self.producer
            .send(key::PRODUCE, wire::PRODUCE_VERSION, &produce);
        let fetch = wire::fetch_request(TOPIC, 0, RECORDS as i64, 1 << 20);
        self.consumer.send(key::FETCH, wire::FETCH_VERSION, &fetch);
        wire::delete_topic(&mut self.admin, TOPIC);
        let gone = [error::NONE, error::UNKNOWN_TOPIC];
        let mut taken = 0;
        for committer in &mut self.committers {
            let code = commit_error(&committer.reply().frame()[4..]);
            assert!(gone.contains(&code), "a commit: {code}");
            taken += usize::from(code == error::NONE);
        }
        let produced = wire::produced(&self.producer.reply().frame()[4..]);
        assert!(gone.contains(&produced.error), "{produced:?}");
        let fetched = wire::fetched(&self.consumer.reply().frame()[4..]);
        assert!(gone.contains(&fetched.error), "{fetched:?}");
        let mut read = texts(wire::records(&fetched.records)).into_iter();
        assert!(read.all(|text| round_of(&text) == self.round));
        taken
    }

    fn kill(&mut self) {
        self.sedge.kill();
        self.sedge.start_again();
        let open = || Connection::open(&self.sedge.bootstrap());
        self.admin = open();
        self.producer = open();
        self.consumer = open();
        self.committers = (0..GROUPS).map(|_| open()).collect();
    }

    /// Waits until the link has copied all records of this round.
    fn wait_copied(&mut self) {
        let deadline = Instant::now() + limits::CONDITION;
        let wanted = self.values();
        while !self.copies().ends_with(&wanted) {
            assert!(
                Instant::now() < deadline,
                "round {} is not upstream\n{}",
                self.round,
                self.sedge.process().tail()
            );
            std::thread::sleep(limits::POLL);
        }
    }

    fn copies(&mut self) -> Vec<String> {
        if wire::fetch(&mut self.upstream, TOPIC, 0, 0).error != error::NONE {
            return Vec::new();
        }
        texts(soak::read_partition(&mut self.upstream, TOPIC, 0))
    }

    /// Checks that upstream no record of a topic follows one of its successors.
    fn check_copies(&mut self) {
        let copies = self.copies();
        let rounds: Vec<usize> = copies.iter().map(|text| round_of(text)).collect();
        assert!(rounds.is_sorted(), "{rounds:?}");
        let copied = (0..=self.round).filter(|round| round % COPIED_EACH == 0);
        for round in copied {
            let of_round = rounds.iter().filter(|of| **of == round).count();
            assert!(of_round >= RECORDS, "{of_round} of round {round}");
        }
    }

    fn values(&self) -> Vec<String> {
        (0..RECORDS)
            .map(|number| reading(self.round, number, 20))
            .collect()
    }
}

fn group(number: usize) -> String {
    format!("g{number}")
}

fn reading(round: usize, number: usize, celsius: i32) -> String {
    format!(r#"{{"sensor":"{round}-{number}","celsius":{celsius}}}"#)
}

fn round_of(text: &str) -> usize {
    let from = text.split_once(r#""sensor":""#).map(|(_, rest)| rest);
    let round = from.and_then(|rest| rest.split_once('-'));
    let number = round.and_then(|(round, _)| round.parse().ok());
    number.unwrap_or_else(|| panic!("no reading of this test: {text}"))
}

fn texts(records: Vec<wire::Record>) -> Vec<String> {
    let text = |record: wire::Record| String::from_utf8_lossy(&record.value).into_owned();
    records.into_iter().map(text).collect()
}
