//! Continues reading behind damaged bytes: they cost only the commit that they are in.

use std::sync::atomic::Ordering;

use sedge_protocol::ids::{Offset, PartitionId};

use crate::disk::SegmentFile;
use crate::error::{Error, is_unreadable};
use crate::format::Run;
use crate::ids::SegmentId;
use crate::limits;
use crate::segment::scan::{Found, Scanner};
use crate::store::Store;

/// Returns the position of the next whole frame after `from`, before `end`, if there is no frame at
/// `from`.
pub(crate) fn frame_behind(
    store: &Store,
    file: &dyn SegmentFile,
    segment: SegmentId,
    generation: u64,
    from: u64,
    end: u64,
) -> Result<Option<u64>, Error> {
    log::error!(
        "segment {} is damaged at {from}: reads pass over the damage",
        segment.0
    );
    store.counters.damaged.fetch_add(1, Ordering::Relaxed);
    store.suspect(segment);
    Ok(match Scanner::new(file, generation, from, end).next()? {
        Found::Frame { position, .. } => Some(position),
        Found::Hole { end, .. } => Some(end),
        Found::End { .. } => None,
    })
}

/// Handles a run in a segment that does not exist, or whose file does not.
pub(crate) fn segment_is_gone(store: &Store, partition: PartitionId, run: &Run) {
    log::error!(
        "partition {partition}: segment {}, which had the offsets before {}, is missing: reads \
         pass over them",
        run.segment.0,
        run.next
    );
    store.counters.damaged.fetch_add(1, Ordering::Relaxed);
    store.suspect(run.segment);
}

/// Returns whether a part of a commit could be read. If not, its damage has been recorded.
pub(crate) fn read_over(
    store: &Store,
    partition: PartitionId,
    read: Result<(), Error>,
) -> Result<bool, Error> {
    match read {
        Err(Error::Corrupt {
            segment,
            position,
            what,
        }) => {
            log::error!(
                "partition {partition}: segment {} is damaged at {position} ({what}): reads pass \
                 over the damage",
                segment.0
            );
            store.counters.damaged.fetch_add(1, Ordering::Relaxed);
            store.suspect(segment);
            Ok(false)
        }
        read => read.map(|()| true),
    }
}

impl Store {
    /// Tells the scrub which segments to check after a read from `from` failed: the unreadable
    /// place is in one of them.
    pub(crate) fn note_failed<T>(
        &self,
        partition: PartitionId,
        from: Offset,
        read: Result<T, Error>,
    ) -> Result<T, Error> {
        let Err(Error::Io { source, .. }) = &read else {
            return read;
        };
        if is_unreadable(source) {
            let mut from = from;
            for _ in 0..limits::SUSPECTS_AT_ONCE {
                let Some((_, run)) = self.catalog.run_at(partition, from)? else {
                    break;
                };
                self.suspect(run.segment);
                from = run.next.max(from.plus(1));
            }
        }
        read
    }
}
