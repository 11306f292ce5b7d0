//! Statistics over several measurements of one thing.

/// Measurements, with their median, smallest and largest value.
#[derive(Clone, Debug, Default)]
pub struct Spread(Vec<f64>);

impl Spread {
    pub fn add(&mut self, measured: f64) {
        self.0.push(measured);
        self.0.sort_by(f64::total_cmp);
    }

    pub fn median(&self) -> f64 {
        let n = self.0.len();
        match n {
            0 => f64::NAN,
            _ if n % 2 == 1 => self.0[n / 2],
            _ => f64::midpoint(self.0[n / 2 - 1], self.0[n / 2]),
        }
    }

    pub fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// Returns `median (min-max)` with `digits` after the point.
    pub fn show(&self, digits: usize) -> String {
        let (median, min, max) = (self.median(), self.min(), self.max());
        format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even() {
        let mut spread = Spread::default();
        for n in [5.0, 1.0, 3.0] {
            spread.add(n);
        }
        assert_eq!(spread.show(0), "3 (1-5)");
        spread.add(4.0);
        assert_eq!(spread.show(1), "3.5 (1.0-5.0)");
    }
}
