//! `bench sasl`: how many connections a second log in by SCRAM-SHA-512 over TLS, compared with
//! Apache Kafka in one run.
//!
//! The client derives its keys from the password once, not at each login as most clients do: 4,096
//! iterations would cost it more than a login costs either broker, on the same machine.

use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::{digest, hmac, pbkdf2};
use sedge_core::base64;

use crate::bench::{Peer, Secured};
use crate::process::Process;
use crate::temp_dir::TempDir;
use crate::tls::{self, Certificates, Client, Sessions};
use crate::wire::{Connection, Decoder, Encoder, error, key};
use crate::{kafka_tools, limits, tools};

use super::tls::{CONNECTIONS_HEAD, Plan, connections};

const MECHANISM: &str = "SCRAM-SHA-512";
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4_096).unwrap();
const USER: &str = "edge";
const PASSWORD: &str = "of-the-bench";

/// Kafka starts only with this; the credentials are in the metadata.
const LOGIN_MODULE: (&str, &str) = (
    "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config",
    "org.apache.kafka.common.security.scram.ScramLoginModule required;",
);

/// Runs both brokers and returns the table.
pub fn run(plan: &Plan, progress: &dyn Fn(&str)) -> String {
    let directory = TempDir::new("bench-sasl");
    let certificates = Certificates::make(&directory.join("security"));
    let settings = [("sasl.enabled.mechanisms", MECHANISM), LOGIN_MODULE];
    let started = Peer::with_tls(
        directory.path(),
        "SASL_SSL",
        &certificates,
        &settings,
        plan.with_kafka,
    );
    let client = Client::new(&certificates, None, Sessions::Fresh);
    let mut peers: Vec<(Peer, Secured)> = Vec::new();
    for (peer, address) in started {
        add_user(&peer.bootstrap());
        let client = client.clone();
        peers.push((peer, Secured { address, client }));
    }
    // Each broker has made a salt of its own.
    let users: Vec<User> = peers.iter().map(|_| User::default()).collect();
    let log_in = |at: usize, connection: &mut Connection<tls::Stream>| users[at].log_in(connection);
    let rows = connections(plan, &mut peers, "sasl_ssl scram-512", &client, &log_in);
    progress(&rows);
    format!("{CONNECTIONS_HEAD}{rows}")
}

fn add_user(bootstrap: &str) {
    let mut configs = kafka_tools::command("kafka-configs");
    configs.args(["--bootstrap-server", bootstrap, "--alter"]);
    configs.args(["--entity-type", "users", "--entity-name", USER]);
    let credential = format!("{MECHANISM}=[iterations={ITERATIONS},password={PASSWORD}]");
    configs.args(["--add-config", &credential]);
    let done = Process::run("kafka-configs", &mut configs, b"", limits::COMMAND);
    tools::must(done, "kafka-configs");
}

/// The client's side of logins at one broker.
#[derive(Debug, Default)]
struct User {
    keys: OnceLock<Keys>,
    logins: AtomicU64,
}

/// What comes from the password.
#[derive(Debug)]
struct Keys {
    salt: String,
    client: hmac::Tag,
    stored: hmac::Key,
    server: hmac::Key,
}

impl Keys {
    fn derive(salt: &str) -> Self {
        let mut salted = [0; digest::SHA512_OUTPUT_LEN];
        let salt_bytes = base64::decode(salt).expect("the salt is base64");
        let password = PASSWORD.as_bytes();
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA512;
        pbkdf2::derive(algorithm, ITERATIONS, &salt_bytes, password, &mut salted);
        let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA512, bytes);
        let salted = key(&salted);
        let client = hmac::sign(&salted, b"Client Key");
        Self {
            salt: salt.to_owned(),
            client,
            stored: key(digest::digest(&digest::SHA512, client.as_ref()).as_ref()),
            server: key(hmac::sign(&salted, b"Server Key").as_ref()),
        }
    }
}

impl User {
    /// Logs in (RFC 5802), and checks that the broker knows the password too.
    fn log_in(&self, connection: &mut Connection<tls::Stream>) {
        let handshake = Encoder::default().string(MECHANISM).0;
        let answer = connection.ask(key::SASL_HANDSHAKE, 1, &handshake);
        assert_eq!(Decoder(&answer).i16(), error::NONE);
        let nonce = format!("bench{}", self.logins.fetch_add(1, Ordering::Relaxed));
        let bare = format!("n={USER},r={nonce}");
        let first = exchange(connection, &format!("n,,{bare}"));
        let [nonce, salt, iterations] = ["r=", "s=", "i="].map(|name| field(&first, name));
        assert_eq!(iterations, ITERATIONS.to_string());
        let keys = self.keys.get_or_init(|| Keys::derive(salt));
        assert_eq!(keys.salt, salt);
        let unproved = format!("c=biws,r={nonce}");
        let signed = format!("{bare},{first},{unproved}");
        let signature = hmac::sign(&keys.stored, signed.as_bytes());
        let pairs = keys.client.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = pairs.map(|(a, b)| a ^ b).collect();
        let proof = base64::encode(&proof);
        let last = exchange(connection, &format!("{unproved},p={proof}"));
        let expected = hmac::sign(&keys.server, signed.as_bytes());
        assert_eq!(field(&last, "v="), base64::encode(expected.as_ref()));
    }
}

/// Sends a message of a login and returns the answer.
fn exchange(connection: &mut Connection<tls::Stream>, message: &str) -> String {
    let request = Encoder::default().bytes(message.as_bytes()).0;
    let answer = connection.ask(key::SASL_AUTHENTICATE, 1, &request);
    let mut answer = Decoder(&answer);
    let (code, why) = (answer.i16(), answer.string());
    assert_eq!(code, error::NONE, "{why:?}");
    String::from_utf8(answer.bytes().to_vec()).expect("messages of SCRAM are text")
}

fn field<'a>(message: &'a str, name: &str) -> &'a str {
    let mut fields = message.split(',');
    let found = fields.find_map(|field| field.strip_prefix(name));
    found.unwrap_or_else(|| panic!("no {name} in {message}"))
}
