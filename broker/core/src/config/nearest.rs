//! Guesses the known name that an unknown one was probably meant to be.

use alloc::vec::Vec;

/// Largest distance at which a name is suggested.
const DISTANCE_MAX: usize = 5;
/// Longer names are not compared, because the work grows with the product of the lengths.
const NAME_BYTES_MAX: usize = 128;

/// Returns the candidate with the fewest letters to change, if it is within the largest distance.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    candidates
        .map(|candidate| (distance(name.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(distance, candidate)| *distance <= DISTANCE_MAX.min(candidate.len() / 2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Computes the Levenshtein distance, one row at a time.
fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.iter().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (above, other_letter) in row.iter().skip(1).zip(other) {
            let change = diagonal + usize::from(letter != other_letter);
            left = change.min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(one.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_the_far_ones_are_not() {
        let known = ["retention.ms", "retention.bytes", "flush.ms"];
        let check =
            |name, expected| assert_eq!(nearest(name, known.into_iter()), expected, "{name}");
        check("retention.msec", Some("retention.ms"));
        check("retetnion.ms", Some("retention.ms"));
        check("retention.byte", Some("retention.bytes"));
        check("flsh.ms", Some("flush.ms"));
        check("something.else.entirely", None);
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
    }
}
