//! Fetches that wait for data: the core's [`Purgatory`], with wakers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_channel::{Receiver, Sender};
use async_io::Timer;
use futures_lite::future;
use sedge_core::fetch::purgatory::{FetchId, Purgatory};
use sedge_protocol::ids::PartitionId;

/// Each fetch has its own timer for its deadline, so the purgatory needs none.
const NO_DEADLINE: u64 = u64::MAX;

/// The waiting fetches, and their wakers.
#[derive(Debug, Default)]
pub struct Parking {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    purgatory: Purgatory,
    wakers: HashMap<FetchId, Sender<()>>,
}

/// A parked fetch. Dropping it removes it from the purgatory.
#[derive(Debug)]
pub struct Parked {
    parking: Arc<Parking>,
    id: FetchId,
    woken: Receiver<()>,
}

impl Parking {
    /// Parks a fetch until `bytes_wanted` more bytes have come to the partitions. Returns `None` if
    /// there is no room: answer with the data that there is. After parking, the caller reads the
    /// high watermarks once more before it waits.
    pub fn park(
        self: &Arc<Self>,
        partitions: Vec<PartitionId>,
        bytes_wanted: u64,
    ) -> Option<Parked> {
        let (waker, woken) = async_channel::bounded(1);
        let mut inner = self.lock();
        let id = inner
            .purgatory
            .park(partitions, bytes_wanted.max(1), NO_DEADLINE)
            .ok()?;
        inner.wakers.insert(id, waker);
        Some(Parked {
            parking: Arc::clone(self),
            id,
            woken,
        })
    }

    /// Counts `bytes` that were appended to a partition; with 0, something else happened to it, and
    /// all fetches that watch it look again.
    pub fn wake(&self, partition: PartitionId, bytes: usize) {
        let mut inner = self.lock();
        if inner.wakers.is_empty() {
            return;
        }
        let woken = match bytes {
            0 => inner.purgatory.wake_all(partition),
            _ => inner.purgatory.wake(partition, bytes as u64),
        };
        for id in woken {
            if let Some(waker) = inner.wakers.remove(&id) {
                let _ = waker.try_send(());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parked {
    /// Waits until woken, or until `deadline`.
    pub async fn wait(self, deadline: Instant) {
        let woken = async {
            let _ = self.woken.recv().await;
        };
        let over = async {
            Timer::at(deadline).await;
        };
        future::or(woken, over).await;
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        let mut inner = self.parking.lock();
        inner.purgatory.cancel(self.id);
        inner.wakers.remove(&self.id);
    }
}
