//! Delegation tokens: a client that has logged in has one made, and another logs in with it.

use std::path::PathBuf;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::{Finished, Process};
use sedge_tests::{kafka_tools, limits, tools};

use super::support::{ALICE, Site, sedge, text};

/// Client keys for a login by SCRAM, in a file.
fn properties(site: &Site, name: &str, (user, password): (&str, &str), more: &str) -> PathBuf {
    let path = site.directory.join(name);
    let lines = format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\nsasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{user}\" \
         password=\"{password}\"{more};\n"
    );
    std::fs::write(&path, lines).expect("the properties can be written");
    path
}

fn kafka_s_tool(site: &Site, properties: &str, arguments: &[&str]) -> Finished {
    let mut tool = kafka_tools::command("kafka-delegation-tokens");
    tool.args(["--bootstrap-server", &site.plain]);
    tool.args(["--command-config", properties]);
    tool.args(arguments);
    Process::run("kafka-delegation-tokens", &mut tool, b"", limits::COMMAND)
}

#[test]
fn a_client_logs_in_with_a_token_of_kafka_s_tool_until_it_expires() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("sasl-tokens", |options| {
        options.set("delegation.token.secret.key", "the-key-of-tokens")
    });
    let alice = text(&properties(&site, "alice.properties", ALICE, ""));
    let as_alice = |arguments: &[&str]| {
        let done = kafka_s_tool(&site, &alice, arguments);
        tools::must(done, "kafka-delegation-tokens").stdout
    };
    let of_bob = ["--renewer-principal", "User:bob"];
    let create = ["--create", "--max-life-time-period", "-1"];
    let made = as_alice(&[&create[..], &of_bob].concat());
    // The last line is a table's row: the id, the HMAC, the owner.
    let row = made.lines().last().expect("a token").to_owned();
    let mut columns = row.split_whitespace();
    let (id, hmac) = (columns.next(), columns.next());
    let (id, hmac) = (id.expect("an id"), hmac.expect("an HMAC"));
    assert_eq!(hmac.len(), 88, "{made}");
    // An empty list of owners, which the tool sends without an owner, asks for no token.
    let shown = as_alice(&["--describe"]);
    assert!(shown.contains("Total number of tokens : 0"), "{shown}");
    let shown = as_alice(&["--describe", "--owner-principal", "User:alice"]);
    for part in [id, hmac, "User:alice", "User:bob"] {
        assert!(shown.contains(part), "{shown}");
    }
    let renewed = as_alice(&["--renew", "--renew-time-period", "-1", "--hmac", hmac]);
    assert!(renewed.contains("Completed renew operation"), "{renewed}");

    let list = |name: &str, of: (&str, &str), more: &str| {
        let keys = text(&properties(&site, name, of, more));
        let list = ["topic", "list", "--bootstrap-server", &site.plain];
        sedge(&[&list[..], &["--command-config", &keys]].concat(), b"")
    };
    let is_token = " tokenauth=\"true\"";
    tools::must(list("token", (id, hmac), is_token), "a token");
    // It is no user's, and another secret is not the token's.
    for (of, more) in [
        ((id, hmac), ""),
        ((id, "another"), is_token),
        (("x", hmac), is_token),
    ] {
        let refused = list("refused", of, more);
        assert!(!refused.status.success(), "{of:?}");
        assert!(!refused.stderr.contains(hmac), "{}", refused.stderr);
    }
    // Java's client logs in with it, too; who has a token has no others made.
    let of_token = text(&site.directory.join("token"));
    let refused = kafka_s_tool(&site, &of_token, &create);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(
        said.contains("Delegation Token requests are not allowed"),
        "{said}"
    );

    let expired = as_alice(&["--expire", "--expiry-time-period", "-1", "--hmac", hmac]);
    assert!(expired.contains("Completed expire operation"), "{expired}");
    assert!(!list("token", (id, hmac), is_token).status.success());
    site.wait_log(&["SCRAM-SHA-512", "password is wrong"]);
}
