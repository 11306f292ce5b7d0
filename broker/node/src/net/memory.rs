//! The memory that connections hold for requests and for answers, and the order in which they get
//! it when it is short.
//!
//! There are two pools. Requests are charged to theirs as their bytes arrive, a piece at a time,
//! until their handler is done with them. Answers are charged to theirs until they are written. The
//! fixed needs of a connection (its read buffer, an answer of [`CONNECTION_ANSWER_BYTES`]) are
//! charged to neither: `sedge.memory.max.bytes` reserves them for each connection.
//!
//! - Waiters are served in the order in which they came.
//! - A request that was begun can be completed: if there is no room for its next piece, the longest
//!   waiting one continues, beyond the pool's size. So half-read requests never wait for each other
//!   for ever, and the pool is exceeded by at most one request.
//! - One part in [`SMALL_PART`] of the request pool is for small requests, which are already
//!   completely in the read buffer.
//! - While any request waits, connections that hold memory and have made no progress for
//!   [`STALLED_AFTER`] are closed, the one that has stalled longest first.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_io::Timer;
use async_lock::MutexGuardArc;
use event_listener::Event;
use futures_lite::future;
use sedge_storage::Chunk;

use super::spares::Spares;
use crate::limits::{
    ANSWER_SHARE, CONNECTION_ANSWER_BYTES, MEMORY_CHECK_EVERY, SMALL_PART, STALLED_AFTER,
};

/// The pools of a broker.
#[derive(Debug)]
pub struct Memory {
    pub requests: Arc<Pool>,
    pub answers: Arc<Pool>,
    expected: Expected,
}

impl Memory {
    pub fn new(request_bytes: usize, answer_bytes: usize) -> Self {
        Self {
            requests: Pool::new(request_bytes),
            answers: Pool::new(answer_bytes),
            expected: Expected::default(),
        }
    }

    /// Waits for room for an answer to a request of this kind, estimated from recent ones. Returns
    /// `None` if the answer is small enough to need none.
    pub async fn room_for_answer(&self, api_key: i16) -> Option<Admission> {
        match self.expected.bytes(api_key) {
            0 => None,
            bytes => Some(self.answers.take(bytes, Part::Any).await),
        }
    }

    /// Charges an answer, whose size is now known, to `room` or to the pool.
    pub fn charge_answer(
        &self,
        api_key: i16,
        frame: &[Chunk],
        room: Option<Admission>,
    ) -> Admission {
        self.expected.note(api_key, charged(frame));
        let room = room.unwrap_or_else(|| Admission::none(&self.answers));
        room.of_answer(frame)
    }
}

/// Returns the charge of an answer: nothing if it fits the memory that each connection has.
fn charged(frame: &[Chunk]) -> usize {
    let bytes = frame.iter().map(Chunk::memory_bytes).sum();
    if bytes > CONNECTION_ANSWER_BYTES {
        bytes
    } else {
        0
    }
}

/// The expected size of answers, by API: the largest recent one.
#[derive(Debug)]
struct Expected([AtomicUsize; Self::KEYS]);

impl Default for Expected {
    fn default() -> Self {
        Self([const { AtomicUsize::new(0) }; Self::KEYS])
    }
}

impl Expected {
    const KEYS: usize = 128;

    fn of(&self, api_key: i16) -> Option<&AtomicUsize> {
        self.0.get(usize::try_from(api_key).ok()?)
    }

    fn bytes(&self, api_key: i16) -> usize {
        self.of(api_key)
            .map_or(0, |bytes| bytes.load(Ordering::Relaxed))
    }

    fn note(&self, api_key: i16, bytes: usize) {
        if let Some(expected) = self.of(api_key) {
            let before = expected.load(Ordering::Relaxed);
            let fading =
                Some(before - before / 8).filter(|before| *before > CONNECTION_ANSWER_BYTES);
            expected.store(bytes.max(fading.unwrap_or(0)), Ordering::Relaxed);
        }
    }
}

/// The part of a pool that may be used. Waiters for one part do not wait behind those for the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Any,
    /// All but the part for small requests.
    AllButSmall,
}

/// Memory for one purpose.
#[derive(Debug)]
pub struct Pool {
    inner: Mutex<Inner>,
    total: usize,
    freed: Event,
    /// Requests that wait for their first bytes, by [`Part`].
    lines: [Line; 2],
    /// Locked by the one request that may exceed the pool's size.
    over: Arc<async_lock::Mutex<()>>,
    pub spares: Spares,
}

/// Waiters for the same part.
#[derive(Debug, Default)]
struct Line {
    waiting: AtomicUsize,
    /// Locked by the next waiter to be served.
    next: async_lock::Mutex<()>,
}

#[derive(Debug)]
struct Inner {
    /// Free bytes; below 0 while more than the pool is held.
    free: isize,
    stands: BTreeMap<u64, Stand>,
    next_stand: u64,
}

/// Memory that is held until a client makes progress.
#[derive(Debug)]
struct Stand {
    since: Instant,
    bytes: usize,
    closer: Arc<Closer>,
}

impl Pool {
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                free: isize::try_from(bytes).unwrap_or(isize::MAX),
                stands: BTreeMap::new(),
                next_stand: 0,
            }),
            total: bytes,
            freed: Event::new(),
            lines: Default::default(),
            over: Arc::default(),
            spares: Spares::default(),
        })
    }

    /// Returns the bytes that are taken.
    pub fn used_bytes(&self) -> usize {
        let used = self.total as isize - self.lock().free;
        usize::try_from(used).unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `bytes`. More than the whole pool is granted when all of it is free.
    pub async fn take(self: &Arc<Self>, bytes: usize, part: Part) -> Admission {
        let mut admission = Admission::none(self);
        let line = &self.lines[part as usize];
        if line.waiting.load(Ordering::Acquire) > 0 || !admission.try_grow(bytes, part) {
            let _waiting = Waiting::new(line);
            let _next = line.next.lock().await;
            loop {
                let freed = self.freed.listen();
                if admission.try_grow(bytes, part) {
                    break;
                }
                self.close_stalled(bytes);
                either(freed).await;
            }
        }
        admission
    }

    /// Starts an admission of nothing, which can grow.
    pub fn begin(self: &Arc<Self>) -> Admission {
        Admission::none(self)
    }

    /// Takes a share of the free bytes, at most `bytes_max`, without waiting; possibly nothing.
    pub fn take_share(self: &Arc<Self>, bytes_max: usize) -> Admission {
        let mut admission = Admission::none(self);
        let free = usize::try_from(self.lock().free).unwrap_or(0);
        admission.set(bytes_max.min(free / ANSWER_SHARE));
        admission
    }

    fn keep(&self, part: Part) -> isize {
        match part {
            Part::Any => 0,
            Part::AllButSmall => (self.total / SMALL_PART) as isize,
        }
    }

    /// Closes connections that have stalled for long, until they release `bytes`.
    fn close_stalled(&self, bytes: usize) {
        let mut inner = self.lock();
        let mut closed = 0;
        while closed < bytes {
            let longest = inner.stands.iter().min_by_key(|(_, stand)| stand.since);
            let Some((id, _)) = longest.filter(|(_, s)| s.since.elapsed() >= STALLED_AFTER) else {
                return;
            };
            let id = *id;
            if let Some(stand) = inner.stands.remove(&id) {
                closed += stand.bytes;
                stand.closer.close();
            }
        }
    }
}

/// Waits for memory, or until the time of the next check.
async fn either(freed: event_listener::EventListener) {
    let tick = async {
        Timer::after(MEMORY_CHECK_EVERY).await;
    };
    future::or(freed, tick).await;
}

/// Counts a waiter.
struct Waiting<'a>(&'a Line);

impl<'a> Waiting<'a> {
    fn new(line: &'a Line) -> Self {
        line.waiting.fetch_add(1, Ordering::AcqRel);
        Self(line)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Bytes taken from a pool. Dropping returns them.
#[derive(Debug)]
pub struct Admission {
    pool: Arc<Pool>,
    bytes: usize,
    /// The part of them that exceeds the pool's size.
    over_bytes: usize,
    over: Option<MutexGuardArc<()>>,
    stand: Option<u64>,
}

impl Admission {
    fn none(pool: &Arc<Pool>) -> Self {
        Self {
            pool: Arc::clone(pool),
            bytes: 0,
            over_bytes: 0,
            over: None,
            stand: None,
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Takes `bytes` more for a request that was begun.
    pub async fn grow(&mut self, bytes: usize) {
        if self.over.is_some() {
            return self.grow_over(bytes);
        }
        if self.try_grow(bytes, Part::AllButSmall) {
            return;
        }
        let pool = Arc::clone(&self.pool);
        let mut over = pin!(pool.over.lock_arc());
        loop {
            let freed = pool.freed.listen();
            if self.try_grow(bytes, Part::AllButSmall) {
                return;
            }
            pool.close_stalled(bytes);
            let mine = async { Some((&mut over).await) };
            let looked = async {
                either(freed).await;
                None
            };
            if let Some(mine) = future::or(mine, looked).await {
                self.over = Some(mine);
                return self.grow_over(bytes);
            }
        }
    }

    fn grow_over(&mut self, bytes: usize) {
        self.over_bytes += bytes;
        self.bytes += bytes;
        self.moved(&mut self.pool.lock());
    }

    fn try_grow(&mut self, bytes: usize, part: Part) -> bool {
        let mut inner = self.pool.lock();
        let wanted = bytes.min(self.pool.total) as isize;
        let keep = self.pool.keep(part).min(self.pool.total as isize - wanted);
        if inner.free - wanted < keep {
            return false;
        }
        inner.free -= bytes as isize;
        self.bytes += bytes;
        self.moved(&mut inner);
        true
    }

    /// Sets the charge, even to more than the pool has.
    pub fn set(&mut self, bytes: usize) {
        let mut inner = self.pool.lock();
        let over_bytes = self.over_bytes.min(bytes);
        let charged = (self.bytes - self.over_bytes) as isize;
        inner.free += charged - (bytes - over_bytes) as isize;
        let has_freed = bytes < self.bytes;
        (self.bytes, self.over_bytes) = (bytes, over_bytes);
        self.moved(&mut inner);
        drop(inner);
        if has_freed {
            self.pool.freed.notify(usize::MAX);
        }
    }

    fn moved(&self, inner: &mut Inner) {
        if let Some(stand) = self.stand.and_then(|id| inner.stands.get_mut(&id)) {
            stand.since = Instant::now();
            stand.bytes = self.bytes;
        }
    }

    /// Adjusts the charge when the answer is known.
    #[must_use]
    pub fn of_answer(mut self, frame: &[Chunk]) -> Self {
        self.set(charged(frame));
        self
    }

    /// Marks that the client must make progress from now on; otherwise `closer` closes the
    /// connection.
    pub fn depends_on(&mut self, closer: &Arc<Closer>) {
        if self.bytes == 0 {
            return;
        }
        let mut inner = self.pool.lock();
        let id = inner.next_stand;
        inner.next_stand += 1;
        let stand = Stand {
            since: Instant::now(),
            bytes: self.bytes,
            closer: Arc::clone(closer),
        };
        inner.stands.insert(id, stand);
        self.stand = Some(id);
    }

    /// Marks that the client has made its progress.
    pub fn settle(&mut self) {
        if let Some(id) = self.stand.take() {
            self.pool.lock().stands.remove(&id);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.settle();
        self.set(0);
    }
}

/// Closes a connection that holds memory that others need.
#[derive(Debug, Default)]
pub struct Closer {
    is_closed: AtomicBool,
    closed: Event,
}

impl Closer {
    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.closed.notify(usize::MAX);
    }

    /// Returns when the connection must be closed.
    pub async fn wait(&self) {
        while !self.is_closed.load(Ordering::Acquire) {
            let closed = self.closed.listen();
            if !self.is_closed.load(Ordering::Acquire) {
                closed.await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn those_that_wait_are_served_in_order() {
        block_on(async {
            let pool = Pool::new(10);
            let first = pool.take(8, Part::Any).await;
            let mut large = Box::pin(pool.take(9, Part::Any));
            assert!(poll_once(&mut large).await.is_none());
            let mut small = Box::pin(pool.take(1, Part::Any));
            assert!(poll_once(&mut small).await.is_none(), "it overtakes");
            drop(first);
            let large = large.await;
            assert_eq!(large.bytes(), 9);
            assert_eq!(small.await.bytes(), 1);
        });
    }

    #[test]
    fn more_than_the_whole_pool_is_let_in_alone() {
        block_on(async {
            let pool = Pool::new(10);
            let large = pool.take(100, Part::AllButSmall).await;
            assert!(poll_once(Box::pin(pool.take(1, Part::Any))).await.is_none());
            drop(large);
            assert!(
                poll_once(Box::pin(pool.take(10, Part::Any)))
                    .await
                    .is_some()
            );
        });
    }

    #[test]
    fn half_read_requests_do_not_wait_for_each_other_for_ever() {
        block_on(async {
            let pool = Pool::new(80);
            let mut all = Vec::new();
            for _ in 0..7 {
                all.push(pool.take(10, Part::AllButSmall).await);
            }
            assert!(
                poll_once(Box::pin(pool.take(10, Part::AllButSmall)))
                    .await
                    .is_none()
            );
            assert!(
                poll_once(Box::pin(pool.take(10, Part::Any)))
                    .await
                    .is_some()
            );
            // All need more, and one gets it.
            let mut second = all.pop().unwrap();
            let mut first = all.pop().unwrap();
            first.grow(50).await;
            assert_eq!(first.bytes(), 60);
            assert!(poll_once(Box::pin(second.grow(50))).await.is_none());
            first.grow(50).await;
            first.settle();
            assert!(poll_once(Box::pin(second.grow(50))).await.is_none());
            // The bytes that exceed the pool's size do not use the part for small requests.
            assert!(
                poll_once(Box::pin(pool.take(10, Part::Any)))
                    .await
                    .is_some()
            );
            drop(first);
            second.grow(50).await;
            assert_eq!(second.bytes(), 60);
            drop((second, all));
            assert!(
                poll_once(Box::pin(pool.take(80, Part::Any)))
                    .await
                    .is_some()
            );
        });
    }

    #[test]
    fn who_stands_longest_is_closed_when_others_wait() {
        block_on(async {
            let pool = Pool::new(30);
            let closers = [(); 3].map(|()| Arc::new(Closer::default()));
            let mut held = Vec::new();
            for closer in &closers {
                let mut admission = pool.take(10, Part::Any).await;
                admission.depends_on(closer);
                held.push(admission);
            }
            held[0].set(10);
            let mut waiting = Box::pin(pool.take(5, Part::Any));
            let closed = future::or(
                async {
                    (&mut waiting).await;
                    false
                },
                async {
                    closers[1].wait().await;
                    true
                },
            );
            assert!(closed.await, "the one that stands longest");
            for (at, is_closed) in [(0, false), (2, false)] {
                let closed = poll_once(Box::pin(closers[at].wait())).await.is_some();
                assert_eq!(closed, is_closed, "{at}");
            }
            drop(held.remove(1));
            assert_eq!(waiting.await.bytes(), 5);
        });
    }

    #[test]
    fn a_share_leaves_something_for_the_next() {
        let pool = Pool::new(1600);
        let shares: Vec<_> = (0..1000).map(|_| pool.take_share(1 << 20)).collect();
        assert_eq!(shares[0].bytes(), 100);
        assert!(pool.lock().free > 0);
        assert_eq!(pool.take_share(0).bytes(), 0);
    }

    #[test]
    fn room_for_an_answer_follows_how_large_they_are() {
        block_on(async {
            let memory = Memory::new(1 << 20, 1 << 20);
            assert!(memory.room_for_answer(3).await.is_none());
            let frame = |bytes| [Chunk::Read(vec![0; bytes].into())];
            let answer = memory.charge_answer(3, &frame(300_000), None);
            assert!(answer.bytes() >= 300_000);
            let room = memory.room_for_answer(3).await;
            assert!(room.as_ref().is_some_and(|room| room.bytes() >= 300_000));
            assert_eq!(memory.charge_answer(3, &frame(100), room).bytes(), 0);
            for _ in 0..40 {
                memory.charge_answer(3, &frame(100), None);
            }
            assert!(memory.room_for_answer(3).await.is_none());
        });
    }
}
