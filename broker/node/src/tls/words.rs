//! What went wrong in a handshake, in words, and what to do about it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::metrics::HandshakeFailure;

/// The side that a problem is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Client,
    Broker,
}

/// TLS's error in an input or output error, if it is one.
pub fn of_io(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Sorts an error of a handshake, and says what it is and what to do.
pub fn explain(error: &Error, peer: Peer) -> (HandshakeFailure, String) {
    let (whose, auth) = match peer {
        Peer::Client => ("the client", "ssl.client.auth=required"),
        Peer::Broker => ("the broker", "the broker"),
    };
    match error {
        Error::InvalidCertificate(why) => (HandshakeFailure::Certificate, certificate(why, whose)),
        Error::NoCertificatesPresented => (
            HandshakeFailure::Certificate,
            format!("{whose} showed no certificate, which {auth} asks for"),
        ),
        Error::AlertReceived(alert) => (HandshakeFailure::Refused, refusal(*alert, whose)),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => (
            HandshakeFailure::NotTls,
            match peer {
                Peer::Client => {
                    "the client speaks plaintext on a listener with TLS: set its \
                                 security.protocol=SSL, or have it connect to a plaintext listener"
                }
                Peer::Broker => {
                    "the broker does not speak TLS on this port: set \
                                 security.protocol=PLAINTEXT, or connect to its port for TLS"
                }
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
                "{whose} has no TLS version and cipher suite in common with \
                 ssl.enabled.protocols and ssl.cipher.suites ({error})"
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
            "the certificate of {whose} is not valid yet ({error}); look at the clocks of both sides"
        ),
        Of::UnknownIssuer => format!(
            "the certificate of {whose} is signed by none that ssl.truststore.* has; add its CA, \
             or use a certificate of one that is there"
        ),
        Of::Revoked => format!("the certificate of {whose} is revoked; give it another one"),
        Of::NotValidForName | Of::NotValidForNameContext { .. } => format!(
            "the certificate of {whose} is for another host ({error}); connect by a name that it \
             has, or have it made for this one; ssl.endpoint.identification.algorithm= turns the \
             check off"
        ),
        Of::InvalidPurpose | Of::InvalidPurposeContext { .. } => format!(
            "the certificate of {whose} is made for another purpose (extendedKeyUsage): {error}"
        ),
        other => format!("the certificate of {whose} cannot be used: {other}"),
    }
}

fn refusal(alert: AlertDescription, whose: &str) -> String {
    use AlertDescription as Of;
    match alert {
        Of::UnknownCA => format!(
            "{whose} does not know the CA of this side's certificate: its truststore lacks it"
        ),
        Of::CertificateExpired => format!("{whose} says that this side's certificate has expired"),
        Of::CertificateRevoked => format!("{whose} says that this side's certificate is revoked"),
        Of::CertificateRequired => {
            format!("{whose} wants a certificate: set ssl.keystore.*")
        }
        Of::BadCertificate | Of::UnsupportedCertificate | Of::CertificateUnknown => format!(
            "{whose} does not accept this side's certificate ({alert:?}): its host name, its CA or \
             its purpose"
        ),
        Of::AccessDenied => format!("{whose} denies this certificate"),
        Of::ProtocolVersion | Of::InsufficientSecurity | Of::HandshakeFailure => format!(
            "{whose} has nothing in common with this side ({alert:?}): TLS versions, cipher \
             suites, or it wants a certificate"
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
