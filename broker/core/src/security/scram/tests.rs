use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::*;
use crate::base64;
use crate::security::limits::SCRAM_MESSAGE_BYTES_MAX;

const ITERATIONS: i32 = SCRAM_ITERATIONS_MIN;
const NONCE: &str = "3rfcNHYJY1ZVvWVs7j";

fn credential(mechanism: Mechanism, password: &str) -> Credential {
    Credential::of_password(mechanism, password, b"salt of a user".to_vec(), ITERATIONS).unwrap()
}

fn begin(first: &[u8], known: Option<&Credential>) -> (Server, Vec<u8>) {
    let first = ClientFirst::read(first).unwrap();
    let mechanism = known.map_or(Mechanism::Sha256, |known| known.mechanism);
    let decoy = Credential::decoy(mechanism, b"secret", &first.user, ITERATIONS);
    Server::begin(first, known.cloned(), decoy, NONCE)
}

/// Runs an exchange of a client that uses `password`.
fn exchange(known: &Credential, user: &str, password: &str) -> Result<(), ScramError> {
    let (mut client, first) = Client::begin(known.mechanism, user, false, "nonce");
    let (server, answer) = begin(&first, Some(known));
    let last = client.answer(&answer, password)?;
    client.finish(&server.finish(&last)?)
}

/// The header, the bare first message and the final message of a client that knows the password.
fn of_client(first: &str, said: &[u8], password: &str) -> String {
    let (mut client, own) = Client::begin(Mechanism::Sha256, "alice", false, "nonce");
    assert_eq!(own, first.as_bytes());
    String::from_utf8(client.answer(said, password).unwrap()).unwrap()
}

/// RFC 7677, section 3.
#[test]
fn the_exchange_of_the_rfc() {
    let salt = base64::decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let known = Credential::of_password(Mechanism::Sha256, "pencil", salt, 4096).unwrap();
    let (mut client, message) =
        Client::begin(Mechanism::Sha256, "user", false, "rOprNGfwEbeRWgbNEkqO");
    assert_eq!(message, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let first = ClientFirst::read(&message).unwrap();
    let decoy = known.clone();
    let (server, answer) =
        Server::begin(first, Some(known), decoy, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    assert_eq!(
        answer,
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let last = client.answer(&answer, "pencil").unwrap();
    assert_eq!(
        last,
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
          p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let answer = server.finish(&last).unwrap();
    assert_eq!(answer, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(client.finish(&answer), Ok(()));
}

#[test]
fn a_client_that_knows_the_password_gets_in_and_another_does_not() {
    for mechanism in Mechanism::EACH {
        let known = credential(mechanism, "pass,word=é");
        assert_eq!(exchange(&known, "al,ice=", "pass,word=é"), Ok(()));
        assert_eq!(
            exchange(&known, "al,ice=", "password"),
            Err(ScramError::Refused)
        );
    }
}

#[test]
fn a_user_that_does_not_exist_has_one_salt_and_fails_at_the_end() {
    let first = b"n,,n=alice,r=nonce";
    let (server, said) = begin(first, None);
    let (_, again) = begin(first, None);
    let (_, other) = begin(b"n,,n=bob,r=nonce", None);
    assert_eq!(said, again);
    assert_ne!(said, other);
    assert!(said.starts_with(b"r=nonce") && said.ends_with(b",i=4096"));
    let last = of_client("n,,n=alice,r=nonce", &said, "decoy");
    assert_eq!(server.finish(last.as_bytes()), Err(ScramError::Refused));
}

/// A decoy fails even if its keys match the password.
#[test]
fn a_decoy_never_gets_in() {
    let decoy = credential(Mechanism::Sha256, "decoy");
    let first = ClientFirst::read(b"n,,n=alice,r=nonce").unwrap();
    let (server, said) = Server::begin(first, None, decoy, NONCE);
    let last = of_client("n,,n=alice,r=nonce", &said, "decoy");
    assert_eq!(server.finish(last.as_bytes()), Err(ScramError::Refused));
}

#[test]
fn a_message_of_another_exchange_is_refused() {
    let known = credential(Mechanism::Sha256, "password");
    let first = "n,,n=alice,r=nonce";
    let (_, said) = begin(first.as_bytes(), Some(&known));
    let last = of_client(first, &said, "password");
    let message = ClientFirst::read(first.as_bytes()).unwrap();
    let (server, _) = Server::begin(message, Some(known.clone()), known.clone(), "another");
    let nonce = Err(ScramError::Malformed("nonce"));
    assert_eq!(server.finish(last.as_bytes()), nonce);
    // An attacker changed the header, to hide that the client supports channel binding.
    let (server, said) = begin(b"y,,n=alice,r=nonce", Some(&known));
    let last = of_client(first, &said, "password");
    let binding = Err(ScramError::Malformed("channel binding"));
    assert_eq!(server.finish(last.as_bytes()), binding);
}

/// The nonce that librdkafka before 2.2 sends.
#[test]
fn a_final_message_may_begin_with_the_client_s_nonce_once_more() {
    let mechanism = Mechanism::Sha256;
    let known = credential(mechanism, "password");
    let first = "n,,n=alice,r=nonce";
    let (server, said) = begin(first.as_bytes(), Some(&known));
    let said = String::from_utf8(said).unwrap();
    let iterations = NonZeroU32::new(ITERATIONS.cast_unsigned()).unwrap();
    let salted = mechanism.salted_password("password", &known.salt, iterations);
    let client_key = mechanism.client_key(&salted);
    let without_proof = format!("c=biws,r=noncenonce{NONCE}");
    let signed = format!("n=alice,r=nonce,{said},{without_proof}");
    let signature = mechanism.hmac(&known.stored_key, signed.as_bytes());
    let proof = base64::encode(&xor(client_key.as_ref(), signature.as_ref()));
    let last = format!("{without_proof},p={proof}");
    assert!(server.finish(last.as_bytes()).is_ok());
}

#[test]
fn each_change_of_the_final_message_is_refused() {
    let known = credential(Mechanism::Sha256, "password");
    let first = "n,,n=alice,r=nonce";
    let (_, said) = begin(first.as_bytes(), Some(&known));
    let last = of_client(first, &said, "password");
    for at in 0..last.len() {
        let (server, _) = begin(first.as_bytes(), Some(&known));
        assert!(
            server.finish(&last.as_bytes()[..at]).is_err(),
            "cut at {at}"
        );
        let mut changed = last.clone().into_bytes();
        changed[at] ^= 1;
        let (server, _) = begin(first.as_bytes(), Some(&known));
        assert!(server.finish(&changed).is_err(), "changed at {at}");
    }
}

#[test]
fn a_first_message_names_the_user_and_needs_nothing_unsupported() {
    let check = |message: &str, expected: Result<&str, ScramError>| {
        let read = ClientFirst::read(message.as_bytes()).map(|first| first.user);
        assert_eq!(
            read.as_deref().map_err(|error| *error),
            expected,
            "{message}"
        );
    };
    let malformed = |what| Err(ScramError::Malformed(what));
    check("n,,n=alice,r=x", Ok("alice"));
    check("y,,n=alice,r=x", Ok("alice"));
    check("n,a=alice,n=alice,r=x", Ok("alice"));
    check("n,,n=alice,r=x,ext=1", Ok("alice"));
    check("n,,n=al=2Cice=3D,r=x", Ok("al,ice="));
    check("n,,n=t,r=x,tokenauth=true", Ok("t"));
    check("n,a=bob,n=alice,r=x", Err(ScramError::OtherUser));
    check(
        "p=tls-unique,,n=alice,r=x",
        Err(ScramError::Unsupported("channel binding")),
    );
    check(
        "n,,m=1,n=alice,r=x",
        Err(ScramError::Unsupported("a mandatory extension")),
    );
    check("n,,n=,r=x", malformed("user name"));
    check("n,,n=a=2,r=x", malformed("user name"));
    check("n,,n=a=2F,r=x", malformed("user name"));
    check("n,,n=alice,r=", malformed("nonce"));
    check("n,,n=alice,r=a b", malformed("nonce"));
    check("n,,n=alice", malformed("r"));
    check("n,,r=x,n=alice", malformed("n"));
    check("n,n=alice,r=x", malformed("n"));
    check("", malformed("header"));
    check("x,,n=alice,r=x", malformed("header"));
    let long = format!("n,,n={},r=x", "a".repeat(SCRAM_MESSAGE_BYTES_MAX));
    check(&long, Err(ScramError::TooLong));
    assert!(ClientFirst::read(b"n,,n=\xff,r=x").is_err());
    let token = ClientFirst::read(b"n,,n=t,r=x,tokenauth=true").unwrap();
    let user = ClientFirst::read(b"n,,n=t,r=x,tokenauth=false").unwrap();
    assert_eq!((token.is_token, user.is_token), (true, false));
}

#[test]
fn a_client_does_not_trust_any_server() {
    let check = |message: &str, expected: ScramError| {
        let (mut client, _) = Client::begin(Mechanism::Sha512, "alice", false, "nonce");
        let answer = client.answer(message.as_bytes(), "password");
        assert_eq!(answer, Err(expected), "{message}");
        assert_eq!(client.finish(b"v="), Err(ScramError::ServerUnverified));
    };
    check("r=nonce,s=c2FsdA==,i=4096", ScramError::Malformed("nonce"));
    check("r=other1,s=c2FsdA==,i=4096", ScramError::Malformed("nonce"));
    check("r=nonce1,s=,i=4096", ScramError::Malformed("salt"));
    check("r=nonce1,s=c2FsdA==", ScramError::Malformed("i"));
    check("r=nonce1,s=c2FsdA==,i=1", ScramError::Iterations(1));
    check(
        "r=nonce1,s=c2FsdA==,i=2000000000",
        ScramError::Iterations(2_000_000_000),
    );
    let known = credential(Mechanism::Sha512, "password");
    let (mut client, first) = Client::begin(Mechanism::Sha512, "alice", false, "nonce");
    let (_, said) = begin(&first, Some(&known));
    client.answer(&said, "password").unwrap();
    let wrong = Err(ScramError::ServerUnverified);
    assert_eq!(client.finish(b"v=6rriTRBi23WpRR/wtup+mMhUZUn="), wrong);
    assert_eq!(client.finish(b"e=other-error"), wrong);
}

#[test]
fn a_credential_has_as_many_iterations_as_kafka_takes_and_is_not_shown() {
    assert_eq!(check_iterations(4_095), Err("Too few iterations"));
    assert_eq!(check_iterations(4_096), Ok(()));
    assert_eq!(check_iterations(16_384), Ok(()));
    assert_eq!(check_iterations(16_385), Err("Too many iterations"));
    let shown = format!("{:?}", credential(Mechanism::Sha512, "password"));
    assert_eq!(
        shown,
        "Credential { mechanism: Sha512, iterations: 4096, .. }"
    );
}

#[test]
fn a_salt_has_the_form_of_kafka_s() {
    let salt = salt_text(&[35, 0, 36, 255].repeat(8));
    assert_eq!(salt.len(), 25);
    assert!(salt.starts_with("z003"), "{salt}");
}
