//! The records of a batch (message format v2): read in place, checked, and built.
//!
//! A body is the bytes behind the 61 bytes of the header. An uncompressed body is the records one
//! after the other: length, attributes (unused), timestamp delta, offset delta, key, value,
//! headers; all lengths are varints. A compressed body is one compressed block of the same.
//!
//! **Invariant:** records that are read borrow from the body, and no length that the body claims is
//! trusted.
//!
//! Source: Kafka's "Message format" page, `DefaultRecord`, `DefaultRecordBatch`.

mod alike;
mod build;
mod check;
mod codec;
mod compact;
mod compress;
mod marker;
mod open;
mod read;
mod recompress;

pub use alike::AlikeBuilder;
pub use build::{
    BatchBuilder, Kept, Producer, RecordHeader, rebuild, rebuild_elsewhere, rebuild_elsewhere_with,
    sequence_plus, stand_in,
};
pub use check::{RecordFacts, Unreadable, check_records, each_record};
pub use codec::{Compression, compression_of};
pub use compact::{Compacted, gap};
pub use compress::{compress, decompress};
pub use marker::{EndTransactionMarker, TransactionResult};
pub use open::{Opener, opened, opened_bytes_max};
pub use read::{Headers, RecordView, Records};
pub use recompress::{compress_batch, recompress_batch};
