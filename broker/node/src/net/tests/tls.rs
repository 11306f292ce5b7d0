//! Tests the network layer over TLS: principals, slow handshakes, and large answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::*;
use crate::tls::ClientTls;
use crate::tls::authority::{Authority, Signed, Subject};

/// Certificates of a broker at 127.0.0.1 and of the client alice, removed on drop.
struct Files(PathBuf);

impl Files {
    fn make(name: &str) -> Self {
        let name = format!("sedge-net-tls-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let (ca, _) = Authority::make(now_s.as_secs()).unwrap();
        fs::write(directory.join("ca.pem"), ca.certificate_pem()).unwrap();
        let hosts = ["127.0.0.1".to_owned()];
        for (file, subject) in [
            ("broker.pem", Subject::Broker { hosts: &hosts }),
            ("alice.pem", Subject::Client { name: "Alice" }),
        ] {
            let Signed {
                certificate_pem,
                key_pem,
            } = ca.sign(&subject, now_s.as_secs(), 1).unwrap();
            let path = directory.join(file);
            fs::write(&path, format!("{}{certificate_pem}", *key_pem)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        Self(directory)
    }

    fn path(&self, file: &str) -> String {
        self.0.join(file).to_str().unwrap().to_owned()
    }

    fn keys(&self, identity: Option<&str>, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut keys: Vec<_> = more.iter().map(owned).collect();
        keys.push(("ssl.truststore.location".to_owned(), self.path("ca.pem")));
        let identity = identity.map(|file| self.path(file));
        keys.extend(identity.map(|path| ("ssl.keystore.location".to_owned(), path)));
        keys
    }

    fn server(&self, more: &[(&str, &str)]) -> Server {
        let keys = self.keys(Some("broker.pem"), more);
        let tls = ServerTls::load(&|key| find(&keys, key)).unwrap();
        Server::start_with(Some(Arc::new(tls)))
    }

    fn connect(
        &self,
        server: &Server,
        identity: Option<&str>,
        more: &[(&str, &str)],
    ) -> Client<StreamOwned<ClientConnection, TcpStream>> {
        let keys = self.keys(identity, more);
        let tls = ClientTls::read(&|key| find(&keys, key)).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let session = ClientConnection::new(tls.current().unwrap(), name).unwrap();
        Client(StreamOwned::new(session, server.connect().0))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn find(keys: &[(String, String)], key: &str) -> Option<String> {
    let found = keys.iter().find(|(other, _)| other == key);
    found.map(|(_, value)| value.clone())
}

#[test]
fn a_client_is_known_by_its_certificate() {
    let files = Files::make("known");
    let rules = "RULE:CN=([^,]+)/$1@edge/L,DEFAULT";
    for (auth, rules, identity, expected) in [
        ("required", "DEFAULT", Some("alice.pem"), "User:CN=Alice"),
        ("required", rules, Some("alice.pem"), "User:alice@edge"),
        ("requested", rules, Some("alice.pem"), "User:alice@edge"),
        ("requested", rules, None, "User:ANONYMOUS"),
        ("none", rules, Some("alice.pem"), "User:ANONYMOUS"),
    ] {
        let server = files.server(&[
            ("ssl.client.auth", auth),
            ("ssl.principal.mapping.rules", rules),
        ]);
        for version in ["TLSv1.2", "TLSv1.3"] {
            let version = [("ssl.enabled.protocols", version)];
            let mut client = files.connect(&server, identity, &version);
            client.send(NOW, 7);
            assert_eq!(client.receive(), (7, 0));
            assert_eq!(server.started(7).principal, expected, "{auth} {rules}");
        }
    }
}

#[test]
fn a_slow_reader_over_tls_gets_all_of_it_and_holds_up_nobody_else() {
    let files = Files::make("slow");
    let server = files.server(&[]);
    let mut slow = files.connect(&server, None, &[]);
    let mut other = files.connect(&server, None, &[]);
    slow.send(LARGE, 1);
    slow.send(LARGE, 2);
    server.started(1);
    for number in 100..120 {
        other.send(NOW, number);
        assert_eq!(other.receive(), (number, 0));
        server.started(number);
    }
    assert_eq!(slow.receive(), (1, LARGE_BYTES));
    assert_eq!(slow.receive(), (2, LARGE_BYTES));
    server.started(2);
}

#[test]
fn a_certificate_that_no_rule_takes_is_refused() {
    let files = Files::make("unmapped");
    let server = files.server(&[
        ("ssl.client.auth", "required"),
        ("ssl.principal.mapping.rules", "RULE:UID=.*/$0/"),
    ]);
    let mut client = files.connect(&server, Some("alice.pem"), &[]);
    // TLS accepts the certificate, and the broker closes the connection after the handshake.
    let _ = client.0.write_all(&[0; 8]);
    let mut rest = Vec::new();
    let _ = client.0.read_to_end(&mut rest);
    assert!(rest.is_empty());
    assert!(server.started.try_recv().is_err());
    assert_eq!(server.net.metrics.tls.handshakes.get(), 0);
}
