//! The doctor's report: findings, and the repairs that help.

use std::collections::BTreeSet;

use sedge_protocol::ids::PartitionId;

use crate::api::{Damaged, Identity, LostRange, TornTail};
use crate::ids::SegmentId;
use crate::limits;

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The last write was incomplete: it held nothing that was acknowledged with sync durability.
    TornTail,
    /// There are no views: the next start rebuilds them.
    NoViews,
    /// `meta.toml` cannot be used.
    Meta,
    /// A backup lacks something that its list names.
    Backup,
    /// A segment's header is damaged; its contents are known from the frames.
    Header,
    /// Nothing in a segment can be read.
    Segment,
    /// The device cannot read bytes that belong to no partition.
    Unreadable,
    /// A stretch without frames, where frames should be.
    Frame,
    /// A batch's bytes are not those that were sent.
    Batch,
    /// A frame's table contradicts its batches.
    Table,
    /// Commits are missing between others.
    Commits,
    /// A footer is damaged, or contradicts the frames.
    Footer,
    /// Offsets are missing without an explanation.
    Offsets,
    /// The views contradict the log.
    Views,
    /// A record of an internal topic cannot be decoded.
    Record,
    /// Records that define topics are lost.
    Metadata,
    /// A partition with records that belongs to no topic.
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

    /// Returns whether the next start repairs it without loss.
    pub fn is_ordinary(self) -> bool {
        matches!(self, Self::TornTail | Self::NoViews)
    }

    /// Returns the repair that removes the finding.
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

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    /// Whether it was known or accepted before: every read skips it.
    pub is_known: bool,
    pub segment: Option<SegmentId>,
    pub position: u64,
    pub bytes: u64,
    /// The partition that it is about, if no offsets are lost.
    pub partition: Option<PartitionId>,
    pub lost: Vec<LostRange>,
    pub what: String,
}

impl Finding {
    /// Creates a finding without further details.
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

    /// Returns whether the finding is a problem that has not been dealt with.
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
    /// Number of further findings.
    pub findings_left_out: u64,
    pub segments: u64,
    pub bytes: u64,
    pub commits: u64,
    pub batches: u64,
    pub partitions: u64,
    /// Partitions dropped by a row.
    pub dropped: BTreeSet<PartitionId>,
    /// The largest partition id in any row.
    pub newest_partition: Option<PartitionId>,
    pub(super) torn_tail: Option<TornTail>,
    pub(super) damaged: Vec<Damaged>,
}

impl Report {
    /// Returns whether there is nothing left to deal with.
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
    /// Deletes the views: the next start rebuilds them from the log.
    Views,
    /// Cuts off an incomplete last write, as the next start would.
    TornTail,
    /// Makes an ordinary directory of an incomplete backup, with what is there.
    Backup,
    /// Rewrites damaged segment headers, from what the frames say.
    Headers,
    /// Rewrites damaged segment footers, if all frames are there.
    Footers,
    /// Accepts losses: damaged places and missing offsets are remembered, skipped by reads, and not
    /// reported as wrong again. Their bytes stay as they are.
    Damage,
    /// Reconstructs the topics as far as possible. The caller does this: the store does not know
    /// topics.
    Metadata,
}

impl Repair {
    /// Every repair.
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
