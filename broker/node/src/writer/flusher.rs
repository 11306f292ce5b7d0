//! The thread that flushes what requests wait for, and settles them then. The writer goes on
//! meanwhile: it writes the next commits, and settles requests that wait for no flush.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use event_listener::{Event, EventListener};

use super::flushes::Flushes;
use super::settlement::Settlement;
use crate::limits::{GATHER_FLUSHES, SETTLEMENTS_MAX, WRITER_STACK_BYTES};
use crate::log::Log;

/// The handle of the writer thread.
#[derive(Debug)]
pub struct Flusher {
    queue: SyncSender<Settlement>,
    recent: Arc<Recent>,
    thread: JoinHandle<()>,
}

impl Flusher {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn start(log: Arc<Log>, flushes: Arc<Flushes>) -> std::io::Result<Self> {
        let (queue, settlements) = sync_channel(SETTLEMENTS_MAX);
        let recent = Arc::new(Recent::default());
        let shared = Arc::clone(&recent);
        let thread = std::thread::Builder::new()
            .name("sedge-flusher".to_owned())
            .stack_size(WRITER_STACK_BYTES)
            .spawn(move || run(&log, &settlements, &flushes, &shared))?;
        Ok(Self {
            queue,
            recent,
            thread,
        })
    }

    /// Settles requests whose commit is written, after the next flush. Blocks while many commits
    /// wait already.
    pub fn settle_flushed(&self, settlement: Settlement) {
        self.recent.lock().waiting += 1;
        // The thread lives as long as its queue.
        let _ = self.queue.send(settlement);
    }

    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Ends the thread after all that waits is settled. Blocks.
    pub fn end(self) {
        drop(self.queue);
        let _ = self.thread.join();
    }
}

fn run(log: &Log, queue: &Receiver<Settlement>, flushes: &Flushes, recent: &Recent) {
    while let Ok(first) = queue.recv() {
        let together: Vec<Settlement> = std::iter::once(first).chain(queue.try_iter()).collect();
        let took = flushes.is_dirty().then(|| flushes.flush(&*log.store));
        recent.handle_flush(&together, took);
        for settlement in together {
            settlement.settle(log);
        }
    }
}

/// What is known of recent flushes.
#[derive(Debug, Default)]
pub struct Recent {
    state: Mutex<State>,
    ended: Event,
}

#[derive(Debug, Default)]
struct State {
    /// Commits that wait for a flush, or for its end.
    waiting: usize,
    flushes: RecentFlushes,
}

/// Statistics of recent flushes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecentFlushes {
    /// Requests that recently shared a flush: the maximum, decaying slowly.
    pub company: usize,
    /// The recent duration of a flush.
    pub took: Duration,
}

impl Recent {
    /// Returns whether a flush runs.
    pub fn is_flushing(&self) -> bool {
        self.lock().waiting > 0
    }

    /// Returns a listener for the end of a flush. Listen first, then look.
    pub fn listen(&self) -> EventListener {
        self.ended.listen()
    }

    pub fn flushes(&self) -> RecentFlushes {
        self.lock().flushes
    }

    fn handle_flush(&self, settled: &[Settlement], took: Option<Duration>) {
        let mut state = self.lock();
        state.waiting = state.waiting.saturating_sub(settled.len());
        if let Some(took) = took {
            let requests = settled.iter().map(|settlement| settlement.requests).sum();
            state.flushes.note(requests, took);
        }
        drop(state);
        self.ended.notify(usize::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecentFlushes {
    /// Notes that this many requests shared a flush of this duration.
    pub fn note(&mut self, requests: usize, took: Duration) {
        let forgotten = (self.company / GATHER_FLUSHES as usize).max(1);
        self.company = requests.max(self.company.saturating_sub(forgotten));
        self.took = (self.took * (GATHER_FLUSHES - 1) + took) / GATHER_FLUSHES;
    }
}
