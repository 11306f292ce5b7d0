//! Tests pipelined requests, each of which asks for the effect of the one before: a broker
//! processes the requests of a connection in their order.

use super::{Asked, Batch, Decoder, Encoder, FETCH_VERSION, PRODUCE_VERSION, error, key, wire};

const ROUNDS: i64 = 200;

/// Sends all requests in one write, so that the broker has the later ones when it begins with the
/// first. Returns the bodies of the replies.
fn ask_at_once<const N: usize>(
    asked: &mut Asked,
    requests: &[(i16, i16, Vec<u8>); N],
) -> [Vec<u8>; N] {
    let mut stream = Vec::new();
    for (number, (key, version, body)) in requests.iter().enumerate() {
        stream.extend(wire::frame(*key, *version, number as i32, body));
    }
    asked.connection.send_raw(&stream);
    std::array::from_fn(|number| {
        let reply = asked.connection.reply().frame();
        assert_eq!(Decoder(&reply).i32(), number as i32, "the order of replies");
        reply[4..].to_vec()
    })
}

fn one_partition(topic: &str) -> Encoder {
    Encoder::default().i32(1).string(topic).i32(1).i32(0)
}

fn produce(topic: &str, acks: i16) -> (i16, i16, Vec<u8>) {
    let batch = Batch::filled(1, 10).encode();
    let body = wire::produce_request(topic, 0, acks, &batch);
    (key::PRODUCE, PRODUCE_VERSION, body)
}

/// Builds a `ListOffsets` v1 of the end.
fn end_of(topic: &str) -> (i16, i16, Vec<u8>) {
    let mut body = Encoder::default().i32(-1).0;
    body.extend(one_partition(topic).i64(-1).0);
    (key::LIST_OFFSETS, 1, body)
}

fn end_in(reply: &[u8]) -> i64 {
    let mut d = Decoder(reply);
    d.i32();
    d.string();
    d.i32();
    d.i32();
    assert_eq!(d.i16(), error::NONE);
    d.i64();
    d.i64()
}

pub fn an_offset_fetch_sees_the_commit_before_it(asked: &mut Asked) {
    asked.create(1, &[]);
    let topic = asked.topic.clone();
    super::groups::wait_coordinator(asked, "pipelining");
    for offset in 1..=ROUNDS {
        let group = Encoder::default().string("pipelining");
        let mut commit = group.clone().i32(-1).string("").i64(-1).0;
        commit.extend(one_partition(&topic).i64(offset).string("").0);
        let mut fetch = group.0;
        fetch.extend(one_partition(&topic).0);
        let [_, reply] = ask_at_once(
            asked,
            &[
                (key::OFFSET_COMMIT, 2, commit),
                (key::OFFSET_FETCH, 3, fetch),
            ],
        );
        let mut d = Decoder(&reply);
        d.take(8);
        d.string();
        d.take(8);
        assert_eq!(d.i64(), offset, "the offset that was committed before");
    }
}

pub fn list_offsets_sees_the_produce_before_it(asked: &mut Asked) {
    asked.create(1, &[]);
    let topic = asked.topic.clone();
    for round in 1..=ROUNDS {
        let [_, _, reply] = ask_at_once(
            asked,
            &[produce(&topic, -1), produce(&topic, 1), end_of(&topic)],
        );
        assert_eq!(end_in(&reply), 2 * round, "the end behind both produces");
    }
}

pub fn a_fetch_sees_the_produce_before_it(asked: &mut Asked) {
    asked.create(1, &[]);
    let topic = asked.topic.clone();
    for offset in 0..ROUNDS {
        let fetch = wire::fetch_request(&topic, 0, offset, 1 << 20);
        let [_, fetched, _, end] = ask_at_once(
            asked,
            &[
                produce(&topic, -1),
                (key::FETCH, FETCH_VERSION, fetch),
                (key::API_VERSIONS, 0, Vec::new()),
                end_of(&topic),
            ],
        );
        let fetched = wire::fetched(&fetched);
        assert_eq!(wire::next_offset(&fetched.records), Some(offset + 1));
        assert_eq!(end_in(&end), offset + 1);
    }
}

/// A produce must not start before the requests ahead of it, either.
pub fn a_produce_waits_for_what_is_before_it(asked: &mut Asked) {
    for round in 0..ROUNDS / 10 {
        let topic = format!("{}-{round}", asked.topic);
        let create = Encoder::default()
            .i32(1)
            .string(&*topic)
            .i32(1)
            .i16(1)
            .i32(0)
            .i32(0)
            .i32(30_000)
            .i8(0);
        let delete = Encoder::default().i32(1).string(&*topic).i32(30_000);
        let [_, first, second, _] = ask_at_once(
            asked,
            &[
                (key::CREATE_TOPICS, 4, create.0),
                produce(&topic, -1),
                produce(&topic, -1),
                (key::DELETE_TOPICS, 3, delete.0),
            ],
        );
        for (reply, offset) in [(first, 0), (second, 1)] {
            let produced = wire::produced(&reply);
            assert_eq!(
                (produced.error, produced.base_offset),
                (error::NONE, offset)
            );
        }
    }
}

/// If only produces are in flight, they stay in order.
pub fn produces_keep_their_order(asked: &mut Asked) {
    asked.create(1, &[]);
    let topic = asked.topic.clone();
    for round in 0..ROUNDS / 10 {
        let replies = ask_at_once::<20>(asked, &std::array::from_fn(|_| produce(&topic, -1)));
        for (number, reply) in replies.iter().enumerate() {
            let produced = wire::produced(reply);
            let offset = round * 20 + number as i64;
            assert_eq!(
                (produced.error, produced.base_offset),
                (error::NONE, offset)
            );
        }
    }
}
