//! Writes an update to the slot that does not run.
//!
//! 1. The head is checked: signature, board, format of the data, sizes.
//! 2. The slot's entry is removed, so that the slot cannot be started.
//! 3. The parts are written, flushed, read back and compared with their digests.
//! 4. The slot gets an entry that the next start tries once.
//!
//! If the power fails at any step, the slot that runs is the one that starts again. Nothing of the
//! data is touched.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::sync::{Mutex, TryLockError};

use ring::digest::{Context, SHA256};
use sedge_init::slot_image::{
    HEAD_BYTES_MAX, Head, PROGRAM_HEAD_BYTES, Part, Sha256, Signed, Wrong, is_program,
};

use crate::disks::Partition;
use crate::identity::{self, Identity};
use crate::slot::State;
use crate::{say, slot};

/// Before the head.
const SIGNATURE: &str = "signature=";
const SIGNATURE_LINE_BYTES_MAX: u64 = 256;
/// Bytes that are written at once.
const PIECE_BYTES: usize = 64 << 10;
/// Largest kernel or initramfs: both slots have to fit on the boot partition.
const BOOT_PART_BYTES_MAX: u64 = 60 << 20;
const ROOT: &str = "root";
const KERNEL: &str = "vmlinuz";

/// Held while an update is written.
static UNDER_WAY: Mutex<()> = Mutex::new(());

/// Reason why an update is not taken.
#[derive(Debug)]
pub enum Refusal {
    Head(Wrong),
    /// The head is longer than one may be, or has no end.
    HeadTooLong,
    /// The device trusts no key.
    NoKeys,
    Board {
        own: String,
        of: String,
    },
    /// The data is newer than what the image reads.
    NewerData {
        data: u32,
        image: u32,
    },
    /// A part is larger than its place.
    TooLarge(String),
    /// The boot loader has no entries, so it cannot choose a slot.
    NoSlots,
    /// The slot that runs is not good yet, so the other one is needed.
    OnTrial,
    UnderWay,
    /// The kernel is no program that the firmware can start.
    NoProgram,
    /// The bytes of a part are others than the head says, as received or as read back.
    Differs(String),
    Io(io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(wrong) => write!(f, "the image is refused: {wrong}"),
            Self::HeadTooLong => {
                write!(
                    f,
                    "the image is refused: its head is longer than {HEAD_BYTES_MAX} bytes"
                )
            }
            Self::NoKeys => f.write_str(
                "the device trusts no key, so it takes no updates; make its image with \
                 --trusted-key, or set update.trusted.keys in device.properties",
            ),
            Self::Board { own, of } => write!(
                f,
                "the image is for the board {of}, and this device is a {own}; make one with `cargo \
                 xtask image --board {own}`"
            ),
            Self::NewerData { data, image } => write!(
                f,
                "the data on the device has the format {data}, and the broker of the image reads \
                 formats up to {image}; update to a newer image"
            ),
            Self::TooLarge(part) => {
                write!(
                    f,
                    "the part {part} of the image is larger than its place on the device"
                )
            }
            Self::NoSlots => f.write_str(
                "the device's boot loader has no entry for the slot that runs, so it could not go \
                 back to it; boards with UEFI have entries",
            ),
            Self::OnTrial => f.write_str(
                "the slot that runs is on trial, and the other one is what the device would go \
                 back to; try again when `sedge device info` says that it is good",
            ),
            Self::UnderWay => f.write_str("another update is under way; try again later"),
            Self::NoProgram => f.write_str(
                "the image is refused: its kernel is no program that UEFI can start on this machine",
            ),
            Self::Differs(part) => write!(
                f,
                "the part {part} is not what was signed: the file, the way here or the device's \
                 disk is damaged; try again"
            ),
            Self::Io(error) => write!(f, "the update cannot be written: {error}; try again"),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads the signature and the head of an image, and decides whether the device takes it.
pub fn check(body: &mut impl BufRead, identity: &Identity) -> Result<Head, Refusal> {
    match slot::state(identity.slot)? {
        State::Good => {}
        State::OnTrial => return Err(Refusal::OnTrial),
        State::Unknown => return Err(Refusal::NoSlots),
    }
    let trusted = identity.trusted_keys();
    if trusted.is_empty() {
        return Err(Refusal::NoKeys);
    }
    let mut line = String::new();
    body.by_ref()
        .take(SIGNATURE_LINE_BYTES_MAX)
        .read_line(&mut line)?;
    let signature = line.strip_prefix(SIGNATURE).unwrap_or_default().trim_end();
    let head = read_head(body)?;
    let signed = Signed {
        head: &head,
        signature,
    };
    let head = signed.check(trusted, &identity.revoked_keys());
    let head = head.map_err(Refusal::Head)?;
    if head.board != identity.board() {
        return Err(Refusal::Board {
            own: identity.board().to_owned(),
            of: head.board,
        });
    }
    if let Some(data) = identity::data_format().filter(|data| *data > head.data_format) {
        return Err(Refusal::NewerData {
            data,
            image: head.data_format,
        });
    }
    let root = root_of(identity)?.bytes()?;
    let limit = |part: &Part| {
        if part.name == ROOT {
            root
        } else {
            BOOT_PART_BYTES_MAX
        }
    };
    match head.parts.iter().find(|part| part.bytes > limit(part)) {
        Some(part) => Err(Refusal::TooLarge(part.name.clone())),
        None => Ok(head),
    }
}

/// Checks an image and writes it to the other slot, which the next start tries.
pub fn write(body: &mut impl BufRead, identity: &Identity) -> Result<Head, Refusal> {
    let _under_way = match UNDER_WAY.try_lock() {
        Ok(held) => held,
        Err(TryLockError::Poisoned(held)) => held.into_inner(),
        Err(TryLockError::WouldBlock) => return Err(Refusal::UnderWay),
    };
    let head = check(body, identity)?;
    let to = identity.slot.other();
    say!(
        "slot {} gets version {} for a trial",
        to.letter(),
        head.version
    );
    slot::withdraw(to)?;
    for part in &head.parts {
        write_part(body, part, identity)?;
    }
    forget_cached()?;
    for part in &head.parts {
        read_back(part, identity)?;
    }
    let begin = slot::with_files(to, |directory| {
        let mut begin = Vec::new();
        let kernel = File::open(directory.join(KERNEL))?;
        kernel
            .take(PROGRAM_HEAD_BYTES as u64)
            .read_to_end(&mut begin)?;
        Ok(begin)
    })?;
    if !is_program(&begin) {
        return Err(Refusal::NoProgram);
    }
    identity::begin_update(to, &head)?;
    slot::offer(to, &head.options)?;
    say!("slot {} is written; the next start tries it", to.letter());
    Ok(head)
}

fn read_head(body: &mut impl BufRead) -> Result<String, Refusal> {
    let mut head = String::new();
    while !head.ends_with("\n\n") {
        let left = (HEAD_BYTES_MAX - head.len()) as u64;
        if body.by_ref().take(left).read_line(&mut head)? == 0 {
            return Err(Refusal::HeadTooLong);
        }
    }
    Ok(head)
}

fn root_of(identity: &Identity) -> io::Result<Partition> {
    Partition::wait_for(&format!("root_{}", identity.slot.other().letter()))
}

fn write_part(body: &mut impl BufRead, part: &Part, identity: &Identity) -> Result<(), Refusal> {
    let body = &mut body.by_ref().take(part.bytes);
    let written = if part.name == ROOT {
        let device = root_of(identity)?.device();
        let mut device = OpenOptions::new().write(true).open(device)?;
        copy(body, &mut device)?
    } else {
        slot::with_files(identity.slot.other(), |directory| {
            let path = directory.join(&part.name);
            // The old one may be larger than the space that is left.
            let _ = fs::remove_file(&path);
            copy(body, &mut File::create(path)?)
        })?
    };
    same(part, written)
}

/// Makes the kernel read from the disk what is read next.
fn forget_cached() -> io::Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "1")
}

fn read_back(part: &Part, identity: &Identity) -> Result<(), Refusal> {
    let read = |path: &Path| copy(&mut File::open(path)?.take(part.bytes), &mut io::sink());
    let read = if part.name == ROOT {
        read(&root_of(identity)?.device())?
    } else {
        slot::with_files(identity.slot.other(), |directory| {
            read(&directory.join(&part.name))
        })?
    };
    same(part, read)
}

fn same(part: &Part, (bytes, sha256): (u64, Sha256)) -> Result<(), Refusal> {
    if bytes == part.bytes && sha256 == part.sha256 {
        Ok(())
    } else {
        Err(Refusal::Differs(part.name.clone()))
    }
}

/// Something that is written to, and flushed to the disk at the end.
trait Target: Write {
    fn flush_to_disk(&self) -> io::Result<()>;
}

impl Target for File {
    fn flush_to_disk(&self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Target for io::Sink {
    fn flush_to_disk(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies all bytes, and returns how many they are and their digest.
fn copy(from: &mut impl Read, to: &mut impl Target) -> io::Result<(u64, Sha256)> {
    let mut piece = vec![0; PIECE_BYTES];
    let (mut digest, mut bytes) = (Context::new(&SHA256), 0);
    loop {
        let read = from.read(&mut piece)?;
        let Some(piece) = piece.get(..read).filter(|piece| !piece.is_empty()) else {
            break;
        };
        digest.update(piece);
        to.write_all(piece)?;
        bytes += piece.len() as u64;
    }
    to.flush_to_disk()?;
    let mut sha256 = Sha256::default();
    sha256.copy_from_slice(digest.finish().as_ref());
    Ok((bytes, sha256))
}
