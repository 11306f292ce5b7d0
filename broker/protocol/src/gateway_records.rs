//! Records of `__sedge_gateway`, a compacted topic of one partition that stores what the broker
//! knows of devices. The last record of a device is the one that counts. It is in the commit that
//! has the readings that it counts.
//!
//! | part | bytes |
//! | --- | --- |
//! | key: version | int16, 0 |
//! | key: device | the rest |
//! | value: instances | int32, and for each: instance int32, next reading int32 |
//! | value: positions | int32, and for each: topic int16 length, name; partition int32; offset int64 |

use bytes::BufMut as _;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::records::{BatchBuilder, Compression, Records};
use crate::wire::{Reader, Write as _};

const VERSION: i16 = 0;

/// Instances of a device that are kept: those of a few devices that share an identity by mistake.
pub const INSTANCES_MAX: usize = 4;

/// Partitions that a device reads.
pub const POSITIONS_MAX: usize = 256;

/// What is known of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceState {
    /// Instances and the first reading of each that is not committed; the last one used is first.
    pub instances: Vec<(u32, u32)>,
    /// Topic and partition, and the first offset that the device has not received.
    pub positions: Vec<(String, i32, i64)>,
}

impl DeviceState {
    /// Returns the first reading of an instance that is not committed.
    #[must_use]
    pub fn next(&self, instance: u32) -> Option<u32> {
        let known = self.instances.iter().find(|(of, _)| *of == instance);
        known.map(|(_, next)| *next)
    }

    /// Sets the first reading of an instance that is not committed.
    pub fn set_next(&mut self, instance: u32, next: u32) {
        self.instances.retain(|(of, _)| *of != instance);
        self.instances.insert(0, (instance, next));
        self.instances.truncate(INSTANCES_MAX);
    }

    /// Returns the position in a partition.
    #[must_use]
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        let mut positions = self.positions.iter();
        let known = positions.find(|(of, at, _)| of == topic && *at == partition);
        known.map(|(.., offset)| *offset)
    }

    /// Sets the position in a partition. If there are too many, the oldest one is forgotten.
    pub fn set_position(&mut self, topic: &str, partition: i32, offset: i64) {
        let mut positions = self.positions.iter_mut();
        let known = positions.find(|(of, at, _)| of == topic && *at == partition);
        if let Some((.., known)) = known {
            *known = offset;
            return;
        }
        if self.positions.len() == POSITIONS_MAX {
            self.positions.remove(0);
        }
        self.positions.push((topic.to_owned(), partition, offset));
    }

    /// Returns the batch with the record of a device.
    ///
    /// # Errors
    /// A name is longer than 32 KiB.
    pub fn batch(&self, device: &str, timestamp_ms: i64) -> Result<Batch> {
        let mut key = Vec::new();
        key.put_i16(VERSION);
        key.put_slice(device.as_bytes());
        let mut value = Vec::new();
        value.put_i32(self.instances.len() as i32);
        for (instance, next) in &self.instances {
            value.put_u32(*instance);
            value.put_u32(*next);
        }
        value.put_i32(self.positions.len() as i32);
        for (topic, partition, offset) in &self.positions {
            value.put_string(topic)?;
            value.put_i32(*partition);
            value.put_i64(*offset);
        }
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(timestamp_ms, Some(&key), Some(&value), &[]);
        builder.build()
    }

    fn read(value: &[u8]) -> Result<Self> {
        let what = "the state of a device";
        let mut reader = Reader::new(value);
        let mut state = Self::default();
        for _ in 0..reader.count(what, INSTANCES_MAX)? {
            let instance = reader.i32(what)?.cast_unsigned();
            let next = reader.i32(what)?.cast_unsigned();
            state.instances.push((instance, next));
        }
        for _ in 0..reader.count(what, POSITIONS_MAX)? {
            let topic = reader.string(what)?.to_owned();
            state
                .positions
                .push((topic, reader.i32(what)?, reader.i64(what)?));
        }
        Ok(state)
    }
}

/// Calls `each` with the devices in a batch and their state, in order. `None` forgets the device.
///
/// # Errors
/// The batch cannot be read, or has a key of an unknown version.
pub fn each_device(batch: &Batch, mut each: impl FnMut(&str, Option<DeviceState>)) -> Result<()> {
    if batch.header.is_control() {
        return Ok(());
    }
    for record in Records::new(&batch.header, &batch.body) {
        let record = record?;
        let mut key = Reader::new(record.key.unwrap_or_default());
        let version = key.i16("a key of a device")?;
        if version != VERSION {
            return Err(Error::Unknown {
                what: "version of a key of a device",
                number: i64::from(version),
            });
        }
        let device = str::from_utf8(key.rest()).map_err(|_| Error::Invalid {
            what: "a device's name",
        })?;
        each(device, record.value.map(DeviceState::read).transpose()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_comes_back() {
        let mut state = DeviceState::default();
        for instance in 0..6 {
            state.set_next(instance, u32::MAX - instance);
        }
        state.set_next(3, 7);
        state.set_position("commands", 2, 40);
        state.set_position("commands", 2, 41);
        state.set_position("more", 0, 1);
        let batch = state.batch("pump-1", 5).unwrap();
        let mut seen = Vec::new();
        each_device(&batch, |name, state| seen.push((name.to_owned(), state))).unwrap();
        assert_eq!(seen, [("pump-1".to_owned(), Some(state.clone()))]);
        let instances: Vec<u32> = state.instances.iter().map(|(of, _)| *of).collect();
        assert_eq!(instances, [3, 5, 4, 2]);
        assert_eq!((state.next(3), state.next(1)), (Some(7), None));
        assert_eq!(state.position("commands", 2), Some(41));
    }

    #[test]
    fn cut_values_and_wrong_counts_are_errors() {
        let mut state = DeviceState::default();
        state.set_next(1, 2);
        state.set_position("t", 0, 1);
        let batch = state.batch("d", 0).unwrap();
        let records = Records::new(&batch.header, &batch.body);
        let value = records.into_iter().next().unwrap().unwrap().value.unwrap();
        for cut in 0..value.len() {
            assert!(DeviceState::read(&value[..cut]).is_err(), "{cut}");
        }
        assert!(DeviceState::read(&[0, 0, 0, 5]).is_err());
    }
}
