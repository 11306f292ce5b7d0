//! Group commit: which requests form one commit, and how long a small one waits for others.
//!
//! While one flush runs, the next requests collect by themselves; with slow flushes that is enough.
//! With fast flushes few requests collect in the meantime, and each small commit costs a page or
//! two of flash and a flush. So a commit that is smaller than the recent ones waits for further
//! requests: at most as long as a flush takes, so that its latency at most doubles, and not at all
//! if there were no other requests lately. A single producer never waits.

use std::time::{Duration, Instant};

use async_channel::Receiver;
use async_io::Timer;
use futures_lite::future;

use super::Request;
use crate::limits::{
    COMMIT_BYTES_MAX, COMMIT_REQUESTS_MAX, GATHER_BYTES, GATHER_FLUSHES, GATHER_WAIT_MAX,
};

/// Statistics of recent commits.
#[derive(Debug, Default)]
pub struct Gather {
    /// Requests that recently shared a flush: the maximum, decaying slowly.
    company: usize,
    /// The recent duration of a flush.
    flush: Duration,
}

impl Gather {
    /// Returns how long to wait after the first of `requests`, which have `bytes` together.
    fn wait(&self, requests: usize, bytes: usize) -> Option<Duration> {
        let is_small = bytes < GATHER_BYTES && requests < self.company;
        is_small.then(|| self.flush.min(GATHER_WAIT_MAX))
    }

    /// Records that this many requests shared a flush of this duration.
    pub fn handle_flush(&mut self, requests: usize, took: Duration) {
        let forgotten = (self.company / GATHER_FLUSHES as usize).max(1);
        self.company = requests.max(self.company.saturating_sub(forgotten));
        self.flush = (self.flush * (GATHER_FLUSHES - 1) + took) / GATHER_FLUSHES;
    }

    /// Takes the queued requests, and those that arrive while waiting is worthwhile, up to the
    /// bounds of a commit. `waits` returns whether a request waits for a flush.
    pub fn fill(
        &self,
        first: Request,
        queue: &Receiver<Request>,
        requests: &mut Vec<Request>,
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
                Err(_) => {
                    let until = self.wait(waiting, bytes).map(|wait| began + wait);
                    match until.and_then(|until| receive_until(queue, until)) {
                        Some(next) => next,
                        None => break,
                    }
                }
            };
            waiting += usize::from(waits(&next));
            bytes += bytes_of(&next);
            requests.push(next);
        }
    }
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

    fn after(flushes: &[usize]) -> Gather {
        let mut gather = Gather::default();
        for requests in flushes {
            gather.handle_flush(*requests, FLUSH);
        }
        gather
    }

    #[test]
    fn a_small_commit_waits_where_others_were_there_lately() {
        let check = |flushes: &[usize], requests, bytes, expected: bool| {
            let waits = after(flushes).wait(requests, bytes).is_some();
            assert_eq!(waits, expected, "{flushes:?}, {requests} of {bytes} bytes");
        };
        check(&[], 1, 1_000, false);
        check(&[1, 1, 1], 1, 1_000, false);
        check(&[10], 1, 1_000, true);
        check(&[10], 10, 1_000, false);
        check(&[10], 1, GATHER_BYTES, false);
        // Every other commit has only the first request: the others still count.
        check(&[99, 1, 99, 1], 1, 1_000, true);
        // Producers that have left are forgotten.
        check(&[&[99][..], &[1; 60]].concat(), 1, 1_000, false);
    }

    #[test]
    fn the_wait_is_a_flush_and_bounded() {
        let mut gather = after(&[10; 60]);
        let wait = gather.wait(1, 0).unwrap();
        assert!(wait <= FLUSH && wait > FLUSH / 2, "{wait:?}");
        for _ in 0..60 {
            gather.handle_flush(10, Duration::from_secs(1));
        }
        assert_eq!(gather.wait(1, 0), Some(GATHER_WAIT_MAX));
    }

    #[test]
    fn what_is_there_is_taken_and_a_flush_is_not_waited_for_in_vain() {
        let (sender, queue) = async_channel::bounded(10);
        for _ in 0..3 {
            sender.try_send(Request::Stop).unwrap();
        }
        let mut requests = Vec::new();
        let gather = after(&[10]);
        gather.fill(Request::Stop, &queue, &mut requests, |_| true);
        assert_eq!(requests.len(), 4);
        // No further request comes, and the wait ends. A request without a waiter is not waited
        // for.
        gather.fill(Request::Stop, &queue, &mut requests, |_| false);
        assert_eq!(requests.len(), 5);
    }
}
