//! The owner of a data directory: `meta.toml` (format, cluster, node) and the lock.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{Read, Seek, Write};
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::api::{Identity, Options};
use crate::error::{Error, io_error};

/// The format of the directory as a whole. A version that raises it must leave the directory as it
/// is while its device's slot is on trial (`targets/init`), or the device cannot go back.
pub const FORMAT: u32 = 1;
pub(crate) const META: &str = "meta.toml";
const FIRST_LINE: &str = "# Written once, with its checksum. Do not change.";
const FIRST_LINE_WITHOUT_SUM: &str = "# Written once. Do not change.\n";
/// Begins the last line, the checksum of everything before it.
const SUM: &str = "crc32c = ";
const LOCK: &str = "lock";
/// A line of `meta.toml` in a backup: `backup.toml` lists what the backup must contain.
const IS_BACKUP: &str = "backup = true";

/// The lock of a directory, held by one process; released when the process ends in any way.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    pub fn take(directory: &Path) -> Result<Self, Error> {
        let failed = |source| io_error("lock the data directory", source);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join(LOCK))
            .map_err(failed)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(failed)?;
            let process = holder.trim().parse().ok();
            return Err(Error::Locked {
                directory: directory.to_owned(),
                process,
            });
        }
        // Names the holder, for the error message of the next process. The name is optional: a full
        // disk does not take even that, and must be readable all the same.
        let told = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = told {
            log::warn!("the process id cannot be written to the lock: {error}");
        }
        Ok(Self { _file: file })
    }
}

/// Returns the owner of a directory that was written before.
pub(crate) fn read(directory: &Path) -> Result<Identity, Error> {
    match read_text(directory) {
        Ok(text) => parse(directory, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let directory = directory.to_owned();
            Err(Error::NoData { directory })
        }
        Err(source) => Err(io_error("read meta.toml", source)),
    }
}

/// Reads and compares `meta.toml`, or writes it for a new directory.
pub(crate) fn check_or_write(directory: &Path, options: &Options) -> Result<Identity, Error> {
    match read_text(directory) {
        Ok(text) => check(directory, options, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let identity = Identity {
                cluster_id: options.cluster_id.clone().unwrap_or_else(new_cluster_id),
                node_id: options.node_id,
            };
            write(directory, &identity, false)
                .map_err(|source| io_error("write meta.toml", source))?;
            Ok(identity)
        }
        Err(source) => Err(io_error("read meta.toml", source)),
    }
}

/// Reads `meta.toml`. Bytes that are not text are damage like any other.
fn read_text(directory: &Path) -> std::io::Result<String> {
    let bytes = std::fs::read(directory.join(META))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns whether the text is unchanged. A version without a checksum is accepted as it is.
fn is_whole(text: &str) -> bool {
    // A flipped bit in the first line must not turn the file into one without a checksum.
    if !text.contains(SUM) && text.starts_with(FIRST_LINE_WITHOUT_SUM) {
        return true;
    }
    let Some((covered, sum)) = text.rsplit_once(SUM) else {
        return false;
    };
    let sum = sum
        .strip_suffix('\n')
        .map(|sum| u32::from_str_radix(sum, 16));
    sum == Some(Ok(crc32c::crc32c(covered.as_bytes())))
}

/// Parses `meta.toml`.
fn parse(directory: &Path, text: &str) -> Result<Identity, Error> {
    let bad = |line| Error::BadMeta {
        path: directory.join(META),
        line,
    };
    let is_whole = is_whole(text);
    let (mut format, mut cluster_id, mut node_id) = (None, None, None);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| bad(number + 1))?;
        let value = value.trim();
        match key.trim() {
            "format" => format = Some(value.parse::<u32>().map_err(|_| bad(number + 1))?),
            "cluster.id" => cluster_id = Some(value.trim_matches('"').to_owned()),
            "node.id" => node_id = Some(value.parse::<i32>().map_err(|_| bad(number + 1))?),
            // An unknown key of a newer version is ignored if the format is the same.
            _ => {}
        }
    }
    let found = format.ok_or_else(|| bad(0))?;
    if found > FORMAT {
        return Err(Error::NewerFormat {
            directory: directory.to_owned(),
            found,
            known: FORMAT,
        });
    }
    // A newer version may have another checksum.
    if !is_whole {
        return Err(bad(0));
    }
    Ok(Identity {
        cluster_id: cluster_id.ok_or_else(|| bad(0))?,
        node_id: node_id.ok_or_else(|| bad(0))?,
    })
}

fn check(directory: &Path, options: &Options, text: &str) -> Result<Identity, Error> {
    let identity = parse(directory, text)?;
    let directory = directory.to_owned();
    let other = |key, found, asked| Error::OtherOwner {
        directory,
        key,
        found,
        asked,
    };
    match &options.cluster_id {
        Some(asked) if *asked != identity.cluster_id => {
            return Err(other("cluster.id", identity.cluster_id, asked.clone()));
        }
        _ => {}
    }
    if options.node_id != identity.node_id {
        let (found, asked) = (identity.node_id.to_string(), options.node_id.to_string());
        return Err(other("node.id", found, asked));
    }
    Ok(identity)
}

/// Returns whether the directory is a backup on which no broker was started.
pub(crate) fn is_backup(directory: &Path) -> Result<bool, Error> {
    match read_text(directory) {
        Ok(text) => Ok(text.lines().any(|line| line == IS_BACKUP)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(io_error("read meta.toml", source)),
    }
}

pub(crate) fn write(directory: &Path, identity: &Identity, is_backup: bool) -> std::io::Result<()> {
    let Identity {
        cluster_id,
        node_id,
    } = identity;
    let mut text = format!(
        "{FIRST_LINE}\n\
         format = {FORMAT}\ncluster.id = \"{cluster_id}\"\nnode.id = {node_id}\n"
    );
    if is_backup {
        text.push_str(IS_BACKUP);
        text.push('\n');
    }
    let sum = crc32c::crc32c(text.as_bytes());
    // Writing to a string does not fail.
    let _ = writeln!(text, "{SUM}{sum:08x}");
    let path = directory.join("meta.toml.new");
    let mut file = File::create(&path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(path, directory.join(META))?;
    File::open(directory)?.sync_all()
}

/// Returns 16 random bytes in unpadded base64 for URLs, as Kafka writes its ids; never beginning
/// with `-`.
fn new_cluster_id() -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let halves = [
        RandomState::new().hash_one(1),
        RandomState::new().hash_one(2),
    ];
    let bits = (u128::from(halves[0]) << 64) | u128::from(halves[1]);
    let letter = |at: u32| {
        // 21 letters of 6 bits, then the last 2 bits followed by four zeros.
        let six = if at < 21 {
            bits >> (122 - 6 * at)
        } else {
            bits << 4
        };
        char::from(LETTERS[(six & 63) as usize])
    };
    let id: String = (0..22).map(letter).collect();
    if id.starts_with('-') {
        id.replacen('-', "A", 1)
    } else {
        id
    }
}
