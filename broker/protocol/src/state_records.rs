//! Records of `__sedge_plugin_state`, a compacted topic of one partition that stores what filters
//! remember.
//!
//! | part | bytes |
//! | --- | --- |
//! | key: version | int16, 0 |
//! | key: topic id | 16 |
//! | key: partition of the topic | int32 |
//! | key: plugin | int16 length, name |
//! | key: the plugin's key | the rest |
//! | value | as the plugin put it; none if the plugin removed the key |
//!
//! The last record of a key is the one that counts. The changes of one batch of records, made by
//! one plugin, are in batches of their own, in the commit that has what is left of that batch.
//! They are compressed: their keys begin with the same bytes.

use bytes::BufMut as _;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::kafka::KafkaUuid;
use crate::records::{AlikeBuilder, Records, decompress};
use crate::wire::{Reader, Write as _};

const VERSION: i16 = 0;

/// Most bytes of a decompressed batch.
const BATCH_BYTES_MAX: usize = 256 << 10;

/// Whose state it is: a plugin's for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner<'a> {
    pub topic: KafkaUuid,
    pub partition: i32,
    pub plugin: &'a str,
}

/// One change of a plugin's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange<'a> {
    pub owner: Owner<'a>,
    pub key: &'a [u8],
    /// `None` removes the key.
    pub value: Option<&'a [u8]>,
}

/// Calls `each` with the changes in a batch, in order.
///
/// # Errors
/// The batch cannot be read, or has a key of an unknown version.
pub fn each_change(batch: &Batch, mut each: impl FnMut(&StateChange<'_>)) -> Result<()> {
    if batch.header.is_control() {
        return Ok(());
    }
    let body = decompress(&batch.header, &batch.body, BATCH_BYTES_MAX)?;
    for record in Records::new(&batch.header, &body) {
        let record = record?;
        let key = record.key.unwrap_or_default();
        let mut reader = Reader::new(key);
        let what = "a key of plugin state";
        let version = reader.i16(what)?;
        if version != VERSION {
            return Err(Error::Unknown {
                what: "version of a key of plugin state",
                number: i64::from(version),
            });
        }
        let owner = Owner {
            topic: reader.uuid(what)?,
            partition: reader.i32(what)?,
            plugin: reader.string(what)?,
        };
        each(&StateChange {
            owner,
            key: reader.rest(),
            value: record.value,
        });
    }
    Ok(())
}

/// Builds the batches of changes of one owner's state: none if there is no change.
///
/// # Errors
/// A change is larger than a batch can be.
pub fn batches_of<'a>(
    owner: &Owner<'_>,
    changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    timestamp_ms: i64,
) -> Result<Vec<Batch>> {
    let mut prefix = Vec::new();
    prefix.put_i16(VERSION);
    prefix.put_uuid(owner.topic);
    prefix.put_i32(owner.partition);
    prefix.put_string(owner.plugin)?;
    let mut batches = Vec::new();
    let mut builder = AlikeBuilder::new(timestamp_ms, &prefix);
    for (key, value) in changes {
        if builder.push(key, value) {
            continue;
        }
        let full = std::mem::replace(&mut builder, AlikeBuilder::new(timestamp_ms, &prefix));
        batches.push(full.build()?);
        if !builder.push(key, value) {
            return Err(Error::TooMany {
                what: "bytes of a change of plugin state",
                limit: BATCH_BYTES_MAX,
            });
        }
    }
    if !builder.is_empty() {
        batches.push(builder.build()?);
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchBuilder, Compression};

    const OWNER: Owner<'static> = Owner {
        topic: KafkaUuid::from_parts(7, 9),
        partition: 3,
        plugin: "deadband",
    };

    type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    fn written(changes: &Changes) -> Vec<Batch> {
        let changes = changes.iter();
        let changes = changes.map(|(key, value)| (&key[..], value.as_deref()));
        batches_of(&OWNER, changes, 1_795_311_182_000).unwrap()
    }

    fn read(batches: &[Batch]) -> Changes {
        let mut read = Vec::new();
        for batch in batches {
            each_change(batch, |change| {
                assert_eq!(change.owner, OWNER);
                read.push((change.key.to_vec(), change.value.map(<[u8]>::to_vec)));
            })
            .unwrap();
        }
        read
    }

    #[test]
    fn changes_are_read_as_they_were_written() {
        let some = vec![
            (b"key".to_vec(), Some(b"value".to_vec())),
            (Vec::new(), Some(Vec::new())),
            (vec![0xff; 1024], None),
        ];
        let batches = written(&some);
        assert_eq!((batches.len(), read(&batches)), (1, some));
        assert!(written(&Vec::new()).is_empty());
    }

    #[test]
    fn many_changes_are_in_batches_that_can_be_read() {
        let value = |number: u32| {
            let noise = (0..65_536_u32).map(|at| (at.wrapping_mul(number + 1) >> 3) as u8);
            Some(noise.collect())
        };
        let many: Changes = (0..40)
            .map(|number: u32| (number.to_be_bytes().to_vec(), value(number)))
            .collect();
        let batches = written(&many);
        assert!(batches.len() > 1, "{}", batches.len());
        assert_eq!(read(&batches), many);
    }

    #[test]
    fn a_key_of_another_version_is_refused() {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(0, Some(&[0, 1, 2]), None, &[]);
        let refused = each_change(&builder.build().unwrap(), |_| {}).unwrap_err();
        assert!(
            matches!(refused, Error::Unknown { number: 1, .. }),
            "{refused}"
        );
    }

    /// What is written for a batch of sensors that each changed some dozen bytes.
    #[test]
    fn changes_take_little_more_than_their_own_bytes() {
        let mut seed = 1_u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_be_bytes()
        };
        // Values without any redundancy, for the worst case.
        let mut value = || [random(), random(), random(), random()].concat();
        let changes: Changes = (0..100)
            .map(|number| (format!("sensor-{number:05}").into_bytes(), Some(value())))
            .collect();
        let changed: usize = changes
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len))
            .sum();
        let bytes: usize = written(&changes).iter().map(Batch::bytes).sum();
        assert!(bytes * 10 <= changed * 13, "{bytes} for {changed}");
    }
}
