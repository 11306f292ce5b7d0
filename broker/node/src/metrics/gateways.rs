//! Metrics of the gateways for microcontrollers. Clients choose the names of devices, so all are
//! counted together.

use super::{Counter, Exposition, Gauge};

/// The counters of all gateways.
#[derive(Debug, Default)]
pub struct GatewayMetrics {
    /// Wires that are open.
    pub connected: Gauge,
    /// Readings that were committed.
    pub readings: Counter,
    /// Readings that their topics refused.
    pub refused_readings: Counter,
    /// Writes that have to be tried again.
    pub postponed: Counter,
    /// Records that devices have received.
    pub delivered: Counter,
    /// Records that are too large for devices.
    pub skipped: Counter,
    /// Frames that were damaged or of another session.
    pub noise: Counter,
    /// Greetings of unknown devices, or without a valid proof.
    pub refused_devices: Counter,
    /// Sessions that another one of the same identity replaced.
    pub replaced: Counter,
}

impl GatewayMetrics {
    pub(super) fn expose(&self, out: &mut Exposition) {
        out.gauge(
            "sedge_gateway_connections",
            "Serial lines and connections of gateways that are open.",
            self.connected.get(),
        );
        let counters = [
            (
                "sedge_gateway_readings_total",
                "Readings of devices that were committed.",
                &self.readings,
            ),
            (
                "sedge_gateway_readings_refused_total",
                "Readings of devices that were dropped, because their topic refuses them.",
                &self.refused_readings,
            ),
            (
                "sedge_gateway_writes_postponed_total",
                "Writes of readings that failed, after which devices send the readings again.",
                &self.postponed,
            ),
            (
                "sedge_gateway_delivered_total",
                "Records that devices have confirmed.",
                &self.delivered,
            ),
            (
                "sedge_gateway_skipped_total",
                "Records of subscribed topics that are too large for devices.",
                &self.skipped,
            ),
            (
                "sedge_gateway_noise_total",
                "Frames from devices that were damaged, cut or of another session.",
                &self.noise,
            ),
            (
                "sedge_gateway_devices_refused_total",
                "Greetings of devices that are unknown or do not prove their identity.",
                &self.refused_devices,
            ),
            (
                "sedge_gateway_sessions_replaced_total",
                "Sessions that ended because the same identity greeted elsewhere.",
                &self.replaced,
            ),
        ];
        for (name, help, counter) in counters {
            out.counter(name, help, counter.get());
        }
    }
}
