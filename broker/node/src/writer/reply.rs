//! The way of one reply from the writer to its caller.
//!
//! Each produce has one. So a channel is one small allocation, and sending and receiving allocate
//! nothing, unlike those of a queue.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Stopped;

/// Returns both ends of a channel for one reply.
pub fn channel<T>() -> (Done<T>, Awaited<T>) {
    let place = Arc::new(Place(Mutex::new(State::Waiting(None))));
    (Done(Arc::clone(&place)), Awaited(place))
}

/// The sender of a reply. Dropping it without a reply means that the broker is stopping.
pub struct Done<T>(Arc<Place<T>>);

/// The receiver of a reply: a future that ends when the reply is there.
pub struct Awaited<T>(Arc<Place<T>>);

struct Place<T>(Mutex<State<T>>);

enum State<T> {
    /// No reply yet; the task of the receiver, if it has asked.
    Waiting(Option<Waker>),
    Sent(T),
    /// The reply is received, or one of the ends is gone.
    Ended,
}

impl<T> Place<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes to the next state if there was no reply before, and wakes the receiver.
    fn leave_waiting(&self, next: State<T>) {
        let mut state = self.lock();
        if let State::Waiting(waker) = &mut *state {
            let waker = waker.take();
            *state = next;
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T> Done<T> {
    /// Sends the reply. If the caller gave up, the reply is dropped.
    pub fn send(self, reply: T) {
        self.0.leave_waiting(State::Sent(reply));
    }
}

impl<T> Drop for Done<T> {
    fn drop(&mut self) {
        self.0.leave_waiting(State::Ended);
    }
}

impl<T> Drop for Awaited<T> {
    fn drop(&mut self) {
        // What is replaced is dropped without the lock.
        let _left = std::mem::replace(&mut *self.0.lock(), State::Ended);
    }
}

impl<T> Future for Awaited<T> {
    type Output = Result<T, Stopped>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        if let State::Waiting(waker) = &mut *state {
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        Poll::Ready(match std::mem::replace(&mut *state, State::Ended) {
            State::Sent(reply) => Ok(reply),
            State::Waiting(_) | State::Ended => Err(Stopped),
        })
    }
}

impl<T> fmt::Debug for Done<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Done")
    }
}

impl<T> fmt::Debug for Awaited<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Awaited")
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn a_reply_comes_once_before_and_after_it_is_awaited() {
        let (done, awaited) = channel();
        done.send(7);
        assert_eq!(block_on(awaited).ok(), Some(7));
        for _ in 0..200 {
            let (done, awaited) = channel();
            let sender = thread::spawn(move || done.send(vec![7]));
            assert_eq!(block_on(awaited).ok(), Some(vec![7]));
            sender.join().unwrap();
        }
    }

    #[test]
    fn a_sender_that_is_dropped_without_a_reply_ends_the_wait() {
        for _ in 0..200 {
            let (done, awaited) = channel::<u8>();
            let sender = thread::spawn(move || drop(done));
            assert!(block_on(awaited).is_err());
            sender.join().unwrap();
        }
    }

    #[test]
    fn a_reply_for_a_caller_that_gave_up_is_dropped_at_once() {
        let reply = Arc::new(());
        let (done, mut awaited) = channel();
        assert!(block_on(poll_once(&mut awaited)).is_none());
        drop(awaited);
        done.send(Arc::clone(&reply));
        assert_eq!(Arc::strong_count(&reply), 1);
        let (done, awaited) = channel();
        done.send(Arc::clone(&reply));
        drop(awaited);
        assert_eq!(Arc::strong_count(&reply), 1);
    }

    #[test]
    fn the_task_that_asked_last_is_woken() {
        let (done, mut awaited) = channel();
        assert!(block_on(poll_once(&mut awaited)).is_none());
        let waiting = thread::spawn(move || block_on(awaited).ok());
        done.send(7);
        assert_eq!(waiting.join().unwrap(), Some(7));
    }
}
