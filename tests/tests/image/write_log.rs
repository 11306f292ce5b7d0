//! What is on a card when the power fails: all writes and flushes of a run, as QEMU's
//! `blklogwrites` logs them (the kernel's format of `dm-log-writes`), and cards made of them. A
//! write that was not flushed yet is there, or not, or a part of its sectors is.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use sedge_tests::soak::Random;

use super::device::run;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// Of ten unflushed writes, those that are lost, and those that are torn.
const LOST: u64 = 4;
const TORN: u64 = 2;

/// A write or a flush.
struct Entry {
    flags: u64,
    /// Where it goes on the card.
    at: u64,
    length: u64,
    /// Where its bytes are in the log; `None` if it has none.
    bytes: Option<u64>,
    /// Where it ends in the log.
    end: u64,
}

/// The log of a run.
pub struct WriteLog {
    file: File,
    sector: u64,
    entries: Vec<Entry>,
}

impl WriteLog {
    /// Reads a log of a QEMU that has ended.
    pub fn read(path: &Path) -> Self {
        let file = File::open(path).expect("the log of the card");
        let mut head = [0; 28];
        file.read_exact_at(&mut head, 0).expect("a head");
        assert_eq!(number(&head, 0), MAGIC, "the device has flushed nothing");
        let count = number(&head, 16);
        let sector = u64::from(u32::from_le_bytes(
            head[24..28].try_into().expect("4 bytes"),
        ));
        let mut entries = Vec::new();
        let mut end = sector;
        for _ in 0..count {
            let mut entry = [0; 32];
            if file.read_exact_at(&mut entry, end).is_err() {
                break;
            }
            let [at, length] = [0, 8].map(|field| number(&entry, field) * sector);
            let (flags, mark) = (number(&entry, 16), number(&entry, 24));
            end += sector;
            let has_bytes = mark == 0 && flags & DISCARD == 0 && length > 0;
            let bytes = has_bytes.then_some(end);
            end += if has_bytes {
                length
            } else {
                mark.next_multiple_of(sector)
            };
            entries.push(Entry {
                flags,
                at,
                length,
                bytes,
                end,
            });
        }
        Self {
            file,
            sector,
            entries,
        }
    }

    /// Returns a random moment at which the log was at least this long.
    pub fn moment(&self, from: u64, random: &mut Random) -> usize {
        let first = self.entries.partition_point(|entry| entry.end < from);
        let left = self.entries.len() - first;
        assert!(left > 0, "the log ends before {from}");
        first + random.below(left as u64) as usize
    }

    /// Returns how long the log was at a moment.
    pub fn length_at(&self, moment: usize) -> u64 {
        self.entries[moment].end
    }

    /// Makes the card on which the power failed right after this entry, of the card as it was
    /// before the run.
    pub fn cut(&self, before: &Path, moment: usize, random: &mut Random, to: &Path) {
        copy(before, to);
        let card = File::options().write(true).open(to).expect("the card");
        let entries = &self.entries[..=moment];
        let flushed = entries.iter().rposition(|entry| entry.flags & FLUSH != 0);
        for (at, entry) in entries.iter().enumerate() {
            let Some(bytes) = entry.bytes else {
                continue;
            };
            let mut content = vec![0; entry.length as usize];
            self.file
                .read_exact_at(&mut content, bytes)
                .expect("a whole entry");
            let is_safe = flushed.is_some_and(|flushed| at <= flushed) || entry.flags & FUA != 0;
            let fate = if is_safe { u64::MAX } else { random.below(10) };
            let sectors = content.chunks(self.sector as usize).enumerate();
            for (number, sector) in sectors {
                let is_kept = match fate {
                    fate if fate < LOST => false,
                    fate if fate < LOST + TORN => random.below(2) == 0,
                    _ => true,
                };
                if is_kept {
                    let place = entry.at + number as u64 * self.sector;
                    card.write_all_at(sector, place)
                        .expect("the card is large enough");
                }
            }
        }
    }
}

/// Copies a card, of which most is empty.
pub fn copy(card: &Path, to: &Path) {
    run(
        "cp",
        Command::new("cp").arg("--sparse=always").args([card, to]),
    );
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}
