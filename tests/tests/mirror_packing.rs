//! Tests that a link joins small batches and compresses them on their way to Apache Kafka, and that
//! consumers there see the same records.

use sedge_tests::link::Site;
use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch, Decoder, error, key};

const TOPIC: &str = "readings";
const HEADER_BYTES: usize = 61;

/// A document as a device sends it, one at a time.
fn document(number: usize) -> String {
    format!(r#"{{"device":"boiler-7","number":{number},"celsius":21.5,"state":"running"}}"#)
}

/// Size, codec, timestamp and records of each data batch of the topic upstream.
fn batches(site: &mut Site) -> Vec<(usize, i16, i64, i32)> {
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let request = wire::fetch_request(TOPIC, 0, offset, 8 << 20);
        let reply = site.there.ask(key::FETCH, wire::FETCH_VERSION, &request);
        let fetched = wire::fetched(&reply);
        assert_eq!(fetched.error, error::NONE);
        let mut bytes = &fetched.records[..];
        let Some(next) = wire::next_offset(bytes) else {
            return found;
        };
        while bytes.len() > HEADER_BYTES {
            let length = 12 + Decoder(&bytes[8..]).i32() as usize;
            let attributes = Decoder(&bytes[21..]).i16();
            let is_control = attributes & (1 << 5) != 0;
            if !is_control {
                let time = Decoder(&bytes[35..]).i64();
                found.push((length, attributes & 7, time, Decoder(&bytes[57..]).i32()));
            }
            bytes = bytes.get(length..).unwrap_or_default();
        }
        offset = next;
    }
}

fn single_records_travel_together(mode: &str) {
    let link = format!("mode = \"{mode}\"\n\"linger.ms\" = 500");
    let mut site = Site::with_kafka(&link, Options::default());
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    let documents: Vec<String> = (0..400).map(document).collect();
    site.produce_values(TOPIC, &documents);
    site.wait_upstream(TOPIC, &documents);
    let batches = batches(&mut site);
    let bytes: usize = batches.iter().map(|(bytes, ..)| bytes).sum();
    let values: usize = documents.iter().map(String::len).sum();
    assert!(bytes * 2 < values, "{mode}: {bytes} for {values}");
    assert!(batches.len() < 100, "{mode}: {}", batches.len());
    assert!(batches.iter().any(|(_, codec, ..)| *codec == 3), "lz4");
    // The device's time, and not that of the link.
    let (_, _, last, _) = batches[batches.len() - 1];
    let sent = site.metric("sedge_mirror_bytes_sent_total") as usize;
    assert!(last > 1_577_836_800_000 && sent <= bytes, "{last}, {sent}");
}

#[test]
fn single_records_travel_together_exactly_once() {
    single_records_travel_together("exactly-once");
}

#[test]
fn single_records_travel_together_at_least_once() {
    single_records_travel_together("at-least-once");
}

/// The topic upstream accepts single records, and no joined batch of a usual size.
#[test]
fn an_upstream_that_takes_only_small_batches_gets_small_ones() {
    for mode in ["exactly-once", "at-least-once"] {
        let link =
            format!("mode = \"{mode}\"\n\"linger.ms\" = 300\n\"compression.type\" = \"producer\"");
        let mut site = Site::with_kafka(&link, Options::default());
        let small = [("max.message.bytes", "1500")];
        wire::create_topic(&mut site.there, TOPIC, 1, &small);
        wire::create_topic(&mut site.here, TOPIC, 1, &[]);
        let documents: Vec<String> = (0..200).map(document).collect();
        site.produce_values(TOPIC, &documents);
        site.wait_upstream(TOPIC, &documents);
        assert_eq!(site.metric("sedge_mirror_held_partitions"), 0, "{mode}");
        let largest = batches(&mut site).iter().map(|(bytes, ..)| *bytes).max();
        assert!(largest <= Some(1500), "{mode}: {largest:?}");
    }
}

/// A large batch of a link that does not compress travels as it is stored.
#[test]
fn a_batch_of_many_records_keeps_its_bytes() {
    let mut site = Site::with_kafka("\"compression.type\" = \"producer\"", Options::default());
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    let values: Vec<Vec<u8>> = (0..1000).map(|n| document(n).into_bytes()).collect();
    let batch = Batch::of(&values);
    site.produce(TOPIC, &batch);
    site.wait("the batch is upstream", |site| {
        site.count_upstream(TOPIC) == 1000
    });
    let found = batches(&mut site);
    let expected = (batch.encode().len(), 0, batch.base_timestamp, 1000);
    assert_eq!(found, [expected]);
}
