//! Bounds of the link, with their reasons.

/// Bytes of a message with its checksum. COBS codes so many bytes as one block, with one byte more,
/// so a frame is coded where it lies.
pub const CONTENT_BYTES_MAX: usize = 254;

/// Bytes of a message.
pub const MESSAGE_BYTES_MAX: usize = CONTENT_BYTES_MAX - CHECKSUM_BYTES;

pub const CHECKSUM_BYTES: usize = 4;

/// Bytes of a frame on the wire: the content, the code byte of COBS and the zero that ends it.
pub const FRAME_BYTES_MAX: usize = CONTENT_BYTES_MAX + 2;

/// Bytes of a reading's value. Besides it, a message has at most 20 bytes.
pub const VALUE_BYTES_MAX: usize = 224;
const _: () = assert!(VALUE_BYTES_MAX + 20 <= MESSAGE_BYTES_MAX);

/// Characters of a device's identity and of a topic's name: what fits a message with the rest.
pub const NAME_BYTES_MAX: usize = 200;

/// Topics of a device. The device announces them one by one, and the broker keeps each.
pub const TOPICS_MAX: usize = 32;

/// Bytes of a message with readings after errors. Short frames pass a noisy line more often.
pub const NOISY_MESSAGE_BYTES: usize = 48;

/// Bytes by which messages grow with each acknowledgement, until they are as long as can be.
pub const MESSAGE_GROWTH_BYTES: usize = 16;

/// Repetitions without an answer, after which a device greets anew: the broker may have been
/// restarted.
pub const REPEATS_MAX: u8 = 4;

/// Repetitions double their distance up to so many times: at the default of half a second, a silent
/// broker is asked every 8 seconds.
pub const BACKOFF_DOUBLINGS: u8 = 4;

/// An idle device asks for an acknowledgement this often, to notice a broker that was restarted.
pub const IDLE_MS: u32 = 10_000;

/// The broker asks a device that it does not know to greet at most this often.
pub const STRANGER_MS: u32 = 250;

/// The broker repeats a delivery that is not confirmed.
pub const REDELIVER_MS: u32 = 500;

/// Readings that a device may send ahead of the last acknowledgement, at most. Sequence numbers
/// wrap, and their order is known only among far fewer than half of them.
pub const WINDOW_READINGS_MAX: u16 = 4096;

/// Answers about topics, and refusals, that wait for their turn to be sent. A device announces one
/// topic at a time; of more refusals, the last ones are told.
pub const ANSWERS_MAX: usize = 4;

/// Bytes of the broker's challenge, and of a device's proof that it has the key.
pub const CHALLENGE_BYTES: usize = 16;
pub const PROOF_BYTES: usize = 32;
