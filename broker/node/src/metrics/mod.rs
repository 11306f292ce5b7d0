//! The broker's metrics. One [`Metrics`] is shared by all components; counting is one atomic
//! addition.
//!
//! **Invariant:** memory here does not grow with the traffic: names of plugins and links are
//! bounded, and clients create series only by pushing metrics that a subscription asks for, of
//! which there are a bounded number (`clients`).

mod cleaner;
mod clients;
mod exposition;
mod gateways;
mod links;
mod own;
mod plugins;
mod primitive;
mod quotas;
mod requests;
mod retention;
mod sasl;
mod tls;

use std::time::{Duration, Instant};

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::ApiKey;

pub use cleaner::CleanerMetrics;
pub use clients::{ClientMetrics, Pushed};
pub use exposition::Exposition;
pub use gateways::GatewayMetrics;
pub use links::{
    AT_LEAST_ONCE, BudgetFigures, EXACTLY_ONCE, Failure, Figures, Holds, LinkMetrics, LinkState,
    Progress,
};
pub use plugins::PluginMetrics;
pub use primitive::{Counter, Gauge, Histogram};
pub use quotas::QuotaMetrics;
pub use retention::RetentionMetrics;
pub use sasl::SaslMetrics;
pub use tls::{HandshakeFailure, TlsMetrics};

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    /// Bytes read from Kafka connections.
    pub bytes_in: Counter,
    /// Bytes written to Kafka connections.
    pub bytes_out: Counter,
    /// Kafka connections that are open.
    pub connections: Gauge,
    /// Memory of requests, and of answers, that is charged to a pool.
    pub request_memory_bytes: Gauge,
    pub answer_memory_bytes: Gauge,
    /// Kafka connections accepted since the start.
    pub connections_accepted: Counter,
    /// Kafka connections refused because of a limit.
    pub connections_refused: Counter,
    /// Kafka connections closed to make room for a new one.
    pub connections_displaced: Counter,
    /// Kafka connections closed by the broker: for bytes that are not a request, or idle for too
    /// long.
    pub connections_broken_off: Counter,
    /// Denied operations.
    pub authorization_denied: Counter,
    /// Records in accepted produce requests, before filters.
    pub produce_records: Counter,
    /// Bytes of their batches.
    pub produce_bytes: Counter,
    /// Bytes of record batches sent to consumers.
    pub fetch_bytes: Counter,
    /// Commits: frames written to the log.
    pub commits: Counter,
    /// Flushes of the log.
    pub fsyncs: Counter,
    /// Flushes of the views.
    pub view_flushes: Counter,
    /// Segments freed.
    pub segments_freed: Counter,
    /// Records that retention deleted.
    pub retention: RetentionMetrics,
    /// Counters of the cleaner.
    pub cleaner: CleanerMetrics,
    /// Bytes that the scrub has read.
    pub scrub_bytes: Counter,
    /// Rounds of the scrub.
    pub scrub_rounds: Counter,
    /// Segments that the scrub could not read.
    pub scrub_failures: Counter,
    /// Stretches of a partition's offsets that the scrub found damaged.
    pub scrub_lost_ranges: Counter,
    /// Damaged ranges in `__cluster_metadata` since the start: the next start needs a repair.
    pub metadata_damaged: Gauge,
    /// Snapshots of `__cluster_metadata` written.
    pub metadata_snapshots: Counter,
    /// Requests to the console without a valid token.
    pub console_denied: Counter,
    /// Metrics of SASL logins.
    pub sasl: SaslMetrics,
    /// Metrics of TLS listeners.
    pub tls: TlsMetrics,
    /// Quotas of clients.
    pub quotas: QuotaMetrics,
    /// Gateways for microcontrollers.
    pub gateways: GatewayMetrics,
    /// What clients push.
    pub clients: ClientMetrics,
    requests: requests::Requests,
    plugins: plugins::Plugins,
    links: links::Links,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            connections: Gauge::default(),
            request_memory_bytes: Gauge::default(),
            answer_memory_bytes: Gauge::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            connections_displaced: Counter::default(),
            connections_broken_off: Counter::default(),
            authorization_denied: Counter::default(),
            produce_records: Counter::default(),
            produce_bytes: Counter::default(),
            fetch_bytes: Counter::default(),
            commits: Counter::default(),
            fsyncs: Counter::default(),
            view_flushes: Counter::default(),
            segments_freed: Counter::default(),
            retention: RetentionMetrics::default(),
            cleaner: CleanerMetrics::default(),
            scrub_bytes: Counter::default(),
            scrub_rounds: Counter::default(),
            scrub_failures: Counter::default(),
            scrub_lost_ranges: Counter::default(),
            metadata_damaged: Gauge::default(),
            metadata_snapshots: Counter::default(),
            console_denied: Counter::default(),
            sasl: SaslMetrics::default(),
            tls: TlsMetrics::default(),
            quotas: QuotaMetrics::default(),
            gateways: GatewayMetrics::default(),
            clients: ClientMetrics::default(),
            requests: requests::Requests::default(),
            plugins: plugins::Plugins::default(),
            links: links::Links::default(),
        }
    }
}

impl Metrics {
    /// Counts a request that was answered after `latency`.
    pub fn request(&self, api: ApiKey, latency: Duration) {
        self.requests.answered(api, latency);
    }

    /// Counts an error in an answer; `NONE` does not count.
    pub fn request_error(&self, api: ApiKey, error: ErrorCode) {
        self.requests.failed(api, error);
    }

    /// Returns the counters of a plugin. Keep the handle; the lookup takes a lock.
    pub fn plugin(&self, name: &str) -> std::sync::Arc<PluginMetrics> {
        self.plugins.of(name)
    }

    /// Removes the numbers that plugins gave themselves, for those plugins and topics that are not
    /// kept.
    pub fn retain_own(&self, keep: impl Fn(&str, Option<&str>) -> bool) {
        for (name, plugin) in self.plugins.all() {
            plugin.own.retain(|topic| keep(&name, topic));
        }
    }

    /// Returns the counters of a mirror link. Keep the handle; the lookup takes a lock.
    pub fn link(&self, name: &str) -> std::sync::Arc<LinkMetrics> {
        self.links.of(name)
    }

    /// Removes the counters of a link that does not run any more.
    pub fn forget_link(&self, name: &str) {
        self.links.forget(name);
    }

    /// Returns how long the process has been running.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the same in milliseconds: the clock of what expires here.
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.uptime().as_millis()).unwrap_or(u64::MAX)
    }

    /// Shows the memory that all plugins share.
    pub fn watch_plugin_memory(&self, memory: &std::sync::Arc<sedge_plugin::MemoryPool>) {
        self.plugins.watch_memory(memory);
    }

    /// Returns all plugins with counters, by name.
    pub fn plugins(&self) -> Vec<(String, std::sync::Arc<PluginMetrics>)> {
        self.plugins.all()
    }

    /// Returns all links with counters, by name.
    pub fn links(&self) -> Vec<(String, std::sync::Arc<LinkMetrics>)> {
        self.links.all()
    }

    /// Writes all metrics in Prometheus' text format.
    pub fn expose(&self, out: &mut Exposition) {
        out.family("sedge_build_info", "gauge", "The version of the broker.");
        out.sample(
            "sedge_build_info",
            &[("version", env!("CARGO_PKG_VERSION"))],
            1,
        );
        out.gauge(
            "sedge_uptime_seconds",
            "Seconds since the start.",
            self.uptime().as_secs_f64(),
        );
        if let Some(bytes) = crate::process::usage::resident_bytes() {
            out.gauge(
                "sedge_resident_memory_bytes",
                "Resident memory of the process.",
                bytes,
            );
        }
        self.expose_kafka(out);
        self.expose_storage(out);
        self.retention.expose(out);
        self.cleaner.expose(out);
        self.requests.expose(out);
        self.plugins.expose(out);
        self.links.expose(out);
        self.sasl.expose(out);
        self.tls.expose(out);
        self.gateways.expose(out);
        self.clients.expose(self.uptime_ms(), out);
        out.counter(
            "sedge_console_denied_total",
            "Requests to the console without the token that they need.",
            self.console_denied.get(),
        );
        self.quotas.expose(out);
    }

    fn expose_kafka(&self, out: &mut Exposition) {
        for (name, help, counter) in [
            (
                "sedge_kafka_received_bytes_total",
                "Bytes read from clients.",
                &self.bytes_in,
            ),
            (
                "sedge_kafka_sent_bytes_total",
                "Bytes written to clients.",
                &self.bytes_out,
            ),
            (
                "sedge_kafka_connections_accepted_total",
                "Connections accepted.",
                &self.connections_accepted,
            ),
            (
                "sedge_kafka_connections_refused_total",
                "Connections refused because max.connections (or max.connections.per.ip) were open \
                 and none was idle.",
                &self.connections_refused,
            ),
            (
                "sedge_kafka_connections_displaced_total",
                "Connections closed because a new one needed their place: strangers, or those that \
                 had been idle for longest.",
                &self.connections_displaced,
            ),
            (
                "sedge_kafka_connections_broken_off_total",
                "Connections that the broker broke off: unusable requests, stalled clients, failed \
                 produces with acks=0.",
                &self.connections_broken_off,
            ),
            (
                "sedge_authorization_denied_total",
                "Denied operations (Kafka: authorization-denied-rate-per-minute).",
                &self.authorization_denied,
            ),
            (
                "sedge_produced_records_total",
                "Records in accepted produce requests, before filters.",
                &self.produce_records,
            ),
            (
                "sedge_produced_bytes_total",
                "Bytes of batches in accepted produce requests, before filters.",
                &self.produce_bytes,
            ),
            (
                "sedge_fetched_bytes_total",
                "Bytes of batches sent to consumers.",
                &self.fetch_bytes,
            ),
        ] {
            out.counter(name, help, counter.get());
        }
        out.gauge(
            "sedge_kafka_connections",
            "Open connections.",
            self.connections.get(),
        );
        out.gauge(
            "sedge_kafka_request_memory_bytes",
            "Memory of requests that are read or at work, of queued.max.request.bytes (Kafka: \
             MemoryPoolUsed).",
            self.request_memory_bytes.get(),
        );
        out.gauge(
            "sedge_kafka_answer_memory_bytes",
            "Memory of large answers that are not sent yet, of what sedge.memory.max.bytes leaves.",
            self.answer_memory_bytes.get(),
        );
    }

    fn expose_storage(&self, out: &mut Exposition) {
        for (name, help, counter) in [
            (
                "sedge_storage_commits_total",
                "Commits written to the log.",
                &self.commits,
            ),
            (
                "sedge_storage_fsyncs_total",
                "Flushes of the log to flash.",
                &self.fsyncs,
            ),
            (
                "sedge_storage_view_flushes_total",
                "Flushes of the views.",
                &self.view_flushes,
            ),
            (
                "sedge_storage_segments_freed_total",
                "Segments freed.",
                &self.segments_freed,
            ),
            (
                "sedge_scrub_read_bytes_total",
                "Bytes of segments that the scrub read to find bit rot.",
                &self.scrub_bytes,
            ),
            (
                "sedge_scrub_rounds_total",
                "Complete scrubs of the log.",
                &self.scrub_rounds,
            ),
            (
                "sedge_scrub_failures_total",
                "Scrubs of a segment that ended because the disk could not read it.",
                &self.scrub_failures,
            ),
            (
                "sedge_metadata_snapshots_total",
                "Snapshots of __cluster_metadata written; each has two copies.",
                &self.metadata_snapshots,
            ),
            (
                "sedge_scrub_damaged_ranges_total",
                "Ranges of a partition's offsets that the scrub found damaged.",
                &self.scrub_lost_ranges,
            ),
        ] {
            out.counter(name, help, counter.get());
        }
        out.gauge(
            "sedge_metadata_damaged",
            "Damaged ranges of __cluster_metadata; 0 when a new snapshot has replaced them.",
            self.metadata_damaged.get(),
        );
    }
}

#[cfg(test)]
mod tests;
