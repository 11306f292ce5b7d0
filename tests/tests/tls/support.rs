//! A broker with a listener for TLS that wants certificates, and the certificates.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use sedge_tests::process::{Finished, Process};
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::tls::Certificates;
use sedge_tests::{http, limits, ports, tools};

/// See the module. The clients are `alice` and `bob`.
pub struct Site {
    pub sedge: Sedge,
    /// `HOST:PORT` of the listener with TLS.
    pub ssl: String,
    // Last, so that the process ends before its directory goes.
    pub directory: TempDir,
}

/// What `sedge security init` makes in a directory of `directory`.
pub fn security(directory: &TempDir, name: &str) -> PathBuf {
    let path = directory.join(name);
    Certificates::make(&path);
    path
}

/// A listener for TLS on a free port of `host`.
pub fn listener(host: &str) -> String {
    format!("{host}:{}", ports::free())
}

/// What has the listeners use the certificates of `security`.
pub fn options(security: &Path, ssl: &str) -> Options {
    Options::default()
        .listener(format!("SSL://{ssl}"))
        .set("ssl.keystore.location", &text(&security.join("broker.pem")))
        .set("ssl.truststore.location", &text(&security.join("ca.pem")))
        .set("ssl.client.auth", "required")
        .set("group.initial.rebalance.delay.ms", "0")
}

impl Site {
    pub fn start(name: &str, change: impl FnOnce(Options) -> Options) -> Self {
        Self::start_at(name, "127.0.0.1", change)
    }

    pub fn start_at(name: &str, host: &str, change: impl FnOnce(Options) -> Options) -> Self {
        Self::start_in(name, host, |_, options| change(options))
    }

    /// `change` is given the directory, in which `security` has the certificates.
    pub fn start_with(name: &str, change: impl FnOnce(&TempDir, Options) -> Options) -> Self {
        Self::start_in(name, "127.0.0.1", change)
    }

    fn start_in(name: &str, host: &str, change: impl FnOnce(&TempDir, Options) -> Options) -> Self {
        let directory = TempDir::new(name);
        let ssl = listener(host);
        let options = options(&security(&directory, "security"), &ssl);
        let options = change(&directory, options);
        Self {
            sedge: Sedge::start(&directory.join("data"), options),
            ssl,
            directory,
        }
    }

    /// A file that `sedge security init` made.
    pub fn file(&self, name: &str) -> String {
        text(&self.directory.join("security").join(name))
    }

    /// `sedge topic list` over TLS, as this client.
    pub fn list_as(&self, properties: &str) -> Finished {
        sedge(&[
            "topic",
            "list",
            "--bootstrap-server",
            &self.ssl,
            "--command-config",
            properties,
        ])
    }

    /// A client gets on.
    pub fn assert_serves(&self) {
        let listed = self.list_as(&self.file("bob.properties"));
        tools::must(listed, "another client");
    }

    /// See [`Sedge::wait_log`].
    pub fn wait_log(&mut self, parts: &[&str]) {
        self.sedge.wait_log(parts);
    }

    pub fn failed_handshakes(&self, reason: &str) -> f64 {
        let name = format!("sedge_tls_handshakes_failed_total{{reason=\"{reason}\"}}");
        http::metric(self.sedge.console(), &name)
    }

    /// Waits until so many handshakes failed for this reason.
    pub fn wait_failed_handshakes(&mut self, reason: &str, count: f64) {
        let deadline = Instant::now() + limits::CONDITION;
        while self.failed_handshakes(reason) < count {
            let tail = self.sedge.process().tail();
            assert!(Instant::now() < deadline, "not {count} of {reason}\n{tail}");
            std::thread::sleep(limits::POLL);
        }
    }
}

/// Runs the broker's own command line.
pub fn sedge(arguments: &[&str]) -> Finished {
    let mut command = Command::new(tools::sedge());
    command.args(arguments);
    Process::run("sedge", &mut command, b"", limits::COMMAND)
}

/// Runs openssl, which has to succeed.
pub fn openssl(arguments: &[&str]) -> Finished {
    let mut command = Command::new("openssl");
    command.args(arguments);
    let done = Process::run("openssl", &mut command, b"", limits::COMMAND);
    tools::must(done, &format!("openssl {arguments:?}"))
}

/// Client keys with the certificate and key of `identity`, that trust `ca`.
pub fn properties(path: &Path, identity: Option<&str>, ca: &str) -> String {
    let keystore = identity.map(|of| format!("ssl.keystore.location={of}\n"));
    let lines = format!(
        "security.protocol=SSL\nssl.truststore.location={ca}\n{}",
        keystore.unwrap_or_default()
    );
    std::fs::write(path, lines).expect("the properties can be written");
    text(path)
}

/// What a command that had to fail said.
pub fn refusal(finished: Finished) -> String {
    assert!(!finished.status.success(), "it got on: {}", finished.stdout);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    finished.stderr
}

pub fn check(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
}

pub fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are UTF-8").to_owned()
}
