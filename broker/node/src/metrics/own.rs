//! The numbers that plugins show of their own: counters and gauges, for each topic.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sedge_plugin::{Meter, TooManyMetrics};

use super::Exposition;
use crate::limits::{PLUGIN_METRICS_MAX, PLUGIN_SERIES_MAX};

/// The numbers of one plugin.
#[derive(Debug, Default)]
pub struct OwnMetrics {
    /// By topic; `None` is the broker, for a quota policy.
    meters: Mutex<BTreeMap<Option<String>, Arc<OwnMeter>>>,
    /// The series of all meters.
    series: Arc<AtomicUsize>,
}

/// The numbers of one plugin for one topic.
#[derive(Debug)]
struct OwnMeter {
    numbers: Mutex<Numbers>,
    series: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Numbers {
    counters: BTreeMap<String, u64>,
    gauges: BTreeMap<String, f64>,
}

/// One number with its labels.
type Sample<'a> = (&'a str, Option<String>, String);

impl OwnMetrics {
    /// Returns what takes the numbers for a topic, or for the broker.
    pub fn meter(&self, topic: Option<&str>) -> Arc<dyn Meter> {
        let new = || OwnMeter {
            numbers: Mutex::default(),
            series: Arc::clone(&self.series),
        };
        let mut meters = self.lock();
        let meter = meters.entry(topic.map(str::to_owned));
        let meter: &Arc<OwnMeter> = meter.or_insert_with(|| Arc::new(new()));
        Arc::<OwnMeter>::clone(meter)
    }

    /// Removes the numbers of topics, or of the broker, that are not kept.
    pub fn retain(&self, keep: impl Fn(Option<&str>) -> bool) {
        self.lock().retain(|topic, _| keep(topic.as_deref()));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<String>, Arc<OwnMeter>>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OwnMeter {
    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for another name.
    fn grow(&self, numbers: &Numbers) -> Result<(), TooManyMetrics> {
        let names = numbers.counters.len() + numbers.gauges.len();
        if names >= PLUGIN_METRICS_MAX {
            return Err(TooManyMetrics);
        }
        if self.series.fetch_add(1, Ordering::Relaxed) >= PLUGIN_SERIES_MAX {
            self.series.fetch_sub(1, Ordering::Relaxed);
            return Err(TooManyMetrics);
        }
        Ok(())
    }
}

impl Drop for OwnMeter {
    fn drop(&mut self) {
        let numbers = self
            .numbers
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let names = numbers.counters.len() + numbers.gauges.len();
        self.series.fetch_sub(names, Ordering::Relaxed);
    }
}

impl Meter for OwnMeter {
    fn add(&self, name: &str, amount: u64) -> Result<(), TooManyMetrics> {
        let mut numbers = self.lock();
        if let Some(counter) = numbers.counters.get_mut(name) {
            *counter = counter.wrapping_add(amount);
            return Ok(());
        }
        self.grow(&numbers)?;
        numbers.counters.insert(name.to_owned(), amount);
        Ok(())
    }

    fn set(&self, name: &str, value: f64) -> Result<(), TooManyMetrics> {
        let mut numbers = self.lock();
        if !value.is_finite() {
            if numbers.gauges.remove(name).is_some() {
                self.series.fetch_sub(1, Ordering::Relaxed);
            }
            return Ok(());
        }
        if let Some(gauge) = numbers.gauges.get_mut(name) {
            *gauge = value;
            return Ok(());
        }
        self.grow(&numbers)?;
        numbers.gauges.insert(name.to_owned(), value);
        Ok(())
    }
}

/// Writes the numbers of all plugins, by name, each with the plugin and the topic as labels.
pub fn expose<'a>(plugins: impl Iterator<Item = (&'a str, &'a OwnMetrics)>, out: &mut Exposition) {
    let mut counters: BTreeMap<String, Vec<Sample<'_>>> = BTreeMap::new();
    let mut gauges: BTreeMap<String, Vec<Sample<'_>>> = BTreeMap::new();
    for (plugin, own) in plugins {
        for (topic, meter) in &*own.lock() {
            let numbers = meter.lock();
            let sample = |value: String| (plugin, topic.clone(), value);
            for (name, value) in &numbers.counters {
                let samples = counters.entry(name.clone()).or_default();
                samples.push(sample(value.to_string()));
            }
            for (name, value) in &numbers.gauges {
                let samples = gauges.entry(name.clone()).or_default();
                samples.push(sample(value.to_string()));
            }
        }
    }
    let counters = counters.iter().map(|of| ("counter", "_total", of));
    let gauges = gauges.iter().map(|of| ("gauge", "", of));
    for (kind, suffix, (name, samples)) in counters.chain(gauges) {
        let family = format!("sedge_plugin_own_{name}{suffix}");
        out.family(&family, kind, "A number that plugins give themselves.");
        for (plugin, topic, value) in samples {
            let labels = [
                ("plugin", *plugin),
                ("topic", topic.as_deref().unwrap_or("")),
            ];
            let labels = if topic.is_some() {
                &labels[..]
            } else {
                &labels[..1]
            };
            out.sample(&family, labels, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn lines(metrics: &Metrics) -> Vec<String> {
        let mut out = Exposition::default();
        metrics.expose(&mut out);
        let text = out.finish();
        let own = text
            .lines()
            .filter(|line| line.contains("sedge_plugin_own_"));
        let samples = own.filter(|line| !line.starts_with("# HELP"));
        samples.map(str::to_owned).collect()
    }

    #[test]
    fn a_plugin_shows_its_numbers_for_each_topic() {
        let metrics = Metrics::default();
        let late = metrics.plugin("late");
        let [of_a, of_b] = ["a", "b"].map(|topic| late.own.meter(Some(topic)));
        let policy = metrics.plugin("policy").own.meter(None);
        of_a.add("seen", 2).unwrap();
        late.own.meter(Some("a")).add("seen", u64::MAX).unwrap();
        of_b.add("seen", 7).unwrap();
        of_a.set("seen", -0.5).unwrap();
        policy.set("seen", 1e9).unwrap();
        let expected = [
            "# TYPE sedge_plugin_own_seen_total counter",
            r#"sedge_plugin_own_seen_total{plugin="late",topic="a"} 1"#,
            r#"sedge_plugin_own_seen_total{plugin="late",topic="b"} 7"#,
            "# TYPE sedge_plugin_own_seen gauge",
            r#"sedge_plugin_own_seen{plugin="late",topic="a"} -0.5"#,
            r#"sedge_plugin_own_seen{plugin="policy"} 1000000000"#,
        ];
        assert_eq!(lines(&metrics), expected);
        for value in [f64::NAN, f64::INFINITY] {
            of_a.set("seen", value).unwrap();
            policy.set("seen", value).unwrap();
            assert_eq!(lines(&metrics), expected[..3], "{value}");
        }
    }

    #[test]
    fn numbers_go_with_their_topic_and_their_plugin() {
        let metrics = Metrics::default();
        let plugin = metrics.plugin("p");
        for topic in ["stays", "goes"] {
            plugin.own.meter(Some(topic)).add("n", 1).unwrap();
        }
        let of_gone = plugin.own.meter(Some("goes"));
        metrics.retain_own(|plugin, topic| plugin == "p" && topic == Some("stays"));
        of_gone.add("n", 1).unwrap();
        assert_eq!(
            lines(&metrics)[1..],
            [r#"sedge_plugin_own_n_total{plugin="p",topic="stays"} 1"#]
        );
        drop(of_gone);
        assert_eq!(plugin.own.series.load(Ordering::Relaxed), 1);
        metrics.retain_own(|plugin, _| plugin != "p");
        assert_eq!(lines(&metrics), [""; 0]);
        assert_eq!(plugin.own.series.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn numbers_are_bounded() {
        let metrics = Metrics::default();
        let own = &metrics.plugin("p").own;
        let fill = |topic: &str| {
            let meter = own.meter(Some(topic));
            let names = (0..100).map(|number| format!("n{number}"));
            names.filter(|name| meter.add(name, 1).is_ok()).count()
        };
        assert_eq!(fill("a"), PLUGIN_METRICS_MAX);
        assert_eq!(fill("a"), PLUGIN_METRICS_MAX, "the same names");
        assert_eq!(own.meter(Some("a")).set("m", 1.0), Err(TooManyMetrics));
        let topics = (0..20).map(|number| number.to_string());
        let series: usize = topics.map(|topic| fill(&topic)).sum();
        assert_eq!(series, PLUGIN_SERIES_MAX - PLUGIN_METRICS_MAX);
    }
}
