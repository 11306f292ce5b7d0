//! How a store is opened, and what opening found.

use super::damage::LostRange;
use crate::ids::SegmentId;
use crate::limits;

/// Options for opening a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a segment file: 16 MiB in the small profile, 64 MiB otherwise.
    pub segment_bytes: u64,
    /// Block cache of the views.
    pub cache_bytes: u64,
    /// Pending view updates beyond this are flushed by `append` itself.
    pub views_flush_bytes: usize,
    /// Files of freed segments that are kept to be used again.
    pub spare_segments_max: usize,
    /// The cluster that the directory must belong to. A new directory takes this id, or a generated
    /// one if it is `None`.
    pub cluster_id: Option<String>,
    pub node_id: i32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            cache_bytes: 1 << 20,
            views_flush_bytes: 512 << 10,
            spare_segments_max: limits::SPARE_SEGMENTS_MAX,
            cluster_id: None,
            node_id: 0,
        }
    }
}

/// The owner of the data, as `meta.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster_id: String,
    pub node_id: i32,
}

/// A last frame that was cut off because it was incomplete: it held nothing that was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub segment: SegmentId,
    pub position: u64,
    pub bytes: u64,
}

/// Bytes that should be frames and are not, with valid frames behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    pub segment: SegmentId,
    pub position: u64,
    pub bytes: u64,
    /// Offsets that it held, as far as its heads or later frames tell.
    pub lost: Vec<LostRange>,
}

impl Hole {
    /// Adds a range, merged with the last range of the partition if the two are adjacent.
    pub(crate) fn add_lost(&mut self, lost: LostRange) {
        let mut of_it = self.lost.iter_mut().rev();
        match of_it.find(|of| of.partition == lost.partition) {
            Some(last) if last.next_offset == lost.base_offset => {
                last.next_offset = lost.next_offset;
            }
            _ => self.lost.push(lost),
        }
    }
}

/// The result of opening: what was found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Commits after the views' applied sequence.
    pub frames_replayed: u64,
    pub torn_tail: Option<TornTail>,
    pub holes: Vec<Hole>,
    /// Segments whose header is damaged; they are read by the information in their frames.
    pub damaged_headers: Vec<SegmentId>,
    /// Cold segments whose footer is damaged, but which have all of their frames.
    pub damaged_footers: Vec<SegmentId>,
    /// The views were missing, unreadable or ahead of the log, and were rebuilt.
    pub views_rebuilt: bool,
    /// The log ended before the commits that the views had seen: the disk did not keep what it had
    /// synced.
    pub lost_tail: bool,
    /// The largest append clock of the commits found; `None` in a new log.
    pub newest_append_ms: Option<i64>,
    /// The last segment was not sealed and reuses a file of another one, so unsynced commits behind
    /// its last frame, if any, cannot be detected.
    pub tail_unknown: bool,
    pub ms: u64,
}
