//! Random values, which the core takes as arguments.

use sedge_protocol::kafka::KafkaUuid;

/// Returns a topic id: a UUID of version 4, never one that Kafka reserves.
pub fn random_uuid() -> KafkaUuid {
    loop {
        let high = fastrand::u64(..) & !0xf000 | 0x4000;
        let low = fastrand::u64(..) & !(0b11 << 62) | (0b10 << 62);
        let id = KafkaUuid::from_parts(high, low);
        if !id.is_reserved() {
            return id;
        }
    }
}
