//! `backup.toml`: the list of what a backup must contain, and the check that it does.
//!
//! Copying a backup may stop half way without a trace in the segments: a missing last segment looks
//! like a log that ended earlier. `meta.toml` of a backup says that it is one, so a missing list is
//! noticed too. A start that finds the backup complete turns it into an ordinary data directory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::Path;

use super::taking::{Taken, remove_if_there};
use super::{MANIFEST, SEGMENTS};
use crate::api::Identity;
use crate::disk::directory::Directory;
use crate::disk::{Disk as _, bytes_of, write_whole};
use crate::error::{Error, Missing, io_error};
use crate::ids::SegmentId;
use crate::meta;
use crate::segment::header::header_of;

/// The line of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listed {
    generation: u64,
    bytes: u64,
}

pub(super) fn write(
    target: &Path,
    identity: &Identity,
    taken: &BTreeMap<SegmentId, Taken>,
) -> Result<(), Error> {
    let last = taken.values().map(|of| of.last_sequence.0).max();
    let mut text = format!(
        "# Written last: the segments listed here are complete.\nformat = 1\ncluster.id = \
         \"{}\"\nnode.id = {}\nlast.commit = {}\n\n[segments]\n",
        identity.cluster_id,
        identity.node_id,
        last.unwrap_or(0)
    );
    for (id, of) in taken {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "\"{:010}\" = {{ generation = \"{:016x}\", bytes = {} }}",
            id.0, of.generation, of.bytes
        );
    }
    write_whole(&target.join(MANIFEST), text.as_bytes())
        .map_err(|source| io_error("write the backup's manifest", source))
}

/// Checks that all of a backup is there; any other directory passes.
///
/// # Errors
/// [`Error::IncompleteBackup`], or an error of the disk.
pub(crate) fn check_whole(directory: &Path) -> Result<(), Error> {
    if !meta::is_backup(directory)? {
        return Ok(());
    }
    let incomplete = |missing| Error::IncompleteBackup {
        directory: directory.to_owned(),
        missing,
    };
    let text = match std::fs::read_to_string(directory.join(MANIFEST)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(incomplete(Missing::Manifest));
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(incomplete(Missing::Line(0)));
        }
        Err(source) => return Err(io_error("read the backup's manifest", source)),
    };
    let listed = parse(&text).map_err(|line| incomplete(Missing::Line(line)))?;
    let disk = Directory::existing(&directory.join(SEGMENTS));
    for (id, of) in listed {
        let Some(file) = disk.open(id)? else {
            return Err(incomplete(Missing::Segment(id)));
        };
        // A later backup that was interrupted may have made the file longer.
        if bytes_of(&*file)? < of.bytes {
            return Err(incomplete(Missing::Bytes(id)));
        }
        let known = header_of(&*file, id)?;
        if known.is_none_or(|known| known.header.generation != of.generation) {
            return Err(incomplete(Missing::Generation(id)));
        }
    }
    Ok(())
}

/// Turns the backup into an ordinary log, whose segments may be removed. Called when a start has
/// found it complete, or when its missing parts were accepted.
pub(crate) fn make_ordinary(directory: &Path, identity: &Identity) -> Result<(), Error> {
    if meta::is_backup(directory)? {
        meta::write(directory, identity, false)
            .map_err(|source| io_error("write meta.toml", source))?;
    }
    remove_if_there(&directory.join(MANIFEST))
        .map_err(|source| io_error("remove the backup's manifest", source))
}

/// Reads the list. Returns the number of the line that cannot be understood as the error.
fn parse(text: &str) -> Result<BTreeMap<SegmentId, Listed>, usize> {
    let mut lines = text.lines().enumerate();
    if !lines.any(|(_, line)| line == "[segments]") {
        return Err(0);
    }
    let rows = lines.filter(|(_, line)| !line.is_empty());
    rows.map(|(at, line)| segment_of(line).ok_or(at + 1))
        .collect()
}

fn segment_of(line: &str) -> Option<(SegmentId, Listed)> {
    let (id, rest) = line
        .strip_prefix('"')?
        .split_once("\" = { generation = \"")?;
    let (generation, rest) = rest.split_once("\", bytes = ")?;
    let listed = Listed {
        generation: u64::from_str_radix(generation, 16).ok()?,
        bytes: rest.strip_suffix(" }")?.parse().ok()?,
    };
    Some((SegmentId(id.parse().ok()?), listed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_read_and_half_a_list_is_none() {
        let text = "format = 1\n\n[segments]\n\
                    \"0000000007\" = { generation = \"00000000000000ab\", bytes = 99 }\n";
        let listed = Listed {
            generation: 0xAB,
            bytes: 99,
        };
        assert_eq!(parse(text), Ok(BTreeMap::from([(SegmentId(7), listed)])));
        assert_eq!(parse("format = 1\n"), Err(0));
        for cut in text.find("gen").unwrap()..text.len() - 2 {
            assert_eq!(parse(&text[..cut]), Err(4), "{}", &text[..cut]);
        }
    }
}
