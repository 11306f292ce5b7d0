//! The executor: a few threads (`num.network.threads`), one on the smallest device. Sockets and
//! timers use async-io; work that may block goes to the `blocking` pool.

use std::future::Future;
use std::sync::Arc;
use std::thread;

use async_executor::{Executor, Task};
use futures_lite::future;

/// A handle to the executor. Clones share the same one.
#[derive(Clone, Debug)]
pub struct Runtime {
    executor: Arc<Executor<'static>>,
}

/// An executor whose threads give way to those of the [`Runtime`].
#[derive(Debug)]
pub struct LowPriority {
    executor: Arc<Executor<'static>>,
}

impl LowPriority {
    /// Starts `threads` threads of this name, which live as long as the process.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn start(name: &str, threads: usize) -> std::io::Result<Self> {
        let executor = Arc::new(Executor::new());
        for number in 0..threads.max(1) {
            let executor = Arc::clone(&executor);
            thread::Builder::new()
                .name(format!("{name}-{number}"))
                .stack_size(crate::limits::NETWORK_STACK_BYTES)
                .spawn(move || {
                    // Best effort: without permission the thread runs at normal priority.
                    let nice = crate::limits::LOW_PRIORITY_NICE;
                    let _ = rustix::process::setpriority_process(None, nice);
                    // It does not wait for sockets: requests would wait until it has a processor.
                    future::block_on(async {
                        loop {
                            executor.tick().await;
                            // A scheduler grants a thread its time slice, whatever its nice value.
                            thread::yield_now();
                        }
                    });
                })?;
        }
        Ok(Self { executor })
    }

    /// Runs `future` in the background.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(future).detach();
    }
}

impl Runtime {
    /// Starts an executor with `threads` threads, which live as long as the process.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        blocking::set_max_blocking_threads(crate::limits::BLOCKING_THREADS_MAX);
        let executor = Arc::new(Executor::new());
        for number in 0..threads.max(1) {
            let executor = Arc::clone(&executor);
            thread::Builder::new()
                .name(format!("sedge-net-{number}"))
                .stack_size(crate::limits::NETWORK_STACK_BYTES)
                .spawn(move || {
                    // A thread without tasks waits for the sockets itself.
                    async_io::block_on(executor.run(std::future::pending::<()>()));
                })?;
        }
        Ok(Self { executor })
    }

    /// Returns the executor itself, for callers that spawn their own tasks.
    pub fn executor(&self) -> Arc<Executor<'static>> {
        Arc::clone(&self.executor)
    }

    /// Runs `future` on the executor. Dropping the task cancels it; `detach` lets it run.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        self.executor.spawn(future)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn low_priority_is_that_of_its_threads_alone() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let (sender, receiver) = channel();
        let executor = LowPriority::start("sedge-low", 2).unwrap();
        for _ in 0..10 {
            let sender = sender.clone();
            executor.spawn(async move {
                future::yield_now().await;
                sender.send(nice()).unwrap();
            });
        }
        let expected = crate::limits::LOW_PRIORITY_NICE;
        assert!(nice() < expected);
        for low in receiver.iter().take(10) {
            assert_eq!(low, expected);
        }
    }
}
