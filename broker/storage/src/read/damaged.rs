//! Reading on behind bytes of a segment that are not what was written: they cost the commit that
//! they are in, and no other.

use std::sync::atomic::Ordering;

use sedge_protocol::ids::{Offset, PartitionId};

use crate::disk::SegmentFile;
use crate::error::{Error, is_unreadable};
use crate::format::Run;
use crate::ids::SegmentId;
use crate::limits;
use crate::segment::scan::{Found, Scanner};
use crate::store::Store;

/// Returns where the next whole frame begins after `from`, if that is no frame, before `end`.
pub(crate) fn frame_behind(
    store: &Store,
    file: &dyn SegmentFile,
    segment: SegmentId,
    generation: u64,
    from: u64,
    end: u64,
) -> Result<Option<u64>, Error> {
    log::error!("segment {} is damaged at {from}: read over", segment.0);
    store.counters.damaged.fetch_add(1, Ordering::Relaxed);
    store.suspect(segment);
    Ok(match Scanner::new(file, generation, from, end).next()? {
        Found::Frame { position, .. } => Some(position),
        Found::Hole { end, .. } => Some(end),
        Found::End { .. } => None,
    })
}

/// The index names a segment that is not there, or whose file is not.
pub(crate) fn segment_is_gone(store: &Store, partition: PartitionId, run: &Run) {
    log::error!(
        "partition {partition}: segment {}, which has the offsets before {}, is gone: read over",
        run.segment.0,
        run.next
    );
    store.counters.damaged.fetch_add(1, Ordering::Relaxed);
    store.suspect(run.segment);
}

/// Whether a part of a commit could be read, with what was done about it if it could not.
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
                "partition {partition}: segment {} is damaged at {position} ({what}): read over",
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
    /// Tells the scrub where to look next after a read from `from` on failed: what cannot be read
    /// is somewhere in these segments.
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
