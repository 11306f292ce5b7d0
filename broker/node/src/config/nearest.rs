//! Finds the known name that is most similar to a given one.

/// Returns the candidate with the smallest edit distance, if it is near enough to be meant.
pub fn nearest(given: &str, candidates: &[String]) -> Option<String> {
    // One mistake per three letters; with more it is another word.
    let distance_max = (given.len() / 3).clamp(2, 8);
    candidates
        .iter()
        .map(|candidate| (distance(given, candidate), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.clone())
}

/// Counts the insertions, removals, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &to) in b.iter().enumerate() {
            let replace = last[j] + usize::from(from != to);
            let mut best = replace.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from == b[j - 1] && a[i - 1] == to {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        let check = |a: &str, b: &str, expected: usize| {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        };
        check("", "", 0);
        check("", "abc", 3);
        check("listeners", "listeners", 0);
        check("listeners", "listener", 1);
        check("retention", "retnetion", 1);
        check("kitten", "sitting", 3);
    }

    #[test]
    fn names_what_is_near_and_nothing_else() {
        let known: Vec<String> = ["listeners", "log.retention.ms", "node.id"]
            .map(String::from)
            .to_vec();
        let check = |given: &str, expected: Option<&str>| {
            assert_eq!(nearest(given, &known).as_deref(), expected, "{given}");
        };
        check("listener", Some("listeners"));
        check("log.retention_ms", Some("log.retention.ms"));
        check("nodeid", Some("node.id"));
        check("completely.different", None);
    }
}
