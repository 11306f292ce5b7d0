//! Metrics of TLS listeners: handshakes, reloads, and the expiry of certificates.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::exposition::Exposition;
use super::primitive::Counter;

/// Reason why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The peer's certificate is missing or not accepted.
    Certificate,
    /// The peer refused this side's certificate, or requires one.
    Refused,
    /// The peer does not use TLS.
    NotTls,
    /// No common TLS version or cipher suite, or a protocol violation.
    Protocol,
    /// The peer closed the connection.
    Closed,
    /// The handshake was not complete in time.
    Timeout,
}

impl HandshakeFailure {
    const ALL: [Self; 6] = [
        Self::Certificate,
        Self::Refused,
        Self::NotTls,
        Self::Protocol,
        Self::Closed,
        Self::Timeout,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Refused => "refused",
            Self::NotTls => "not_tls",
            Self::Protocol => "protocol",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
        }
    }
}

/// Metrics of all TLS listeners.
#[derive(Debug, Default)]
pub struct TlsMetrics {
    /// Successful handshakes.
    pub handshakes: Counter,
    /// Successful handshakes that resumed a session.
    pub resumed: Counter,
    failed: [Counter; HandshakeFailure::ALL.len()],
    /// Failed reloads of certificate files.
    pub reloads_failed: Counter,
    /// Expiry of each listener's certificate, in seconds since 1970.
    expiry_s: Mutex<BTreeMap<String, i64>>,
}

impl TlsMetrics {
    pub fn failed(&self, failure: HandshakeFailure) {
        self.failed[failure as usize].increment();
    }

    /// Sets the expiry of a listener's certificate, in seconds since 1970.
    pub fn expires(&self, listener: &str, at_s: i64) {
        let mut expiry_s = self.expiry_s.lock().unwrap_or_else(PoisonError::into_inner);
        expiry_s.insert(listener.to_owned(), at_s);
    }

    pub(super) fn expose(&self, out: &mut Exposition) {
        let expiry_s = self.expiry_s.lock().unwrap_or_else(PoisonError::into_inner);
        if expiry_s.is_empty() {
            return;
        }
        let family = "sedge_certificate_expiry_timestamp_seconds";
        let help = "When the certificate of a listener expires, in seconds since 1970.";
        out.family(family, "gauge", help);
        for (listener, at_s) in &*expiry_s {
            out.sample(family, &[("listener", listener)], at_s);
        }
        out.counter(
            "sedge_tls_handshakes_total",
            "Successful TLS handshakes of clients.",
            self.handshakes.get(),
        );
        out.counter(
            "sedge_tls_handshakes_resumed_total",
            "Successful TLS handshakes that resumed a session.",
            self.resumed.get(),
        );
        let family = "sedge_tls_handshakes_failed_total";
        out.family(
            family,
            "counter",
            "Failed TLS handshakes of clients, by reason.",
        );
        for failure in HandshakeFailure::ALL {
            let count = self.failed[failure as usize].get();
            out.sample(family, &[("reason", failure.name())], count);
        }
        out.counter(
            "sedge_tls_reloads_failed_total",
            "Failed reloads of changed certificate files.",
            self.reloads_failed.get(),
        );
    }
}
