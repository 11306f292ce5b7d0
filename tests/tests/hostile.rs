//! Tests clients that want to take the broker down: slow and half-open ones, forged lengths, bombs,
//! sessions of others, floods. Beside each, two good clients, one with TLS, write records that are
//! acknowledged, and when the hostile ones are gone nothing is left of them.
//!
//! `SEDGE_SOAK=1` is the long form: more clients, many rounds, and the attacks at once.

#[path = "hostile/attacks.rs"]
mod attacks;
#[path = "hostile/good_client.rs"]
mod good_client;
#[path = "hostile/target.rs"]
mod target;

use std::time::{Duration, Instant};

use attacks::ATTACKS;
use good_client::GoodClients;
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::{limits, report, soak};
use target::Target;

/// Longest time for one record, of 99 in a hundred: for a debug build on a machine that has other
/// work.
const P99_MAX: Duration = Duration::from_secs(2);
/// Rounds of the long form, in each of which all attacks run at once.
const ROUNDS_LONG: usize = 40;

#[test]
fn good_clients_write_on_and_nothing_is_left_of_hostile_ones() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut target = Target::start();
    let good = GoodClients::start(&target);
    good.wait_for_more();
    let before = target.held();
    let mut worst = Duration::ZERO;
    for attack in ATTACKS {
        let began = Instant::now();
        (attack.run)(&target.field);
        let mut beside = good.wait_for_more();
        beside.sort_unstable();
        let p99 = beside[beside.len() * 99 / 100];
        report::line(format_args!(
            "{}: {:.1} s, {} records beside it, p99 {:.1} ms",
            attack.name,
            began.elapsed().as_secs_f64(),
            beside.len(),
            p99.as_secs_f64() * 1e3
        ));
        target.sedge.assert_alive();
        assert!(p99 <= P99_MAX, "beside {}: {p99:?}", attack.name);
        worst = worst.max(p99);
    }
    if soak::is_long() {
        for _ in 0..ROUNDS_LONG {
            std::thread::scope(|scope| {
                for attack in ATTACKS {
                    scope.spawn(|| (attack.run)(&target.field));
                }
            });
            target.sedge.assert_alive();
        }
        good.wait_for_more();
    }
    target.wait_until_held_is_at_most(&before, limits::CONDITION);
    let written = good.stop();
    target.assert_written(&written);
    report::line(format_args!(
        "{written:?} records were acknowledged, p99 at most {worst:?}"
    ));
}
