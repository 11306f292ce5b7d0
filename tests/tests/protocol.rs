//! Tests what breaks clients of brokers that are not Kafka, with raw bytes: each answer must be
//! Apache Kafka's, and `SEDGE_TEST_BROKER=kafka` verifies that it is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use sedge_tests::broker::Broker;
use sedge_tests::report;
use sedge_tests::wire::{
    self, Batch, Codec, Connection, Decoder, Encoder, FETCH_VERSION, PRODUCE_VERSION, error,
    fetched, key,
};

#[path = "protocol/admin.rs"]
mod admin;
#[path = "protocol/data.rs"]
mod data;
#[path = "protocol/groups.rs"]
mod groups;
#[path = "protocol/offsets.rs"]
mod offsets;
#[path = "protocol/pipelined.rs"]
mod pipelined;
#[path = "protocol/producers.rs"]
mod producers;
#[path = "protocol/quotas.rs"]
mod quotas;
#[path = "protocol/topics.rs"]
mod topics;
#[path = "protocol/unconfigured.rs"]
mod unconfigured;

type Check = (&'static str, fn(&mut Asked));

const CHECKS: &[Check] = &[
    ("acks=0 has no reply", data::acks_0_has_no_reply),
    (
        "a fetch inside a batch returns that batch",
        data::fetch_inside_a_batch,
    ),
    (
        "the first batch comes whatever the limit",
        data::first_batch_over_the_limit,
    ),
    (
        "replies come in the order of the requests",
        data::replies_in_order,
    ),
    (
        "an offset fetch sees the commit before it",
        pipelined::an_offset_fetch_sees_the_commit_before_it,
    ),
    (
        "ListOffsets sees the produces before it",
        pipelined::list_offsets_sees_the_produce_before_it,
    ),
    (
        "a fetch sees the produce before it",
        pipelined::a_fetch_sees_the_produce_before_it,
    ),
    (
        "a produce sees the topic created before it",
        pipelined::a_produce_waits_for_what_is_before_it,
    ),
    (
        "pipelined produces keep their order",
        pipelined::produces_keep_their_order,
    ),
    ("a produce wakes a waiting fetch", data::produce_wakes_fetch),
    ("a fetch outside the log", data::fetch_out_of_range),
    ("a leader epoch of the future", data::unknown_leader_epoch),
    ("offsets by time", data::list_offsets),
    (
        "offsets by time, of a log that starts inside a batch",
        data::list_offsets_after_delete_records,
    ),
    (
        "which error of ListOffsets comes first",
        offsets::errors_of_list_offsets,
    ),
    (
        "which error of OffsetForLeaderEpoch comes first",
        offsets::errors_of_offset_for_leader_epoch,
    ),
    (
        "a leader epoch that is over",
        offsets::a_leader_epoch_that_is_over,
    ),
    (
        "a fetch of more bytes than it has room for",
        data::fetch_of_more_than_fits,
    ),
    (
        "offsets are patched in, and the CRC holds",
        data::batches_as_produced,
    ),
    ("log append time", data::log_append_time),
    (
        "a timestamp outside the window",
        data::timestamp_outside_the_window,
    ),
    (
        "bodies that cannot be read",
        data::bodies_that_cannot_be_read,
    ),
    (
        "the largest timestamp of a batch",
        data::largest_timestamp_of_a_batch,
    ),
    (
        "log append time, said by a producer",
        data::log_append_time_of_a_producer,
    ),
    ("every bad record is named", data::every_bad_record_is_named),
    (
        "a record without a key for a compacted topic",
        data::compacted_topic_needs_keys,
    ),
    (
        "topics that exist and that do not",
        topics::existing_and_missing,
    ),
    (
        "a topic that is created again is empty",
        topics::created_again,
    ),
    (
        "metadata of all, of none",
        topics::metadata_of_all_and_of_none,
    ),
    (
        "configurations of a new topic",
        admin::configurations_of_a_new_topic,
    ),
    (
        "configurations of a topic",
        admin::configurations_of_a_topic,
    ),
    (
        "partitions with assignments by hand",
        admin::partitions_with_assignments,
    ),
    ("topics named twice", admin::topics_named_twice),
    ("elections are not needed", admin::elections_are_not_needed),
    (
        "resources without configurations",
        admin::resources_without_configurations,
    ),
    ("authorized operations", admin::authorized_operations),
    (
        "a commit and its metadata come back",
        groups::commit_comes_back,
    ),
    (
        "a first join is told its member id",
        groups::member_id_required,
    ),
    ("ACLs without an authorizer", unconfigured::acls),
    ("quotas, where there are none", unconfigured::quotas),
    ("quotas, set, found and removed", quotas::set_and_removed),
    ("quotas that cannot be", quotas::that_cannot_be),
    (
        "filters of quotas that cannot be",
        quotas::filters_that_cannot_be,
    ),
    ("a quota of partitions", quotas::of_partitions),
    (
        "an idempotent producer over a restart",
        data::idempotence_over_a_restart,
    ),
];

/// The tested broker, and a topic for each check.
#[derive(Debug)]
pub struct Asked {
    pub broker: Broker,
    pub connection: Connection,
    pub topic: String,
}

impl Asked {
    /// Returns the broker's number, from Metadata v0.
    pub fn node(&mut self) -> i32 {
        let none = Encoder::default().i32(1).string(self.topic.as_str()).0;
        let reply = self.connection.ask(key::METADATA, 0, &none);
        let mut d = Decoder(&reply);
        assert_eq!(d.i32(), 1, "one broker");
        d.i32()
    }

    pub fn reconnect(&mut self) {
        self.connection = Connection::open(&self.broker.bootstrap());
    }

    pub fn create(&mut self, partitions: i32, configs: &[(&str, &str)]) {
        wire::create_topic(&mut self.connection, &self.topic, partitions, configs);
        for partition in 0..partitions {
            wire::wait_known(&mut self.connection, &self.topic, partition);
        }
    }

    pub fn produce(&mut self, batch: &Batch) -> wire::Produced {
        wire::produce(&mut self.connection, &self.topic, 0, &batch.encode())
    }
}

#[test]
fn answers_are_kafka_s() {
    let broker = Broker::start("protocol", &[("group.initial.rebalance.delay.ms", "0")]);
    let connection = Connection::open(&broker.bootstrap());
    let mut asked = Asked {
        broker,
        connection,
        topic: String::new(),
    };
    let mut failed = Vec::new();
    for (at, (name, check)) in CHECKS.iter().enumerate() {
        asked.topic = format!("topic-{at}");
        asked.reconnect();
        let began = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| check(&mut asked))).is_ok();
        let word = if passed { "PASS" } else { "FAIL" };
        report::line(format_args!(
            "{word} {name} ({:.1} s)",
            began.elapsed().as_secs_f64()
        ));
        if !passed {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}\n{}", asked.broker.tail());
}

/// A request that is advertised and not fuzzed ends the fuzz target, which nobody runs each day.
#[test]
fn each_advertised_api_is_fuzzed() {
    let fuzzed = include_str!("../fuzz/src/messages.rs");
    for api in sedge_protocol::api::APIS {
        let row = format!("    {:?}: ", api.key);
        assert!(fuzzed.contains(&row), "{:?} is not fuzzed", api.key);
    }
}
