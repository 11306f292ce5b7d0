//! The order of handshakes and requests on the threads of the executor (KIP-402).
//!
//! A step of a handshake takes as much computing as tens of requests. If hundreds of clients
//! connect at once, each request would wait behind the steps of all. So only one step per thread is
//! handed to the executor, and the others wait here: between two steps, each request that is ready
//! runs.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::task::Poll;

use async_lock::Semaphore;
use futures_lite::future::{poll_once, yield_now};

/// The queue of handshakes' steps.
#[derive(Debug)]
pub struct HandshakeQueue(Semaphore);

impl HandshakeQueue {
    /// Creates the queue for an executor with this number of threads.
    pub const fn new(threads: usize) -> Self {
        Self(Semaphore::new(threads))
    }

    /// Runs a handshake. Each of its steps waits for its turn.
    pub async fn run<F: Future>(&self, handshake: F) -> F::Output {
        let mut handshake = pin!(handshake);
        loop {
            let turn = self.0.acquire().await;
            yield_now().await;
            if let Some(done) = poll_once(&mut handshake).await {
                return done;
            }
            drop(turn);
            woken().await;
        }
    }
}

/// Waits until the task is woken again.
async fn woken() {
    let mut is_first = true;
    poll_fn(|_| {
        if mem::take(&mut is_first) {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_executor::Executor;
    use futures_lite::future::block_on;

    use super::*;

    const COUNT: usize = 20;

    /// Spawns handshakes of two steps, and then as many requests. Returns the order in which they
    /// ran: true for a step.
    fn order(threads: usize) -> Vec<bool> {
        let queue = Arc::new(HandshakeQueue::new(threads));
        let ran = Arc::new(Mutex::new(Vec::new()));
        let executor = Executor::new();
        let handshakes = (0..COUNT).map(|_| {
            let (queue, ran) = (Arc::clone(&queue), Arc::clone(&ran));
            executor.spawn(async move {
                let handshake = async {
                    ran.lock().unwrap().push(true);
                    yield_now().await;
                    ran.lock().unwrap().push(true);
                };
                queue.run(handshake).await;
            })
        });
        let handshakes: Vec<_> = handshakes.collect();
        let requests = (0..COUNT).map(|_| {
            let ran = Arc::clone(&ran);
            executor.spawn(async move { ran.lock().unwrap().push(false) })
        });
        let all: Vec<_> = handshakes.into_iter().chain(requests).collect();
        block_on(executor.run(async {
            for task in all {
                task.await;
            }
        }));
        drop(executor);
        let ran = ran.lock().unwrap().clone();
        assert_eq!(ran.iter().filter(|is_step| **is_step).count(), 2 * COUNT);
        ran
    }

    #[test]
    fn requests_do_not_wait_behind_all_handshakes() {
        for threads in [1, 3] {
            let ran = order(threads);
            let last = ran.iter().rposition(|is_step| !is_step).unwrap();
            let before = ran[..last].iter().filter(|is_step| **is_step).count();
            assert!(before <= threads, "{before} steps came first: {ran:?}");
        }
    }
}
