//! The writer thread's loop: gather requests, then one round for each commit.

use async_channel::Receiver;

use super::flusher::Flusher;
use super::flushes::Flushes;
use super::round::Round;
use super::state::State;
use super::{Request, gather};
use crate::log::Log;

/// Runs until [`Request::Stop`], or until all handles are gone.
pub fn run(
    log: &Log,
    mut state: State,
    queue: &Receiver<Request>,
    flushes: &Flushes,
    flusher: Flusher,
) {
    let mut requests = Vec::new();
    let mut stopping = false;
    while !stopping {
        let Ok(first) = queue.recv_blocking() else {
            break;
        };
        let recent = flusher.recent();
        gather::fill(first, queue, &mut requests, recent, |request| {
            request.is_flushed(log)
        });
        stopping = requests
            .iter()
            .any(|request| matches!(request, Request::Stop));
        while !requests.is_empty() {
            let together = in_one_commit(&requests);
            let some = requests.drain(..together);
            if let Some(flushed) = Round::new(log, &mut state, flushes).run(some) {
                flusher.settle_flushed(flushed);
            }
        }
    }
    flusher.end();
    flushes.flush(&*log.store);
}

/// Returns how many of the requests go into the next commit. There is one request at least. A part
/// of a snapshot has a commit of its own: damage costs the whole commit that it is in, and a rotten
/// copy must not take records with it.
pub(super) fn in_one_commit(requests: &[Request]) -> usize {
    let is_alone = |request: &Request| matches!(request, Request::AppendSnapshot { .. });
    let before = requests.iter().position(is_alone);
    before.unwrap_or(requests.len()).max(1)
}
