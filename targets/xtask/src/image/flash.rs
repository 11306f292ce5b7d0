//! `cargo xtask flash`: writes a board's image to a card or a disk, and reads it back.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileTypeExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    board_file::Board,
    error::{Error, Result},
    workspace::Workspace,
};

const PIECE_BYTES: usize = 4 << 20;

/// Reason why a device is not written to.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Mounted { what: String, at: String },
    Swap { what: String },
    Partition { disk: String },
    InUse { by: String },
    TooSmall { bytes: u64, needed: u64 },
}

/// What this machine says of its disks.
struct Machine<'a> {
    /// `/proc/mounts`.
    mounts: &'a str,
    /// `/proc/swaps`.
    swaps: &'a str,
    /// `/sys/class/block`.
    blocks: &'a Path,
}

/// Writes the image of `board` to `device`, and checks what was written.
pub fn run(workspace: &Workspace, board: &Board, device: &Path) -> Result<()> {
    let image = board.image(workspace);
    if !image.is_file() {
        return Err(Error::Missing {
            what: image.display().to_string(),
            remedy: format!("make it: cargo xtask image --board {}", board.name),
        });
    }
    let device = fs::canonicalize(device).map_err(Error::file(device))?;
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let machine = Machine {
        mounts: &read("/proc/mounts"),
        swaps: &read("/proc/swaps"),
        blocks: Path::new("/sys/class/block"),
    };
    if let Some(why) = machine.refuses(&device) {
        return Err(why.of(&device));
    }
    let raw = fs::metadata(image.with_extension("")).map(|raw| raw.len());
    let needed = raw.unwrap_or(0);
    let wrong = |source| Error::File {
        path: device.clone(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&device)
        .map_err(wrong)?;
    let is_disk = file
        .metadata()
        .map_err(wrong)?
        .file_type()
        .is_block_device();
    if is_disk {
        let bytes = file.seek(SeekFrom::End(0)).map_err(wrong)?;
        if bytes < needed {
            return Err(Refused::TooSmall { bytes, needed }.of(&device));
        }
    }
    let show = |what: &'static str| move |bytes: u64| progress(what, bytes, needed);
    let written = with_image(&image, |source| write(source, &mut file, show("written")))?;
    file.sync_all().map_err(wrong)?;
    // What the page cache has is not what the card has.
    let advice = rustix::fs::Advice::DontNeed;
    let _ = rustix::fs::fadvise(&file, 0, None, advice);
    let differs = with_image(&image, |source| compare(source, &mut file, show("checked")))?;
    println!();
    if let Some(at) = differs {
        return Err(Error::Content {
            path: device,
            wrong: format!("byte {at} is not what was written: the card is bad, or too small"),
        });
    }
    println!(
        "{} has the image of {}, {} MiB",
        device.display(),
        board.name,
        written >> 20
    );
    Ok(())
}

impl Machine<'_> {
    /// Returns why `device` must not be written to.
    fn refuses(&self, device: &Path) -> Option<Refused> {
        let name = device.file_name()?.to_str()?;
        let own = self.blocks.join(name);
        if own.join("partition").exists() {
            let disk = fs::canonicalize(&own).ok();
            let disk = disk
                .as_deref()
                .and_then(Path::parent)
                .and_then(Path::file_name);
            let disk = disk.unwrap_or_default().to_string_lossy().into_owned();
            return Some(Refused::Partition { disk });
        }
        let mut names = vec![name.to_owned()];
        for entry in fs::read_dir(&own).into_iter().flatten().flatten() {
            if entry.path().join("partition").exists() {
                names.extend(entry.file_name().into_string());
            }
        }
        for name in names {
            let path = format!("/dev/{name}");
            let path = if name == device.file_name()?.to_str()? {
                device.display().to_string()
            } else {
                path
            };
            if let Some(at) = column(self.mounts, &path, 1) {
                return Some(Refused::Mounted { what: path, at });
            }
            if column(self.swaps, &path, 0).is_some() {
                return Some(Refused::Swap { what: path });
            }
            // Encrypted, joined or virtual disks that are made of it, mounted or not.
            let holders = self.blocks.join(&name).join("holders");
            let mut holders = fs::read_dir(holders).into_iter().flatten().flatten();
            if let Some(holder) = holders.next() {
                let by = holder.file_name().to_string_lossy().into_owned();
                return Some(Refused::InUse { by });
            }
        }
        None
    }
}

/// Returns a column of the line that begins with `first`.
fn column(table: &str, first: &str, number: usize) -> Option<String> {
    let mut lines = table.lines();
    let line = lines.find(|line| line.split_whitespace().next() == Some(first))?;
    line.split_whitespace().nth(number).map(str::to_owned)
}

impl Refused {
    fn of(&self, device: &Path) -> Error {
        let remedy = match self {
            Self::Mounted { what, at } => {
                format!(
                    "{what} is mounted at {at}: unmount it if it is not this machine's own disk"
                )
            }
            Self::Swap { what } => format!("this machine swaps to {what}"),
            Self::Partition { disk } => format!("it is a partition; name the disk, /dev/{disk}"),
            Self::InUse { by } => format!("{by} is made of it"),
            Self::TooSmall { bytes, needed } => {
                let (has, needs) = (bytes >> 20, needed >> 20);
                format!("it has {has} MiB, and the image needs {needs}")
            }
        };
        Error::Missing {
            what: format!("a disk to write to: {} is not one", device.display()),
            remedy,
        }
    }
}

/// Runs `work` on the bytes of a compressed image.
fn with_image<T>(image: &Path, work: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> Result<T> {
    let mut command = Command::new("zstd");
    command.args(["-dcq"]).arg(image).stdout(Stdio::piped());
    let started = command.spawn().map_err(|source| Error::NotStarted {
        command: "zstd".to_owned(),
        source,
    });
    let mut zstd: Child = started?;
    let mut bytes = zstd.stdout.take().expect("its output is a pipe");
    let done = work(&mut bytes);
    drop(bytes);
    let status = zstd.wait().map_err(Error::file(image))?;
    let done = done.map_err(Error::file(image))?;
    if status.success() {
        Ok(done)
    } else {
        Err(Error::Content {
            path: image.to_owned(),
            wrong: "cannot be unpacked; make the image again".to_owned(),
        })
    }
}

/// Fills `piece` as far as `source` goes.
fn fill(source: &mut dyn Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match source.read(&mut piece[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Writes all of `source`. Returns the number of bytes.
fn write(source: &mut dyn Read, to: &mut File, show: impl Fn(u64)) -> io::Result<u64> {
    to.seek(SeekFrom::Start(0))?;
    let (mut piece, mut written) = (vec![0; PIECE_BYTES], 0);
    loop {
        let read = fill(source, &mut piece)?;
        if read == 0 {
            return Ok(written);
        }
        to.write_all(&piece[..read])?;
        written += read as u64;
        show(written);
    }
}

/// Returns where `from` differs from `source`, if it does.
fn compare(source: &mut dyn Read, from: &mut File, show: impl Fn(u64)) -> io::Result<Option<u64>> {
    from.seek(SeekFrom::Start(0))?;
    let (mut wanted, mut found, mut at) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES], 0);
    loop {
        let read = fill(source, &mut wanted)?;
        if read == 0 {
            return Ok(None);
        }
        let there = fill(from, &mut found[..read])?;
        let pairs = wanted[..read].iter().zip(&found[..there]);
        let same = pairs.take_while(|(wanted, found)| wanted == found).count();
        if same < read {
            return Ok(Some(at + same as u64));
        }
        at += read as u64;
        show(at);
    }
}

fn progress(what: &str, bytes: u64, of: u64) {
    let percent = (bytes * 100).checked_div(of).unwrap_or(0);
    print!("\r  {what}: {} MiB, {percent} %  ", bytes >> 20);
    let _ = io::stdout().flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Disks(std::path::PathBuf);

    impl Disks {
        fn new(name: &str) -> Self {
            let own = format!("flash-{}-{name}", std::process::id());
            let directory = std::env::temp_dir().join(own);
            for path in ["sdb/holders", "sdb/sdb1/holders", "sdc/sdc1"] {
                fs::create_dir_all(directory.join(path)).unwrap();
            }
            for path in ["sdb/sdb1/partition", "sdc/sdc1/partition"] {
                fs::write(directory.join(path), "1").unwrap();
            }
            std::os::unix::fs::symlink("sdb/sdb1", directory.join("sdb1")).unwrap();
            Self(directory)
        }

        fn refused(&self, mounts: &str, swaps: &str, device: &str) -> String {
            let machine = Machine {
                mounts,
                swaps,
                blocks: &self.0,
            };
            let device = Path::new(device);
            let refused = machine.refuses(device);
            refused.map_or_else(String::new, |why| why.of(device).to_string())
        }
    }

    impl Drop for Disks {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn disks_in_use_are_refused() {
        let disks = Disks::new("refused");
        let check = |mounts: &str, swaps: &str, device: &str, part: &str| {
            let refused = disks.refused(mounts, swaps, device);
            assert!(
                refused.contains(part) && refused.is_empty() == part.is_empty(),
                "{refused}"
            );
        };
        let root = "/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /media/card vfat rw 0 0\n";
        check(root, "", "/dev/sdb", "/dev/sdb1 is mounted at /media/card");
        check(
            "/dev/sdb /mnt ext4 rw 0 0\n",
            "",
            "/dev/sdb",
            "/dev/sdb is mounted at /mnt",
        );
        check(
            "",
            "Filename\n/dev/sdb1 partition 1 0 -2\n",
            "/dev/sdb",
            "swaps to /dev/sdb1",
        );
        check(
            "",
            "",
            "/dev/sdb1",
            "it is a partition; name the disk, /dev/sdb",
        );
        check(root, "", "/dev/sdc", "");
        check("", "", "/dev/sdb", "");
        fs::create_dir(disks.0.join("sdb/sdb1/holders/dm-0")).unwrap();
        fs::create_dir_all(disks.0.join("sdb1")).unwrap();
        check("", "", "/dev/sdb", "dm-0 is made of it");
    }

    #[test]
    fn what_was_written_is_checked() {
        let path = std::env::temp_dir().join(format!("flash-{}-card", std::process::id()));
        let image: Vec<u8> = (0..PIECE_BYTES + 1000).map(|at| (at % 251) as u8).collect();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let mut card = options.open(&path).unwrap();
        card.set_len(image.len() as u64 + 4096).unwrap();
        let written = write(&mut &image[..], &mut card, |_| {}).unwrap();
        assert_eq!(written, image.len() as u64);
        assert_eq!(compare(&mut &image[..], &mut card, |_| {}).unwrap(), None);
        card.seek(SeekFrom::Start(PIECE_BYTES as u64 + 7)).unwrap();
        card.write_all(&[255]).unwrap();
        let differs = compare(&mut &image[..], &mut card, |_| {}).unwrap();
        assert_eq!(differs, Some(PIECE_BYTES as u64 + 7));
        fs::remove_file(path).unwrap();
    }
}
