//! The metrics that clients push (KIP-714): the last value of each gauge, and the sum of each
//! counter, until the client has been silent for some intervals.
//!
//! **Invariant:** there are at most [`CLIENT_SERIES_MAX`] series, of which a client has at most
//! [`CLIENT_SERIES_OF_ONE_MAX`], and a series has at most [`CLIENT_LABEL_BYTES_MAX`] of labels.
//! What is beyond is counted, and not shown.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sedge_protocol::otlp::{Kind, Point};

use super::{Counter, Exposition};
use crate::limits::{CLIENT_LABEL_BYTES_MAX, CLIENT_SERIES_MAX, CLIENT_SERIES_OF_ONE_MAX};

/// Labels that every series has.
const METRIC: &str = "metric";
const CLIENT: &str = "client_id";
const INSTANCE: &str = "client_instance_id";

/// The metrics of all clients; see the module.
#[derive(Debug, Default)]
pub struct ClientMetrics {
    clients: Mutex<BTreeMap<String, Client>>,
    pushes: Counter,
    /// Pushes that were refused.
    pub refused: Counter,
    left_out: Counter,
}

/// The series of one client.
#[derive(Debug, Default)]
struct Client {
    kept_until_ms: u64,
    series: BTreeMap<Labels, Number>,
}

/// Names of labels with their values.
type Labels = Vec<(String, String)>;

#[derive(Clone, Copy, Debug)]
struct Number {
    value: f64,
    is_counter: bool,
}

/// A push, without its numbers.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub client_id: String,
    pub instance_id: String,
    pub now_ms: u64,
    /// When the numbers are forgotten, if no other push comes.
    pub kept_until_ms: u64,
}

impl ClientMetrics {
    /// Takes the numbers of a push.
    pub fn take(&self, pushed: &Pushed, points: Vec<Point<'_>>) {
        self.pushes.increment();
        let mut clients = self.lock();
        clients.retain(|_, client| client.kept_until_ms > pushed.now_ms);
        let mut left =
            CLIENT_SERIES_MAX - clients.values().map(|of| of.series.len()).sum::<usize>();
        let client = clients.entry(pushed.instance_id.clone()).or_default();
        client.kept_until_ms = pushed.kept_until_ms;
        for point in points {
            let Some(labels) = labels(pushed, &point).filter(|_| point.value.is_finite()) else {
                self.left_out.increment();
                continue;
            };
            let is_counter = point.kind != Kind::Gauge;
            let number = client.series.get_mut(&labels);
            if let Some(number) = number {
                number.take(&point);
            } else if left > 0 && client.series.len() < CLIENT_SERIES_OF_ONE_MAX {
                left -= 1;
                let value = point.value;
                client.series.insert(labels, Number { value, is_counter });
            } else {
                self.left_out.increment();
            }
        }
        if client.series.is_empty() {
            clients.remove(&pushed.instance_id);
        }
    }

    pub fn expose(&self, now_ms: u64, out: &mut Exposition) {
        for (name, help, counter) in [
            (
                "sedge_client_telemetry_pushes_total",
                "Pushes of clients' metrics that were taken (KIP-714).",
                &self.pushes,
            ),
            (
                "sedge_client_telemetry_refused_total",
                "Pushes of clients' metrics that were refused.",
                &self.refused,
            ),
            (
                "sedge_client_telemetry_left_out_total",
                "Numbers of clients that are not shown: too many series, too long names.",
                &self.left_out,
            ),
        ] {
            out.counter(name, help, counter.get());
        }
        let mut clients = self.lock();
        clients.retain(|_, client| client.kept_until_ms > now_ms);
        for (name, kind, help, wanted) in [
            (
                "sedge_client_metric",
                "gauge",
                "Gauges that clients pushed, by Kafka's names.",
                false,
            ),
            (
                "sedge_client_metric_total",
                "counter",
                "Counters that clients pushed, by Kafka's names, since their first push.",
                true,
            ),
        ] {
            out.family(name, kind, help);
            let all = clients.values().flat_map(|client| &client.series);
            for (labels, number) in all.filter(|(_, number)| number.is_counter == wanted) {
                let labels: Vec<(&str, &str)> =
                    labels.iter().map(|(of, value)| (&**of, &**value)).collect();
                out.sample(name, &labels, number.value);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Number {
    fn take(&mut self, point: &Point<'_>) {
        match point.kind {
            Kind::Delta => self.value += point.value,
            Kind::Gauge | Kind::Cumulative => self.value = point.value,
        }
    }
}

/// Returns the labels of a number; `None` if they are too long. Attributes that would repeat a
/// label are left out.
fn labels(pushed: &Pushed, point: &Point<'_>) -> Option<Labels> {
    let mut labels = vec![
        (METRIC.to_owned(), point.metric.to_owned()),
        (CLIENT.to_owned(), pushed.client_id.clone()),
        (INSTANCE.to_owned(), pushed.instance_id.clone()),
    ];
    for (key, value) in &point.attributes {
        let name = label_name(key);
        if !labels.iter().any(|(known, _)| *known == name) {
            labels.push((name, value.to_string()));
        }
    }
    let bytes = labels.iter().map(|(name, value)| name.len() + value.len());
    (bytes.sum::<usize>() <= CLIENT_LABEL_BYTES_MAX).then_some(labels)
}

/// Returns the key as Prometheus' names of labels may be.
fn label_name(key: &str) -> String {
    let letter = |letter: char| match letter {
        letter if letter.is_ascii_alphanumeric() => letter,
        _ => '_',
    };
    let name: String = key.chars().map(letter).collect();
    match name.chars().next() {
        Some(first) if !first.is_ascii_digit() && !name.starts_with("__") => name,
        _ => format!("attribute_{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(instance: &str, now_ms: u64) -> Pushed {
        Pushed {
            client_id: "app".to_owned(),
            instance_id: instance.to_owned(),
            now_ms,
            kept_until_ms: now_ms + 100,
        }
    }

    fn point(metric: &str, kind: Kind, value: f64) -> Point<'_> {
        Point {
            metric,
            kind,
            value,
            attributes: vec![("node.id", "7".into()), ("client_id", "x".into())],
        }
    }

    fn shown(metrics: &ClientMetrics, now_ms: u64) -> Vec<String> {
        let mut out = Exposition::default();
        metrics.expose(now_ms, &mut out);
        let text = out.finish();
        let lines = text
            .lines()
            .filter(|line| line.starts_with("sedge_client_metric"));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn gauges_have_their_last_value_and_counters_their_sum_until_the_client_is_silent() {
        let metrics = ClientMetrics::default();
        for value in [1.0, 2.5] {
            let gauge = point("g", Kind::Gauge, value);
            let delta = point("d", Kind::Delta, value);
            let whole = point("c", Kind::Cumulative, value);
            metrics.take(&pushed("i", 10), vec![gauge, delta, whole]);
        }
        let labels = |metric: &str| {
            format!(
                "{{metric=\"{metric}\",client_id=\"app\",client_instance_id=\"i\",node_id=\"7\"}}"
            )
        };
        let expected = [
            format!("sedge_client_metric{} 2.5", labels("g")),
            format!("sedge_client_metric_total{} 2.5", labels("c")),
            format!("sedge_client_metric_total{} 3.5", labels("d")),
        ];
        assert_eq!(shown(&metrics, 109), expected);
        assert!(shown(&metrics, 110).is_empty());
    }

    #[test]
    fn series_are_limited_for_each_client_and_for_all() {
        let metrics = ClientMetrics::default();
        let names: Vec<String> = (0..=CLIENT_SERIES_OF_ONE_MAX)
            .map(|number| number.to_string())
            .collect();
        let many = || {
            let points = names.iter().map(|name| point(name, Kind::Gauge, 1.0));
            points.collect::<Vec<_>>()
        };
        metrics.take(&pushed("0", 0), many());
        assert_eq!(shown(&metrics, 0).len(), CLIENT_SERIES_OF_ONE_MAX);
        assert_eq!(metrics.left_out.get(), 1);
        for client in 1..=CLIENT_SERIES_MAX / CLIENT_SERIES_OF_ONE_MAX {
            metrics.take(&pushed(&client.to_string(), 0), many());
        }
        assert_eq!(shown(&metrics, 0).len(), CLIENT_SERIES_MAX);
        let long = "n".repeat(CLIENT_LABEL_BYTES_MAX);
        metrics.take(&pushed("later", 200), vec![point(&long, Kind::Gauge, 1.0)]);
        metrics.take(
            &pushed("later", 200),
            vec![point("nan", Kind::Gauge, f64::NAN)],
        );
        assert!(shown(&metrics, 200).is_empty());
    }

    #[test]
    fn attributes_become_names_of_labels() {
        let check = |key: &str, expected: &str| assert_eq!(label_name(key), expected);
        check("client.rack", "client_rack");
        check("node_id", "node_id");
        check("7th", "attribute_7th");
        check("__name__", "attribute___name__");
        check("", "attribute_");
        check("größe", "gr__e");
    }
}
