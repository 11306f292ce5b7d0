//! The doctor's report: findings, and the repairs that help.

use std::collections::BTreeSet;

use sedge_protocol::ids::PartitionId;

use crate::api::{Damaged, Identity, LostRange, TornTail};
use crate::ids::SegmentId;
use crate::limits;

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The last write was not whole: nothing that was acknowledged with sync durability is in it.
    TornTail,
    /// There are no views: the next start makes them.
    NoViews,
    /// `meta.toml` cannot be used.
    Meta,
    /// A backup does not have what its list says.
    Backup,
    /// A segment's header is damaged; what it said is known from its frames.
    Header,
    /// Nothing in a segment can be read.
    Segment,
    /// The device does not give bytes that no partition has.
    Unreadable,
    /// A stretch without frames, where frames should be.
    Frame,
    /// A batch whose bytes are not what was sent.
    Batch,
    /// A frame's table says something else than its batches.
    Table,
    /// Commits are missing between others.
    Commits,
    /// A footer is damaged, or is not what the frames say.
    Footer,
    /// Offsets are missing, and nothing explains it.
    Offsets,
    /// The views are not what the log says.
    Views,
    /// A record of an internal topic cannot be understood.
    Record,
    /// Records are lost that say which topics there are.
    Metadata,
    /// A partition with records that no topic has.
    Orphan,
}

impl Kind {
    /// Returns the name that reports use.
    pub fn name(self) -> &'static str {
        match self {
            Self::TornTail => "torn-tail",
            Self::NoViews => "no-views",
            Self::Meta => "meta",
            Self::Backup => "backup",
            Self::Header => "header",
            Self::Segment => "segment",
            Self::Unreadable => "unreadable",
            Self::Frame => "frame",
            Self::Batch => "batch",
            Self::Table => "table",
            Self::Commits => "commits",
            Self::Footer => "footer",
            Self::Offsets => "offsets",
            Self::Views => "views",
            Self::Record => "record",
            Self::Metadata => "metadata",
            Self::Orphan => "orphan",
        }
    }

    /// Whether the next start puts it right without any loss.
    pub fn is_ordinary(self) -> bool {
        matches!(self, Self::TornTail | Self::NoViews)
    }

    /// The repair that does away with it.
    pub fn repair(self) -> Option<Repair> {
        match self {
            Self::TornTail => Some(Repair::TornTail),
            Self::Views => Some(Repair::Views),
            Self::Backup => Some(Repair::Backup),
            Self::Header => Some(Repair::Headers),
            Self::Footer => Some(Repair::Footers),
            Self::Metadata | Self::Orphan => Some(Repair::Metadata),
            Self::Segment | Self::Frame | Self::Batch | Self::Offsets | Self::Unreadable => {
                Some(Repair::Damage)
            }
            _ => None,
        }
    }
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    /// Whether it was found, or accepted, before: every read passes over it.
    pub is_known: bool,
    pub segment: Option<SegmentId>,
    pub position: u64,
    pub bytes: u64,
    /// Whom it is about, if no offsets are lost.
    pub partition: Option<PartitionId>,
    pub lost: Vec<LostRange>,
    pub what: String,
}

impl Finding {
    /// A finding about nothing in particular yet.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            is_known: false,
            segment: None,
            position: 0,
            bytes: 0,
            partition: None,
            lost: Vec::new(),
            what: what.into(),
        }
    }

    pub(super) fn at(self, segment: SegmentId, position: u64, bytes: u64) -> Self {
        Self {
            segment: Some(segment),
            position,
            bytes,
            ..self
        }
    }

    pub(super) fn of(self, partition: Option<PartitionId>) -> Self {
        Self { partition, ..self }
    }

    /// Whether the finding is something wrong that is not dealt with.
    pub fn is_wrong(&self) -> bool {
        !self.is_known && !self.kind.is_ordinary()
    }
}

/// The doctor's report: what was looked at and what was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub identity: Option<Identity>,
    /// Findings in the order of the log, at most [`limits::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many more there were.
    pub findings_left_out: u64,
    pub segments: u64,
    pub bytes: u64,
    pub commits: u64,
    pub batches: u64,
    pub partitions: u64,
    /// Partitions that a row dropped.
    pub dropped: BTreeSet<PartitionId>,
    /// The largest partition id that a row names.
    pub newest_partition: Option<PartitionId>,
    pub(super) torn_tail: Option<TornTail>,
    pub(super) damaged: Vec<Damaged>,
}

impl Report {
    /// Whether nothing is left to deal with.
    pub fn is_clean(&self) -> bool {
        self.findings_left_out == 0 && !self.findings.iter().any(Finding::is_wrong)
    }

    pub(super) fn note(&mut self, finding: Finding) {
        if self.findings.len() < limits::FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_left_out += u64::from(finding.is_wrong());
        }
    }
}

/// A repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repair {
    /// Throws the views away: the next start makes them anew from the log.
    Views,
    /// Cuts a last write that is not whole, as the next start would.
    TornTail,
    /// Makes an ordinary directory of a backup that is not whole, with what is there.
    Backup,
    /// Writes damaged headers of segments again, from what their frames say.
    Headers,
    /// Writes damaged footers of segments again, if all of the frames are there.
    Footers,
    /// Accepts what is lost: damaged places and missing offsets are remembered, passed over by
    /// reads, and not reported as wrong again. Their bytes stay as they are.
    Damage,
    /// Writes the topics anew, as far as they can be told. The caller does it: the store does not
    /// know what a topic is.
    Metadata,
}

impl Repair {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Views,
        Self::TornTail,
        Self::Backup,
        Self::Headers,
        Self::Footers,
        Self::Damage,
        Self::Metadata,
    ];

    /// Returns the name that the command line uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Views => "views",
            Self::TornTail => "torn-tail",
            Self::Backup => "backup",
            Self::Headers => "headers",
            Self::Footers => "footers",
            Self::Damage => "damage",
            Self::Metadata => "metadata",
        }
    }
}
