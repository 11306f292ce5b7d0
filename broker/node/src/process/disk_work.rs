//! Work for clients that waits for the disk: runs on the threads of the `blocking` pool, with a
//! limit on how much runs at once. Work that waits for its turn is a future of its connection, so
//! the number of connections bounds it.
//!
//! Background tasks use the pool directly: there are a dozen of them, each with one piece of work
//! at a time.

use std::sync::Arc;

use async_lock::Semaphore;

/// The permits for work on the pool.
#[derive(Clone, Debug)]
pub struct DiskWork(Arc<Semaphore>);

impl DiskWork {
    pub fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    /// Runs `work` off the executor, once there is a permit.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let place = self.0.acquire_arc().await;
        blocking::unblock(move || {
            // Held until the work is done, even if its caller has given up.
            let _until_done = place;
            work()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn only_so_much_runs_at_once_also_when_nobody_waits_for_it() {
        let disk_work = DiskWork::new(2);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            let disk_work = disk_work.clone();
            async move {
                disk_work
                    .run(move || {
                        most.fetch_max(
                            running.fetch_add(1, Ordering::SeqCst) + 1,
                            Ordering::SeqCst,
                        );
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                    })
                    .await;
            }
        };
        block_on(async {
            for _ in 0..200 {
                // Started and given up.
                let _ = poll_once(Box::pin(work())).await;
                work().await;
            }
        });
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }
}
