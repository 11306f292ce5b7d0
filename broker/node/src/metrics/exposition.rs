//! Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write as _};

use super::primitive::{BUCKETS_MICROS, Histogram};

/// The text under construction.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family; its samples must follow.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes one sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (index, (label, content)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            self.escaped(content);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// Writes a family of one counter.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// Writes a family of one gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// Writes the samples of one histogram, whose family has begun.
    pub fn histogram(&mut self, name: &str, label: (&str, &str), histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        let counts = histogram.cumulative();
        for (count, micros) in counts.iter().zip(BUCKETS_MICROS) {
            let bound = (micros as f64 / 1e6).to_string();
            self.sample(&bucket, &[label, ("le", &bound)], count);
        }
        let total = counts.last().copied().unwrap_or_default();
        self.sample(&bucket, &[label, ("le", "+Inf")], total);
        self.sample(&format!("{name}_sum"), &[label], histogram.sum_seconds());
        self.sample(&format!("{name}_count"), &[label], total);
    }

    /// Returns the whole text.
    pub fn finish(self) -> String {
        self.text
    }

    fn escaped(&mut self, content: &str) {
        for letter in content.chars() {
            match letter {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }
}
