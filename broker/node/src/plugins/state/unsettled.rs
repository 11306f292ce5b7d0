//! The batches of idempotent producers that a lane has let go of, and that are not settled: the
//! view of producers may not have them yet.

use std::sync::{Mutex, MutexGuard, PoisonError};

use event_listener::Event;
use sedge_core::log::SequenceRange;

/// The sequences of a lane's unsettled batches, in the order of the log. There are as many as
/// requests wait for the writer at most.
#[derive(Debug, Default)]
pub struct Unsettled {
    sequences: Mutex<Vec<SequenceRange>>,
    settled: Event,
}

/// What is known of a batch without the view of producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It follows the newest batch of its producer.
    Next,
    /// The view knows the producer: none of its batches is unsettled.
    InView,
}

impl Unsettled {
    pub fn add(&self, sequence: SequenceRange) {
        self.lock().push(sequence);
    }

    /// Removes a batch that is settled.
    pub fn settle(&self, sequence: &SequenceRange) {
        self.lock().retain(|unsettled| unsettled != sequence);
        self.settled.notify(usize::MAX);
    }

    /// Waits until the place of a batch is known. Returns at once unless the batch is another one
    /// than its producer should send now, such as a repeat.
    pub async fn place(&self, sequence: &SequenceRange) -> Place {
        loop {
            let settled = self.settled.listen();
            {
                let sequences = self.lock();
                let of_producer = |other: &&SequenceRange| other.is_of_same_producer(sequence);
                match sequences.iter().rev().find(of_producer) {
                    None => return Place::InView,
                    Some(newest) if newest.is_followed_by(sequence) => return Place::Next,
                    Some(_) => {}
                }
            }
            settled.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SequenceRange>> {
        self.sequences
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use async_io::block_on;
    use futures_lite::future::poll_once;
    use sedge_protocol::ids::{ProducerEpoch, ProducerId};

    use super::*;

    fn range(producer: i64, first: i32, last: i32) -> SequenceRange {
        SequenceRange {
            producer_id: ProducerId(producer),
            epoch: ProducerEpoch(0),
            first,
            last,
            is_filtered: true,
            transaction: None,
        }
    }

    #[test]
    fn a_batch_has_its_place_if_it_follows_or_once_all_of_its_producer_is_settled() {
        let unsettled = Unsettled::default();
        let place = |of: &SequenceRange| block_on(poll_once(unsettled.place(of)));
        assert_eq!(place(&range(7, 3, 3)), Some(Place::InView));
        unsettled.add(range(7, 0, 4));
        unsettled.add(range(7, 5, 8));
        assert_eq!(place(&range(7, 9, 12)), Some(Place::Next));
        assert_eq!(place(&range(8, 3, 3)), Some(Place::InView));
        let later = SequenceRange {
            epoch: ProducerEpoch(1),
            ..range(7, 0, 9)
        };
        assert_eq!(place(&later), None);
        let repeat = range(7, 0, 4);
        let mut waiting = pin!(unsettled.place(&repeat));
        assert_eq!(block_on(poll_once(&mut waiting)), None);
        unsettled.settle(&range(7, 0, 4));
        assert_eq!(block_on(poll_once(&mut waiting)), None);
        unsettled.settle(&range(7, 5, 8));
        assert_eq!(block_on(waiting), Place::InView);
    }
}
