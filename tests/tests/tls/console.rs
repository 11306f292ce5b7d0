//! The console over TLS, as curl sees it.

use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::limits;
use sedge_tests::process::{Finished, Process};

use super::support::{Site, check, openssl, refusal, security, text};

const TOKEN: &str = "0123456789abcdef";
/// What each call of curl is given: no progress, but errors.
const QUIET: [&str; 4] = ["--silent", "--show-error", "--max-time", "30"];

fn curl(arguments: &[&str]) -> Finished {
    let mut command = Command::new("curl");
    command.args(QUIET).args(arguments);
    Process::run("curl", &mut command, b"", limits::COMMAND)
}

fn must(arguments: &[&str]) -> String {
    sedge_tests::tools::must(curl(arguments), "curl").stdout
}

#[test]
fn the_console_has_tls_with_keys_of_its_own_and_loads_changed_certificates() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut keystore = String::new();
    let mut site = Site::start_with("tls-console", |directory, options| {
        // The listeners ask for client certificates, the console does not.
        let own = directory.join("console.pem");
        std::fs::copy(directory.join("security/broker.pem"), &own).unwrap();
        keystore = text(&own);
        options
            .console("https://127.0.0.1:0")
            .set("sedge.console.token", TOKEN)
            .set("listener.name.console.ssl.client.auth", "none")
            .set("listener.name.console.ssl.keystore.location", &keystore)
    });
    let ca = site.file("ca.pem");
    let at = format!("https://{}", site.sedge.console());
    let page = |path: &str| format!("{at}{path}");
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(must(&["--cacert", &ca, &page("/livez")]).trim(), "ok");
    let shown = must(&["--cacert", &ca, "-H", &bearer, &page("/")]);
    check(&shown, &["<html", "sedge"]);
    let metrics = must(&["--cacert", &ca, "-H", &bearer, &page("/metrics")]);
    check(&metrics, &["listener=\"CONSOLE\"", "listener=\"SSL\""]);
    let stranger = must(&["--cacert", &ca, &page("/metrics")]);
    check(&stranger, &["show a token"]);

    // Who does not trust the CA, or speaks plain HTTP, gets no answer, and others do.
    let untrusted = refusal(curl(&[&page("/livez")]));
    check(&untrusted, &["certificate"]);
    let plain = format!("http://{}/livez", site.sedge.console());
    refusal(curl(&[&plain]));
    site.wait_log(&["disconnected", "TLS"]);
    assert_eq!(must(&["--cacert", &ca, &page("/livez")]).trim(), "ok");

    let other = security(&site.directory, "other");
    let trusted = text(&other.join("ca.pem"));
    refusal(curl(&["--cacert", &trusted, &page("/livez")]));
    std::fs::copy(other.join("broker.pem"), &keystore).unwrap();
    site.sedge.process().signal(Signal::HUP);
    site.wait_log(&["listener CONSOLE", "loaded"]);
    let deadline = Instant::now() + limits::CONDITION;
    while !curl(&["--cacert", &trusted, &page("/livez")])
        .status
        .success()
    {
        assert!(Instant::now() < deadline, "{}", site.sedge.process().tail());
    }
    refusal(curl(&["--cacert", &ca, &page("/livez")]));
    site.assert_serves();
}

/// Without keys of its own, the console has those of all listeners.
#[test]
fn the_console_asks_for_client_certificates_as_the_listeners_do() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("tls-console-mutual", |options| {
        options.console("https://127.0.0.1:0")
    });
    let (ca, alice) = (site.file("ca.pem"), site.file("alice.pem"));
    let key = text(&site.directory.join("alice.key"));
    openssl(&["pkey", "-in", &alice, "-out", &key]);
    let livez = format!("https://{}/livez", site.sedge.console());
    let known = ["--cacert", &ca, "--cert", &alice, "--key", &key, &livez];
    assert_eq!(must(&known).trim(), "ok");
    refusal(curl(&["--cacert", &ca, &livez]));
    site.wait_log(&["disconnected", "certificate"]);
}
