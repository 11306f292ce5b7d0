use super::*;

fn placed(base: i64, next: i64, count: i64, there: i64) -> Placed {
    Placed {
        base: Offset(base),
        next: Offset(next),
        count,
        there: Offset::from_wire(there),
    }
}

fn map_of(blocks: impl IntoIterator<Item = Block>) -> OffsetMap {
    let mut map = OffsetMap::default();
    for block in blocks {
        map.add(block);
    }
    map
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "what it is compared with is an Option"
)]
fn exact(offset: i64) -> Option<Translated> {
    Some(Translated {
        offset: Offset(offset),
        is_exact: true,
    })
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "what it is compared with is an Option"
)]
fn at_least(offset: i64) -> Option<Translated> {
    Some(Translated {
        offset: Offset(offset),
        is_exact: false,
    })
}

/// A few random numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[test]
fn records_of_transactions_are_found_on_both_sides() {
    let mut tracker = Tracker::new(Offset(0));
    // Two transactions, each with a marker behind it, and one with records of others before it.
    for (at, there) in [(0, 0), (10, 11), (20, 30)] {
        tracker.handle_placed(&placed(at, at + 10, 10, there));
    }
    tracker.handle_cursor(Offset(30));
    let map = map_of(tracker.take());
    for (here, there) in [
        (0, 0),
        (9, 9),
        (10, 11),
        (19, 20),
        (20, 30),
        (29, 39),
        (30, 40),
    ] {
        assert_eq!(map.upstream(Offset(here)), exact(there), "{here}");
    }
    for (there, here) in [
        (0, 0),
        (9, 9),
        (10, 10),
        (11, 10),
        (21, 20),
        (25, 20),
        (39, 29),
        (40, 30),
    ] {
        assert_eq!(map.here(Offset(there)), exact(here), "{there}");
    }
    // A marker, or records that are not known yet.
    assert_eq!(map.here(Offset(41)), at_least(30));
    assert_eq!(map.upstream(Offset(31)), at_least(40));
}

#[test]
fn what_a_crash_left_out_translates_to_a_lower_offset() {
    let mut tracker = Tracker::new(Offset(100));
    tracker.handle_placed(&placed(100, 110, 10, 7));
    tracker.handle_cursor(Offset(110));
    let before = tracker.take();
    let mut tracker = Tracker::new(Offset(120));
    tracker.handle_placed(&placed(120, 130, 10, 40));
    tracker.handle_cursor(Offset(130));
    let map = map_of(before.into_iter().chain(tracker.take()));
    assert_eq!(map.upstream(Offset(99)), None);
    assert_eq!(map.upstream(Offset(110)), exact(17));
    assert_eq!(map.upstream(Offset(111)), at_least(17));
    assert_eq!(map.upstream(Offset(119)), at_least(17));
    assert_eq!(map.upstream(Offset(120)), exact(40));
    assert_eq!(map.here(Offset(17)), exact(110));
    assert_eq!(map.here(Offset(30)), at_least(110));
    assert_eq!(map.here(Offset(40)), exact(120));
}

#[test]
fn records_that_were_sent_again_are_those_that_count() {
    let mut tracker = Tracker::new(Offset(0));
    tracker.handle_placed(&placed(0, 10, 10, 0));
    tracker.handle_cursor(Offset(10));
    tracker.handle_cursor(Offset(4));
    tracker.handle_placed(&placed(4, 12, 8, 10));
    tracker.handle_cursor(Offset(12));
    let map = map_of(tracker.take());
    for (here, there) in [(3, 3), (4, 10), (9, 15), (11, 17)] {
        assert_eq!(map.upstream(Offset(here)), exact(there), "{here}");
    }
    assert_eq!(map.here(Offset(7)), exact(4));
}

#[test]
fn an_upstream_topic_that_was_created_again_begins_anew() {
    let mut tracker = Tracker::new(Offset(0));
    tracker.handle_placed(&placed(0, 10, 10, 0));
    tracker.handle_cursor(Offset(10));
    let mut blocks = tracker.take();
    tracker.begin_again(Offset(10));
    tracker.handle_placed(&placed(10, 20, 10, 0));
    tracker.handle_cursor(Offset(20));
    blocks.extend(tracker.take().into_iter().map(|block| Block {
        upstream: 9,
        ..block
    }));
    let map = map_of(blocks);
    assert_eq!(map.upstream(Offset(5)), None);
    assert_eq!(map.upstream(Offset(15)), exact(5));
}

#[test]
fn a_batch_of_which_the_upstream_does_not_tell_the_offset_is_left_out() {
    let mut tracker = Tracker::new(Offset(0));
    tracker.handle_placed(&placed(0, 10, 10, 0));
    tracker.handle_placed(&placed(10, 20, 10, -1));
    tracker.handle_placed(&placed(20, 30, 10, 20));
    // Its holes are not known.
    tracker.handle_placed(&placed(30, 40, 5, 30));
    tracker.handle_placed(&placed(40, 50, 10, 35));
    tracker.handle_cursor(Offset(50));
    let map = map_of(tracker.take());
    assert_eq!(map.upstream(Offset(15)), at_least(10));
    assert_eq!(map.upstream(Offset(25)), exact(25));
    assert_eq!(map.upstream(Offset(35)), at_least(30));
    assert_eq!(map.upstream(Offset(40)), exact(35));
}

/// A hundred thousand look-ups in topics that were compacted and filtered, sent in transactions
/// beside another producer, with blocks written now and then.
#[test]
fn every_offset_of_a_compacted_and_filtered_topic_is_exact() {
    let mut lookups = 0;
    for seed in 0..20 {
        let mut random = Random(seed);
        let mut tracker = Tracker::new(Offset(0));
        let mut blocks = Vec::new();
        // The offset upstream of each record that was sent.
        let mut sent: BTreeMap<i64, i64> = BTreeMap::new();
        let (mut here, mut there) = (0_i64, 0_i64);
        while here < 5_000 {
            let span = 1 + random.below(40) as i64;
            let density = random.below(4);
            let kept: Vec<i64> = (here..here + span)
                .filter(|_| random.below(3) < density)
                .collect();
            tracker.handle_read(kept.iter().map(|offset| (Offset(*offset), 1)));
            if !kept.is_empty() {
                tracker.handle_placed(&placed(here, here + span, kept.len() as i64, there));
                for offset in kept {
                    sent.insert(offset, there);
                    there += 1;
                }
            }
            here += span;
            if random.below(3) == 0 {
                // The end of a transaction, and what another producer wrote.
                there += 1 + random.below(3) as i64;
                tracker.handle_cursor(Offset(here));
            }
            if random.below(20) == 0 {
                blocks.extend(tracker.take());
            }
        }
        tracker.handle_cursor(Offset(here));
        blocks.extend(tracker.take());
        let map = map_of(blocks);
        let first = *sent.keys().next().unwrap();
        let last = *sent.values().next_back().unwrap();
        for offset in first..here {
            let next = sent
                .range(offset..)
                .next()
                .map_or(last + 1, |(_, there)| *there);
            assert_eq!(
                map.upstream(Offset(offset)),
                exact(next),
                "seed {seed}, offset {offset}"
            );
            lookups += 1;
        }
        let back: BTreeMap<i64, i64> = sent.iter().map(|(here, there)| (*there, *here)).collect();
        for offset in 0..=last {
            let next = back.range(offset..).next().map(|(_, here)| *here).unwrap();
            let found = map.here(Offset(offset));
            assert_eq!(
                found.map(|it| it.offset.get()),
                Some(next).filter(|_| found.is_some()),
                "seed {seed}, upstream {offset}"
            );
            lookups += 1;
        }
    }
    assert!(lookups >= 100_000, "{lookups}");
}
