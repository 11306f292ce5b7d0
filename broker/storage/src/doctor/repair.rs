//! What the doctor may change, each only when it is told to.

use std::io::IoSlice;

use crate::api::SegmentId;
use crate::backup;
use crate::disk::directory::io_error;
use crate::disk::unreadable::Patched;
use crate::error::Error;
use crate::header::{Known, header_of};
use crate::known_damage::DamageList;
use crate::meta;
use crate::scan;

use super::{Doctor, Kind, Report};

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
    /// Writes damaged footers of segments again, where all of the frames are there.
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

    /// As the command line names it.
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

impl Doctor {
    /// Does it, for what a report of this doctor says.
    ///
    /// # Errors
    /// The disk's.
    pub fn repair(&self, repair: Repair, report: &Report) -> Result<(), Error> {
        match repair {
            Repair::Metadata => {}
            Repair::Views => {
                let views = self.directory.join("views");
                if views.exists() {
                    std::fs::remove_dir_all(&views)
                        .map_err(|source| io_error("remove the views", source))?;
                }
            }
            Repair::TornTail => {
                if let Some(torn) = &report.torn_tail
                    && let Some(file) = self.disk.open(torn.segment)?
                {
                    let header = scan::read_header(&*file)?;
                    if header.is_some_and(|header| header.previous_generation.is_some()) {
                        // What is torn cannot be told from what was there before.
                        file.truncate(torn.position)
                            .and_then(|()| file.sync_data())
                            .map_err(|source| io_error("cut a segment", source))?;
                    } else {
                        scan::wipe(&*file, torn.position, torn.position + torn.bytes)?;
                    }
                }
            }
            Repair::Backup => {
                backup::make_ordinary(&self.directory, &meta::read(&self.directory)?)?;
            }
            Repair::Headers => {
                let damaged = report.findings.iter().filter(|of| of.kind == Kind::Header);
                for id in damaged.filter_map(|of| of.segment) {
                    self.write_header(id)?;
                }
            }
            Repair::Footers => {
                let damaged = report.findings.iter().filter(|of| of.kind == Kind::Footer);
                for id in damaged.filter_map(|of| of.segment) {
                    self.write_footer(id)?;
                }
            }
            Repair::Damage => {
                DamageList::load(&self.directory)?.accept(report.damaged.clone())?;
            }
        }
        Ok(())
    }

    fn write_footer(&self, id: SegmentId) -> Result<(), Error> {
        let Some(file) = self.disk.open(id)? else {
            return Ok(());
        };
        let Some(Known { header, .. }) = header_of(&Patched::new(&*file), id)? else {
            return Ok(());
        };
        let listed = scan::list_frames(&*file, id, header.generation)?;
        if listed.is_whole {
            let (at, footer) = (listed.footer.frames_end, listed.footer.encode());
            let end = at + footer.len() as u64;
            file.write_at(at, &[IoSlice::new(&footer)])
                .and_then(|()| file.truncate(end))
                .and_then(|()| file.sync_data())
                .map_err(|source| io_error("write a segment's footer", source))?;
        }
        Ok(())
    }

    fn write_header(&self, id: SegmentId) -> Result<(), Error> {
        let Some(file) = self.disk.open(id)? else {
            return Ok(());
        };
        if let Some(Known {
            header,
            is_damaged: true,
        }) = header_of(&Patched::new(&*file), id)?
        {
            file.write_at(0, &[IoSlice::new(&header.encode())])
                .and_then(|()| file.sync_data())
                .map_err(|source| io_error("write a segment's header", source))?;
            // The scrub may have been there before.
            DamageList::load(&self.directory)?.forget(id, 0)?;
        }
        Ok(())
    }
}
