//! Tokens that are wrong in each way. A signature here is a sum over the key and what is signed:
//! the arithmetic of real ones is the caller's.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde_json::{Value, json};

use super::*;

const NOW_S: u64 = 1_700_000_000;

fn encode(bytes: &[u8]) -> String {
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

fn sum(algorithm: Algorithm, material: &Material, signed: &[u8]) -> Vec<u8> {
    let key = format!("{algorithm:?}{material:?}");
    let fold = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let sum = key
        .as_bytes()
        .iter()
        .chain(signed)
        .fold(0xcbf2_9ce4_8422_2325, fold);
    sum.to_be_bytes().to_vec()
}

fn is_signed((algorithm, material, signed, signature): Signature<'_>) -> bool {
    sum(algorithm, material, signed) == signature
}

fn rsa(id: &str, first: u8) -> Value {
    let mut modulus = [first; 256];
    modulus[255] = 1;
    json!({"kty": "RSA", "kid": id, "use": "sig", "n": encode(&modulus), "e": "AQAB"})
}

fn ec(id: &str, curve: &str, bytes: usize) -> Value {
    let number = encode(&[7; 48][..bytes]);
    json!({"kty": "EC", "kid": id, "crv": curve, "x": number, "y": number})
}

fn keys_of(keys: &[Value]) -> Keys {
    Keys::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn keys() -> Keys {
    keys_of(&[
        rsa("one", 0x80),
        rsa("two", 0x90),
        ec("p256", "P-256", 32),
        ec("p384", "P-384", 48),
    ])
}

fn claims() -> Value {
    json!({"sub": "alice", "iat": NOW_S - 10, "exp": NOW_S + 600, "iss": "https://idp", "aud": "sedge"})
}

/// A token that is signed by this key of `keys`.
fn signed_by(keys: &Keys, key_id: &str, header: &Value, claims: &Value) -> String {
    let part = |of: &Value| encode(of.to_string().as_bytes());
    let signed = format!("{}.{}", part(header), part(claims));
    let algorithm = header["alg"]
        .as_str()
        .and_then(Algorithm::parse)
        .unwrap_or(Algorithm::Rs256);
    let mut all = keys.0.iter();
    let key = all.find(|key| key.id.as_deref() == Some(key_id)).unwrap();
    let signature = sum(algorithm, &key.material, signed.as_bytes());
    format!("{signed}.{}", encode(&signature))
}

fn token(header: &Value, claims: &Value) -> String {
    signed_by(&keys(), "one", header, claims)
}

fn header() -> Value {
    json!({"alg": "RS256", "kid": "one", "typ": "JWT"})
}

fn verify_with(expected: &Expected, token: &str) -> Result<Identity, Refusal> {
    verify(token, &keys(), expected, NOW_S, is_signed)
}

fn verified(token: &str) -> Result<Identity, Refusal> {
    verify_with(&Expected::default(), token)
}

/// Claims with some set to other values; null takes one away.
fn claims_with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

#[test]
fn a_token_says_who_and_until_when() {
    let alice = Identity {
        name: "alice".to_string(),
        expires_s: NOW_S + 630,
    };
    assert_eq!(verified(&token(&header(), &claims())), Ok(alice.clone()));
    for (algorithm, key) in [
        ("RS384", "two"),
        ("RS512", "one"),
        ("PS256", "one"),
        ("ES256", "p256"),
        ("ES384", "p384"),
    ] {
        let header = json!({"alg": algorithm, "kid": key});
        let token = signed_by(&keys(), key, &header, &claims());
        assert_eq!(verified(&token), Ok(alice.clone()), "{algorithm}");
    }
    // Without a kid, each key that suits is tried.
    let token = signed_by(&keys(), "two", &json!({"alg": "RS256"}), &claims());
    assert_eq!(verified(&token), Ok(alice));
}

#[test]
fn an_algorithm_is_none_but_of_a_public_key() {
    let hidden = [
        "none", "None", "NONE", "", "HS256", "HS512", "rs256", "RS1", "EdDSA", "PS512",
    ];
    for algorithm in hidden {
        let header = json!({"alg": algorithm, "kid": "one"});
        assert_eq!(
            verified(&token(&header, &claims())),
            Err(Refusal::Algorithm),
            "{algorithm}"
        );
    }
    for header in [
        json!({"kid": "one"}),
        json!({"alg": 1}),
        json!({"alg": ["RS256"]}),
    ] {
        assert_eq!(
            verified(&token(&header, &claims())),
            Err(Refusal::Algorithm)
        );
    }
    // No signature at all.
    let token = token(&json!({"alg": "none"}), &claims());
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(verified(&format!("{signed}.")), Err(Refusal::Algorithm));
}

#[test]
fn a_key_is_used_for_its_own_algorithms_only() {
    let check = |header: Value| {
        assert_eq!(
            verified(&token(&header, &claims())),
            Err(Refusal::UnknownKey),
            "{header}"
        );
    };
    check(json!({"alg": "ES256", "kid": "one"}));
    check(json!({"alg": "RS256", "kid": "p256"}));
    check(json!({"alg": "ES256", "kid": "p384"}));
    check(json!({"alg": "RS256", "kid": "three"}));
    check(json!({"alg": "RS256", "kid": ""}));
    let mut only = rsa("one", 0x80);
    only["alg"] = json!("PS256");
    let keys = keys_of(&[only]);
    let token = signed_by(&keys, "one", &header(), &claims());
    let refused = verify(&token, &keys, &Expected::default(), NOW_S, is_signed);
    assert_eq!(refused, Err(Refusal::UnknownKey));
}

#[test]
fn a_signature_is_of_its_key_and_of_what_it_stands_behind() {
    let good = token(&header(), &claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = token(&header(), &claims_with(&json!({"sub": "root"})));
    let (other_signed, _) = other.rsplit_once('.').unwrap();
    let check = |token: &str| assert_eq!(verified(token), Err(Refusal::Signature), "{token}");
    check(&format!("{other_signed}.{signature}"));
    check(&format!("{signed}."));
    check(&format!("{signed}.{}", &signature[..4]));
    check(&format!("{signed}.AAAAAAAAAAA"));
    check(&signed_by(&keys(), "two", &header(), &claims()));
    // Claims of an unsigned token do not matter.
    let stale = token(&header(), &claims_with(&json!({"exp": 1})));
    let (stale, _) = stale.rsplit_once('.').unwrap();
    check(&format!("{stale}.{signature}"));
}

#[test]
fn what_is_no_token_is_refused() {
    let good = token(&header(), &claims());
    let check = |token: &str| {
        let refused = verified(token).unwrap_err();
        assert!(
            matches!(refused, Refusal::Malformed(_)),
            "{token}: {refused}"
        );
    };
    for text in ["", ".", "..", "a", "a.b", "....", "!.!.!"] {
        check(text);
    }
    check(&format!("{good}="));
    check(&format!("{good}."));
    check(&format!("{good}.x"));
    check(&format!(" {good}"));
    for end in 0..good.rfind('.').unwrap() {
        check(&good[..end]);
    }
    check(&format!("{}.{}.AA", encode(b"[]"), encode(b"{}")));
    check(&format!(
        "{}.{}.AA",
        encode(b"{\"alg\":\"RS256\""),
        encode(b"{}")
    ));
    check(&format!("{}.{}.AA", encode(&[b'['; 2000]), encode(b"{}")));
    let critical = json!({"alg": "RS256", "kid": "one", "crit": ["b64"], "b64": false});
    check(&token(&critical, &claims()));
    check(&token(&json!({"alg": "RS256", "kid": 1}), &claims()));
    let giant = claims_with(&json!({"groups": "x".repeat(limits::TOKEN_BYTES_MAX)}));
    check(&token(&header(), &giant));
    // A payload that is signed and no object.
    check(&token(&header(), &json!(["sub"])));
}

#[test]
fn times_have_some_skew() {
    let check = |changes: &Value, expected: Result<(), Refusal>| {
        let found = verified(&token(&header(), &claims_with(changes)));
        assert_eq!(found.map(drop), expected, "{changes}");
    };
    let none = Refusal::Claim("a time (exp, nbf or iat) that is not a number");
    check(&json!({"exp": NOW_S}), Ok(()));
    check(&json!({"exp": NOW_S - 29}), Ok(()));
    check(&json!({"exp": NOW_S - 30}), Err(Refusal::Expired));
    check(&json!({"exp": 0}), Err(Refusal::Expired));
    check(&json!({"exp": null}), Err(Refusal::Claim("no exp")));
    check(&json!({"exp": "tomorrow"}), Err(none));
    check(&json!({"exp": -1}), Err(none));
    check(&json!({"exp": 1e300}), Err(none));
    check(&json!({"exp": u64::MAX}), Ok(()));
    check(&json!({"exp": NOW_S as f64 + 0.5}), Ok(()));
    check(&json!({"iat": NOW_S + 30}), Ok(()));
    check(&json!({"iat": NOW_S + 31}), Err(Refusal::NotYet("iat")));
    check(&json!({"iat": null}), Err(Refusal::Claim("no iat")));
    check(&json!({"nbf": NOW_S + 30}), Ok(()));
    check(&json!({"nbf": NOW_S + 31}), Err(Refusal::NotYet("nbf")));
    check(&json!({"nbf": [1]}), Err(none));
}

#[test]
fn a_token_for_others_is_refused() {
    let expected = Expected {
        audience: ["kafka", "sedge"].map(String::from).to_vec(),
        issuer: Some("https://idp".into()),
        ..Expected::default()
    };
    let check = |changes: &Value, wanted: Result<(), Refusal>| {
        let found = verify_with(&expected, &token(&header(), &claims_with(changes)));
        assert_eq!(found.map(drop), wanted, "{changes}");
    };
    check(&json!({}), Ok(()));
    check(&json!({"aud": ["other", "kafka"]}), Ok(()));
    check(&json!({"aud": "other"}), Err(Refusal::Audience));
    check(&json!({"aud": ["other"]}), Err(Refusal::Audience));
    check(&json!({"aud": []}), Err(Refusal::Audience));
    check(&json!({"aud": null}), Err(Refusal::Audience));
    check(&json!({"aud": {"sedge": true}}), Err(Refusal::Audience));
    check(&json!({"iss": "https://idp/"}), Err(Refusal::Issuer));
    check(&json!({"iss": null}), Err(Refusal::Issuer));
    // If nobody in particular is expected, everybody is.
    assert!(
        verified(&token(
            &header(),
            &claims_with(&json!({"aud": "other", "iss": 7}))
        ))
        .is_ok()
    );
}

#[test]
fn the_subject_is_a_name() {
    let expected = Expected {
        subject_claim: "client".into(),
        scope_claim: "scp".into(),
        ..Expected::default()
    };
    let check = |changes: &Value, wanted: Option<&str>| {
        let found = verify_with(&expected, &token(&header(), &claims_with(changes)));
        match wanted {
            Some(name) => assert_eq!(found.map(|of| of.name).as_deref(), Ok(name), "{changes}"),
            None => assert!(
                matches!(found, Err(Refusal::Claim(_))),
                "{changes}: {found:?}"
            ),
        }
    };
    check(&json!({"client": "pump-7"}), Some("pump-7"));
    check(&json!({}), None);
    check(&json!({"client": ""}), None);
    check(&json!({"client": 7}), None);
    check(&json!({"client": "a\nb"}), None);
    check(
        &json!({"client": "x".repeat(1 + limits::NAME_BYTES_MAX)}),
        None,
    );
    check(&json!({"client": "a", "scp": "read write"}), Some("a"));
    check(&json!({"client": "a", "scp": ["read"]}), Some("a"));
    check(&json!({"client": "a", "scp": 7}), None);
    check(&json!({"client": "a", "scp": [7]}), None);
}

#[test]
fn a_document_has_keys_that_verify() {
    let read = |document: &Value| Keys::parse(document.to_string().as_bytes());
    let check = |document: Value, part: &str| {
        let why = read(&document).unwrap_err();
        assert!(why.contains(part), "{document}: {why}");
    };
    check(json!([]), "JSON object");
    check(json!({}), "list `keys`");
    check(json!({"keys": {}}), "list `keys`");
    check(json!({"keys": []}), "no RSA key");
    check(
        json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}, 7]}),
        "no RSA key",
    );
    check(
        json!({"keys": [{"kty": "RSA", "n": encode(&[0x80; 128]), "e": "AQAB"}]}),
        "no RSA key",
    );
    check(
        json!({"keys": [{"kty": "RSA", "n": encode(&[0x80; 1025]), "e": "AQAB"}]}),
        "no RSA key",
    );
    check(json!({"keys": [ec("a", "P-256", 31)]}), "no RSA key");
    check(json!({"keys": [ec("a", "P-521", 48)]}), "no RSA key");
    let mut for_encryption = rsa("a", 0x80);
    for_encryption["use"] = json!("enc");
    check(json!({"keys": [for_encryption]}), "no RSA key");
    let many: Vec<_> = (0..=limits::KEYS_MAX)
        .map(|_| ec("a", "P-256", 32))
        .collect();
    check(json!({ "keys": many }), "more than");
    assert!(
        Keys::parse(&alloc::vec![b' '; JWKS_BYTES_MAX + 1])
            .unwrap_err()
            .contains("bytes")
    );
    assert!(Keys::parse(b"{").is_err());
    assert_eq!(keys().len(), 4);
    // Leading zeros, which some write, are no part of the number.
    let padded = encode(&[&[0][..], &[0x80; 255], &[1]].concat());
    let padded = keys_of(&[json!({"kty": "RSA", "n": padded, "e": "AAEAAQ"})]);
    let Material::Rsa { modulus, exponent } = &padded.0[0].material else {
        panic!("{padded:?}");
    };
    assert_eq!((modulus.len(), exponent.as_slice()), (256, &[1, 0, 1][..]));
}
