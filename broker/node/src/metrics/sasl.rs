//! Metrics of logins by SASL.

use sedge_core::security::sasl::{Barred, Mechanism};

use super::exposition::Exposition;
use super::primitive::Counter;

/// Counters of logins by mechanism, and of connections closed for want of a login.
#[derive(Debug, Default)]
pub struct SaslMetrics {
    by_mechanism: [OfMechanism; Mechanism::EACH.len()],
    /// Handshakes with a mechanism that the listener does not support.
    pub unsupported: Counter,
    early: Counter,
    expired: Counter,
}

#[derive(Debug, Default)]
struct OfMechanism {
    done: Counter,
    again: Counter,
    failed: Counter,
}

impl SaslMetrics {
    fn of(&self, mechanism: Mechanism) -> Option<&OfMechanism> {
        let at = Mechanism::EACH.iter().position(|of| *of == mechanism)?;
        self.by_mechanism.get(at)
    }

    /// Counts a login; `is_again` if the client was logged in before.
    pub fn done(&self, mechanism: Mechanism, is_again: bool) {
        if let Some(of) = self.of(mechanism) {
            let counter = if is_again { &of.again } else { &of.done };
            counter.increment();
        }
    }

    pub fn failed(&self, mechanism: Mechanism) {
        if let Some(of) = self.of(mechanism) {
            of.failed.increment();
        }
    }

    pub fn barred(&self, barred: Barred) {
        match barred {
            Barred::Unauthenticated | Barred::DuringExchange => self.early.increment(),
            Barred::Expired => self.expired.increment(),
        }
    }

    pub(super) fn expose(&self, out: &mut Exposition) {
        let mut family = |name: &str, help: &str, count: &dyn Fn(&OfMechanism) -> u64| {
            out.family(name, "counter", help);
            for (mechanism, of) in Mechanism::EACH.iter().zip(&self.by_mechanism) {
                out.sample(name, &[("mechanism", mechanism.name())], count(of));
            }
        };
        family(
            "sedge_sasl_authentications_total",
            "Successful logins by SASL on new connections.",
            &|of| of.done.get(),
        );
        family(
            "sedge_sasl_reauthentications_total",
            "Successful logins by SASL that renewed a session.",
            &|of| of.again.get(),
        );
        family(
            "sedge_sasl_authentications_failed_total",
            "Failed logins by SASL.",
            &|of| of.failed.get(),
        );
        out.counter(
            "sedge_sasl_mechanisms_unsupported_total",
            "Attempts to log in by a mechanism that the listener does not support.",
            self.unsupported.get(),
        );
        out.counter(
            "sedge_sasl_unauthenticated_requests_total",
            "Connections closed because the client sent a request before it logged in.",
            self.early.get(),
        );
        out.counter(
            "sedge_sasl_expired_connections_total",
            "Connections closed because the session expired without a new login.",
            self.expired.get(),
        );
    }
}
