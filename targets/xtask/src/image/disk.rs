//! The disk of an image: a partition table, FAT partitions with files, and partitions with the
//! bytes of another file system. The same inputs give the same bytes.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use sedge_init::gpt::{self, BLOCK, Guid, PRIMARY, Partition, TABLE_BLOCKS, Table};

use crate::error::{Error, Result};

/// Blocks of a MiB, to which partitions are aligned.
const MIB_BLOCKS: u64 = (1 << 20) / BLOCK as u64;
/// FAT32 needs so many clusters of 512 bytes that smaller partitions have FAT16.
const FAT32_FROM_MIB: u64 = 64;
/// Bytes of a file system that are copied at once; blocks of zeros are left out.
const PIECE_BYTES: usize = 64 << 10;

/// A partition to write.
#[derive(Debug)]
pub struct Plan {
    pub name: &'static str,
    pub kind: Guid,
    pub mib: u64,
    pub content: Content,
}

/// What a partition has.
#[derive(Debug)]
pub enum Content {
    /// A FAT file system with these files.
    Fat(Vec<FatFile>),
    /// The bytes of a file.
    Bytes(std::path::PathBuf),
    /// Nothing yet.
    Empty,
}

/// A file of a FAT partition.
#[derive(Debug)]
pub struct FatFile {
    /// Path with slashes.
    pub path: String,
    pub bytes: Vec<u8>,
}

impl FatFile {
    pub fn new(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            bytes: bytes.into(),
        }
    }
}

/// Writes the disk to `path`. `seed` makes the ids, and `hybrid` is the partition that old firmware
/// sees too.
pub fn write(path: &Path, seed: &str, plans: &[Plan], hybrid: Option<usize>) -> Result<()> {
    let table = table(seed, plans);
    let wrong = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    let _ = fs::remove_file(path);
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(path);
    let mut file = file.map_err(wrong)?;
    file.set_len(table.blocks * BLOCK as u64).map_err(wrong)?;
    write_table(&mut file, &table, hybrid).map_err(wrong)?;
    for (plan, partition) in plans.iter().zip(&table.partitions) {
        let window = || Window::new(&file, partition);
        match &plan.content {
            Content::Empty => {}
            Content::Bytes(from) => {
                copy(from, &mut window().map_err(wrong)?).map_err(Error::file(from))?;
            }
            Content::Fat(files) => {
                let volume = volume_id(seed, plan.name);
                write_fat(window, plan, files, volume).map_err(wrong)?;
            }
        }
    }
    file.sync_all().map_err(wrong)
}

fn table(seed: &str, plans: &[Plan]) -> Table {
    let mut next = MIB_BLOCKS;
    let partitions = plans.iter().map(|plan| {
        let first_block = next;
        next += plan.mib * MIB_BLOCKS;
        Partition {
            kind: plan.kind,
            id: id(&format!("{seed}/{}", plan.name)),
            name: plan.name.to_owned(),
            first_block,
            last_block: next - 1,
        }
    });
    let partitions: Vec<Partition> = partitions.collect();
    Table {
        disk: id(seed),
        blocks: next + TABLE_BLOCKS.next_multiple_of(MIB_BLOCKS),
        partitions,
    }
}

/// Returns an id that is made of a name (version 8 of RFC 9562: of one's own making).
pub fn id(name: &str) -> Guid {
    // FNV-1a, with 128 bits.
    let mut hash: u128 = 0x6C62_272E_07BB_0142_62B8_2175_6295_C58D;
    for byte in name.bytes() {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B);
    }
    let version = hash & !(0xF << 76) | 8 << 76;
    gpt::guid(version & !(3 << 62) | 2 << 62)
}

fn volume_id(seed: &str, name: &str) -> u32 {
    gpt::crc32(format!("{seed}/{name}").as_bytes())
}

fn write_table(file: &mut File, table: &Table, hybrid: Option<usize>) -> io::Result<()> {
    file.write_all(&table.master_boot_record(hybrid))?;
    file.seek(SeekFrom::Start(PRIMARY * BLOCK as u64))?;
    file.write_all(&table.primary())?;
    file.seek(SeekFrom::Start(table.backup() * BLOCK as u64))?;
    file.write_all(&table.secondary())
}

fn copy(from: &Path, to: &mut Window) -> io::Result<()> {
    let mut from = File::open(from)?;
    if from.metadata()?.len() > to.length {
        return Err(io::Error::other("is larger than its partition"));
    }
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = from.read(&mut piece)?;
        let bytes = &piece[..read];
        if read == 0 {
            return Ok(());
        }
        if bytes.iter().all(|byte| *byte == 0) {
            to.seek(SeekFrom::Current(read as i64))?;
        } else {
            to.write_all(bytes)?;
        }
    }
}

fn write_fat(
    window: impl Fn() -> io::Result<Window>,
    plan: &Plan,
    files: &[FatFile],
    volume: u32,
) -> io::Result<()> {
    let mut label = [b' '; 11];
    for (place, byte) in label.iter_mut().zip(plan.name.to_uppercase().bytes()) {
        *place = byte;
    }
    let kind = if plan.mib >= FAT32_FROM_MIB {
        FatType::Fat32
    } else {
        FatType::Fat16
    };
    let options = FormatVolumeOptions::new()
        .volume_label(label)
        .volume_id(volume)
        .fat_type(kind);
    fatfs::format_volume(&mut window()?, options)?;
    let system = FileSystem::new(window()?, FsOptions::new())?;
    let root = system.root_dir();
    let mut folders = BTreeSet::new();
    for FatFile { path, bytes } in files {
        for (at, _) in path.match_indices('/') {
            let folder = &path[..at];
            if folders.insert(folder) {
                root.create_dir(folder)?;
            }
        }
        let mut file = root.create_file(path)?;
        file.write_all(bytes)?;
        file.flush()?;
    }
    drop(root);
    system.unmount()
}

/// The part of a file that is a partition.
struct Window {
    file: File,
    start: u64,
    length: u64,
    at: u64,
}

impl Window {
    fn new(file: &File, partition: &Partition) -> io::Result<Self> {
        Ok(Self {
            file: file.try_clone()?,
            start: partition.first_block * BLOCK as u64,
            length: (partition.last_block - partition.first_block + 1) * BLOCK as u64,
            at: 0,
        })
    }

    /// Goes to where the window is at, and returns how many of `wanted` bytes are left there.
    fn go(&mut self, wanted: usize) -> io::Result<usize> {
        self.file.seek(SeekFrom::Start(self.start + self.at))?;
        Ok(wanted.min((self.length - self.at) as usize))
    }
}

impl Read for Window {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let bytes = self.go(to.len())?;
        let read = self.file.read(&mut to[..bytes])?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for Window {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let bytes = self.go(from.len())?;
        let written = self.file.write(&from[..bytes])?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let at = at.filter(|at| *at <= self.length);
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str) -> (std::path::PathBuf, Vec<u8>) {
        let path = std::env::temp_dir().join(format!("disk-{}-{name}", std::process::id()));
        let files = vec![
            FatFile::new("loader/entries/sedge-a+3.conf", "title a"),
            FatFile::new("loader/loader.conf", "timeout 0"),
            FatFile::new("sedge.toml", "x".repeat(5000)),
        ];
        let plans = [
            Plan {
                name: "config",
                kind: gpt::kind::BASIC_DATA,
                mib: 16,
                content: Content::Fat(files),
            },
            Plan {
                name: "data",
                kind: gpt::kind::LINUX,
                mib: 4,
                content: Content::Empty,
            },
        ];
        write(&path, "a-board", &plans, Some(0)).unwrap();
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    }

    #[test]
    fn the_same_inputs_give_the_same_disk() {
        let (first, bytes) = written("first");
        let (second, again) = written("second");
        assert!(bytes == again);
        fs::remove_file(first).unwrap();
        fs::remove_file(second).unwrap();
    }

    #[test]
    fn files_are_read_from_the_partition_that_they_were_put_in() {
        let (path, bytes) = written("read");
        let table = Table::read(&bytes[BLOCK..]).unwrap();
        assert_eq!(table.blocks * BLOCK as u64, bytes.len() as u64);
        assert_eq!(table.partitions[1].name, "data");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let window = Window::new(&file, &table.partitions[0]).unwrap();
        let system = FileSystem::new(window, FsOptions::new()).unwrap();
        let mut text = String::new();
        let mut entry = system
            .root_dir()
            .open_file("loader/entries/sedge-a+3.conf")
            .unwrap();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(text, "title a");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn ids_differ_by_name_and_have_a_version() {
        assert_ne!(id("a"), id("b"));
        assert_eq!(id("a")[7] >> 4, 8);
        assert_eq!(id("a")[8] >> 6, 2);
    }
}
