//! Kafka's default partitioner, for records that the broker sends to a partition of its choice.

/// The name under which topics are bound to it.
pub const MURMUR2: &str = "murmur2";

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// Returns Kafka's hash of a key (`Utils.murmur2`).
#[must_use]
pub fn murmur2(key: &[u8]) -> u32 {
    let mut hash = SEED ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let last = rest.iter().rev();
        hash ^= last.fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

/// Returns the partition that Kafka's producers choose for a record with this key
/// (`BuiltInPartitioner.partitionForKey`).
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of each length of the rest, with the hashes that Kafka's `Utils.murmur2` gives.
    #[test]
    fn keys_go_where_kafka_s_producers_send_them() {
        let cases: [(&[u8], i32); 8] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
            (b"abcd", -1_323_649_548),
            (b"", 275_646_681),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key).cast_signed(), hash, "{}", key.escape_ascii());
            let positive = u64::from(hash.cast_unsigned() & 0x7fff_ffff);
            for partitions in [1, 12, 1_000] {
                let partition = u64::from(partition_of(key, partitions));
                assert_eq!(partition, positive % u64::from(partitions));
            }
        }
    }
}
