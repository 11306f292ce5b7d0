//! A batch's records as passed to a plugin: one flat run of bytes, and 32 bytes per record that
//! give the places of its fields (`wit/plugin.wit` has the layout).

use crate::limits::Limits;

/// The fields that a plugin reads. The others are not copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub key: bool,
    pub value: bool,
    pub headers: bool,
}

const SPAN_BYTES: usize = 32;
const NULL: u32 = u32::MAX;

/// Collects the records of one batch after another. Keeps its buffers, so that it allocates nothing
/// once warm.
///
/// **Invariant**: every span lies within the blob, and there is one per record.
#[derive(Debug, Default)]
pub struct RecordBlob {
    needs: Needs,
    blob: Vec<u8>,
    spans: Vec<u8>,
    bytes_max: usize,
}

/// The fields of a batch exceed the plugin's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl RecordBlob {
    /// Creates an empty blob. Fill it after [`start`](Self::start).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the next batch, for a plugin that reads `needs` and is bound by `limits`. Frees
    /// oversized buffers that one huge batch left behind.
    pub fn start(&mut self, needs: Needs, limits: &Limits) {
        self.needs = needs;
        // A plugin cannot hold more than its memory, and offsets have 32 bits.
        self.bytes_max = limits.memory_bytes_max.min(u32::MAX as usize >> 1);
        self.blob.clear();
        self.spans.clear();
        self.blob.shrink_to(limits.output_bytes_max);
        self.spans.shrink_to(limits.output_bytes_max);
    }

    /// Adds a record. `headers` is the record's encoded header section: the count, then names and
    /// values.
    ///
    /// # Errors
    /// The batch no longer fits in the plugin's memory.
    pub fn push(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Option<&[u8]>,
        timestamp_delta_ms: i64,
    ) -> Result<(), TooLarge> {
        let mut span = [0; SPAN_BYTES];
        let fields = [
            key.filter(|_| self.needs.key),
            value.filter(|_| self.needs.value),
            headers.filter(|_| self.needs.headers),
        ];
        let (at, delta) = span.split_at_mut(24);
        for (at, field) in at.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
            let length = match field {
                None => NULL,
                Some(bytes) => bytes.len() as u32,
            };
            *at = (u64::from(length) << 32 | self.blob.len() as u64).to_le_bytes();
            let bytes = field.unwrap_or_default();
            if bytes.len() > self.bytes_max - self.blob.len() {
                return Err(TooLarge);
            }
            self.blob.extend_from_slice(bytes);
        }
        delta.copy_from_slice(&timestamp_delta_ms.to_le_bytes());
        if self.spans.len() + SPAN_BYTES > self.bytes_max {
            return Err(TooLarge);
        }
        self.spans.extend_from_slice(&span);
        Ok(())
    }

    /// Returns the number of records.
    #[must_use]
    pub fn count(&self) -> usize {
        self.spans.len() / SPAN_BYTES
    }

    pub(crate) fn blob(&self) -> &[u8] {
        &self.blob
    }

    pub(crate) fn spans(&self) -> &[u8] {
        &self.spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Needs = Needs {
        key: true,
        value: true,
        headers: true,
    };

    #[test]
    fn spans_tell_where_fields_lie() {
        let mut records = RecordBlob::new();
        records.start(ALL, &Limits::default());
        records
            .push(Some(b"k"), Some(b"value"), None, -2)
            .expect("fits");
        records
            .push(None, Some(b""), Some(&[0]), 1 << 40)
            .expect("fits");
        assert_eq!(records.blob(), b"kvalue\0");
        let numbers: Vec<i32> = records
            .spans()
            .as_chunks()
            .0
            .iter()
            .map(|at| i32::from_le_bytes(*at))
            .collect();
        assert_eq!(
            numbers,
            [0, 1, 1, 5, 6, -1, -2, -1, 6, -1, 6, 0, 6, 1, 0, 256]
        );
        assert_eq!(records.count(), 2);
    }

    #[test]
    fn what_is_not_needed_is_not_copied() {
        let mut records = RecordBlob::new();
        records.start(
            Needs {
                key: true,
                ..Needs::default()
            },
            &Limits::default(),
        );
        records
            .push(Some(b"k"), Some(b"value"), Some(&[0]), 0)
            .expect("fits");
        assert_eq!(records.blob(), b"k");
    }

    #[test]
    fn a_batch_larger_than_the_memory_is_refused() {
        let limits = Limits {
            memory_bytes_max: 64,
            ..Limits::default()
        };
        let mut records = RecordBlob::new();
        records.start(ALL, &limits);
        assert_eq!(records.push(None, Some(&[0; 65]), None, 0), Err(TooLarge));
        assert_eq!(records.push(None, None, None, 0), Ok(()));
        assert_eq!(records.push(None, None, None, 0), Ok(()));
        assert_eq!(records.push(None, None, None, 0), Err(TooLarge));
        records.start(ALL, &limits);
        assert_eq!(records.push(None, Some(&[0; 64]), None, 0), Ok(()));
    }
}
