use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use sedge_core::security::scram::{ClientFirst, Credential, Server};
use sedge_protocol::Bytes;

use super::*;

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                     username=\"alice\" password=\"s3cret\";";
const OAUTH: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";

fn read(pairs: &[(&str, &str)]) -> Result<Login, KeyError> {
    let keys: BTreeMap<_, _> = pairs.iter().copied().collect();
    Login::read(&|key| keys.get(key).map(|value| (*value).to_owned()))
}

fn oauth(url: &str, options: &str) -> Result<Login, KeyError> {
    let jaas = format!("{OAUTH} {options};");
    read(&[(MECHANISM, "OAUTHBEARER"), (JAAS, &jaas), (TOKEN_URL, url)])
}

#[test]
fn plain_sends_name_and_password_and_takes_a_plain_yes() {
    let login = read(&[(MECHANISM, "PLAIN"), (JAAS, PLAIN)]).unwrap();
    assert_eq!(login.mechanism(), "PLAIN");
    let mut exchange = login.begin().unwrap();
    assert_eq!(exchange.first(), &b"\0alice\0s3cret"[..]);
    assert!(exchange.step(b"more?").is_err());
    assert_eq!(exchange.step(b""), Ok(Step::Done));
}

fn scram(options: &str) -> Login {
    let jaas = format!(
        "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" \
         password=\"s3cret\" {options};"
    );
    read(&[(MECHANISM, "SCRAM-SHA-512"), (JAAS, &jaas)]).unwrap()
}

#[test]
fn scram_shows_no_password_and_believes_a_broker_that_knows_it() {
    let mechanism = super::scram::Mechanism::Sha512;
    let credential = |password: &str| {
        Credential::of_password(mechanism, password, b"salt".to_vec(), 4_096).unwrap()
    };
    let log_in = |known: Credential| {
        let mut exchange = scram("").begin().unwrap();
        let first = exchange.first();
        let read = ClientFirst::read(&first).unwrap();
        assert_eq!((read.user.as_str(), read.is_token), ("alice", false));
        let (server, said) = Server::begin(read, Some(known), credential("x"), "n");
        let Step::Send(last) = exchange.step(&said).unwrap() else {
            panic!("it is not answered");
        };
        assert!(!last.windows(6).any(|of| of == b"s3cret"));
        (exchange, server.finish(&last))
    };
    let (mut exchange, end) = log_in(credential("s3cret"));
    assert_eq!(exchange.step(&end.unwrap()), Ok(Step::Done));
    let (mut exchange, end) = log_in(credential("another"));
    assert!(end.is_err());
    // A broker that accepts every password.
    let why = exchange.step(b"v=AAAA").unwrap_err();
    assert!(!why.contains("s3cret"), "{why}");
}

#[test]
fn a_delegation_token_is_shown_as_one() {
    let first = |options| scram(options).begin().unwrap().first();
    assert!(first("tokenauth=true").ends_with(b",tokenauth=true"));
    assert!(!first("tokenauth=false").ends_with(b",tokenauth=true"));
}

#[test]
fn each_login_has_a_nonce_of_its_own() {
    let first = || scram("").begin().unwrap().first();
    assert_ne!(first(), first());
}

#[test]
fn what_cannot_be_used_is_refused_by_its_key() {
    let check = |pairs: &[(&str, &str)], key: &str, part: &str| {
        let error = read(pairs).unwrap_err();
        assert_eq!(error.key, key, "{error}");
        assert!(error.why.contains(part), "{error}");
        assert!(!error.why.contains("s3cret"), "{error}");
    };
    check(&[(JAAS, PLAIN)], MECHANISM, "required");
    check(&[(MECHANISM, "GSSAPI"), (JAAS, PLAIN)], MECHANISM, "GSSAPI");
    check(&[(MECHANISM, "plain"), (JAAS, PLAIN)], MECHANISM, "plain");
    check(&[(MECHANISM, "PLAIN")], JAAS, "required");
    let jaas = |text| [(MECHANISM, "PLAIN"), (JAAS, text)];
    check(
        &jaas("PlainLoginModule required password=s3cret"),
        JAAS,
        "semicolon",
    );
    check(
        &jaas("PlainLoginModule required password=s3cret;"),
        JAAS,
        "username",
    );
    check(
        &jaas("PlainLoginModule required username=a;"),
        JAAS,
        "password",
    );
    check(
        &jaas("PlainLoginModule required username=a password=\"s3cret\\0\";"),
        JAAS,
        "NUL",
    );
    check(
        &jaas("ScramLoginModule required username=a password=s3cret;"),
        JAAS,
        "PlainLoginModule",
    );
}

#[test]
fn a_token_comes_from_a_file_that_others_cannot_read() {
    let directory = std::env::temp_dir().join(format!("sedge-token-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("token");
    let url = format!("file://{}", path.display());
    let login = oauth(&url, "extension_site=\"roof 7\"").unwrap();
    let write = |text: &str, mode: u32| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let check = |part: &str| {
        let error = login.begin().unwrap_err();
        assert_eq!(error.key, TOKEN_URL);
        assert!(error.why.contains(part), "{error}");
    };
    check("cannot read");
    write("a.b.c", 0o644);
    check("mode 644");
    write("", 0o600);
    check("no token");
    write("a.b.c d.e.f", 0o600);
    check("no token");
    write("a\u{1}auth=x", 0o600);
    check("no token");
    write(&"a".repeat((64 << 10) + 1), 0o600);
    check("bytes");
    write("a.b-_.c==\n", 0o600);
    let first = login.begin().unwrap().first();
    assert_eq!(
        first,
        &b"n,,\x01auth=Bearer a.b-_.c==\x01site=roof 7\x01\x01"[..]
    );
    // The file is read at each login.
    write("other", 0o600);
    let first = login.begin().unwrap().first();
    assert_eq!(
        first,
        &b"n,,\x01auth=Bearer other\x01site=roof 7\x01\x01"[..]
    );
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_refused_token_is_acknowledged_before_it_is_an_error() {
    let mut exchange = Exchange::oauthbearer("a.b.c", &[]);
    assert_eq!(exchange.first(), &b"n,,\x01auth=Bearer a.b.c\x01\x01"[..]);
    let answer = exchange.step(b"{\"status\":\"invalid_token\"}\n").unwrap();
    assert_eq!(answer, Step::Send(Bytes::from_static(b"\x01")));
    // The client does not believe a broker that accepts afterwards.
    let why = exchange.step(b"").unwrap_err();
    assert!(why.ends_with("{\"status\":\"invalid_token\"}"), "{why}");
}

#[test]
fn urls_and_extensions_that_cannot_be_used_are_refused() {
    let check = |url: &str, options: &str, key: &str| {
        let error = oauth(url, options).unwrap_err();
        assert_eq!(error.key, key, "{url} {options}: {error}");
    };
    for url in [
        "",
        "https://idp/token",
        "token",
        "file:",
        "file://x",
        "file:token",
        "file:///a%20b",
    ] {
        check(url, "", TOKEN_URL);
    }
    for url in ["file:/t", "file:///t", "file://localhost/t"] {
        assert!(oauth(url, "").is_ok(), "{url}");
    }
    for options in [
        "extension_auth=x",
        "extension_=x",
        "extension_a1=x",
        "extension_a=\"\\1\"",
        "unsecuredLoginStringClaim_sub=alice",
    ] {
        check("file:///t", options, JAAS);
    }
}

#[test]
fn keys_of_java_s_clients_are_passed_over_if_they_change_nothing() {
    let handler = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler";
    let check = |key: &str, value: &str, expected: bool| {
        assert_eq!(check_key(key, value).is_ok(), expected, "{key}={value}");
    };
    check(JAAS, PLAIN, true);
    check("sasl.login.callback.handler.class", handler, true);
    check(
        "sasl.login.callback.handler.class",
        "com.example.Vault",
        false,
    );
    check("sasl.login.refresh.window.factor", "0.8", true);
    check("sasl.kerberos.service.name", "kafka", false);
    check("sasl.mechanisms", "PLAIN", false);
}

#[test]
fn nothing_shows_a_secret() {
    let login = read(&[(MECHANISM, "PLAIN"), (JAAS, PLAIN)]).unwrap();
    assert_eq!(format!("{login:?}"), "Login(\"PLAIN\")");
    let exchange = format!("{:?}", login.begin().unwrap());
    assert!(!exchange.contains("s3cret"), "{exchange}");
}

#[test]
fn words_of_a_broker_are_cut_and_have_no_control_characters() {
    assert_eq!(printable("a\n\u{1b}[31mb"), "a[31mb");
    assert_eq!(printable(&"x".repeat(9_000)).len(), 500);
}
