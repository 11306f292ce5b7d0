//! TLS of the harness's own clients, and the certificates for them and for brokers.

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::process::Process;
use crate::{limits, tools};

/// A connection with TLS.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// The files that `sedge security init` makes: a CA, the broker's certificate, and the clients
/// `alice` and `bob`.
#[derive(Clone, Debug)]
pub struct Certificates(PathBuf);

impl Certificates {
    pub fn make(directory: &Path) -> Self {
        let mut command = Command::new(tools::sedge());
        command.args(["security", "init", "--dir"]).arg(directory);
        command.args(["--client", "alice", "--client", "bob"]);
        let made = Process::run("sedge", &mut command, b"", limits::COMMAND);
        tools::must(made, "sedge security init");
        Self(directory.to_path_buf())
    }

    /// Those that were made in this directory before.
    pub fn at(directory: &Path) -> Self {
        Self(directory.to_path_buf())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> String {
        let path = self.0.join(name);
        path.to_str().expect("temporary paths are UTF-8").to_owned()
    }

    /// What a broker needs for its listeners with TLS.
    pub fn settings(&self) -> [(String, String); 4] {
        let file = |key: &str, name: &str| (key.to_owned(), self.file(name));
        let is_pem = |key: &str| (key.to_owned(), "PEM".to_owned());
        [
            file("ssl.keystore.location", "broker.pem"),
            is_pem("ssl.keystore.type"),
            file("ssl.truststore.location", "ca.pem"),
            is_pem("ssl.truststore.type"),
        ]
    }
}

/// Whether a client resumes its last session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    Fresh,
    Resumed,
}

/// A kind of client.
#[derive(Clone, Debug)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// One that trusts the CA of `certificates`, and is `identity` if there is one.
    pub fn new(certificates: &Certificates, identity: Option<&str>, sessions: Sessions) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in chain(&certificates.file("ca.pem")) {
            roots.add(certificate).expect("the CA of the tests");
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let file = certificates.file(&format!("{name}.pem"));
                let key = PrivateKeyDer::from_pem_file(&file).expect("a private key");
                let config = builder.with_client_auth_cert(chain(&file), key);
                config.expect("the key is the certificate's")
            }
        };
        if sessions == Sessions::Fresh {
            config.resumption = Resumption::disabled();
        }
        Self(Arc::new(config))
    }

    fn session(&self) -> ClientConnection {
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        ClientConnection::new(Arc::clone(&self.0), name).expect("the configuration is complete")
    }

    /// Does the handshake on a socket.
    ///
    /// # Errors
    /// The broker ended the connection, or what it sent is no TLS.
    pub fn handshake(&self, socket: TcpStream) -> io::Result<Stream> {
        let mut stream = Stream::new(self.session(), socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// The first bytes of a handshake.
    pub fn hello(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let written = self.session().write_tls(&mut bytes);
        written.expect("a Vec takes everything");
        bytes
    }
}

/// Whether the session of a connection was begun on an earlier one.
pub fn is_resumed(stream: &Stream) -> bool {
    stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// Names what both sides agreed on.
pub fn agreed(stream: &Stream) -> String {
    let version = stream.conn.protocol_version();
    let suite = stream.conn.negotiated_cipher_suite();
    match (version, suite) {
        (Some(version), Some(suite)) => format!("{version:?} {:?}", suite.suite()),
        _ => "nothing".to_owned(),
    }
}

fn chain(file: &str) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_file_iter(file).expect("certificates");
    let read: Result<_, _> = certificates.collect();
    read.expect("the certificates are PEM")
}
