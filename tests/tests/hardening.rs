//! Tests that secrets appear nowhere, that no core dump is left, and that the broker connects only
//! to what its configuration names.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::{Finished, Process};
use sedge_tests::sedge::{self, Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{Connection, Encoder, key};
use sedge_tests::{http, limits, ports, tools};

/// The secrets, one for each key that takes one. No output of the process may contain any of them.
mod secret {
    pub const PREFIX: &str = "Xq7-";
    pub const KEYSTORE: &str = "Xq7-keystore-of-the-listener";
    pub const TRUSTSTORE: &str = "Xq7-truststore-by-environment";
    pub const LINK_KEY: &str = "Xq7-key-of-the-link";
    pub const LINK_STORE: &str = "Xq7-truststore-of-the-link";
    pub const CONSOLE: &str = "Xq7-console-by-directory";
    pub const METRICS: &str = "Xq7-metrics-by-variable";
    pub const MISSPELT: &str = "Xq7-of-a-misspelt-key";
    pub const CLIENT: &str = "Xq7-keystore-of-a-client";
    pub const LOGIN: &str = "Xq7-password-of-alice";
    pub const LINK_LOGIN: &str = "Xq7-login-of-the-link";
    pub const TOKENS: &str = "Xq7-key-of-delegation-tokens";
}

/// All outputs of the process, each with its source.
#[derive(Default)]
struct Told(Vec<(String, String)>);

impl Told {
    fn add(&mut self, place: &str, text: impl Into<String>) {
        self.0.push((place.to_owned(), text.into()));
    }

    fn finished(&mut self, place: &str, finished: &Finished) {
        self.add(place, &*finished.stdout);
        self.add(place, &*finished.stderr);
    }

    /// Runs sedge, which must fail with an error that contains these words.
    fn refused(&mut self, place: &str, command: &mut Command, words: &[&str]) {
        let finished = Process::run(place, command, b"", limits::COMMAND);
        let said = &finished.stderr;
        assert!(!finished.status.success(), "{place} got on");
        assert!(!said.contains("panicked"), "{said}");
        for word in words {
            assert!(said.contains(word), "{place}: wanted {word}: {said}");
        }
        self.finished(place, &finished);
    }

    fn has(&self, place: &str, part: &str) -> bool {
        let mut of = self.0.iter().filter(|(told_at, _)| told_at == place);
        of.any(|(_, text)| text.contains(part))
    }

    fn assert_has_no_secret(&self) {
        for (place, text) in &self.0 {
            let line = text.lines().find(|line| line.contains(secret::PREFIX));
            assert!(line.is_none(), "{place} has a secret: {line:?}");
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("our own path").to_owned()
}

fn write(path: &Path, bytes: impl AsRef<[u8]>, mode: u32) -> String {
    std::fs::write(path, bytes).expect("a file can be written");
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("the file is ours");
    text(path)
}

/// A broker's certificate in PKCS#12, with the password [`secret::KEYSTORE`].
fn keystore(directory: &TempDir) -> String {
    let made = directory.join("security");
    let mut init = Command::new(tools::sedge());
    init.args(["security", "init", "--dir", &text(&made)]);
    let done = Process::run("security init", &mut init, b"", limits::COMMAND);
    tools::must(done, "sedge security init");
    let broker = text(&made.join("broker.pem"));
    let path = made.join("broker.p12");
    let mut export = Command::new("openssl");
    export.args(["pkcs12", "-export", "-in", &broker, "-inkey", &broker]);
    export.args(["-out", &text(&path)]);
    export.args(["-passout", &format!("pass:{}", secret::KEYSTORE)]);
    let done = Process::run("openssl", &mut export, b"", limits::COMMAND);
    tools::must(done, "openssl pkcs12");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("the file is ours");
    text(&path)
}

const MODULE: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";

/// A client's `sasl.jaas.config`.
fn login(user: &str, password: &str) -> String {
    format!("{MODULE} username=\"{user}\" password=\"{password}\";")
}

/// Options that set every key that takes a secret.
fn options(directory: &TempDir, keystore: &str, ssl: &str, sasl: &str) -> Options {
    let secrets = directory.join("secrets");
    std::fs::create_dir_all(&secrets).expect("a directory can be made");
    let properties = format!(
        "keystore = {}\nlink = {}\n",
        secret::KEYSTORE,
        secret::LINK_KEY
    );
    let properties = write(&secrets.join("all.properties"), &properties, 0o600);
    write(
        &secrets.join("console"),
        format!("{}\n", secret::CONSOLE),
        0o600,
    );
    let secrets = text(&secrets);
    let config = format!(
        "\"ssl.keystore.location\" = \"{keystore}\"\n\
         \"ssl.keystore.password\" = \"${{file:{properties}:keystore}}\"\n\
         \"sedge.console.token\" = \"${{directory:{secrets}:console}}\"\n\
         \"sedge.console.metrics.token\" = \"${{env:METRICS_TOKEN}}\"\n\
         \"listener.name.sasl_plaintext.plain.sasl.jaas.config\" = '{MODULE} user_alice=\"{}\";'\n\
         \"sasl.enabled.mechanisms\" = \"PLAIN\"\n\
         \"delegation.token.secret.key\" = \"{}\"\n\
         [mirror.hq]\n\"bootstrap.servers\" = \"127.0.0.1:{}\"\ntopics = [\"none\"]\n\
         \"security.protocol\" = \"SSL\"\n\
         \"ssl.keystore.location\" = \"{keystore}\"\n\
         \"ssl.keystore.password\" = \"{}\"\n\
         \"ssl.key.password\" = \"${{file:{properties}:keystore}}\"\n\
         [mirror.far]\n\"bootstrap.servers\" = \"127.0.0.1:{}\"\ntopics = [\"none\"]\n\
         \"security.protocol\" = \"SASL_PLAINTEXT\"\n\"sasl.mechanism\" = \"PLAIN\"\n\
         \"sasl.jaas.config\" = '{}'\n",
        secret::LOGIN,
        secret::TOKENS,
        ports::free(),
        secret::KEYSTORE,
        ports::free(),
        login("far", secret::LINK_LOGIN),
    );
    let mut options = Options::default()
        .config(config)
        .listener(format!("SSL://{ssl}"))
        .listener(format!("SASL_PLAINTEXT://{sasl}"));
    for (name, value) in [
        ("METRICS_TOKEN", secret::METRICS),
        ("SEDGE_SSL_TRUSTSTORE_PASSWORD", secret::TRUSTSTORE),
        ("SEDGE_LOG", "trace"),
    ] {
        options.variables.push((name.into(), value.into()));
    }
    options
}

#[test]
fn no_secret_is_told() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("secrets");
    let keystore = keystore(&directory);
    let ssl = format!("127.0.0.1:{}", ports::free());
    let sasl = format!("127.0.0.1:{}", ports::free());
    let options = options(&directory, &keystore, &ssl, &sasl);
    let data = directory.join("data");
    let mut told = Told::default();

    let mut sedge = Sedge::start(&data, options.clone());
    for (token, path, status) in [
        (secret::CONSOLE, "/", 200),
        (secret::CONSOLE, "/metrics", 200),
        (secret::METRICS, "/metrics", 200),
        (secret::METRICS, "/", 403),
        (secret::KEYSTORE, "/", 401),
        (secret::KEYSTORE, "/readyz", 200),
    ] {
        let (got, text) = http::get_as(sedge.console(), path, token);
        assert_eq!(got, status, "{path}: {text}");
        told.add(path, text);
    }
    let (status, _) = http::get(sedge.console(), &format!("/?token={}", secret::CONSOLE));
    assert_eq!(status, 401);
    describe(&sedge, &mut told);
    commands(&sedge, &keystore, &directory, &mut told);
    logins(&sasl, &directory, &mut told);
    // A client without TLS, and the link, whose upstream does not exist.
    let mut stranger = Connection::open(&ssl);
    stranger.send_raw(b"not TLS at all, and long enough to be told from it\r\n\r\n");
    stranger.end();
    for part in ["the client sent plaintext", "hq: the upstream fails"] {
        let what = format!("{part} in the log");
        sedge
            .process()
            .wait_for(&what, limits::CONDITION, |output| {
                let mut lines = output.stderr.iter();
                lines.any(|line| line.contains(part)).then_some(())
            });
    }
    told.add("log", sedge.process().output().stderr.join("\n"));
    sedge.terminate();

    failures(&data, &options, &keystore, &directory, &mut told);
    let mut again = Sedge::start(&data, options);
    let log = again.process().output().stderr.join("\n");
    // The broker warns of secrets in a file that all users can read.
    assert!(
        log.contains("has a secret (delegation.token.secret.key)"),
        "{log}"
    );
    told.add("log", log);
    again.terminate();
    told.assert_has_no_secret();
}

/// Kafka's clients learn which secrets are set, but not their values.
fn describe(sedge: &Sedge, told: &mut Told) {
    const BROKER: i8 = 4;
    let mut connection = Connection::open(&sedge.bootstrap());
    let body = Encoder::default().i32(1).i8(BROKER).string("1");
    let body = body.i32(-1).i8(1).0;
    let reply = connection.ask(key::DESCRIBE_CONFIGS, 1, &body);
    told.add("DescribeConfigs", String::from_utf8_lossy(&reply));
    assert!(told.has("DescribeConfigs", "ssl.keystore.password"));
}

/// Runs commands on the data and the configuration, and a client that cannot open its keystore.
fn commands(sedge: &Sedge, keystore: &str, directory: &TempDir, told: &mut Told) {
    let config = text(&sedge.data().with_extension("toml"));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(tools::sedge());
        command
            .args(arguments)
            .env("METRICS_TOKEN", secret::METRICS);
        command.env("SEDGE_SSL_TRUSTSTORE_PASSWORD", secret::TRUSTSTORE);
        command.env("SEDGE_LISTENERS", "SASL_PLAINTEXT://127.0.0.1:0");
        Process::run("sedge", &mut command, b"", limits::COMMAND)
    };
    for arguments in [
        &["config", "dump", "--effective", "--config", &config][..],
        &["config", "check", "--config", &config],
        &[
            "backup",
            &text(&directory.join("backup")),
            "--data",
            &text(sedge.data()),
        ],
    ] {
        let finished = run(arguments);
        told.finished(arguments[0], &finished);
        tools::must(finished, arguments[0]);
    }
    assert!(told.has(
        "config",
        "\"sedge.console.metrics.token\" = \"${env:METRICS_TOKEN}\""
    ));
    assert!(told.has("config", "\"ssl.truststore.password\" = \"(hidden)\""));
    let lines = format!(
        "security.protocol=SSL\nssl.keystore.location={keystore}\nssl.keystore.password={}\n",
        secret::CLIENT
    );
    let path = write(&directory.join("client.properties"), &lines, 0o600);
    let arguments = ["topic", "list", "--bootstrap-server", &sedge.bootstrap()];
    let mut command = Command::new(tools::sedge());
    command.args(arguments).args(["--command-config", &path]);
    told.refused(
        "client",
        &mut command,
        &["ssl.keystore.location", "password"],
    );
}

/// Logins with the right password and a wrong one.
fn logins(sasl: &str, directory: &TempDir, told: &mut Told) {
    let list = |password: &str| {
        let lines = format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={}\n",
            login("alice", password)
        );
        let path = write(&directory.join("alice.properties"), lines, 0o600);
        let mut command = Command::new(tools::sedge());
        command.args(["topic", "list", "--bootstrap-server", sasl]);
        command.args(["--command-config", &path]);
        command
    };
    let finished = Process::run("sedge", &mut list(secret::LOGIN), b"", limits::COMMAND);
    told.finished("login", &finished);
    tools::must(finished, "a login");
    told.refused("wrong login", &mut list(secret::CLIENT), &["password"]);
}

/// Runs starts that must fail, each with a secret in what it reads.
fn failures(data: &Path, options: &Options, keystore: &str, at: &TempDir, told: &mut Told) {
    let serve = |change: &dyn Fn(Options) -> Options| {
        let mut command = sedge::serve(data, "127.0.0.1:0", &change(options.clone()));
        command.args(["--console", "off"]);
        command
    };
    let set = |key: &'static str, value: &str| {
        let value = value.to_owned();
        serve(&move |options| options.set(key, &value))
    };
    let readable = write(&at.join("readable"), "a = Xq7-readable\n", 0o644);
    let referred = format!("${{file:{readable}:a}}");
    let cases: [(&str, &str, &[&str]); 7] = [
        (
            "ssl.keystore.password",
            secret::LINK_STORE,
            &["listener SSL", "password"],
        ),
        (
            "ssl.keystore.pasword",
            secret::MISSPELT,
            &["did you mean `ssl.keystore.password`"],
        ),
        (
            "sedge.console.token",
            "Xq7-short",
            &["sedge.console.token", "openssl rand"],
        ),
        (
            "ssl.keystore.password",
            &referred,
            &["others can read it", "`chmod 6"],
        ),
        (
            "node.id",
            "${env:METRICS_TOKEN}",
            &["node.id", "${env:METRICS_TOKEN}"],
        ),
        (
            "mirror.hq.ssl.keystore.key",
            secret::LINK_STORE,
            &["mirror.hq.ssl.keystore.certificate.chain"],
        ),
        (
            "ssl.keystore.key",
            secret::LINK_KEY,
            &["ssl.keystore.certificate.chain"],
        ),
    ];
    for (key, value, words) in cases {
        told.refused(key, &mut set(key, value), words);
    }
    let open = std::fs::read(keystore).expect("it was made above");
    let words = ["others can read it", "`chmod 6"];
    let location = write(&at.join("open.p12"), open, 0o644);
    told.refused("open", &mut set("ssl.keystore.location", &location), &words);
    // Kafka's form in a file that is read as TOML: the error quotes the line.
    let lines = format!("ssl.keystore.password={}\n", secret::KEYSTORE);
    let path = write(&at.join("wrong.toml"), &lines, 0o600);
    let mut command = Command::new(tools::sedge());
    command.args(["serve", "--config", &path]);
    told.refused("wrong form", &mut command, &["NAME.properties"]);
}

#[test]
fn a_crash_leaves_no_memory_behind_unless_it_may() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("core-dumps");
    let soft_limit = |options: Options| {
        let mut sedge = Sedge::start(&directory.join("data"), options);
        let path = format!("/proc/{}/limits", sedge.process().pid());
        let limits = std::fs::read_to_string(path).expect("the process is there");
        let line = limits
            .lines()
            .find(|of| of.starts_with("Max core file size"));
        let words = line.expect("a limit of Linux").split_whitespace();
        let [soft, hard] = [4, 5].map(|at| words.clone().nth(at).map(str::to_owned));
        sedge.terminate();
        (soft.expect("a soft limit"), hard.expect("a hard limit"))
    };
    let (soft, hard) = soft_limit(Options::default());
    let none = if hard == "0" { "0" } else { "1" };
    assert_eq!(soft, none, "hard: {hard}");
    let allowed = Options::default().set("sedge.core.dumps.allowed", "true");
    let (soft, hard) = soft_limit(allowed);
    assert_eq!(soft, hard);
}

/// Returns the calls by which a broker connects or sends, traced by strace.
#[test]
fn a_broker_calls_nobody_that_it_was_not_told_of() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("calls");
    let trace = directory.join("trace");
    let broker = sedge::serve(&directory.join("data"), "127.0.0.1:0", &Options::default());
    let mut command = Command::new("strace");
    // The broker is this test's child, and strace the broker's.
    command.args(["-D", "-f", "-q", "-o", &text(&trace)]);
    command.args(["-e", "trace=connect,sendto,sendmsg,sendmmsg,bind"]);
    command.arg(broker.get_program()).args(broker.get_args());
    command.args(["--console", "127.0.0.1:0"]);
    for (name, value) in broker.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut process = Process::spawn("strace", &mut command);
    let ready = process.wait_for("its ready line", limits::SEDGE_READY, |output| {
        let mut lines = output.stdout.iter();
        lines.find(|line| line.starts_with("sedge ready:")).cloned()
    });
    let console = ready.split("console=").nth(1);
    let console = console.and_then(|rest| rest.split(' ').next());
    let console = console.expect("the ready line names the console");
    assert_eq!(http::get(console, "/metrics").0, 200);
    assert_eq!(http::get(console, "/").0, 200);
    process.signal(rustix::process::Signal::TERM);
    process.wait_exit(limits::SHUTDOWN);
    // strace writes the number in a column of its own.
    let pid = process.pid().to_string();
    let is_end = |line: &str| {
        let mut words = line.split_whitespace();
        words.next() == Some(&pid) && words.next() == Some("+++")
    };
    let deadline = Instant::now() + limits::CONDITION;
    let calls = loop {
        let calls = std::fs::read_to_string(&trace).unwrap_or_default();
        if calls.lines().any(is_end) {
            break calls;
        }
        assert!(Instant::now() < deadline, "{pid} does not end in {calls}");
        std::thread::sleep(limits::POLL);
    };
    let bound = calls.lines().filter(|line| line.contains(" bind("));
    assert_eq!(bound.count(), 2, "a listener and the console: {calls}");
    let network = |line: &&str| line.contains("AF_INET") && !line.contains(" bind(");
    let called: Vec<&str> = calls.lines().filter(network).collect();
    assert!(called.is_empty(), "{called:?}");
}
