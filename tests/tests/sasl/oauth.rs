//! OAUTHBEARER: tokens that a key of the listener's document signed, as Java, librdkafka and sedge
//! itself show them, and tokens that are wrong in each way.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::{Finished, Process};
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::{kafka_tools, limits, ports, tools};

const JAAS: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;";

/// A broker whose listener takes tokens, and a key that signs them.
struct Site {
    sedge: Sedge,
    /// `HOST:PORT` of the listener.
    address: String,
    // Last, so that the process ends before its directory goes.
    directory: TempDir,
}

fn run(name: &str, program: &str, arguments: &[&str], input: &[u8]) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments);
    tools::must(
        Process::run(name, &mut command, input, limits::COMMAND),
        name,
    )
}

fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are UTF-8").to_owned()
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let byte = |at: usize| u32::from(piece.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=piece.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}

/// Makes a key, and returns it as an entry of a document of keys.
fn make_key(path: &Path, id: &str) -> String {
    let path = text(path);
    let bits = "rsa_keygen_bits:2048";
    let make = [
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        bits,
        "-out",
        &path,
    ];
    run("openssl", "openssl", &make, b"");
    let shown = run(
        "openssl",
        "openssl",
        &["rsa", "-in", &path, "-modulus", "-noout"],
        b"",
    );
    let digits = shown
        .stdout
        .trim()
        .trim_start_matches("Modulus=")
        .to_owned();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    let modulus: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    format!(
        "{{\"kty\":\"RSA\",\"use\":\"sig\",\"kid\":\"{id}\",\"n\":\"{}\",\"e\":\"AQAB\"}}",
        base64url(&modulus)
    )
}

fn write_keys(directory: &TempDir, keys: &[String]) {
    let document = format!("{{\"keys\":[{}]}}", keys.join(","));
    let path = directory.join("keys.json");
    std::fs::write(path, document).expect("the keys can be written");
}

impl Site {
    fn start(name: &str) -> Self {
        let directory = TempDir::new(name);
        let key = make_key(&directory.join("one.pem"), "one");
        write_keys(&directory, &[key]);
        let address = format!("127.0.0.1:{}", ports::free());
        let url = format!("file://{}", text(&directory.join("keys.json")));
        let options = Options::default()
            .listener(format!("SASL_PLAINTEXT://{address}"))
            .set("sasl.enabled.mechanisms", "OAUTHBEARER")
            .set("sasl.oauthbearer.jwks.endpoint.url", &url)
            .set("sasl.oauthbearer.expected.audience", "sedge")
            .set("group.initial.rebalance.delay.ms", "0");
        Self {
            sedge: Sedge::start(&directory.join("data"), options),
            address,
            directory,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Signs a header and claims with a key.
    fn sign(&self, key: &str, header: &str, claims: &str) -> String {
        let signed = format!(
            "{}.{}",
            base64url(header.as_bytes()),
            base64url(claims.as_bytes())
        );
        let (key, signature) = (text(&self.file(key)), text(&self.file("signature")));
        let arguments = ["dgst", "-sha256", "-sign", &key, "-out", &signature];
        run("openssl", "openssl", &arguments, signed.as_bytes());
        let signature = std::fs::read(signature).expect("openssl wrote a signature");
        format!("{signed}.{}", base64url(&signature))
    }

    /// Keeps a token for clients.
    fn write_token(&self, token: &str) {
        let path = self.file("token");
        std::fs::write(&path, token).expect("the token can be written");
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, mode).expect("the token can be kept to its owner");
    }

    /// Client keys, as Java's tools and sedge take them.
    fn properties(&self) -> String {
        let path = self.file("client.properties");
        let lines = format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\n\
             sasl.jaas.config={JAAS}\n\
             sasl.login.callback.handler.class=\
             org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n\
             sasl.oauthbearer.token.endpoint.url=file://{}\n",
            text(&self.file("token"))
        );
        std::fs::write(&path, lines).expect("the properties can be written");
        text(&path)
    }

    fn list(&self) -> Finished {
        let properties = self.properties();
        let mut command = Command::new(tools::sedge());
        command.args(["topic", "list", "--bootstrap-server", &self.address]);
        command.args(["--command-config", &properties]);
        Process::run("sedge topic list", &mut command, b"", limits::COMMAND)
    }
}

fn header(id: &str) -> String {
    format!("{{\"alg\":\"RS256\",\"kid\":\"{id}\"}}")
}

/// Claims of alice's, with a lifetime in seconds.
fn claims(audience: &str, lifetime: i64) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed();
    let now = now.expect("the clock is after 1970").as_secs() as i64;
    let expiry = now + lifetime;
    let issued = now.min(expiry) - 1;
    format!("{{\"sub\":\"alice\",\"aud\":\"{audience}\",\"iat\":{issued},\"exp\":{expiry}}}")
}

#[test]
fn java_librdkafka_and_sedge_log_in_with_a_token() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("oauth-clients");
    site.write_token(&site.sign("one.pem", &header("one"), &claims("sedge", 600)));
    let mut python = tools::python("oauth.py");
    python.args([&site.address, &text(&site.file("token"))]);
    let done = Process::run("confluent-kafka", &mut python, b"", limits::COMMAND);
    assert_eq!(
        tools::must(done, "confluent-kafka").stdout.trim(),
        "one two"
    );
    assert!(tools::must(site.list(), "sedge").stdout.contains("python"));
    let mut java = kafka_tools::command("kafka-topics");
    let url = format!("file://{}", text(&site.file("token")));
    let allow = "-Dorg.apache.kafka.sasl.oauthbearer.allowed";
    let path = text(&site.file("token"));
    let allowed = format!("{allow}.urls={url} {allow}.files={path}");
    java.env("JAVA_TOOL_OPTIONS", allowed);
    java.args(["--bootstrap-server", &site.address, "--list"]);
    java.args(["--command-config", &site.properties()]);
    let listed = Process::run("kafka-topics", &mut java, b"", limits::COMMAND);
    let listed = tools::must(listed, "kafka-topics").stdout;
    assert!(listed.lines().any(|line| line == "python"), "{listed}");
}

#[test]
fn a_wrong_token_is_refused_on_both_sides_and_costs_nobody_else_anything() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("oauth-refused");
    make_key(&site.file("other.pem"), "one");
    let good = site.sign("one.pem", &header("one"), &claims("sedge", 600));
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let (head, _) = signed.split_once('.').expect("three parts");
    let root = claims("sedge", 600).replace("alice", "root");
    let none = base64url(b"{\"alg\":\"none\"}");
    let claims_of_root = base64url(root.as_bytes());
    let wrong = [
        (
            "expired",
            site.sign("one.pem", &header("one"), &claims("sedge", -60)),
        ),
        (
            "aud",
            site.sign("one.pem", &header("one"), &claims("other", 600)),
        ),
        (
            "kid",
            site.sign("one.pem", &header("two"), &claims("sedge", 600)),
        ),
        (
            "signature",
            site.sign("other.pem", &header("one"), &claims("sedge", 600)),
        ),
        ("signature", format!("{head}.{claims_of_root}.{signature}")),
        ("alg", format!("{none}.{claims_of_root}.")),
        ("JWT", signed.to_owned()),
        ("JWT", format!("{head}.{}.{signature}", "A".repeat(40_000))),
    ];
    for (reason, token) in wrong {
        site.write_token(&token);
        let refused = site.list();
        assert!(!refused.status.success(), "{reason}: {token}");
        let said = refused.stderr;
        assert!(said.contains("invalid_token"), "{reason}: {said}");
        assert!(!said.contains(&token), "{said}");
        let process = site.sedge.process();
        let line = process.wait_for(reason, limits::CONDITION, |output| {
            let mut lines = output.stderr.iter().rev();
            let found = lines.find(|line| line.contains("OAUTHBEARER") && line.contains(reason));
            found.cloned()
        });
        assert!(!line.contains(&token), "{line}");
    }
    site.write_token(&good);
    tools::must(site.list(), "a good client");
}

#[test]
fn a_new_key_is_taken_without_a_restart() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("oauth-rotation");
    let two = make_key(&site.file("two.pem"), "two");
    site.write_token(&site.sign("two.pem", &header("two"), &claims("sedge", 600)));
    assert!(!site.list().status.success());
    write_keys(&site.directory, &[two]);
    let deadline = Instant::now() + limits::CONDITION;
    while !site.list().status.success() {
        assert!(Instant::now() < deadline, "the new key is not taken");
    }
}
