//! Links over TLS to Apache Kafka: to a listener that requires a client certificate, and to one
//! that requires a SASL login.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use sedge_tests::apache_kafka::ApacheKafka;
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{http, kafka_tools, limits, ports, tools};

use super::support::{check, listener, refusal, security, sedge, text};

const PASSWORD: &str = "open-5esame";

/// How long Kafka keeps a login: links have to renew theirs in the test's time.
const LOGIN_LIFETIME: Duration = Duration::from_secs(2);

/// A broker has its users' credentials in the metadata, but Kafka starts only with this.
const SCRAM_OF_BROKER: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";

const OAUTH: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";

fn plain(user: &str, password: &str) -> String {
    format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"{user}\" \
         password=\"{password}\";"
    )
}

fn scram(user: &str, password: &str) -> String {
    plain(user, password).replace("plain.PlainLoginModule", "scram.ScramLoginModule")
}

/// Client keys for a login by this mechanism.
fn login(ca: &str, mechanism: &str, jaas: &str, token: &Path) -> [(&'static str, String); 5] {
    let token = format!("file://{}", text(token));
    [
        ("security.protocol", "SASL_SSL".to_owned()),
        ("ssl.truststore.location", ca.to_owned()),
        ("sasl.mechanism", mechanism.to_owned()),
        ("sasl.jaas.config", jaas.to_owned()),
        ("sasl.oauthbearer.token.endpoint.url", token),
    ]
}

/// `sedge topic list` with a login.
fn list_with(
    directory: &TempDir,
    server: &str,
    keys: &[(&str, String)],
) -> sedge_tests::process::Finished {
    let lines: Vec<String> = keys
        .iter()
        .map(|(key, of)| format!("{key}={of}\n"))
        .collect();
    let path = directory.join("login.properties");
    std::fs::write(&path, lines.concat()).expect("the properties can be written");
    sedge(&[
        "topic",
        "list",
        "--bootstrap-server",
        server,
        "--command-config",
        &text(&path),
    ])
}

/// A token without a signature, which Kafka's default validator takes.
fn write_token(path: &Path, subject: &str, lifetime_seconds: i64) {
    use std::os::unix::fs::PermissionsExt;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let now = now.expect("the clock is after 1970").as_secs() as i64;
    let expiry = now + lifetime_seconds;
    let claims = format!("{{\"sub\":\"{subject}\",\"iat\":{now},\"exp\":{expiry}}}");
    let [header, claims] = ["{\"alg\":\"none\"}", &claims].map(base64url);
    let token = format!("{header}.{claims}.\n");
    std::fs::write(path, token).expect("the token can be written");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("the token can be kept to its owner");
}

fn base64url(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut encoded = String::new();
    for piece in text.as_bytes().chunks(3) {
        let byte = |at: usize| u32::from(piece.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=piece.len() {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            encoded.push(letter.into());
        }
    }
    encoded
}

#[test]
fn links_go_over_tls_to_apache_kafka_with_a_certificate_and_with_a_login() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("tls-mirror");
    let made = security(&directory, "security");
    let file = |name: &str| text(&made.join(name));
    let upstream = listener("127.0.0.1");
    let logins = listener("127.0.0.1");
    let controller = format!("127.0.0.1:{}", ports::free());
    // In a properties file, a later line overrides an earlier one.
    let settings = [
        (
            "listeners",
            format!("SSL://{upstream},SASL_SSL://{logins},CONTROLLER://{controller}"),
        ),
        (
            "advertised.listeners",
            format!("SSL://{upstream},SASL_SSL://{logins}"),
        ),
        ("controller.quorum.voters", format!("1@{controller}")),
        (
            "listener.security.protocol.map",
            "SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT".to_owned(),
        ),
        (
            "listener.name.sasl_ssl.sasl.enabled.mechanisms",
            "PLAIN,OAUTHBEARER,SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
        ),
        (
            "listener.name.sasl_ssl.plain.sasl.jaas.config",
            format!(
                "org.apache.kafka.common.security.plain.PlainLoginModule required \
                 user_edge=\"{PASSWORD}\";"
            ),
        ),
        (
            "listener.name.sasl_ssl.oauthbearer.sasl.jaas.config",
            format!("{OAUTH} unsecuredLoginStringClaim_sub=\"broker\";"),
        ),
        (
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config",
            SCRAM_OF_BROKER.to_owned(),
        ),
        (
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config",
            SCRAM_OF_BROKER.to_owned(),
        ),
        (
            "connections.max.reauth.ms",
            LOGIN_LIFETIME.as_millis().to_string(),
        ),
        ("inter.broker.listener.name", "SSL".to_owned()),
        ("ssl.client.auth", "required".to_owned()),
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.location", file("broker.pem")),
        ("ssl.truststore.type", "PEM".to_owned()),
        ("ssl.truststore.location", file("ca.pem")),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value));
    let _kafka = ApacheKafka::start(&directory.join("kafka"), &settings);
    let link = |truststore: &str| {
        format!(
            "[mirror.hq]\n\
             \"bootstrap.servers\" = \"{upstream}\"\n\
             topics = [\"sensors.*\"]\n\
             \"security.protocol\" = \"SSL\"\n\
             \"ssl.keystore.location\" = \"{}\"\n\
             \"ssl.truststore.location\" = \"{truststore}\"\n",
            file("alice.pem"),
        )
    };
    // First with the wrong CA: the link reports the reason, the broker continues, and the link
    // connects once the CA is correct.
    let other = security(&directory, "other");
    let trusted = directory.join("trusted.pem");
    std::fs::copy(other.join("ca.pem"), &trusted).unwrap();
    let token = directory.join("token");
    let with_login = |name: &str, topics: &str, password: &str| {
        let keys = login(&file("ca.pem"), "PLAIN", &plain("edge", password), &token);
        let keys = keys.map(|(key, value)| format!("\"{key}\" = '{value}'\n"));
        format!(
            "[mirror.{name}]\n\"bootstrap.servers\" = \"{logins}\"\ntopics = [\"{topics}\"]\n{}",
            keys.concat()
        )
    };
    let links = [
        link(&text(&trusted)),
        with_login("site", "alarms.*", PASSWORD),
        with_login("stranger", "other", "wr0ng-password"),
    ];
    let options = Options::default().config(links.concat());
    let mut edge = Sedge::start(&directory.join("edge"), options);
    let mut here = Connection::open(&edge.bootstrap());
    wire::create_topic(&mut here, "sensors.roof", 1, &[]);
    let values: Vec<String> = (0..20).map(|number| format!("value-{number}")).collect();
    for value in &values {
        let batch = Batch::of(&[value.clone().into_bytes()]);
        let produced = wire::produce(&mut here, "sensors.roof", 0, &batch.encode());
        assert_eq!(produced.error, error::NONE);
    }
    let process = edge.process();
    process.wait_for("why the link is blocked", limits::CONDITION, |output| {
        let mut lines = output.stderr.iter();
        lines
            .any(|line| line.contains("hq") && line.contains("certificate of the broker"))
            .then_some(())
    });
    std::fs::copy(made.join("ca.pem"), &trusted).unwrap();

    let bob = file("bob.properties");
    let list = [
        "topic",
        "list",
        "--bootstrap-server",
        &upstream,
        "--command-config",
        &bob,
    ];
    let deadline = Instant::now() + limits::CONDITION;
    while !tools::must(sedge(&list), "list")
        .stdout
        .contains("sensors.roof")
    {
        let tail = edge.process().tail();
        assert!(Instant::now() < deadline, "no topic upstream\n{tail}");
    }
    let mut consumer = Command::new("kcat");
    consumer.args(["-F", &file("bob.kcat.conf"), "-b", &upstream, "-q", "-u"]);
    consumer.args(["-t", "sensors.roof", "-C", "-c", "20", "-o", "beginning"]);
    let read = Process::run("kcat", &mut consumer, b"", limits::CONDITION);
    let read = tools::must(read, "kcat").stdout;
    assert_eq!(read.lines().collect::<Vec<_>>(), values);

    add_user(&upstream, &bob);
    with_each_login(&directory, &logins, &file("ca.pem"), &token);
    goes_on_with_its_login(&mut edge, &mut here);
    let process = edge.process();
    let said = process.wait_for("why the stranger is blocked", limits::CONDITION, |output| {
        let parts = [
            "stranger",
            "login by PLAIN failed",
            "Invalid username or password",
        ];
        let mut lines = output.stderr.iter();
        lines
            .any(|line| parts.iter().all(|part| line.contains(part)))
            .then(|| output.stderr.join("\n"))
    });
    for secret in [PASSWORD, "wr0ng-password"] {
        assert!(!said.contains(secret), "{said}");
    }
}

/// Gives `edge` a password for SCRAM. Kafka takes one credential of a user in a request.
fn add_user(server: &str, properties: &str) {
    for credential in ["SCRAM-SHA-256=[iterations=8192,", "SCRAM-SHA-512=["] {
        let mut configs = kafka_tools::command("kafka-configs");
        configs.args(["--bootstrap-server", server, "--command-config", properties]);
        configs.args(["--alter", "--entity-type", "users", "--entity-name", "edge"]);
        configs.args(["--add-config", &format!("{credential}password={PASSWORD}]")]);
        let done = Process::run("kafka-configs", &mut configs, b"", limits::COMMAND);
        tools::must(done, "kafka-configs");
    }
}

/// The command line, by each mechanism.
fn with_each_login(directory: &TempDir, server: &str, ca: &str, token: &Path) {
    let list = |mechanism: &str, jaas: &str| {
        list_with(directory, server, &login(ca, mechanism, jaas, token))
    };
    let jaas = plain("edge", PASSWORD);
    let listed = tools::must(list("PLAIN", &jaas), "list with PLAIN");
    assert!(listed.stdout.contains("sensors.roof"));
    let said = refusal(list("PLAIN", &plain("edge", "wr0ng-password")));
    check(&said, &["Invalid username or password", "sasl.jaas.config"]);
    assert!(!said.contains("wr0ng-password"), "{said}");
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let jaas = scram("edge", PASSWORD);
        let deadline = Instant::now() + limits::CONDITION;
        // The user is there some moments after it is made.
        while !list(mechanism, &jaas).status.success() {
            assert!(Instant::now() < deadline, "no login by {mechanism}");
        }
        let said = refusal(list(mechanism, &scram("edge", "wr0ng-password")));
        check(&said, &[mechanism, "sasl.jaas.config"]);
    }

    let oauth = format!("{OAUTH};");
    write_token(token, "edge", 3_600);
    let listed = tools::must(list("OAUTHBEARER", &oauth), "list with a token");
    assert!(listed.stdout.contains("sensors.roof"));
    write_token(token, "edge", -60);
    let said = refusal(list("OAUTHBEARER", &oauth));
    check(&said, &["OAUTHBEARER failed", "invalid_token"]);
}

/// Over several lifetimes of a login, the link copies, and nothing fails.
fn goes_on_with_its_login(edge: &mut Sedge, here: &mut Connection) {
    wire::create_topic(here, "alarms.door", 1, &[]);
    let begun = Instant::now();
    let mut sent = 0.0;
    while begun.elapsed() < 3 * LOGIN_LIFETIME {
        let batch = Batch::of(&[b"open".to_vec()]);
        let produced = wire::produce(here, "alarms.door", 0, &batch.encode());
        assert_eq!(produced.error, error::NONE);
        sent += 1.0;
        let deadline = Instant::now() + limits::CONDITION;
        let name = "sedge_mirror_records_sent_total{link=\"site\"}";
        while http::metric(edge.console(), name) < sent {
            let tail = edge.process().tail();
            assert!(
                Instant::now() < deadline,
                "{sent} records are not upstream\n{tail}"
            );
            std::thread::sleep(limits::POLL);
        }
    }
    let retries = http::metric(edge.console(), "sedge_mirror_retries_total{link=\"site\"}");
    assert!(retries < 1.0, "{}", edge.process().tail());
}
