//! Tests which error `ListOffsets` and `OffsetForLeaderEpoch` answer if several apply.

use std::collections::BTreeSet;

use super::{Asked, Batch, Decoder, Encoder, error, key, wire};

const OFFSET_FOR_LEADER_EPOCH: i16 = 23;
const INVALID_REQUEST: i16 = 42;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// Timestamps introduced after version 5: the largest timestamp, the earliest local offset, the
/// latest tiered one, the earliest one to be uploaded.
const OF_LATER_VERSIONS: [i64; 4] = [-3, -4, -5, -6];
/// A timestamp that no version has.
const OF_NO_VERSION: i64 = -7;

/// Disables the check of the epoch.
const ANY: i32 = -1;
const OF_THE_FUTURE: i32 = 1000;

/// A question names a topic and a partition, the leader epoch that the client knows, and a
/// timestamp or an epoch.
type Question<'a, What> = (&'a str, i32, i32, What);

/// Encodes the topics of a request, each with one partition.
fn topics<What: Copy>(
    mut body: Encoder,
    questions: &[Question<'_, What>],
    push: impl Fn(Encoder, What) -> Encoder,
) -> Encoder {
    body = body.i32(questions.len() as i32);
    for (topic, partition, known_epoch, what) in questions {
        body = body.string(*topic).i32(1).i32(*partition).i32(*known_epoch);
        body = push(body, *what);
    }
    body
}

/// Sends `ListOffsets` v5. Returns the error, the offset and its leader epoch for each answered
/// partition.
fn list(asked: &mut Asked, questions: &[Question<'_, i64>]) -> Vec<(i16, i64, i32)> {
    let body = topics(Encoder::default().i32(-1).i8(0), questions, Encoder::i64);
    let reply = asked.connection.ask(key::LIST_OFFSETS, 5, &body.0);
    let mut d = Decoder(&reply);
    d.i32();
    let mut answers = Vec::new();
    for _ in 0..d.i32() {
        d.string();
        for _ in 0..d.i32() {
            d.i32();
            let error = d.i16();
            d.i64();
            answers.push((error, d.i64(), d.i32()));
        }
    }
    answers
}

/// Sends `OffsetForLeaderEpoch` v3. Returns the error, the epoch and its end for each answered
/// partition.
fn ends(asked: &mut Asked, questions: &[Question<'_, i32>]) -> Vec<(i16, i32, i64)> {
    let body = topics(Encoder::default().i32(-1), questions, Encoder::i32);
    let reply = asked.connection.ask(OFFSET_FOR_LEADER_EPOCH, 3, &body.0);
    let mut d = Decoder(&reply);
    d.i32();
    let mut answers = Vec::new();
    for _ in 0..d.i32() {
        d.string();
        for _ in 0..d.i32() {
            let error = d.i16();
            d.i32();
            answers.push((error, d.i32(), d.i64()));
        }
    }
    answers
}

pub fn errors_of_list_offsets(asked: &mut Asked) {
    asked.create(2, &[]);
    asked.produce(&Batch::filled(3, 10));
    let topic = asked.topic.clone();
    let refused = |error: i16| vec![(error, -1, -1)];
    let mut check = |question: Question<'_, i64>, expected: i16| {
        let answers = list(asked, &[question]);
        assert_eq!(answers, refused(expected), "{question:?}");
    };
    for time in [OF_NO_VERSION].into_iter().chain(OF_LATER_VERSIONS) {
        check((&topic, 0, ANY, time), error::UNSUPPORTED_VERSION);
    }
    for known_epoch in [ANY, OF_THE_FUTURE] {
        for (topic, partition) in [("none", 0), (&topic, 2), (&topic, -1)] {
            check(
                (topic, partition, known_epoch, LATEST),
                error::UNKNOWN_TOPIC,
            );
            let time = OF_NO_VERSION;
            check(
                (topic, partition, known_epoch, time),
                error::UNSUPPORTED_VERSION,
            );
        }
    }
    for time in [LATEST, EARLIEST, 0, i64::MAX] {
        check((&topic, 0, OF_THE_FUTURE, time), UNKNOWN_LEADER_EPOCH);
    }
    check(
        (&topic, 0, OF_THE_FUTURE, OF_NO_VERSION),
        error::UNSUPPORTED_VERSION,
    );

    // A partition that is named twice is refused for any question, and no other partition is.
    for question in [
        (&*topic, 0, ANY, LATEST),
        (&topic, 0, OF_THE_FUTURE, OF_NO_VERSION),
        ("none", 0, ANY, EARLIEST),
    ] {
        let answers = list(asked, &[question, question, (&topic, 1, ANY, LATEST)]);
        let errors: BTreeSet<i16> = answers.iter().map(|answer| answer.0).collect();
        let expected = BTreeSet::from([INVALID_REQUEST, error::NONE]);
        assert_eq!(errors, expected, "{question:?}");
    }
}

pub fn errors_of_offset_for_leader_epoch(asked: &mut Asked) {
    asked.create(1, &[]);
    asked.produce(&Batch::filled(3, 10));
    let topic = asked.topic.clone();
    let current = list(asked, &[(&topic, 0, ANY, LATEST)])[0].2;
    let mut check = |question: Question<'_, i32>, expected: (i16, i32, i64)| {
        let answers = ends(asked, &[question]);
        assert_eq!(answers, [expected], "{question:?}");
    };
    let refused = |error: i16| (error, -1, -1);
    for known_epoch in [ANY, OF_THE_FUTURE] {
        for epoch in [current, OF_THE_FUTURE, -1] {
            for (topic, partition) in [("none", 0), (&topic, 1), (&topic, -1)] {
                let question = (topic, partition, known_epoch, epoch);
                check(question, refused(error::UNKNOWN_TOPIC));
            }
        }
    }
    for epoch in [current, OF_THE_FUTURE, -1] {
        let question = (&*topic, 0, OF_THE_FUTURE, epoch);
        check(question, refused(UNKNOWN_LEADER_EPOCH));
    }
    for known_epoch in [ANY, current] {
        check((&topic, 0, known_epoch, current), (0, current, 3));
        check((&topic, 0, known_epoch, OF_THE_FUTURE), (0, -1, -1));
        check((&topic, 0, known_epoch, -1), (0, -1, -1));
        // An epoch before the first one ends at the start of the first one.
        check((&topic, 0, known_epoch, -2), (0, -2, 0));
    }
    let twice = (&*topic, 0, ANY, current);
    assert_eq!(ends(asked, &[twice, twice]), [(0, current, 3); 2]);
}

/// A past leader epoch is refused, but errors about what does not exist come first; the epoch's end
/// is known.
pub fn a_leader_epoch_that_is_over(asked: &mut Asked) {
    asked.create(1, &[]);
    asked.produce(&Batch::filled(3, 10));
    let topic = asked.topic.clone();
    let before = list(asked, &[(&topic, 0, ANY, LATEST)])[0].2;
    asked.broker.restart();
    asked.reconnect();
    wire::wait_leader(&mut asked.connection, &topic, 0);
    let (_, end, current) = list(asked, &[(&topic, 0, ANY, LATEST)])[0];
    assert_eq!(end, 4);
    if !asked.broker.is_kafka() {
        // The only replica has lost nothing, so its epoch continues.
        assert_eq!(current, before);
        let known = [(&*topic, 0, before, LATEST)];
        assert_eq!(list(asked, &known), [(error::NONE, 4, before)]);
        return;
    }
    assert!(current > before, "{current} after {before}");
    let refused = (FENCED_LEADER_EPOCH, -1, -1);
    for time in [LATEST, EARLIEST, 0] {
        assert_eq!(list(asked, &[(&topic, 0, before, time)]), [refused]);
    }
    let unknown = (error::UNKNOWN_TOPIC, -1, -1);
    assert_eq!(list(asked, &[(&topic, 1, before, LATEST)]), [unknown]);
    let unsupported = (error::UNSUPPORTED_VERSION, -1, -1);
    let question = (&*topic, 0, before, OF_NO_VERSION);
    assert_eq!(list(asked, &[question]), [unsupported]);

    let refused = (FENCED_LEADER_EPOCH, -1, -1);
    for epoch in [before, current, OF_THE_FUTURE, -1] {
        assert_eq!(ends(asked, &[(&topic, 0, before, epoch)]), [refused]);
    }
    let unknown = (error::UNKNOWN_TOPIC, -1, -1);
    assert_eq!(ends(asked, &[(&topic, 1, before, before)]), [unknown]);
    for known_epoch in [ANY, current] {
        let end_of = |epoch: i32| (&*topic, 0, known_epoch, epoch);
        assert_eq!(ends(asked, &[end_of(before)]), [(0, before, 3)]);
        assert_eq!(ends(asked, &[end_of(current)]), [(0, current, 4)]);
    }
}
