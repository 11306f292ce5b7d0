//! Repairs: the doctor makes each change only on request.

use std::io::IoSlice;

use crate::damage::DamageList;
use crate::disk::unreadable::Patched;
use crate::error::{Error, io_error};
use crate::ids::SegmentId;
use crate::segment::header::{Known, header_of};
use crate::segment::{listing, rewrite, scan};
use crate::{backup, meta};

use super::{Doctor, Kind, Repair, Report};

impl Doctor {
    /// Carries out a repair, for a report of this doctor.
    ///
    /// # Errors
    /// The disk cannot be read or written.
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
                        // A torn frame cannot be told from the file's old bytes.
                        file.truncate(torn.position)
                            .and_then(|()| file.sync_data())
                            .map_err(|source| io_error("cut a segment", source))?;
                    } else {
                        rewrite::wipe(&*file, torn.position, torn.position + torn.bytes)?;
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
        let listed = listing::list_frames(&*file, id, header.generation)?;
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
            // The scrub may have listed the segment before.
            DamageList::load(&self.directory)?.forget(id, 0)?;
        }
        Ok(())
    }
}
