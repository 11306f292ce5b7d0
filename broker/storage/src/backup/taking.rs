//! Takes segments into a backup: by link, by copy, or by keeping those of an earlier backup.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::BackupOptions;
use crate::damage::guarded::Guarded;
use crate::disk::directory::Directory;
use crate::disk::unreadable::Patched;
use crate::disk::{Disk as _, SegmentFile};
use crate::error::{Error, io_error};
use crate::format::{EntryHead, Footer, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::ids::{SegmentId, Sequence};
use crate::limits;
use crate::segment::examine::{Looked, Seen};
use crate::segment::header::header_of;
use crate::segment::listing;

/// The most frequent reason for missing a segment.
const IS_GONE: &str = "its file was removed during the backup";

/// A segment in the target.
pub(super) struct Taken {
    pub generation: u64,
    pub bytes: u64,
    pub last_sequence: Sequence,
}

/// How a segment came into the target this time.
#[derive(Clone, Copy)]
pub(super) struct New {
    pub is_linked: bool,
    pub bytes: u64,
    pub damaged: u64,
}

/// Reason why a segment could not be taken as it was listed.
#[derive(Debug)]
enum Missed {
    /// The segment was freed, or its file was reused.
    Gone(SegmentId, &'static str),
    Failed(Error),
}

/// A listing, and the segment of it that was missed, if any.
type Try = (Vec<SegmentId>, Option<(SegmentId, &'static str)>);

impl From<Error> for Missed {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub(super) struct Taking {
    pub from_folder: PathBuf,
    pub from: Guarded,
    pub folder: PathBuf,
    pub into: Directory,
    pub options: BackupOptions,
    pub new: BTreeMap<SegmentId, New>,
    /// Cold segments that rows in the copied, unsealed segments point at.
    pub pointed_at: BTreeSet<SegmentId>,
}

impl Taking {
    /// Takes every segment of a listing, and lists again until none of it was missed.
    pub fn take_all(&mut self) -> Result<BTreeMap<SegmentId, Taken>, Error> {
        let mut last: Option<Try> = None;
        for _ in 0..limits::BACKUP_LISTINGS_MAX {
            let (ids, missed) = match self.take_listed()? {
                Ok(taken) => return Ok(taken),
                Err(missed) => missed,
            };
            let is_same = missed.is_some() && last.as_ref() == Some(&(ids.clone(), missed));
            last = Some((ids, missed));
            // No segment was freed in between, so another try would end the same.
            if is_same {
                break;
            }
        }
        let missed = last.and_then(|(_, missed)| missed);
        let (segment, why) = missed.unzip();
        Err(Error::NotTaken { segment, why })
    }

    fn take_listed(&mut self) -> Result<Result<BTreeMap<SegmentId, Taken>, Try>, Error> {
        let ids = self.list()?;
        // Reading a directory is not atomic. If two listings agree, that was its state in between.
        if ids != self.list()? {
            return Ok(Err((ids, None)));
        }
        match self.take_each(&ids) {
            Ok(taken) => Ok(Ok(taken)),
            Err(Missed::Gone(id, why)) => Ok(Err((ids, Some((id, why))))),
            Err(Missed::Failed(error)) => Err(error),
        }
    }

    fn list(&self) -> Result<Vec<SegmentId>, Error> {
        let mut ids: Vec<SegmentId> = self.from.list()?.into_iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    fn take_each(&mut self, ids: &[SegmentId]) -> Result<BTreeMap<SegmentId, Taken>, Missed> {
        let mut taken = BTreeMap::new();
        let mut sealed = Vec::new();
        // Unsealed segments are copied first, while they say little that the listing does not know,
        // and get their names last: at any moment the target's log has no hole before its end.
        for id in ids {
            let file = self.from.open(*id)?.ok_or(Missed::Gone(*id, IS_GONE))?;
            let Some(header) = header_as(&*file, *id)? else {
                // The newest segment may not have begun yet. Any other one is unreadable for the
                // broker too.
                if ids.last() != Some(id) {
                    log::error!(
                        "segment {} has no header and is left out of the backup",
                        id.0
                    );
                }
                continue;
            };
            match listing::read_footer(&*file, *id, header.generation)? {
                Some(footer) => {
                    let cold = footer.facts.iter().filter_map(EntryHead::cold_segment);
                    self.pointed_at.extend(cold);
                    sealed.push(*id);
                }
                // A cleaner is writing it, or its footer is damaged, which the rows will tell.
                None if header.is_cold => {}
                None => {
                    taken.insert(*id, self.copy(&*file, &header, None)?);
                }
            }
        }
        sealed.extend(self.cold_of_tail(ids, &sealed)?);
        let copied: Vec<SegmentId> = taken.keys().copied().collect();
        for id in sealed {
            taken.insert(id, self.take_sealed(id)?);
        }
        for id in copied {
            self.name(id)?;
        }
        Ok(taken)
    }

    /// Takes cold segments that came into use between the listing and the copy of the unsealed
    /// segments. One that is gone again counts as missed; one that was gone before the listing is
    /// no longer needed.
    fn cold_of_tail(
        &self,
        listed: &[SegmentId],
        sealed: &[SegmentId],
    ) -> Result<Vec<SegmentId>, Missed> {
        let newest = listed.last().copied().unwrap_or_default();
        let mut more = Vec::new();
        for id in &self.pointed_at {
            if sealed.contains(id) {
                continue;
            }
            match self.from.open(*id)? {
                Some(file) if header_of(&*file, *id)?.is_none() => {
                    log::error!(
                        "segment {}, which the log refers to, cannot be read and is left out of \
                         the backup",
                        id.0
                    );
                }
                Some(_) => more.push(*id),
                None if *id > newest || listed.contains(id) => {
                    return Err(Missed::Gone(*id, IS_GONE));
                }
                None => {}
            }
        }
        Ok(more)
    }

    fn take_sealed(&mut self, id: SegmentId) -> Result<Taken, Missed> {
        let file = self.from.open(id)?.ok_or(Missed::Gone(id, IS_GONE))?;
        let other = Missed::Gone(id, "its file was used for another segment");
        let header = header_as(&*file, id)?.ok_or(other)?;
        let Some(footer) = listing::read_footer(&*file, id, header.generation)? else {
            return self.take_without_footer(&*file, &header);
        };
        if let Some(kept) = self.kept(id, &header, &footer)? {
            return Ok(kept);
        }
        if !self.options.copy && self.link(id, &header)? {
            let linked = self.into.open(id)?.ok_or(Missed::Gone(id, IS_GONE))?;
            let is_same = header_as(&*linked, id)?.is_some_and(|of| of == header)
                && listing::read_footer(&*linked, id, header.generation)?.is_some();
            if !is_same {
                self.into.remove(id)?;
                return Err(Missed::Gone(id, "its file was used for another segment"));
            }
            // The part of the footer that the broker has not yet synced.
            linked
                .sync_data()
                .map_err(|source| io_error("sync a segment", source))?;
            let damaged = damaged_in(&*linked, &header, &footer)?;
            let taken = taken(&header, &footer, &*linked)?;
            let new = New {
                is_linked: true,
                bytes: taken.bytes,
                damaged,
            };
            self.new.insert(id, new);
            return Ok(taken);
        }
        let taken = self.copy(&*file, &header, Some(&footer))?;
        self.name(id)?;
        Ok(taken)
    }

    /// Takes a cold segment that a row points at: it was complete before that, its footer included.
    /// Copies its frames as they are, and rebuilds the footer if all of them are there.
    fn take_without_footer(
        &mut self,
        file: &dyn SegmentFile,
        header: &SegmentHeader,
    ) -> Result<Taken, Missed> {
        let id = header.id;
        if !header.is_cold {
            return Err(Missed::Gone(id, "its footer was removed during the backup"));
        }
        let mut taken = self.copy(file, header, None)?;
        let listed = listing::list_frames(file, id, header.generation)?;
        if listed.is_whole && listed.had_footer {
            let (at, footer) = (listed.footer.frames_end, listed.footer.encode());
            let failed = |source| io_error("write a segment's footer", source);
            let to = File::options().write(true).open(self.unnamed(id));
            let to = to.map_err(failed)?;
            to.write_all_at(&footer, at).map_err(failed)?;
            to.sync_data().map_err(failed)?;
            taken.bytes = at + footer.len() as u64;
            taken.last_sequence = listed.footer.last_sequence;
        } else {
            log::error!(
                "segment {} ends before its footer: what followed position {} is not in the backup",
                id.0,
                listed.footer.frames_end
            );
        }
        self.name(id)?;
        Ok(taken)
    }

    /// Returns the target's copy of the segment, if it is whole.
    fn kept(
        &self,
        id: SegmentId,
        header: &SegmentHeader,
        footer: &Footer,
    ) -> Result<Option<Taken>, Error> {
        let Some(there) = self.into.open(id)? else {
            return Ok(None);
        };
        let is_same = header_as(&*there, id)?.is_some_and(|of| of == *header)
            && listing::read_footer(&*there, id, header.generation)?
                .is_some_and(|of| of == *footer);
        if is_same {
            Ok(Some(taken(header, footer, &*there)?))
        } else {
            Ok(None)
        }
    }

    /// Links a segment's file. Returns false if the file systems do not support it.
    fn link(&self, id: SegmentId, header: &SegmentHeader) -> Result<bool, Missed> {
        let name = Directory::name(id);
        let new = self.unnamed(id);
        let failed = |source| Missed::Failed(io_error("link a segment", source));
        remove_if_there(&new).map_err(failed)?;
        match std::fs::hard_link(self.from_folder.join(&name), &new) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Missed::Gone(id, IS_GONE));
            }
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP) => {
                    return Ok(false);
                }
                _ => return Err(failed(error)),
            },
        }
        // The broker checks a file for other names after it has removed the segment's own name. So
        // it sees every link made while the segment still had its name, which this check confirms.
        if !self.from_folder.join(&name).try_exists().map_err(failed)? {
            remove_if_there(&new).map_err(failed)?;
            return Err(Missed::Gone(
                id,
                "its segment was freed while the file was linked",
            ));
        }
        log::debug!(
            "segment {} of generation {} is linked",
            id.0,
            header.generation
        );
        self.name(id)?;
        Ok(true)
    }

    fn unnamed(&self, id: SegmentId) -> PathBuf {
        self.folder.join(format!("{}.new", Directory::name(id)))
    }

    /// Gives the taken file its name.
    fn name(&self, id: SegmentId) -> Result<(), Error> {
        std::fs::rename(self.unnamed(id), self.folder.join(Directory::name(id)))
            .map_err(|source| io_error("name a segment", source))
    }

    /// Copies the whole frames, and the footer if there is one, to a file without the segment's
    /// name.
    fn copy(
        &mut self,
        file: &dyn SegmentFile,
        header: &SegmentHeader,
        footer: Option<&Footer>,
    ) -> Result<Taken, Missed> {
        let failed = |source| io_error("copy a segment", source);
        let mut last = Sequence(header.first_sequence.0.saturating_sub(1));
        let mut frames_end = SEGMENT_HEADER_BYTES;
        let mut damaged = 0;
        let pointed_at = &mut self.pointed_at;
        let bytes = file.bytes().map_err(failed)?;
        let looked = Looked {
            file,
            id: header.id,
            generation: header.generation,
            end: footer.map_or(bytes, |footer| footer.frames_end),
            footer,
            is_full: footer.is_some(),
        };
        looked.look(
            SEGMENT_HEADER_BYTES,
            u64::MAX >> 1,
            &mut |seen| match seen {
                Seen::Frame { head, .. } => {
                    last = head.sequence;
                    pointed_at.extend(head.entries.iter().filter_map(EntryHead::cold_segment));
                }
                Seen::Damaged { .. } => damaged += 1,
                Seen::End { position, .. } => frames_end = position,
                Seen::Batch { .. } | Seen::Wrong { .. } => {}
            },
        )?;
        let end = if footer.is_some() { bytes } else { frames_end };
        let new = self.unnamed(header.id);
        remove_if_there(&new).map_err(failed)?;
        let to = Directory::create_at(&new, end).map_err(failed)?;
        copy_bytes(header.id, file, &*to, end)?;
        // The file may have been freed and reused while it was read. The copy itself is read again.
        let is_same = header_as(&*to, header.id)?.is_some_and(|of| of == *header);
        let again = Looked {
            file: &*to,
            end: footer.map_or(end, |footer| footer.frames_end),
            ..looked
        };
        if !is_same || frames_of(&again)? != (Some(frames_end), damaged) {
            remove_if_there(&new).map_err(failed)?;
            return Err(Missed::Gone(
                header.id,
                "its file changed while it was read",
            ));
        }
        let new = New {
            is_linked: false,
            bytes: end,
            damaged,
        };
        self.new.insert(header.id, new);
        Ok(Taken {
            generation: header.generation,
            bytes: end,
            last_sequence: footer.map_or(last, |footer| footer.last_sequence),
        })
    }

    /// Removes the segments that were freed since the earlier backup.
    pub fn remove_all_but(&self, taken: &BTreeMap<SegmentId, Taken>) -> Result<u64, Error> {
        let mut removed = 0;
        for (id, _) in self.into.list()? {
            if !taken.contains_key(&id) {
                self.into.remove(id)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    pub fn sync_folder(&self) -> Result<(), Error> {
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| io_error("sync the backup's names", source))
    }
}

/// Returns the header of a file, if it is that of segment `id`. A damaged header is accepted,
/// completed with what the frames say.
fn header_as(file: &dyn SegmentFile, id: SegmentId) -> Result<Option<SegmentHeader>, Error> {
    let known = header_of(file, id)?;
    Ok(known
        .map(|known| known.header)
        .filter(|header| header.id == id))
}

/// Copies the bytes up to `end` and syncs them.
fn copy_bytes(
    id: SegmentId,
    from: &dyn SegmentFile,
    to: &dyn SegmentFile,
    end: u64,
) -> Result<(), Missed> {
    let failed = |source| io_error("copy a segment", source);
    let mut at = 0;
    while at < end {
        let part = from
            .read_at(at, (end - at).min(limits::COPY_BYTES) as usize)
            .map_err(failed)?;
        if part.is_empty() {
            return Err(Missed::Gone(
                id,
                "its file became shorter while it was read",
            ));
        }
        to.write_at(at, &[IoSlice::new(&part)]).map_err(failed)?;
        at += part.len() as u64;
    }
    to.sync_data().map_err(failed)?;
    Ok(())
}

/// Returns where the frames end, and the number of damaged places in them.
fn frames_of(looked: &Looked<'_>) -> Result<(Option<u64>, u64), Error> {
    let (mut end, mut damaged) = (None, 0);
    looked.look(
        SEGMENT_HEADER_BYTES,
        u64::MAX >> 1,
        &mut |seen| match seen {
            Seen::End { position, .. } => end = Some(position),
            Seen::Damaged { .. } => damaged += 1,
            _ => {}
        },
    )?;
    Ok((end, damaged))
}

/// Returns the number of damaged places in a segment that was linked.
fn damaged_in(
    file: &dyn SegmentFile,
    header: &SegmentHeader,
    footer: &Footer,
) -> Result<u64, Error> {
    let looked = Looked {
        file: &Patched::new(file),
        id: header.id,
        generation: header.generation,
        end: footer.frames_end,
        footer: Some(footer),
        is_full: true,
    };
    Ok(frames_of(&looked)?.1)
}

fn taken(header: &SegmentHeader, footer: &Footer, file: &dyn SegmentFile) -> Result<Taken, Error> {
    let bytes = file
        .bytes()
        .map_err(|source| io_error("look at a segment", source))?;
    Ok(Taken {
        generation: header.generation,
        bytes,
        last_sequence: footer.last_sequence,
    })
}

pub(super) fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
