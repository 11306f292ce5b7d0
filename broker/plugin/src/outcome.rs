//! A plugin's answer, after every count, index and length in it has been checked.

use crate::limits::{ROUTES_MAX, TEXT_BYTES_MAX};
use crate::{
    bindings::filter::exports::sedge::plugin::filter::Outcome as Answer, error::BadOutput,
};

/// The checked verdicts on a batch's records.
///
/// **Invariant**: there are as many verdicts as records (or none, if all records are kept), all of
/// them known; as many replacements and reasons as verdicts that need them, and a topic for each
/// route; every replacement is within the blob; the replacements together are within the output
/// limit.
#[derive(Debug)]
pub struct Outcome {
    count: usize,
    verdicts: Vec<u8>,
    replacements: Vec<u8>,
    blob: Vec<u8>,
    /// The reasons of the rejected records, and then the topics that records are routed to.
    reasons: Vec<String>,
    rejected: usize,
    kept: usize,
}

/// The verdict on one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    Keep,
    Drop,
    Replace {
        key: Field<'a>,
        value: Field<'a>,
    },
    Reject {
        reason: &'a str,
    },
    /// The record, with these fields, is written to another topic.
    Route {
        topic: &'a str,
        key: Field<'a>,
        value: Field<'a>,
    },
}

/// A field of a replaced record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// The field stays.
    Same,
    /// The field becomes null.
    Null,
    Bytes(&'a [u8]),
}

const KEEP: u8 = 0;
const DROP: u8 = 1;
const REPLACE: u8 = 2;
const REJECT: u8 = 3;
/// The first of [`ROUTES_MAX`] verdicts, one for each topic.
const ROUTE: u8 = 4;

const REPLACEMENT_BYTES: usize = 16;
const NULL: u32 = u32::MAX;
const SAME: u32 = u32::MAX - 1;

impl Outcome {
    pub(crate) fn keep_all(count: usize) -> Self {
        Self {
            count,
            verdicts: Vec::new(),
            replacements: Vec::new(),
            blob: Vec::new(),
            reasons: Vec::new(),
            rejected: 0,
            kept: count,
        }
    }

    pub(crate) fn check(
        answer: Answer,
        count: usize,
        output_bytes_max: usize,
    ) -> Result<Self, BadOutput> {
        let Answer {
            verdicts,
            replacements,
            replacement_blob: blob,
            mut reasons,
        } = answer;
        if !verdicts.is_empty() && verdicts.len() != count {
            return Err(BadOutput::VerdictCount {
                got: verdicts.len(),
                records: count,
            });
        }
        let mut of = [0; ROUTE as usize + ROUTES_MAX];
        for verdict in &verdicts {
            match of.get_mut(usize::from(*verdict)) {
                Some(of) => *of += 1,
                None => return Err(BadOutput::UnknownVerdict(*verdict)),
            }
        }
        let [kept, _, replaced, rejected, routed @ ..] = of;
        let topics = routed.iter().rposition(|some| *some > 0);
        let topics = topics.map_or(0, |last| last + 1);
        let replaced = replaced + routed.iter().sum::<usize>();
        let (entries, rest) = replacements.as_chunks::<REPLACEMENT_BYTES>();
        if entries.len() != replaced || !rest.is_empty() {
            return Err(BadOutput::ReplacementBytes {
                got: replacements.len(),
                wanted: replaced,
            });
        }
        if reasons.len() != rejected + topics {
            return Err(BadOutput::ReasonCount {
                got: reasons.len(),
                wanted: rejected + topics,
            });
        }
        let mut bytes = 0_usize;
        for entry in entries {
            for field in fields(entry, &blob) {
                match field.ok_or(BadOutput::ReplacementOutside)? {
                    Field::Bytes(field) => bytes = bytes.saturating_add(field.len()),
                    Field::Same | Field::Null => {}
                }
            }
        }
        // Replacements may share bytes of the blob, but the batch that is made of them must not
        // exceed the limit.
        if bytes > output_bytes_max {
            return Err(BadOutput::TooMuch);
        }
        reasons.iter_mut().for_each(cut_off);
        let kept = if verdicts.is_empty() { count } else { kept };
        Ok(Self {
            count,
            verdicts,
            replacements,
            blob,
            reasons,
            rejected,
            kept,
        })
    }

    /// Returns whether the batch stays byte for byte the same.
    #[must_use]
    pub const fn keeps_all(&self) -> bool {
        self.kept == self.count
    }

    /// Returns whether any record is rejected.
    #[must_use]
    pub const fn rejects_any(&self) -> bool {
        self.rejected > 0
    }

    /// Returns the verdicts, one per record, in order.
    pub fn verdicts(&self) -> impl ExactSizeIterator<Item = Verdict<'_>> {
        let mut replacements = self.replacements.as_chunks::<REPLACEMENT_BYTES>().0.iter();
        let (reasons, topics) = self.reasons.split_at(self.rejected);
        let mut reasons = reasons.iter();
        let mut replacement = move || {
            replacements
                .next()
                .map_or([None, None], |entry| fields(entry, &self.blob))
                .map(|field| field.expect("checked when the plugin answered"))
        };
        (0..self.count).map(
            move |index| match self.verdicts.get(index).copied().unwrap_or(KEEP) {
                KEEP => Verdict::Keep,
                DROP => Verdict::Drop,
                REPLACE => {
                    let [key, value] = replacement();
                    Verdict::Replace { key, value }
                }
                REJECT => Verdict::Reject {
                    reason: reasons.next().map_or("", String::as_str),
                },
                route => {
                    let [key, value] = replacement();
                    let topic = topics.get(usize::from(route - ROUTE));
                    let topic = topic.map_or("", String::as_str);
                    Verdict::Route { topic, key, value }
                }
            },
        )
    }
}

fn fields<'a>(entry: &[u8; REPLACEMENT_BYTES], blob: &'a [u8]) -> [Option<Field<'a>>; 2] {
    let number =
        |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
    [0, 8].map(|at| match number(at + 4) {
        NULL => Some(Field::Null),
        SAME => Some(Field::Same),
        length => {
            let start = number(at) as usize;
            let end = start.checked_add(length as usize)?;
            blob.get(start..end).map(Field::Bytes)
        }
    })
}

/// Truncates a text for people to a length that fits in a reply.
pub fn cut_off(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(verdicts: &[u8], replacements: &[[u32; 4]], blob: &[u8], reasons: &[&str]) -> Answer {
        Answer {
            verdicts: verdicts.to_vec(),
            replacements: replacements
                .iter()
                .flatten()
                .flat_map(|n| n.to_le_bytes())
                .collect(),
            replacement_blob: blob.to_vec(),
            reasons: reasons.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn verdicts_come_with_what_belongs_to_them() {
        let replacements = [[0, SAME, 1, 2], [0, 1, 0, NULL]];
        let outcome = Outcome::check(
            answer(&[2, 0, 3, 1, 2], &replacements, b"abc", &["why"]),
            5,
            10,
        );
        let outcome = outcome.expect("well formed");
        assert!(!outcome.keeps_all() && outcome.rejects_any());
        let verdicts: Vec<_> = outcome.verdicts().collect();
        assert_eq!(
            verdicts,
            [
                Verdict::Replace {
                    key: Field::Same,
                    value: Field::Bytes(b"bc")
                },
                Verdict::Keep,
                Verdict::Reject { reason: "why" },
                Verdict::Drop,
                Verdict::Replace {
                    key: Field::Bytes(b"a"),
                    value: Field::Null
                },
            ]
        );
    }

    #[test]
    fn routes_have_a_topic_and_a_replacement() {
        let replacements = [[0, SAME, 0, SAME], [0, 1, 0, NULL]];
        let outcome = Outcome::check(
            answer(&[5, 3, 4], &replacements, b"a", &["why", "one", "two"]),
            3,
            10,
        );
        let outcome = outcome.expect("well formed");
        assert!(!outcome.keeps_all() && outcome.rejects_any());
        let (topic, key, value) = ("two", Field::Same, Field::Same);
        let first = Verdict::Route { topic, key, value };
        let (topic, key, value) = ("one", Field::Bytes(b"a"), Field::Null);
        let last = Verdict::Route { topic, key, value };
        let verdicts: Vec<_> = outcome.verdicts().collect();
        assert_eq!(verdicts, [first, Verdict::Reject { reason: "why" }, last]);
    }

    #[test]
    fn no_verdicts_keep_all() {
        let outcome = Outcome::check(answer(&[], &[], &[], &[]), 3, 10).expect("well formed");
        assert!(outcome.keeps_all());
        assert_eq!(outcome.verdicts().collect::<Vec<_>>(), [Verdict::Keep; 3]);
    }

    #[test]
    fn answers_against_the_rules_are_refused() {
        let check = |answer, expected: BadOutput| {
            assert_eq!(Outcome::check(answer, 2, 10).map(|_| ()), Err(expected));
        };
        check(
            answer(&[0], &[], &[], &[]),
            BadOutput::VerdictCount { got: 1, records: 2 },
        );
        check(
            answer(&[0, 20], &[], &[], &[]),
            BadOutput::UnknownVerdict(20),
        );
        // The second of two topics, of which one is named.
        let same = [[0, SAME, 0, SAME]];
        check(
            answer(&[0, 5], &same, &[], &["a"]),
            BadOutput::ReasonCount { got: 1, wanted: 2 },
        );
        check(
            answer(&[4, 4], &same, &[], &["a"]),
            BadOutput::ReplacementBytes { got: 16, wanted: 2 },
        );
        check(
            answer(&[2, 0], &[], &[], &[]),
            BadOutput::ReplacementBytes { got: 0, wanted: 1 },
        );
        check(
            answer(&[3, 0], &[], &[], &[]),
            BadOutput::ReasonCount { got: 0, wanted: 1 },
        );
        check(
            answer(&[], &[], &[], &["?"]),
            BadOutput::ReasonCount { got: 1, wanted: 0 },
        );
        for outside in [
            [0, 4, 0, SAME],
            [4, 0, 0, SAME],
            [0, SAME, 2, 2],
            [5, u32::MAX - 2, 0, 0],
        ] {
            check(
                answer(&[2, 0], &[outside], b"abc", &[]),
                BadOutput::ReplacementOutside,
            );
        }
        let shared = [[0, 6, 0, 0]; 2];
        check(answer(&[2, 2], &shared, b"abcdef", &[]), BadOutput::TooMuch);
    }
}
