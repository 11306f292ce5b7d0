//! Upkeep: background tasks that maintain the log.
//!
//! | module | task |
//! | --- | --- |
//! | `retention` | moves log starts by the topics' limits |
//! | `disk_cap` | moves log starts by the limits of the disk |
//! | `producer_expiry` | forgets idle producers |
//! | `scrub` | reads stored data again, to find bit rot |
//! | `orphans` | reports partitions that belong to no topic |
//! | `token_expiry` | removes delegation tokens that have expired |
//! | `metadata_snapshots` | writes snapshots of `__cluster_metadata` |
//! | `logbook` | saves the append clock and the device's wear |
//! | `cleaner` | compacts topics, and empties segments with little live data |

pub mod cleaner;
pub mod disk_cap;
pub mod logbook;
pub mod metadata_snapshots;
pub mod orphans;
pub mod producer_expiry;
pub mod retention;
pub mod scrub;
pub mod token_expiry;

use std::sync::Arc;
use std::time::Duration;

use async_executor::Task;
use async_io::Timer;
use futures_lite::future;
use log::warn;
use sedge_core::metadata::Image;
use sedge_protocol::ids::NodeId;

use crate::config::{Config, Durability};
use crate::coordinator::Groups;
use crate::limits::{LOGBOOK_ENTER_EVERY, SPARES_LOOK_EVERY, VIEWS_FLUSH_EVERY};
use crate::log::Log;
use crate::process::runtime::Runtime;
use crate::writer::Writer;
use cleaner::Pace;
use disk_cap::DiskCap;
use logbook::Logbook;

/// Starts the upkeep. It ends when the tasks are dropped.
pub fn start(
    log: &Arc<Log>,
    writer: &Writer,
    groups: &Arc<Groups>,
    logbook: &Arc<Logbook>,
    config: &Config,
    runtime: &Runtime,
) -> Vec<Task<()>> {
    let with_log = || Arc::clone(log);
    let cap = DiskCap::new(with_log(), Arc::clone(groups), &config.disk, &config.links);
    let pace = Pace::new(with_log(), writer.clone(), Arc::clone(logbook), config);
    let node_id = NodeId(config.node_id);
    let mut tasks = vec![
        runtime.spawn(flush_views(with_log())),
        runtime.spawn(free_segments(with_log())),
        runtime.spawn(look_after_files(with_log(), writer.clone())),
        runtime.spawn(retention::run(with_log(), writer.clone())),
        runtime.spawn(disk_cap::run(cap, writer.clone())),
        runtime.spawn(producer_expiry::run(with_log(), writer.clone())),
        runtime.spawn(scrub::run(with_log(), config.scrub, node_id)),
        runtime.spawn(orphans::tell(with_log())),
        runtime.spawn(metadata_snapshots::run(with_log(), writer.clone())),
        runtime.spawn(keep_logbook(Arc::clone(logbook), with_log())),
        runtime.spawn(cleaner::run(pace)),
    ];
    if config.durability == Durability::Interval {
        let every = Duration::from_millis(config.flush_ms);
        tasks.push(runtime.spawn(flush(with_log(), writer.clone(), every)));
    }
    if let Some(tokens) = &config.delegation_tokens {
        let every = tokens.check_every;
        tasks.push(runtime.spawn(token_expiry::run(with_log(), writer.clone(), every)));
    }
    tasks
}

/// Flushes the views each second, and when much is pending.
async fn flush_views(log: Arc<Log>) {
    let mut has_failed = false;
    loop {
        let over = async {
            Timer::after(VIEWS_FLUSH_EVERY).await;
        };
        if has_failed {
            over.await;
        } else {
            future::or(over, log.storage.unflushed_views.listen()).await;
        }
        let store = Arc::clone(&log.store);
        let flushed = blocking::unblock(move || store.flush_views()).await;
        has_failed = flushed.is_err();
        if let Err(failure) = flushed {
            warn!(target: "sedge::views", "cannot flush: {failure}; retrying");
        }
    }
}

/// Frees the segments that deleted topics leave, and those that a full disk kept.
async fn free_segments(log: Arc<Log>) {
    let mut dead = log.storage.dead.listen();
    loop {
        dead.await;
        dead = log.storage.dead.listen();
        let log = Arc::clone(&log);
        blocking::unblock(move || log.free_segments()).await;
    }
}

/// Each second, drops spare files that should not be kept, and checks whether a disk that refused
/// writes accepts them again.
async fn look_after_files(log: Arc<Log>, writer: Writer) {
    loop {
        Timer::after(SPARES_LOOK_EVERY).await;
        if let Some(room) = log.storage.probe_room() {
            writer.probe(room);
        }
        let store = Arc::clone(&log.store);
        let evicted = blocking::unblock(move || store.evict_spares()).await;
        if let Err(failure) = evicted {
            warn!(target: "sedge::retention", "a spare segment file cannot be removed: {failure}");
        }
    }
}

/// Flushes what was acknowledged with interval durability: as often as the broker says, or the
/// topic that asks for the shortest interval.
async fn flush(log: Arc<Log>, writer: Writer, every: Duration) {
    let mut image = log.metadata.load();
    let mut shortest = every.min(shortest_flush(&image));
    loop {
        Timer::after(shortest).await;
        let current = log.metadata.load();
        if !Arc::ptr_eq(&image, &current) {
            image = current;
            shortest = every.min(shortest_flush(&image));
        }
        let (log, writer) = (Arc::clone(&log), writer.clone());
        blocking::unblock(move || writer.flush_if_dirty(&log)).await;
    }
}

fn shortest_flush(image: &Image) -> Duration {
    let all = image.topics().map(|topic| topic.config.flush_ms());
    let ms = all.min().and_then(|ms| u64::try_from(ms).ok());
    Duration::from_millis(ms.unwrap_or(u64::MAX).max(1))
}

async fn keep_logbook(logbook: Arc<Logbook>, log: Arc<Log>) {
    loop {
        Timer::after(LOGBOOK_ENTER_EVERY).await;
        let (logbook, log) = (Arc::clone(&logbook), Arc::clone(&log));
        blocking::unblock(move || logbook.enter(&log.clock, &*log.store)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_broker::TestBroker;

    #[test]
    fn the_topic_with_the_shortest_interval_decides_when_the_log_is_flushed() {
        let broker = TestBroker::start(&[]);
        let shortest = || shortest_flush(&broker.broker.log.metadata.load());
        broker.create_topic("a", &[]);
        assert!(shortest() > Duration::from_hours(1));
        broker.create_topic("b", &[("flush.ms", "50")]);
        broker.create_topic("c", &[("flush.ms", "70")]);
        assert_eq!(shortest(), Duration::from_millis(50));
        broker.create_topic("d", &[("flush.ms", "0")]);
        assert_eq!(shortest(), Duration::from_millis(1));
    }
}
