//! The metrics of the client that sent a request.

use std::sync::Arc;

use sedge_core::telemetry::{ClientFacts, Granted, Push};
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::records::opened;
use sedge_protocol::{Bytes, ErrorCode, otlp};

use super::Request;
use crate::limits::TELEMETRY_OPENED_BYTES_MAX;
use crate::metrics::Pushed;

impl Request {
    /// Returns what the client with this id is to push.
    ///
    /// # Errors
    /// THROTTLING_QUOTA_EXCEEDED if the client asks too often.
    pub fn telemetry_subscription(&self, id: KafkaUuid) -> Result<Granted, ErrorCode> {
        let broker = &self.access.broker;
        let image = broker.log.metadata.load();
        let now_ms = broker.metrics.uptime_ms();
        let mut telemetry = broker.telemetry.current(image.client_metrics());
        self.with_facts(id, |facts| telemetry.handle_get(now_ms, id, facts))
    }

    /// Takes the metrics that the client with this id pushed.
    ///
    /// # Errors
    /// Those of [`sedge_core::telemetry::Telemetry::handle_push`], and INVALID_RECORD for bytes
    /// that are not metrics.
    pub async fn take_telemetry(
        &self,
        id: KafkaUuid,
        push: Push,
        metrics: Bytes,
    ) -> Result<(), ErrorCode> {
        let broker = &self.access.broker;
        let clients = &broker.metrics.clients;
        let now_ms = broker.metrics.uptime_ms();
        let kept_until_ms = {
            let image = broker.log.metadata.load();
            let mut telemetry = broker.telemetry.current(image.client_metrics());
            let handled =
                self.with_facts(id, |facts| telemetry.handle_push(now_ms, id, facts, push));
            handled.inspect_err(|_| clients.refused.increment())?
        };
        let pushed = Pushed {
            client_id: self.client_id().to_owned(),
            instance_id: id.to_string(),
            now_ms,
            kept_until_ms,
        };
        let shared = Arc::clone(&broker.metrics);
        let read = broker.openers.run(move |opener| {
            let codec = push.compression_type;
            let bytes = opened(opener, codec, &metrics, TELEMETRY_OPENED_BYTES_MAX)?;
            let mut points = Vec::new();
            otlp::each_point(&bytes, &mut |point| points.push(point))?;
            shared.clients.take(&pushed, points);
            Ok::<(), sedge_protocol::Error>(())
        });
        read.await.map_err(|_| {
            clients.refused.increment();
            ErrorCode::InvalidRecord
        })
    }

    fn with_facts<T>(&self, id: KafkaUuid, ask: impl FnOnce(&ClientFacts<'_>) -> T) -> T {
        let session = &self.access.session;
        let software = session.client.get();
        ask(&ClientFacts {
            instance_id: &id.to_string(),
            id: self.client_id(),
            software_name: software.map_or("", |of| &of.name),
            software_version: software.map_or("", |of| &of.version),
            source_address: &session.remote.ip().to_string(),
            source_port: &session.remote.port().to_string(),
        })
    }
}
