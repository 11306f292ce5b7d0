//! Explanations of handshake errors, with advice.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::metrics::HandshakeFailure;

/// The remote side of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Client,
    Broker,
    /// Of HTTP.
    Server,
}

/// Returns the TLS error inside an I/O error, if there is one.
pub fn of_io(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Classifies a handshake error. Returns the class and a message with advice.
pub fn explain(error: &Error, peer: Peer) -> (HandshakeFailure, String) {
    let (whose, auth) = match peer {
        Peer::Client => ("the client", "ssl.client.auth=required"),
        Peer::Broker => ("the broker", "the protocol"),
        Peer::Server => ("the server", "the protocol"),
    };
    match error {
        Error::InvalidCertificate(why) => (HandshakeFailure::Certificate, certificate(why, whose)),
        Error::NoCertificatesPresented => (
            HandshakeFailure::Certificate,
            format!("{whose} sent no certificate, but {auth} requires one"),
        ),
        Error::AlertReceived(alert) => (HandshakeFailure::Refused, refusal(*alert, whose)),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => (
            HandshakeFailure::NotTls,
            match peer {
                Peer::Client => {
                    "the client sent plaintext to a TLS listener: set security.protocol=SSL \
                                 for the client, or connect it to a plaintext listener"
                }
                Peer::Broker => {
                    "the broker does not use TLS on this port: set \
                                 security.protocol=PLAINTEXT, or connect to its TLS port"
                }
                Peer::Server => "the server does not speak TLS on this port",
            }
            .to_owned(),
        ),
        Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => (
            HandshakeFailure::Protocol,
            format!(
                "{whose} supports no TLS version or cipher suite that ssl.enabled.protocols and \
                 ssl.cipher.suites allow ({error}); enable one that both sides support"
            ),
        ),
        other => (HandshakeFailure::Protocol, format!("{whose}: {other}")),
    }
}

fn certificate(error: &CertificateError, whose: &str) -> String {
    use CertificateError as Of;
    match error {
        Of::Expired | Of::ExpiredContext { .. } => {
            format!("the certificate of {whose} has expired ({error}); renew it")
        }
        Of::NotValidYet | Of::NotValidYetContext { .. } => format!(
            "the certificate of {whose} is not valid yet ({error}); check the clocks on both sides"
        ),
        Of::UnknownIssuer => format!(
            "the certificate of {whose} is not signed by a CA in ssl.truststore.*; add its CA, or \
             use a certificate from a trusted CA"
        ),
        Of::Revoked => format!("the certificate of {whose} is revoked; issue a new one"),
        Of::NotValidForName | Of::NotValidForNameContext { .. } => format!(
            "the certificate of {whose} is for another host ({error}); connect by a host name in \
             the certificate, or issue one for this host; an empty \
             ssl.endpoint.identification.algorithm turns this check off"
        ),
        Of::InvalidPurpose | Of::InvalidPurposeContext { .. } => format!(
            "the extendedKeyUsage of the certificate of {whose} does not allow this use: {error}; \
             issue one that does"
        ),
        other => format!("the certificate of {whose} cannot be used: {other}"),
    }
}

fn refusal(alert: AlertDescription, whose: &str) -> String {
    use AlertDescription as Of;
    match alert {
        Of::UnknownCA => format!(
            "{whose} does not trust the CA of this side's certificate; add the CA to its truststore"
        ),
        Of::CertificateExpired => {
            format!("{whose} reports that this side's certificate has expired; renew it")
        }
        Of::CertificateRevoked => {
            format!("{whose} reports that this side's certificate is revoked; issue a new one")
        }
        Of::CertificateRequired => {
            format!("{whose} requires a client certificate: set ssl.keystore.*")
        }
        Of::BadCertificate | Of::UnsupportedCertificate | Of::CertificateUnknown => format!(
            "{whose} rejected this side's certificate ({alert:?}); check its host name, its CA and \
             its extendedKeyUsage"
        ),
        Of::AccessDenied => format!("{whose} denied access to this side's certificate"),
        Of::ProtocolVersion | Of::InsufficientSecurity | Of::HandshakeFailure => format!(
            "{whose} rejected the handshake ({alert:?}); check the TLS versions and cipher suites \
             of both sides, and whether {whose} requires a certificate"
        ),
        other => format!("{whose} ended the handshake: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_to_do() {
        let check = |error: Error, peer: Peer, cause: HandshakeFailure, parts: &[&str]| {
            let (is, said) = explain(&error, peer);
            assert_eq!(is, cause, "{said}");
            for part in parts {
                assert!(said.contains(part), "{said}");
            }
        };
        let of = Error::InvalidCertificate;
        check(
            of(CertificateError::Expired),
            Peer::Client,
            HandshakeFailure::Certificate,
            &["the client", "expired", "renew"],
        );
        check(
            of(CertificateError::UnknownIssuer),
            Peer::Broker,
            HandshakeFailure::Certificate,
            &["the broker", "ssl.truststore"],
        );
        check(
            of(CertificateError::NotValidForName),
            Peer::Broker,
            HandshakeFailure::Certificate,
            &["another host", "ssl.endpoint.identification.algorithm"],
        );
        check(
            Error::NoCertificatesPresented,
            Peer::Client,
            HandshakeFailure::Certificate,
            &["no certificate", "ssl.client.auth=required"],
        );
        check(
            Error::AlertReceived(AlertDescription::CertificateRequired),
            Peer::Broker,
            HandshakeFailure::Refused,
            &["ssl.keystore"],
        );
        check(
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Peer::Client,
            HandshakeFailure::NotTls,
            &["plaintext", "security.protocol=SSL"],
        );
        check(
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            Peer::Client,
            HandshakeFailure::Protocol,
            &["ssl.enabled.protocols"],
        );
    }
}
