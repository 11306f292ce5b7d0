//! Fetch sessions by example, one rule of KIP-227 each.

use alloc::vec;

use super::*;

fn name(topic: &str) -> TopicKey {
    TopicKey::Name(topic.into())
}

fn want(topic: &str, partition: i32, fetch_offset: i64) -> Wanted {
    Wanted {
        topic: name(topic),
        partition,
        current_leader_epoch: -1,
        fetch_offset,
        last_fetched_epoch: -1,
        partition_max_bytes: 1 << 20,
    }
}

fn request(session_id: i32, session_epoch: i32, wanted: Vec<Wanted>) -> SessionRequest {
    let forgotten = vec![];
    SessionRequest {
        session_id,
        session_epoch,
        uses_topic_ids: false,
        wanted,
        forgotten,
    }
}

fn idle(high_watermark: i64) -> Outcome {
    Outcome {
        high_watermark,
        ..Outcome::default()
    }
}

fn data(high_watermark: i64) -> Outcome {
    Outcome {
        record_bytes: 100,
        ..idle(high_watermark)
    }
}

/// Opens a session over `a-0` and `a-1`; the client was told a high watermark of 5 for both.
fn opened(sessions: &mut Sessions, now: u64) -> i32 {
    let context = sessions.begin(now, request(0, 0, vec![want("a", 0, 5), want("a", 1, 5)]));
    let answer = sessions
        .finish(now, &context.unwrap(), &[idle(5), idle(5)], 1 << 20)
        .unwrap();
    assert_eq!(answer.include, [true, true]);
    assert!(answer.session_id > 0);
    answer.session_id
}

fn places(context: &Context) -> Vec<(i32, i64)> {
    context
        .partitions
        .iter()
        .map(|wanted| (wanted.partition, wanted.fetch_offset))
        .collect()
}

#[test]
fn only_what_changed_is_asked_and_answered() {
    let mut sessions = Sessions::new(10);
    let id = opened(&mut sessions, 0);
    let context = sessions.begin(0, request(id, 1, vec![])).unwrap();
    assert_eq!(places(&context), [(0, 5), (1, 5)]);
    assert!(!sessions.has_news(&context, &[idle(5), idle(5)]));
    assert!(sessions.has_news(&context, &[idle(5), idle(6)]));
    let answer = sessions
        .finish(0, &context, &[idle(5), idle(6)], 0)
        .unwrap();
    assert_eq!(
        answer,
        Answer {
            session_id: id,
            include: vec![false, true]
        }
    );

    let context = sessions
        .begin(0, request(id, 2, vec![want("a", 1, 6)]))
        .unwrap();
    assert_eq!(places(&context), [(0, 5), (1, 6)]);
    let truncated = Outcome {
        log_start_offset: 3,
        ..idle(5)
    };
    let answer = sessions
        .finish(0, &context, &[truncated, idle(6)], 0)
        .unwrap();
    assert_eq!(answer.include, [true, false]);
}

#[test]
fn who_had_data_goes_to_the_end() {
    let mut sessions = Sessions::new(10);
    let id = opened(&mut sessions, 0);
    let context = sessions
        .begin(0, request(id, 1, vec![want("b", 7, 0)]))
        .unwrap();
    assert_eq!(places(&context), [(0, 5), (1, 5), (7, 0)]);
    let answer = sessions
        .finish(0, &context, &[data(9), idle(5), idle(-1)], 0)
        .unwrap();
    assert_eq!(answer.include, [true, false, true]);
    let context = sessions
        .begin(0, request(id, 2, vec![want("a", 0, 9)]))
        .unwrap();
    assert_eq!(places(&context), [(1, 5), (7, 0), (0, 9)]);
}

#[test]
fn an_error_is_told_each_time_and_its_end_too() {
    let mut sessions = Sessions::new(10);
    let id = opened(&mut sessions, 0);
    let error = Outcome {
        is_error: true,
        ..idle(5)
    };
    for (epoch, outcome, expected) in [
        (1, error, true),
        (2, error, true),
        (3, idle(5), true),
        (4, idle(5), false),
    ] {
        let context = sessions.begin(0, request(id, epoch, vec![])).unwrap();
        let answer = sessions
            .finish(0, &context, &[outcome, idle(5)], 0)
            .unwrap();
        assert_eq!(answer.include, [expected, false], "epoch {epoch}");
    }
}

#[test]
fn forgotten_partitions_go_and_an_empty_session_ends() {
    let mut sessions = Sessions::new(10);
    let id = opened(&mut sessions, 0);
    let mut forget = request(id, 1, vec![]);
    forget.forgotten = vec![(name("a"), 0), (name("z"), 0)];
    let context = sessions.begin(0, forget).unwrap();
    assert_eq!(places(&context), [(1, 5)]);
    assert_eq!(sessions.partitions(), 1);
    let mut forget = request(id, 2, vec![]);
    forget.forgotten = vec![(name("a"), 1)];
    let context = sessions.begin(0, forget).unwrap();
    assert!(context.partitions.is_empty());
    assert_eq!(
        sessions.finish(0, &context, &[], 0).unwrap().session_id,
        NO_SESSION
    );
    assert!(sessions.is_empty());
    assert_eq!(sessions.partitions(), 0);
}

#[test]
fn what_does_not_fit_the_session_is_refused() {
    let mut sessions = Sessions::new(10);
    let id = opened(&mut sessions, 0);
    let mut check = |request: SessionRequest, expected: ErrorCode| {
        assert_eq!(sessions.begin(0, request).err(), Some(expected));
    };
    check(
        request(id + 1, 1, vec![]),
        ErrorCode::FetchSessionIdNotFound,
    );
    check(request(0, 1, vec![]), ErrorCode::FetchSessionIdNotFound);
    check(request(id, 2, vec![]), ErrorCode::InvalidFetchSessionEpoch);
    let ids = SessionRequest {
        uses_topic_ids: true,
        ..request(id, 1, vec![])
    };
    check(ids, ErrorCode::FetchSessionTopicIdError);
}

#[test]
fn a_request_that_came_in_between_wins() {
    let mut sessions = Sessions::new(10);
    let id = opened(&mut sessions, 0);
    let late = sessions.begin(0, request(id, 1, vec![])).unwrap();
    sessions.begin(0, request(id, 2, vec![])).unwrap();
    let outcomes = [data(9), data(9)];
    let refused = sessions.finish(0, &late, &outcomes, 0);
    assert_eq!(refused, Err(ErrorCode::InvalidFetchSessionEpoch));
    sessions.close(id);
    let refused = sessions.finish(0, &late, &outcomes, 0);
    assert_eq!(refused, Err(ErrorCode::FetchSessionIdNotFound));
}

#[test]
fn a_full_fetch_ends_the_session_it_names() {
    for (epoch, has_successor) in [(0, true), (-1, false)] {
        let mut sessions = Sessions::new(10);
        let id = opened(&mut sessions, 0);
        let context = sessions
            .begin(0, request(id, epoch, vec![want("b", 0, 0)]))
            .unwrap();
        let answer = sessions.finish(0, &context, &[idle(0)], 77).unwrap();
        assert_eq!(answer.session_id != NO_SESSION, has_successor);
        assert_eq!(answer.include, [true]);
        assert_eq!(sessions.len(), usize::from(has_successor));
        assert_eq!(sessions.partitions(), usize::from(has_successor));
    }
}

#[test]
fn a_full_cache_gives_way_to_larger_and_to_stale_only() {
    let mut sessions = Sessions::new(1);
    let first = opened(&mut sessions, 0);
    let open = |sessions: &mut Sessions, now: u64, size: i32| {
        let wanted: Vec<Wanted> = (0..size).map(|partition| want("b", partition, 0)).collect();
        let outcomes = vec![idle(0); wanted.len()];
        let context = sessions.begin(now, request(0, 0, wanted)).unwrap();
        sessions
            .finish(now, &context, &outcomes, 99)
            .unwrap()
            .session_id
    };
    assert_eq!(
        open(&mut sessions, 1_000, 3),
        NO_SESSION,
        "too young to give way"
    );
    sessions.begin(100_000, request(first, 1, vec![])).unwrap();
    assert_eq!(open(&mut sessions, 130_000, 2), NO_SESSION, "no larger");
    let larger = open(&mut sessions, 130_000, 3);
    assert_ne!(larger, NO_SESSION);
    assert_eq!(
        open(&mut sessions, 260_001, 1),
        49,
        "stale: id from the seed"
    );
    assert_eq!(
        (sessions.len(), sessions.partitions(), sessions.evicted()),
        (1, 1, 2)
    );
    assert_eq!(
        open(&mut Sessions::new(0), 0, 1),
        NO_SESSION,
        "switched off"
    );
}

#[test]
fn ids_are_unique_and_epochs_never_reach_their_special_values() {
    let mut sessions = Sessions::new(10);
    let mut ids: Vec<i32> = (0..3).map(|_| opened(&mut sessions, 0)).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert_eq!(next_epoch(i32::MAX), 1);
    assert_eq!(sessions.free_id(0), 1);
    assert_eq!(sessions.free_id(u32::MAX), i32::MAX);
}

#[test]
fn a_session_by_topic_ids_knows_them_apart() {
    let mut sessions = Sessions::new(10);
    let by_id = |id: u8| Wanted {
        topic: TopicKey::Id([id; 16]),
        ..want("", 0, 0)
    };
    let full = SessionRequest {
        uses_topic_ids: true,
        ..request(0, 0, vec![by_id(1), by_id(2), by_id(1)])
    };
    let context = sessions.begin(0, full).unwrap();
    let outcomes = [idle(0), idle(0), idle(0)];
    let id = sessions
        .finish(0, &context, &outcomes, 4)
        .unwrap()
        .session_id;
    assert_eq!(sessions.partitions(), 2);
    let next = SessionRequest {
        uses_topic_ids: true,
        ..request(id, 1, vec![])
    };
    assert_eq!(sessions.begin(0, next).unwrap().partitions.len(), 2);
}

#[test]
fn a_session_that_grows_too_large_ends_and_is_answered_without_one() {
    let mut sessions = Sessions::new(10);
    let id = opened(&mut sessions, 0);
    let many = (0..SESSION_PARTITIONS_MAX as i32).map(|partition| want("b", partition, 0));
    let context = sessions.begin(0, request(id, 1, many.collect())).unwrap();
    assert_eq!(context.partitions.len(), SESSION_PARTITIONS_MAX + 2);
    let outcomes = vec![idle(0); context.partitions.len()];
    assert_eq!(
        sessions
            .finish(0, &context, &outcomes, 1)
            .unwrap()
            .session_id,
        NO_SESSION
    );
    assert_eq!((sessions.len(), sessions.partitions()), (0, 0));
}
