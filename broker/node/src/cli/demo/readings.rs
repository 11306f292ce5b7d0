//! Simulated temperatures: each sensor drifts around its own mean, and now and then reports a value
//! that no sensor can measure.

/// Places of the sensors, and the temperature there.
const PLACES: [(&str, f64); 8] = [
    ("roof", 14.0),
    ("cellar", 12.5),
    ("office", 21.5),
    ("server-room", 24.0),
    ("cold-store", -18.0),
    ("greenhouse", 27.0),
    ("boiler", 62.0),
    ("street", 9.0),
];

/// Sensors at each place.
const SENSORS_A_PLACE: usize = 4;

/// One reading in this many is faulty.
const FAULTY_ONE_IN: u64 = 40;

/// Values of broken sensors: a 1-wire bus without its sensor, a power-on value, a short circuit.
const FAULTS: [f64; 3] = [-127.0, 850.0, -273.15];

/// A reading to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The sensor's name.
    pub sensor: String,
    /// `{"sensor":"roof-3","celsius":14.2}`.
    pub value: String,
    /// Whether the value is outside the filter's range.
    pub is_faulty: bool,
}

/// Generates readings, the same ones for the same seed.
#[derive(Debug)]
pub struct Readings {
    random: fastrand::Rng,
    drift: Vec<f64>,
}

impl Readings {
    /// Creates a generator for all sensors.
    pub fn new(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self {
            random,
            drift: vec![0.0; PLACES.len() * SENSORS_A_PLACE],
        }
    }

    /// Returns the next reading, of any sensor.
    pub fn next(&mut self) -> Reading {
        let index = self.random.usize(..self.drift.len());
        let (place, mean) = PLACES[index % PLACES.len()];
        let sensor = format!("{place}-{}", index / PLACES.len() + 1);
        let drift = &mut self.drift[index];
        // A little back to the mean, and a random step.
        *drift = *drift * 0.98 + (self.random.f64() - 0.5) * 0.4;
        let is_faulty = self.random.u64(..FAULTY_ONE_IN) == 0;
        let celsius = if is_faulty {
            FAULTS[self.random.usize(..FAULTS.len())]
        } else {
            mean + *drift
        };
        let value = format!("{{\"sensor\":\"{sensor}\",\"celsius\":{celsius:.2}}}");
        Reading {
            sensor,
            value,
            is_faulty,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faulty_ones_and_only_those_lie_outside_what_the_filter_lets_through() {
        let mut readings = Readings::new(1);
        let mut faulty = 0;
        for _ in 0..20_000 {
            let reading = readings.next();
            let celsius = reading
                .value
                .rsplit_once(':')
                .unwrap()
                .1
                .trim_end_matches('}');
            let celsius: f64 = celsius.parse().unwrap();
            assert_eq!(
                reading.is_faulty,
                !(-40.0..=85.0).contains(&celsius),
                "{}",
                reading.value
            );
            faulty += usize::from(reading.is_faulty);
        }
        assert!((300..800).contains(&faulty), "{faulty}");
    }
}
