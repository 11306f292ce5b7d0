//! The control records at both ends of a snapshot of `__cluster_metadata`, in Kafka's schemas, so
//! that `kafka-dump-log` reads them.
//!
//! The key of a control record: version (i16, 0), then its type (i16). The value is a message in
//! the flexible format.
//!
//! | type | record | value |
//! | --- | --- | --- |
//! | 3 | header of a snapshot | version (i16, 0), timestamp of the last record in it (i64) |
//! | 4 | footer of a snapshot | version (i16, 0) |
//!
//! `KRaft` has the end offset of a snapshot in the name of its file. Here it is a tagged field of
//! the header, [`END_OFFSET_TAG`], and of the footer too, so that both ends are known to belong
//! together. Kafka's readers skip the field.
//!
//! Source: Kafka's `SnapshotHeaderRecord.json`, `SnapshotFooterRecord.json`, `ControlRecordType`.

use bytes::BufMut as _;

use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::wire::{Reader, Write as _};

/// The tag of the end offset: eight bytes, big-endian. ("se" in ASCII.)
pub const END_OFFSET_TAG: u32 = 0x7365;

const KEY_VERSION: i16 = 0;
const HEADER_TYPE: i16 = 3;
const FOOTER_TYPE: i16 = 4;
const VALUE_VERSION: i16 = 0;

/// The record at either end of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotRecord {
    Header {
        /// Timestamp of the newest record that the snapshot contains, ms; 0 without one.
        last_contained_log_timestamp: i64,
        /// The snapshot contains the log before this offset.
        end_offset: Offset,
    },
    Footer {
        /// The same end offset as in the header.
        end_offset: Offset,
    },
}

impl SnapshotRecord {
    /// Decodes a control record. Returns `None` for other types, which a newer build may write
    /// beside the header.
    ///
    /// # Errors
    /// A version that this build does not know, or a snapshot without an end offset.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Option<Self>> {
        let mut key = Reader::new(key);
        let version = key.i16("a control record's version")?;
        let kind = key.i16("a control record's type")?;
        key.finish()?;
        if version != KEY_VERSION {
            return Err(unknown("version of a control record", version));
        }
        if kind != HEADER_TYPE && kind != FOOTER_TYPE {
            return Ok(None);
        }
        let mut value = Reader::new(value);
        let version = value.i16("a snapshot's version")?;
        if version != VALUE_VERSION {
            return Err(unknown("version of a snapshot", version));
        }
        let timestamp = match kind {
            HEADER_TYPE => value.i64("a snapshot's timestamp")?,
            _ => 0,
        };
        let mut end_offset = None;
        value.tagged_fields(|tag, mut field| {
            if tag == END_OFFSET_TAG {
                end_offset = Some(Offset(field.i64("a snapshot's end offset")?));
            }
            Ok(())
        })?;
        value.finish()?;
        let end_offset = end_offset.ok_or(Error::Invalid {
            what: "a snapshot without an end offset",
        })?;
        Ok(Some(match kind {
            HEADER_TYPE => Self::Header {
                last_contained_log_timestamp: timestamp,
                end_offset,
            },
            _ => Self::Footer { end_offset },
        }))
    }

    /// Encodes key and value of the control record.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let mut key = Vec::new();
        key.put_i16(KEY_VERSION);
        let mut value = Vec::new();
        value.put_i16(VALUE_VERSION);
        let end_offset = match self {
            Self::Header {
                last_contained_log_timestamp,
                end_offset,
            } => {
                key.put_i16(HEADER_TYPE);
                value.put_i64(*last_contained_log_timestamp);
                end_offset
            }
            Self::Footer { end_offset } => {
                key.put_i16(FOOTER_TYPE);
                end_offset
            }
        };
        value.put_unsigned_varint(1);
        value.put_unsigned_varint(END_OFFSET_TAG);
        value.put_unsigned_varint(8);
        value.put_i64(end_offset.get());
        (key, value)
    }
}

fn unknown(what: &'static str, number: i16) -> Error {
    Error::Unknown {
        what,
        number: i64::from(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SnapshotRecord = SnapshotRecord::Header {
        last_contained_log_timestamp: 1_795_311_182_000,
        end_offset: Offset(77),
    };
    const FOOTER: SnapshotRecord = SnapshotRecord::Footer {
        end_offset: Offset(77),
    };

    #[test]
    fn what_is_written_is_read_and_every_cut_is_refused() {
        for record in [HEADER, FOOTER] {
            let (key, value) = record.encode();
            assert_eq!(SnapshotRecord::decode(&key, &value).unwrap(), Some(record));
            for end in 0..value.len() {
                let cut = SnapshotRecord::decode(&key, &value[..end]);
                assert!(cut.is_err(), "{record:?} cut at {end}");
            }
            for end in 0..key.len() {
                assert!(SnapshotRecord::decode(&key[..end], &value).is_err());
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_kafka_s_schemas() {
        let (key, value) = HEADER.encode();
        assert_eq!(key, [0, 0, 0, 3]);
        // Version and timestamp, as Kafka writes them, then the tagged fields.
        assert_eq!(value[..2], [0, 0]);
        assert_eq!(value[2..10], 1_795_311_182_000_i64.to_be_bytes());
        assert_eq!(value[10], 1);
        let (key, value) = FOOTER.encode();
        assert_eq!((&key[..], &value[..2]), (&[0, 0, 0, 4][..], &[0, 0][..]));
    }

    #[test]
    fn other_control_records_are_passed_over_and_newer_ones_are_named() {
        let (_, value) = FOOTER.encode();
        assert_eq!(SnapshotRecord::decode(&[0, 0, 0, 5], &value).unwrap(), None);
        assert!(SnapshotRecord::decode(&[0, 1, 0, 4], &value).is_err());
        let newer = [&[0, 1], &value[2..]].concat();
        assert!(SnapshotRecord::decode(&[0, 0, 0, 4], &newer).is_err());
        // A footer that Kafka wrote has no end offset.
        assert!(SnapshotRecord::decode(&[0, 0, 0, 4], &[0, 0, 0]).is_err());
    }
}
