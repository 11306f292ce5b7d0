//! Invalid certificates and malformed handshakes: each is reported on both sides and counted, and
//! other clients are not affected.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::limits;
use sedge_tests::process::Process;
use sedge_tests::sedge::{self as harness, Options};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error, key};

use super::support::{
    Site, check, listener, openssl, options, properties, refusal, security, sedge, text,
};

/// The beginning of a TLS 1.2 ClientHello.
const HALF_A_HELLO: &[u8] = &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, 7, 7, 7];

#[test]
fn certificates_that_are_wrong_are_refused_with_the_reason_on_both_sides() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("tls-wrong", |options| options);
    let other = security(&site.directory, "other");
    let directory = site.directory.path().to_path_buf();
    let path = |name: &str| directory.join(name);
    let (ca, other_ca) = (site.file("ca.pem"), text(&other.join("ca.pem")));

    // The client does not trust the broker's CA.
    let of_other = properties(&path("a"), Some(&site.file("alice.pem")), &other_ca);
    let unknown = refusal(site.list_as(&of_other));
    check(&unknown, &["certificate of the broker", "ssl.truststore"]);
    site.wait_log(&["TLS handshake failed", "does not trust the CA"]);
    // The broker does not trust the client's CA.
    let theirs = text(&other.join("alice.pem"));
    let stranger = properties(&path("b"), Some(&theirs), &ca);
    check(&refusal(site.list_as(&stranger)), &["the broker", "the CA"]);
    site.wait_log(&[
        "TLS handshake failed",
        "certificate of the client",
        "ssl.truststore",
    ]);
    // The client has no certificate.
    let nobody = properties(&path("c"), None, &ca);
    check(
        &refusal(site.list_as(&nobody)),
        &["requires a client certificate", "ssl.keystore"],
    );
    site.wait_log(&["sent no certificate", "ssl.client.auth=required"]);
    // The client's certificate has expired.
    let expired = expired(&site);
    let expired = properties(&path("d"), Some(&expired), &ca);
    check(&refusal(site.list_as(&expired)), &["expired"]);
    site.wait_log(&["certificate of the client has expired", "renew"]);

    site.wait_failed_handshakes("refused", 1.0);
    site.wait_failed_handshakes("certificate", 3.0);
    site.assert_serves();
}

/// Creates a client certificate that expired yesterday, signed by the site's CA. Returns its path.
fn expired(site: &Site) -> String {
    let path = |name: &str| text(&site.directory.join(name));
    openssl(&[
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=late",
        "-keyout",
        &path("late.key"),
        "-out",
        &path("late.csr"),
    ]);
    // Any extension makes the certificate X.509 version 3, which rustls requires.
    std::fs::write(path("v3"), "keyUsage=digitalSignature\n").expect("the directory is writable");
    openssl(&[
        "x509",
        "-req",
        "-in",
        &path("late.csr"),
        "-CA",
        &site.file("ca.pem"),
        "-CAkey",
        &site.file("ca.key"),
        "-CAcreateserial",
        "-extfile",
        &path("v3"),
        "-days",
        "-1",
        "-out",
        &path("late.crt"),
    ]);
    let both = [path("late.key"), path("late.crt")]
        .map(|of| std::fs::read_to_string(of).expect("openssl made it"));
    write_private(&site.directory.join("late.pem"), &both.concat());
    path("late.pem")
}

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the temporary directory is writable");
    set_mode(path, 0o600);
}

fn set_mode(path: &Path, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("the file is ours");
}

/// The certificate is for localhost and 127.0.0.1.
#[test]
fn a_certificate_of_another_host_is_refused_unless_the_check_is_off() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start_at("tls-host", "127.0.0.2", |options| options);
    let alice = site.file("alice.properties");
    let said = refusal(site.list_as(&alice));
    check(
        &said,
        &["another host", "ssl.endpoint.identification.algorithm"],
    );
    site.wait_log(&["TLS handshake failed"]);
    let lines = std::fs::read_to_string(&alice).unwrap();
    let unchecked = site.directory.join("unchecked");
    let lines = format!("{lines}ssl.endpoint.identification.algorithm=\n");
    std::fs::write(&unchecked, lines).unwrap();
    let listed = site.list_as(&text(&unchecked));
    assert!(listed.status.success(), "{}", listed.stderr);
}

#[test]
fn tls_on_a_plain_port_and_plain_on_one_for_tls_say_so() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("tls-plain", |options| options);
    let on_tls = sedge(&["topic", "list", "--bootstrap-server", &site.ssl]);
    check(&refusal(on_tls), &["uses TLS", "security.protocol=SSL"]);
    let mut client = Connection::open(&site.ssl);
    client.send(key::METADATA, 0, &wire::Encoder::default().i32(0).0);
    let mut rest = Vec::new();
    drop(client.stream.read_to_end(&mut rest));
    assert!(rest.len() < 16, "it is answered: {rest:x?}");
    site.wait_log(&["plaintext to a TLS listener", "security.protocol=SSL"]);
    site.wait_failed_handshakes("not_tls", 2.0);

    let alice = site.file("alice.properties");
    let plain = site.sedge.bootstrap();
    let on_plain = sedge(&[
        "topic",
        "list",
        "--bootstrap-server",
        &plain,
        "--command-config",
        &alice,
    ]);
    check(&refusal(on_plain), &["TLS handshake", "security.protocol"]);
    site.wait_log(&["TLS on a plaintext listener", "security.protocol=PLAINTEXT"]);
    site.assert_serves();
}

/// More clients stall in the middle of a handshake than the request pool has memory for. Others are
/// served, also those that need much of the pool.
#[test]
fn clients_that_stop_in_a_handshake_are_cut_and_cost_nobody_else() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("tls-half", |options| {
        options
            .set("queued.max.request.bytes", "1048576")
            .set("connections.max.idle.ms", "3000")
    });
    let half: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(&site.ssl).expect("it listens");
            stream.write_all(HALF_A_HELLO).expect("it reads");
            stream.set_read_timeout(Some(limits::CONDITION)).unwrap();
            stream
        })
        .collect();
    let mut plain = Connection::open(&site.sedge.bootstrap());
    wire::create_topic(&mut plain, "meanwhile", 1, &[]);
    let large = Batch::filled(1, 800_000).encode();
    let produced = wire::produce(&mut plain, "meanwhile", 0, &large);
    assert_eq!(produced.error, error::NONE, "{produced:?}");
    let cut = site.failed_handshakes("timeout");
    assert!(cut < 1.0, "it waited until {cut} were cut");
    site.assert_serves();
    for mut stream in half {
        let mut rest = Vec::new();
        // A reset ends the stream, too.
        drop(stream.read_to_end(&mut rest));
        assert!(rest.is_empty(), "{rest:x?}");
    }
    site.wait_failed_handshakes("timeout", 100.0);
    site.assert_serves();
}

/// An endless ClientHello is cut at the limit.
#[test]
fn a_handshake_without_end_is_cut() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("tls-endless", |options| options);
    let mut stream = TcpStream::connect(&site.ssl).expect("it listens");
    // A message of 16 MiB in records of 16 KiB.
    let mut record = vec![0x16, 3, 3, 0x40, 0];
    record.resize(5 + 0x4000, 0);
    record[5..9].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
    let sent = (0..64).take_while(|_| stream.write_all(&record).is_ok());
    let sent = sent.count();
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest));
    assert!(rest.len() < 16, "it is answered after {sent} records");
    site.wait_log(&["TLS handshake failed"]);
    site.assert_serves();
}

/// Starts a broker that must refuse to start. Returns its standard error.
fn refused_start(directory: &TempDir, options: &Options) -> String {
    let mut command = harness::serve(&directory.join("data"), "127.0.0.1:0", options);
    command.args(["--console", "off"]);
    let finished = Process::run("sedge", &mut command, b"", limits::COMMAND);
    assert_eq!(finished.status.code(), Some(78), "{}", finished.stderr);
    refusal(finished)
}

#[test]
fn files_that_cannot_be_used_are_refused_at_the_start() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("tls-refused");
    let made = security(&directory, "security");
    let file = |name: &str| made.join(name);
    let ssl = listener("127.0.0.1");
    let with =
        |key: &str, value: &str| refused_start(&directory, &options(&made, &ssl).set(key, value));
    let keystore = |path: &Path| with("ssl.keystore.location", &text(path));

    let said = keystore(&directory.join("nothing"));
    check(&said, &["ssl.keystore.location", "cannot read", "nothing"]);
    check(
        &keystore(&file("ca.pem")),
        &["the keystore has no private key"],
    );
    let key = std::fs::read_to_string(file("ca.key")).unwrap();
    let certificate = std::fs::read_to_string(file("bob.pem")).unwrap();
    let (_, certificate) = certificate.split_once("-----END PRIVATE KEY-----").unwrap();
    let mixed = directory.join("mixed.pem");
    write_private(&mixed, &format!("{key}{certificate}"));
    check(
        &keystore(&mixed),
        &["private key does not belong to any certificate"],
    );
    let open = directory.join("open.pem");
    std::fs::copy(file("broker.pem"), &open).unwrap();
    set_mode(&open, 0o644);
    check(&keystore(&open), &["others can read it", "`chmod 6"]);
    let junk = directory.join("junk.pem");
    write_private(
        &junk,
        "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----",
    );
    check(&keystore(&junk), &["junk.pem", "not base64"]);

    let said = with("ssl.truststore.location", &text(&directory.join("nothing")));
    check(&said, &["ssl.truststore.location", "cannot read"]);
    check(&with("ssl.client.auth", "perhaps"), &["ssl.client.auth"]);
    check(
        &with("ssl.enabled.protocols", "TLSv1.1"),
        &["ssl.enabled.protocols"],
    );
    check(
        &with("ssl.keystore.type", "JKS"),
        &["keytool -importkeystore"],
    );
    check(
        &with("ssl.principal.mapping.rules", "RULE:a"),
        &["RULE:PATTERN"],
    );
    check(
        &with("listener.name.lan.ssl.client.auth", "none"),
        &["there is no listener named LAN"],
    );
    // A listener without authentication must be allowed explicitly.
    let open = Options::default().listener("OPEN://0.0.0.0:0");
    let open = open.set(
        "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT,OPEN:PLAINTEXT",
    );
    let said = refused_start(&directory, &open);
    check(
        &said,
        &[
            "sedge.insecure.listeners.allowed=true",
            "ssl.client.auth=required",
        ],
    );
    let said = refused_start(
        &directory,
        &options(&made, "0.0.0.0:0").set("ssl.client.auth", "requested"),
    );
    check(&said, &["sedge.insecure.listeners.allowed=true"]);
}
