//! Tests two artificial shards in one journal.

use std::marker::PhantomData;

use sedge_core::metadata::Image;
use sedge_core::shard::{Actions, Encoded, Planned, Shard, StateTopic};
use sedge_protocol::error::Error;

use super::*;
use crate::coordinator::hosted::Hosted;
use crate::coordinator::outbox::Unit;
use crate::limits::COORDINATOR_APPEND_BYTES;
use crate::metadata::log as metadata_log;

/// The outcomes that shards were told, in order.
type Heard = Arc<Mutex<Vec<(&'static str, &'static str, String)>>>;

trait Name: Send + Sync + 'static {
    const NAME: &'static str;
}

struct Left;
struct Right;

impl Name for Left {
    const NAME: &'static str = "left";
}

impl Name for Right {
    const NAME: &'static str = "right";
}

/// A shard whose records are texts.
struct Texts<N> {
    held: Vec<String>,
    heard: Heard,
    name: PhantomData<N>,
}

impl<N: Name> Texts<N> {
    fn new(heard: &Heard) -> Self {
        Self {
            held: Vec::new(),
            heard: Arc::clone(heard),
            name: PhantomData,
        }
    }

    fn hear(&self, what: &'static str, text: &str) {
        let heard = (N::NAME, what, text.to_owned());
        self.heard.lock().unwrap().push(heard);
    }
}

impl<N: Name> Shard for Texts<N> {
    type Record = String;
    type Body = Result<String, ErrorCode>;

    const TOPIC: StateTopic = StateTopic {
        name: N::NAME,
        partitions_key: "num.partitions",
    };

    fn partition_key(record: &String) -> &str {
        record
    }

    fn bytes_of(record: &String) -> usize {
        64 + record.len()
    }

    fn encode(record: &String) -> Result<Encoded, Error> {
        Ok((record.clone().into_bytes(), Some(Vec::new())))
    }

    fn decode(key: &[u8], _: Option<&[u8]>) -> Result<String, Error> {
        Ok(String::from_utf8(key.to_vec()).unwrap())
    }

    fn restore(&mut self, _: Now, record: &String) {
        self.held.push(record.clone());
    }

    fn finish_restore(&mut self, _: Now, _: &Image) -> Actions<String, Self::Body> {
        Actions::default()
    }

    fn apply(&mut self, _: Now, record: &String) {
        self.hear("applied", record);
        self.held.push(record.clone());
    }

    fn handle_save_failed(&mut self, _: Now, records: &[String]) {
        for record in records {
            self.hear("failed", record);
        }
    }

    fn handle_image(
        &mut self,
        _: Now,
        _: Option<&Image>,
        image: &Image,
    ) -> Actions<String, Self::Body> {
        self.hear("image", &image.topic_count().to_string());
        Actions::default()
    }

    fn next_deadline(&self) -> u64 {
        u64::MAX
    }

    fn tick(&mut self, _: Now, _: &Image) -> Actions<String, Self::Body> {
        Actions::default()
    }

    fn refuse(_: Self::Body, error: ErrorCode) -> Self::Body {
        Err(error)
    }
}

struct Pair<'a> {
    node: Node<'a>,
    left: Arc<Hosted<Texts<Left>>>,
    right: Arc<Hosted<Texts<Right>>>,
    heard: Heard,
}

impl<'a> Pair<'a> {
    fn start(disk: &'a Disk) -> Self {
        let heard = Heard::default();
        let Coordinators {
            mut journal,
            groups,
            ..
        } = disk.coordinators();
        let image = disk.log.metadata.load();
        let (store, now) = (&*disk.store, disk.now());
        let left = Texts::<Left>::new(&heard);
        let left = journal.restore(store, &image, now, left).unwrap();
        let right = Texts::<Right>::new(&heard);
        let right = journal.restore(store, &image, now, right).unwrap();
        Self {
            node: Node::with(disk, journal, groups),
            left,
            right,
            heard,
        }
    }

    /// Takes a step of both shards, like the end of a transaction.
    fn say_both(&self, text: &str) {
        let left = self.left.lock();
        let right = self.right.lock();
        let records = vec![
            self.left.records(vec![text.to_owned()]),
            self.right.records(vec![text.to_owned()]),
        ];
        let bytes = 2 * Texts::<Left>::bytes_of(&text.to_owned());
        let unit = Unit {
            records,
            endings: Vec::new(),
            bytes,
        };
        self.node.journal.outbox().put([unit], Vec::new());
        drop((left, right));
    }

    fn take_heard(&self) -> Vec<(&'static str, &'static str, String)> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

/// Takes a step that writes `text`.
fn say<N: Name>(shard: &Hosted<Texts<N>>, text: &str) -> Receiver<Result<(), ErrorCode>> {
    let step = |_: &mut Texts<N>| Planned {
        reply: (),
        actions: Actions::persist(vec![text.to_owned()]),
    };
    shard.plan(step).1
}

/// Returns the records of a topic, in any order of its partitions.
fn content(disk: &Disk, topic: &str) -> Vec<String> {
    let image = disk.log.metadata.load();
    let mut texts = Vec::new();
    for id in image.topic(topic).unwrap().partitions() {
        let each = |_: Offset, key: Option<&[u8]>, _: Option<&[u8]>| {
            let key = key.unwrap_or_default().to_vec();
            texts.push(String::from_utf8(key).unwrap());
            Ok::<(), sedge_storage::Error>(())
        };
        metadata_log::for_each_record(&*disk.store, id, Offset::ZERO, each).unwrap();
    }
    texts.sort();
    texts
}

#[test]
fn two_shards_write_in_one_order() {
    let disk = Disk::new(MemoryStore::new());
    let mut pair = Pair::start(&disk);
    let first = say(&pair.left, "0");
    pair.node.run();
    // The topic is being created. Further steps collect meanwhile.
    let answers: Vec<_> = (1..9)
        .map(|number: i32| {
            let text = number.to_string();
            match number % 3 {
                0 => say(&pair.left, &text),
                _ => say(&pair.right, &text),
            }
        })
        .collect();
    pair.node.settle();
    let applied = pair.take_heard().into_iter();
    let texts: Vec<String> = applied.map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
    assert!(
        answers
            .iter()
            .chain([&first])
            .all(|of| of.try_recv() == Ok(Ok(())))
    );
    let appends = disk.appends.lock().unwrap();
    assert_eq!(appends.len(), 2, "the first, and all that gathered");
    let image = disk.log.metadata.load();
    for topic in ["left", "right"] {
        let mut partitions = image.topic(topic).unwrap().partitions();
        assert!(partitions.any(|id| appends[1].contains(&id)), "{topic}");
    }
    assert_eq!(content(&disk, "left"), ["0", "3", "6"]);
    assert_eq!(content(&disk, "right"), ["1", "2", "4", "5", "7", "8"]);
    let again = Pair::start(&disk);
    assert_eq!(again.left.with(|left| left.held.len()), 3);
    assert_eq!(again.right.with(|right| right.held.len()), 6);
}

#[test]
fn a_unit_of_two_shards_is_never_cut() {
    let disk = Disk::new(MemoryStore::new());
    let mut pair = Pair::start(&disk);
    let _ = say(&pair.left, "begin");
    pair.say_both("both");
    pair.node.settle();
    disk.appends.lock().unwrap().clear();
    let _ = say(&pair.left, "held");
    pair.node.run();
    // Each text shares an append with neither of its neighbours.
    let large = |letter: &str| letter.repeat(COORDINATOR_APPEND_BYTES * 2 / 3);
    let _ = say(&pair.left, &large("a"));
    pair.say_both(&large("b"));
    let _ = say(&pair.right, &large("c"));
    pair.node.settle();
    let image = disk.log.metadata.load();
    let of = |topic: &str| image.topic(topic).unwrap().partitions();
    let appends = disk.appends.lock().unwrap();
    let in_each = |topic: &str| -> Vec<usize> {
        let count = |append: &Vec<PartitionId>| {
            append
                .iter()
                .filter(|id| of(topic).any(|of| of == **id))
                .count()
        };
        appends.iter().map(count).collect()
    };
    assert_eq!(in_each("left"), [1, 1, 1, 0]);
    assert_eq!(in_each("right"), [0, 0, 1, 1]);
}

#[test]
fn a_unit_of_two_shards_is_written_all_or_not_at_all() {
    let room = 8 << 20;
    let disk = Disk::new(MemoryStore::with_room(room));
    let mut pair = Pair::start(&disk);
    pair.say_both("begin");
    pair.node.settle();
    pair.take_heard();
    // One of the two would fit.
    let text = "x".repeat(room as usize * 5 / 8);
    pair.say_both(&text);
    pair.node.settle();
    let heard = pair.take_heard().into_iter();
    let heard: Vec<_> = heard.map(|(shard, what, _)| (shard, what)).collect();
    assert_eq!(heard, [("left", "failed"), ("right", "failed")]);
    for topic in ["left", "right"] {
        assert_eq!(content(&disk, topic), ["begin"]);
    }
    let alone = say(&pair.left, &text);
    pair.node.settle();
    assert_eq!(alone.try_recv(), Ok(Ok(())), "one alone does fit");
}

#[test]
fn a_failure_of_the_writer_is_told_to_all_shards() {
    let disk = Disk::new(MemoryStore::new());
    let mut pair = Pair::start(&disk);
    pair.say_both("begin");
    pair.node.settle();
    pair.take_heard();
    let first = say(&pair.left, "0");
    pair.node.run();
    let second = say(&pair.right, "1");
    let third = say(&pair.left, "2");
    assert!(disk.serve(Verdict::Write));
    pair.node.run();
    assert_eq!(first.try_recv(), Ok(Ok(())));
    assert!(second.try_recv().is_err() && third.try_recv().is_err());
    assert!(disk.serve(Verdict::Refuse));
    pair.node.run();
    let refused = Ok(Err(ErrorCode::NotCoordinator));
    assert_eq!((second.try_recv(), third.try_recv()), (refused, refused));
    let failed = |shard, text: &str| (shard, "failed", text.to_owned());
    assert_eq!(
        pair.take_heard()[1..],
        [failed("right", "1"), failed("left", "2")]
    );
    let fourth = say(&pair.right, "3");
    pair.node.settle();
    assert_eq!(fourth.try_recv(), Ok(Ok(())));
    assert_eq!(content(&disk, "left"), ["0", "begin"]);
    assert_eq!(content(&disk, "right"), ["3", "begin"]);
}

#[test]
fn every_shard_hears_of_changed_metadata_once() {
    let disk = Disk::new(MemoryStore::new());
    let pair = Pair::start(&disk);
    for _ in 0..2 {
        pair.node.tick();
    }
    disk.create_topic("t");
    for _ in 0..2 {
        pair.node.tick();
    }
    let image = |shard, topics: &str| (shard, "image", topics.to_owned());
    let first = [image("left", "0"), image("right", "0")];
    let then = [image("left", "1"), image("right", "1")];
    assert_eq!(pair.take_heard(), [first, then].concat());
}
