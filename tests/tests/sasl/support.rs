//! A broker with listeners for SASL, its users, and the client's side of a login.

use std::path::Path;
use std::process::Command;

use sedge_core::security::scram::{Client, Mechanism};
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::sasl_authenticate_request::SaslAuthenticateRequestData;
use sedge_protocol::kafka::generated::sasl_authenticate_response::SaslAuthenticateResponseData;
use sedge_protocol::kafka::generated::sasl_handshake_request::SaslHandshakeRequestData;
use sedge_protocol::kafka::generated::sasl_handshake_response::SaslHandshakeResponseData;
use sedge_tests::process::{Finished, Process};
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{Connection, Reply};
use sedge_tests::{ask, limits, ports, tools};

pub const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
pub const ILLEGAL_SASL_STATE: i16 = 34;
pub const SASL_AUTHENTICATION_FAILED: i16 = 58;

/// The user that logs in by SCRAM.
pub const ALICE: (&str, &str) = ("alice", "alice=secret,1");
/// The user that logs in by PLAIN.
pub const BOB: (&str, &str) = ("bob", "bob;\"secret\"");

/// A broker with users and listeners. The plaintext listener is for the administrator.
pub struct Site {
    pub sedge: Sedge,
    /// `HOST:PORT` of the listener without TLS.
    pub plain: String,
    /// `HOST:PORT` of the listener with TLS.
    pub ssl: String,
    // Dropped last, so that the process ends before its directory is deleted.
    pub directory: TempDir,
}

/// Runs the broker's own command line.
pub fn sedge(arguments: &[&str], input: &[u8]) -> Finished {
    let mut command = Command::new(tools::sedge());
    command.args(arguments);
    Process::run("sedge", &mut command, input, limits::COMMAND)
}

pub fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are UTF-8").to_owned()
}

impl Site {
    pub fn start(name: &str, change: impl FnOnce(Options) -> Options) -> Self {
        let directory = TempDir::new(name);
        let data = directory.join("data");
        let (user, password) = ALICE;
        let add = ["security", "user", "add", user, "--data", &text(&data)];
        tools::must(sedge(&add, password.as_bytes()), "sedge security user add");
        let security = directory.join("security");
        let init = ["security", "init", "--dir", &text(&security)];
        tools::must(sedge(&init, b""), "sedge security init");
        let (plain, ssl) = (free(), free());
        let (bob, secret) = (BOB.0, BOB.1.replace('"', "\\\""));
        let users = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required \
             user_{bob}=\"{secret}\" user_carol=\"carol-secret\";"
        );
        let options = Options::default()
            .listener(format!("SASL_PLAINTEXT://{plain}"))
            .listener(format!("SASL_SSL://{ssl}"))
            .set("ssl.keystore.location", &text(&security.join("broker.pem")))
            .set(
                "sasl.enabled.mechanisms",
                "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            )
            .set(
                "listener.name.sasl_plaintext.plain.sasl.jaas.config",
                &users,
            )
            .set("listener.name.sasl_ssl.plain.sasl.jaas.config", &users)
            .set("connection.failed.authentication.delay.ms", "0")
            .set("group.initial.rebalance.delay.ms", "0");
        Self {
            sedge: Sedge::start(&data, change(options)),
            plain,
            ssl,
            directory,
        }
    }

    /// A file that `sedge security init` made.
    pub fn file(&self, name: &str) -> String {
        text(&self.directory.join("security").join(name))
    }

    /// See [`Sedge::wait_log`].
    pub fn wait_log(&mut self, parts: &[&str]) {
        self.sedge.wait_log(parts);
    }
}

pub fn free() -> String {
    format!("127.0.0.1:{}", ports::free())
}

/// Chooses a mechanism. Returns the error and the mechanisms that the broker names.
pub fn shake_hands(client: &mut Connection, mechanism: &str) -> (i16, Vec<String>) {
    let request =
        SaslHandshakeRequestData::default().with_mechanism(KafkaString::from(mechanism.to_owned()));
    let answer = ask!(client, SaslHandshake 1, request => SaslHandshakeResponseData);
    let names = answer.mechanisms.iter();
    let names = names.map(|name| name.as_str().to_owned()).collect();
    (answer.error_code, names)
}

/// Sends a message of a login.
pub fn authenticate(client: &mut Connection, message: &[u8]) -> SaslAuthenticateResponseData {
    let request = SaslAuthenticateRequestData::default().with_auth_bytes(message.to_vec().into());
    ask!(client, SaslAuthenticate 2, request => SaslAuthenticateResponseData)
}

pub fn plain_message((user, password): (&str, &str)) -> Vec<u8> {
    format!("\0{user}\0{password}").into_bytes()
}

/// Tries to log in by PLAIN.
pub fn by_plain(client: &mut Connection, login: (&str, &str)) -> SaslAuthenticateResponseData {
    assert_eq!(shake_hands(client, "PLAIN").0, 0);
    authenticate(client, &plain_message(login))
}

/// Tries to log in by SCRAM.
pub fn by_scram(
    client: &mut Connection,
    mechanism: Mechanism,
    (user, password): (&str, &str),
) -> SaslAuthenticateResponseData {
    assert_eq!(shake_hands(client, mechanism.name()).0, 0);
    let (mut scram, first) = Client::begin(mechanism, user, false, "nonce-of-the-client");
    let answer = authenticate(client, &first);
    assert_eq!(answer.error_code, 0, "{answer:?}");
    let last = scram.answer(&answer.auth_bytes, password).expect("a salt");
    let answer = authenticate(client, &last);
    if answer.error_code == 0 {
        let proof = scram.finish(&answer.auth_bytes);
        proof.expect("the broker knows the password");
    }
    answer
}

pub fn assert_closed(client: &mut Connection) {
    assert_eq!(client.reply(), Reply::Closed);
}
