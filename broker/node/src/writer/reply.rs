//! The way of one reply from the writer to its caller.
//!
//! Each produce has one. So a channel is one small allocation, and sending and receiving allocate
//! nothing, unlike those of a queue.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_channel::oneshot;

use super::Stopped;

/// Returns both ends of a channel for one reply.
pub fn channel<T>() -> (Done<T>, Awaited<T>) {
    let (sender, receiver) = oneshot::channel();
    (Done(sender), Awaited(receiver))
}

/// The sender of a reply. Dropping it without a reply means that the broker is stopping.
#[derive(Debug)]
pub struct Done<T>(oneshot::Sender<T>);

/// The receiver of a reply: a future that ends when the reply is there.
#[derive(Debug)]
pub struct Awaited<T>(oneshot::Receiver<T>);

impl<T> Done<T> {
    /// Sends the reply. If the caller gave up, the reply is dropped.
    pub fn send(self, reply: T) {
        let _given_up = self.0.send(reply);
    }
}

impl<T> Future for Awaited<T> {
    type Output = Result<T, Stopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let received = Pin::new(&mut self.0).poll(context);
        received.map_err(|oneshot::Canceled| Stopped)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
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
