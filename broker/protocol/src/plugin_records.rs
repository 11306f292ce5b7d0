//! Records of `__sedge_plugins`, a compacted topic of one partition that stores deployed plugins.
//!
//! Deploying is producing: the key is the plugin's name, the value its component (or an artifact of
//! `sedge plugin compile`). A record without a value removes the plugin. The last record of a name
//! is the one that counts.
//!
//! The key `NAME@OFFSET` keeps a content that was replaced: the one that was deployed at this
//! offset, which is its version. `NAME@paused` has a value while the plugin is paused. Readers of
//! names pass over such keys.

use crate::batch::Batch;
use crate::error::Result;
use crate::ids::Offset;
use crate::limits::DECOMPRESSED_BYTES_MAX;
use crate::records::{BatchBuilder, Compression, RecordHeader, Records, decompress};

/// Largest batch of the topic, in bytes: the largest component (`plugin.component.bytes`, 20 MiB)
/// or a smaller one with its machine code, still small enough for the largest answer that sedge's
/// client accepts.
pub const BATCH_BYTES_MAX: usize = 24 << 20;

/// Largest content, in bytes: its batch fits even if the content does not compress.
pub const CONTENT_BYTES_MAX: usize = BATCH_BYTES_MAX - (64 << 10);

/// Largest content, in bytes, that is compressed: the cleaner of a compacted topic, which has to
/// decompress a whole batch, takes no larger one. Python's components are larger.
const COMPRESSED_CONTENT_BYTES_MAX: usize = DECOMPRESSED_BYTES_MAX - (64 << 10);

/// Longest name, in characters. It appears in topic configurations and in metric labels.
const NAME_MAX: usize = 64;

/// The header of a deployment that the broker made because the one before failed. It has no value.
const ROLLBACK_HEADER: &str = "sedge.rollback";

/// The header of a deployment with the signature of the one who deployed it.
const SIGNATURE_HEADER: &str = "sedge.signature";

/// The key of a pause, behind the name and `@`.
const PAUSED: &str = "paused";

/// What a record says about a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Its content is deployed.
    Deployed,
    /// Its content was deployed at this offset, and is kept.
    Version(Offset),
    /// The plugin is not called, whatever is deployed.
    Pause,
}

/// One change of the deployed plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// The plugin's name.
    pub name: &'a str,
    pub subject: Subject,
    /// The content that is deployed from now on, or kept; `None` removes the plugin or the version,
    /// or ends the pause.
    pub content: Option<&'a [u8]>,
    /// When the content was deployed, in ms, by the clock of the client that deployed it.
    pub timestamp_ms: i64,
    /// The broker went back to this content by itself.
    pub is_rollback: bool,
    /// The signature of the name and the content, if there is one.
    pub signature: Option<&'a [u8]>,
}

impl<'a> Change<'a> {
    /// The deployment of a content under a name, or the plugin's removal.
    #[must_use]
    pub const fn of(name: &'a str, content: Option<&'a [u8]>, timestamp_ms: i64) -> Self {
        Self {
            name,
            subject: Subject::Deployed,
            content,
            timestamp_ms,
            is_rollback: false,
            signature: None,
        }
    }

    fn key(&self) -> String {
        match self.subject {
            Subject::Deployed => self.name.to_owned(),
            Subject::Version(version) => format!("{}@{}", self.name, version.get()),
            Subject::Pause => format!("{}@{PAUSED}", self.name),
        }
    }
}

/// Returns the name in a key, and what its record is about.
fn parse_key(key: &[u8]) -> Option<(&str, Subject)> {
    let key = std::str::from_utf8(key).ok()?;
    let (name, subject) = match key.split_once('@') {
        Some((name, PAUSED)) => (name, Subject::Pause),
        Some((name, version)) => (name, Subject::Version(Offset(version.parse().ok()?))),
        None => (key, Subject::Deployed),
    };
    check_name(name).is_ok().then_some((name, subject))
}

/// Checks a plugin's name.
///
/// # Errors
/// A text that says which names are allowed.
pub fn check_name(name: &str) -> std::result::Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fine) {
        return Err(format!(
            "`{name}`: a plugin's name is 1 to {NAME_MAX} letters, digits, - and _"
        ));
    }
    Ok(())
}

/// Calls `each` with the changes in a batch, in order. Skips records with other keys.
///
/// # Errors
/// The batch cannot be read.
pub fn each_change(batch: &Batch, mut each: impl FnMut(Change<'_>)) -> Result<()> {
    if batch.header.is_control() {
        return Ok(());
    }
    let body = decompress(&batch.header, &batch.body, BATCH_BYTES_MAX)?;
    for record in Records::new(&batch.header, &body) {
        let record = record?;
        if let Some((name, subject)) = record.key.and_then(parse_key) {
            let timestamp_ms = batch
                .header
                .base_timestamp()
                .wrapping_add(record.timestamp_delta);
            each(Change {
                name,
                subject,
                content: record.value,
                timestamp_ms,
                is_rollback: record
                    .headers
                    .iter()
                    .any(|(header, _)| header == ROLLBACK_HEADER.as_bytes()),
                signature: record
                    .headers
                    .iter()
                    .find(|(header, _)| *header == SIGNATURE_HEADER.as_bytes())
                    .and_then(|(_, signature)| signature),
            });
        }
    }
    Ok(())
}

/// Builds a batch that makes one change.
///
/// # Errors
/// The change is larger than a batch can be.
pub fn batch_of(change: &Change<'_>) -> Result<Batch> {
    // Machine code and components are compressible, and a link to a device is slow.
    let bytes = change.content.map_or(0, <[u8]>::len);
    let codec = if bytes > COMPRESSED_CONTENT_BYTES_MAX {
        Compression::None
    } else {
        Compression::Zstd
    };
    let mut builder = BatchBuilder::new(codec);
    let rollback = change.is_rollback.then_some((ROLLBACK_HEADER, None));
    let signature = change.signature.map(|of| (SIGNATURE_HEADER, Some(of)));
    let headers: Vec<RecordHeader<'_>> = rollback.into_iter().chain(signature).collect();
    let key = change.key();
    builder.push(
        change.timestamp_ms,
        Some(key.as_bytes()),
        change.content,
        &headers,
    );
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_as_it_was_written() {
        let content = vec![7; 100_000];
        for content in [Some(&content[..]), None] {
            let deployed = Change::of("range-1", content, 1_795_311_182_000);
            let about = |subject| Change {
                subject,
                ..deployed.clone()
            };
            let kept = about(Subject::Version(Offset(17)));
            let paused = about(Subject::Pause);
            let back = Change {
                is_rollback: true,
                signature: Some(b"signed"),
                ..deployed.clone()
            };
            for change in [deployed.clone(), kept, paused, back] {
                check(&change);
            }
        }
    }

    fn check(change: &Change<'_>) {
        let batch = batch_of(change).unwrap();
        let mut read = 0;
        each_change(&batch, |other| {
            assert_eq!(other, *change);
            read += 1;
        })
        .unwrap();
        assert_eq!(read, 1);
    }

    #[test]
    fn a_component_of_a_large_language_fits_a_compacted_topic() {
        for bytes in [COMPRESSED_CONTENT_BYTES_MAX, CONTENT_BYTES_MAX] {
            let content = vec![7; bytes];
            let change = Change::of("large", Some(&content), 0);
            let batch = batch_of(&change).unwrap();
            assert!(batch.body.len() <= BATCH_BYTES_MAX);
            let held = decompress(&batch.header, &batch.body, DECOMPRESSED_BYTES_MAX);
            assert!(held.is_ok(), "{bytes} bytes: {held:?}");
        }
    }

    #[test]
    fn a_key_that_is_no_name_is_left_out() {
        let mut builder = BatchBuilder::new(Compression::None);
        let bad = ["a.b", "a@", "a@b", "@1", "a@1@2", "a@99999999999999999999"];
        for key in bad
            .map(str::as_bytes)
            .into_iter()
            .chain([&b"\xff"[..], b"good"])
        {
            builder.push(0, Some(key), Some(b"x"), &[]);
        }
        builder.push(0, None, Some(b"x"), &[]);
        let mut names = Vec::new();
        each_change(&builder.build().unwrap(), |change| {
            names.push(change.name.to_owned());
        })
        .unwrap();
        assert_eq!(names, ["good"]);
    }
}
