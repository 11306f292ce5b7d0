//! Group commit: which requests form one commit, and how long a small one waits for others.
//!
//! While a flush runs, requests that wait for the next one collect until they are worth a write.
//! With slow flushes that is enough. With fast flushes few requests collect in the meantime, and
//! each small commit costs a page or two of flash and a flush. So a commit that is smaller than the
//! recent ones waits for further requests: at most as long as a flush takes, so that its latency at
//! most doubles, and not at all if there were no other requests lately. A single producer never
//! waits.

use std::time::{Duration, Instant};

use async_channel::Receiver;
use async_io::Timer;
use futures_lite::future;

use super::Request;
use super::flusher::{Recent, RecentFlushes};
use crate::limits::{
    COMMIT_BYTES_MAX, COMMIT_REQUESTS_MAX, GATHER_BYTES, GATHER_WAIT_MAX, WRITE_AHEAD_BYTES,
};

/// Takes the queued requests, and those that arrive while waiting is worthwhile, up to the bounds
/// of a commit. `waits` returns whether a request waits for a flush.
pub fn fill(
    first: Request,
    queue: &Receiver<Request>,
    requests: &mut Vec<Request>,
    recent: &Recent,
    waits: impl Fn(&Request) -> bool,
) {
    let began = Instant::now();
    let mut waiting = usize::from(waits(&first));
    let mut bytes = bytes_of(&first);
    requests.push(first);
    while requests.len() < COMMIT_REQUESTS_MAX && bytes < COMMIT_BYTES_MAX {
        let next = match queue.try_recv() {
            Ok(next) => next,
            // A request that does not wait for a flush does not make others wait.
            Err(_) if waiting < requests.len() => break,
            Err(_) => match wait_for_another(queue, recent, (waiting, bytes), began) {
                Some(next) => next,
                None => break,
            },
        };
        waiting += usize::from(waits(&next));
        bytes += bytes_of(&next);
        requests.push(next);
    }
}

/// Waits for another request to join those that are there, which have `bytes` together; `None` if
/// these are to be written.
fn wait_for_another(
    queue: &Receiver<Request>,
    recent: &Recent,
    (requests, bytes): (usize, usize),
    began: Instant,
) -> Option<Request> {
    if bytes >= WRITE_AHEAD_BYTES {
        return None;
    }
    loop {
        let ended = recent.listen();
        if !recent.is_flushing() {
            let wait = wait(&recent.flushes(), requests).filter(|_| bytes < GATHER_BYTES)?;
            return receive_until(queue, began + wait);
        }
        let next = async { queue.recv().await.ok() };
        let over = async {
            ended.await;
            None
        };
        if let Some(next) = future::block_on(future::or(next, over)) {
            return Some(next);
        }
    }
}

/// Returns how long a small commit of this many requests waits for further ones.
fn wait(recent: &RecentFlushes, requests: usize) -> Option<Duration> {
    (requests < recent.company).then(|| recent.took.min(GATHER_WAIT_MAX))
}

/// Returns the bytes of a request's part of the commit, rows included.
fn bytes_of(request: &Request) -> usize {
    let room = request.room();
    if room.is_empty() {
        0
    } else {
        usize::try_from(room.frame_bytes()).unwrap_or(usize::MAX)
    }
}

fn receive_until(queue: &Receiver<Request>, until: Instant) -> Option<Request> {
    if Instant::now() >= until {
        return None;
    }
    let next = async { queue.recv().await.ok() };
    let over = async {
        Timer::at(until).await;
        None
    };
    future::block_on(future::or(next, over))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLUSH: Duration = Duration::from_micros(500);

    fn after(flushes: &[usize]) -> RecentFlushes {
        let mut recent = RecentFlushes::default();
        for requests in flushes {
            recent.note(*requests, FLUSH);
        }
        recent
    }

    #[test]
    fn a_small_commit_waits_where_others_were_there_lately() {
        let check = |flushes: &[usize], requests, expected: bool| {
            let waits = wait(&after(flushes), requests).is_some();
            assert_eq!(waits, expected, "{flushes:?}, {requests}");
        };
        check(&[], 1, false);
        check(&[1, 1, 1], 1, false);
        check(&[10], 1, true);
        check(&[10], 10, false);
        // Every other commit has only the first request: the others still count.
        check(&[99, 1, 99, 1], 1, true);
        // Producers that have left are forgotten.
        check(&[&[99][..], &[1; 60]].concat(), 1, false);
    }

    #[test]
    fn the_wait_is_a_flush_and_bounded() {
        let mut recent = after(&[10; 60]);
        let known = wait(&recent, 1).unwrap();
        assert!(known <= FLUSH && known > FLUSH / 2, "{known:?}");
        for _ in 0..60 {
            recent.note(10, Duration::from_secs(1));
        }
        assert_eq!(wait(&recent, 1), Some(GATHER_WAIT_MAX));
    }

    #[test]
    fn what_is_there_is_taken_and_a_flush_is_not_waited_for_in_vain() {
        let (sender, queue) = async_channel::bounded(10);
        for _ in 0..3 {
            sender.try_send(Request::Stop).unwrap();
        }
        let mut requests = Vec::new();
        let recent = Recent::default();
        fill(Request::Stop, &queue, &mut requests, &recent, |_| true);
        assert_eq!(requests.len(), 4);
        // No further request comes, and the wait ends. A request without a waiter is not waited
        // for.
        fill(Request::Stop, &queue, &mut requests, &recent, |_| false);
        assert_eq!(requests.len(), 5);
    }
}
