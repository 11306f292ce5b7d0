//! The executor: a few threads (`num.network.threads`), one on the smallest device. Sockets and
//! timers use async-io; work that may block goes to the `blocking` pool.

use std::future::Future;
use std::sync::Arc;
use std::thread;

use async_executor::{Executor, Task};

/// A handle to the executor. Clones share the same one.
#[derive(Clone, Debug)]
pub struct Runtime {
    executor: Arc<Executor<'static>>,
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
