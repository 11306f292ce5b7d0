//! The topics of the load, and the records that their logs may lose.

use sedge_tests::wire::{self, Connection};

/// How a log loses records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loses {
    /// By requests of a client only.
    OnRequest,
    /// By `retention.bytes`: its newest bytes stay.
    BySize,
    /// By `retention.ms`.
    ByTime,
    /// By compaction: newer records supersede those of the same key.
    ByKey,
    /// By compaction and `retention.ms`.
    ByKeyAndTime,
}

/// A topic of the load.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    pub name: &'static str,
    pub partitions: i32,
    pub loses: Loses,
    configs: &'static [(&'static str, &'static str)],
}

/// `retention.bytes` of topics with [`Loses::BySize`].
pub const RETENTION_BYTES: usize = 1_000_000;

/// One topic per producer, shortened by `DeleteRecords`.
pub const SHORTENED: [&str; 4] = ["load-0", "load-1", "load-2", "load-3"];
pub const RETAINED: &str = "retained";
pub const AGED: &str = "aged";
pub const STAYS: &str = "stays";
/// Compacted topics, each written to by one producer.
pub const COMPACTED: [&str; 2] = ["state", "fresh"];
/// A record acknowledged here was written after everything that was read before.
pub const MARKS: &str = "marks";

const fn kept(name: &'static str, partitions: i32) -> Topic {
    Topic {
        name,
        partitions,
        loses: Loses::OnRequest,
        configs: &[],
    }
}

pub const ALL: [Topic; 10] = [
    kept(SHORTENED[0], 4),
    kept(SHORTENED[1], 4),
    kept(SHORTENED[2], 4),
    kept(SHORTENED[3], 4),
    // A little in each segment, which becomes sparse around it.
    kept(STAYS, 20),
    kept(MARKS, 1),
    Topic {
        name: RETAINED,
        partitions: 4,
        loses: Loses::BySize,
        configs: &[("retention.bytes", "1000000")],
    },
    Topic {
        name: AGED,
        partitions: 4,
        loses: Loses::ByTime,
        configs: &[("retention.ms", "800")],
    },
    Topic {
        name: COMPACTED[0],
        partitions: 2,
        loses: Loses::ByKey,
        configs: &[
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.1"),
            ("delete.retention.ms", "300"),
        ],
    },
    Topic {
        name: COMPACTED[1],
        partitions: 2,
        loses: Loses::ByKeyAndTime,
        configs: &[
            ("cleanup.policy", "compact,delete"),
            ("min.cleanable.dirty.ratio", "0.1"),
            // Rolls the active segment, so that cleaning comes close to the end of the log.
            ("max.compaction.lag.ms", "700"),
            ("delete.retention.ms", "300"),
            ("retention.ms", "4000"),
        ],
    },
];

impl Topic {
    pub fn is_compacted(&self) -> bool {
        matches!(self.loses, Loses::ByKey | Loses::ByKeyAndTime)
    }
}

pub fn create_all(connection: &mut Connection) {
    for topic in &ALL {
        wire::create_topic(connection, topic.name, topic.partitions, topic.configs);
    }
}

/// Returns each partition of each topic.
pub fn partitions() -> impl Iterator<Item = (&'static Topic, i32)> {
    ALL.iter()
        .flat_map(|topic| (0..topic.partitions).map(move |partition| (topic, partition)))
}
