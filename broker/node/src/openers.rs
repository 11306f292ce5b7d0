//! Checking the records of produced batches: small bodies at once, large ones off the executor, a
//! few at a time.
//!
//! **Invariant:** at most [`OPENERS_MAX`] bodies are being opened off the executor, and no more
//! openers are kept, whatever the number of connections; on the executor each check ends after
//! [`INLINE_OPENED_BYTES`].

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use async_lock::Semaphore;
use futures_lite::future::yield_now;
use sedge_core::log::{AppendError, Checked, check_body, is_opened};
use sedge_core::metadata::Topic;
use sedge_protocol::batch::Batch;
use sedge_protocol::records::Opener;

use crate::limits::{INLINE_BODY_BYTES, INLINE_OPENED_BYTES, INLINE_PLAIN_BYTES, OPENERS_MAX};

/// The openers of the broker, and who may use them.
#[derive(Debug)]
pub struct Openers {
    /// Those that nobody uses.
    free: Mutex<Vec<Opener>>,
    kept_max: usize,
    off_executor: Arc<Semaphore>,
}

impl Default for Openers {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let kept_max = threads.min(OPENERS_MAX);
        Self {
            free: Mutex::default(),
            kept_max,
            off_executor: Arc::new(Semaphore::new(kept_max)),
        }
    }
}

impl Openers {
    /// Checks the records of a batch, and puts its header right.
    ///
    /// # Errors
    /// What [`check_body`] refuses.
    pub async fn check(
        self: &Arc<Self>,
        mut batch: Batch,
        topic: &Arc<Topic>,
        now_ms: i64,
    ) -> Result<Batch, AppendError> {
        let is_plain = batch.header.compression() == 0;
        let bytes = batch.body.len();
        if !is_opened(&batch, &topic.config) || (is_plain && bytes <= INLINE_PLAIN_BYTES) {
            check_body(&mut batch, &topic.config, now_ms, &mut Opener::new(), None)?;
            return Ok(batch);
        }
        if bytes <= INLINE_BODY_BYTES {
            let few = Some(INLINE_OPENED_BYTES);
            let checked =
                self.with(|opener| check_body(&mut batch, &topic.config, now_ms, opener, few));
            let checked = checked?;
            // A request may have many partitions; other connections are served between them.
            yield_now().await;
            if checked == Checked::Fit {
                return Ok(batch);
            }
        }
        let turn = self.off_executor.acquire_arc().await;
        let (openers, topic) = (Arc::clone(self), Arc::clone(topic));
        blocking::unblock(move || {
            let _turn = turn;
            openers.with(|opener| check_body(&mut batch, &topic.config, now_ms, opener, None))?;
            Ok(batch)
        })
        .await
    }

    /// Uses an opener that is free, or a new one.
    fn with<T>(&self, check: impl FnOnce(&mut Opener) -> T) -> T {
        let free = || self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opener = free().pop().unwrap_or_default();
        let result = check(&mut opener);
        opener.trim();
        let mut free = free();
        if free.len() < self.kept_max {
            free.push(opener);
        }
        result
    }
}
