//! Keeps readings of one area in one partition, so that a consumer per partition sees all vehicles,
//! boats or sensors there. A reading is JSON with the members `lat` and `lon`, in degrees, like
//! `{"lat":52.52,"lon":13.4}`. The area is the geohash of `precision` characters (5: some 5 by 5
//! km). A record without a position goes where Kafka's default partitioner sends its key; one
//! without a key, to partition 0.
//!
//! Settings: `sedge.plugin.NAME.precision` (1 to 12), `.lat` and `.lon` (names of the members).
#![no_std]
use sedge_plugin_sdk::{
    Config, Fields, Needs, Partitioner, String, ToOwned, format, json, kafka_partition, murmur2,
    partitioner,
};

struct Geohash {
    precision: u32,
    lat: String,
    lon: String,
}

impl Partitioner for Geohash {
    const NEEDS: Needs = Needs::KEY.union(Needs::VALUE);

    fn configure(config: &Config) -> Result<Self, String> {
        let precision = config.parse_or("precision", 5)?;
        if !(1..=12).contains(&precision) {
            return Err(format!(
                "setting precision: {precision} is not between 1 and 12"
            ));
        }
        let name = |setting| config.get(setting).unwrap_or(setting).to_owned();
        let (lat, lon) = (name("lat"), name("lon"));
        Ok(Self {
            precision,
            lat,
            lon,
        })
    }

    fn partition(&self, record: &Fields<'_>, partitions: u32) -> u32 {
        if let Some(cell) = record.value().and_then(|value| self.cell(value)) {
            // Neighbouring cells have neighbouring numbers, and are spread by the hash.
            return (murmur2(&cell.to_be_bytes()) & 0x7fff_ffff) % partitions;
        }
        record
            .key()
            .map_or(0, |key| kafka_partition(key, partitions))
    }
}

impl Geohash {
    /// Returns the number of the area that a reading is in.
    fn cell(&self, value: &[u8]) -> Option<u64> {
        let lat = json::number(value, &self.lat).filter(|lat| (-90.0..=90.0).contains(lat))?;
        let lon = json::number(value, &self.lon).filter(|lon| (-180.0..=180.0).contains(lon))?;
        Some(geohash(lat, lon, self.precision))
    }
}

/// Returns the bits of a geohash: 5 for each character, longitude and latitude in turn.
fn geohash(lat: f64, lon: f64, characters: u32) -> u64 {
    let (mut lat, mut lon) = ((lat, -90.0, 90.0), (lon, -180.0, 180.0));
    let mut bits = 0;
    for index in 0..characters * 5 {
        let (at, low, high) = if index % 2 == 0 { &mut lon } else { &mut lat };
        let middle = f64::midpoint(*low, *high);
        let is_above = *at >= middle;
        *(if is_above { low } else { high }) = middle;
        bits = bits << 1 | u64::from(is_above);
    }
    bits
}

partitioner!(Geohash);
