//! The console over TLS, as curl sees it.

use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::{Finished, Process};
use sedge_tests::wire::{self, Connection};
use sedge_tests::{limits, plugin, tools};

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
    tools::must(curl(arguments), "curl").stdout
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

/// `plugin dev` read metrics without TLS and without a token only.
#[test]
fn plugin_dev_shows_verdicts_that_a_console_with_tls_and_a_token_has() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("tls-console-dev", |options| {
        let options = options.console("https://127.0.0.1:0");
        options.set("sedge.console.token", TOKEN)
    });
    let directory = site.directory.path();
    let mut new = Command::new(tools::sedge());
    new.args(["plugin", "new", "mine", "--lang", "c"]);
    new.current_dir(directory);
    let done = Process::run("sedge plugin new", &mut new, b"", limits::COMMAND);
    tools::must(done, "sedge plugin new");
    let mut at = Connection::open(&site.sedge.bootstrap());
    wire::create_topic(&mut at, "t", 1, &[]);
    // The file serves the broker and the console, which both ask for certificates.
    let without = site.file("alice.properties");
    let with = text(&site.directory.join("dev.properties"));
    let properties = std::fs::read_to_string(&without).unwrap();
    let properties = format!("{properties}\nsedge.console.token={TOKEN}\n");
    std::fs::write(&with, properties).unwrap();
    let dev = |config: &str| {
        let mut dev = Command::new(tools::sedge());
        dev.args(["plugin", "dev", "mine", "--topic", "t", "--console"]);
        dev.arg(format!("https://{}", site.sedge.console()));
        dev.args(["--bootstrap-server", &site.ssl, "--command-config", config]);
        dev.current_dir(directory);
        Process::spawn("sedge plugin dev", &mut dev)
    };
    let wait = |dev: &mut Process, what: &str| {
        dev.wait_for(what, limits::CONDITION, |output| {
            let mut lines = output.stdout.iter().chain(&output.stderr);
            lines.any(|line| line.contains(what)).then_some(())
        });
    };
    let mut stranger = dev(&without);
    wait(&mut stranger, "sedge.console.token=TOKEN");
    drop(stranger);
    let mut dev = dev(&with);
    wait(&mut dev, "deployed mine, a record-filter");
    plugin::wait_taken(&mut at, "t", b"debug");
    wait(&mut dev, "mine: drop +1");
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
