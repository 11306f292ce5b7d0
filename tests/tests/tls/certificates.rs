//! Certificate files: supported formats, reloads, expiry and revocation.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::Process;
use sedge_tests::{http, limits, tools};

use super::support::{Site, check, openssl, sedge, text};

/// The formats that OpenSSL and keytool write.
#[test]
fn pkcs12_encrypted_keys_and_directories_are_read() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("tls-forms", |options| options);
    let path = |name: &str| text(&site.directory.join(name));
    let (broker, ca) = (site.file("broker.pem"), site.file("ca.pem"));
    openssl(&[
        "pkcs12",
        "-export",
        "-in",
        &broker,
        "-inkey",
        &broker,
        "-certfile",
        &ca,
        "-out",
        &path("broker.p12"),
        "-passout",
        "pass:swordfish",
    ]);
    openssl(&[
        "pkcs8",
        "-topk8",
        "-v2",
        "aes-256-cbc",
        "-in",
        &broker,
        "-out",
        &path("broker.enc"),
        "-passout",
        "pass:swordfish",
    ]);
    let certificate = certificate_of(&broker);
    let encrypted = std::fs::read_to_string(path("broker.enc")).unwrap();
    std::fs::write(path("encrypted.pem"), format!("{encrypted}{certificate}")).unwrap();
    let tls = site.directory.join("kubernetes");
    std::fs::create_dir(&tls).unwrap();
    std::fs::copy(&broker, tls.join("tls.key")).unwrap();
    std::fs::write(tls.join("tls.crt"), &certificate).unwrap();
    std::fs::write(tls.join("README"), "not a certificate").unwrap();
    let mut import = std::process::Command::new("keytool");
    import.args(["-importcert", "-noprompt", "-alias", "ca", "-file", &ca]);
    import.args([
        "-keystore",
        &path("ca.p12"),
        "-storetype",
        "PKCS12",
        "-storepass",
        "swordfish",
    ]);
    tools::must(
        Process::run("keytool", &mut import, b"", limits::COMMAND),
        "keytool",
    );
    for name in ["broker.p12", "encrypted.pem", "broker.enc"] {
        private(Path::new(&path(name)));
    }

    let forms: [&[(&str, &str)]; 4] = [
        &[
            ("ssl.keystore.location", &path("broker.p12")),
            ("ssl.keystore.password", "swordfish"),
        ],
        &[
            ("ssl.keystore.location", &path("encrypted.pem")),
            ("ssl.key.password", "swordfish"),
        ],
        &[("ssl.keystore.location", &text(&tls))],
        &[
            ("ssl.truststore.location", &path("ca.p12")),
            ("ssl.truststore.type", "PKCS12"),
            ("ssl.truststore.password", "swordfish"),
        ],
    ];
    let common = super::support::options(&site.directory.join("security"), &site.ssl);
    for form in forms {
        let set = form.iter().fold(common.clone(), |options, (key, value)| {
            options.set(key, value)
        });
        site.sedge.terminate();
        site.sedge.set_options(set);
        site.sedge.start_again();
        site.assert_serves();
    }
    let wrong = sedge(&[
        "config",
        "check",
        "--listen",
        &format!("SSL://{}", site.ssl),
        "--set",
        &format!("ssl.keystore.location={}", path("broker.p12")),
        "--set",
        "ssl.keystore.password=wrong",
    ]);
    assert!(!wrong.status.success());
    check(
        &wrong.stderr,
        &["ssl.keystore.location", "the password is wrong"],
    );
    assert!(!wrong.stderr.contains("=wrong"), "{}", wrong.stderr);
}

/// Returns the certificate in a file that also has the private key.
fn certificate_of(path: &str) -> String {
    openssl(&["x509", "-in", path]).stdout + "\n"
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, permissions).expect("the file is ours");
}

#[test]
fn files_that_change_are_loaded_and_what_is_broken_is_not() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("tls-reload", |options| options);
    let broker = site.directory.join("security/broker.pem");
    let serial = |site: &Site| {
        let ca = site.file("ca.pem");
        let alice = site.file("alice.pem");
        let mut command = std::process::Command::new("openssl");
        command.args(["s_client", "-connect", &site.ssl, "-CAfile", &ca]);
        command.args(["-cert", &alice, "-key", &alice]);
        let shown = Process::run("openssl", &mut command, b"Q\n", limits::COMMAND).stdout;
        let begin = shown
            .find("-----BEGIN CERTIFICATE-----")
            .expect("a certificate");
        let end = shown
            .find("-----END CERTIFICATE-----")
            .expect("a whole one");
        shown[begin..end].to_owned()
    };
    let first = serial(&site);
    let produce = |site: &Site, value: &str| {
        let mut producer = std::process::Command::new("kcat");
        producer.args([
            "-F",
            &site.file("bob.kcat.conf"),
            "-b",
            &site.ssl,
            "-t",
            "readings",
            "-P",
        ]);
        let done = Process::run("kcat", &mut producer, value.as_bytes(), limits::COMMAND);
        tools::must(done, "kcat");
    };
    produce(&site, "first");
    // A consumer that stays connected during the whole test.
    let mut consumer = std::process::Command::new("kcat");
    consumer.args([
        "-F",
        &site.file("alice.kcat.conf"),
        "-b",
        &site.ssl,
        "-q",
        "-u",
    ]);
    consumer.args(["-t", "readings", "-C"]);
    let mut consumer = Process::spawn("kcat", &mut consumer);
    let mut consumed = |value: &str| {
        consumer.wait_for(value, limits::CONDITION, |output| {
            output.stdout.iter().any(|line| line == value).then_some(())
        });
    };
    produce(&site, "before");
    consumed("before");

    // A damaged file is reported, and the previous certificate stays in use.
    let good = std::fs::read(&broker).unwrap();
    std::fs::write(&broker, &good[..good.len() / 2]).unwrap();
    site.wait_log(&[
        "changed certificate files not loaded",
        "the previous certificate remains in use",
    ]);
    assert_eq!(serial(&site), first);
    let failed = http::metric(site.sedge.console(), "sedge_tls_reloads_failed_total");
    assert!(failed >= 1.0, "{failed}");
    site.sedge.process().signal(Signal::HUP);
    site.wait_log(&["SIGHUP"]);
    site.assert_serves();
    produce(&site, "broken");
    consumed("broken");

    // A new certificate is loaded without a restart.
    let dir = text(&site.directory.join("security"));
    let renewed = sedge(&[
        "security", "init", "--dir", &dir, "--client", "carol", "--renew",
    ]);
    tools::must(renewed, "sedge security init --renew");
    site.sedge.process().signal(Signal::HUP);
    site.wait_log(&["certificate of", "loaded; open connections stay open"]);
    assert_ne!(serial(&site), first);
    produce(&site, "after");
    consumed("after");
    let known: usize = accepted(&site, &["sedge_tls_handshakes_total"]);
    assert!(known > 3, "{known}");
}

fn accepted(site: &Site, names: &[&str]) -> usize {
    let of = |name: &&str| http::metric(site.sedge.console(), name) as usize;
    names.iter().map(of).sum()
}

#[test]
fn a_certificate_that_expires_soon_is_told_and_shown() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("tls-expiry", |options| options);
    let name = "sedge_certificate_expiry_timestamp_seconds{listener=\"SSL\"}";
    let now_s = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.expect("the clock is after 1970").as_secs_f64()
    };
    let days = |site: &Site| (http::metric(site.sedge.console(), name) - now_s()) / 86_400.0;
    assert!((824.0..826.0).contains(&days(&site)), "{}", days(&site));
    let dir = text(&site.directory.join("security"));
    let renew = [
        "security", "init", "--dir", &dir, "--client", "alice", "--renew", "--days", "20",
    ];
    tools::must(sedge(&renew), "sedge security init");
    site.wait_log(&["expires in 19 days", "renew"]);
    assert!((19.0..21.0).contains(&days(&site)), "{}", days(&site));
}

/// The revocation list is in the same directory as the CA certificate.
#[test]
fn a_certificate_that_is_revoked_is_refused() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("tls-revoked", |options| options);
    site.assert_serves();
    let trusted = site.directory.join("trusted");
    std::fs::create_dir(&trusted).unwrap();
    std::fs::copy(site.file("ca.pem"), trusted.join("ca.pem")).unwrap();
    let path = |name: &str| text(&site.directory.join(name));
    let ca_config = format!(
        "[ca]\ndefault_ca=own\n[own]\ndatabase={}\ncrlnumber={}\ndefault_md=sha256\n\
         default_crl_days=30\n",
        path("index"),
        path("number")
    );
    std::fs::write(path("ca.cnf"), ca_config).unwrap();
    std::fs::write(path("index"), "").unwrap();
    std::fs::write(path("number"), "01\n").unwrap();
    let (ca, key) = (site.file("ca.pem"), site.file("ca.key"));
    let by_ca = [
        "ca",
        "-config",
        &path("ca.cnf"),
        "-cert",
        &ca,
        "-keyfile",
        &key,
    ];
    openssl(&[&by_ca[..], &["-revoke", &site.file("alice.pem")]].concat());
    let list = text(&trusted.join("revoked.crl"));
    openssl(&[&by_ca[..], &["-gencrl", "-out", &list]].concat());
    let security = site.directory.join("security");
    let options = super::support::options(&security, &site.ssl);
    let options = options.set("ssl.truststore.location", &text(&trusted));
    site.sedge.terminate();
    site.sedge.set_options(options);
    site.sedge.start_again();
    site.assert_serves();
    let said = super::support::refusal(site.list_as(&site.file("alice.properties")));
    check(&said, &["revoked"]);
    site.wait_log(&["certificate of the client is revoked"]);
}
