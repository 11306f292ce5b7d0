//! Checks the records of produced batches: small bodies at once, large ones off the executor, a few
//! at a time.
//!
//! **Invariant:** at most [`OPENERS_MAX`] bodies are opened off the executor at once, and no more
//! openers are kept, whatever the number of connections; on the executor each check ends after
//! [`INLINE_OPENED_BYTES`].

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use async_lock::Semaphore;
use futures_lite::future::yield_now;
use sedge_core::log::{AppendError, Checked, check_body, is_opened};
use sedge_core::metadata::Topic;
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::records::{Opener, recompress_batch};

use crate::limits::{INLINE_BODY_BYTES, INLINE_OPENED_BYTES, INLINE_PLAIN_BYTES, OPENERS_MAX};

/// The broker's openers, and the permits to use them.
#[derive(Debug)]
pub struct Openers {
    /// Openers that are not in use.
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
    /// Checks the records of a batch, and corrects its header.
    ///
    /// # Errors
    /// The errors of [`check_body`].
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
            // A request may have many partitions; other connections are served in between.
            yield_now().await;
            if checked == Checked::Fit {
                return Ok(batch);
            }
        }
        let topic = Arc::clone(topic);
        self.run(move |opener| {
            check_body(&mut batch, &topic.config, now_ms, opener, None)?;
            Ok(batch)
        })
        .await
    }

    /// Compresses a checked batch as `compression.type` of its topic says.
    ///
    /// # Errors
    /// INVALID_RECORD if the batch cannot be opened, and MESSAGE_TOO_LARGE if it becomes larger
    /// than the topic allows.
    pub async fn recompress(
        self: &Arc<Self>,
        batch: Batch,
        topic: &Topic,
    ) -> Result<Batch, AppendError> {
        let wanted = topic.config.recompression();
        let other = wanted.filter(|(codec, _)| *codec as i16 != batch.header.compression());
        let Some(wanted) = other else {
            return Ok(batch);
        };
        let recompress = move |opener: &mut Opener| recompress_batch(opener, wanted, batch);
        let batch = self.run(recompress).await.map_err(|error| {
            AppendError::new(
                ErrorCode::InvalidRecord,
                format!("The batch cannot be compressed as compression.type says: {error}"),
            )
        })?;
        let (bytes, max) = (batch.bytes(), topic.config.max_message_bytes());
        if bytes > max {
            let why =
                format!("As compression.type says, the batch has {bytes} bytes, more than {max}");
            return Err(AppendError::new(ErrorCode::MessageTooLarge, why));
        }
        Ok(batch)
    }

    /// Runs `work` off the executor with an opener, when it is its turn.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Opener) -> T + Send + 'static,
    ) -> T {
        let turn = self.off_executor.acquire_arc().await;
        let openers = Arc::clone(self);
        blocking::unblock(move || {
            let _turn = turn;
            openers.with(work)
        })
        .await
    }

    /// Calls `check` with a free opener, or a new one.
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

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;
    use sedge_protocol::records::{BatchBuilder, Compression};

    use super::*;
    use crate::test_broker::TestBroker;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// Builds records of 100 bytes that compress poorly, or very well.
    fn batch(codec: Compression, records: u64, is_noise: bool) -> Batch {
        let mut builder = BatchBuilder::new(codec);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..records {
            let value: Vec<u8> = (0..100)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    if is_noise { state as u8 } else { 0 }
                })
                .collect();
            builder.push(-1, None, Some(&value), &[]);
        }
        builder.build().unwrap()
    }

    /// Bodies are checked on the executor, off it, or first on and then off it: the answer is the
    /// same, and few openers are kept after many checks at once.
    #[test]
    fn bodies_are_judged_alike_wherever_they_are_opened() {
        let node = TestBroker::start(&[]);
        node.create_topic("t", &[]);
        let image = node.broker.log.metadata.load();
        let topic = image.topic("t").unwrap();
        let openers = &node.broker.openers;
        let sizes = [(10, true), (2000, true), (10_000, false), (30_000, true)];
        std::thread::scope(|scope| {
            for codec in CODECS {
                for (records, is_noise) in sizes {
                    scope.spawn(move || {
                        let good = batch(codec, records, is_noise);
                        let checked = block_on(openers.check(good.clone(), topic, 0)).unwrap();
                        assert_eq!(checked.header, good.header);
                        let mut cut = good;
                        cut.body = cut.body.slice(..cut.body.len() - 9);
                        let refused = block_on(openers.check(cut, topic, 0)).unwrap_err();
                        let code = refused.code;
                        assert_eq!(code, ErrorCode::InvalidRecord, "{codec:?} {records}");
                    });
                }
            }
        });
        let kept = openers.free.lock().unwrap().len();
        assert!((1..=openers.kept_max).contains(&kept), "{kept}");
    }
}
