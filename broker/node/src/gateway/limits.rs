//! Bounds of the gateways, each with its reason.

use std::time::Duration;

/// Devices that are connected to a gateway at once. Each holds the readings of its window, some 60
/// KiB at most, and what is read for it.
pub const DEVICES_MAX: usize = 256;

/// Devices that are remembered, with some 100 bytes each; a further one is refused.
pub const DEVICES_KNOWN_MAX: usize = 65_536;

/// Bytes of an identity, which is part of a principal and of the key of records.
pub const IDENTITY_BYTES_MAX: usize = 64;

/// Readings that a device may send before the first of them is committed: those of a commit of 50
/// milliseconds at 1 MBaud.
pub const WINDOW: u16 = 256;

/// Time without a byte after which a connection is closed: a device that is idle asks for an
/// acknowledgement every 10 seconds.
pub const SILENCE_MAX: Duration = Duration::from_mins(1);

/// Time for a device to greet with a valid identity, and prove it.
pub const GREETING_MAX: Duration = Duration::from_secs(10);

/// Pause after readings could not be written: the disk is full, or a filter cannot run.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// Pauses between attempts to open a serial line: it may be unplugged for long.
pub const REOPEN_MIN: Duration = Duration::from_millis(100);
pub const REOPEN_MAX: Duration = Duration::from_secs(5);

/// Bytes that are read of a wire at once.
pub const READ_BYTES: usize = 4096;

/// Bytes of batches that are read for a device at once.
pub const FETCH_BYTES: usize = 64 << 10;

/// Bytes of a batch that is opened for a device. Larger ones are passed over.
pub const OPENED_BYTES_MAX: usize = 1 << 20;

/// How long a read waits for the first record.
pub const FETCH_WAIT: Duration = Duration::from_secs(30);

/// Pause before a topic is read again that could not be read.
pub const FETCH_AGAIN: Duration = Duration::from_secs(1);

/// How often the positions of a device are written that receives records: after a kill, it receives
/// the records of this time again.
pub const POSITIONS_EVERY: Duration = Duration::from_secs(1);
