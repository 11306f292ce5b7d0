//! Real signatures, documents that change, and servers that are wrong in each way.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_io::Timer;
use futures_lite::future;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use sedge_core::security::oauth::JWKS_BYTES_MAX;
use serde_json::{Value, json};

use super::*;
use crate::tls::KeyError;

/// A key of 2,048 bits (PKCS#1), made for these tests: ring makes none.
const RSA_KEY: &str = "\
    MIIEogIBAAKCAQEAxajlizkrnSiEpuNihzNFR5wm9CESoIZ8Svdyy6gr3pH4hyYRR+R+D7M7i9DTACHDPL5igm5ZDhjx\
    FEOVbladm/Q67kNs/lC+Lc5RDzqqBefLS9WzUQAKACQ2XIqmHfcIhRVNMOYKH5+VuREOIUrRH7UhXYuomzVD9bTYhwgs\
    MjQ52xFr5CMdJn3xURqH8SDAHCGQSo8y9mMFKhWqdboB3WAFhOrcRS5YzloGIHWLmyOGCFmjso6YyB5ZN5aMhYUOn/4U\
    39Doxub7hW5tjC+T3qUOX1kEgsAAh8CT6+yzKqYxzTkoomW2DjcDKDtHl+QueJX+9z1fwfHPIn9mKKLTpQIDAQABAoIB\
    ABYT8LnNk7fM7g43EUsROMCQKlCz/gDkrK7x90ZUvTux2cz8vUrmtIb76d+K3nqiCsz25gl0Gmnm8syk5OTLc3TXQZrZ\
    +KtqaOe0Zxz4nEOnGa/ZiZs3UiakZNcO3JG1xWOaFsJqu4A/QsnGZCnnUbcFNBofDqDxgOsJvXLNwKQFu1X3YkaAYR3G\
    PsGBvxB3w+TkcABqCWnB4qkP1R3c0llmDI9TtZoEZ9wKreJ0nCdM/jmLMzvJM74vKGM5cNyEueERZltAF66vWp3IYlsb\
    QRq7hCmSbyO+pYFCJA54ieKa4QeQz1poOv2QXy1+4V21XmXj5QfVqZU8CvCAatbWKykCgYEA+d+rNhVPUgVdxwszoey4\
    2cqKCLsCwBS3dMMpGntj4DQzECtY2LkxbIiLSUqkoNATNkNqpcrSd7HbavkJ4LNUGcLlFEZTGfeGq94zv6Aivp2nLKKg\
    YaA6ONuX9gPJ3mUZv/8pNe+QzLH+neDeK/FTjfL013J1SWEVTJrHdnGXgTkCgYEAyoGB2MC4O1j2ZACNrM4cHw3vzR/L\
    wNBdyBiSGjjZomRUPddjarapY51dtl6ZNmeZhXU8diEAwEN95hdjLunADf03zCDb7V2NL77npvjI3gg8ztLCNgekv0qZ\
    wYws2wJR3xEHkQP/YReg6H8UeiG57vH6eWwwnH9jF2/qqwfoIc0CgYAA42uvaIn8p6o6r+6CD95kX9T3zPpohmpUjvER\
    eAjV3jmkQBMzygzD7wRXwV0ueS7oTXsOldcDt+0oxzPiyaBt6wR3evyGphujdsnGT6Jv/Q2AGh/p2PD8DMPQixjnooJh\
    7V1PJMfmAmf+VbNUgqoiYg++yFhkZ2T0/cPhxuub+QKBgAOYwUGkSqFjNx0XlWyYTI+Qo8203t2R1diT9yRYFiV4OrbO\
    eImQrPmD9gIjM/1vYZ6pMmW2uFix2i6YA771j9+vu6n4e29/1d4fOeYRTSAEbXAO9jwXbqmnHYv+fV12cRXRK507wPFs\
    hgMbHrX8m1zPF2/IqCRfbtcfub9H6KuRAoGAZj2lo1Iy3nW0JmvOq1oLvBteZgrMIXy2U+oO7xlvR/zUXwhqTpDn602j\
    x78Vd+KSR0LkBIp2JgqXAGF2wjQB1qk7eZCmGFi6lzqQA+ZUGVOeCIIOI2zrRf4WGRqG4TS9YFG1dcgCRd75IvpzZYFC\
    VV6Kzhx3xywgNej7nkyKPJc=\
";

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

fn rsa() -> RsaKeyPair {
    let letters: String = RSA_KEY.split_whitespace().collect();
    let pem = format!("-----BEGIN RSA PRIVATE KEY-----\n{letters}\n-----END RSA PRIVATE KEY-----");
    let blocks = sedge_core::x509::pem::blocks(&pem).unwrap();
    RsaKeyPair::from_der(&blocks[0].der).unwrap()
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap()
}

fn rsa_jwk(key: &RsaKeyPair, id: &str) -> Value {
    let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
    let (n, e) = (base64url(&public.n), base64url(&public.e));
    json!({"kty": "RSA", "kid": id, "n": n, "e": e})
}

fn ec_jwk(key: &EcdsaKeyPair, curve: &str, id: &str) -> Value {
    let point = &key.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    json!({"kty": "EC", "kid": id, "crv": curve, "x": base64url(x), "y": base64url(y)})
}

/// A token for alice, for an hour.
fn token(algorithm: &str, id: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let header = json!({"alg": algorithm, "kid": id}).to_string();
    let claims = json!({"sub": "alice", "iat": now_s, "exp": now_s + 3_600}).to_string();
    let mut token = format!(
        "{}.{}",
        base64url(header.as_bytes()),
        base64url(claims.as_bytes())
    );
    let signature = base64url(&sign(token.as_bytes()));
    write!(token, ".{signature}").unwrap();
    token
}

fn with_rsa(key: &RsaKeyPair, encoding: &'static dyn RsaEncoding) -> impl Fn(&[u8]) -> Vec<u8> {
    move |signed| {
        let mut signature = vec![0; key.public().modulus_len()];
        let random = SystemRandom::new();
        key.sign(encoding, &random, signed, &mut signature).unwrap();
        signature
    }
}

fn with_ec(key: &EcdsaKeyPair) -> impl Fn(&[u8]) -> Vec<u8> {
    move |signed| {
        key.sign(&SystemRandom::new(), signed)
            .unwrap()
            .as_ref()
            .to_vec()
    }
}

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sedge-oauth-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write_keys(path: &Path, keys: &[Value]) {
    fs::write(path, json!({ "keys": keys }).to_string()).unwrap();
}

fn read(url: &str, more: &[(&str, &str)]) -> Result<Validator, KeyError> {
    let mut keys = BTreeMap::from([("sasl.oauthbearer.jwks.endpoint.url", url)]);
    keys.extend(more.iter().copied());
    let get = |key: &str| keys.get(key).map(|value| (*value).to_owned());
    Validator::read(&get, &|_| None)
}

#[test]
fn each_algorithm_s_signatures_are_told_from_others() {
    let directory = Directory::new("algorithms");
    let path = directory.0.join("keys.json");
    let rsa = rsa();
    let p256 = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let p384 = ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING);
    let keys = [
        rsa_jwk(&rsa, "rsa"),
        ec_jwk(&p256, "P-256", "p256"),
        ec_jwk(&p384, "P-384", "p384"),
    ];
    write_keys(&path, &keys);
    let validator = read(&format!("file://{}", path.display()), &[]).unwrap();
    let tokens = [
        token("RS256", "rsa", with_rsa(&rsa, &RSA_PKCS1_SHA256)),
        token("RS384", "rsa", with_rsa(&rsa, &RSA_PKCS1_SHA384)),
        token("RS512", "rsa", with_rsa(&rsa, &RSA_PKCS1_SHA512)),
        token("PS256", "rsa", with_rsa(&rsa, &RSA_PSS_SHA256)),
        token("ES256", "p256", with_ec(&p256)),
        token("ES384", "p384", with_ec(&p384)),
    ];
    for token in &tokens {
        assert_eq!(validator.identify(token).unwrap().name, "alice", "{token}");
        // The signature of each other one, and one of nothing.
        let (signed, own) = token.rsplit_once('.').unwrap();
        for other in &tokens {
            let (_, signature) = other.rsplit_once('.').unwrap();
            let mixed = format!("{signed}.{signature}");
            let expected = (signature != own).then_some(Refusal::Signature);
            assert_eq!(validator.identify(&mixed).err(), expected, "{mixed}");
        }
        assert_eq!(
            validator.identify(&format!("{signed}.")),
            Err(Refusal::Signature)
        );
    }
    // One that says another algorithm than it is signed by.
    let confused = token("RS256", "rsa", with_rsa(&rsa, &RSA_PKCS1_SHA512));
    assert_eq!(validator.identify(&confused), Err(Refusal::Signature));
}

#[test]
fn a_key_that_comes_later_is_found_when_a_token_names_it() {
    let directory = Directory::new("rotation");
    let path = directory.0.join("keys.json");
    let key = rsa();
    let other = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
    write_keys(&path, &[ec_jwk(&other, "P-256", "old")]);
    let validator = read(&format!("file://{}", path.display()), &[]).unwrap();
    let keeping = Arc::clone(validator.jwks()).keep();
    let token = token("RS256", "new", with_rsa(&key, &RSA_PKCS1_SHA256));
    assert_eq!(validator.identify(&token), Err(Refusal::UnknownKey));
    let old = self::token("ES256", "old", with_ec(&other));
    write_keys(
        &path,
        &[rsa_jwk(&key, "new"), ec_jwk(&other, "P-256", "old")],
    );
    let found = async {
        while validator.identify(&token).is_err() {
            Timer::after(Duration::from_millis(5)).await;
        }
    };
    future::block_on(future::or(found, keeping));
    assert_eq!(validator.identify(&old).unwrap().name, "alice");
}

#[test]
fn a_document_that_is_broken_changes_nothing() {
    let directory = Directory::new("broken");
    let path = directory.0.join("keys.json");
    let key = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
    write_keys(&path, &[ec_jwk(&key, "P-256", "key")]);
    let validator = read(&format!("file://{}", path.display()), &[]).unwrap();
    let token = token("ES256", "key", with_ec(&key));
    for broken in ["{\"keys\": [", "{\"keys\": []}", ""] {
        fs::write(&path, broken).unwrap();
        assert!(
            future::block_on(validator.jwks().load()).is_err(),
            "{broken}"
        );
        assert!(validator.identify(&token).is_ok());
    }
    fs::remove_file(&path).unwrap();
    assert!(future::block_on(validator.jwks().load()).is_err());
    assert!(validator.identify(&token).is_ok());
}

const URL: &str = "sasl.oauthbearer.jwks.endpoint.url";

#[test]
fn what_cannot_be_used_is_refused_by_its_key() {
    let directory = Directory::new("settings");
    let path = directory.0.join("keys.json");
    let url = format!("file://{}", path.display());
    let check = |url: &str, more: &[(&str, &str)], key: &str, part: &str| {
        let error = read(url, more).unwrap_err();
        assert_eq!(error.key, key, "{error}");
        assert!(error.why.contains(part), "{error}");
    };
    check(&url, &[], URL, "cannot read");
    fs::write(&path, "{}").unwrap();
    check(&url, &[], URL, "list `keys`");
    check("keys.json", &[], URL, "neither file:, https:// nor http://");
    check("file:keys.json", &[], URL, "file:///PATH");
    check("https://", &[], URL, "HOST");
    assert_eq!(Validator::read(&|_| None, &|_| None).unwrap_err().key, URL);
    let numbers = [
        ("sasl.oauthbearer.clock.skew.seconds", "-1"),
        ("sasl.oauthbearer.jwks.endpoint.refresh.ms", "0"),
        ("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", "soon"),
        ("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", ""),
    ];
    for (key, value) in numbers {
        check(&url, &[(key, value)], key, "is not a number");
    }
}

/// Answers one connection after the other with these bytes, and then holds it.
fn serve(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys?x=1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            let got = stream.read(&mut head).unwrap();
            assert!(head[..got].starts_with(b"GET /keys?x=1 HTTP/1.1\r\n"));
            // A client that had enough closes.
            let _ = stream.write_all(&answer);
        }
    });
    url
}

fn get(url: &str) -> Result<Vec<u8>, String> {
    future::block_on(fetch::get(&fetch::HttpUrl::parse(url).unwrap(), None))
}

#[test]
fn a_document_that_others_can_replace_is_warned_of() {
    let check = |url: &str, expected: bool| {
        let url = fetch::HttpUrl::parse(url).unwrap();
        assert_eq!(url.can_be_forged(), expected, "{url}");
    };
    check("http://keys.example/jwks", true);
    check("http://192.0.2.1:80/jwks", true);
    check("http://[2001:db8::1]/jwks", true);
    check("https://keys.example/jwks", false);
    check("http://127.0.0.1:8080/jwks", false);
    check("http://[::1]/jwks", false);
    check("http://localhost/jwks", false);
}

#[test]
fn a_document_comes_from_a_server() {
    let check = |answer: &str, expected: &[u8]| {
        assert_eq!(
            get(&serve(answer.into())).as_deref(),
            Ok(expected),
            "{answer}"
        );
    };
    check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc");
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    check(chunked, b"abc");
    check("HTTP/1.0 200 OK\r\n\r\nabc", b"abc");
}

#[test]
fn a_server_that_is_wrong_costs_no_more_than_an_error() {
    let check = |answer: Vec<u8>, part: &str| {
        let url = serve(answer);
        let why = get(&url).unwrap_err();
        assert!(why.contains(part) && !why.contains("x=1"), "{why}");
    };
    check(
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "500",
    );
    let moved = b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n";
    check(moved.to_vec(), "leads to");
    check(b"SSH-2.0-x\r\n".to_vec(), "cannot get");
    check(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n".to_vec(),
        "cannot get",
    );
    let mut giant = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n".to_vec();
    giant.resize(giant.len() + JWKS_BYTES_MAX + 1, b' ');
    check(giant, "more than");
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert!(
        get(&format!("http://{gone}/"))
            .unwrap_err()
            .contains("cannot get")
    );
}
