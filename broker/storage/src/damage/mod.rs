//! Places of the log that are known to be damaged: bit rot found by the scrub, or losses accepted
//! with `sedge doctor --repair damage`.
//!
//! Reads skip them like a hole, and so do recovery, cleaning and a rebuild of the views: a place on
//! this list stays lost. The list is a file of its own beside the segments, because it says
//! something about their bytes that the log itself cannot say. If the file is lost, the scrub finds
//! the places again.

pub(crate) mod guarded;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{Damaged, LostRange};
use crate::disk::write_whole;
use crate::error::{Error, io_error};
use crate::ids::SegmentId;
use crate::limits;

/// The name of the file in the data directory.
pub(crate) const DAMAGE: &str = "damage";
const FIRST_LINE: &str = "sedge damage 2";
const FIRST_LINE_WITHOUT_SUMS: &str = "sedge damage 1";
/// Separates a line from its checksum.
const SUM: &str = " crc32c=";

/// A stretch of batches, split at its damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stretch {
    Sound { position: u64, bytes: u64 },
    Damaged(Vec<LostRange>),
}

/// The list, in memory and in its file.
#[derive(Debug, Default)]
pub(crate) struct DamageList {
    /// `None` for a store without a directory: the list is not saved.
    path: Option<PathBuf>,
    places: RwLock<BTreeMap<SegmentId, Vec<Damaged>>>,
    /// Checked first: readers of an undamaged log do nothing more.
    is_any: AtomicBool,
}

impl DamageList {
    /// Reads the list of a data directory. An unreadable line is ignored: the scrub finds its place
    /// again.
    pub fn load(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(DAMAGE);
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(source) => return Err(io_error("read the list of damage", source)),
        };
        let list = Self {
            path: Some(path),
            ..Self::default()
        };
        let mut lines = text.lines();
        let has_sums = lines.next() != Some(FIRST_LINE_WITHOUT_SUMS);
        let read = |line: &str| match (has_sums, line.rsplit_once(SUM)) {
            (false, _) => Damaged::read(line),
            (true, Some((of, sum))) => {
                let sum = u32::from_str_radix(sum, 16).ok()?;
                Damaged::read(of).filter(|_| sum == crc32c::crc32c(of.as_bytes()))
            }
            (true, None) => None,
        };
        // Places on the list are not read, so a line with flipped bits would hide sound records.
        let mut damaged = 0;
        let places = lines.filter_map(|line| {
            let place = read(line);
            damaged += u32::from(place.is_none());
            place
        });
        list.insert(places.collect());
        if damaged > 0 {
            log::warn!(
                "{damaged} lines of DATA/damage are damaged; the scrub finds those places again"
            );
        }
        Ok(list)
    }

    /// Adds new places, durably. Returns their number.
    pub fn add(&self, found: Vec<Damaged>) -> Result<usize, Error> {
        let new = self.insert(found);
        if new > 0 {
            self.save()?;
        }
        Ok(new)
    }

    /// Like [`DamageList::add`], with places for offsets whose position is not known: each gets a
    /// place of its own in segment 0, which does not exist. Offsets that have such a place already
    /// are not added again.
    pub fn accept(&self, found: Vec<Damaged>) -> Result<usize, Error> {
        let nowhere: Vec<Damaged> = {
            let places = self.read();
            places.get(&SegmentId(0)).cloned().unwrap_or_default()
        };
        let mut last = nowhere.iter().map(|of| of.end).max().unwrap_or(0);
        let mut placed = Vec::with_capacity(found.len());
        for mut of in found {
            if of.segment == SegmentId(0) {
                if nowhere.iter().any(|known| known.lost == of.lost) {
                    continue;
                }
                (of.position, of.end) = (last, last + 1);
                last += 1;
            }
            placed.push(of);
        }
        self.add(placed)
    }

    /// Returns whether all of these offsets are in known places.
    pub fn has_lost(&self, lost: &LostRange) -> bool {
        if !self.is_any() {
            return false;
        }
        let places = self.read();
        lost.is_within(places.values().flatten().flat_map(|of| &of.lost))
    }

    /// Drops the places of segments that no longer exist: segment numbers are not reused.
    pub fn keep_only(&self, ids: &[SegmentId]) {
        // Accepted losses without a position are in no segment, and stay.
        self.write()
            .retain(|id, _| id.0 == 0 || ids.binary_search(id).is_ok());
    }

    /// Returns every place, by segment and position.
    pub fn all(&self) -> Vec<Damaged> {
        self.read().values().flatten().cloned().collect()
    }

    /// Returns the end of the damage that covers `position`.
    pub fn end_at(&self, segment: SegmentId, position: u64) -> Option<u64> {
        if !self.is_any() {
            return None;
        }
        let places = self.read();
        let holds = |of: &&Damaged| of.position <= position && position < of.end;
        places.get(&segment)?.iter().find(holds).map(|of| of.end)
    }

    pub fn touches(&self, segment: SegmentId, position: u64, bytes: u64) -> bool {
        let overlaps = |of: &Damaged| of.position < position + bytes && position < of.end;
        self.is_any()
            && self
                .read()
                .get(&segment)
                .is_some_and(|places| places.iter().any(overlaps))
    }

    /// Returns whether every byte of a stretch is damaged.
    pub fn covers(&self, segment: SegmentId, from: u64, to: u64) -> bool {
        let mut at = from;
        if self.is_any()
            && let Some(places) = self.read().get(&segment)
        {
            // Places are in ascending order.
            for of in places {
                if of.position > at {
                    break;
                }
                at = at.max(of.end);
            }
        }
        at >= to
    }

    /// Removes the place at `position`, which has been repaired. Returns whether it was on the
    /// list.
    pub fn forget(&self, segment: SegmentId, position: u64) -> Result<bool, Error> {
        let mut is_known = false;
        if let Some(places) = self.write().get_mut(&segment) {
            let before = places.len();
            places.retain(|of| of.position != position);
            is_known = places.len() < before;
        }
        if is_known {
            self.save()?;
        }
        Ok(is_known)
    }

    /// Splits the bytes from `position` on into sound and damaged stretches, in order.
    pub fn cut(&self, segment: SegmentId, position: u64, bytes: u64) -> Vec<Stretch> {
        let end = position + bytes;
        let mut at = position;
        let mut cut = Vec::new();
        if self.is_any()
            && let Some(places) = self.read().get(&segment)
        {
            for of in places {
                if of.end <= at || of.position >= end {
                    continue;
                }
                if of.position > at {
                    let bytes = of.position - at;
                    cut.push(Stretch::Sound {
                        position: at,
                        bytes,
                    });
                }
                cut.push(Stretch::Damaged(of.lost.clone()));
                at = of.end;
            }
        }
        if at < end {
            let bytes = end - at;
            cut.push(Stretch::Sound {
                position: at,
                bytes,
            });
        }
        cut
    }

    fn insert(&self, found: Vec<Damaged>) -> usize {
        let mut places = self.write();
        let mut count: usize = places.values().map(Vec::len).sum();
        let mut new = 0;
        for of in found {
            let known = places.entry(of.segment).or_default();
            let at = known.partition_point(|known| known.position < of.position);
            let is_known = known
                .iter()
                .any(|known| known.position <= of.position && of.end <= known.end);
            if !is_known && count < limits::DAMAGED_PLACES_MAX {
                known.insert(at, of);
                (count, new) = (count + 1, new + 1);
            }
        }
        self.is_any.store(count > 0, Ordering::Release);
        new
    }

    /// Writes the whole file again: it is short, and is replaced atomically.
    fn save(&self) -> Result<(), Error> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let mut text = format!("{FIRST_LINE}\n");
        for of in self.read().values().flatten() {
            let mut line = String::new();
            of.write(&mut line);
            let line = line.trim_end();
            // Writing to a string does not fail.
            let _ = writeln!(text, "{line}{SUM}{:08x}", crc32c::crc32c(line.as_bytes()));
        }
        write_whole(path, text.as_bytes())
            .map_err(|source| io_error("write the list of damage", source))
    }

    pub fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Acquire)
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<SegmentId, Vec<Damaged>>> {
        self.places.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<SegmentId, Vec<Damaged>>> {
        self.places.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Damaged {
    /// `SEGMENT GENERATION POSITION END [PARTITION:BASE-NEXT]…`
    fn write(&self, out: &mut String) {
        let (segment, generation) = (self.segment.0, self.generation);
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "{segment} {generation:016x} {} {}",
            self.position, self.end
        );
        for lost in &self.lost {
            let (base, next) = (lost.base_offset, lost.next_offset);
            let _ = write!(out, " {}:{base}-{next}", lost.partition);
        }
        out.push('\n');
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let segment = SegmentId(words.next()?.parse().ok()?);
        let generation = u64::from_str_radix(words.next()?, 16).ok()?;
        let position = words.next()?.parse().ok()?;
        let end = words.next()?.parse().ok().filter(|end| *end > position)?;
        let lost = words.map(|word| {
            let (partition, offsets) = word.split_once(':')?;
            let (base, next) = offsets.split_once('-')?;
            Some(LostRange {
                partition: PartitionId(partition.parse().ok()?),
                base_offset: Offset(base.parse().ok()?),
                next_offset: Offset(next.parse().ok()?),
            })
        });
        Some(Self {
            segment,
            generation,
            position,
            end,
            lost: lost.collect::<Option<_>>()?,
        })
    }
}

/// Returns the parts of the unreadable stretches that are in no damaged place: bytes that belong to
/// no partition and are skipped as well.
pub(crate) fn rest_of(unreadable: &[(u64, u64)], damaged: &[Damaged]) -> Vec<(u64, u64)> {
    let mut taken: Vec<(u64, u64)> = damaged.iter().map(|of| (of.position, of.end)).collect();
    taken.sort_unstable();
    let mut rest = Vec::new();
    for (from, to) in unreadable {
        let mut at = *from;
        let touches = |(start, end): &&(u64, u64)| start < to && end > from;
        for (start, end) in taken.iter().filter(touches) {
            if *start > at {
                rest.push((at, *start));
            }
            at = at.max(*end);
        }
        if at < *to {
            rest.push((at, *to));
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(segment: u64, position: u64, end: u64) -> Damaged {
        let lost = vec![LostRange {
            partition: PartitionId(7),
            base_offset: Offset(position as i64),
            next_offset: Offset(end as i64),
        }];
        Damaged {
            segment: SegmentId(segment),
            generation: 0xAB,
            position,
            end,
            lost,
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        for of in [
            place(1, 64, 100),
            Damaged {
                lost: Vec::new(),
                ..place(2, 0, 1)
            },
        ] {
            let mut text = String::new();
            of.write(&mut text);
            assert_eq!(Damaged::read(&text), Some(of));
        }
        for wrong in ["", "1 x 2 3", "1 0 5 5", "1 0 5 6 7:1", "1 0 5 6 7:1-"] {
            assert_eq!(Damaged::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn stretches_are_cut_around_damage() {
        let list = DamageList::default();
        assert!(!list.touches(SegmentId(1), 0, u64::MAX >> 1));
        assert_eq!(list.add(vec![place(1, 200, 300)]).unwrap(), 1);
        assert_eq!(list.add(vec![place(1, 100, 150)]).unwrap(), 1);
        assert_eq!(list.add(vec![place(1, 210, 300)]).unwrap(), 0, "known");
        let sound = |position, bytes| Stretch::Sound { position, bytes };
        let damaged = |of: Damaged| Stretch::Damaged(of.lost);
        let (first, second) = (place(1, 100, 150), place(1, 200, 300));
        assert_eq!(
            list.cut(SegmentId(1), 50, 450),
            [
                sound(50, 50),
                damaged(first),
                sound(150, 50),
                damaged(second.clone()),
                sound(300, 200)
            ]
        );
        assert_eq!(list.cut(SegmentId(1), 200, 100), [damaged(second)]);
        assert_eq!(list.cut(SegmentId(2), 200, 100), [sound(200, 100)]);
        assert_eq!(list.end_at(SegmentId(1), 149), Some(150));
        assert_eq!(list.end_at(SegmentId(1), 150), None);
        list.add(vec![place(1, 140, 200)]).unwrap();
        for (from, to, expected) in [
            (100, 300, true),
            (120, 140, true),
            (99, 120, false),
            (299, 301, false),
        ] {
            let covered = list.covers(SegmentId(1), from, to);
            assert_eq!(covered, expected, "{from} to {to}");
        }
        assert!(list.forget(SegmentId(1), 140).unwrap());
        assert!(!list.covers(SegmentId(1), 100, 300));
        assert!(!list.forget(SegmentId(1), 140).unwrap());
        list.keep_only(&[SegmentId(1)]);
        assert_eq!(list.all().len(), 2);
        list.keep_only(&[SegmentId(2)]);
        assert_eq!(list.all(), []);
    }

    #[test]
    fn what_is_nobody_s_is_the_rest() {
        let check = |unreadable: &[(u64, u64)], taken: &[(u64, u64)], expected: &[(u64, u64)]| {
            let damaged: Vec<Damaged> = taken.iter().map(|(at, end)| place(1, *at, *end)).collect();
            assert_eq!(rest_of(unreadable, &damaged), expected, "{taken:?}");
        };
        check(&[], &[(1, 2)], &[]);
        check(&[(10, 20)], &[], &[(10, 20)]);
        check(&[(10, 20)], &[(5, 25)], &[]);
        check(&[(10, 20)], &[(15, 18), (5, 12)], &[(12, 15), (18, 20)]);
        check(&[(10, 20), (20, 30)], &[(18, 22)], &[(10, 18), (22, 30)]);
    }
}
