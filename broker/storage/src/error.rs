//! Errors of the log.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::ids::SegmentId;

/// An operating failure. `Full` and `ReadOnly` occur before anything is written and leave the store
/// unchanged.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no room on the volume, or too many view updates are pending.
    Full,
    /// The volume is mounted read-only.
    ReadOnly,
    /// The operating system refused a call; `doing` says which.
    Io {
        doing: &'static str,
        source: io::Error,
    },
    /// Bytes of the log are not those that were written.
    Corrupt {
        segment: SegmentId,
        position: u64,
        what: &'static str,
    },
    /// The bytes are not in memory, and the caller does not want to wait for the disk.
    NotCached,
    /// The database of the views failed.
    Views(ViewsError),
    /// fjall has too much left to write; the next flush tries again.
    ViewsBusy,
    /// A view has an entry that cannot be decoded.
    ViewEntry { view: &'static str },
    /// An earlier write or sync failed: the process must end.
    Poisoned,
    /// Another process has the data directory open.
    Locked {
        directory: PathBuf,
        process: Option<u32>,
    },
    /// The data directory was written by a newer version.
    NewerFormat {
        directory: PathBuf,
        found: u32,
        known: u32,
    },
    /// The data directory belongs to another cluster or node.
    OtherOwner {
        directory: PathBuf,
        key: &'static str,
        found: String,
        asked: String,
    },
    /// There is no `meta.toml`: it is not a data directory.
    NoData { directory: PathBuf },
    /// A directory for a backup holds something else, or a broker ran on it.
    NoBackup { directory: PathBuf },
    /// A first backup that was interrupted.
    UnfinishedBackup { directory: PathBuf },
    /// A backup lacks something that its list names.
    IncompleteBackup {
        directory: PathBuf,
        missing: Missing,
    },
    /// Taking a backup missed a segment at each try: the last one, and why.
    NotTaken {
        segment: Option<SegmentId>,
        why: Option<&'static str>,
    },
    /// `meta.toml` cannot be understood.
    BadMeta { path: PathBuf, line: usize },
    /// A commit that cannot be stored: larger than 4 GiB or with a batch whose header lies.
    Refused { why: &'static str },
}

/// An error of the database of the views, fjall.
pub struct ViewsError(fjall::Error);

/// The part that an incomplete backup lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// `backup.toml` itself.
    Manifest,
    /// A line that cannot be parsed; 0 if the file ends too soon.
    Line(usize),
    Segment(SegmentId),
    /// The segment is shorter than listed.
    Bytes(SegmentId),
    /// The file is another segment than the listed one.
    Generation(SegmentId),
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Manifest => f.write_str("backup.toml is missing"),
            Self::Line(0) => f.write_str("backup.toml is cut off"),
            Self::Line(line) => write!(f, "line {line} of backup.toml cannot be parsed"),
            Self::Segment(id) => write!(f, "segment {} is missing", id.0),
            Self::Bytes(id) => write!(f, "segment {} is shorter than when it was backed up", id.0),
            Self::Generation(id) => write!(f, "segment {} is not the one that was backed up", id.0),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => {
                f.write_str("no space left on the volume; free some space or lower the retention")
            }
            Self::ReadOnly => f.write_str("the volume is read-only; remount it for writing"),
            Self::Io { doing, source } => write!(f, "cannot {doing}: {source}"),
            Self::Corrupt {
                segment,
                position,
                what,
            } => {
                write!(f, "segment {} is damaged at {position}: {what}", segment.0)
            }
            Self::NotCached => f.write_str(
                "the bytes are not in the page cache; read them where blocking is allowed",
            ),
            Self::Views(source) => write!(f, "the views failed: {source}"),
            Self::ViewsBusy => f.write_str("the views are busy; the next flush retries"),
            Self::ViewEntry { view } => {
                write!(
                    f,
                    "view {view} is damaged; delete the directory DATA/views, and the next start \
                     rebuilds it"
                )
            }
            Self::Poisoned => f.write_str("an earlier write or sync failed; restart the broker"),
            Self::Locked { directory, process } => {
                write!(f, "data directory {} is locked by ", directory.display())?;
                match process {
                    Some(id) => write!(f, "process {id}")?,
                    None => f.write_str("another process")?,
                }
                f.write_str("; stop that process or choose another directory")
            }
            Self::NewerFormat {
                directory,
                found,
                known,
            } => write!(
                f,
                "data directory {} has format {found}, but this version only knows {known}; use \
                 the newer version that wrote the data",
                directory.display()
            ),
            Self::OtherOwner {
                directory,
                key,
                found,
                asked,
            } => write!(
                f,
                "data directory {} has {key} {found}, but the configuration has {asked}; correct \
                 the configuration or choose another directory",
                directory.display()
            ),
            Self::NoData { directory } => write!(
                f,
                "{} is not a data directory: it has no meta.toml; name another with --data",
                directory.display()
            ),
            Self::NoBackup { directory } => write!(
                f,
                "{} is not a backup that can be updated: it has other content, or a broker has run \
                 on it; choose another directory",
                directory.display()
            ),
            Self::UnfinishedBackup { directory } => write!(
                f,
                "{} is a backup that was interrupted; run `sedge backup` again",
                directory.display()
            ),
            Self::IncompleteBackup { directory, missing } => write!(
                f,
                "{} is an incomplete backup: {missing}; copy it again, or run `sedge backup` \
                 again; after `sedge doctor --repair backup` a broker starts with what is there",
                directory.display()
            ),
            Self::NotTaken {
                segment: Some(id),
                why: Some(why),
            } => write!(
                f,
                "the backup failed at segment {}: {why}; try again, as segments may be freed at \
                 the moment; `sedge doctor` says if the segment is damaged",
                id.0
            ),
            Self::NotTaken { .. } => f.write_str(
                "the backup failed: segments are freed faster than they can be copied; try again",
            ),
            Self::BadMeta { path, line: 0 } => write!(
                f,
                "{} is damaged: its checksum does not match; restore it from a backup",
                path.display()
            ),
            Self::BadMeta { path, line } => write!(
                f,
                "{} line {line} cannot be parsed; restore the file from a backup",
                path.display()
            ),
            Self::Refused { why } => write!(f, "the commit is refused: {why}"),
        }
    }
}

impl Error {
    /// Returns whether the call may be retried later, if nothing was applied yet: the disk is full
    /// or read-only, the process or the machine is out of file descriptors or memory, or the commit
    /// is too large.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Full | Self::ReadOnly | Self::Refused { .. } => true,
            Self::Io { source, .. } => is_shortage(source),
            _ => false,
        }
    }

    /// Returns whether the device failed to read bytes somewhere in the log. The doctor says where;
    /// reads skip losses that were accepted.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_unreadable(source))
    }
}

/// Returns whether the operating system is out of a resource that others may release.
fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::NOBUFS)
    )
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Views(source) => Some(source),
            _ => None,
        }
    }
}

impl Error {
    /// Wraps an error of fjall, whose own type stays in this crate.
    pub(crate) fn views(source: fjall::Error) -> Self {
        Self::Views(ViewsError(source))
    }
}

impl std::fmt::Display for ViewsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

impl std::fmt::Debug for ViewsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.0, f)
    }
}

impl std::error::Error for ViewsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0)
    }
}

/// Returns the error of a failed call; a full and a read-only volume have variants of their own.
pub(crate) fn io_error(doing: &'static str, source: io::Error) -> Error {
    match Errno::from_io_error(&source) {
        Some(Errno::NOSPC | Errno::DQUOT) => Error::Full,
        Some(Errno::ROFS) => Error::ReadOnly,
        _ => Error::Io { doing, source },
    }
}

/// Returns whether the device failed to read the bytes, as opposed to a call that cannot work.
/// Direct reads fail with codes of the block layer, and file systems with checksums have their own.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::IO
                | Errno::NODATA
                | Errno::ILSEQ
                | Errno::REMOTEIO
                | Errno::BADMSG
                | Errno::UCLEAN
        )
    )
}
