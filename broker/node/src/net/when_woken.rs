//! Lets futures share a task without being polled for each other's wakes.
//!
//! A connection reads and writes in one task. Each wake of the task would poll both halves, and a
//! half that is polled for nothing costs a system call to learn that its socket is not ready.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use atomic_waker::AtomicWaker;

/// A future that is polled only after its own waker was called.
pub struct WhenWoken<F> {
    future: Pin<Box<F>>,
    flag: Arc<Flag>,
    waker: Waker,
}

#[derive(Default)]
struct Flag {
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F: Future> WhenWoken<F> {
    pub fn new(future: F) -> Self {
        let flag = Arc::new(Flag::default());
        // The future has not been polled yet.
        flag.is_woken.store(true, Ordering::Release);
        Self {
            future: Box::pin(future),
            waker: Waker::from(Arc::clone(&flag)),
            flag,
        }
    }
}

impl<F: Future> Future for WhenWoken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Registered before the flag is read, so that no wake is missed in between.
        self.flag.task.register(context.waker());
        if !self.flag.is_woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let this = &mut *self;
        this.future
            .as_mut()
            .poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_lite::future::{block_on, or, poll_fn, yield_now};

    use super::*;

    #[test]
    fn a_half_is_not_polled_for_the_other() {
        let (sleeper_polls, mut wakes) = (Cell::new(0), 0);
        let sleeper = WhenWoken::new(poll_fn(|_| {
            sleeper_polls.set(sleeper_polls.get() + 1);
            Poll::<()>::Pending
        }));
        let busy = WhenWoken::new(async {
            for _ in 0..10 {
                yield_now().await;
                wakes += 1;
            }
        });
        block_on(or(sleeper, busy));
        assert_eq!((sleeper_polls.get(), wakes), (1, 10));
    }

    #[test]
    fn a_wake_from_another_thread_is_not_missed() {
        for _ in 0..200 {
            let (sender, receiver) = async_channel::bounded(1);
            let thread = std::thread::spawn(move || sender.send_blocking(7));
            let never = WhenWoken::new(std::future::pending());
            let received = WhenWoken::new(async { receiver.recv().await.unwrap() });
            assert_eq!(block_on(or(never, received)), 7);
            thread.join().unwrap().unwrap();
        }
    }
}
