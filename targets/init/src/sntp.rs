//! Messages of SNTP (RFC 4330): a device asks a server for the time.

use std::time::Duration;

/// Bytes of a message.
pub const MESSAGE_BYTES: usize = 48;
/// Seconds from 1900, where NTP begins to count, to 1970.
const TO_UNIX_SECONDS: u64 = 2_208_988_800;
/// Seconds after which NTP's count begins again, in 2036.
const ERA_SECONDS: u64 = 1 << 32;

/// Returns a question with a number that its answer repeats.
pub fn question(nonce: u64) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    // Version 4, from a client.
    message[0] = 4 << 3 | 3;
    message[40..].copy_from_slice(&nonce.to_be_bytes());
    message
}

/// Reads the answer to the question with this number: the time since 1970. `None` if the message
/// is no such answer, or the server does not know the time.
pub fn answer(message: &[u8], nonce: u64) -> Option<Duration> {
    let message: &[u8; MESSAGE_BYTES] = message.get(..MESSAGE_BYTES)?.try_into().ok()?;
    let is_server = message[0] & 7 == 4;
    let is_synchronised = message[0] >> 6 != 3 && (1..16).contains(&message[1]);
    if !is_server || !is_synchronised || message[24..32] != nonce.to_be_bytes() {
        return None;
    }
    let seconds = u64::from(u32::from_be_bytes(message[40..44].try_into().ok()?));
    let fraction = u64::from(u32::from_be_bytes(message[44..].try_into().ok()?));
    if seconds == 0 {
        return None;
    }
    // Times before 1970 are those of the next era.
    let era = if seconds < TO_UNIX_SECONDS {
        ERA_SECONDS
    } else {
        0
    };
    let nanos = (fraction * 1_000_000_000) >> 32;
    Some(Duration::new(seconds + era - TO_UNIX_SECONDS, nanos as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(nonce: u64, seconds: u32) -> [u8; MESSAGE_BYTES] {
        let mut message = [0; MESSAGE_BYTES];
        message[0] = 4 << 3 | 4;
        message[1] = 2;
        message[24..32].copy_from_slice(&nonce.to_be_bytes());
        message[40..44].copy_from_slice(&seconds.to_be_bytes());
        message[44] = 0x80;
        message
    }

    #[test]
    fn the_time_of_an_answer_is_read_in_both_eras() {
        let half = Duration::from_millis(500);
        let now = Duration::from_secs(1_795_000_000) + half;
        let seconds = (1_795_000_000 + TO_UNIX_SECONDS) as u32;
        assert_eq!(answer(&answered(9, seconds), 9), Some(now));
        let later = Duration::from_secs(ERA_SECONDS + 100 - TO_UNIX_SECONDS) + half;
        assert_eq!(answer(&answered(9, 100), 9), Some(later));
    }

    #[test]
    fn what_is_no_answer_sets_no_clock() {
        let good = answered(9, u32::MAX);
        let changed = |at: usize, byte: u8| {
            let mut message = good;
            message[at] = byte;
            answer(&message, 9)
        };
        assert!(answer(&good, 9).is_some());
        assert_eq!(answer(&good, 8), None);
        assert_eq!(answer(&good[..47], 9), None);
        assert_eq!(changed(0, question(9)[0]), None, "a question");
        assert_eq!(changed(0, 0b1110_0100), None, "a clock that is not set");
        assert_eq!(changed(1, 0), None, "a kiss of death");
        assert_eq!(answer(&answered(9, 0), 9), None);
    }
}
