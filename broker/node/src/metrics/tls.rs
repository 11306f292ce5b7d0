//! TLS handshakes of listeners, and until when their certificates hold.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::exposition::Exposition;
use super::primitive::Counter;

/// What a handshake failed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The peer's certificate, or the lack of one.
    Certificate,
    /// The peer does not accept this side's certificate, or wants one.
    Refused,
    /// The peer does not speak TLS.
    NotTls,
    /// The peer speaks other versions or cipher suites, or breaks the protocol.
    Protocol,
    /// The connection ended.
    Closed,
    /// It took too long.
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

/// See the module.
#[derive(Debug, Default)]
pub struct TlsMetrics {
    /// Handshakes that were done.
    pub handshakes: Counter,
    /// Those of them that resumed a session.
    pub resumed: Counter,
    failed: [Counter; HandshakeFailure::ALL.len()],
    /// Changed files that could not be loaded.
    pub reloads_failed: Counter,
    /// Seconds since 1970, by listener: as many as the configuration has.
    expiry_s: Mutex<BTreeMap<String, i64>>,
}

impl TlsMetrics {
    pub fn failed(&self, failure: HandshakeFailure) {
        self.failed[failure as usize].increment();
    }

    /// The certificate of a listener holds until then.
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
            "TLS handshakes of clients that were done.",
            self.handshakes.get(),
        );
        out.counter(
            "sedge_tls_handshakes_resumed_total",
            "Those of them that resumed a session.",
            self.resumed.get(),
        );
        let family = "sedge_tls_handshakes_failed_total";
        out.family(family, "counter", "TLS handshakes of clients that failed.");
        for failure in HandshakeFailure::ALL {
            let count = self.failed[failure as usize].get();
            out.sample(family, &[("reason", failure.name())], count);
        }
        out.counter(
            "sedge_tls_reloads_failed_total",
            "Changed files of certificates that could not be loaded.",
            self.reloads_failed.get(),
        );
    }
}
