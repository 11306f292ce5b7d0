//! `compression.type` of a topic, with the levels.

use sedge_protocol::records::Compression;

/// The codec of stored batches, if it is not the producer's. The levels are kept without it,
/// because settings come in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recompression {
    codec: Option<Compression>,
    /// -1 is the codec's default.
    gzip_level: i32,
    zstd_level: i32,
}

impl Recompression {
    pub const NONE: Self = Self {
        codec: None,
        gzip_level: -1,
        zstd_level: 3,
    };

    /// Applies a setting, by its key. Values were checked when they were set.
    pub fn set(&mut self, name: &str, value: &str) {
        match name {
            "compression.type" => {
                self.codec = match value {
                    "uncompressed" => Some(Compression::None),
                    "gzip" => Some(Compression::Gzip),
                    "snappy" => Some(Compression::Snappy),
                    "lz4" => Some(Compression::Lz4),
                    "zstd" => Some(Compression::Zstd),
                    _ => None,
                };
            }
            "compression.gzip.level" => self.gzip_level = value.parse().unwrap_or(-1),
            "compression.zstd.level" => self.zstd_level = value.parse().unwrap_or(3),
            _ => {}
        }
    }

    /// Returns the codec with its level; `None` is the codec's default.
    pub const fn wanted(self) -> Option<(Compression, Option<i32>)> {
        let Some(codec) = self.codec else {
            return None;
        };
        let level = match codec {
            Compression::Gzip if self.gzip_level >= 0 => Some(self.gzip_level),
            Compression::Zstd => Some(self.zstd_level),
            _ => None,
        };
        Some((codec, level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_has_its_own_level_in_whichever_order_they_are_set() {
        let check = |settings: &[(&str, &str)], expected| {
            let mut config = Recompression::NONE;
            for (name, value) in settings {
                config.set(name, value);
            }
            assert_eq!(config.wanted(), expected, "{settings:?}");
        };
        let (of_gzip, of_zstd) = ("compression.gzip.level", "compression.zstd.level");
        let codec = "compression.type";
        check(&[], None);
        check(&[(codec, "producer"), (of_zstd, "5")], None);
        check(
            &[(of_zstd, "-7"), (codec, "zstd")],
            Some((Compression::Zstd, Some(-7))),
        );
        check(
            &[(codec, "gzip"), (of_gzip, "9")],
            Some((Compression::Gzip, Some(9))),
        );
        check(
            &[(codec, "gzip"), (of_zstd, "9")],
            Some((Compression::Gzip, None)),
        );
        check(&[(codec, "lz4")], Some((Compression::Lz4, None)));
        check(&[(codec, "snappy")], Some((Compression::Snappy, None)));
        check(&[(codec, "uncompressed")], Some((Compression::None, None)));
    }
}
